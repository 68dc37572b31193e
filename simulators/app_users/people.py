"""Who the demo's app users are, and what each will do when. Pure, and the same for the same seed.

A person depends on the seed and on their number alone, so a story of more users has those of a smaller one.
Times are whole seconds since the epoch. The log's clock goes in steps; the driver ticks it to a step's end
before it posts what happened in the step. So a wait that ends with a step is decided before the step's own
calls arrive, and nobody here answers a push in the last step of the wait: the latest answers in time come
exactly at its beginning (`LAST_IN_TIME`), the earliest late ones a second after the wait (`FIRST_TOO_LATE`).
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple
from uuid import UUID

HOUR: Final = 3_600
STEP: Final = 2 * HOUR
#: 2026-01-05T00:00:00Z.
START: Final = 1_767_571_200
WAIT: Final = 24 * HOUR
LAST_IN_TIME: Final = WAIT - STEP
FIRST_TOO_LATE: Final = WAIT + 1
#: Everybody turns up in the first day, and logs in at most half a day later.
ARRIVALS: Final = 24 * HOUR
LONGEST_ANONYMOUS: Final = 12 * HOUR

NO_EMAIL: Final = 0.05
PUSH_CONSENT: Final = 0.80
ADVERTISING_CONSENT: Final = 0.85
NOT_NEW: Final = 0.10
LOGIN_AT_ONCE: Final = 0.55
BOUNCED: Final = 0.04
OPENED: Final = 0.35

_GIVEN_NAMES: Final = (
    "ada",
    "bela",
    "chidi",
    "dina",
    "emre",
    "fatou",
    "goran",
    "hana",
    "ivo",
    "jun",
    "kira",
    "leo",
)
_FAMILY_NAMES: Final = (
    "adler",
    "brandt",
    "costa",
    "diallo",
    "eriksen",
    "farkas",
    "gruber",
    "haas",
    "ito",
    "jansen",
)
_DOMAINS: Final = ("example.com", "example.net", "example.org")


class Person(NamedTuple):
    """One app user. `email` is as they typed it, `None` where they gave none.

    `pushed_at` is when a push goes out to them: at the end of the step in which they logged in, if they are
    new and consent. `opens_after_s` is how they take it, `None` for never. `orders` are in order of time.
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
    pushed_at: int | None
    bounces: bool
    opens_after_s: int | None
    orders: tuple[int, ...]
    seed: int


def person(number: int, seed: int) -> Person:
    """The person of this number."""
    rng = Random(f"{seed}/{number}")
    arrives_at = START + rng.randint(1, ARRIVALS)
    is_new = rng.random() >= NOT_NEW
    logs_in_at = arrives_at + _anonymous_for(rng)
    push_consent = rng.random() < PUSH_CONSENT
    pushed_at = step_of(logs_in_at) if is_new and push_consent else None
    bounces = rng.random() < BOUNCED
    return Person(
        number=number,
        user_id=f"app-{seed}-{number:06d}",
        anonymous_id=str(UUID(int=rng.getrandbits(128), version=4)),
        email=_email(rng, number, seed),
        push_consent=push_consent,
        advertising_consent=rng.random() < ADVERTISING_CONSENT,
        is_new=is_new,
        arrives_at=arrives_at,
        logs_in_at=logs_in_at,
        pushed_at=pushed_at,
        bounces=bounces,
        opens_after_s=None if bounces else _opens_after(rng),
        orders=_orders(rng, arrives_at, pushed_at or step_of(logs_in_at)),
        seed=seed,
    )


def step_of(at: int) -> int:
    """The end of the step in which this time falls; the end belongs to it."""
    return START + -(-(at - START) // STEP) * STEP


def _anonymous_for(rng: Random) -> int:
    return rng.randint(1, 90) if rng.random() < LOGIN_AT_ONCE else rng.randint(10 * 60, LONGEST_ANONYMOUS)


def _opens_after(rng: Random) -> int | None:
    chance = rng.random()
    if chance < OPENED:
        return min(5 + int(rng.lognormvariate(7.8, 1.3)), LAST_IN_TIME)
    if chance < OPENED + 0.01:
        return LAST_IN_TIME
    if chance < OPENED + 0.02:
        return FIRST_TOO_LATE
    if chance < OPENED + 0.05:
        return rng.randint(FIRST_TOO_LATE, WAIT + STEP)
    return None


def _orders(rng: Random, arrives_at: int, pivot: int) -> tuple[int, ...]:
    """Orders around `pivot`, the time of a push if there is one."""
    orders = []
    if rng.random() < 0.10:
        orders.append(rng.randint(arrives_at + 1, max(arrives_at + 1, pivot - 1)))
    chance = rng.random()
    if chance < 0.18:
        orders.append(pivot + rng.randint(60, LAST_IN_TIME))
    elif chance < 0.19:
        orders.append(pivot + LAST_IN_TIME)
    elif chance < 0.20:
        orders.append(pivot + FIRST_TOO_LATE)
    elif chance < 0.28:
        orders.append(pivot + rng.randint(FIRST_TOO_LATE, WAIT + STEP))
    if orders and rng.random() < 0.2:
        orders.append(orders[-1] + rng.randint(1, LAST_IN_TIME))
    return tuple(sorted(order for order in orders if _is_clear(order - pivot)))


def _is_clear(after_s: int) -> bool:
    """Whether an order so long after a push is before it, in time, or too late, beyond doubt."""
    return after_s < 0 or 0 < after_s <= LAST_IN_TIME or FIRST_TOO_LATE <= after_s <= WAIT + STEP


def _email(rng: Random, number: int, seed: int) -> str | None:
    given, family, domain = rng.choice(_GIVEN_NAMES), rng.choice(_FAMILY_NAMES), rng.choice(_DOMAINS)
    email = f"{given}.{family}.{seed}.{number}@{domain}"
    typing = rng.random()
    if typing < NO_EMAIL:
        return None
    if typing < 0.15:
        return f"{given.title()}.{family.title()}.{seed}.{number}@{domain.title()}"
    if typing < 0.20:
        return f" {email.upper()} "
    if typing < 0.25:
        return f"{email}\t" if rng.random() < 0.5 else f"  {email}"
    return email
