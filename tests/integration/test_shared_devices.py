"""The strategy `most_recent_user` at the log's door: who was last known on a device is remembered between batches, and
not beyond an erasure."""

from __future__ import annotations

from sqlalchemy import Engine, text

from adapters.erasure import destroy_person
from adapters.log.append import append
from adapters.log.read import read_positions
from domain.erasure import Erasure
from domain.identity_rules import Rules, entry_for
from domain.records import Identifier, node_id, record_of
from tests.unit.memory import HOUR, record

RULES = Rules(shared_device="most_recent_user")
ANN, BOB, KIOSK = ("user_id", "ann"), ("user_id", "bob"), ("anonymous_id", "kiosk")


def take_in(engine: Engine, hour: int, *identifiers: tuple[str, str]) -> int:
    """The position of a record that is appended in a transaction of its own."""
    entry = entry_for(record("track", identifiers, hour * HOUR, name="Seen"), RULES)
    with engine.begin() as connection:
        return append(connection, [entry], rules=RULES).last_position


def users(engine: Engine, *positions: int) -> list[str]:
    """By whom each record is led, and that its subject says the same."""
    found = []
    with engine.connect() as connection:
        for row in read_positions(connection, positions):
            leader = record_of(row.state).identifiers[0]
            assert row.subject == node_id(leader)
            found.append(leader.value)
    return found


def test_the_door_remembers_who_was_last_known_on_a_device(engine: Engine) -> None:
    take_in(engine, 1, ANN, KIOSK)
    anns = take_in(engine, 2, KIOSK)
    take_in(engine, 4, BOB, KIOSK)
    bobs = take_in(engine, 5, KIOSK)
    before = take_in(engine, 3, KIOSK)
    assert users(engine, anns, bobs, before) == ["ann", "bob", "kiosk"]


def test_a_record_that_is_handed_in_again_stays_whose_it_was(engine: Engine) -> None:
    take_in(engine, 1, ANN, KIOSK)
    first = take_in(engine, 2, KIOSK)
    take_in(engine, 3, BOB, KIOSK)
    last = take_in(engine, 2, KIOSK)
    assert last == first + 1, "nothing was appended"
    assert users(engine, first) == ["ann"]


def test_nobody_is_presumed_who_was_erased(engine: Engine) -> None:
    take_in(engine, 1, ANN, KIOSK)
    last = take_in(engine, 2, BOB, KIOSK)
    with engine.begin() as connection:
        erasure = Erasure(last, "", (node_id(Identifier(*BOB)),), (), ())
        destroy_person(connection, erasure, last)
    assert users(engine, take_in(engine, 3, KIOSK)) == ["kiosk"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM device_user")).scalar() == 0
