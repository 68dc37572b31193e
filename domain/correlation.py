"""Which outbound record an engagement answers: by the id that came back or, where the vendor drops it, by who it is,
which campaign it names, and when.

A vendor gives back what it was given: our record's id, our batch's, or its own id of the message, which it told when it
took it. One that gives back nothing leaves the newest message of the same person, of a connection whose paired feed
brings this event, that was out for no longer than `WINDOW` then: that is a guess, and is said to be one. Where the
engagement names a campaign that a connection says is its own, only that connection's messages are meant; never those of
one that says another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

#: How long after a message its engagement may be guessed to be its own, in microseconds: three days.
WINDOW: Final = 3 * 86_400_000_000

By = Literal["outbound_id", "outbound_batch", "message_id", "campaign", "recipient"]


class Sent(NamedTuple):
    """An outbound record of one person. `at` is the log's time when it was requested (microseconds), `reference` the
    destination's own id of the message. `events` are those that the feeds of these formats bring back of it."""

    id: str
    connection: str
    batch: str
    at: int
    reference: str = ""
    events: frozenset[str] = frozenset()
    feeds: frozenset[str] = frozenset()


class Answer(NamedTuple):
    """Something that came in of this person: an event's name and properties, by a feed of a format. `at` is the log's
    time."""

    event: str
    properties: Mapping[str, Any]
    feed: str
    at: int


class Cause(NamedTuple):
    """The outbound record that was answered, and by what it is known; `inferred` where that is a guess."""

    outbound: str
    by: By

    @property
    def inferred(self) -> bool:
        return self.by in ("campaign", "recipient")


def cause_of(answer: Answer, sent: Iterable[Sent], campaigns: Mapping[str, str] = {}) -> Cause | None:
    """What was answered of all that this person was sent; `None` where nothing was, or nobody can know. `campaigns` are
    those of the connections that say theirs."""
    sent = list(sent)
    says = {name: answer.properties.get(name) for name in ("outbound_id", "outbound_batch", "message_id")}
    for one in sent:
        if says["outbound_id"] == one.id:
            return Cause(one.id, "outbound_id")
    for one in sent:
        if says["outbound_batch"] == one.batch:
            return Cause(one.id, "outbound_batch")
    for one in sent:
        if one.reference and says["message_id"] == one.reference:
            return Cause(one.id, "message_id")
    # Whoever answers something of ours that is not this person's answers nothing of this person's.
    if says["outbound_id"] or says["outbound_batch"]:
        return None
    named = answer.properties.get("campaign")
    theirs = {connection for connection, campaign in campaigns.items() if named and campaign == named}
    others = set(campaigns) - theirs if named else set()
    meant = [
        one
        for one in sent
        if answer.event in one.events
        and answer.feed in one.feeds
        and 0 <= answer.at - one.at <= WINDOW
        and (one.connection in theirs if theirs else one.connection not in others)
    ]
    if not meant:
        return None
    return Cause(max(meant, key=lambda one: (one.at, one.id)).id, "campaign" if theirs else "recipient")
