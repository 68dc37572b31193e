"""Who the three loops' users are, and what each will do when. Pure, and the same for the same seed.

Simulated time goes in steps. Who drives the story moves the clocks to a step's end, and then posts the calls that
arrive in the step, in any order; so whatever is decided by them is decided at the step's end. What would come out
differently by their order within a step nobody does: a withdrawal of consent has a step of its own, an order has
none with what is sent, and a push is opened before the last step of the wait or after it.
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple
from uuid import UUID

HOUR: Final = 3_600
STEP: Final = 4 * HOUR
#: 2026-01-05T00:00:00Z.
START: Final = 1_767_571_200
#: After a push has so long been neither opened nor followed by an order, it was ignored.
WAIT: Final = 24 * HOUR
_ARRIVALS: Final = 16 * HOUR
_LONGEST_ANONYMOUS: Final = 8 * HOUR
#: Everybody has done all within this time.
_LATEST: Final = START + 48 * HOUR


class Push(NamedTuple):
    """A push that goes out. Times are the ends of steps; `opened_at` is `None` for never."""

    sent_at: int
    bounces: bool
    opened_at: int | None

    @property
    def ignored_at(self) -> int | None:
        """When the wait is over with no answer, but for orders; `None` where it was opened in time or bounced."""
        in_time = self.opened_at is not None and self.opened_at <= self.sent_at + WAIT
        return None if self.bounces or in_time else self.sent_at + WAIT


class Order(NamedTuple):
    """An order; its call arrives in the step that ends at `arrives_at`."""

    at: int
    arrives_at: int


class Person(NamedTuple):
    """One user. Times are in seconds since the epoch, `None` for never.

    `left_at` is when they leave a checkout. `withdraws_at` is when they take back their consent to `withdraws`.
    `welcome` and `reminder` are the pushes that go out to them. `vip_at` is the step at whose beginning somebody
    in sales makes them a VIP in the CRM.
    """

    number: int
    user_id: str
    anonymous_id: str
    email: str | None
    push_consent: bool
    advertising_consent: bool
    is_new: bool
    arrives_at: int
    logs_in_at: int
    left_at: int | None
    withdraws: str | None
    withdraws_at: int | None
    welcome: Push | None
    reminder: Push | None
    order: Order | None
    vip_at: int | None


def step_of(at: int) -> int:
    """The end of the step in which this time falls; the end belongs to it."""
    return START + -(-(at - START) // STEP) * STEP


def person(number: int, seed: int) -> Person:
    """The person of this number."""
    rng = Random(f"{seed}/{number}")
    arrives_at = START + rng.randint(1, _ARRIVALS)
    logs_in_at = arrives_at + (
        rng.randint(1, 90) if rng.random() < 0.5 else rng.randint(600, _LONGEST_ANONYMOUS)
    )
    login = step_of(logs_in_at)
    is_new, push_consent = rng.random() < 0.85, rng.random() < 0.8
    left_at = _leaves(rng, arrives_at, logs_in_at)
    busy = {login} | ({max(step_of(left_at), login)} if left_at else set())
    withdraws = rng.choice(("push", "advertising")) if rng.random() < 0.12 else None
    withdraws_at = _withdraws(rng, login, busy) if withdraws else None
    welcome = _push(rng, login) if is_new and push_consent else None
    reminded = max(step_of(left_at), login) if left_at else None
    taken_back = withdraws == "push" and withdraws_at and reminded and withdraws_at < reminded
    reminder = _push(rng, reminded) if reminded and push_consent and not taken_back else None
    order = _order(rng, max(busy), {step_of(withdraws_at)} if withdraws_at else set())
    email = _email(rng, number, seed)
    is_vip = order is not None and email is not None and rng.random() < 0.4
    vip_at = _first_free(order.arrives_at + STEP, withdraws_at) if order and is_vip else None
    return Person(
        number=number,
        user_id=f"loops-{seed}-{number:06d}",
        anonymous_id=str(UUID(int=rng.getrandbits(128), version=4)),
        email=email,
        push_consent=push_consent,
        advertising_consent=rng.random() < 0.85,
        is_new=is_new,
        arrives_at=arrives_at,
        logs_in_at=logs_in_at,
        left_at=left_at,
        withdraws=withdraws,
        withdraws_at=withdraws_at,
        welcome=welcome,
        reminder=reminder,
        order=order,
        vip_at=vip_at,
    )


def _leaves(rng: Random, arrives_at: int, logs_in_at: int) -> int | None:
    """Some leave a checkout before they have logged in: what comes of it waits for that."""
    chance = rng.random()
    if chance < 0.15:
        return rng.randint(arrives_at, logs_in_at)
    return logs_in_at + rng.randint(1, 12 * HOUR) if chance < 0.45 else None


def _push(rng: Random, sent_at: int) -> Push:
    chance = rng.random()
    if chance < 0.05:
        return Push(sent_at, True, None)
    if chance < 0.4:
        return Push(sent_at, False, sent_at + rng.randint(5, WAIT - STEP))
    if chance < 0.45:
        return Push(sent_at, False, sent_at + rng.randint(WAIT + 1, WAIT + STEP))
    return Push(sent_at, False, None)


def _withdraws(rng: Random, login: int, busy: set[int]) -> int:
    """In a step in which nothing else of theirs is decided: neither by a call nor by a wait that is over."""
    taken = busy | {step + WAIT for step in busy}
    free = [step for step in range(login + STEP, _LATEST, STEP) if step not in taken]
    return rng.choice(free) - rng.randint(1, STEP - 1)


def _order(rng: Random, after: int, taken: set[int]) -> Order | None:
    """After all pushes. The call of one in seven arrives a step or two late."""
    if rng.random() >= 0.4:
        return None
    free = [step for step in range(after + STEP, max(_LATEST, after + 2 * STEP), STEP) if step not in taken]
    if not free:
        return None
    step = rng.choice(free)
    arrives_at = step + rng.choice((STEP, 2 * STEP)) if rng.random() < 0.15 else step
    if arrives_at in taken:
        arrives_at = step
    return Order(step - rng.randint(1, STEP - 1), arrives_at)


def _first_free(step: int, withdraws_at: int | None) -> int:
    return step + STEP if withdraws_at and step_of(withdraws_at) == step else step


def _email(rng: Random, number: int, seed: int) -> str | None:
    """As they typed it."""
    typing, email = rng.random(), f"user.{seed}.{number}@example.com"
    if typing < 0.05:
        return None
    if typing < 0.15:
        return f"User.{seed}.{number}@Example.com"
    return f"  {email.upper()} " if typing < 0.2 else email
