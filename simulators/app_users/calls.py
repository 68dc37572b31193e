"""What a person's app sends: the calls of Segment's HTTP API, in order of time. Pure.

Source: segment.com/docs/connections/spec: common, identify, track, screen, ecommerce/v2; and
segment.com/docs/privacy/consent-management for `context.consent.categoryPreferences`.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, NamedTuple

from simulators.app_users.people import HOUR, Person
from simulators.times import SECOND, write_time

_PRODUCTS: Final = (
    ("tea-01", "Green Tea", 6.9),
    ("cup-02", "Stoneware Cup", 18.0),
    ("pot-03", "Cast-iron Pot", 64.5),
    ("box-04", "Tasting Box", 29.0),
)
_SCREENS: Final = ("Home", "Search", "Offers", "Account")
_CURRENCY: Final = "EUR"


class TimedCall(NamedTuple):
    """A call, and when it occurred in microseconds since the epoch."""

    at: int
    call: dict[str, Any]


class _Act(NamedTuple):
    """One thing done in the app. `at` is in seconds."""

    at: int
    type: str
    what: dict[str, Any]


def calls_of(person: Person) -> list[TimedCall]:
    """All of a person's calls. Those before the login carry the anonymous id only."""
    rng = Random(f"{person.seed}/{person.number}/calls")
    acts = sorted(
        [_arrival(person), _login(person), *_browsing(person, rng), *_orders(person, rng)],
        key=lambda act: act.at,
    )
    return [TimedCall(act.at * SECOND, _call(person, act, index)) for index, act in enumerate(acts)]


def _arrival(person: Person) -> _Act:
    return _track(person.arrives_at, "App Installed" if person.is_new else "App Opened", {"version": "4.2.0"})


def _login(person: Person) -> _Act:
    preferences = {"push": person.push_consent, "advertising": person.advertising_consent}
    traits = {} if person.email is None else {"email": person.email}
    consent = {"consent": {"categoryPreferences": preferences}}
    return _Act(person.logs_in_at, "identify", {"traits": traits, "context": consent})


def _browsing(person: Person, rng: Random) -> list[_Act]:
    login = person.logs_in_at
    acts = [_screen(login + rng.randint(1, HOUR), rng) for _ in range(rng.randint(0, 2))]
    acts += [_product_viewed(login + rng.randint(1, HOUR), rng) for _ in range(rng.randint(0, 2))]
    if login - person.arrives_at > 1:
        acts.append(_screen(rng.randint(person.arrives_at + 1, login - 1), rng))
        if rng.random() < 0.6:
            acts.append(_product_viewed(rng.randint(person.arrives_at + 1, login - 1), rng))
    if rng.random() < 0.5:
        comes_back = login + rng.randint(12 * HOUR, 23 * HOUR)
        acts += [_screen(comes_back, rng), _product_viewed(comes_back + rng.randint(1, HOUR), rng)]
    return acts


def _orders(person: Person, rng: Random) -> list[_Act]:
    return [_order(person, index, at, rng) for index, at in enumerate(person.orders)]


def _order(person: Person, index: int, at: int, rng: Random) -> _Act:
    product_id, name, price = rng.choice(_PRODUCTS)
    quantity = rng.randint(1, 3)
    product = {"product_id": product_id, "name": name, "price": price, "quantity": quantity}
    order = {
        "order_id": f"{person.user_id}-order-{index}",
        "total": round(price * quantity, 2),
        "currency": _CURRENCY,
        "products": [product],
    }
    return _track(at, "Order Completed", order)


def _product_viewed(at: int, rng: Random) -> _Act:
    product_id, name, price = rng.choice(_PRODUCTS)
    viewed = {"product_id": product_id, "name": name, "price": price, "currency": _CURRENCY}
    return _track(at, "Product Viewed", viewed)


def _screen(at: int, rng: Random) -> _Act:
    return _Act(at, "screen", {"name": rng.choice(_SCREENS), "properties": {}})


def _track(at: int, event: str, properties: dict[str, Any]) -> _Act:
    return _Act(at, "track", {"event": event, "properties": properties})


def _call(person: Person, act: _Act, index: int) -> dict[str, Any]:
    who = {"anonymousId": person.anonymous_id}
    if act.at >= person.logs_in_at:
        who["userId"] = person.user_id
    context = {"app": {"name": "Kettle", "version": "4.2.0"}, **act.what.get("context", {})}
    return {
        **act.what,
        "type": act.type,
        "messageId": f"{person.user_id}-{index:02d}",
        **who,
        "context": context,
        "timestamp": write_time(act.at * SECOND),
    }
