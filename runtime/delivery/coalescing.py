"""The look at what has overtaken a batch while it waited, right before it would be sent (`domain/coalescing.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from domain.coalescing import NEVER_TOLD, Other, may_be_overtaken, never_told, superseding
from domain.outbound import Change, Outbound

#: So many records are remembered that were not sent. Of those that are forgotten a removal is sent for nothing.
REMEMBERED: Final = 100_000


class Around(NamedTuple):
    """What else a connection was to tell of a record's person: the ids of all `before` it, none where they are too
    many, with the change that the first of them is, and the next ones `after` it."""

    before: Sequence[str] = ()
    first: Change | None = None
    after: Sequence[Other] = ()


#: The surroundings of these records of a connection, by id. Raises `ConsentUnknownError` when it cannot tell.
Look = Callable[[str, Sequence[Outbound]], Awaitable[Mapping[str, Around]]]


class Overtaken(NamedTuple):
    """Why a record is not sent, and the id of the one that supersedes it where there is one."""

    reason: str
    by: str = ""


class Coalescing:
    """What is known of one connection's records that were overtaken. Belongs to one worker."""

    def __init__(self, connection: str, look: Look) -> None:
        self._connection = connection
        self._look = look
        #: Records that surely were not sent and never will be, the oldest first.
        self._untold: dict[str, None] = {}

    async def overtaken(self, records: Sequence[Outbound], perhaps_sent: bool) -> dict[str, Overtaken]:
        """Those of a batch that need not be sent, by id. `perhaps_sent` says that an attempt may have been made."""
        asked = [one for one in records if may_be_overtaken(one)]
        around = await self._look(self._connection, asked) if asked else {}
        found: dict[str, Overtaken] = {}
        note = "; an attempt before may have reached the destination" if perhaps_sent else ""
        untold = lambda id: id in found or id in self._untold  # noqa: E731
        for one in asked:
            before, first, after = around.get(one.id, Around())
            if by := superseding(one, after, perhaps_sent):
                found[one.id] = Overtaken(f"superseded by {by}{note}", by)
            elif one.change == "remove" and not perhaps_sent and never_told(before, first, untold):
                found[one.id] = Overtaken(NEVER_TOLD)
        return found

    def closed(self, ids: Iterable[str]) -> None:
        """Notes that these were not sent, and that their batch is nobody's any more."""
        self._untold |= dict.fromkeys(ids)
        for id in list(self._untold)[: max(len(self._untold) - REMEMBERED, 0)]:
            del self._untold[id]
