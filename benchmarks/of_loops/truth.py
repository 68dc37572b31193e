"""What has to come of the story at each simulator, worked out from the people alone, with none of the platform's
code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.of_loops.people import Person, Push, step_of


class AdAudience(NamedTuple):
    """Hashes of e-mail addresses: who is in it at the `end`, and who may ever have been put into it (`allowed`)."""

    end: frozenset[str]
    allowed: frozenset[str]


class Truth(NamedTuple):
    """User ids that get the `welcome` and the `reminder`; the ad audiences by connection; the CRM's `contacts`, by
    address with their properties."""

    welcome: frozenset[str]
    reminder: frozenset[str]
    ads: dict[str, AdAudience]
    contacts: dict[str, dict[str, str]]


def truth_of(people: Iterable[Person]) -> Truth:
    people = list(people)
    stays = {
        "retargeting": [one for one in people if _ignored(one)],
        "checkout_ads": [one for one in people if one.left_at is not None and one.order is None],
        "vip_ads": [one for one in people if one.vip_at is not None],
    }
    enters = {
        "retargeting": {one: at for one in people for at in _ignored_at(one)},
        "checkout_ads": {
            one: max(step_of(one.left_at), step_of(one.logs_in_at))
            for one in people
            if one.left_at is not None
        },
        "vip_ads": {one: one.vip_at for one in people if one.vip_at is not None},
    }
    ads = {
        name: AdAudience(
            frozenset(email_hash(one) for one in stays[name] if one.email and _consents(one)),
            frozenset(
                email_hash(one) for one, at in enters[name].items() if one.email and _consents(one, at)
            ),
        )
        for name in stays
    }
    return Truth(
        frozenset(one.user_id for one in people if one.welcome),
        frozenset(one.user_id for one in people if one.reminder),
        ads,
        dict(_contact(one, one.email) for one in people if one.order and one.email),
    )


def email_hash(one: Person) -> str:
    """The hash of an address as ad platforms normalise it: trimmed, and in lower case."""
    return hashlib.sha256((one.email or "").strip().lower().encode()).hexdigest()


def _consents(one: Person, at: int | None = None) -> bool:
    """To advertising, at a time or (`None`) at the end."""
    if not one.advertising_consent or one.withdraws != "advertising":
        return one.advertising_consent
    return at is not None and one.withdraws_at is not None and at < one.withdraws_at


def _pushes(one: Person) -> list[Push]:
    return [push for push in (one.welcome, one.reminder) if push]


def _ignored(one: Person) -> bool:
    """At the end. An order after a push is an answer to it whenever it comes, and all orders are after all
    pushes."""
    return one.order is None and any(push.ignored_at is not None for push in _pushes(one))


def _ignored_at(one: Person) -> list[int]:
    """The first moment from which they may be taken to have ignored a push, if there is one: no order has
    arrived."""
    moments = [at for push in _pushes(one) if (at := push.ignored_at) is not None]
    return [at for at in sorted(moments)[:1] if one.order is None or at <= one.order.arrives_at]


def _contact(one: Person, email: str) -> tuple[str, dict[str, str]]:
    address = email.strip().lower()
    stage = {"lifecyclestage": "vip"} if one.vip_at is not None else {}
    return address, {"email": address, "is_customer": "true", **stage}
