"""What a transformation makes of a record, and what one is refused for when the workspace is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.outbound import Outbound
from domain.transforming import Failure, Transform, Unsent, asked_of, transformed
from runtime.definitions import WorkspaceError
from runtime.workspace_file import read_workspace
from tests.examples import examples

EVENT = Outbound(
    id="1",
    connection="c",
    batch="b",
    profile="p",
    audience="",
    change="event",
    fields={"email": "Ann@example.com"},
    cause=1,
    event="Order Completed",
    properties={"total": 20},
)
UPDATE = msgspec.structs.replace(
    EVENT,
    change="update",
    event="",
    properties={},
    fields={"email": "new@example.com", "plan": "pro"},
    before={"email": "old@example.com", "plan": None},
)


def sent(record: Outbound, *answers: Any) -> Outbound | Unsent:
    return transformed(record, answers, "t")


def test_what_it_gives_takes_the_place_of_what_was_there_and_the_rest_stays() -> None:
    given = {"fields": {"email": "ann@example.com", "gone": None}, "event": "purchase"}
    assert sent(EVENT, given) == msgspec.structs.replace(
        EVENT, fields={"email": "ann@example.com"}, event="purchase"
    )
    assert sent(EVENT, True) == EVENT


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (False, "suppressed", "transformation t drops it"),
        (None, "dead", "transformation t: gives a NoneType; it gives true, false, or a map of"),
        ([], "dead", "gives a list"),
        ({"felds": {}}, "dead", "gives 'felds'"),
        ({"fields": 1}, "dead", "gives for 'fields' a int; it is a map"),
        ({"event": ""}, "dead", "gives no name for 'event'"),
        (
            Failure("failed: KeyError at t.py:3", "'ann'"),
            "dead",
            "transformation t: failed: KeyError at t.py:3",
        ),
    ],
)
def test_what_is_not_sent_says_why(answer: Any, status: str, reason: str) -> None:
    found = sent(EVENT, answer)
    assert isinstance(found, Unsent)
    assert found.status == status
    assert reason in found.reason
    assert "ann" not in found.reason


def test_a_deletion_that_is_dropped_is_a_dead_letter() -> None:
    found = sent(msgspec.structs.replace(EVENT, change="delete"), False)
    assert isinstance(found, Unsent)
    assert found.status == "dead"


def test_of_an_update_what_was_told_before_is_transformed_too() -> None:
    _, before = asked_of(UPDATE)
    assert before["fields"] == {"email": "old@example.com"}
    made = sent(UPDATE, {"fields": {"mail": "N", "plan": "pro"}}, {"fields": {"mail": "O", "plan": "pro"}})
    assert isinstance(made, Outbound)
    assert made.before == {"mail": "O"}
    added = sent(UPDATE, True, False)
    assert isinstance(added, Outbound)
    assert (added.change, added.before) == ("add", {})
    removed = sent(UPDATE, False, True)
    assert isinstance(removed, Outbound)
    assert (removed.change, removed.fields) == ("remove", {"email": "old@example.com"})
    assert isinstance(sent(UPDATE, False, False), Unsent)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["fields", "event", "properties", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(json_values)
@examples(200)
def test_whatever_it_gives_every_record_comes_to_something(answer: Any) -> None:
    found = sent(EVENT, answer)
    assert isinstance(found, Outbound | Unsent)
    if isinstance(found, Outbound):
        assert (found.id, found.profile, found.change, found.purpose) == ("1", "p", "event", "")


@pytest.mark.parametrize(
    "expression",
    [
        "fields.with({'email': fields.email.lowerAscii()}) == fields",
        "event == 'A' && properties.items.exists(i, i.price > 10)",
        "{'properties': {'total': math.ceil(double(properties.total))}}",
        "has(fields.city) ? {'fields': fields.without(['city'])} : true",
    ],
)
def test_cel_over_a_record_is_taken(expression: str) -> None:
    assert Transform(cel=expression).cel == expression


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "write one of the two"),
        ({"cel": "true", "python": {"file": "t.py", "source": ""}}, "write one of the two"),
        ({"python": {"file": "t.py", "source": ""}}, "comes with the 'function'"),
        ({"cel": "fields."}, "no CEL expression: Syntax error: no viable alternative at input '.' (line 1, column 8"),
        ({"cel": "attributes.email"}, "there is no 'attributes': a transformation sees event, fields, properties"),
        ({"cel": "fields.email.lower()"}, "there is no function 'lower'; there are: "),
        ({"python": {"file": "t.py", "source": "def f(r):\n  return (\n"}, "function": "f"}, "t.py:2: '(' was never"),
        ({"python": {"file": "t.py", "source": "import re\nimport socket\n"}, "function": "f"}, "t.py:2: a"),
        ({"python": {"file": "t.py", "source": "def g(r): pass\n"}, "function": "f"}, "no function 'f'; it has: g"),
        ({"python": {"file": "t.py", "source": "\ndef f(): pass\n"}, "function": "f"}, "t.py:2: 'f' takes one"),
        ({"python": {"file": "t.py", "source": "\0"}, "function": "f"}, "t.py"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_the_mend(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Transform.model_validate(said)
    assert told in str(caught.value)


WORKSPACE = """workspace: shop
feeds:
  app: {format: files}
connections:
  out:
    connector: standard_webhooks
    events: ["*"]
    fields: {user_id: identifier.user_id}
    settings: {url: "https://example.com/hook"}
    secrets: {secret: {env: HOOK}}
    transform: %s
"""


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ("{cel: 'fields.'}", "roundtrip.yaml:11: connections.out.transform: Value error, no CEL expression"),
        (
            "{python: t.py, function: f}",
            "roundtrip.yaml:11: connections.out.transform: Value error, t.py:2: a transformation cannot import 'os'",
        ),
        ("{python: no.py, function: f}", "no.py cannot be read (FileNotFoundError)"),
    ],
)
def test_the_workspace_is_refused_with_the_line(tmp_path: Path, transform: str, said: str) -> None:
    (tmp_path / "roundtrip.yaml").write_text(WORKSPACE % transform)
    (tmp_path / "t.py").write_text("def f(record):\n    import os\n    return True\n")
    with pytest.raises(WorkspaceError) as caught:
        read_workspace(tmp_path / "roundtrip.yaml")
    assert said in str(caught.value)
