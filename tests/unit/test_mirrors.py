"""Two sides that both change a person's attributes: they come to hold the same, and then nobody says anything more."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.mirrors import Mirror, alike, merge_mirrors
from domain.records import Identifier
from tests.unit.crm import EMAIL, FIELDS, SECOND, World
from tests.unit.memory import Memory

HOUR = 3_600 * SECOND
VALUES = ["", "a", "b", "c"]


def sent(world: World) -> list[Any]:
    return [(one["connection"], one["change"], one["fields"]) for one in world.memory.outbound()]


def settled() -> World:
    """A contact that both sides know."""
    world = World([0], [10])
    world.app("city", "a", 0)
    world.settle(snapshots=False)
    return world


def test_what_the_crm_said_is_not_said_back_to_it() -> None:
    world = settled()
    before = world.messages
    world.crms[0].change(world.now, "town", "b", "ann")
    world.settle(snapshots=True)
    assert world.ours()["town"] == "b"
    assert world.messages == before


def test_our_own_change_comes_back_and_causes_nothing() -> None:
    world = settled()
    before = world.messages
    world.app("city", "b", 0)
    profile = world.memory.profile(Identifier(*EMAIL))
    world.settle(snapshots=True)
    assert world.messages == before + 1
    assert world.memory.profile(Identifier(*EMAIL)).attributes == profile.attributes


def test_only_what_has_changed_goes_along_in_one_message() -> None:
    world = settled()
    world.app("city", "b", 0)
    assert sent(world)[-1] == ("crm0", "add", {"email": EMAIL[1], "town": "b"})
    assert [change for _, change, _ in sent(world)] == ["add", "add", "add"]


def test_what_loses_its_value_here_is_emptied_there() -> None:
    world = settled()
    world.app("city", "", 0)
    world.settle(snapshots=False)
    assert world.crms[0].held["town"] == ""
    assert world.messages == 3


def test_what_is_emptied_there_stays_so_and_keeps_the_person_in_the_audience() -> None:
    world = settled()
    before = world.messages
    world.crms[0].change(world.now, "town", "", "ann")
    world.settle(snapshots=True)
    assert world.ours()["town"] == ""
    assert world.messages == before


def test_an_echo_on_its_way_does_not_undo_the_change_after_it() -> None:
    world = settled()
    world.app("city", "b", 0)
    world.app("city", "c", 0)
    before = world.messages
    world.settle(snapshots=False)
    assert (world.ours()["town"], world.crms[0].held["town"], world.messages) == ("c", "c", before)


def test_a_change_here_that_is_outranked_there_is_taken_back() -> None:
    world = World([0], [20])
    world.app("city", "a", 0)
    world.settle(snapshots=False)
    world.crms[0].change(world.now, "town", "b", "ann")
    world.settle(snapshots=False)
    before = world.messages
    world.app("city", "c", 0)
    world.settle(snapshots=False)
    assert (world.ours()["town"], world.crms[0].held["town"], world.messages) == ("b", "b", before)


def test_a_snapshot_tells_what_a_lost_webhook_did_not() -> None:
    world = settled()
    before = world.messages
    world.crms[0].change(world.now + HOUR, "town", "b", "ann")
    world.crms[0].webhooks.clear()
    world.settle(snapshots=True)
    assert (world.ours()["town"], world.messages) == ("b", before)


def test_a_snapshot_from_before_our_change_arrived_does_not_undo_it() -> None:
    """Its time is that of the contact's last change, which was of something else."""
    world = settled()
    world.app("city", "b", 0)
    world.crms[0].change(world.now + HOUR, "tier", "pro", "ann")
    world.hear(world.crms[0].snapshot())
    world.settle(snapshots=True)
    assert world.ours() == {"town": "b", "tier": "pro"} == world.crms[0].held


