"""When to try again after a passing fault, and when to give up.

Exponential backoff with full jitter: many workers that failed together do not come back together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

BASE_S: Final = 0.2
CAP_S: Final = 30.0
RETRY_AFTER_CAP_S: Final = 600.0
#: How long a record is tried, unless its connection says otherwise.
MAX_ELAPSED_S: Final = 86_400.0


class Retry(NamedTuple):
    """Try again after so many seconds."""

    after_s: float


class GiveUp(NamedTuple):
    """Do not try again, and why."""

    reason: str


def decide(
    attempt: int,
    elapsed_s: float,
    retry_after_s: float | None,
    jitter: float,
    max_elapsed_s: float = MAX_ELAPSED_S,
) -> Retry | GiveUp:
    """Decides after the `attempt`-th failure (from 1), `elapsed_s` seconds since the first try began.

    `retry_after_s` is what the destination asked for; it is honoured up to `RETRY_AFTER_CAP_S`. `jitter` is
    a random number from 0 to 1.
    """
    after = jitter * min(CAP_S, BASE_S * 2.0 ** min(attempt - 1, 32))
    if retry_after_s is not None:
        after = max(after, min(retry_after_s, RETRY_AFTER_CAP_S))
    if elapsed_s + after > max_elapsed_s:
        return GiveUp(f"gave up after {attempt} attempts: the next would be later than {max_elapsed_s:g} s")
    return Retry(after)
