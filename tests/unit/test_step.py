"""What the pipeline's step promises: identities, audiences, timers and routing, whatever the batches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.audiences.definition import Audience
from domain.audiences.evaluation import compile_audiences
from domain.mapping import Mapped
from domain.profiles import decode_profile
from domain.records import Identifier
from domain.routing import Destination, Routed, Withheld, held_out, route, unsampled
from domain.state import Inbound, Plan
from tests.unit.memory import HOUR, Memory, record, rows

USER = ("user_id", "ann")
DEVICE = ("anonymous_id", "phone")

AUDIENCES: dict[str, Any] = {
    "newcomers": {"match": {"all": [{"event": "App Installed", "within": "7d"}, {"consent": "push"}]}},
    "ignored": {
        "match": {
            "event": "Push Sent",
            "then_none": [{"event": "Push Opened", "same": "message_id"}, {"event": "Order Completed"}],
            "within": "24h",
        }
    },
    "pros": {"match": {"attribute": "plan", "is": "pro"}},
    "ignoring_pros": {"match": {"all": [{"in_audience": "ignored"}, {"in_audience": "pros"}]}},
    "never_bought": {"match": {"not": {"event": "Order Completed"}}},
}


def plan() -> Plan:
    audiences = {name: Audience.model_validate(body) for name, body in AUDIENCES.items()}
    add, both = frozenset({"add"}), frozenset({"add", "remove"})
    user_id = (("external_id", Mapped("identifier", "user_id")),)
    email = (("email", Mapped("attribute", "email")),)
    return Plan(
        compile_audiences(audiences),
        {"app": 10, "crm": 20},
        {
            "newcomers": (Destination("push", "newcomers", "push", user_id, add, 2),),
            "ignored": (Destination("ads", "ignored", "advertising", email, both, 2),),
        },
    )


@pytest.fixture
def memory() -> Memory:
    return Memory(plan())


def installed(at: int, *identifiers: tuple[str, str]) -> Any:
    return record("track", identifiers, at, name="App Installed")


def identified(at: int, **said: Any) -> Any:
    return record("identify", [USER, DEVICE], at, **said)


def pushed(at: int, kind: str = "Push Sent", message: str = "m1") -> Any:
    return record("track", [USER], at, name=kind, properties={"message_id": message}, feed="push")


def test_a_login_brings_the_anonymous_history_along(memory: Memory) -> None:
    memory.take_in(
        rows((HOUR, installed(HOUR, DEVICE)), (2 * HOUR, identified(2 * HOUR, consent={"push": True})))
    )
    profile = memory.profile(Identifier(*USER))
    assert profile.identifiers == {"anonymous_id": {"phone": 1}, "user_id": {"ann": 2}}
    assert "newcomers" in profile.memberships
    assert [one["fields"] for one in memory.outbound()] == [{"external_id": "ann"}]


def test_two_profiles_that_turn_out_to_be_one_are_merged_and_pushed_once(memory: Memory) -> None:
    consent = {"push": True}
    memory.take_in(
        rows(
            (HOUR, record("identify", [USER], HOUR, consent=consent)),
            (HOUR, installed(HOUR, USER)),
            (2 * HOUR, installed(2 * HOUR, DEVICE)),
            (3 * HOUR, identified(3 * HOUR)),
        )
    )
    assert len(memory.profiles) == 1
    assert memory.topics().count("profile.merged") == 1
    assert len(memory.outbound()) == 1


def test_who_was_in_an_audience_under_both_names_is_in_it_since_the_earlier_entry(memory: Memory) -> None:
    """The older profile enters an audience after the younger one; then they turn out to be one person."""
    memory.take_in_all(
        [
            rows((HOUR, record("identify", [DEVICE], HOUR)), first=1),
            rows((2 * HOUR, record("identify", [USER], 2 * HOUR, traits={"plan": "pro"})), first=2),
            rows((3 * HOUR, record("identify", [DEVICE], 3 * HOUR, traits={"plan": "pro"})), first=3),
            rows((4 * HOUR, identified(4 * HOUR)), first=4),
        ]
    )
    profile = memory.profile(Identifier(*DEVICE))
    assert profile.memberships["pros"].position == 2
    assert memory.memberships["pros", profile.id] == profile.memberships["pros"]


def test_a_device_that_another_user_takes_over_stays_with_the_first(memory: Memory) -> None:
    bob = ("user_id", "bob")
    memory.take_in(
        rows(
            (HOUR, identified(HOUR)),
            (2 * HOUR, record("track", [bob, DEVICE], 2 * HOUR, name="Order Completed")),
        )
    )
    assert len(memory.profiles) == 2
    assert "identity.merge_refused" in memory.topics()
    assert memory.profile(Identifier(*DEVICE)).identifiers["user_id"] == {"ann": 1}


def test_who_ignores_a_push_for_a_day_is_retargeted_when_the_day_has_passed(memory: Memory) -> None:
    said = {"traits": {"email": "ann@example.com"}, "consent": {"advertising": True}}
    memory.take_in(rows((HOUR, identified(HOUR, **said)), (2 * HOUR, pushed(2 * HOUR))))
    memory.take_in(rows((26 * HOUR - 1, None), first=3))
    assert memory.outbound() == []
    memory.take_in(rows((30 * HOUR, None), first=4))
    profile = memory.profile(Identifier(*USER))
    assert profile.memberships["ignored"].at == 26 * HOUR
    assert profile.memberships["ignored"].position == 4
    assert [(one["connection"], one["change"]) for one in memory.outbound()] == [("ads", "add")]


@pytest.mark.parametrize("answer", [pushed(10 * HOUR, "Push Opened"), installed(HOUR, USER)])
def test_only_an_answer_to_the_push_keeps_somebody_out(memory: Memory, answer: Any) -> None:
    memory.take_in(rows((2 * HOUR, pushed(2 * HOUR)), (10 * HOUR, answer), (40 * HOUR, None)))
    member = "ignored" in memory.profile(Identifier(*USER)).memberships
    assert member == (answer.name != "Push Opened")


def test_an_answer_that_arrives_late_takes_the_retargeting_back(memory: Memory) -> None:
    said = {"traits": {"email": "ann@example.com"}, "consent": {"advertising": True}}
    memory.take_in(rows((HOUR, identified(HOUR, **said)), (2 * HOUR, pushed(2 * HOUR)), (30 * HOUR, None)))
    memory.take_in(rows((31 * HOUR, pushed(5 * HOUR, "Push Opened")), first=4))
    assert [one["change"] for one in memory.outbound()] == ["add", "remove"]


def test_a_withdrawn_consent_takes_the_person_out_of_the_ads_and_a_new_one_back_in(memory: Memory) -> None:
    said = {"traits": {"email": "ann@example.com"}, "consent": {"advertising": True}}
    memory.take_in(rows((HOUR, identified(HOUR, **said)), (2 * HOUR, pushed(2 * HOUR)), (30 * HOUR, None)))
    for at, yes in ((31, False), (32, True), (33, False)):
        consent = {"advertising": yes}
        memory.take_in(rows((at * HOUR, identified(at * HOUR, consent=consent)), first=at))
    assert [one["change"] for one in memory.outbound()] == ["add", "remove", "add", "remove"]
    # The log says why, each time.
    assert len({entry.stream_id for entry in memory.entries if entry.topic == "routing.withheld"}) == 2


def test_a_withdrawn_and_renewed_consent_pushes_nobody_twice(memory: Memory) -> None:
    memory.take_in(rows((HOUR, installed(HOUR, USER)), (HOUR, identified(HOUR, consent={"push": True}))))
    for at, yes in ((2, False), (3, True)):
        memory.take_in(rows((at * HOUR, identified(at * HOUR, consent={"push": yes})), first=at + 10))
    assert memory.topics().count("audience.entered") >= 2
    assert [one["connection"] for one in memory.outbound()] == ["push"]


def test_who_lacks_what_the_destination_needs_is_withheld_with_the_reason_until_it_is_known(
    memory: Memory,
) -> None:
    memory.take_in(
        rows((HOUR, identified(HOUR, consent={"advertising": True})), (2 * HOUR, pushed(2 * HOUR)))
    )
    memory.take_in(rows((30 * HOUR, None), first=3))
    assert "routing.withheld" in memory.topics()
    assert memory.outbound() == []
    memory.take_in(rows((31 * HOUR, identified(31 * HOUR, traits={"email": "ann@example.com"})), first=4))
    assert [one["fields"] for one in memory.outbound()] == [{"email": "ann@example.com"}]


def test_a_changed_address_replaces_the_old_one_at_the_destination(memory: Memory) -> None:
    said = {"traits": {"email": "old@example.com"}, "consent": {"advertising": True}}
    memory.take_in(rows((HOUR, identified(HOUR, **said)), (2 * HOUR, pushed(2 * HOUR)), (30 * HOUR, None)))
    memory.take_in(rows((31 * HOUR, identified(31 * HOUR, traits={"email": "new@example.com"})), first=4))
    told = [(one["change"], one["fields"]) for one in memory.outbound()]
    old, new = {"email": "old@example.com"}, {"email": "new@example.com"}
    assert told == [("add", old), ("remove", old), ("add", new)]


def test_a_source_of_higher_priority_decides_whatever_comes_later(memory: Memory) -> None:
    memory.take_in(
        rows(
            (HOUR, record("identify", [USER], HOUR, traits={"plan": "pro"}, feed="crm")),
            (2 * HOUR, record("identify", [USER], 2 * HOUR, traits={"plan": "free"}, feed="app")),
        )
    )
    assert memory.profile(Identifier(*USER)).attributes["plan"].value == "pro"


def test_a_time_in_the_future_counts_as_the_time_of_receipt(memory: Memory) -> None:
    memory.take_in(rows((HOUR, pushed(900 * HOUR)), (26 * HOUR, None)))
    assert memory.profile(Identifier(*USER)).memberships["ignored"].at == 25 * HOUR


USERS = [("user_id", name) for name in ("ann", "bob", "cyd")]
DEVICES = [("anonymous_id", name) for name in ("phone", "tablet", "kiosk")]
OTHERS = [
    ("email", "a@b.c"),
    ("email", "test@test.com"),
    ("phone", "+4930123456"),
    ("push_token", "t1"),
    ("app.crm_id", "7"),
    ("user_id", "null"),
]
IDENTIFIERS = st.one_of(
    st.sampled_from(USERS).map(lambda user: [user]),
    st.sampled_from(DEVICES).map(lambda device: [device]),
    st.tuples(st.sampled_from(USERS), st.sampled_from(DEVICES)).map(list),
    st.lists(st.sampled_from([*USERS, *DEVICES, *OTHERS]), min_size=1, max_size=4, unique=True),
)
NAMES = ["App Installed", "Push Sent", "Push Opened", "Order Completed", "Unheard Of"]


@st.composite
def histories(draw: st.DrawFn) -> list[Inbound]:
    """A log of up to 30 rows: records out of order, some in the future, and ticks."""
    found: list[tuple[int, Any]] = []
    now = HOUR
    for number in range(draw(st.integers(1, 30))):
        now += draw(st.sampled_from([0, 1, HOUR, 12 * HOUR, 24 * HOUR]))
        kind = draw(st.sampled_from(["tick", "track", "track", "track", "identify"]))
        at = max(now - draw(st.sampled_from([0, 0, HOUR, 30 * HOUR])), 0) + draw(st.sampled_from([0, HOUR]))
        if kind == "tick":
            found.append((now, None))
        elif kind == "track":
            properties = {"message_id": draw(st.sampled_from(["m1", "m2"])), "n": number}
            name = draw(st.sampled_from(NAMES))
            found.append((now, record("track", draw(IDENTIFIERS), at, name=name, properties=properties)))
        else:
            traits: dict[str, object] = draw(
                st.sampled_from([{}, {"plan": "pro"}, {"plan": "free"}, {"email": "a@b.c"}])
            )
            consent = draw(st.sampled_from([{}, {"push": True}, {"push": False}, {"advertising": True}]))
            found.append((now, record("identify", draw(IDENTIFIERS), at, traits=traits, consent=consent)))
    return rows(*found)


@given(histories(), st.lists(st.integers(1, 7), min_size=30, max_size=30))
@settings(max_examples=300, deadline=None)
def test_state_and_what_follows_do_not_depend_on_how_the_log_is_cut_into_batches(
    history: list[Inbound], sizes: list[int]
) -> None:
    whole = Memory(plan()).take_in_all([history])
    cut, at = [], 0
    for size in sizes:
        if at < len(history):
            cut.append(history[at : at + size])
            at += size
    pieces = Memory(plan()).take_in_all(cut)
    assert pieces.profiles == whole.profiles
    assert pieces.graph == whole.graph
    assert pieces.memberships == whole.memberships
    assert sorted(map(repr, pieces.outbound())) == sorted(map(repr, whole.outbound()))
    follow = [e for e in whole.entries if e.topic != "outbound.requested"]
    assert sorted(e for e in pieces.entries if e.topic != "outbound.requested") == sorted(follow)


@given(histories())
@settings(max_examples=200, deadline=None)
def test_the_table_of_memberships_says_what_the_profiles_say(history: list[Inbound]) -> None:
    memory = Memory(plan()).take_in_all([[row] for row in history])
    said = {
        (audience, id): membership
        for id, state in memory.profiles.items()
        for audience, membership in decode_profile(state).memberships.items()
    }
    assert memory.memberships == said
    assert set(memory.graph.values()) <= set(memory.profiles)


def test_whom_the_audience_holds_out_is_a_member_and_told_to_nobody() -> None:
    everyone = {"everyone": Audience.model_validate({"match": {"event": "App Installed"}, "holdout": 30})}
    destination = Destination(
        "push",
        "everyone",
        "",
        (("external_id", Mapped("identifier", "user_id")),),
        frozenset({"add", "remove"}),
        100,
        30,
    )
    memory = Memory(Plan(compile_audiences(everyone), {}, {"everyone": (destination,)}))
    people = [("user_id", f"person {n}") for n in range(400)]
    memory.take_in(rows(*((HOUR + n, installed(HOUR, who)) for n, who in enumerate(people))))
    told = {one["fields"]["external_id"] for one in memory.outbound()}
    profiles = [memory.profile(Identifier(*who)) for who in people]
    assert all("everyone" in profile.memberships for profile in profiles)
    withheld = {p.id for p in profiles if not p.routed}
    assert len(told) + len(withheld) == 400
    assert 80 < len(withheld) < 160
    assert {p.id for p in profiles if held_out(p, destination)} == withheld


def test_of_an_audience_a_connection_tells_of_its_sample_alone_and_takes_back_who_leaves_it() -> None:
    everyone = {"everyone": Audience.model_validate({"match": {"event": "App Installed"}})}
    fields = (("external_id", Mapped("identifier", "user_id")),)
    half = Destination("push", "everyone", "", fields, frozenset({"add", "remove"}), 100, share=50)
    memory = Memory(Plan(compile_audiences(everyone), {}, {"everyone": (half,)}))
    people = [("user_id", f"person {n}") for n in range(200)]
    memory.take_in(rows(*((HOUR + n, installed(HOUR, who)) for n, who in enumerate(people))))
    told = {one["fields"]["external_id"] for one in memory.outbound()}
    assert 60 < len(told) < 140
    profiles = [memory.profile(Identifier(*who)) for who in people]
    assert all("everyone" in profile.memberships for profile in profiles)
    kept = 0
    for profile in profiles:
        [*decisions] = route(profile, half._replace(share=20))
        match decisions:
            case [Routed(change="remove"), Withheld()]:
                assert unsampled(profile, half) == ""
            case [Withheld(reason=reason)]:
                assert reason == "not among the 20 % of people whom the connection tells of"
            case _:
                # A smaller sample is a part of a larger one: nobody is told of anew.
                assert decisions == []
                kept += 1
    assert 20 < kept < 70


_ENDS = ("user_id", "ann"), ("anonymous_id", "phone")


@st.composite
def told_of_either(draw: st.DrawFn) -> list[tuple[int, Any]]:
    """What is told of a user and of a device, out of order, by two feeds; the first row is nobody's yet."""
    found: list[tuple[int, Any]] = [(HOUR, None)]
    now = HOUR
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.sampled_from([0, 1, HOUR, 12 * HOUR, 24 * HOUR]))
        at, who = max(now - draw(st.sampled_from([0, 0, HOUR, 30 * HOUR])), 0), [draw(st.sampled_from(_ENDS))]
        feed = draw(st.sampled_from(["app", "engagement"]))
        if draw(st.booleans()):
            properties: dict[str, object] = {"message_id": draw(st.sampled_from(["m1", "m2"]))}
            name = draw(st.sampled_from(NAMES))
            found.append((now, record("track", who, at, name=name, properties=properties, feed=feed)))
        else:
            traits: dict[str, object] = draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)))
            consent = draw(st.dictionaries(st.sampled_from(["push", "advertising"]), st.booleans()))
            found.append((now, record("identify", who, at, traits=traits, consent=consent, feed=feed)))
    return [*found, (now + HOUR, record("alias", _ENDS, now + HOUR))]


@given(told_of_either(), st.integers(0, 13))
@settings(max_examples=200, deadline=None)
def test_who_turns_out_to_be_one_is_who_they_would_be_had_that_been_known_from_the_start(
    history: list[tuple[int, Any]], later: int
) -> None:
    end = history[-1][0] + later * HOUR
    (start, _), *rest = [*history, (end, None)]
    merged = Memory(plan()).take_in_all([[row] for row in rows((start, None), *rest)])
    known = Memory(plan()).take_in_all([[row] for row in rows((start, record("alias", _ENDS, start)), *rest)])
    [one], [other] = (list(map(decode_profile, memory.profiles.values())) for memory in (merged, known))
    assert one.attributes == other.attributes
    assert one.consent == other.consent
    assert one.conditions == other.conditions
    assert one.memberships.keys() == other.memberships.keys()
    assert one.dues == other.dues
    assert {k: v.keys() for k, v in one.identifiers.items()} == {
        k: v.keys() for k, v in other.identifiers.items()
    }