def test_what_a_snapshot_has_settled_is_somebodys_when_another_has_what_was_before() -> None:
    world = settled()
    [crm] = world.crms
    world.app("city", "b", 0)
    before = world.messages
    crm.take_request(world.now + SECOND)
    crm.webhooks.clear()
    world.hear(crm.snapshot())
    crm.change(world.now + 3 * SECOND, "town", "a", "ann")
    crm.webhooks.clear()
    world.now += HOUR
    world.settle(snapshots=True)
    assert (world.ours()["town"], crm.held["town"], world.messages) == ("a", "a", before)


def test_a_snapshot_that_comes_late_says_nothing() -> None:
    world = settled()
    [crm] = world.crms
    before = world.messages
    late = crm.snapshot()
    crm.change(world.now + SECOND, "town", "b", "ann")
    world.hear(crm.webhooks.pop())
    world.hear(late)
    assert (world.ours()["town"], world.messages) == ("b", before)


def test_what_lost_its_value_here_by_a_higher_source_is_emptied_where_it_was_never_told() -> None:
    world = World([0], [5])
    world.app("city", "", 0)
    world.settle(snapshots=False)
    world.crms[0].change(world.now, "town", "a", "ann")
    world.settle(snapshots=False)
    assert (world.ours()["town"], world.crms[0].held["town"]) == ("", "")


def test_nothing_that_we_wrote_becomes_an_attribute_when_it_comes_back() -> None:
    world = settled()
    before = world.memory.profile(Identifier(*EMAIL)).attributes
    world.crms[0].change(world.now, "is_customer", "true", "us")
    world.settle(snapshots=False)
    assert world.memory.profile(Identifier(*EMAIL)).attributes == before


def test_what_our_echo_has_settled_is_somebodys_when_a_snapshot_has_it_again() -> None:
    world = settled()
    [crm] = world.crms
    world.app("city", "b", 0)
    crm.take_request(world.now + SECOND)
    crm.change(world.now + 2 * SECOND, "town", "c", "ann")
    for record in reversed(crm.webhooks):
        world.hear(record)
    before = world.messages
    crm.change(world.now + 3 * SECOND, "town", "b", "ann")
    crm.webhooks.clear()
    world.settle(snapshots=True)
    assert (world.ours()["town"], crm.held["town"], world.messages) == ("b", "b", before)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), st.sampled_from(VALUES)), max_size=6), st.randoms()
)
@settings(max_examples=100, deadline=None)
def test_changes_of_one_side_alone_cause_no_message_in_whatever_order_they_come(
    changes: list[tuple[str, str]], order: Random
) -> None:
    world = settled()
    [crm] = world.crms
    before = world.messages
    for field, value in changes:
        crm.change(world.now, field, value, "ann")
    world.now += HOUR
    order.shuffle(crm.webhooks)
    world.settle(snapshots=False)
    agree(world)
    assert world.messages == before


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("app"),
            st.sampled_from(sorted(FIELDS.values())),
            st.sampled_from(VALUES),
            st.integers(0, 9),
        ),
        st.tuples(
            st.just("crm"), st.integers(0, 2), st.sampled_from(sorted(FIELDS)), st.sampled_from(VALUES)
        ),
        st.tuples(st.just("request"), st.integers(0, 2)),
        st.tuples(
            st.just("webhook"),
            st.integers(0, 2),
            st.integers(0, 5),
            st.sampled_from(["once", "twice", "as new"]),
        ),
        st.tuples(st.just("lost"), st.integers(0, 2), st.integers(0, 5)),
        st.tuples(st.just("snapshot"), st.integers(0, 2), st.booleans()),
    ),
    max_size=25,
)
SKEWS = st.lists(st.sampled_from([0, -5 * SECOND, 3 * SECOND, -HOUR, HOUR]), min_size=1, max_size=3)


