"""Whatever is written as an expression, it is one that ends, or it is refused: CEL's, JMESPath's and Python's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.mapping import MappedField, mapped, value_of
from domain.transforming import PythonFile, Transform
from tests.unit.mutations import mutated
from tests.unit.test_mapping import ANN, TRAITS


def as_cel(said: str) -> None:
    Transform(cel=said)


def as_python(said: str) -> None:
    Transform(python=PythonFile(file="t.py", source=said), function="transform")


def as_jmespath(said: str) -> None:
    value_of(mapped(MappedField(expression=said)), ANN, TRAITS)


#: How each is read (JMESPath's also evaluated, as it is in the pipeline), and one that is right.
LANGUAGES: dict[str, tuple[Callable[[str], None], str]] = {
    "CEL": (
        as_cel,
        "event == 'A' && has(fields.n) ? {'fields': fields.without(['a'])} : [1, 2u].all(x, x > 0)",
    ),
    "Python": (
        as_python,
        'import json\n\ndef transform(record):\n    return {"event": f"{record[\'event\']}!"}\n',
    ),
    "JMESPath": (
        as_jmespath,
        "join(' ', [attributes.first, `\"x\"`]) || attributes.tags[?@ > 'a'] | sort_by([0:2], &x)[-1].{a: x}",
    ),
}
DEEP = [
    shape
    for depth in (400, 1_900, 9_000)
    for shape in (
        "(" * depth,
        "[" * depth,
        "!" * depth,
        "(" * (depth // 2) + "1" + ")" * (depth // 2),
        "attributes" + ".a" * (depth // 2 - 10),
        "attributes.a" + "[0]" * (depth // 3 - 10),
        "-" * depth + "1",
        "9" * depth,
    )
]


def is_taken_or_refused(read: Callable[[str], None], said: str) -> None:
    try:
        read(said)
    except ValidationError as error:
        assert error.errors()[0]["msg"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_right_one_is_taken(language: str) -> None:
    read, right = LANGUAGES[language]
    read(right)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("said", [*DEEP, "a\0", "\ud800"], ids=lambda said: f"{said[:14]!r} {len(said)}")
def test_a_deep_or_an_odd_one(language: str, said: str) -> None:
    is_taken_or_refused(LANGUAGES[language][0], said)


@pytest.mark.parametrize("language", LANGUAGES)
@given(data=st.data())
def test_one_with_anything_in_it(language: str, data: st.DataObject) -> None:
    read, right = LANGUAGES[language]
    said = data.draw(
        mutated(right.encode()).map(lambda text: text.decode(errors="replace")) | st.text(max_size=60)
    )
    is_taken_or_refused(read, said)
