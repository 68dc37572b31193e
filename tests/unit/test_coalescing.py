"""Whatever changes while a destination is down, it ends up with who is in the audience, and hears nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Judgement, Request
from domain.coalescing import NEVER_TOLD, Other, superseding
from domain.derived import outbound
from domain.mapping import mapped
from domain.outbound import Change, Outbound, Outcome
from domain.profiles import Attribute, Membership, Profile
from domain.routing import Destination as Declared
from domain.routing import Routed, route
from runtime.delivery.attempts import Delivery, Destination
from runtime.delivery.coalescing import Around, Coalescing
from runtime.delivery.errors import LeftError
from runtime.delivery.gate import Gate
from runtime.delivery.lease import Lease

PEOPLE = ("ann", "bob")
FIELDS = {"who": "attribute.who", "plan": "attribute.plan"}
BOTH: frozenset[Change] = frozenset({"add", "remove"})
DECLARED = Declared(
    "list", "members", "", tuple((name, mapped(said)) for name, said in FIELDS.items()), BOTH, 2
)


def _render(config: ConnectorConfig, records: Sequence[Outbound]) -> list[Request]:
    return [Request("POST", "https://list.example", {}, msgspec.json.encode(one), (one,)) for one in records]


def _judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    return [Judgement(one, "delivered") for one in request.outbound]


CONNECTOR = Connector(2, BOTH, lambda config: None, _render, _judge)


class Vendor:
    """A list of people, known by who they are: an entry is written over the one before it."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.seen: list[str] = []
        self.how = "well"

    async def send(self, request: Request) -> Answer:
        one = msgspec.json.decode(request.body, type=Outbound)
        self.seen.append(one.id)
        if self.how == "down":
            raise LeftError
        self.held.pop(one.fields["who"], None)
        if one.change == "add":
            self.held[one.fields["who"]] = one.fields
        if self.how == "killed":
            raise LeftError
        return Answer(200, {}, b"")


class World:
    """Routing, a queue that gives a batch again until it is acknowledged, a worker and its destination."""

    def __init__(self, coalesces: bool) -> None:
        self.vendor = Vendor()
        self.profiles = {name: Profile(id=name, created=1, latest=1) for name in PEOPLE}
        self.log: list[Outbound] = []
        self.outcomes: dict[str, Outcome] = {}
        self._queue: list[tuple[list[Outbound], bool]] = []
        self._again = False
        self._position = 0
        self._coalesces = coalesces
        self.restart()

    def restart(self) -> None:
        """Another worker goes on."""
        self._coalescing = Coalescing("list", self._look) if self._coalesces else None

    async def _look(self, name: str, records: Sequence[Outbound]) -> Mapping[str, Around]:
        found = {}
        for one in records:
            theirs = [other for other in self.log if other.profile == one.profile]
            place = [other.id for other in theirs].index(one.id)
            before = theirs[:place]
            after = [Other(other, self._status(other)) for other in theirs[place + 1 :]]
            found[one.id] = Around([b.id for b in before], before[0].change if before else None, after)
        return found

    def _status(self, record: Outbound) -> Any:
        outcome = self.outcomes.get(record.id)
        return None if outcome is None else outcome.status

    def change(self, name: str, member: bool, plan: str) -> None:
        profile = self.profiles[name]
        self._position += 1
        # Two people of whom one takes over what the other was known by.
        for attribute, value in (("who", name if plan != "shared" else f"{name}@new"), ("plan", plan)):
            profile.attributes[attribute] = Attribute(value, 0, 0, self._position)
        profile.memberships = {"members": Membership(1, 1)} if member else {}
        routed = [one for one in route(profile, DECLARED) if isinstance(one, Routed)]
        entries = list(outbound([(self._position, name, one) for one in routed]))
        batch = [msgspec.json.decode(entry.state, type=Outbound) for entry in entries]
        self.log += batch
        if batch:
            self._queue.append((batch, False))

    def deliver(self, how: str) -> None:
        """The worker's next batch: it goes well, or the destination is down, or the worker is killed after a request
        took effect, or NATS is lost with what became of it and all that waits, and is filled again from the log."""
        if not self._queue:
            return
        batch, resent = self._queue[0]
        self.vendor.how = how
        try:
            outcomes, overtaken = asyncio.run(self._run(batch, resent))
        except LeftError:
            self._again = True
            if how == "killed":
                self.restart()
            return
        self._queue.pop(0)
        self._again = False
        if self._coalescing is not None:
            self._coalescing.closed(overtaken)
        if how == "lost":
            self._queue = [([one], True) for one in self.log if one.id not in self.outcomes]
        else:
            self.outcomes |= {one.id: one for one in outcomes if one.id not in self.outcomes}

    async def _run(self, batch: list[Outbound], resent: bool) -> tuple[list[Outcome], list[str]]:
        async def everybody(purpose: str, profiles: Sequence[str]) -> set[str]:
            return set(profiles)

        config = ConnectorConfig("list", {}, {})
        to = Destination(CONNECTOR, config, self.vendor, everybody, Gate("list"))
        lease = Lease(time.monotonic(), 60)
        delivery = Delivery(to, lease, asyncio.Event(), self._again, self._coalescing, resent)
        return await delivery.run(batch), delivery.overtaken

    def settle(self) -> None:
        for _ in range(2 * len(self.log)):
            self.deliver("well")

    def wanted(self) -> dict[str, dict[str, Any]]:
        return {one["who"]: one for p in self.profiles.values() if (one := p.routed.get("list")) is not None}


