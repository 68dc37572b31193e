"""When to try again: the policy, and the header it listens to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.retry_after import retry_after_s
from domain.retry import CAP_S, MAX_ELAPSED_S, RETRY_AFTER_CAP_S, GiveUp, Retry, decide

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.2), (2, 0.4), (5, 3.2), (7, 12.8)])
def test_the_wait_doubles_and_is_all_jitter(attempt: int, longest: float) -> None:
    assert decide(attempt, 0.0, None, 0.0) == Retry(0.0)
    decision = decide(attempt, 0.0, None, 1.0)
    assert isinstance(decision, Retry)
    assert decision.after_s == pytest.approx(longest)


def test_no_number_of_failures_alone_is_the_end() -> None:
    assert decide(5_000, 0.0, None, 1.0) == Retry(CAP_S)


def test_what_the_destination_asks_for_is_honoured_and_capped() -> None:
    assert decide(1, 0.0, 30.0, 0.5) == Retry(30.0)
    assert decide(1, 0.0, 86_400.0, 0.5) == Retry(RETRY_AFTER_CAP_S)
    assert decide(1, 0.0, 0.0, 1.0) == Retry(0.2)


def test_no_attempt_begins_after_the_time_that_the_connection_allows() -> None:
    assert isinstance(decide(2, 500.0, 600.0, 0.5, 900.0), GiveUp)
    assert isinstance(decide(2, 500.0, 300.0, 0.5, 900.0), Retry)
    assert isinstance(decide(2, MAX_ELAPSED_S, None, 1.0), GiveUp)


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.none() | st.floats(0, 1e9), st.floats(0, 1))
def test_every_decision_is_within_its_bounds(
    attempt: int, elapsed: float, asked: float | None, jitter: float
) -> None:
    decision = decide(attempt, elapsed, asked, jitter)
    if isinstance(decision, Retry):
        assert 0 <= decision.after_s <= max(CAP_S, RETRY_AFTER_CAP_S)
        assert elapsed + decision.after_s <= MAX_ELAPSED_S


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tuesday, 24-Nov-26 12:00:30 GMT", 30.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 400, None),
        ("٣", None),
        ("Tue, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_the_header_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": value}, NOW) == seconds


@given(st.text(max_size=60))
def test_no_header_breaks_it(value: str) -> None:
    assert (retry_after_s({"retry-after": value}, NOW) or 0.0) >= 0.0
