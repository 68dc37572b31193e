"""Kinds of identifiers and the guards: what joins people, what is refused, and why."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audiences.evaluation import compile_audiences
from domain.identifiers import Kind, read_identifier
from domain.identity_rules import Match, Rules
from domain.records import Identifier
from domain.state import Plan
from feeds.segment import parse_call
from tests.unit.memory import HOUR, Memory, record, rows

ANN, BOB = ("user_id", "ann"), ("user_id", "bob")
PHONE, KIOSK = ("anonymous_id", "phone"), ("anonymous_id", "kiosk")
MAIL = ("email", "a@example.com")


def people(*said: list[tuple[str, str]], rules: Rules | None = None) -> Memory:
    """The state after one record for each list of identifiers."""
    memory = Memory(Plan(compile_audiences({}), {}, {}, rules or Rules()))
    for number, identifiers in enumerate(said, 1):
        memory.take_in(rows((HOUR, record("identify", identifiers, number)), first=number))
    return memory


def reasons(memory: Memory) -> list[str]:
    return [msgspec.json.decode(e.state)["reason"] for e in memory.entries if "refused" in e.topic]


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("email", " Ann@Example.COM ", "ann@example.com"),
        ("email", "ann@", None),
        ("phone", "+1 (650) 253-0000", "+16502530000"),
        ("phone", "650 253 0000", None),
        ("idfa", "6D92078A-8246-4BA4-AE5B-76104861E7DC", "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
        ("gaid", "none of that", None),
        ("android_id", "ABCDEF0123456789", "abcdef0123456789"),
        ("push_token", "x" * 1025, None),
        ("app.crm_id", "a\x1fb", None),
        ("anonymous_id", "", None),
    ],
)
def test_a_value_is_read_as_its_kind_or_is_no_identifier(kind: str, value: str, read: str | None) -> None:
    assert read_identifier(kind, value) == (Identifier(kind, read) if read else None)


def test_an_address_joins_two_devices() -> None:
    memory = people([PHONE, MAIL], [KIOSK, MAIL])
    assert len(memory.profiles) == 1


def test_an_address_of_two_known_users_does_not_make_them_one() -> None:
    memory = people([ANN, MAIL], [BOB, MAIL])
    assert len(memory.profiles) == 2
    assert reasons(memory) == ["it belongs to a profile with another user_id"]


def test_a_device_and_an_address_of_two_users_join_nobody() -> None:
    memory = people([ANN, PHONE], [BOB, MAIL], [PHONE, MAIL])
    assert len(memory.profiles) == 2


@pytest.mark.parametrize(
    "blocked",
    [
        ("user_id", "NULL"),
        ("email", "test@test.com"),
        ("idfa", "00000000-0000-0000-0000-000000000000"),
        ("anonymous_id", "kiosk"),
    ],
)
def test_a_value_that_names_nobody_joins_nobody(blocked: tuple[str, str]) -> None:
    memory = people([PHONE, blocked], [MAIL, blocked], [blocked], rules=Rules(blocked=["Kiosk"]))
    assert len(memory.profiles) == 2
    assert set(reasons(memory)) == {"the value is blocked: it names nobody"}


def test_a_push_token_finds_its_profile_but_joins_none() -> None:
    token = ("push_token", "t")
    memory = people([ANN, token], [token], [PHONE, token])
    assert len(memory.profiles) == 2
    assert memory.profile(Identifier(*ANN)).latest == 2


def test_beyond_the_limit_further_values_do_not_become_the_persons() -> None:
    mails = [("email", f"a{n}@example.com") for n in range(7)]
    memory = people(*[[ANN, mail] for mail in mails])
    assert len(memory.profile(Identifier(*ANN)).identifiers["email"]) == 5
    assert reasons(memory) == ["a profile has at most 5 of the kind email"] * 2


def test_devices_that_claim_one_address_stay_within_the_limit() -> None:
    memory = people(*[[("anonymous_id", f"d{n}"), MAIL] for n in range(300)])
    assert len(memory.profile(Identifier(*MAIL)).identifiers["anonymous_id"]) == 100


def test_a_login_begins_anew_where_that_is_declared() -> None:
    visits = [[PHONE], [ANN, PHONE], [PHONE], [ANN, MAIL, PHONE]]
    assert len(people(*visits).profiles) == 1
    anew = people(*visits, rules=Rules(login="begins_anew"))
    assert len(anew.profiles) == 2
    device, ann = anew.profile(Identifier(*PHONE)), anew.profile(Identifier(*ANN))
    assert (device.latest, ann.latest) == (3, 4)
    assert set(device.identifiers) == {"anonymous_id"}
    assert set(ann.identifiers) == {"user_id", "email"}
    # It is what is wanted, and no refusal.
    assert reasons(anew) == []


def test_an_alias_call_brings_along_what_was_before_the_login_all_the_same() -> None:
    memory = Memory(Plan(compile_audiences({}), {}, {}, Rules(login="begins_anew")))
    memory.take_in(
        rows(
            (HOUR, record("track", [PHONE], 1, name="Seen")),
            (HOUR, record("identify", [ANN, PHONE], 2)),
            (HOUR, record("alias", [ANN, PHONE], 3)),
        )
    )
    assert len(memory.profiles) == 1


def test_a_device_first_met_at_a_login_is_the_users() -> None:
    memory = people([ANN, PHONE], [PHONE], rules=Rules(login="begins_anew"))
    assert len(memory.profiles) == 1


@pytest.mark.parametrize(("match", "whose"), [("priority", ANN), ("best", BOB)])
def test_of_two_people_the_best_match_is_that_to_which_most_identifiers_lead(
    match: Match, whose: tuple[str, str]
) -> None:
    number, device = ("phone", "+4930901820"), ("idfv", "6d92078a-8246-4ba4-ae5b-76104861e7dc")
    memory = people(
        [ANN, number], [BOB, KIOSK, device], [MAIL, number, KIOSK, device], rules=Rules(match=match)
    )
    assert len(memory.profiles) == 2
    assert memory.profile(Identifier(*MAIL)) == memory.profile(Identifier(*whose))
    assert memory.profile(Identifier(*whose)).latest == 3


def test_the_best_match_is_nobody_who_is_said_to_be_somebody_else() -> None:
    rules = Rules({"card": Kind(30, 1)}, match="best")
    mine, theirs, number = ("card", "1"), ("card", "2"), ("phone", "+4930901820")
    memory = people(
        [BOB, KIOSK, PHONE, theirs], [ANN, number], [MAIL, mine, number, KIOSK, PHONE], rules=rules
    )
    assert memory.profile(Identifier(*MAIL)) == memory.profile(Identifier(*ANN))


SAID = st.lists(
    st.lists(
        st.sampled_from([ANN, BOB, MAIL, PHONE, KIOSK, ("anonymous_id", "tv"), ("email", "b@example.com")]),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    min_size=1,
    max_size=8,
)


@given(SAID)
def test_who_was_met_before_a_login_stays_who_they_were(said: list[list[tuple[str, str]]]) -> None:
    memory = people(*said, rules=Rules(login="begins_anew"))
    first: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for identifiers in said:
        for one in identifiers:
            first.setdefault(one, identifiers)
    for one, identifiers in first.items():
        if one[0] == "anonymous_id" and identifiers == [one]:
            assert set(memory.profile(Identifier(*one)).identifiers) == {"anonymous_id"}


@given(SAID)
def test_where_no_guard_keeps_people_apart_every_match_comes_to_the_same(
    said: list[list[tuple[str, str]]],
) -> None:
    unguarded = {"user_id": Kind(10, 1_000)}
    by_priority, best = (people(*said, rules=Rules(unguarded, match=m)) for m in get_args(Match))
    assert by_priority.graph == best.graph
    assert by_priority.profiles == best.profiles


def test_an_id_of_a_declared_kind_is_the_same_from_every_feed() -> None:
    rules = Rules({"loyalty_id": Kind(15, 1)})
    for feed in ("app", "shop"):
        said = record("identify", [(f"{feed}.loyalty_id", "7")], HOUR, feed=feed)
        assert rules.understood(said).identifiers == (Identifier("loyalty_id", "7"),)
        assert Rules().understood(said) is said


def test_a_segment_call_names_its_person_in_many_ways() -> None:
    call: dict[str, Any] = {
        "userId": "ann",
        "traits": {"email": "Ann@Example.com", "phone": 5},
        "context": {
            "device": {"type": "iOS", "advertisingId": "6D92078A-8246-4BA4-AE5B-76104861E7DC", "token": "t"},
            "externalIds": [{"type": "crm_id", "id": "9"}, {"type": "group_id", "id": "g"}, 3],
        },
    }
    [found] = parse_call("app", "identify", msgspec.json.encode(call), HOUR)
    assert found.identifiers == (
        Identifier("user_id", "ann"),
        Identifier("email", "ann@example.com"),
        Identifier("idfa", "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
        Identifier("push_token", "t"),
        Identifier("app.crm_id", "9"),
    )


def test_traits_in_the_context_of_any_call_name_its_person_too() -> None:
    call = {"userId": "ann", "event": "Seen", "context": {"traits": {"email": "a@example.com"}, "device": 3}}
    [found] = parse_call("app", "track", msgspec.json.encode(call), HOUR)
    assert found.identifiers == (Identifier("user_id", "ann"), Identifier("email", "a@example.com"))
    assert found.traits_at == "context.traits"
