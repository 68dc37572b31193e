"""What need not be told any more: changes of one person that waited for a destination until later ones overtook them.

Changes are told apart by their fields. Of all that have the same, the last one says what is to hold, whatever a
destination knows a person by; those that are left keep their order. Why so: docs/decisions/0230-coalescing.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from domain.outbound import Change, Outbound, Status

#: Of a removal that nothing was told of before.
NEVER_TOLD = "the destination was never told of what this takes back"


class Other(NamedTuple):
    """Another record of the same person by the same connection, and what became of it; `None` while that is open."""

    record: Outbound
    status: Status | None = None


def may_be_overtaken(record: Outbound) -> bool:
    """Whether it is a change of who is in an audience, told as it comes. What counts for a channel waits by rules of
    its own, and what a run tells is told by no other."""
    return record.change in ("add", "remove") and not record.run and not record.channel


def superseding(record: Outbound, after: Sequence[Other], perhaps_sent: bool = False) -> str:
    """The id of the record that leaves nothing of this one to be told, empty where none does; `after` are those
    behind it, in order.

    One that was `perhaps_sent` is sent again, unless a later one has been delivered, or is a removal that was not sent
    as nothing had been told.
    """
    others = [(place, one) for place, one in enumerate(after) if one.record.audience == record.audience]
    same = [one for _, one in others if may_be_overtaken(one.record) and one.record.fields == record.fields]
    if perhaps_sent:
        if same and (same[-1].record.change, same[-1].status) == ("remove", "suppressed"):
            return same[-1].record.id
        return next((one.record.id for one in same if one.status == "delivered"), "")
    for place, (other, status) in others:
        # Two entries in a row: of fields that people change at the destination, only what is new goes along.
        news = place == 0 and record.change == other.change == "add"
        overtakes = other.fields == record.fields or (news and record.fields.keys() <= other.fields.keys())
        if overtakes and may_be_overtaken(other) and status in (None, "delivered"):
            return other.id
    return ""


def never_told(before: Sequence[str], first: Change | None, untold: Callable[[str], bool]) -> bool:
    """Whether a destination has heard nothing of a person by the records `before` one, the `first` of which is such a
    change: they begin with an entry, and all are among those that surely were not sent."""
    return bool(before) and first == "add" and all(map(untold, before))
