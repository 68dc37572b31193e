"""What the simulators hold, against the reference: who differs, who was told twice, who was told without consent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.of_loops.truth import Truth
from benchmarks.of_loops.vendors import AD_AUDIENCES, PUSHES, Vendors

#: How many of those that differ are named.
_NAMED = 5


class Found(NamedTuple):
    """Each with the place where it was found: people who are missing or too many somewhere, who were told more than
    once, and who were told though they had not consented then. `told` is how many were told at all."""

    differ: list[str]
    twice: list[str]
    without_consent: list[str]
    told: dict[str, int]

    def named(self) -> list[str]:
        """The first of each, in words."""
        kinds = (("differ", self.differ), ("twice", self.twice), ("without consent", self.without_consent))
        return [f"{kind}: {'; '.join(who[:_NAMED])}" for kind, who in kinds if who]


def compare(truth: Truth, vendors: Vendors) -> Found:
    """Asks every simulator. Who gets a push without consent is in none of the reference's sets, and so is too many."""
    found = Found([], [], [], {})
    for name in PUSHES:
        sent, wanted = vendors.messages(name), getattr(truth, name)
        found.differ.extend(_differ(name, wanted, sent))
        found.twice.extend(f"{name} {user}" for user, one in sent.items() if one["count"] > 1)
        found.without_consent.extend(f"{name} {user}" for user in sorted(set(sent) - wanted))
        found.told[name] = len(sent)
    for name in AD_AUDIENCES:
        members, audience = vendors.members(name), truth.ads[name]
        found.differ.extend(_differ(name, audience.end, (one["value"] for one in members if one["member"])))
        found.twice.extend(f"{name} {one['value']}" for one in members if one["adds"] > 1)
        added = {one["value"] for one in members if one["adds"]}
        found.without_consent.extend(f"{name} {one}" for one in sorted(added - audience.allowed))
        found.told[name] = len(added)
    contacts = vendors.crm.get("contacts")
    found.differ.extend(
        f"sales {email}"
        for email in sorted({*contacts, *truth.contacts})
        if contacts.get(email) != truth.contacts.get(email)
    )
    found.told["sales"] = len(contacts)
    return found


def _differ(where: str, wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    expected, held = set(wanted), set(there)
    missing = [f"{where} lacks {one}" for one in sorted(expected - held)]
    return missing + [f"{where} has {one} too many" for one in sorted(held - expected)]
