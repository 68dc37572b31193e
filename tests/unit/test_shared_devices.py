"""The strategy `most_recent_user`: what a device sends while nobody is logged in is of whoever used it last."""

from __future__ import annotations

from typing import Any

import pytest

from domain.audiences.evaluation import compile_audiences
from domain.identifiers import Kind
from domain.identity_rules import Rules
from domain.records import Identifier, Record, RecordType, record_of
from domain.state import Inbound, Plan
from tests.unit.door import Door
from tests.unit.memory import HOUR, Memory, record
from tests.unit.test_identity import reasons

ANN, BOB = ("user_id", "ann"), ("user_id", "bob")
KIOSK, FRESH = ("anonymous_id", "kiosk"), ("anonymous_id", "fresh")
TABLET = ("idfv", "6d92078a-8246-4ba4-ae5b-76104861e7dc")
RULES = Rules({"card": Kind(15, 1)}, shared_device="most_recent_user")


def says(hour: int, *identifiers: tuple[str, str], kind: RecordType = "track", **more: Any) -> Record:
    return record(kind, identifiers, hour * HOUR, name="Viewed" if kind == "track" else "", **more)


def after(*said: Record, rules: Rules = RULES) -> Memory:
    """What becomes of these, an hour between their arrivals from the tenth on."""
    memory, door = Memory(Plan(compile_audiences({}), {}, {}, rules)), Door(rules)
    for position, one in enumerate(said, 1):
        entry = door(one)
        led = rules.understood(record_of(entry.state))
        memory.take_in([Inbound(position, (position + 10) * HOUR, led, entry.subject)])
    return memory


def latest(memory: Memory, who: tuple[str, str]) -> int:
    return memory.profile(Identifier(*who)).latest


def test_each_in_turn_is_taken_for_the_user_until_the_next_logs_in() -> None:
    turns = [says(1, ANN, KIOSK), says(2, KIOSK), says(3, BOB, KIOSK), says(4, KIOSK)]
    assert latest(after(*turns[:2]), ANN) == 2
    bobs = after(*turns)
    assert (latest(bobs, ANN), latest(bobs, BOB)) == (2, 4)
    anns = after(*turns, says(5, ANN, KIOSK), says(6, KIOSK))
    assert (latest(anns, ANN), latest(anns, BOB)) == (6, 4)


def test_by_default_a_device_stays_with_its_first_user() -> None:
    memory = after(says(1, ANN, KIOSK), says(3, BOB, KIOSK), says(4, KIOSK), rules=Rules())
    assert (latest(memory, ANN), latest(memory, BOB)) == (3, 2)


def test_what_occurred_before_a_login_is_not_of_who_logged_in_then() -> None:
    memory = after(says(1, ANN, KIOSK), says(5, BOB, KIOSK), says(3, KIOSK))
    assert (latest(memory, ANN), latest(memory, BOB)) == (3, 2)


def test_an_old_login_that_arrives_late_takes_no_device_over() -> None:
    memory = after(says(5, BOB, KIOSK), says(1, ANN, KIOSK), says(6, KIOSK))
    assert (latest(memory, ANN), latest(memory, BOB)) == (2, 3)


def test_a_new_anonymous_id_after_a_logout_is_of_who_was_known_on_the_same_device() -> None:
    memory = after(says(1, ANN, KIOSK, TABLET), says(2, FRESH, TABLET), says(3, FRESH))
    assert latest(memory, ANN) == 3
    assert set(memory.profile(Identifier(*ANN)).identifiers["anonymous_id"]) == {"kiosk", "fresh"}


def test_a_device_on_which_nobody_was_known_is_a_person_of_its_own() -> None:
    memory = after(says(1, KIOSK), says(2, FRESH))
    assert len(memory.profiles) == 2


def test_a_shared_device_makes_no_two_known_people_one() -> None:
    ann, bob = ("email", "ann@b.c"), ("email", "bob@b.c")
    said = [says(1, ann, KIOSK), says(2, bob, KIOSK), says(3, bob, ANN), says(4, ANN, KIOSK)]
    assert len(after(*said, rules=Rules()).profiles) == 1
    memory = after(*said)
    assert len(memory.profiles) == 2
    assert reasons(memory)[0] == "the device is shared with another person"


def test_an_alias_call_joins_what_it_names_and_nobody_who_was_there_before() -> None:
    memory = after(
        says(1, BOB, KIOSK), says(2, KIOSK, FRESH, kind="alias"), says(3, ANN, KIOSK, kind="alias")
    )
    assert len(memory.profiles) == 1
    parted = after(says(1, ANN, KIOSK), says(2, BOB, KIOSK), says(3, KIOSK, FRESH, kind="alias"))
    assert len(parted.profiles) == 2


def test_a_users_own_kind_of_id_counts_from_every_feed() -> None:
    card = ("app.card", "c-1")
    memory = after(says(1, card, KIOSK), says(2, KIOSK, feed="web"))
    assert latest(memory, ("card", "c-1")) == 2


@pytest.mark.parametrize("blocked", [("user_id", "null"), ("email", "test@test.com")])
def test_who_names_nobody_is_nobodys_user(blocked: tuple[str, str]) -> None:
    memory = after(says(1, ANN, KIOSK), says(2, blocked, KIOSK), says(3, KIOSK))
    assert latest(memory, ANN) == 3
