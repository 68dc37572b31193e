"""Tells NATS how loops do, whenever that has changed: for whoever listens, as it is all measured again at any time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from sqlalchemy import Engine

from adapters.bus.cloud_event import cloud_event
from adapters.bus.subject import token
from adapters.database import STORE_ERRORS, kind_of
from runtime.loop_measures import measure_loops

#: How often loops are measured for it, in seconds.
EVERY_S: Final = 30.0

log = structlog.get_logger("relay")


async def tell_loops(engine: Engine, bus: Client, stop: asyncio.Event, every_s: float = EVERY_S) -> None:
    """Tells until `stop`."""
    told: dict[str, Any] = {}
    while not stop.is_set():
        try:
            found = await asyncio.to_thread(measure_loops, engine)
            for loop, measured in found["loops"].items():
                if told.get(loop) != measured:
                    await _tell(bus, loop, found["position"], measured)
            told = found["loops"]
        except (*STORE_ERRORS, NatsError) as error:
            log.warning("how loops do is not told", reason=kind_of(error))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every_s)


async def _tell(bus: Client, loop: str, position: int, measured: dict[str, Any]) -> None:
    name = f"{loop}:{position}"
    headers = cloud_event(id=name, type="roundtrip.loop.measured", source="/roundtrip/loops", msg_id=name)
    body = msgspec.json.encode({"loop": loop, "position": position, **measured})
    await bus.publish(f"roundtrip.loop.{token(loop)}", body, headers=headers)
