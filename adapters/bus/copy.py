"""The log's copy on NATS, as far as it goes: NATS may have lost its end, though it had acknowledged it."""

from __future__ import annotations

from typing import NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from adapters.bus.streams import LOG


class _Message(NamedTuple):
    """One message of the copy. `position` is 0 where somebody else has put it there."""

    sequence: int
    position: int


async def newest_relayed(js: JetStreamContext, upto: int) -> int | None:
    """The position of the newest row in the log's copy that is none beyond `upto`, 0 where there is none.

    What is beyond may have been put there after a loss. `None` where the newest messages were overwritten or have grown
    old, so that it cannot be told.
    """
    state = (await js.stream_info(LOG)).state
    if not state.last_seq:
        return 0
    found = await _at(js, state.last_seq)
    if found is None:
        return None
    first, beyond = state.first_seq, state.last_seq
    if found.position > upto:
        # The rows are in order: the first one beyond is looked for between these two.
        found = None
        while first < beyond:
            middle = (first + beyond) // 2
            one = await _at(js, middle)
            if one is None or one.position > upto:
                beyond = middle
            else:
                found, first = one, one.sequence + 1
        if found is None:
            return 0 if state.first_seq <= 1 else None
    # A head of the chain stands for rows before those that it comes after.
    before = await _at(js, found.sequence - 1) if found.sequence > 1 else None
    return max(found.position, before.position if before is not None and before.position <= upto else 0)


async def _at(js: JetStreamContext, sequence: int) -> _Message | None:
    """The message with this sequence, or the next one that there is."""
    try:
        message = await js.get_msg(LOG, seq=sequence, subject=">", next=True)
    except NotFoundError:
        return None
    assert message.seq is not None
    position = (message.headers or {}).get("ce-id", "").rpartition(":")[2]
    return _Message(message.seq, int(position) if position.isdecimal() else 0)
