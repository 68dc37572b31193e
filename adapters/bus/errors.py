"""What can go wrong with NATS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

_SHOWN: Final = 5


class BusError(Exception):
    """NATS did not do what was asked. The same may be asked again: it knows a message by its id."""


class BusUnavailableError(BusError):
    """No NATS server answered."""


class Unacknowledged(NamedTuple):
    """A message that NATS has not promised to keep, and why."""

    subject: str
    msg_id: str
    reason: str


class PublishError(BusError):
    """Some messages of a batch were not acknowledged; `messages` are those. The others are in the stream."""

    def __init__(self, messages: Sequence[Unacknowledged], of: int) -> None:
        self.messages = tuple(messages)
        named = "; ".join(f"{m.msg_id or '(no id)'} on {m.subject}: {m.reason}" for m in messages[:_SHOWN])
        more = f" and {len(messages) - _SHOWN} more" if len(messages) > _SHOWN else ""
        super().__init__(
            f"{len(messages)} of {of} messages were not acknowledged ({named}{more}); publish them again"
        )
