"""Personal data in the log is sealed: nothing of it in the tables, and nothing readable once its key is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest
from sqlalchemy import Connection, Engine, text

from adapters.database import open_database
from adapters.keys.destruction import destroy_keys
from adapters.keys.keyring import MANY
from adapters.keys.local import LocalKeys
from adapters.keys.management import KeyManagementError, KeysMissingError, UnreadableError
from adapters.keys.rotation import rewrap
from adapters.log.ahead import SealedAhead, append_ahead, open_ahead, seal_ahead
from adapters.log.append import append
from adapters.log.read import driver_of, iterate, read_rows
from adapters.quarantine import Quarantined, find_aside, forget_aside, put_aside
from domain.records import Entry, Identifier, Record, Row, entry_of, node_id
from runtime.verify import verify_log
from tests.integration.tampering import entry, tampering
from tests.keys import KEYS

ANN, BOB = "00000000-0000-5000-8000-00000000000a", "00000000-0000-5000-8000-00000000000b"


@pytest.fixture
def other(database: str) -> Iterator[Engine]:
    """Another process: an engine with a keyring of its own."""
    engine = open_database(database, application="test", keys=KEYS)
    yield engine
    engine.dispose()


def add(engine: Engine, *entries: tuple[str, str | None]) -> None:
    with engine.begin() as connection:
        append(connection, [entry(name, subject) for name, subject in entries])


def rows(engine: Engine) -> list[Row]:
    with engine.connect() as connection:
        return list(iterate(connection))


def says(engine: Engine) -> list[str | None]:
    return [None if row.erased else row.state.decode() for row in rows(engine)]


def erase(connection: Connection, *subjects: str) -> int:
    with driver_of(connection).cursor(binary=True) as cursor:
        at = connection.execute(text("SELECT position FROM log_head FOR UPDATE")).scalar_one()
        return destroy_keys(cursor, subjects, erased_at=at)


def tell(engine: Engine, id: str, type: Literal["track", "identify"], name: str = "") -> None:
    ann = Identifier("user_id", "ann-7f3a")
    record = Record(
        feed="push",
        message_id=id,
        type=type,
        name=name,
        occurred_at=1,
        identifiers=(ann,),
        body=msgspec.Raw(b"{}"),
    )
    with engine.begin() as connection:
        append(connection, [entry_of(record)])


def test_engagement_with_a_message_to_somebody_who_was_erased_is_not_kept(
    database: str, engine: Engine, other: Engine
) -> None:
    ann = node_id(Identifier("user_id", "ann-7f3a"))
    tell(engine, "before", "track", "Push Sent")
    with other.begin() as connection:
        erase(connection, ann)
    for _ in range(2):
        tell(engine, "late", "track", "Push Opened")
    assert [row.topic for row in rows(engine)] == ["track.Push Sent", "engagement.refused"]
    late = rows(engine)[-1]
    assert late.subject is None
    assert msgspec.json.decode(late.state) == {
        "feed": "push",
        "event": "Push Opened",
        "node": ann,
        "erased": 1,
    }

    # What they do themselves begins a new person, whose engagement is kept.
    tell(engine, "again", "identify")
    tell(engine, "theirs", "track", "Push Opened")
    assert [row.topic for row in rows(engine)][2:] == ["identify.", "track.Push Opened"]
    assert b"ann-7f3a" in rows(engine)[-1].state
    assert verify_log(database, lambda done, of: None).fault is None


def test_the_tables_have_nothing_in_the_clear_and_readers_everything(engine: Engine, other: Engine) -> None:
    add(engine, ("secret-a", ANN), ("secret-b", BOB), ("public", None))
    add(engine, ("secret-c", ANN))
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT state FROM log ORDER BY position")).scalars().all()
    assert [b"secret" in state for state in stored] == [False] * 4
    assert stored[2] == b'{"name":"public"}'
    assert len({bytes(state[1:13]) for state in stored}) == 4
    expected = [f'{{"name":"{name}"}}' for name in ("secret-a", "secret-b", "public", "secret-c")]
    assert says(engine) == says(other) == expected


def test_an_engine_without_keys_neither_adds_nor_reads_what_is_somebodys(
    database: str, engine: Engine
) -> None:
    bare = open_database(database, application="test")
    try:
        add(bare, ("public", None))
        assert says(bare) == ['{"name":"public"}']
        with pytest.raises(KeysMissingError, match="open the database with keys"):
            add(bare, ("secret", ANN))
        add(engine, ("secret", ANN))
        with pytest.raises(KeysMissingError):
            rows(bare)
    finally:
        bare.dispose()


def test_among_many_new_people_the_known_and_the_erased_keep_what_holds_of_them(
    database: str, engine: Engine, other: Engine
) -> None:
    add(engine, ("ann", ANN), ("bob", BOB))
    with other.begin() as connection:
        erase(connection, ANN)
    people = [(f"new-{number}", node_id(Identifier("user_id", f"u-{number}"))) for number in range(MANY)]
    add(other, *people[:500], ("ann again", ANN), ("bob again", BOB), *people[500:])
    names = ["bob", *(name for name, _ in people[:500]), "ann again", "bob again"]
    expected = [None, *(f'{{"name":"{name}"}}' for name in [*names, *(name for name, _ in people[500:])])]
    assert says(engine) == says(other) == expected
    assert verify_log(database, lambda done, of: None).fault is None


def ahead_of(engine: Engine, entries: list[Entry]) -> SealedAhead | None:
    with engine.connect() as connection:
        return seal_ahead(connection, entries, probes=True)


PEOPLE = [entry(f"new-{number}", node_id(Identifier("user_id", f"u-{number}"))) for number in range(100)]


def test_what_was_sealed_ahead_is_appended_as_it_is(database: str, engine: Engine, other: Engine) -> None:
    add(engine, ("before", ANN))
    entries = [entry("ann", ANN), entry("ann again", ANN), entry("nobody's"), entry("bob", BOB), *PEOPLE]
    ahead = ahead_of(other, entries)
    assert ahead is not None
    assert open_ahead(ahead) == entries
    with other.begin() as connection:
        assert append_ahead(connection, ahead)
    assert [row.position for row in rows(engine)] == list(range(1, 106))
    assert says(engine) == says(other) == ['{"name":"before"}', *(one.state.decode() for one in entries)]
    assert verify_log(database, lambda done, of: None).fault is None


@pytest.mark.parametrize("meanwhile", ["the same row", "a row of the same person", "an erasure"])
def test_what_was_sealed_ahead_is_not_appended_where_something_has_come_between(
    database: str, engine: Engine, other: Engine, meanwhile: str
) -> None:
    if meanwhile == "an erasure":
        add(engine, ("before", ANN))
    entries = [*PEOPLE, entry("ann", ANN)]
    ahead = ahead_of(other, entries)
    assert ahead is not None
    match meanwhile:
        case "the same row":
            add(engine, ("ann", ANN))
        case "a row of the same person":
            add(engine, ("before", ANN))
        case _:
            with engine.begin() as connection:
                erase(connection, ANN)
    before = says(engine)
    with other.begin() as connection:
        assert not append_ahead(connection, ahead)
        done = append(connection, open_ahead(ahead))
    fresh = PEOPLE if meanwhile == "the same row" else entries
    assert says(engine) == says(other) == before + [one.state.decode() for one in fresh]
    assert [one.new for one in done.appended] == [True] * 100 + [fresh is entries]
    assert verify_log(database, lambda done, of: None).fault is None


@pytest.mark.parametrize("erased", [False, True])
def test_somebody_known_among_many_who_were_taken_for_new_shows_as_they_are_appended(
    engine: Engine, other: Engine, erased: bool
) -> None:
    add(engine, ("before", ANN))
    if erased:
        with engine.begin() as connection:
            erase(connection, ANN)
    before = says(engine)
    many = [entry(f"new-{n}", node_id(Identifier("user_id", f"u-{n}"))) for n in range(MANY)]
    # Only the first and each fifteenth are looked up.
    entries = [many[0], entry("ann", ANN), *many[1:]]
    ahead = ahead_of(other, entries)
    assert ahead is not None
    with other.begin() as connection:
        assert not append_ahead(connection, ahead)
        append(connection, open_ahead(ahead))
    assert says(engine) == before + [one.state.decode() for one in entries]


def test_nothing_is_sealed_ahead_of_somebody_who_was_erased(engine: Engine, other: Engine) -> None:
    add(engine, ("before", ANN))
    with engine.begin() as connection:
        erase(connection, ANN)
    assert ahead_of(other, [*PEOPLE, entry("ann", ANN)]) is None


def test_destroyed_keys_erase_what_was_and_not_what_comes(
    database: str, engine: Engine, other: Engine
) -> None:
    add(engine, ("a1", ANN), ("b1", BOB))
    assert len(says(other)) == 2
    with engine.begin() as connection:
        assert erase(connection, ANN) == 1
    # Both had the old key in memory; neither reads nor writes by it any more.
    assert says(engine) == says(other) == [None, '{"name":"b1"}']
    add(other, ("a2", ANN), ("b2", BOB))
    assert says(engine) == says(other) == [None, '{"name":"b1"}', '{"name":"a2"}', '{"name":"b2"}']
    with other.begin() as connection:
        assert erase(connection, ANN) == 1
    add(engine, ("a3", ANN))
    assert says(engine) == says(other) == [None, '{"name":"b1"}', None, '{"name":"b2"}', '{"name":"a3"}']
    assert verify_log(database, lambda done, of: None).fault is None


def test_a_key_of_a_transaction_that_failed_is_used_by_nobody(engine: Engine, other: Engine) -> None:
    with pytest.raises(RuntimeError), engine.begin() as connection:
        append(connection, [entry("lost", ANN)])
        raise RuntimeError
    add(engine, ("kept", ANN))
    assert says(engine) == says(other) == ['{"name":"kept"}']


def test_a_batch_with_duplicates_is_sealed_by_keys_that_are_there(engine: Engine, other: Engine) -> None:
    many = [(f"n{number}", f"00000000-0000-5000-8000-{number:012d}") for number in range(200)]
    add(engine, many[150])
    add(engine, *many)
    assert says(other) == [f'{{"name":"{name}"}}' for name, _ in [many[150], *many[:150], *many[151:]]]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE log SET state = set_byte(state, 20, 7 # get_byte(state, 20))", "altered"),
        ("UPDATE log SET stream_id = gen_random_uuid()", "altered"),
        ("DELETE FROM subject_key", "no key"),
    ],
)
def test_what_cannot_be_opened_without_reason_is_named(
    database: str, engine: Engine, statement: str, why: str
) -> None:
    add(engine, ("a", ANN))
    with tampering(database) as connection:
        connection.execute(text(statement))
    reader = open_database(database, application="test", keys=KEYS)
    with reader.connect() as connection, pytest.raises(UnreadableError, match=f"position 1.*{why}"):
        read_rows(connection, 0, 10)
    reader.dispose()


def test_another_master_key_is_refused(database: str, engine: Engine) -> None:
    add(engine, ("a", ANN))
    stranger = open_database(database, application="test", keys=LocalKeys([bytes(32)]))
    with pytest.raises(KeyManagementError, match="ROUNDTRIP_MASTER_KEY"):
        rows(stranger)
    with pytest.raises(KeyManagementError, match="ROUNDTRIP_MASTER_KEY"):
        add(stranger, ("b", ANN))
    stranger.dispose()


def test_quarantine_is_sealed_item_by_item(engine: Engine, other: Engine) -> None:
    item = Quarantined(BOB, "app", "code", "reason", {"x-user": "secret-user"}, b"secret-body", 1)
    with engine.begin() as connection:
        put_aside(connection, item)
        put_aside(connection, item)
    with other.connect() as connection:
        assert find_aside(connection, BOB) == item
        [stored] = connection.execute(
            text("SELECT q::text || encode(body, 'escape') FROM quarantine q")
        ).scalars()
        assert "secret" not in stored
    with other.begin() as connection:
        assert forget_aside(connection, BOB)
        assert connection.execute(text("SELECT count(*) FROM subject_key")).scalar() == 0
    with engine.begin() as connection:
        put_aside(connection, item)
    with other.connect() as connection:
        assert find_aside(connection, BOB) == item


def test_a_rotated_master_key_makes_the_old_one_useless(database: str, engine: Engine) -> None:
    add(engine, ("a", ANN), ("b", BOB))
    with engine.begin() as connection:
        erase(connection, BOB)
    new = bytes(range(100, 132))
    both = LocalKeys([new, bytes(range(32))])
    assert (rewrap(engine, both), rewrap(engine, both)) == (1, 0)
    for keys, expected in ((LocalKeys([new]), ['{"name":"a"}', None]), (KEYS, None)):
        reader = open_database(database, application="test", keys=keys)
        if expected is None:
            with pytest.raises(KeyManagementError):
                rows(reader)
        else:
            assert says(reader) == expected
        reader.dispose()
