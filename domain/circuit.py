"""A circuit breaker's policy: after how many failures of a destination itself it is left alone, and for how long.

Pure: the state is a value, and the time is given. Michael Nygard, "Release It!": closed, open, half-open.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: So many failures in a row open the circuit.
FAILURES: Final = 5
#: How long it stays open the first time, in seconds; each failed trial doubles it, up to the longest.
FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0


class Circuit(NamedTuple):
    """`failures` in a row; `opens_until` is the moment (seconds) before which nothing is sent, 0 while closed."""

    failures: int = 0
    trips: int = 0
    opens_until: float = 0.0

    @property
    def open(self) -> bool:
        return self.trips > 0

    def wait(self, now: float) -> float:
        """How long to leave the destination alone, in seconds. After that one request is a trial."""
        return max(self.opens_until - now, 0.0)


CLOSED: Final = Circuit()


def succeeded(circuit: Circuit) -> Circuit:
    """The destination works: closed."""
    return CLOSED


def failed(circuit: Circuit, now: float, jitter: float) -> Circuit:
    """The destination failed at `now` (seconds); `jitter` is a random number from 0 to 1, and shortens the wait by
    at most half of it."""
    failures = circuit.failures + 1
    if not circuit.open and failures < FAILURES:
        return circuit._replace(failures=failures)
    length = min(LONGEST_S, FIRST_S * 2.0 ** min(circuit.trips, 16))
    return Circuit(failures, circuit.trips + 1, now + length * (1 - jitter / 2))
