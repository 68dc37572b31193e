"""How much more of those who were told convert than of those held out, and how sure that is."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

#: How sure an interval is.
CONFIDENCE: Final = 0.95
_Z: Final = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


class Group(NamedTuple):
    """So many people, of whom so many have converted."""

    people: int
    converted: int

    @property
    def rate(self) -> float:
        return self.converted / self.people if self.people else 0.0


class Lift(NamedTuple):
    """The difference of the two rates, with the interval that it is in at `CONFIDENCE`."""

    difference: float
    low: float
    high: float


def lift_of(treated: Group, holdout: Group) -> Lift | None:
    """Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10), which holds for small groups and
    rates near 0 and 1 too. `None` where a group is empty."""
    if not treated.people or not holdout.people:
        return None
    (low_t, high_t), (low_h, high_h) = _wilson(treated), _wilson(holdout)
    difference = treated.rate - holdout.rate
    down = sqrt((treated.rate - low_t) ** 2 + (high_h - holdout.rate) ** 2)
    up = sqrt((high_t - treated.rate) ** 2 + (holdout.rate - low_h) ** 2)
    return Lift(difference, max(difference - down, -1.0), min(difference + up, 1.0))


def _wilson(group: Group) -> tuple[float, float]:
    n, p, z = group.people, group.rate, _Z
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)
