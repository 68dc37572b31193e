"""What the connectors' tests share: batches sent by the real runner to a vendor's simulator, without the bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from msgspec import structs

from adapters.connectors.connector import Connector, ConnectorConfig
from adapters.transports.transport import open_transport
from domain.outbound import Change, Outbound, Outcome
from runtime.delivery.attempts import Delivery, Destination
from runtime.delivery.consent import Consented
from runtime.delivery.gate import Gate
from runtime.delivery.lease import Lease
from tests.integration.delivering import everybody


def record(change: Change = "add", audience: str = "new_users", **fields: Any) -> Outbound:
    return Outbound(
        id=str(uuid4()),
        connection="out",
        batch="b-1",
        profile=str(uuid4()),
        audience=audience,
        change=change,
        fields=fields,
        cause=1,
    )


def event(name: str, properties: dict[str, Any], **fields: Any) -> Outbound:
    """An event of just now."""
    record_of_it = record("event", audience="", **fields)
    now = time.time_ns() // 1_000
    return structs.replace(record_of_it, event=name, occurred_at=now, properties=properties)


def send(
    connector: Connector,
    config: ConnectorConfig,
    records: Sequence[Outbound],
    consented: Consented = everybody,
) -> list[Outcome]:
    """The outcomes of one batch, in the records' order."""
    connector.check(config)

    async def run() -> list[Outcome]:
        async with open_transport(connector, config, 4, allow_private=True) as transport:
            lease = Lease(time.monotonic(), 60)
            to = Destination(connector, config, transport, consented, Gate("out"))
            return await Delivery(to, lease, asyncio.Event(), False).run(records)

    return asyncio.run(run())
