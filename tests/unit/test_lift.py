"""A loop's lift: the difference of two rates, with an interval that holds for small groups too."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.lift import CONFIDENCE, Group, lift_of

GROUPS = st.integers(1, 5_000).flatmap(lambda n: st.builds(Group, st.just(n), st.integers(0, n)))


def test_it_is_what_the_source_prints() -> None:
    """Newcombe 1998, table II, method 10: 56/70 against 48/80, and 9/10 against 3/10."""
    found = lift_of(Group(70, 56), Group(80, 48))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=0.0001)
    found = lift_of(Group(10, 9), Group(10, 3))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.1705, 0.8090), abs=0.0001)


@given(GROUPS, GROUPS)
def test_the_interval_holds_the_difference_and_turns_round_with_the_groups(a: Group, b: Group) -> None:
    found, turned = lift_of(a, b), lift_of(b, a)
    assert found is not None and turned is not None
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_a_group_of_nobody_says_nothing() -> None:
    assert lift_of(Group(0, 0), Group(10, 1)) is None


def test_it_is_as_sure_as_it_says() -> None:
    random, times, within = Random(7), 2_000, 0
    for _ in range(times):
        treated = Group(200, sum(random.random() < 0.12 for _ in range(200)))
        holdout = Group(60, sum(random.random() < 0.07 for _ in range(60)))
        found = lift_of(treated, holdout)
        assert found is not None
        within += found.low <= 0.05 <= found.high
    assert within / times == pytest.approx(CONFIDENCE, abs=0.02)
