"""Records that say nothing to anybody but whose they are, and when: most of what people do.

No plan of the log asks for such an event, and it carries no traits and no consent. So a rebuild takes no more of it
along than a record that says whose it is, the same for all of one person's
(docs/decisions/0260-how-a-rebuild-works.md).
"""

from __future__ import annotations

from typing import Final

import msgspec

from domain.derived import VIEWED
from domain.forwarding import EVERY
from domain.records import TOPIC_NAME_LIMIT, Identifier, Record

#: The names of the events that anything asks for; `EVERY` stands for all.
Heard = frozenset[str]
EVERYTHING: Final[Heard] = frozenset({EVERY})

_encode = msgspec.json.Encoder().encode


def may_pass(topic: str, heard: Heard) -> bool:
    """Whether no event of this topic, a record's, is asked for. An alias call has people be one."""
    type, _, name = topic.partition(".")
    if type == "alias" or EVERY in heard:
        return False
    if type in ("identify", "group"):
        return True
    # A longer name stands in the record alone.
    return VIEWED.get(type, name) not in heard and len(name) < TOPIC_NAME_LIMIT


def all_heard(asked: Heard, heard: Heard) -> bool:
    """Whether who heard these has heard all that is asked for."""
    return EVERY in heard or asked <= heard


def who(feed: str, identifiers: tuple[Identifier, ...]) -> bytes:
    """The state of a record that says no more than whose it is."""
    nothing = msgspec.Raw(b"{}")
    return _encode(
        Record(
            feed=feed, message_id="", type="identify", occurred_at=0, identifiers=identifiers, body=nothing
        )
    )
