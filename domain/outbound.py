"""What goes out: one outbound record per person and change, and what became of it.

An outbound record is a stream of its own: requested (version 1), transformed where something else was sent than was
requested (version 2), and exactly one outcome, which closes the stream at version `OUTCOME_VERSION`. The event store's
own uniqueness thereby refuses a second outcome.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from domain.quiet import QuietHours

OUTCOME_VERSION: Final = 1000
TRANSFORMED_VERSION: Final = 2
#: The topic of the row that says what was sent in place of what was requested.
TRANSFORMED: Final = "outbound.transformed"

#: `event` is something that happened, told as it is; `delete` asks a destination to forget a person. `update` is an
#: add in place of what was told before, `complete` ends what a run sends and is of nobody.
Change = Literal["add", "remove", "delete", "event", "update", "complete"]
Status = Literal["delivered", "dead", "suppressed"]


class Outbound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one person that a connection has to tell its destination.

    `batch` names the outbound records that were formed into one batch when they were requested; batches
    never change afterwards, so a request rendered from one is the same request after any crash.
    `fields` holds exactly the values the connection declared, under the destination's names.
    `cause` is the log position that made it so. An `event` has its name, its time in microseconds and those of its
    properties that the connection declared; `audience` is empty then.

    Of what reaches a person by a `channel` the outcome repeats `channel`, `profile` and `cause`. In the hours `quiet`
    it is not sent. One with a reason why it is `unsent` never was to be sent: its outcome stands right after it.

    `run` is the position of the run that it goes out by, 0 where it goes out as it comes. An `update` says what those
    fields were `before` that are different, null where they were not told. `complete` has the count of the run's
    `records` for a field, and no profile. `replayed` is the position of the replay by which it goes out again.
    """

    id: str
    connection: str
    batch: str
    profile: str
    audience: str
    change: Change
    fields: dict[str, Any]
    cause: int
    purpose: str = ""
    event: str = ""
    occurred_at: int = 0
    properties: dict[str, Any] = {}
    channel: str = ""
    quiet: QuietHours | None = None
    unsent: str = ""
    run: int = 0
    before: dict[str, Any] = {}
    replayed: int = 0


class Transformed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the connection's transformation made of an outbound record, in its words: personal data of the `profile`."""

    id: str
    connection: str
    profile: str
    change: Change
    fields: dict[str, Any]
    event: str = ""
    properties: dict[str, Any] = {}
    before: dict[str, Any] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one outbound record. `reason` says why where it was not delivered; `reference` is the
    destination's own id of the message, by which its engagement comes back. `superseded_by` is the id of a later
    record that left nothing of this one to be told while it waited.

    `profile`, `channel` and `cause` are those of a record that has a channel. One that came into quiet hours and was
    not tried yet goes out `again_at` a time in microseconds, as a new record, where it still holds then.

    `transformed` is on its way to the log only: there it is a row of its own, sealed, and not part of the outcome's."""

    id: str
    connection: str
    status: Status
    reason: str = ""
    reference: str = ""
    attempts: int = 1
    profile: str = ""
    channel: str = ""
    cause: int = 0
    again_at: int = 0
    transformed: Transformed | None = None
    superseded_by: str = ""
