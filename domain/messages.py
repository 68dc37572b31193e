"""What follows from records, as the log keeps it and NATS carries it. Times are microseconds since the epoch of
the log's clock, positions are the log's, and a profile is named by its id. None holds more of a person."""

from __future__ import annotations

import msgspec


class ProfileCreated(msgspec.Struct, frozen=True):
    """Somebody was seen for the first time, by the record at `cause`."""

    profile: str
    cause: int


class ProfileMerged(msgspec.Struct, frozen=True):
    """`merged` turned out to be the same person as `profile`, and has become it."""

    profile: str
    merged: str
    cause: int


class ProfileUnmerged(msgspec.Struct, frozen=True):
    """`parted` turned out to be another person than `profile`, of which it was a part, and is one of its own."""

    profile: str
    parted: str
    cause: int


class MergeRefused(msgspec.Struct, frozen=True):
    """An identifier was not taken for this person's: `identifier` is its node, `reason` the rule."""

    profile: str
    identifier_kind: str
    identifier: str
    reason: str
    cause: int


class AttributeRefused(msgspec.Struct, frozen=True):
    """A value that a record said of an attribute was not taken in, and why; the record is at the position `cause`."""

    profile: str
    attribute: str
    reason: str
    cause: int


class MembershipChanged(msgspec.Struct, frozen=True):
    """Somebody entered or left an audience at the log's time `at`. `because` are the positions of the records
    that made it true; `cause` is the position at which it became so."""

    audience: str
    profile: str
    at: int
    cause: int
    because: tuple[int, ...]


class RoutingWithheld(msgspec.Struct, frozen=True):
    """A connection may not tell its destination of a member of its audience, and why."""

    connection: str
    audience: str
    profile: str
    reason: str
    cause: int


class PutAside(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something is in quarantine: a payload that could not be taken in or, with a `position`, the record of the log
    there, which the pipeline cannot apply. `code` is for programs, `reason` for people."""

    id: str
    feed: str
    code: str
    reason: str
    position: int = 0
