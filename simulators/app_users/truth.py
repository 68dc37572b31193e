"""What has to come of the story, worked out from the people alone, with none of the platform's code. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from simulators.app_users.people import WAIT, Person
from simulators.times import SECOND


class Fate(NamedTuple):
    """What has to come of one person. Times are in microseconds since the epoch.

    `sent_at` is when the push goes out, also to those it bounces from. `opened_at` may be after the wait,
    `converted_at` is the first order within it. `retargeted`: the push was handed over, and was neither
    opened nor followed by an order until 24 h after it, that moment included. `reachable`: an ad platform
    can be told, because there is an e-mail address and consent to advertising.
    """

    user_id: str
    enters: bool
    sent_at: int | None
    bounced: bool
    opened_at: int | None
    converted_at: int | None
    retargeted: bool
    reachable: bool
    email_sha256: str | None


class Truth(NamedTuple):
    """Everybody's fate, by user id."""

    fates: dict[str, Fate]

    @property
    def expected_pushed(self) -> frozenset[str]:
        """User ids that get exactly one push, also those it bounces from."""
        return frozenset(fate.user_id for fate in self.fates.values() if fate.enters)

    @property
    def expected_audience(self) -> frozenset[str]:
        """User ids in the retargeting audience at the end."""
        return frozenset(fate.user_id for fate in self.fates.values() if fate.retargeted)

    @property
    def expected_ads(self) -> frozenset[str]:
        """SHA-256 of the normalised e-mail addresses that the ad platform has at the end."""
        return frozenset(
            fate.email_sha256
            for fate in self.fates.values()
            if fate.retargeted and fate.reachable and fate.email_sha256 is not None
        )


def truth_of(people: Iterable[Person]) -> Truth:
    return Truth({person.user_id: fate_of(person) for person in people})


def fate_of(person: Person) -> Fate:
    sent = person.pushed_at
    opened = sent + person.opens_after_s if sent is not None and person.opens_after_s is not None else None
    converted = next((at for at in person.orders if sent is not None and sent <= at <= sent + WAIT), None)
    opened_in_time = sent is not None and opened is not None and opened <= sent + WAIT
    bounced = sent is not None and person.bounces
    return Fate(
        user_id=person.user_id,
        enters=sent is not None,
        sent_at=_micros(sent),
        bounced=bounced,
        opened_at=_micros(opened),
        converted_at=_micros(converted),
        retargeted=sent is not None and not bounced and not opened_in_time and converted is None,
        reachable=person.email is not None and person.advertising_consent,
        email_sha256=None if person.email is None else email_sha256(person.email),
    )


def email_sha256(email: str) -> str:
    """The hash of an address as ad platforms normalise it: trimmed, and in lower case."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def _micros(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * SECOND
