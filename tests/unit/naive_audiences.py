"""The audiences' meaning, written straight from docs/reference/audiences.md: over whole histories, with no state.

It shares nothing with the evaluator but the definition's form, which it reads as plain JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
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
    id: str = ""
    policies: Mapping[str, Any] = {}


def holds(definitions: Mapping[str, Any], name: str, known: Known, now: int) -> bool:
    """Whether the person belongs to the audience at this moment."""
    excluded = any(holds(definitions, other, known, now) for other in definitions[name].get("exclude", ()))
    return not excluded and _condition(definitions, definitions[name]["match"], known, now)


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
        return _consent(one["consent"], known) == str(one.get("is", "given"))
    if "attribute" in one:
        return _meets(known.attributes.get(one["attribute"]), one)
    if "split" in one:
        low, high = one["share"] if isinstance(one["share"], list) else (0, one["share"])
        digits = hashlib.md5(f"{one['split']}:{known.id}".encode()).hexdigest()[:8]
        return bool(low / 100 <= int(digits, 16) / 2**32 < high / 100)
    if "then" in one or "then_none" in one:
        return _sequence(one, known, now)
    matching = sorted(
        (h for h in known.history if h.name == one["event"] and _where(h, one)),
        key=lambda h: (h.at, h.position),
    )
    if "sum" in one:
        said = [h.properties.get(one["sum"]) for h in matching if _in_window(h, one, now)]
        total = sum(n for n in said if type(n) is int or type(n) is float)
        return bool(one.get("at_least", total) <= total < one.get("less_than", total + 1))
    for which, place in (("first", 0), ("last", -1)):
        if which in one:
            return bool(matching) and _occasion(matching[place], one[which], now)
    return _counted(one, [h for h in matching if _in_window(h, one, now)])


def _consent(purpose: str, known: Known) -> str:
    if purpose in known.consent:
        return "given" if known.consent[purpose] else "refused"
    declared = known.policies.get("purposes", {}).get(purpose, {})
    theirs = [
        default
        for name, default in declared.get("in", {}).items()
        if all(
            _meets(known.attributes.get(path), wanted)
            for path, wanted in known.policies["jurisdictions"][name]["where"].items()
        )
    ]
    for strict in ("refused", "unknown", "given"):
        if strict in theirs:
            return strict
    return str(declared.get("default", "unknown"))


def _occasion(happened: Happened, asked: Mapping[str, Any], now: int) -> bool:
    return _where(happened, asked) and _in_window(happened, asked, now)


def _in_window(happened: Happened, one: Mapping[str, Any], now: int) -> bool:
    within, before = one.get("within"), one.get("before")
    if "between" in one:
        before, within = one["between"]
        if before[0] == "1" and "-" in before:
            return _moment(before) <= happened.at < _moment(within)
    if before is not None and "-" in before:
        if happened.at >= _moment(before):
            return False
        before = None
    if within is not None and happened.at <= now - length(within):
        return False
    return before is None or happened.at <= now - length(before)


def _moment(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def _counted(one: Mapping[str, Any], matching: list[Happened]) -> bool:
    count = len({h.position for h in matching})
    if "exactly" in one:
        return count == int(one["exactly"])
    if "at_most" in one:
        return int(one.get("at_least", 0)) <= count <= int(one["at_most"])
    return count >= int(one.get("at_least", 1))


def _sequence(one: Mapping[str, Any], known: Known, now: int) -> bool:
    wait = length(one["within"])
    for first in known.history:
        if first.name != one["event"] or not _where(first, one):
            continue
        if "then_none" in one and first.at + wait > now:
            continue
        answers = [
            other
            for answer in one.get("then", one.get("then_none", ()))
            for other in known.history
            if other.name == answer["event"]
            and other.position != first.position
            and first.at <= other.at
            and (
                answer.get("within") == "ever"
                or other.at <= first.at + (length(answer["within"]) if "within" in answer else wait)
            )
            and _where(other, answer)
            and _same(first, other, answer.get("same"))
        ]
        if bool(answers) == ("then" in one):
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
    checks: dict[str, Callable[[Any, Any], bool]] = {
        "is": lambda v, w: v is not None and type(v) is type(w) and v == w,
        "is_not": lambda v, w: v is None or type(v) is not type(w) or v != w,
        "at_least": lambda v, w: type(v) is type(w) and v >= w,
        "less_than": lambda v, w: type(v) is type(w) and v < w,
        "exists": lambda v, w: (v is not None) == w,
    }
    return all(checks[word](value, operand) for word, operand in wanted.items() if word in checks)
