"""Who fills a cart in the shop, what they do then, and who has to be reminded of it: worked out from the people alone,
with none of the platform's code. Pure, and the same for the same seed.

Times are seconds since the story's beginning, on a grid of half hours. Nothing happens exactly at the end of a wait.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, NamedTuple

from tests.scenarios.shop import HOUR, Call, at

STEP: Final = HOUR // 2
CART_WAIT: Final = 2 * HOUR
MAIL_WAIT: Final = 6 * HOUR
#: Carts are filled until then; after the last wait the story is over.
LAST_CART: Final = 8 * HOUR
END: Final = LAST_CART + CART_WAIT + MAIL_WAIT + 2 * HOUR


class Shopper(NamedTuple):
    """`added` and `removed` are times and products; `mail` is what they do with an e-mail, and how long after it."""

    user: str
    email: str
    phone: str | None
    consents: dict[str, bool]
    logs_in: int
    added: tuple[tuple[int, str], ...]
    removed: tuple[tuple[int, str], ...]
    orders: tuple[int, ...]
    mail: tuple[tuple[int, str], ...]

    @property
    def mailed(self) -> int | None:
        """When the reminder goes out: a wait after the first thing that was left in the cart."""
        if not self.consents["email"]:
            return None
        return min(
            (time + CART_WAIT for time, product in self.added if self._left(time, product)), default=None
        )

    def _left(self, time: int, product: str) -> bool:
        end = time + CART_WAIT
        taken_out = any(time <= when <= end and what == product for when, what in self.removed)
        return not taken_out and not any(time <= when <= end for when in self.orders)

    @property
    def texted(self) -> int | None:
        """When the SMS goes out."""
        sent = self.mailed
        if sent is None or self.phone is None or not self.consents["sms"]:
            return None
        seen = any(after <= MAIL_WAIT for after, what in self.mail if what in ("open", "click"))
        ordered = any(sent <= when <= sent + MAIL_WAIT for when in self.orders)
        return None if seen or ordered else sent + MAIL_WAIT

    def calls(self) -> list[tuple[int, Call]]:
        """What the app says of them, each with its time."""
        traits = {"email": self.email, "first_name": self.user.title()} | (
            {"phone": self.phone} if self.phone else {}
        )
        consent = {"consent": {"categoryPreferences": self.consents}}
        found = [(self.logs_in, {"type": "identify", "traits": traits, "context": consent})]
        found += [(when, _track("Product Added", product_id=what)) for when, what in self.added]
        found += [(when, _track("Product Removed", product_id=what)) for when, what in self.removed]
        found += [(when, _track("Order Completed", total=20)) for when in self.orders]
        found.sort(key=lambda one: one[0])
        return [(when, self._said(when, call, index)) for index, (when, call) in enumerate(found)]

    def _said(self, when: int, call: Call, index: int) -> Call:
        who = {"anonymousId": f"device-{self.user}"} | ({"userId": self.user} if when >= self.logs_in else {})
        return {**call, **who, "messageId": f"{self.user}-{index}", "timestamp": at(when)}


def _track(event: str, **properties: Any) -> Call:
    return {"type": "track", "event": event, "properties": properties}


def shoppers(count: int, seed: int) -> list[Shopper]:
    return [_shopper(number, Random(f"{seed}/{number}")) for number in range(count)]


def _shopper(number: int, rng: Random) -> Shopper:
    added = tuple(
        (time, rng.choice(("tea", "cup", "pot"))) for time in _times(rng, 0, LAST_CART, rng.randint(1, 2))
    )
    first = added[0][0]
    removed = [(time + _clear_of(rng, CART_WAIT), what) for time, what in added if rng.random() < 0.25]
    doubtful = {when for time, _ in added for when in (time, time + CART_WAIT)}
    one = Shopper(
        user=f"user{number}",
        email=rng.choice(("user{}@example.com", " User{}@Example.com ", "USER{}@EXAMPLE.NET")).format(number),
        phone=f"+4366412{number:05}" if rng.random() < 0.9 else None,
        consents={"email": rng.random() < 0.9, "sms": rng.random() < 0.8},
        # Some fill the cart before anybody knows who they are.
        logs_in=first + rng.choice((-STEP, 0, STEP)),
        added=added,
        removed=tuple(each for each in removed if each[0] not in doubtful),
        orders=(),
        mail=(),
    )
    one = one._replace(orders=tuple(when for when in _orders(rng, one) if when not in doubtful))
    happening = rng.random()
    if happening < 0.3:
        opened = _clear_of(rng, MAIL_WAIT, later=0.2)
        clicked = ((opened + STEP, "click"),) if rng.random() < 0.3 and opened + STEP != MAIL_WAIT else ()
        return one._replace(mail=((opened, "open"), *clicked))
    if happening < 0.4:
        return one._replace(mail=((_clear_of(rng, MAIL_WAIT), "click"),))
    return one._replace(mail=((STEP, "bounce"),)) if happening < 0.5 else one


def _times(rng: Random, least: int, most: int, count: int) -> list[int]:
    return sorted(rng.sample(range(least + STEP, most, STEP), count))


def _clear_of(rng: Random, wait: int, later: float = 0.3) -> int:
    """So long after something: within its wait or, by the share `later`, after that."""
    return (
        wait + STEP * rng.randint(1, 3) if rng.random() < later else STEP * rng.randint(1, wait // STEP - 1)
    )


def _orders(rng: Random, one: Shopper) -> tuple[int, ...]:
    """Perhaps an order: before anything, instead of the reminder, after it, or after the SMS."""
    first, mailed = one.added[0][0], one.mailed
    chance = rng.random()
    if chance < 0.1:
        found = first - STEP
    elif chance < 0.35:
        found = first + _clear_of(rng, CART_WAIT)
    elif chance < 0.6 and mailed is not None:
        found = mailed + _clear_of(rng, MAIL_WAIT)
    else:
        return ()
    return (found,)
