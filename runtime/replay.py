"""Dead letters sent again: chosen by id, connection or reason, and appended as new outbound records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from adapters.connectors.connector import connector
from adapters.log.append import append
from adapters.log.read import driver_of, read_head, read_positions
from adapters.projections.definitions import load_workspace
from adapters.projections.people import load_graph, load_profiles
from domain.batches import Batches
from domain.channels import Reached, capped
from domain.outbound import Outbound
from domain.profiles import Profile
from domain.records import Entry
from domain.replaying import ERASED, again
from domain.workspace import Workspace
from runtime.deliveries import DeliveryError, Listed, list_deliveries

ALREADY = "it was sent again already"

_decode = msgspec.json.Decoder(Outbound).decode
_encode = msgspec.json.Encoder().encode


class Replayed(NamedTuple):
    """What became of one dead letter: the id of the record in its place, or why there is none."""

    letter: str
    id: str = ""
    why_not: str = ""


def chosen(connection: Connection, ids: Sequence[str], of: str, reason: str, limit: int) -> list[Listed]:
    """Dead letters by id, or of a connection, or whose reason has this text in it; the oldest first.

    Raises `DeliveryError` naming an id that is of no dead letter.
    """
    found = list_deliveries(connection, "dead", of, limit, ids)
    unknown = set(ids) - {one.closing.id for one in found}
    if unknown:
        raise DeliveryError(
            f"'{min(unknown)}' is no dead letter's id; `roundtrip deliveries list` names them"
        )
    return [one for one in reversed(found) if reason.casefold() in one.reason.casefold()]


def replay(
    connection: Connection, letters: Iterable[Listed], fixed: Mapping[str, Any] = {}, *, dry_run: bool = False
) -> list[Replayed]:
    """Appends what goes out in the letters' place, within the connection's transaction."""
    # Nothing follows from other records until this is appended.
    driver_of(connection).execute("SELECT position FROM log_head FOR UPDATE")
    letters = list(letters)
    rows = read_positions(connection, [one.closing.position for one in letters])
    records = {row.stream_id: _decode(row.state) for row in rows if not row.erased}
    graph = load_graph(connection, {record.profile for record in records.values()})
    profiles = load_profiles(connection, set(graph.values()))
    workspace, now = load_workspace(connection), read_head(connection).recorded_at
    done, out = [], []
    for letter in letters:
        record = records.get(letter.closing.id)
        profile = profiles.get(graph.get(record.profile, "")) if record is not None else None
        found = ERASED if record is None else again(record, profile, fixed)
        if isinstance(found, Outbound) and workspace is not None and profile is not None:
            found = _too_many(workspace, found, profile, now) or found
        if isinstance(found, str):
            done.append(Replayed(letter.closing.id, why_not=found))
        else:
            out.append((letter.closing.id, found))
    known = _known(connection, [found.id for _, found in out])
    done += [Replayed(letter, why_not=ALREADY) for letter, found in out if found.id in known]
    fresh = [(letter, found) for letter, found in out if found.id not in known]
    if fresh and not dry_run:
        append(connection, _entries(workspace, [found for _, found in fresh]))
    return done + [Replayed(letter, found.id) for letter, found in fresh]


def _too_many(workspace: Workspace, record: Outbound, profile: Profile, now: int) -> str:
    """Why the record would be more than its channel's caps allow; one that is not counts from here on."""
    channel = workspace.channels.get(record.channel)
    if channel is None or not channel.cap:
        return ""
    reached = profile.reached.setdefault(record.channel, Reached())
    reason = capped(record.channel, channel, reached, now)
    if not reason:
        reached.open.append((record.connection, record.cause))
    return reason


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    rows = driver_of(connection).execute(
        "SELECT stream_id::text FROM log_stream WHERE stream_id = ANY(%s::uuid[])", (list(ids),)
    )
    return {id for (id,) in rows}


def _entries(workspace: Workspace | None, records: Sequence[Outbound]) -> list[Entry]:
    """The records formed into batches by connection, as routing forms them."""
    declared = {} if workspace is None else workspace.connections
    entries = []
    for name, several in groupby(
        sorted(records, key=lambda one: one.connection), key=lambda one: one.connection
    ):
        if name not in declared:
            raise DeliveryError(
                f"connection '{name}' is not declared any more; nobody would send its letters"
            )
        batches = Batches(connector(declared[name].connector).max_batch)
        entries += [batches.add(one) for one in several]
    return entries
