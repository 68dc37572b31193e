"""A worker holds a batch for as long as it delivers it, and no longer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg

from runtime.delivery.lease import held


def test_a_batch_is_let_go_though_the_heartbeat_does_not_hear_that_it_is_cancelled() -> None:
    async def run() -> None:
        asked = asyncio.Event()

        async def request(*_: Any, **__: Any) -> None:
            asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # As `wait_for` does where the answer comes at the moment of the cancellation.
                return

        bus, message = SimpleNamespace(request=request), SimpleNamespace(reply="reply")
        async with asyncio.timeout(5):
            async with held(cast(Client, bus), cast(Msg, message), 0.0, 15.0):
                await asked.wait()

    asyncio.run(run())
