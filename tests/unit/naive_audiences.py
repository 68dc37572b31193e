"""The audiences' meaning, written straight from docs/reference/audiences.md: over whole histories, with no state.

It shares nothing with the evaluator but the definition's form, which it reads as plain JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SECOND = 1_000_000
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Happened(NamedTuple):
    """One thing that happened. `at` is in microseconds."""

    name: str
    at: int
    position: int
    properties: Mapping[str, Any]


class Known(NamedTuple):
    """All that is known of a person at a moment."""

    history: Sequence[Happened]
    attributes: Mapping[str, Any]
    consent: Mapping[str, bool]


def holds(definitions: Mapping[str, Any], name: str, known: Known, now: int) -> bool:
    """Whether the person belongs to the audience at this moment."""
    return _condition(definitions, definitions[name]["match"], known, now)


def length(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]] * SECOND


def _condition(definitions: Mapping[str, Any], one: Mapping[str, Any], known: Known, now: int) -> bool:
    if "all" in one:
        return all(_condition(definitions, each, known, now) for each in one["all"])
    if "any" in one:
        return any(_condition(definitions, each, known, now) for each in one["any"])
    if "not" in one:
        return not _condition(definitions, one["not"], known, now)
    if "in_audience" in one:
        return holds(definitions, one["in_audience"], known, now)
    if "consent" in one:
        return known.consent.get(one["consent"]) is (one.get("is", "given") == "given")
    if "attribute" in one:
        return _meets(known.attributes.get(one["attribute"]), one)
    if "then_none" in one:
        return _unanswered(one, known, now)
    return _counted(one, known, now)


def _counted(one: Mapping[str, Any], known: Known, now: int) -> bool:
    matching = [h for h in known.history if h.name == one["event"] and _where(h, one)]
    if "within" in one:
        matching = [h for h in matching if h.at > now - length(one["within"])]
    count = len({h.position for h in matching})
    if "exactly" in one:
        return count == one["exactly"]
    if "at_most" in one:
        return one.get("at_least", 0) <= count <= one["at_most"]
    return count >= one.get("at_least", 1)


def _unanswered(one: Mapping[str, Any], known: Known, now: int) -> bool:
    wait = length(one["within"])
    for first in known.history:
        if first.name != one["event"] or not _where(first, one) or first.at + wait > now:
            continue
        answers = [
            other
            for answer in one["then_none"]
            for other in known.history
            if other.name == answer["event"]
            and other.position != first.position
            and first.at <= other.at <= first.at + wait
            and _where(other, answer)
            and _same(first, other, answer.get("same"))
        ]
        if not answers:
            return True
    return False


def _same(first: Happened, other: Happened, name: str | None) -> bool:
    if name is None:
        return True
    mine, theirs = first.properties.get(name), other.properties.get(name)
    return mine is not None and mine == theirs


def _where(happened: Happened, one: Mapping[str, Any]) -> bool:
    return all(_meets(happened.properties.get(name), wanted) for name, wanted in one.get("where", {}).items())


def _meets(value: Any, wanted: Mapping[str, Any]) -> bool:
    """The operators that the test draws, on text and numbers."""
    checks = {
        "is": lambda v, w: v is not None and type(v) is type(w) and v == w,
        "is_not": lambda v, w: v is None or type(v) is not type(w) or v != w,
        "at_least": lambda v, w: type(v) is type(w) and v >= w,
        "less_than": lambda v, w: type(v) is type(w) and v < w,
        "exists": lambda v, w: (v is not None) == w,
    }
    return all(checks[word](value, operand) for word, operand in wanted.items() if word in checks)
