"""Rows as records: coercion, validation, and the identity of a row."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.records import ConsentTerms, Record
from feeds.blocks import Block
from feeds.coercion import coercer
from feeds.mapping import Mapping
from feeds.rows import FileError, Rejected
from feeds.table import block_reader

BEGAN = 1_700_000_000_000_000


def read(rows: list[dict[str, Any]], number: int = 2, file: str = "sha256:a", **mapping: Any) -> list[Any]:
    rules = Mapping.model_validate({"identifiers": {"user_id": "user"}} | mapping)
    block = Block(range(number, number + len(rows)), rows)
    found = block_reader("crm", rules, file, BEGAN)(block)
    said = [*zip(found.numbers, found.records, strict=True), *((one.number, one) for one in found.rejected)]
    return [row for _, row in sorted(said, key=itemgetter(0))]


def make(row: dict[str, Any], number: int = 2, file: str = "sha256:a", **mapping: Any) -> Record:
    [record] = read([row], number, file, **mapping)
    assert isinstance(record, Record), record
    return record


def body(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(record.body)
    return found


def test_a_row_keeps_its_cells_and_says_what_they_mean() -> None:
    row = {"user": "u-1", "age": "42", "vip": "yes", "since": "24.11.2026", "note": ""}
    values = {
        "age": {"column": "age", "as": "integer"},
        "vip": {"column": "vip", "as": "boolean"},
        "since": {"column": "since", "as": "time", "format": "%d.%m.%Y"},
        "note": "note",
    }
    record = make(row, values=values)
    assert (record.type, record.traits_at, record.occurred_at) == ("identify", "traits", BEGAN)
    assert body(record)["row"] == row
    assert body(record)["traits"] == {"age": 42, "vip": True, "since": "2026-11-24T00:00:00Z"}


def test_without_values_every_other_column_is_one() -> None:
    assert body(make({"user": "u-1", "plan": "pro", "city": ""}))["traits"] == {"plan": "pro"}


def test_a_row_is_known_by_its_file_and_number_or_by_the_declared_column() -> None:
    row = {"user": "u-1", "order": "o-1"}
    assert make(row).message_id == make(row).message_id
    assert len({make(row).message_id, make(row, number=3).message_id, make(row, file="b").message_id}) == 3
    assert make(row, id="order").message_id == make(row, id="order", number=9, file="b").message_id == "o-1"


def test_a_track_row_has_an_event_a_time_and_consent() -> None:
    row = {
        "user": "u-1",
        "what": "Order Completed",
        "at": "2026-11-24T10:00:00+01:00",
        "push": "n",
        "mail": "",
        "sum": "3",
    }
    terms = {"column": "push", "jurisdiction": "gdpr", "document": "2026-01"}
    record = make(row, type="track", event_column="what", time="at", consent={"push": terms, "mail": "mail"})
    assert (record.name, record.properties_at) == ("Order Completed", "properties")
    assert record.occurred_at == 1_795_510_800_000_000
    assert record.consent == {"push": False}
    assert record.consent_terms == {"push": ConsentTerms(jurisdiction="gdpr", document="2026-01")}
    assert body(record)["properties"] == {"sum": "3"}


def test_nested_rows_are_reached_by_a_path() -> None:
    record = make({"user": "u-1", "address": {"city": "Kiel"}}, values={"city": "address.city"})
    assert body(record)["traits"] == {"city": "Kiel"}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nobody": ({"user": ""}, {}, "no_identifier"),
    "no such address": ({"mail": "nonsense"}, {"identifiers": {"email": "mail"}}, "unreadable_identifier"),
    "no number": (
        {"user": "u", "n": "1,5"},
        {"values": {"n": {"column": "n", "as": "number"}}},
        "wrong_value",
    ),
    "required": ({"user": "u"}, {"values": {"n": {"column": "n", "required": True}}}, "wrong_value"),
    "one of": ({"user": "u", "n": "c"}, {"values": {"n": {"column": "n", "one_of": ["a"]}}}, "wrong_value"),
    "above": (
        {"user": "u", "n": "9"},
        {"values": {"n": {"column": "n", "as": "number", "max": 8}}},
        "wrong_value",
    ),
    "time": ({"user": "u", "at": "soon"}, {"time": "at"}, "unreadable_time"),
    "consent": ({"user": "u", "p": "maybe"}, {"consent": {"push": "p"}}, "wrong_consent"),
    "no id": ({"user": "u", "id": ""}, {"id": "id"}, "no_name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_row_that_does_not_fit_is_refused_without_its_value(case: str) -> None:
    row, mapping, code = REFUSED[case]
    good = {"user": "u", "mail": "u@example.com", "n": "1", "at": "2026-01-01", "p": "yes", "id": "1"}
    if case == "one of":
        good["n"] = "a"
    [before, refused, after] = read([good, row, good], **mapping)
    assert isinstance(before, Record)
    assert isinstance(after, Record)
    assert isinstance(refused, Rejected)
    assert (refused.number, refused.code, refused.row) == (3, code, row)
    assert not any(value and value in refused.reason.split() for value in row.values())


def test_a_column_that_the_file_has_not_is_named_with_those_that_it_has() -> None:
    rules = Mapping.model_validate({"identifiers": {"user_id": "usr"}})
    block = Block.of_columns([1], {"user": ["u-1"], "plan": ["pro"]})
    with pytest.raises(FileError, match=r"column 'usr'.*user, plan"):
        block_reader("crm", rules, "file", BEGAN)(block)


@pytest.mark.parametrize("bad", [{"type": "track"}, {"event": "X"}, {"identifiers": {}}, {"colums": {}}])
def test_a_mapping_with_a_mistake_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make({}, **bad)


_CELL = st.one_of(
    st.text(), st.integers(), st.floats(), st.booleans(), st.datetimes(), st.dates(), st.binary()
)


@given(st.sampled_from(["text", "integer", "number", "boolean", "time", "json"]), _CELL)
def test_no_cell_brings_a_coercion_down(kind: Any, cell: Any) -> None:
    try:
        coercer(kind)(cell)
    except ValueError as error:
        assert str(error)


_NAMES = ("user", "mail", 'a "b"', "n.n", "p")
_TEXT = st.sampled_from(["", "u-1", "a@example.com", "7", "yes", "line\nbreak"])
_TABLE = st.lists(st.lists(_TEXT | st.none() | st.integers(0, 9), min_size=5, max_size=5), max_size=6)
_MAPPINGS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"identifiers": st.sampled_from([{"user_id": "user"}, {"user_id": "user", "email": "mail"}])},
    optional={
        "id": st.just("user"),
        "values": st.just(
            {'the "n"': {"column": "n.n", "as": "integer"}, "q": {"column": 'a "b"', "one_of": ["7", "yes"]}}
        ),
        "consent": st.just({"push": {"column": "p", "jurisdiction": "gdpr"}}),
    },
)


@given(_TABLE, _MAPPINGS)
def test_columns_become_the_records_that_the_same_rows_become(
    table: list[list[Any]], mapping: dict[str, Any]
) -> None:
    rules = Mapping.model_validate(mapping)
    numbers = range(2, 2 + len(table))
    rows = Block(numbers, [dict(zip(_NAMES, cells, strict=True)) for cells in table])
    cells = zip(*table, strict=True) if table else [()] * len(_NAMES)
    columns = Block.of_columns(numbers, dict(zip(_NAMES, map(list, cells), strict=True)))
    read = block_reader("crm", rules, "file", BEGAN)
    assert read(rows) == read(columns)


def test_a_row_that_json_cannot_say_is_rejected_and_not_shown() -> None:
    [good, bad] = read([{"user": "u-1", "x": "a"}, {"user": "u-2", "x": "\ud800"}])
    assert isinstance(good, Record)
    assert (bad.number, bad.code, bad.row) == (3, "not_kept", None)
