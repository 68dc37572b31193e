"""Standard fields come into one form or stay out with a reason, and never stop anything."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audiences.evaluation import compile_audiences
from domain.history import AttributeRow, history_of
from domain.profiles import ATTRIBUTE_LIMIT
from domain.records import Identifier
from domain.standard_fields import NAME_LIMIT, STANDARD, VALUE_LIMIT, typed
from domain.state import Plan
from tests.unit.memory import HOUR, Memory, record, rows

ANN = Identifier("user_id", "ann")
#: Attribute, what is said, what it becomes.
READ = [
    ("email", " Ann@Example.COM ", "ann@example.com"),
    ("phone", "+49 (30) 901820", "+4930901820"),
    ("first_name", " Ann ", "Ann"),
    ("zip", 10115, "10115"),
    ("age", "30", 30),
    ("age", 30.0, 30),
    ("birthday", "1990-05-17T23:59:00-05:00", "1990-05-17"),
    ("created_at", "2026-01-05T03:00:00+01:00", "2026-01-05T02:00:00.000Z"),
    ("createdAt", "2026-01-05", "2026-01-05T00:00:00.000Z"),
    ("createdAt", 1_767_578_400, "2026-01-05T02:00:00.000Z"),
    ("createdAt", 1_767_578_400_123, "2026-01-05T02:00:00.123Z"),
    ("country", "de", "DE"),
    ("country", "aq", "AQ"),
    ("language", "zh_hant_tw", "zh-Hant-TW"),
    ("locale", "es-419", "es-419"),
    ("timezone", "Europe/Berlin", "Europe/Berlin"),
    ("city", "  ", ""),
    ("birthday", "", ""),
    ("country", None, None),
]
UNREADABLE = [
    ("email", "ann"),
    ("phone", "030 901820"),
    ("phone", 4930901820),
    ("first_name", True),
    ("first_name", {"en": "Ann"}),
    ("name", "x" * 513),
    ("age", "about 30"),
    ("age", -1),
    ("age", True),
    ("birthday", "17.05.1990"),
    ("birthday", "1990-02-30"),
    ("birthday", 642_902_400),
    ("birthday", ["1990-05-17"]),
    ("created_at", "yesterday"),
    ("created_at", 10**30),
    ("created_at", "0001-01-01T00:00:00+14:00"),
    ("country", "Germany"),
    ("country", "TA"),
    ("country", "xx"),
    ("language", "german"),
    ("language", ["de"]),
    ("timezone", "Berlin"),
    ("timezone", "../etc/passwd"),
    ("timezone", {}),
]


@pytest.mark.parametrize(("name", "said", "meant"), READ)
def test_a_value_comes_into_one_form(name: str, said: Any, meant: Any) -> None:
    assert typed({name: said, "free": said}) == ({name: meant, "free": said}, {})


@pytest.mark.parametrize(("name", "said"), UNREADABLE)
def test_what_is_none_of_its_type_stays_out_with_what_it_ought_to_be(name: str, said: Any) -> None:
    taken, refused = typed({name: said, "plan": "pro", "free": said})
    assert taken == {"plan": "pro", "free": said}
    assert refused == {name: f"expected is {STANDARD[name].wanted}"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("n" * NAME_LIMIT, "x" * VALUE_LIMIT, ""),
        ("n" * (NAME_LIMIT + 1), 1, "the name has more than 200 characters"),
        ("note", "x" * (VALUE_LIMIT + 1), "the value is larger than 16,384 characters, or bytes as JSON"),
        ("note", ["x" * VALUE_LIMIT], "the value is larger than 16,384 characters, or bytes as JSON"),
        ("note", {"a": [1] * 100}, ""),
    ],
)
def test_free_fields_keep_their_json_up_to_a_size(name: str, value: Any, reason: str) -> None:
    taken, refused = typed({name: value})
    assert (taken, refused) == (({}, {name: reason}) if reason else ({name: value}, {}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
LIKELY = st.sampled_from([said for _, said, _ in READ] + [said for _, said in UNREADABLE])


@given(st.dictionaries(st.sampled_from([*STANDARD, "plan"]), JSON | LIKELY, max_size=6))
def test_whatever_is_said_is_read_or_refused_and_what_was_read_stays_as_it_is(said: dict[str, Any]) -> None:
    taken, refused = typed(said)
    assert taken.keys() | refused.keys() == said.keys()
    assert taken.keys().isdisjoint(refused)
    again = typed(taken)
    assert tuple(again) == (taken, {})
    assert [type(value) for value in again.taken.values()] == [type(value) for value in taken.values()]


def memory_of(*several: dict[str, Any]) -> Memory:
    said = [record("identify", [ANN], n * HOUR, traits=traits) for n, traits in enumerate(several, 1)]
    memory = Memory(Plan(compile_audiences({}), {}, {}))
    memory.take_in(rows(*[(n * HOUR, one) for n, one in enumerate(said, 1)]))
    return memory


def refusals(memory: Memory) -> list[tuple[str, str, int]]:
    found = [msgspec.json.decode(e.state) for e in memory.entries if e.topic == "attribute.refused"]
    return [(one["attribute"], one["reason"], one["cause"]) for one in found]


def test_a_bad_value_leaves_the_former_one_and_the_log_says_why() -> None:
    memory = memory_of({"birthday": "1990-05-17", "plan": "free"}, {"birthday": "17.05.1990", "plan": "pro"})
    ann = memory.profile(ANN)
    assert (ann.value("birthday"), ann.value("plan")) == ("1990-05-17", "pro")
    assert refusals(memory) == [("birthday", "expected is a day as 1990-05-17", 2)]
    [entry] = [entry for entry in memory.entries if entry.topic == "attribute.refused"]
    assert entry.subject == ann.id
    assert b"17.05" not in entry.state
    # The same again is told once: the log knows the record already.
    again = memory_of({"birthday": "x"}, {"birthday": "y"})
    assert len({entry.stream_id for entry in again.entries if entry.topic == "attribute.refused"}) == 1


def test_names_beyond_the_limit_stay_out_with_a_reason() -> None:
    memory = memory_of({f"n{number}": number for number in range(ATTRIBUTE_LIMIT + 2)}, {"n0": "new"})
    ann = memory.profile(ANN)
    assert (len(ann.attributes), ann.value("n0")) == (ATTRIBUTE_LIMIT, "new")
    assert [reason for _, reason, _ in refusals(memory)] == ["a profile has at most 500 attributes"] * 2


def test_the_history_in_the_lake_has_what_profiles_have() -> None:
    whole = record("identify", [ANN], HOUR, traits={"country": "de", "birthday": "?", "plan": "pro"})
    told = [one for one in history_of(whole, 1, HOUR, "node", 0) if isinstance(one, AttributeRow)]
    assert {one.name: one.value for one in told} == {"country": "DE", "plan": "pro"}
