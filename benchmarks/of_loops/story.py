"""What the users' app sends, what sales does in the CRM, and in which step. Pure.

Source of the calls' form: segment.com/docs/connections/spec.
"""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any, Final, NamedTuple

from benchmarks.of_loops.people import START, STEP, WAIT, Person, Push, person, step_of
from simulators.times import SECOND, write_time

#: The share of calls that come again, as from an SDK that has not seen the answer.
_REPEATED: Final = 0.3


class Step(NamedTuple):
    """`at` is its end in seconds since the epoch. `calls` arrive in it, repeated ones among them and in no order;
    `vips` are e-mail addresses that sales makes VIPs at its beginning."""

    at: int
    calls: list[dict[str, Any]]
    vips: list[str]

    @property
    def at_text(self) -> str:
        """`at` in RFC 3339."""
        return write_time(self.at * SECOND)


class Story(NamedTuple):
    people: list[Person]
    steps: list[Step]

    def behaviours(self, push: str) -> list[dict[str, Any]]:
        """How people take a push (`welcome` or `reminder`), for the push tool's `POST /simulate/behaviours`. It
        knows everybody, whether they are to get one or not."""
        return [_behaviour(one, getattr(one, push)) for one in self.people]


def story(users: int, seed: int) -> Story:
    """The story of so many users; the same for the same seed."""
    people = [person(number, seed) for number in range(users)]
    calls: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    vips: defaultdict[int, list[str]] = defaultdict(list)
    for one in people:
        for step, call in _calls(one, Random(f"{seed}/{one.number}/calls")):
            calls[step].append(call)
        if one.vip_at is not None and one.email is not None:
            vips[one.vip_at].append(one.email.strip().lower())
    waits = [p.sent_at + WAIT + STEP for one in people for p in (one.welcome, one.reminder) if p]
    last = max([*calls, *vips, *waits]) + STEP
    steps = range(START + STEP, last + 1, STEP)
    return Story(people, [Step(at, _disturbed(calls[at], Random(f"{seed}/{at}")), vips[at]) for at in steps])


def _disturbed(calls: list[dict[str, Any]], rng: Random) -> list[dict[str, Any]]:
    """Some twice, and in another order."""
    calls = calls + [call for call in calls if rng.random() < _REPEATED]
    rng.shuffle(calls)
    return calls


def _calls(one: Person, rng: Random) -> list[tuple[int, dict[str, Any]]]:
    """A person's calls with the step in which each arrives. Those before the login carry the anonymous id only."""
    consent = {"push": one.push_consent, "advertising": one.advertising_consent}
    traits = {} if one.email is None else {"email": one.email}
    acts = [
        (one.arrives_at, _track("App Installed" if one.is_new else "App Opened")),
        (one.logs_in_at, _identify(traits, consent)),
        *(
            (one.logs_in_at + rng.randint(1, 3_600), _track("Product Viewed"))
            for _ in range(rng.randint(0, 3))
        ),
    ]
    if one.left_at is not None:
        acts.append((one.left_at, _track("Checkout Left")))
    if one.withdraws_at is not None:
        acts.append((one.withdraws_at, _identify({}, {one.withdraws: False})))
    found = []
    for index, (at, what) in enumerate(acts):
        found.append((step_of(at), _call(one, f"{one.user_id}-{index}", at, what)))
    if one.order is not None:
        call = _call(one, f"{one.user_id}-order", one.order.at, _track("Order Completed"))
        found.append((one.order.arrives_at, call))
    return found


def _track(event: str) -> dict[str, Any]:
    return {"type": "track", "event": event, "properties": {"currency": "EUR"}}


def _identify(traits: dict[str, Any], consent: dict[Any, bool]) -> dict[str, Any]:
    return {"type": "identify", "traits": traits, "context": {"consent": {"categoryPreferences": consent}}}


def _call(one: Person, message_id: str, at: int, what: dict[str, Any]) -> dict[str, Any]:
    who = {"anonymousId": one.anonymous_id} | ({"userId": one.user_id} if at >= one.logs_in_at else {})
    return {**what, **who, "messageId": message_id, "timestamp": write_time(at * SECOND)}


def _behaviour(one: Person, push: Push | None) -> dict[str, Any]:
    opens = push.opened_at - push.sent_at if push and push.opened_at is not None else None
    outcome = "bounced" if push and push.bounces else "delivered"
    return {"external_id": one.user_id, "outcome": outcome, "opens_after_s": opens}
