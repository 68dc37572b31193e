"""How one value is compared: the operators that attributes and event properties share.

Several operators in one comparison must all hold. What they mean is in `matching.py`.
"""

from __future__ import annotations

from datetime import date
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from domain.audiences.words import Part, refusal, text


def _path(value: Any) -> Any:
    if not isinstance(value, str) or not all(value.split(".")):
        raise refusal(
            f"{value!r} is no name: write one, or the way into an object with dots, as in address.city"
        )
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        raise refusal(f"{value} was read as a date: put it in quotes, as in '{value}'")
    if isinstance(value, (dict, list, tuple)):
        raise refusal(
            "one value is expected here, text, a number or true/false: several values go with 'in', as in "
            "in: [pro, team]"
        )
    if isinstance(value, float) and not isfinite(value):
        raise refusal(f"{value} is not a number that can be compared: write a finite one")
    return value


def _ordered(value: Any) -> Any:
    if isinstance(value, bool):
        raise refusal(f"{value} cannot be more or less than something: compare true/false with 'is'")
    return _plain(value)


def _several(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not value:
        raise refusal(
            f"{value!r} is not a list of at least one: write in: [pro, team], or use is for one value"
        )
    return value


def _yes_or_no(value: Any) -> Any:
    if not isinstance(value, bool):
        raise refusal(f"{value!r} is neither true nor false: write exists: true or exists: false")
    return value


#: A name, or the way to a value inside objects: `plan`, `address.city`.
Path = Annotated[str, BeforeValidator(_path), Field(max_length=200)]
Scalar = Annotated[bool | int | float | str, Field(union_mode="smart"), BeforeValidator(_plain)]
Orderable = Annotated[int | float | str, Field(union_mode="smart"), BeforeValidator(_ordered)]


class Comparison(Part):
    """What must hold of one value. Null is the same as not being there."""

    is_: Scalar | None = Field(None, alias="is")
    is_not: Scalar | None = None
    in_: Annotated[tuple[Scalar, ...], BeforeValidator(_several)] | None = Field(None, alias="in")
    greater_than: Orderable | None = None
    at_least: Orderable | None = None
    less_than: Orderable | None = None
    at_most: Orderable | None = None
    contains: Scalar | None = None
    starts_with: Annotated[str, BeforeValidator(text)] | None = None
    exists: Annotated[bool, BeforeValidator(_yes_or_no)] | None = None

    @property
    def operations(self) -> dict[str, Any]:
        """Operator → operand of those that were given, in the language's words."""
        given = {
            field.alias or name: getattr(self, name)
            for name, field in Comparison.model_fields.items()
            if getattr(self, name) is not None
        }
        return {word: list(operand) if word == "in" else operand for word, operand in given.items()}

    @model_validator(mode="after")
    def _compares(self) -> Comparison:
        if not self.operations:
            raise refusal(f"nothing is compared: add one of {', '.join(OPERATORS)}, as in exists: true")
        return self


OPERATORS = tuple(field.alias or name for name, field in Comparison.model_fields.items())


def _comparison(value: Any) -> Any:
    if not isinstance(value, (dict, Comparison)):
        raise refusal(
            f"{value!r} has no operator: write {{is: {value}}}, or another of {', '.join(OPERATORS)}"
        )
    return value


#: Property path → what must hold of it; all of them must.
Where = dict[Path, Annotated[Comparison, BeforeValidator(_comparison)]]