def play(world: World, steps: list[Any], lossless: bool) -> None:
    """Lets all this happen, a second each. What is lossless loses nothing, repeats nothing under another name, and
    takes no snapshots."""
    for number, step in enumerate(steps):
        world.now += SECOND
        kind, *said = step
        if kind == "app":
            world.app(said[0], said[1], said[2] * SECOND)
            continue
        crm = world.crms[said[0] % len(world.crms)]
        if kind == "crm":
            crm.change(world.now, said[1], said[2], "ann")
        elif kind == "request" and crm.requests:
            crm.take_request(world.now)
        elif kind == "webhook" and crm.webhooks:
            place = said[1] % len(crm.webhooks)
            world.hear(crm.webhooks[place])
            if said[2] == "once":
                del crm.webhooks[place]
            elif said[2] == "as new" and not lossless:
                crm.webhooks[place] = _renamed(crm.webhooks[place], number)
        elif kind == "lost" and crm.webhooks and not lossless:
            del crm.webhooks[said[1] % len(crm.webhooks)]
        elif kind == "snapshot" and not lossless:
            if said[1]:
                world.hear(crm.snapshot())
            else:
                crm.webhooks.append(crm.snapshot())


def _renamed(record: Any, number: int) -> Any:

    return msgspec.structs.replace(record, message_id=f"{record.message_id}-again-{number}")


def agree(world: World) -> None:
    ours = world.ours()
    for crm in world.crms:
        for name in FIELDS:
            assert alike(crm.held.get(name), ours.get(name)), (crm.name, name, crm.held, ours)


@given(SKEWS, st.lists(st.sampled_from([5, 10, 20]), min_size=3, max_size=3), STEPS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_happens_on_both_sides_a_snapshot_makes_them_equal_and_silent(
    skews: list[int], priorities: list[int], steps: list[Any], addressed: bool
) -> None:
    world = World(skews, priorities[: len(skews)], addressed)
    play(world, steps, lossless=False)
    world.settle(snapshots=True)
    agree(world)
    before = world.messages
    world.settle(snapshots=True)
    world.settle(snapshots=True)
    assert world.messages == before
    agree(world)


@given(SKEWS, st.lists(st.sampled_from([5, 10, 20]), min_size=3, max_size=3), STEPS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_where_no_webhook_is_lost_the_highest_change_wins_everywhere_and_no_snapshot_is_needed(
    skews: list[int], priorities: list[int], steps: list[Any], addressed: bool
) -> None:
    world = World(skews, priorities[: len(skews)], addressed)
    play(world, steps, lossless=True)
    world.settle(snapshots=False)
    agree(world)
    for name, ours in FIELDS.items():
        if world.said[ours]:
            assert world.ours()[name] == max(world.said[ours]).value
    before = world.messages
    world.settle(snapshots=True)
    assert world.messages == before


@given(SKEWS, STEPS, st.lists(st.integers(1, 7), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_log_folded_again_says_the_same(skews: list[int], steps: list[Any], sizes: list[int]) -> None:
    world = World(skews, [10] * len(skews))
    play(world, steps, lossless=False)
    world.settle(snapshots=True)
    again, at = Memory(world.memory.plan), 0
    while at < len(world.rows):
        size = sizes[at % len(sizes)]
        again.take_in(world.rows[at : at + size])
        at += size
    assert again.profiles == world.memory.profiles
    by_cause = [(one["connection"], one["cause"], one["change"], one["fields"]) for one in again.outbound()]
    live = [
        (one["connection"], one["cause"], one["change"], one["fields"]) for one in world.memory.outbound()
    ]
    assert sorted(map(repr, by_cause)) == sorted(map(repr, live))


MIRRORS = st.dictionaries(
    st.sampled_from(["x", "y"]),
    st.dictionaries(
        st.sampled_from(["town", "tier"]),
        st.builds(
            Mirror,
            st.sampled_from(VALUES),
            st.integers(0, 3),
            st.lists(st.sampled_from(VALUES), max_size=2).map(tuple),
        ),
        min_size=1,
    ),
)


@given(MIRRORS, MIRRORS, MIRRORS)
@settings(max_examples=200, deadline=None)
def test_of_people_who_turn_out_to_be_one_it_does_not_matter_in_which_order(a: Any, b: Any, c: Any) -> None:
    def merged(*several: Any) -> Any:
        into: dict[str, dict[str, Mirror]] = {}
        for one in several:
            merge_mirrors(into, one)
        return into

    assert merged(a, b, c) == merged(c, b, a) == merged(a, merged(b, c))
