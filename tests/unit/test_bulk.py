"""What a connection by runs promises: whatever changed between them, applying what was sent gives the audience."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.audiences.definition import Audience
from domain.audiences.evaluation import compile_audiences
from domain.erasure import EraseRequest
from domain.forwarding import Forwarding, Forwardings
from domain.mapping import Mapped
from domain.outbound import Outbound
from domain.profiles import consented, decode_profile
from domain.records import Entry, Identifier, RecordType, derive_id, node_id
from domain.replaying import again
from domain.routing import Destination, fields_of
from domain.runs import Run, batches_of, complete_entry
from domain.state import Inbound, Plan
from tests.unit.memory import HOUR, Memory, record, rows
from tests.unit.test_rebuild import NIGHTLY, Cut, History
from tests.unit.test_step import AUDIENCES, DEVICE, USER, USERS

#: A device is one person's, so that what a destination holds can be told apart by it.
FIELDS = (
    ("device", Mapped("identifier", "anonymous_id")),
    ("user", Mapped("identifier", "user_id")),
    ("plan", Mapped("attribute", "plan")),
    ("email", Mapped("attribute", "email")),
)
OPTIONAL = frozenset({"user", "plan", "email"})
REPLACING = frozenset({"add", "remove", "delete"})
UPDATING = REPLACING | {"update"}
DIFFS = (
    Destination("nightly", "never_bought", "", FIELDS, UPDATING, 2, 0, OPTIONAL, mode="diff"),
    Destination("hourly", "never_bought", "push", FIELDS, REPLACING, 2, 0, OPTIONAL, mode="diff"),
)
SNAPSHOT = Destination(
    "weekly", "never_bought", "push", FIELDS, frozenset({"add", "complete"}), 2, 0, OPTIONAL, mode="snapshot"
)
EVENTS = Destination("events", "", "push", FIELDS, frozenset({"event"}), 2, 0, OPTIONAL, mode="batch")


def memory() -> Memory:
    audiences = {name: Audience.model_validate(body) for name, body in AUDIENCES.items()}
    forwarding = Forwarding(EVENTS, (("*", lambda _: True),), ())
    return Memory(
        Plan(
            compile_audiences(audiences),
            {"app": 10},
            {"never_bought": (*DIFFS, SNAPSHOT)},
            forwardings=Forwardings((forwarding,)),
        )
    )


class Holding:
    """A destination that holds what it was told: of each run first what goes, and then what comes."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def apply(self, told: list[Outbound]) -> None:
        gone = [{**one.fields, **one.before} for one in told if one.change in ("remove", "update", "delete")]
        self.held -= {said({name: v for name, v in fields.items() if v is not None}) for fields in gone}
        come = [said(one.fields) for one in told if one.change in ("add", "update")]
        assert len(come) == len(set(come)), "nobody is told of twice in a run"
        assert self.held.isdisjoint(come), "nobody is told of who is known"
        self.held.update(come)


def said(fields: dict[str, Any]) -> str:
    return msgspec.json.encode(fields, order="deterministic").decode()


def requested(entries: list[Entry], connection: str) -> list[Outbound]:
    found = [msgspec.json.decode(e.state, type=Outbound) for e in entries if e.topic == "outbound.requested"]
    return [one for one in found if one.connection == connection]


def audience(there: Memory, destination: Destination) -> set[str]:
    """What the destination is to know now."""
    found = set()
    for state in there.profiles.values():
        profile = decode_profile(state)
        fields, missing = fields_of(profile, destination)
        if (
            destination.audience in profile.memberships
            and consented(profile, destination.purpose, destination.policies)
            and not missing
        ):
            found.add(said(fields))
    return found


