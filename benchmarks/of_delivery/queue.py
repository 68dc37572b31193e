"""Outbound records as routing makes them, in the log and, by the relay, on their way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine

from adapters.log.append import append
from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from benchmarks.database import new_database
from benchmarks.of_delivery.destination import SECRET, Receiver
from benchmarks.of_identity.known import add_people
from benchmarks.of_identity.traffic import user
from benchmarks.parts import Servers, part
from benchmarks.platform import wait_for
from domain import derived
from domain.records import Entry, node_id
from domain.routing import Destination, Routed
from domain.workspace import Workspace
from runtime.definitions import apply_workspace, destination_of, open_definitions, plan_of
from runtime.pipeline import Pipeline, drain
from runtime.relay import CHECKPOINT

#: People whom the records are of; all of them have consented.
PEOPLE: Final = 20_000
_APPEND: Final = 5_000


class Sending(NamedTuple):
    """A database in which connections are declared. `environment` is that of its parts."""

    servers: Servers
    database: str
    engine: Engine
    workspace: Workspace
    environment: dict[str, str]

    def position(self) -> int:
        """The log's last position."""
        with self.engine.connect() as connection:
            return read_head(connection).position

    def destination(self, connection: str) -> Destination:
        return destination_of(connection, self.workspace.connections[connection])

    def entries(self, connection: str, records: int) -> Iterator[list[Entry]]:
        """So many outbound records of a connection, in batches as its connector takes them."""
        destination, chance = self.destination(connection), random.Random(3)
        first = self.position()
        for start in range(0, records, _APPEND):
            routed = []
            for number in range(start, min(start + _APPEND, records)):
                one = user(chance.randrange(PEOPLE))
                fields = {"user_id": one.value, "email": f"{one.value}@example.com", "plan": "pro"}
                routed.append((first + number + 1, node_id(one), Routed(destination, "add", fields)))
            yield list(derived.outbound(routed))

    def request(self, connection: str, records: int) -> None:
        """Puts so many records into the log."""
        for entries in self.entries(connection, records):
            with self.engine.begin() as transaction:
                append(transaction, entries)

    def wait_relayed(self) -> None:
        """Waits until all that is in the log is on NATS. A relay has to be at work."""
        last = self.position()
        wait_for(lambda: self._relayed() >= last, "the relay", 1_200)

    def _relayed(self) -> int:
        with self.engine.connect() as connection:
            return read_checkpoint(connection, CHECKPOINT)

    def queue(self, connection: str, records: int) -> None:
        """Puts so many records into the log and on their way."""
        self.request(connection, records)
        with part("relay", self.servers, self.database):
            self.wait_relayed()


@contextmanager
def sending(servers: Servers, receiver: Receiver, rate: str) -> Iterator[Sending]:
    """A database with people and three connections: `batched`, `hooks` (unbatched) and `paced` (batched, at `rate`)."""
    common: dict[str, Any] = {
        "audience": "buyers",
        "purpose": "advertising",
        "allow_private": True,
        "fields": {"user_id": "identifier.user_id", "email": "attribute.email", "plan": "attribute.plan"},
    }
    segment: dict[str, Any] = {
        **common,
        "connector": "segment",
        "settings": {"base_url": receiver.url},
        "secrets": {"write_key": {"env": "BENCH_WRITE_KEY"}},
    }
    hooks: dict[str, Any] = {
        **common,
        "connector": "standard_webhooks",
        "concurrency": 16,
        "settings": {"url": f"{receiver.url}/hook"},
        "secrets": {"secret": {"env": "BENCH_HOOK_SECRET"}},
    }
    workspace = Workspace.model_validate(
        {
            "workspace": "benchmark",
            "audiences": {"buyers": {"match": {"event": "Order Completed"}}},
            "connections": {"batched": segment, "hooks": hooks, "paced": {**segment, "rate": rate}},
        }
    )
    environment = {"BENCH_WRITE_KEY": "a-write-key", "BENCH_HOOK_SECRET": SECRET}
    with new_database(servers.postgres) as database, open_definitions(database) as definitions:
        engine = servers.open(database)
        try:
            apply_workspace(engine, definitions, workspace)
            drain(Pipeline(engine, definitions), 2**62)
            add_people(engine, plan_of(workspace).audiences, PEOPLE)
            yield Sending(servers, database, engine, workspace, environment)
        finally:
            engine.dispose()