_CHANGES = st.tuples(
    st.just("change"),
    st.sampled_from(PEOPLE),
    st.booleans(),
    st.sampled_from(("free", "pro", "shared")),
)
_DELIVERIES = st.tuples(
    st.just("deliver"), st.sampled_from(("well", "well", "down", "killed", "lost", "restart"))
)
_IN, _OUT = ("change", "ann", True, "free"), ("change", "ann", False, "free")


def _play(steps: Sequence[tuple[Any, ...]], coalesces: bool) -> World:
    world = World(coalesces)
    for what, *rest in steps:
        if what == "change":
            world.change(*rest)
        elif rest == ["restart"]:
            world.restart()
        else:
            world.deliver(*rest)
    world.settle()
    return world


@given(st.lists(st.one_of(_CHANGES, _CHANGES, _DELIVERIES), max_size=40))
@example([_IN, ("deliver", "lost"), _OUT, _IN, _OUT])
@example([_IN, ("deliver", "killed"), _OUT, _IN, _OUT, ("deliver", "well"), ("deliver", "well")])
@example([_IN, _OUT, ("deliver", "lost"), ("deliver", "well"), ("deliver", "well")])
def test_a_destination_ends_up_with_the_audience_by_no_more_requests_than_there_were_changes(
    steps: list[tuple[Any, ...]],
) -> None:
    world, plain = _play(steps, coalesces=True), _play(steps, coalesces=False)
    assert world.vendor.held == world.wanted() == plain.vendor.held
    assert len(world.vendor.seen) <= len(plain.vendor.seen)
    assert world.outcomes.keys() == {one.id for one in world.log}
    places = {one.id: place for place, one in enumerate(world.log)}
    for one in world.outcomes.values():
        if one.status == "suppressed":
            by = one.superseded_by
            assert places[by] > places[one.id] if by else one.reason == NEVER_TOLD
            assert one.id not in world.vendor.seen or "may have reached" in one.reason


def test_after_an_outage_only_what_holds_is_told_and_of_who_came_and_went_nothing() -> None:
    world = World(coalesces=True)
    world.change("ann", True, "free")
    world.deliver("well")
    world.vendor.seen.clear()
    for plan in ("pro", "free", "pro"):
        world.change("ann", True, plan)
    for _ in range(3):
        world.change("bob", True, "free")
        world.change("bob", False, "free")
    world.settle()
    told = [one for one in world.log if one.id in world.vendor.seen]
    assert [(one.profile, one.change, one.fields["plan"]) for one in told] == [
        ("ann", "remove", "free"),
        ("ann", "add", "pro"),
    ]
    assert len(world.log) == 1 + 6 + 6


def _record(change: Any, **more: Any) -> Outbound:
    told: dict[str, Any] = {"fields": {"who": "ann"}, "audience": "members"} | more
    return Outbound(id=change, connection="c", batch="b", profile="ann", change=change, cause=1, **told)


def test_what_a_run_tells_what_waits_for_quiet_hours_and_another_audience_is_not_overtaken() -> None:
    left = [Other(_record("remove"))]
    assert superseding(_record("add"), left) == "remove"
    assert superseding(_record("add", audience="others"), left) == ""
    assert superseding(_record("add", fields={"who": "bob"}), left) == ""
    for kept in ({"run": 7}, {"channel": "phone"}):
        assert superseding(_record("add"), [Other(_record("remove", **kept))]) == ""
    assert superseding(_record("add"), [Other(_record("remove"), "dead")]) == ""


def test_what_was_perhaps_sent_is_sent_again_before_what_comes_behind_it_and_not_after() -> None:
    assert superseding(_record("add"), [Other(_record("remove"))], perhaps_sent=True) == ""
    assert superseding(_record("add"), [Other(_record("remove"), "delivered")], perhaps_sent=True) == "remove"


def test_of_fields_that_people_change_at_the_destination_the_last_change_is_told() -> None:
    first = _record("add", fields={"who": "ann", "plan": "pro"})
    both = _record("add", fields={"who": "ann", "plan": "free", "city": "Bonn"})
    assert superseding(first, [Other(both)]) == "add"
    assert superseding(both, [Other(first)]) == "", "nobody else tells of the city"
    assert superseding(first, [Other(_record("remove")), Other(both)]) == ""
