"""An event whose destination knows people by an identifier that nobody knows yet waits for it, and not for ever."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.audiences.evaluation import compile_audiences
from domain.awaiting import AWAITING_LIMIT
from domain.forwarding import ForwardedEvent, Forwarding, Forwardings, choice
from domain.mapping import Mapped
from domain.outbound import Outbound
from domain.profiles import decode_profile
from domain.routing import Destination
from domain.state import Inbound, Plan
from tests.unit.memory import HOUR, Memory, record

DEVICE, EMAIL, USER = ("idfv", "phone"), ("email", "ann@example.com"), ("user_id", "ann")
START = 100 * HOUR


def plan(patience: int = 24 * HOUR) -> Plan:
    fields = (
        ("email", Mapped("identifier", "email")),
        ("device", Mapped("identifier", "idfv")),
    )
    optional = frozenset({"device"})
    mail = Destination("mail", "", "news", fields, frozenset({"event"}), 2, optional=optional)
    lit = (choice(ForwardedEvent(event="Lamp Lit")),)
    forwardings = Forwardings((Forwarding(mail, lit, None, patience=patience),))
    return Plan(compile_audiences({}), {}, {}, forwardings=forwardings)


class World:
    """A pipeline that is told things one by one."""

    def __init__(self, declared: Plan) -> None:
        self.memory = Memory(declared)
        self.now, self.position = START, 0

    def say(self, after: int, *identifiers: tuple[str, str], kind: Any = "identify", **said: Any) -> None:
        self.now += after
        self.position += 1
        told = record(kind, identifiers, self.now, **said) if identifiers else None
        self.memory.take_in([Inbound(self.position, self.now, told)])

    def light(self, after: int = 0, *identifiers: tuple[str, str]) -> None:
        properties: dict[str, object] = {"lamp": "red"}
        self.say(after, *(identifiers or (DEVICE,)), kind="track", name="Lamp Lit", properties=properties)

    def records(self) -> list[Outbound]:
        entries = [one for one in self.memory.entries if one.topic == "outbound.requested"]
        return [msgspec.json.decode(one.state, type=Outbound) for one in entries]

    def sent(self) -> list[Outbound]:
        return [one for one in self.records() if not one.unsent]

    def dead(self) -> dict[str, str]:
        """The dead letters' reasons, by their ids."""
        entries = [one for one in self.memory.entries if one.topic == "outbound.dead"]
        return {one.stream_id: msgspec.json.decode(one.state)["reason"] for one in entries}

    def waiting(self) -> int:
        profiles = [decode_profile(one) for one in self.memory.profiles.values()]
        return sum(len(one) for profile in profiles for one in profile.awaiting.values())


def test_it_goes_out_as_it_was_once_the_identifier_is_known() -> None:
    world = World(plan())
    world.say(0, DEVICE, consent={"news": True})
    world.light(HOUR)
    assert (world.records(), world.waiting()) == ([], 1)
    world.say(23 * HOUR, DEVICE, EMAIL)
    [sent] = world.sent()
    assert sent.fields == {"email": "ann@example.com", "device": "phone"}
    assert (sent.event, sent.occurred_at, sent.properties) == ("Lamp Lit", START + HOUR, {"lamp": "red"})
    assert (world.waiting(), world.dead()) == (0, {})


def test_it_goes_out_when_the_person_turns_out_to_be_one_whose_identifier_is_known() -> None:
    world = World(plan())
    world.say(0, USER, EMAIL)
    world.say(HOUR, DEVICE, consent={"news": True})
    world.light(HOUR)
    world.say(HOUR, DEVICE, USER)
    assert [one.fields["email"] for one in world.sent()] == ["ann@example.com"]


def test_what_nobody_identifies_in_time_is_a_dead_letter_that_says_so() -> None:
    world = World(plan())
    world.say(0, DEVICE, consent={"news": True})
    world.light()
    world.say(25 * HOUR)
    [letter] = world.records()
    assert world.dead() == {letter.id: "no identifier 'email' became known in time"}
    assert letter.fields == {"device": "phone"}
    world.say(HOUR, DEVICE, EMAIL)
    assert world.sent() == []


def test_so_many_events_of_one_person_wait_and_the_next_is_a_dead_letter() -> None:
    world = World(plan())
    world.say(0, DEVICE, consent={"news": True})
    for _ in range(AWAITING_LIMIT + 2):
        world.light(1)
    assert (world.waiting(), len(world.dead())) == (AWAITING_LIMIT, 2)
    assert set(world.dead().values()) == {
        f"no identifier 'email', and {AWAITING_LIMIT} events wait for it already"
    }


def test_who_withdraws_meanwhile_is_not_told_of() -> None:
    world = World(plan())
    world.say(0, DEVICE, consent={"news": True})
    world.light(HOUR)
    world.say(HOUR, DEVICE, consent={"news": False})
    world.say(HOUR, DEVICE, EMAIL)
    assert (world.records(), world.waiting()) == ([], 0)
    assert "routing.withheld" in world.memory.topics()


def test_where_nothing_is_declared_an_event_that_lacks_an_identifier_is_passed_over() -> None:
    world = World(plan(patience=0))
    world.say(0, DEVICE, consent={"news": True})
    world.light(HOUR)
    world.say(HOUR, DEVICE, EMAIL)
    assert (world.records(), world.waiting()) == ([], 0)


@given(
    script=st.lists(st.tuples(st.integers(1, 10), st.sampled_from(("light", "light", "pass"))), max_size=30),
    known_at=st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_every_event_is_sent_once_or_is_a_dead_letter(script: list[tuple[int, str]], known_at: int) -> None:
    world = World(plan())
    world.say(0, DEVICE, consent={"news": True})
    lit: list[int] = []
    known = 0
    for number, (hours, what) in enumerate(script):
        if number == known_at:
            world.say(0, DEVICE, EMAIL)
            known = world.now
        if what == "light":
            world.light(hours * HOUR)
            lit.append(world.now)
        else:
            world.say(hours * HOUR)
    world.say(25 * HOUR)
    assert world.waiting() == 0
    sent = [one.occurred_at for one in world.sent()]
    in_time = [at for at in lit if known and at + 24 * HOUR > known]
    assert sorted(sent) == in_time
    assert len(world.dead()) == len(lit) - len(in_time)
