"""What an erasure promises of the fold: the person is gone, nobody else is touched, and a replay agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from domain.audiences.definition import Audience
from domain.audiences.evaluation import compile_audiences
from domain.erasure import ERASED, EraseRequest, SubjectErased
from domain.forwarding import EVERY, Forwarding, Forwardings
from domain.identifiers import Kind
from domain.identity_rules import Rules
from domain.mapping import Mapped
from domain.profiles import decode_profile
from domain.records import Identifier, Record, node_id, record_of
from domain.routing import Destination
from domain.state import Inbound, Plan
from tests.unit.door import Door
from tests.unit.memory import HOUR, Memory, record

#: Few of each, and low limits, so that people meet, merge and are refused.
KINDS = {"email": Kind(20, 2), "anonymous_id": Kind(60, 2), "card": Kind(15, 1)}
RULES = Rules(KINDS, blocked=["kiosk"])
POOL = [
    *[("user_id", name) for name in ("u0", "u1", "kiosk")],
    *[("email", f"e{n}@example.com") for n in range(3)],
    *[("anonymous_id", name) for name in ("d0", "d1")],
    ("app.card", "c0"),
    ("push_token", "t0"),
]
AUDIENCES = {
    "buyers": {"match": {"event": "Order Completed"}},
    "ignored": {
        "match": {"event": "Push Sent", "then_none": [{"event": "Order Completed"}], "within": "24h"}
    },
    "pros": {"match": {"attribute": "plan", "is": "pro"}},
}
_ANALYTICS = Destination(
    "analytics",
    "",
    "",
    (("user", Mapped("identifier", "user_id")), ("plan", Mapped("attribute", "plan"))),
    frozenset({"event", "delete"}),
    10,
    optional=frozenset({"plan"}),
)
_MIRROR = Destination(
    "mirror", "", "", (("user", Mapped("identifier", "user_id")),), frozenset({"event"}), 10
)
PLAN = Plan(
    compile_audiences({name: Audience.model_validate(body) for name, body in AUDIENCES.items()}),
    {"app": 10},
    {
        "pros": (
            Destination(
                "ads",
                "pros",
                "",
                (("plan", Mapped("attribute", "plan")),),
                frozenset({"add", "remove", "delete"}),
                10,
            ),
        )
    },
    RULES,
    Forwardings(
        (
            Forwarding(_ANALYTICS, ((EVERY, lambda properties: True),), None),
            Forwarding(_MIRROR, (("Push Sent", lambda p: True),), ()),
        )
    ),
)
#: The same, where what a shared device sends is its most recent user's.
SHARING = PLAN._replace(rules=Rules(KINDS, blocked=["kiosk"], shared_device="most_recent_user"))
PLANS = st.sampled_from([PLAN, SHARING])


class Line(NamedTuple):
    """A row of the log: a record with its subject, or a request."""

    position: int
    at: int
    record: Record | None
    subject: str | None
    erase: EraseRequest | None


class Asking(NamedTuple):
    """A request to erase, and how many of the rows behind it are there when the pipeline comes to it."""

    identifier: tuple[str, str]
    behind: int


Script = Sequence[tuple[list[tuple[str, str]], int] | Asking]


def said(identifiers: Sequence[tuple[str, str]], kind: int, at: int) -> Record:
    match kind:
        case 0:
            return record("track", identifiers, at, name="Order Completed")
        case 1:
            return record("track", identifiers, at, name="Push Sent")
        case 2:
            return record("alias", identifiers, at)
        case _:
            return record("identify", identifiers, at, traits={"plan": "pro" if kind == 3 else "free"})


def lines_of(script: Script, plan: Plan = PLAN) -> list[Line]:
    lines, door = [], Door(plan.rules)
    for position, one in enumerate(script, 1):
        at = position * 7 * HOUR
        if isinstance(one, Asking):
            request = EraseRequest(
                id=str(position), node=node_id(RULES.meant(Identifier(*one.identifier))), asked_by=""
            )
            lines.append(Line(position, at, None, None, request))
        else:
            entry = door(said(*one, at))
            lines.append(Line(position, at, RULES.understood(record_of(entry.state)), entry.subject, None))
    return lines


def inbound(line: Line, erased: dict[str, int]) -> Inbound:
    readable = line.position > erased.get(line.subject or "", 0)
    return Inbound(line.position, line.at, line.record if readable else None, line.subject, line.erase)


def live(script: Script, plan: Plan = PLAN) -> tuple[Memory, dict[str, int]]:
    """As the pipeline does it: row by row, keys destroyed up to where the log is when it comes to a request."""
    memory, erased = Memory(plan), dict[str, int]()
    lines = lines_of(script, plan)
    for line, one in zip(lines, script, strict=True):
        outcome = memory.take_in([inbound(line, erased)])
        for erasure in outcome.erased:
            assert isinstance(one, Asking)
            end = min(line.position + one.behind, len(lines))
            erased |= dict.fromkeys(erasure.nodes, end)
            memory.gone |= dict.fromkeys(erasure.nodes, line.position)
    return memory, erased


records = st.tuples(st.lists(st.sampled_from(POOL), min_size=1, max_size=3, unique=True), st.integers(0, 4))
askings = st.builds(Asking, st.sampled_from(POOL), st.integers(0, 2))
scripts = st.lists(st.one_of(records, records, records, askings), min_size=3, max_size=25)


SHARED = [([("user_id", "u0"), ("anonymous_id", "d0")], 3), ([("user_id", "u1"), ("anonymous_id", "d0")], 3)]


@example([*SHARED, Asking(("user_id", "u0"), 0)], 7, PLAN)
@example([*SHARED, Asking(("user_id", "u0"), 1), ([("anonymous_id", "d0")], 0)], 7, PLAN)
@example([*SHARED, ([("anonymous_id", "d0")], 0), Asking(("user_id", "u1"), 0)], 7, SHARING)
@given(scripts, st.integers(1, 7), PLANS)
def test_a_replay_without_the_erased_comes_to_the_live_state(script: Script, size: int, plan: Plan) -> None:
    ours, erased = live(script, plan)
    replay = Memory(plan)
    replay.gone = dict(ours.gone)
    rows = [inbound(line, erased) for line in lines_of(script, plan)]
    for start in range(0, len(rows), size):
        replay.take_in(rows[start : start + size])
    assert replay.graph == ours.graph
    assert {i: decode_profile(s) for i, s in replay.profiles.items()} == {
        i: decode_profile(s) for i, s in ours.profiles.items()
    }
    assert replay.memberships == ours.memberships


FULL = [([("anonymous_id", "d0"), ("email", f"e{n}@example.com")], 3) for n in range(3)]


@example(FULL, PLAN)
@given(scripts, PLANS)
def test_a_record_is_led_by_an_identifier_of_whose_it_is(script: Script, plan: Plan) -> None:
    memory = Memory(plan)
    erased: dict[str, int] = {}
    for line in lines_of(script, plan):
        outcome = memory.take_in([inbound(line, erased)])
        for erasure in outcome.erased:
            erased |= dict.fromkeys(erasure.nodes, line.position)
        if line.record is None or line.position <= erased.get(line.subject or "", 0):
            continue
        for state in memory.profiles.values():
            profile = decode_profile(state)
            if profile.latest == line.position:
                known = {node_id(Identifier(k, v)) for k, vs in profile.identifiers.items() for v in vs}
                aliases = {node_id(alias) for alias in RULES.aliases(profile.identifiers, ["app"])}
                assert line.subject in known | aliases


def test_an_erasure_says_whom_it_took_and_whom_it_asked_and_nothing_of_them() -> None:
    ann, mail = ("user_id", "u0"), ("email", "e0@example.com")
    memory, _ = live([([ann, mail], 3), Asking(mail, 0), ([mail], 4)])
    [entry] = [entry for entry in memory.erased if entry.topic == ERASED]
    told = msgspec.json.decode(entry.state, type=SubjectErased)
    assert {node_id(Identifier(*ann)), node_id(Identifier(*mail))} <= set(told.nodes)
    assert [asked.connection for asked in told.asked] == ["ads"]
    assert told.audiences == ["pros"]
    assert b"e0@example" not in entry.state and entry.subject is None
    assert [e.topic for e in memory.erased] == ["audience.exited", "outbound.requested", ERASED]
    [later] = [decode_profile(state) for state in memory.profiles.values()]
    assert later.identifiers == {"email": {"e0@example.com": 3}}
    assert memory.memberships == {}


def test_a_record_led_by_a_declared_kind_is_its_persons_and_goes_with_them() -> None:
    card = ("app.card", "c0")
    memory, erased = live([([card], 3), ([("user_id", "u0"), card], 0), Asking(("user_id", "u0"), 0)])
    before, _ = live([([card], 3), ([("user_id", "u0"), card], 0)])
    [profile] = [decode_profile(state) for state in before.profiles.values()]
    assert set(profile.identifiers) == {"card", "user_id"}
    assert "pros" in profile.memberships
    assert memory.profiles == {}
    assert node_id(Identifier(*card)) in erased


def test_who_heard_of_a_person_by_events_is_asked_too_by_what_it_heard() -> None:
    ann = ("user_id", "u0")
    memory, _ = live([([ann], 3), ([ann], 0), ([ann], 1), Asking(ann, 0)])
    *asked, erased = [msgspec.json.decode(e.state) for e in memory.erased if e.topic != "audience.exited"]
    deletions = {one["connection"]: (one["change"], one["fields"]) for one in asked}
    assert deletions == {
        "ads": ("delete", {"plan": "pro"}),
        "analytics": ("delete", {"user": "u0", "plan": "pro"}),
    }
    assert erased["unable"] == ["mirror"]
