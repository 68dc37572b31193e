"""Who looks at products in the shop and who buys, and who has to be in which ad audience: worked out from the people
alone, with none of the platform's code. Pure, and the same for the same seed.

Times are seconds since the story's beginning, on a grid of half days. Nobody looks exactly when a look is over, or as
they buy.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Final, NamedTuple

from tests.scenarios.shop import HOUR, Call, at

STEP: Final = 12 * HOUR
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
END: Final = 12 * DAY


class Stay(NamedTuple):
    """From when to when somebody is in an audience; `until` is `None` for those who are still there in the end."""

    since: int
    until: int | None


class Looker(NamedTuple):
    """`logs_in` is when it becomes known who they are, `None` for never."""

    user: str
    email: str
    advertising: bool
    logs_in: int | None
    looks: tuple[int, ...]
    orders: tuple[int, ...]

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.email.strip().lower().encode()).hexdigest()

    @property
    def _reachable_from(self) -> int:
        return self.logs_in if self.logs_in is not None and self.advertising else END + 1

    @property
    def shown(self) -> list[Stay]:
        """When they are in the audience of those who looked."""
        bought = min(self.orders, default=END + 1)
        spans: list[tuple[int, int]] = []
        for look in self.looks:
            if spans and look < spans[-1][1]:
                spans[-1] = (spans[-1][0], look + WEEK)
            else:
                spans.append((look, look + WEEK))
        clipped = [(max(since, self._reachable_from), min(until, bought)) for since, until in spans]
        return [
            Stay(since, until if until <= END else None)
            for since, until in clipped
            if since < until and since <= END
        ]

    @property
    def excluded(self) -> list[Stay]:
        """When they are in the audience of buyers: for good."""
        since = max(min(self.orders, default=END + 1), self._reachable_from)
        return [Stay(since, None)] if since <= END else []

    def calls(self) -> list[tuple[int, Call]]:
        """What the app says of them, each with its time."""
        acts = [(when, _track("Product Viewed")) for when in self.looks]
        acts += [(when, _track("Order Completed")) for when in self.orders]
        if self.logs_in is not None:
            consent = {"consent": {"categoryPreferences": {"advertising": self.advertising}}}
            said = {"type": "identify", "traits": {"email": self.email}, "context": consent}
            acts.append((self.logs_in, said))
        acts.sort(key=lambda act: act[0])
        return [(when, self._said(when, call, index)) for index, (when, call) in enumerate(acts)]

    def _said(self, when: int, call: Call, index: int) -> Call:
        known = self.logs_in is not None and when >= self.logs_in
        who = {"anonymousId": f"device-{self.user}"} | ({"userId": self.user} if known else {})
        return {**call, **who, "messageId": f"{self.user}-{index}", "timestamp": at(when)}


def _track(event: str) -> Call:
    return {"type": "track", "event": event, "properties": {"product_id": "tea"}}


def lookers(count: int, seed: int) -> list[Looker]:
    return [_looker(number, Random(f"{seed}/{number}")) for number in range(count)]


def _looker(number: int, rng: Random) -> Looker:
    moments = range(STEP, END, STEP)
    looks: list[int] = []
    for when in sorted(rng.sample(moments, rng.choice((0, 1, 1, 2, 2, 3)))):
        if when - WEEK not in looks:
            looks.append(when)
    if rng.random() < 0.1:
        # Back after more than a week.
        looks = [STEP, STEP + WEEK + DAY]
    buys = rng.random()
    orders = rng.sample(
        [when for when in moments if when not in looks], 2 if buys < 0.1 else 1 if buys < 0.45 else 0
    )
    first = min([*looks, *orders], default=STEP)
    return Looker(
        user=f"user{number}",
        email=rng.choice(("user{}@example.com", " User{}@Example.com ", "USER{}@EXAMPLE.NET")).format(number),
        advertising=rng.random() < 0.85,
        # Some look around, and buy, before anybody knows who they are.
        logs_in=None if rng.random() < 0.05 else max(0, first + rng.choice((-STEP, 0, STEP, 2 * DAY))),
        looks=tuple(looks),
        orders=tuple(sorted(orders)),
    )
