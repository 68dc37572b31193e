"""What stands in the log around outbound records that wait: what else their people's destinations were to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final, cast

import msgspec
from sqlalchemy import Connection, Engine

from adapters.log.read import read_positions
from adapters.projections.outbound import Neighbour, neighbours
from domain.coalescing import Other
from domain.outbound import Outbound, Status
from runtime.delivery.coalescing import Around

#: Records of one person that are looked at on either side.
MOST: Final = 16

_decode = msgspec.json.Decoder(Outbound).decode


def around(engine: Engine, name: str, records: Sequence[Outbound]) -> Mapping[str, Around]:
    """The surroundings of these records of a connection, as far as the pipeline has come."""
    with engine.connect() as connection:
        return around_in(connection, name, records)


def around_in(connection: Connection, name: str, records: Sequence[Outbound]) -> dict[str, Around]:
    """As `around`, as the transaction sees it."""
    ids = [one.id for one in records]
    removals = [one.id for one in records if one.change == "remove"]
    after = _by_record(neighbours(connection, name, ids, MOST, later=True))
    before = _by_record(neighbours(connection, name, removals, MOST, later=False)) if removals else {}
    before = {id: several for id, several in before.items() if len(several) < MOST}
    wanted = {one.position for several in after.values() for one in several}
    wanted |= {several[0].position for several in before.values()}
    read = (_decode(row.state) for row in read_positions(connection, sorted(wanted)) if not row.erased)
    found = {one.id: one for one in read}
    return {
        id: Around(
            [one.id for one in before.get(id, ())],
            next((found[one.id].change for one in before.get(id, ())[:1] if one.id in found), None),
            [Other(found[one.id], _status(one.status)) for one in after.get(id, ()) if one.id in found],
        )
        for id in after.keys() | before.keys()
    }


def _by_record(found: Sequence[Neighbour]) -> dict[str, list[Neighbour]]:
    return {id: list(several) for id, several in groupby(found, key=lambda one: one.of)}


def _status(status: str) -> Status | None:
    return None if status == "pending" else cast(Status, status)
