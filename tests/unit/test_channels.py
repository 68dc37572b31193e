"""However people, events, workers and outcomes interleave: nobody is reached more often than the caps allow or in
quiet hours, and what still holds is sent after them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.audiences.definition import Audience
from domain.audiences.evaluation import compile_audiences
from domain.channels import (
    WAITING_LIMIT,
    Channel,
    Reached,
    capped,
    merge_reached,
    note_outcome,
    reached_apart,
)
from domain.forwarding import ForwardedEvent, Forwarding, Forwardings, choice
from domain.mapping import Mapped
from domain.outbound import Outbound, Outcome
from domain.quiet import QuietHours, quiet_until
from domain.records import Identifier
from domain.routing import Destination
from domain.state import Closed, Inbound, Plan
from tests.unit.memory import HOUR, Memory, record

ANN = ("user_id", "ann")
MINUTE = HOUR // 60
DAY = 24 * HOUR
#: Noon of 5 January 2026 in UTC: a Monday.
NOON = 1_767_614_400_000_000
CHANNEL: dict[str, Any] = {
    "cap": [{"at_most": 2, "within": "1d"}, {"at_most": 4, "within": "3d"}],
    "quiet": {"from": "21:00", "to": "08:00", "zone": "attribute.timezone", "otherwise": "Europe/Berlin"},
}
ZONES = ("Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata", "nowhere")
_requested = msgspec.json.Decoder(Outbound).decode


def plan(**channel: Any) -> Plan:
    """Entries into an audience go out by `push`, events by `mail`; both count for one channel."""
    audiences = {"pros": Audience.model_validate({"match": {"attribute": "plan", "is": "pro"}})}
    fields = (("id", Mapped("identifier", "user_id")),)
    push = Destination("push", "pros", "ads", fields, frozenset({"add", "remove"}), 2, channel="phone")
    mail = Destination("mail", "", "ads", fields, frozenset({"event"}), 2, channel="phone")
    lit = (choice(ForwardedEvent(event="Lamp Lit")),)
    return Plan(
        compile_audiences(audiences),
        {},
        {"pros": (push,)},
        forwardings=Forwardings((Forwarding(mail, lit, None),)),
        channels={"phone": Channel.model_validate(channel or CHANNEL)},
    )


class World:
    """A pipeline, and workers that deliver what it requests when a test lets them."""

    def __init__(self, declared: Plan) -> None:
        self.memory = Memory(declared)
        self.now = NOON
        self.position = 0
        self.requested: list[Outbound] = []
        self.suppressed: dict[str, str] = {}
        #: When each record reached the person.
        self.reached: dict[str, int] = {}
        self.reports: list[Closed] = []
        self._seen = 0

    def say(self, kind: Any = None, **said: Any) -> None:
        self._take(None if kind is None else record(kind, [ANN], self.now, **said))

    def deliver(self, place: int, dead: bool = False) -> None:
        """A worker takes one of the records up that are on their way; what came of it is reported later."""
        if not self.requested:
            return
        one = self.requested.pop(place % len(self.requested))
        again_at = (quiet_until(one.quiet, self.now) or 0) if one.quiet is not None else 0
        if one.change != "remove" and not again_at and not dead:
            self.reached[one.id] = self.now
        outcome = Outcome(
            id=one.id,
            connection=one.connection,
            status="suppressed" if again_at else "dead" if dead else "delivered",
            profile=one.profile,
            channel=one.channel,
            cause=one.cause,
            again_at=again_at,
        )
        self.reports.append(Closed(outcome, one if again_at else None))

    def report(self) -> None:
        if self.reports:
            self._take(None, self.reports.pop(0))

    def calm_down(self) -> None:
        """Everything is delivered and reported, and time passes until nothing waits."""
        for _ in range(12):
            self.now += 6 * HOUR
            self.say()
            while self.requested or self.reports:
                self.deliver(0)
                self.report()

    def sent(self, change: str) -> list[Outbound]:
        return [one for one in self._all() if one.change == change and one.id in self.reached]

    def told(self, connection: str) -> list[Outbound]:
        """What a destination was told, in order."""
        mine = (one for one in self._all() if one.connection == connection)
        return [one for one in mine if one.change == "remove" or one.id in self.reached]

    def _all(self) -> list[Outbound]:
        return [_requested(e.state) for e in self.memory.entries if e.topic == "outbound.requested"]

    def _take(self, said: Any, closed: Closed | None = None) -> None:
        self.position += 1
        self.memory.take_in([Inbound(self.position, self.now, said, closed=closed)])
        fresh = self.memory.entries[self._seen :]
        self._seen = len(self.memory.entries)
        for entry in fresh:
            if entry.topic == "outbound.requested" and not _requested(entry.state).unsent:
                self.requested.append(_requested(entry.state))
            elif entry.topic == "outbound.suppressed":
                self.suppressed[entry.stream_id] = msgspec.json.decode(entry.state)["reason"]


def local(at: int, zone: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).astimezone(ZoneInfo(zone))


WORDS = ("light", "light", "light", "join", "leave", "dead", "report", "yes", "no")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 16)),
        st.tuples(
            st.sampled_from(("light", "light", "light", "join", "leave", "dead", "report", "yes", "no")),
            st.just(0),
        ),
        st.tuples(st.just("deliver"), st.integers(0, 5)),
        st.tuples(st.just("move"), st.integers(0, len(ZONES) - 1)),
    ),
    min_size=20,
    max_size=60,
)


def play(world: World, script: list[tuple[str, int]]) -> None:
    world.say("identify", consent={"ads": True})
    for what, number in script:
        world.now += MINUTE
        match what:
            case "wait":
                world.now += number * HOUR // 2
                world.say()
            case "light":
                world.say("track", name="Lamp Lit")
            case "join" | "leave":
                world.say("identify", traits={"plan": "pro" if what == "join" else "free"})
            case "yes" | "no":
                world.say("identify", consent={"ads": what == "yes"})
            case "move":
                world.say("identify", traits={"timezone": ZONES[number]})
            case "report":
                world.report()
            case _:
                world.deliver(number, dead=what == "dead")


@given(script=steps)
@settings(max_examples=100, deadline=None)
def test_nobody_is_reached_more_often_than_a_cap_allows_within_any_such_length_of_time(script: Any) -> None:
    world = World(plan())
    play(world, script)
    world.calm_down()
    times = sorted(world.reached.values())
    for at_most, within in ((2, DAY), (4, 3 * DAY)):
        assert all(last - first >= within for first, last in zip(times, times[at_most:], strict=False))


@given(script=steps)
@settings(max_examples=100, deadline=None)
def test_nobody_is_reached_in_quiet_hours_by_the_clock_of_the_zone_known_when_it_was_decided(
    script: Any,
) -> None:
    world = World(plan())
    play(world, script)
    world.calm_down()
    for one in (*world.sent("add"), *world.sent("event")):
        assert one.quiet is not None
        assert 8 <= local(world.reached[one.id], one.quiet.zone).hour < 21


@given(script=steps)
@settings(max_examples=100, deadline=None)
def test_what_still_holds_is_sent_once_after_the_quiet_hours(script: Any) -> None:
    """Without a cap, and with a consent that stays, every event arrives, and the destination knows the members."""
    quiet = {"quiet": CHANNEL["quiet"]}
    script = [step for step in script if step[0] not in ("dead", "no")]
    world = World(plan(**quiet))
    play(world, script)
    world.calm_down()
    lit = sum(what == "light" for what, _ in script)
    arrived = Counter(one.occurred_at for one in world.sent("event"))
    assert set(arrived.values()) <= {1}
    assert len(arrived) == lit - len(world.suppressed)
    assert all("wait already" in reason for reason in world.suppressed.values())
    profile = world.memory.profile(Identifier(*ANN))
    member = "pros" in profile.memberships
    assert ("push" in profile.routed) == member
    told = [
        one
        for one in world._all()
        if one.connection == "push" and (one.change == "remove" or one.id in world.reached)
    ]
    assert (bool(told) and told[-1].change == "add") == member
    assert profile.reached == {} or not profile.reached["phone"].waiting


def test_what_exceeds_the_cap_is_suppressed_with_the_reason_and_a_removal_is_not() -> None:
    world = World(plan())
    world.say("identify", consent={"ads": True}, traits={"plan": "pro"})
    for _ in range(2):
        world.now += MINUTE
        world.say("track", name="Lamp Lit")
    world.now += MINUTE
    world.say("identify", traits={"plan": "free"})
    assert [(one.connection, one.change) for one in world.requested] == [
        ("push", "add"),
        ("mail", "event"),
        ("push", "remove"),
    ]
    assert list(world.suppressed.values()) == ["the cap of channel 'phone': at most 2 within 1d"]


def test_a_message_that_was_not_delivered_leaves_room_for_another() -> None:
    world = World(plan())
    world.say("identify", consent={"ads": True})
    for _ in range(2):
        world.now += MINUTE
        world.say("track", name="Lamp Lit")
    world.deliver(0, dead=True)
    world.report()
    world.now += MINUTE
    world.say("track", name="Lamp Lit")
    assert (len(world.requested), world.suppressed) == (2, {})


@pytest.mark.parametrize("change", [{"consent": {"ads": False}}, {"traits": {"plan": "free"}}])
def test_who_has_withdrawn_or_left_during_quiet_hours_is_not_told_of_after_them(change: Any) -> None:
    world = World(plan())
    world.now = NOON + 10 * HOUR
    world.say("identify", consent={"ads": True}, traits={"plan": "pro"})
    world.now += HOUR
    world.say("identify", **change)
    world.calm_down()
    assert world.sent("add") == []


def test_an_event_that_waited_says_what_is_known_after_the_quiet_hours() -> None:
    world = World(plan())
    world.now = NOON + 10 * HOUR
    world.say("identify", consent={"ads": True})
    world.say("track", name="Lamp Lit", properties={"lamp": "red"})
    assert world.requested == []
    world.now = NOON + 20 * HOUR
    world.say()
    [sent] = world.requested
    assert (sent.fields, sent.properties) == ({"id": "ann"}, {"lamp": "red"})


def test_so_many_events_wait_and_no_more_and_the_log_says_so() -> None:
    world = World(plan(quiet=CHANNEL["quiet"]))
    world.now = NOON + 10 * HOUR
    world.say("identify", consent={"ads": True})
    for _ in range(WAITING_LIMIT + 1):
        world.now += MINUTE
        world.say("track", name="Lamp Lit")
    assert len(world.suppressed) == 1
    world.calm_down()
    assert len(world.sent("event")) == WAITING_LIMIT


@given(
    at=st.integers(NOON, NOON + 400 * DAY),
    zone=st.sampled_from([*ZONES[:-1], "America/Sao_Paulo", "Australia/Lord_Howe", "UTC"]),
    begin=st.integers(0, 47),
    length=st.integers(1, 47),
)
def test_what_the_clock_shows_within_quiet_hours_is_quiet_and_elsewhere_only_as_it_is_changed(
    at: int, zone: str, begin: int, length: int
) -> None:
    def shown(half: int) -> str:
        return f"{half // 2 % 24:02}:{half % 2 * 30:02}"

    hours = QuietHours(shown(begin), shown(begin + length), zone)
    clock = local(at, zone)
    into = (clock.hour * 60 + clock.minute - begin * 30) % 1440
    until = quiet_until(hours, at)
    if into < length * 30:
        assert until is not None
    changed = local(at - DAY, zone).utcoffset() != local(at + DAY, zone).utcoffset()
    if into >= length * 30 and not changed:
        assert until is None
    if until is not None:
        assert at < until <= at + DAY + HOUR
        assert local(until, zone).strftime("%H:%M") == hours.end or changed


@given(
    caps=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=3),
    script=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("mmmdddrrrx"), st.integers(0, 9)),
        min_size=20,
        max_size=80,
    ),
)
@settings(deadline=None)
def test_of_any_messages_and_outcomes_no_more_reach_a_person_than_the_caps_allow(
    caps: list[tuple[int, int]], script: list[tuple[int, str, int]]
) -> None:
    """Messages are decided, reach the person later, and are reported later still, in any order; some are lost."""
    channel = Channel.model_validate({"cap": [{"at_most": n, "within": f"{h}h"} for n, h in caps]})
    reached, now, number = Reached(), 0, 0
    waiting: list[int] = []
    arrived: dict[int, int] = {}
    times: list[int] = []
    for gap, what, place in script:
        now += gap * HOUR
        if what == "m" and not capped("c", channel, reached, now):
            number += 1
            reached.open.append(("c", number))
            waiting.append(number)
        elif what == "d" and waiting:
            arrived[waiting.pop(place % len(waiting))] = now
            times.append(now)
        elif what == "r" and arrived:
            note_outcome(channel, reached, ("c", one := list(arrived)[place % len(arrived)]), now)
            del arrived[one]
        elif what == "x" and waiting:
            note_outcome(channel, reached, ("c", waiting.pop(place % len(waiting))), None)
    for at_most, within in caps:
        assert all(last - first >= within * HOUR for first, last in zip(times, times[at_most:], strict=False))
    assert len(reached.delivered) <= max(n for n, _ in caps)


def test_who_was_taken_for_two_or_for_one_was_reached_as_often_as_both() -> None:
    channel = Channel.model_validate({"cap": [{"at_most": 3, "within": "1d"}]})
    both = merge_reached(Reached([("push", 7)], [NOON]), Reached([], [NOON - HOUR]))
    assert (both.open, both.delivered) == ([("push", 7)], [NOON - HOUR, NOON])
    assert capped("phone", channel, both, NOON)
    for first in (True, False):
        apart = reached_apart({"phone": both}, {}, first, NOON + HOUR)["phone"]
        assert capped("phone", channel, apart, NOON + HOUR)
        # What was open is closed for the one by its outcome, and has been for the other.
        assert bool(apart.open) == first
        note_outcome(channel, apart, ("push", 7), NOON + 2 * HOUR if first else None)
        assert capped("phone", channel, apart, NOON + 2 * HOUR)
        assert not capped("phone", channel, apart, NOON + 24 * HOUR)
