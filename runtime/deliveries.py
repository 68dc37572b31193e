"""What became of the records that were to go out: those that wait, and those that are dead letters, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from adapters.log.read import driver_of, read_positions
from adapters.projections.outbound import Closing, find_outbound
from domain.mendable import Mendable
from domain.outbound import OUTCOME_VERSION, TRANSFORMED_VERSION, Outbound, Outcome, Transformed
from domain.records import Row

_requested = msgspec.json.Decoder(Outbound).decode
_outcome = msgspec.json.Decoder(Outcome).decode
_transformed = msgspec.json.Decoder(Transformed).decode


class DeliveryError(Mendable, LookupError):
    """There is no such outbound record. The message says how to find one."""


class Listed(NamedTuple):
    """One outbound record. `reason` and `reference` are its outcome's, and empty while it has none."""

    closing: Closing
    reason: str = ""
    reference: str = ""

    def as_json(self) -> dict[str, Any]:
        said = self.closing._asdict()
        return said | {name: value for name in ("reason", "reference") if (value := getattr(self, name))}


def list_deliveries(
    connection: Connection, status: str, of: str, limit: int, ids: Sequence[str] = ()
) -> list[Listed]:
    """The newest first, of one connection or, where `of` is empty, of all; of these `ids` alone where there are any.
    It holds no personal data."""
    closings = find_outbound(connection, status=status, of=of, ids=ids, limit=limit)
    outcomes = _outcomes(connection, [one.id for one in closings])
    return [_listed(one, outcomes.get(one.id)) for one in closings]


def show_delivery(connection: Connection, id: str) -> dict[str, Any]:
    """One outbound record with what was to be sent, and `sent` where a transformation made something else of it:
    personal data, where the person has not been erased.

    Raises `DeliveryError`.
    """
    try:
        wanted = str(UUID(id))
    except ValueError:
        raise DeliveryError(
            f"'{id}' is no outbound record's id; `roundtrip deliveries list` names them"
        ) from None
    found = find_outbound(connection, ids=[wanted], limit=1)
    if not found:
        raise DeliveryError(f"no outbound record {wanted}; `roundtrip deliveries list` names them")
    said = _listed(found[0], _outcomes(connection, [wanted]).get(wanted)).as_json()
    rows = read_positions(connection, [found[0].position])
    record = _read(rows[0]) if rows else None
    said["record"] = "erased" if record is None else msgspec.to_builtins(record)
    for sent in read_positions(connection, _positions(connection, [wanted], TRANSFORMED_VERSION)):
        said["sent"] = "erased" if sent.erased else _sent(sent.state)
    return said


def _sent(state: bytes) -> Any:
    said = msgspec.to_builtins(_transformed(state))
    return {name: value for name, value in said.items() if name not in ("id", "connection", "profile")}


def _listed(closing: Closing, outcome: Outcome | None) -> Listed:
    return Listed(closing) if outcome is None else Listed(closing, outcome.reason, outcome.reference)


def _outcomes(connection: Connection, ids: Sequence[str]) -> dict[str, Outcome]:
    positions = _positions(connection, ids, OUTCOME_VERSION)
    read = [_outcome(row.state) for row in read_positions(connection, positions) if not row.erased]
    return {one.id: one for one in read}


def _positions(connection: Connection, ids: Sequence[str], version: int) -> list[int]:
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT position FROM log_stream WHERE stream_id = ANY(%b::text[]::uuid[]) AND version = %b",
            (list(ids), version),
        )
        return [position for (position,) in cursor]


def _read(row: Row) -> Outbound | None:
    return None if row.erased else _requested(row.state)
