"""Events that connections send, whose answers come back as events: around any ring of them there is an end, and nobody
is told again by a connection what came of that connection's own message."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain.audiences.evaluation import compile_audiences
from domain.forwarding import ForwardedEvent, Forwarding, Forwardings, choice
from domain.mapping import Mapped
from domain.outbound import Outbound
from domain.routing import Destination
from domain.state import Inbound, Plan
from tests.unit.memory import HOUR, Memory, record

ANN, PHONE = ("user_id", "ann"), ("anonymous_id", "phone")
TOOLS = ("push", "mail", "text")
APP = ("Lamp Lit", "Lamp Off")
_requested = msgspec.json.Decoder(Outbound).decode


def plan(listens: dict[str, set[str]]) -> Plan:
    """Each tool sends the events that it listens to; what becomes of a message comes back by the tool's own feed, as an
    event of the tool's name."""
    forwardings = []
    for tool, events in listens.items():
        fields = (("id", Mapped("identifier", "user_id")),)
        destination = Destination(tool, "", "", fields, frozenset({"event"}), 10)
        chosen = tuple(choice(ForwardedEvent(event=name)) for name in sorted(events))
        if chosen:
            forwardings.append(Forwarding(destination, chosen, None))
    answered = {f"{tool}_feed": (tool,) for tool in TOOLS}
    return Plan(compile_audiences({}), {}, {}, forwardings=Forwardings(tuple(forwardings)), answered=answered)


class World:
    """A pipeline, and tools that answer what they are sent when a test lets them."""

    def __init__(self, listens: dict[str, set[str]]) -> None:
        self.memory = Memory(plan(listens))
        self.position = 0
        self.open: list[Outbound] = []
        self.sent: list[Outbound] = []

    def say(self, feed: str, name: str, who: tuple[tuple[str, str], ...] = (ANN,)) -> None:
        self.position += 1
        said = record("track", list(who), self.position * HOUR, name=name)
        said = msgspec.structs.replace(said, feed=feed, message_id=f"m-{self.position}")
        before = len(self.memory.entries)
        self.memory.take_in([Inbound(self.position, self.position * HOUR, said)])
        fresh = [e for e in self.memory.entries[before:] if e.topic == "outbound.requested"]
        self.sent += (found := [_requested(entry.state) for entry in fresh])
        self.open += found

    def answer(self, place: int, times: int = 1) -> None:
        one = self.open.pop(place % len(self.open))
        for _ in range(times):
            self.say(f"{one.connection}_feed", one.connection)

    def count(self, tool: str) -> int:
        return sum(one.connection == tool for one in self.sent)


LISTENS = st.fixed_dictionaries({tool: st.sets(st.sampled_from([*TOOLS, *APP])) for tool in TOOLS})
STEPS = st.lists(
    st.tuples(st.sampled_from(["lamp", "merge", "answer"]), st.integers(0, 9), st.integers(1, 2)), max_size=12
)


@given(LISTENS, STEPS, st.lists(st.integers(0, 9), min_size=1))
def test_whoever_answers_whom_in_whatever_order_there_is_an_end(
    listens: dict[str, set[str]], steps: list[tuple[str, int, int]], order: list[int]
) -> None:
    world = World(listens)
    for what, place, times in steps:
        if what == "answer" and world.open:
            world.answer(place, times)
        elif what == "merge":
            world.say("app", APP[place % 2], (ANN, PHONE) if place % 3 else (PHONE,))
        else:
            world.say("app", APP[place % 2])
    # Everybody's answers, one each, until all have fallen silent.
    for turn in range(2_000):
        if not world.open:
            break
        world.answer(order[turn % len(order)])
    assert not world.open


def test_a_message_is_not_sent_because_of_its_own_answer() -> None:
    world = World({"push": {"Lamp Lit", "push"}})
    world.say("app", "Lamp Lit")
    world.answer(0)
    assert world.count("push") == 1
    # What somebody does themselves is sent, whenever they do it.
    world.say("app", "Lamp Lit")
    assert world.count("push") == 2


def test_around_a_ring_each_connection_sends_once() -> None:
    world = World({"push": {"Lamp Lit", "text"}, "mail": {"push"}, "text": {"mail"}})
    for lit in (1, 2):
        world.say("app", "Lamp Lit")
        while world.open:
            world.answer(0)
        assert [world.count(tool) for tool in TOOLS] == [lit, lit, lit]


def test_what_a_tool_says_of_somebody_whom_it_was_told_nothing_of_is_no_answer() -> None:
    world = World({"push": {"push"}})
    world.say("push_feed", "push")
    assert world.count("push") == 1
