"""What erasures have done and what is pending of them now: the running parts finish each by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from adapters.bus.streams import OUT
from adapters.log.chain import read_chain_head
from adapters.log.read import read_head, read_positions, read_topics
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.subjects import IndexBehindError, positions_of
from domain.erasure import ERASED, REQUESTED, SubjectErased, decode_erased
from domain.mendable import Mendable
from domain.records import Row
from runtime.relay import CHECKPOINT as RELAY
from runtime.relay import CLEARED
from runtime.requested import answer_to
from runtime.times import written

if TYPE_CHECKING:
    # What reads the lake takes 60 MB, and whoever only asks for an erasure does not need it.
    from adapters.history.tables import History

#: Rows that are read at once.
_PAGE: Final = 1_000
#: Rows of a person that are looked at.
_MOST: Final = 20_000
_UNASKED: Final = "the pipeline has not come to it"


class EraseError(Mendable, ValueError):
    """Nobody can be erased by what was said, or nobody is there to do it. The message names the mend."""


def erasures(engine: Engine, history: History) -> Iterator[dict[str, Any]]:
    """Every erasure that was asked for, in the log's order: its id, when that was, and what is pending."""
    with engine.connect() as connection:
        head = read_head(connection).position
        done = {decode_erased(row.state).id: row for row in _rows(connection, ERASED, head)}
        requested = list(_rows(connection, REQUESTED, head))
        standing = _standing(connection, history)
        for row in requested:
            erased = done.get(row.stream_id)
            yield {
                "erasure": row.stream_id,
                "requested": {"position": row.position, "at": written(row.recorded_at)},
                "pending": _pending(connection, standing, erased) if erased else [_UNASKED],
            }


def _rows(connection: Connection, topic: str, upto: int) -> Iterator[Row]:
    after = 0
    while rows := read_topics(connection, after, _PAGE, upto, (topic,)):
        yield from rows
        after = rows[-1].position


def certificate(engine: Engine, history: History, id: str) -> dict[str, Any]:
    """What an erasure has done, as it stands now. Raises `EraseError` where there is none with this id."""
    try:
        row = answer_to(engine, str(UUID(id)))
    except ValueError:
        raise EraseError(
            "this is no erasure's id; it is a UUID, as the request to erase was answered by"
        ) from None
    if row is None:
        raise EraseError(f"no erasure {id} has been done; the pipeline may not have come to it yet")
    said = decode_erased(row.state)
    with engine.connect() as connection:
        [requested] = read_positions(connection, [said.requested])
        head = read_chain_head(connection)
        destroyed = _destroyed(connection, said, row.position)
        statuses = _statuses(connection, said)
    waiting = pending(engine, history, row)
    return {
        "erasure": id,
        "asked_by_sha256": said.asked_by,
        "requested": {"position": said.requested, "at": written(requested.recorded_at)},
        "erased": {"position": row.position, "at": written(row.recorded_at)},
        "profile": said.profile or None,
        "identifiers": said.nodes,
        "audiences_left": said.audiences,
        "keys_destroyed": destroyed,
        "destinations_asked": [{"connection": a.connection, "status": statuses[a.id]} for a in said.asked],
        "destinations_unable": said.unable,
        "pending": waiting,
        "complete": not waiting and destroyed == len(said.nodes),
        "log_head": {"position": head.position, "digest": head.digest.hex()},
    }


def pending(engine: Engine, history: History, row: Row) -> list[str]:
    """Who has not done their part of the erasure that this row says."""
    with engine.connect() as connection:
        return _pending(connection, _standing(connection, history), row)


class _Standing(NamedTuple):
    """Up to which position the relay and the lake's history have come, and the work queues whose files were not removed
    since the last erasure. `lake` is `None` where there is no history."""

    relay: int
    uncleared: list[str]
    lake: int | None


def _standing(connection: Connection, history: History) -> _Standing:
    count = connection.execute(text("SELECT erasures FROM log_head")).scalar_one()
    return _Standing(
        read_checkpoint(connection, RELAY),
        [name for name, checkpoint in CLEARED.items() if read_checkpoint(connection, checkpoint) != count],
        min((position for position in history.written().values() if position), default=None),
    )


def _pending(connection: Connection, standing: _Standing, row: Row) -> list[str]:
    said = decode_erased(row.state)
    unanswered = [id for id, status in _statuses(connection, said).items() if status == "pending"]
    waiting = []
    if standing.relay < row.position:
        waiting.append("NATS: the relay has not come to it")
    else:
        waiting += [
            f"NATS: something waits in {name}"
            for name in standing.uncleared
            if name != OUT or _was_told_of(connection, said, row.position)
        ]
    if standing.lake is not None and standing.lake < row.position:
        waiting.append("lake: the history has not come to it")
    if unanswered:
        waiting.append(f"destinations: {len(unanswered)} have not answered")
    return waiting


def _was_told_of(connection: Connection, said: SubjectErased, before: int) -> bool:
    """Whether a connection was ever to tell of the person: of others nothing has been in the queue that goes out."""
    if said.asked or said.unable:
        return True
    try:
        positions = positions_of(connection, said.nodes, before=before, limit=_MOST)
    except IndexBehindError:
        return True
    return len(positions) == _MOST or any(
        one.topic == "outbound.requested"
        for start in range(0, len(positions), _PAGE)
        for one in read_positions(connection, positions[start : start + _PAGE])
    )


def _destroyed(connection: Connection, said: SubjectErased, position: int) -> int:
    """Of how many of the person's subjects nothing up to the erasure can be opened any more."""
    query = text(
        "SELECT count(*) FROM subject_key WHERE subject = ANY(CAST(:nodes AS uuid[])) AND erased_at >= :at"
    )
    return int(connection.execute(query, {"nodes": said.nodes, "at": position}).scalar_one())


def _statuses(connection: Connection, said: SubjectErased) -> dict[str, str]:
    ids = [asked.id for asked in said.asked]
    found = connection.execute(
        text("SELECT id::text, status FROM outbound WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": ids}
    )
    known = {row.id: row.status for row in found}
    return {id: known.get(id, "pending") for id in ids}