NAMES = [("anonymous_id", name) for name in "abcdef"] + [("email", "a@b.c"), USERS[0]]
WHO = st.one_of(
    *[st.sampled_from(NAMES).map(lambda name: [name])] * 2,
    st.permutations(NAMES).map(lambda names: names[:2]),
)
RUNS = [one.connection for one in (*DIFFS, SNAPSHOT)]
#: A record of somebody or of two who turn out to be one, a run, or an erasure.
STEPS = st.lists(
    st.one_of(
        st.tuples(
            WHO,
            st.sampled_from([{}, {"plan": "pro"}, {"plan": "free"}, {"email": "a@b.c"}]),
            st.sampled_from([{}, {"push": True}, {"push": True}, {"push": False}]),
            st.sampled_from(["", "", "", "Order Completed"]),
        ),
        st.sampled_from([*RUNS, *RUNS[:2], *(Identifier(*name) for name in NAMES[:2])]),
    ),
    min_size=12,
    max_size=40,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_after_any_changes_and_runs_what_was_sent_gives_exactly_the_audience(steps: list[Any]) -> None:
    there, position, at = memory(), 0, HOUR
    holding = {one.connection: Holding() for one in DIFFS}

    def take_in(record: Any = None, erase: EraseRequest | None = None) -> None:
        nonlocal position, at
        position, at = position + 1, at + 1
        told = there.take_in([Inbound(position, at, record, erase=erase)]).entries
        assert not [e for e in told if e.topic == "outbound.requested"], "nothing goes out between runs"

    def run(connection: str) -> list[Outbound]:
        take_in()
        return requested(list(there.run(Run(connection, position, at)).entries), connection)

    for step in steps:
        if isinstance(step, Identifier):
            there.erased.clear()
            request = EraseRequest(id=derive_id("e", str(position)), node=node_id(step), asked_by="")
            take_in(erase=request)
            for name, one in holding.items():
                one.apply(requested(there.erased, name))
        elif isinstance(step, str):
            told = run(step)
            if step in holding:
                holding[step].apply(told)
        else:
            names, traits, consent, event = step
            kind: RecordType = "track" if event else "identify"
            take_in(record(kind, names, at, name=event, traits=traits, consent=consent))
    for destination in DIFFS:
        holding[destination.connection].apply(run(destination.connection))
        assert holding[destination.connection].held == audience(there, destination)
        assert run(destination.connection) == [], "a run with nothing new tells nothing"
    listed = [said(one.fields) for one in run(SNAPSHOT.connection)]
    assert len(listed) == len(set(listed))
    assert set(listed) == audience(there, SNAPSHOT), "a snapshot is all of it, whatever was told before"
    assert {said(one.fields) for one in run(SNAPSHOT.connection)} == set(listed)


def test_whoever_became_one_person_in_two_steps_is_taken_back_by_the_next_run() -> None:
    there = memory()
    first, second, third = (("anonymous_id", name) for name in "abc")
    for n, who in enumerate([[first], [second], [third]], 1):
        there.take_in(rows((n * HOUR, record("identify", who, n * HOUR)), first=n))
    there.run(Run("nightly", 4, 4 * HOUR))
    there.take_in(rows((5 * HOUR, record("identify", [second, third], 5 * HOUR)), first=5))
    there.take_in(rows((6 * HOUR, record("identify", [first, second], 6 * HOUR)), first=6))
    told = requested(list(there.run(Run("nightly", 7, 7 * HOUR)).entries), "nightly")
    assert [(one.change, one.fields) for one in told] == [
        ("remove", {"device": "b"}),
        ("remove", {"device": "c"}),
    ]


def test_an_update_says_what_the_fields_were_before() -> None:
    there = memory()
    there.take_in(rows((HOUR, record("identify", [USER, DEVICE], HOUR, traits={"plan": "pro"}))))
    [first] = requested(list(there.run(Run("nightly", 2, HOUR)).entries), "nightly")
    changes = ("free", "pro", "trial")
    for number, plan in enumerate(changes, 3):
        traits: dict[str, object] = {"plan": plan, "email": "ann@example.com"}
        there.take_in(
            rows((number * HOUR, record("identify", [USER], number * HOUR, traits=traits)), first=number)
        )
    [update] = requested(list(there.run(Run("nightly", 6, 6 * HOUR)).entries), "nightly")
    assert (first.change, update.change) == ("add", "update")
    assert update.fields == {**first.fields, "plan": "trial", "email": "ann@example.com"}
    assert update.before == {"plan": "pro", "email": None}
    assert (update.cause, update.run) == (6, 6)


def test_events_are_gathered_as_they_were_and_sent_by_the_run_in_batches() -> None:
    there = memory()
    consent = {"push": True}
    there.take_in(
        rows((HOUR, record("identify", [USER, DEVICE], HOUR, traits={"plan": "pro"}, consent=consent)))
    )
    for n in range(3):
        at = (n + 2) * HOUR
        there.take_in(rows((at, record("track", [DEVICE], at, name=f"E{n}")), first=n + 2))
    there.take_in(rows((9 * HOUR, record("identify", [USER], 9 * HOUR, traits={"plan": "free"})), first=9))
    assert "outbound.requested" not in there.topics()
    gathered = [
        msgspec.json.decode(e.state, type=Outbound) for e in there.entries if e.topic == "gathered.events"
    ]
    sent = requested(batches_of(gathered, 2, Run("events", 10, 9 * HOUR)), "events")
    assert [(one.event, one.fields["plan"], one.run) for one in sent] == [
        (f"E{n}", "pro", 10) for n in range(3)
    ]
    assert [one.id for one in sent] == [one.id for one in gathered]
    assert sent[0].batch == sent[1].batch != sent[2].batch


def test_whoever_is_two_again_is_told_of_as_two_by_the_next_run() -> None:
    records = [(HOUR, record("identify", [DEVICE], HOUR, traits={"plan": "pro"}))]
    records += [(2 * HOUR, record("identify", [USER], 2 * HOUR, traits={"plan": "pro"}))]
    records += [(3 * HOUR, record("identify", [USER, DEVICE], 3 * HOUR))]
    ticks = [(hour * HOUR, None) for hour in (4, 5, 6)]
    run = ("run", "nightly", None)
    history = History(
        rows(*records, *ticks),
        [
            (
                0,
                (
                    "connection",
                    "nightly",
                    NIGHTLY | {"fields": {"user": "identifier.user_id", "device": "identifier.anonymous_id"}},
                ),
            ),
            (3, run),
            (5, run),
        ],
        [Cut(4, USER, DEVICE)],
    )
    told = [(one["change"], one["fields"], one.get("before")) for one in history.in_order().outbound()]
    one, device, user = {"user": "ann", "device": "phone"}, {"device": "phone"}, {"user": "ann"}
    assert told[0] == ("add", one, None)
    assert sorted(told[1:], key=repr) == [("add", user, None), ("update", device, user)]


def test_a_dead_letter_that_ends_a_run_is_sent_again_as_it_was() -> None:
    entry = complete_entry(SNAPSHOT, Run("weekly", 7, HOUR), 3)
    letter = msgspec.json.decode(entry.state, type=Outbound)
    found = again(letter, None, {})
    assert isinstance(found, Outbound)
    assert (found.fields, found.run, found.id != letter.id) == ({"records": 3}, 7, True)


def test_a_batch_is_no_larger_than_a_message_may_be() -> None:
    there = memory()
    there.take_in(rows((HOUR, record("identify", [USER, DEVICE], HOUR, consent={"push": True}))))
    there.take_in(rows((HOUR, record("track", [DEVICE], HOUR, name="E")), first=2))
    [entry] = [e for e in there.entries if e.topic == "gathered.events"]
    one = msgspec.json.decode(entry.state, type=Outbound)
    large = [
        msgspec.structs.replace(one, id=derive_id(str(n)), properties={"text": "x" * 1_500_000})
        for n in range(5)
    ]
    sent = requested(batches_of(large, 10_000, Run("events", 3, HOUR)), "events")
    assert [one.id for one in sent] == [one.id for one in large]
    sizes = Counter(one.batch for one in sent)
    assert list(sizes.values()) == [2, 2, 1]
