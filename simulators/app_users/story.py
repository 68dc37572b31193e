"""The demo's story in steps of simulated time: which calls occurred in each, and what has to come of it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from simulators.app_users.calls import TimedCall, calls_of
from simulators.app_users.people import START, STEP, WAIT, Person, person, step_of
from simulators.app_users.truth import Truth, truth_of
from simulators.times import SECOND, write_time


class Step(NamedTuple):
    """The calls that occurred after the step before and until `at`, in order of time.

    `at` is in microseconds since the epoch. Who drives the story sets the clocks to it, posts the calls, and
    goes on when all is quiet.
    """

    at: int
    calls: list[dict[str, Any]]

    @property
    def at_text(self) -> str:
        """`at` in RFC 3339."""
        return write_time(self.at)


class Story(NamedTuple):
    """A whole story. `behaviours` is the script for the push tool's `POST /simulate/behaviours`."""

    steps: list[Step]
    behaviours: list[dict[str, Any]]
    people: list[Person]

    def truth(self) -> Truth:
        """What has to come of it."""
        return truth_of(self.people)


def story(users: int, seed: int) -> Story:
    """The story of so many users; the same for the same seed, message ids included.

    Raises `ValueError` when there are no users.
    """
    if users < 1:
        raise ValueError(f"a story of {users} users has nothing to tell: give it at least 1")
    people = [person(number, seed) for number in range(users)]
    timed = sorted((call for one in people for call in calls_of(one)), key=lambda each: each.at)
    return Story(_steps(timed, _end(people, timed)), [_behaviour(one) for one in people], people)


def _end(people: list[Person], timed: list[TimedCall]) -> int:
    """A step after the last wait is over, in seconds: then it has been decided in every way of counting."""
    waits = [one.pushed_at + WAIT + STEP for one in people if one.pushed_at is not None]
    return max([step_of(timed[-1].at // SECOND), *waits])


def _steps(timed: list[TimedCall], end: int) -> list[Step]:
    calls: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for at, call in timed:
        calls[step_of(at // SECOND)].append(call)
    return [Step(at * SECOND, calls[at]) for at in range(START + STEP, end + 1, STEP)]


def _behaviour(one: Person) -> dict[str, Any]:
    return {
        "external_id": one.user_id,
        "outcome": "bounced" if one.bounces else "delivered",
        "opens_after_s": one.opens_after_s,
    }
