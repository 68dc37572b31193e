"""What each comparison means: a value, or its absence, against an operator's operand.

Null is the same as not being there. What is not there meets `is_not` and `exists: false` alone. Numbers are
compared with numbers, as IEEE 754 doubles, and text with text, by code points; across kinds nothing is equal,
more or less. true and false are not numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from operator import ge, gt, le, lt
from typing import Any, Final

from domain.audiences.comparisons import Comparison

Matcher = Callable[[Any], bool]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"


def as_number(value: float) -> float:
    """A number as it is compared: what an integer has beyond a double's digits does not count."""
    try:
        return float(value) + 0.0  # Without it, there are two zeros.
    except OverflowError:
        return inf if value > 0 else -inf


def _equal(value: Any, operand: Any) -> bool:
    kind = _kind(value)
    if kind == "number" and _kind(operand) == kind:
        return as_number(value) == as_number(operand)
    return kind == _kind(operand) and kind != "other" and bool(value == operand)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def check(value: Any, operand: Any) -> bool:
        kind = _kind(value)
        if kind != _kind(operand):
            return False
        if kind == "number":
            return compare(as_number(value), as_number(operand))
        return kind == "text" and compare(value, operand)

    return check


def _contains(value: Any, operand: Any) -> bool:
    if isinstance(value, str):
        return isinstance(operand, str) and operand in value
    return isinstance(value, list) and any(_equal(each, operand) for each in value)


OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "is": lambda value, operand: value is not None and _equal(value, operand),
    "is_not": lambda value, operand: value is None or not _equal(value, operand),
    "in": lambda value, operand: any(_equal(value, each) for each in operand),
    "greater_than": _ordered(gt),
    "at_least": _ordered(ge),
    "less_than": _ordered(lt),
    "at_most": _ordered(le),
    "contains": _contains,
    "starts_with": lambda value, operand: isinstance(value, str) and value.startswith(operand),
    "exists": lambda value, operand: (value is not None) == operand,
}


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """The value under a name, or inside objects where the name has dots; `None` where there is none.

    A value whose name has the dots in it comes first.
    """
    if path in values:
        return values[path]
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def matcher(comparison: Comparison) -> Matcher:
    """Whether all operators of a comparison hold of a value."""
    checks = [(OPERATORS[word], operand) for word, operand in comparison.operations.items()]
    if len(checks) == 1:
        [(only, operand)] = checks
        return lambda value: only(value, operand)
    return lambda value: all(check(value, operand) for check, operand in checks)


def properties_matcher(where: Mapping[str, Comparison]) -> Callable[[Mapping[str, Any]], bool] | None:
    """Whether an event's properties meet every comparison; `None` where nothing is asked of them."""
    if not where:
        return None
    checks = [(path, matcher(comparison)) for path, comparison in where.items()]
    if len(checks) == 1:
        [(path, only)] = checks
        return lambda properties: only(value_at(properties, path))
    return lambda properties: all(check(value_at(properties, path)) for path, check in checks)
