"""The second look at quiet hours, right before a message leaves: it may have been on its way for long."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from domain.outbound import Outbound
from domain.quiet import quiet_until

#: The log's time now, in microseconds. Raises `ConsentUnknownError` when it cannot tell.
Now = Callable[[], Awaitable[int]]


async def wall() -> int:
    """The log's time where its clock is the wall's."""
    return time.time_ns() // 1_000


async def in_quiet_hours(now: Now, records: Sequence[Outbound]) -> dict[str, int]:
    """The ids of the records that must not be sent now, each with when its quiet hours end (microseconds)."""
    limited = [(record.id, record.quiet) for record in records if record.quiet is not None]
    if not limited:
        return {}
    at = await now()
    found = ((id, quiet_until(hours, at)) for id, hours in limited)
    return {id: until for id, until in found if until is not None}
