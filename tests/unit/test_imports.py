"""When a declared import is due, and what a declaration may say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.imports import Import, next_due, run_due

DECLARED = {"feed": "crm", "mapping": {}, "files": "x.csv", "schedule": "15 3 * * *"}


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def due(after: str, now: str, **rules: Any) -> int | None:
    return run_due(Import.model_validate(DECLARED | rules), at(after), at(now))


def test_a_run_is_due_at_its_time_and_once() -> None:
    assert due("2026-11-24 03:15", "2026-11-25 03:14:59") is None
    assert due("2026-11-24 03:15", "2026-11-25 03:15") == at("2026-11-25 03:15")
    assert due("2026-11-25 03:15", "2026-11-25 23:00") is None


def test_of_many_that_were_missed_one_is_made_up_for_or_none() -> None:
    assert due("2026-11-01 03:15", "2026-11-25 12:00") == at("2026-11-25 03:15")
    assert due("2026-11-01 03:15", "2026-11-25 12:00", missed="skip") is None
    assert due("2026-11-01 03:15", "2026-11-25 03:15:30", missed="skip") == at("2026-11-25 03:15")


def test_the_clock_is_that_of_the_timezone_also_when_it_changes() -> None:
    zone = {"timezone": "Europe/Berlin"}
    assert due("2026-07-01 00:00", "2026-07-02 00:00", **zone) == at("2026-07-01 01:15")
    assert due("2026-11-01 12:00", "2026-11-02 12:00", **zone) == at("2026-11-02 02:15")


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_due_next_is_due_then(minutes: int, later: int) -> None:
    declared = Import.model_validate(DECLARED | {"schedule": "*/7 * * * *"})
    begin = at("2026-01-01 00:00") + minutes * 60_000_000
    following = next_due(declared, begin)
    assert following is not None
    assert run_due(declared, begin, following - 1) is None
    assert run_due(declared, begin, following) == following
    found = run_due(declared, begin, begin + later * 60_000_000)
    assert found is None or begin < found <= begin + later * 60_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "every day"},
        {"schedule": "61 * * * *"},
        {"timezone": "Middle/Earth"},
        {"files": []},
        {"query": {"sql": "SELECT 1", "duckdb": "x.db", "key": ["a"]}},
        {"files": [], "query": {"sql": "SELECT 1", "duckdb": "x.db"}},
        {"files": [], "query": {"sql": "SELECT 1", "key": ["a"]}},
        {"files": [], "query": {"sql": "SELECT 1", "duckdb": "x.db", "cursor": "a", "removed_event": "Gone"}},
    ],
)
def test_a_declaration_with_a_mistake_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Import.model_validate(DECLARED | wrong)
