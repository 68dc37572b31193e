"""Pace and circuit: policies that are told the time, and the guard on where a destination may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.guard import ForbiddenAddressError, check_url, is_public
from domain.circuit import CLOSED, FAILURES, LONGEST_S, failed, succeeded
from domain.pace import Rate, at_once, pause_s, read_rate, write_rate


def test_a_few_failures_leave_the_circuit_closed_and_a_success_forgets_them() -> None:
    circuit = CLOSED
    for _ in range(FAILURES - 1):
        circuit = failed(circuit, 10.0, 0.0)
    assert circuit.wait(10.0) == 0.0
    assert succeeded(circuit) == CLOSED
    assert failed(circuit, 10.0, 0.0).wait(10.0) == 1.0


@given(st.integers(1, 60), st.floats(0, 1))
def test_each_failed_trial_doubles_the_wait_up_to_the_longest(trials: int, jitter: float) -> None:
    circuit, now = CLOSED, 0.0
    for _ in range(FAILURES - 1 + trials):
        circuit = failed(circuit, now, jitter)
        now += circuit.wait(now)
    before = circuit
    circuit = failed(circuit, now, jitter)
    expected = min(LONGEST_S, 2.0**trials)
    assert expected / 2 <= circuit.wait(now) <= expected + 1e-6
    assert before.open


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "7"}, 7.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1.5"}, 1.5),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "30"}, 0.0),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1795000000"}, 0.0),
        ({"ratelimit-remaining": "none", "ratelimit-reset": "7"}, 0.0),
    ],
)
def test_the_destinations_own_headers_are_waited_for(headers: dict[str, str], seconds: float) -> None:
    assert pause_s(headers) == seconds


def test_a_rate_is_written_as_it_is_read() -> None:
    for said, rate in (("10/s", Rate(10, 1.0)), ("300/m", Rate(300, 60.0)), ("5000/h", Rate(5000, 3600.0))):
        assert read_rate(said) == rate
        assert write_rate(rate) == said
    for wrong in ("10", "0/s", "10/d", 10, "1.5/s"):
        with pytest.raises(ValueError, match="as in 10/s"):
            read_rate(wrong)


@given(st.integers(1, 1_000_000), st.sampled_from([1.0, 60.0, 3600.0]))
def test_a_rate_is_spread_so_that_no_period_has_many_more_requests_than_it_allows(
    requests: int, seconds: float
) -> None:
    together = at_once(Rate(requests, seconds))
    assert 1 <= together <= requests
    assert together <= 2 or together <= 0.05 * requests


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8080/",
        "http://it.localhost./",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fe80::1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://0.0.0.0/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://user:secret@example.com/",
        "file:///etc/passwd",
        "ftp://example.com/",
    ],
)
def test_an_inner_address_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        check_url(url, allow_private=False)


def test_public_addresses_and_names_are_allowed_and_inner_ones_where_it_is_said() -> None:
    check_url("https://api.example.com/v1", allow_private=False)
    check_url("https://93.184.216.34/", allow_private=False)
    check_url("http://127.0.0.1:9000/", allow_private=True)
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")
