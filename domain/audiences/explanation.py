"""Why somebody is in an audience or not: each clause with its value, the records behind it, and what would have to
happen to change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from domain.audiences.comparisons import Comparison
from domain.audiences.definition import (
    AllOf,
    AnyOf,
    AttributeCondition,
    Audience,
    Condition,
    ConsentCondition,
    InAudience,
    InSplit,
    Not,
    TraitCondition,
)
from domain.audiences.durations import format_duration
from domain.audiences.evaluation import CompiledAudiences, Person
from domain.audiences.events import EventCondition, EventCount, EventSum, FirstOrLast, Sequence
from domain.audiences.matching import value_at
from domain.audiences.occurrences import Finding
from domain.audiences.splits import place


class Clause(NamedTuple):
    """One condition of a definition, of one person at one moment.

    `because` are the positions of the records that make it hold; `due` is the log time (µs) at which it may
    change with no further event; `change` says what would make it come out the other way.
    """

    text: str
    holds: bool
    value: str
    because: tuple[int, ...]
    due: int | None
    change: str
    parts: tuple[Clause, ...] = ()


def explain(audience: Audience, compiled: CompiledAudiences, person: Person, now: int) -> Clause:
    """The whole definition as a tree of clauses. `person` must be as of the log time `now` (microseconds)."""
    match = _clause(audience.match, compiled, person, now)
    if not audience.exclude:
        return match
    excluded = tuple(
        _opposite(_in_audience(name, person), f"not in audience '{name}'") for name in audience.exclude
    )
    return _group("all of", (match, *excluded), every=True)


def _clause(condition: Condition, compiled: CompiledAudiences, person: Person, now: int) -> Clause:
    match condition:
        case AllOf():
            parts = tuple(_clause(each, compiled, person, now) for each in condition.all_)
            return _group("all of", parts, every=True)
        case AnyOf():
            parts = tuple(_clause(each, compiled, person, now) for each in condition.any_)
            return _group("any of", parts, every=False)
        case Not():
            part = _clause(condition.not_, compiled, person, now)
            return _opposite(part, "not")._replace(parts=(part,))
        case InAudience():
            return _in_audience(condition.in_audience, person)
        case AttributeCondition():
            return _attribute(condition, compiled.find(condition, person, now), person)
        case TraitCondition():
            return _trait(condition, compiled, person, now)
        case ConsentCondition():
            return _consent(condition, compiled, person, now)
        case InSplit():
            return _split(condition, compiled.find(condition, person, now), person)
        case EventCount() | EventSum() | FirstOrLast() | Sequence():
            return _events(condition, compiled, person, now)


def _group(text: str, parts: tuple[Clause, ...], every: bool) -> Clause:
    holding = [part for part in parts if part.holds]
    holds = len(holding) == len(parts) if every else bool(holding)
    because = tuple(position for part in (holding if holds else ()) for position in part.because)
    dues = [part.due for part in parts if part.due is not None]
    others = [part for part in parts if part.holds == holds]
    # All must come to hold, or one must cease to; of alternatives it is the other way round.
    word = " and " if every != holds else " or "
    change = word.join(part.change for part in others)
    value = f"{len(holding)} of {len(parts)} hold"
    return Clause(text, holds, value, because, min(dues, default=None), change, parts)


def _opposite(clause: Clause, text: str) -> Clause:
    return clause._replace(text=text, holds=not clause.holds, because=() if clause.holds else clause.because)


def _in_audience(name: str, person: Person) -> Clause:
    inside = name in person.memberships
    change = f"leave audience '{name}'" if inside else f"enter audience '{name}'"
    return Clause(f"in audience '{name}'", inside, "member" if inside else "no member", (), None, change)


def _attribute(condition: AttributeCondition, found: Finding, person: Person) -> Clause:
    value = value_at(person.attributes, condition.attribute)
    shown = "not there" if value is None else repr(value)
    wanted = _comparison(condition)
    change = f"attribute '{condition.attribute}' {'no longer ' if found.holds else ''}{wanted}"
    return Clause(f"attribute '{condition.attribute}' {wanted}", found.holds, shown, (), None, change)


def _trait(condition: TraitCondition, compiled: CompiledAudiences, person: Person, now: int) -> Clause:
    found = compiled.find(condition, person, now)
    value = compiled.values([condition.trait], person.conditions, now).get(condition.trait)
    shown = "no value" if value is None else repr(value)
    wanted = _comparison(condition)
    change = f"trait '{condition.trait}' {'no longer ' if found.holds else ''}{wanted}"
    text = f"trait '{condition.trait}' {wanted}"
    return Clause(text, found.holds, shown, found.because, found.due, change)


def _consent(condition: ConsentCondition, compiled: CompiledAudiences, person: Person, now: int) -> Clause:
    found = compiled.find(condition, person, now)
    words = {True: "given", False: "refused", None: "unknown"}
    if condition.consent in person.consent:
        said = words[person.consent[condition.consent]]
    else:
        said = "never said"
        if condition.consent in compiled.policies.purposes:
            said += f", {words[compiled.consent(condition.consent, person)]} by default"
    other = "refused" if condition.is_ == "given" else "given"
    change = f"consent to '{condition.consent}' {other if found.holds else condition.is_}"
    return Clause(f"consent to '{condition.consent}' {condition.is_}", found.holds, said, (), None, change)


def _split(condition: InSplit, found: Finding, person: Person) -> Clause:
    percent = int(place(condition.split, person.id), 16) / 2**32 * 100
    low, high = condition.share
    text = f"from {low:g} to {high:g} percent of split '{condition.split}'"
    return Clause(text, found.holds, f"at {percent:.2f} percent", (), None, "nothing: a split stays as it is")


def _events(condition: EventCondition, compiled: CompiledAudiences, person: Person, now: int) -> Clause:
    found = compiled.find(condition, person, now)
    held = compiled.memory_of(condition, person)
    match condition:
        case EventCount():
            text, value, change = _count(condition, held, found, now)
        case EventSum():
            inside = condition.window.inside(held or [], now)
            total = sum(each[2] for each in inside) / 1_000_000
            wanted = " and ".join(f"{word} {amount:g}" for word, amount in condition.operations.items())
            text = f"sum of '{condition.sum}' of '{condition.event}'{_when(condition)} {_words(wanted)}"
            value = f"{total:g} of {len(inside)} events"
            change = (
                f"it has to be no longer {_words(wanted)}"
                if found.holds
                else f"it has to be {_words(wanted)}"
            )
        case FirstOrLast():
            which, occasion = condition.occasion
            text = f"{which} '{condition.event}'{_when(occasion)}{_where(occasion.where)}"
            value = "never happened" if not held else f"position {held[0][1]}"
            change = f"another {which} '{condition.event}'" if held else f"'{condition.event}' happens"
        case Sequence():
            text, value, change = _sequence(condition, held, found)
    return Clause(text + _where(condition.where), found.holds, value, found.because, found.due, change)


def _count(condition: EventCount, held: Any, found: Finding, now: int) -> tuple[str, str, str]:
    count = len(condition.window.inside(held or [], now))
    least, most = condition.bounds
    bounds = f"exactly {least}" if least == most else f"at least {least}" if least else ""
    if most is not None and least != most:
        bounds = f"{bounds} and at most {most}".removeprefix(" and ")
    text = f"{bounds} × '{condition.event}'{_when(condition)}"
    value = f"{count}" if most is not None or count < least else f"{count} or more"
    if count < least:
        change = f"{least - count} more × '{condition.event}'"
    elif most is not None and count > most:
        change = f"{count - most} fewer × '{condition.event}' in that time"
    elif most is not None:
        change = f"{most + 1 - count} more × '{condition.event}'"
    elif found.due is not None:
        change = f"'{condition.event}' falls out of that time"
    else:
        change = "nothing: what happened stays"
    return text, value, change


def _sequence(condition: Sequence, held: Any, found: Finding) -> tuple[str, str, str]:
    answers = " or ".join(f"'{answer.event}'" for answer in condition.answers)
    wait = format_duration(condition.within)
    firsts = len(held[0]) if held else 0
    if condition.then is not None:
        text = f"'{condition.event}', then {answers} within {wait}"
        value = f"{firsts} × '{condition.event}', {'answered' if found.holds else 'not answered in time'}"
        change = (
            "nothing: what happened stays" if found.holds else f"'{condition.event}', then {answers} in time"
        )
        return text, value, change
    text = f"'{condition.event}', and within {wait} no {answers}"
    value = f"{firsts} × '{condition.event}', {len(found.because)} of them unanswered"
    if found.holds:
        return text, value, f"{answers} that happened in time arrives late"
    waiting = (
        "the wait ends without an answer"
        if found.due is not None
        else f"'{condition.event}' without an answer"
    )
    return text, value, waiting


def _when(windowed: Any) -> str:
    said = windowed.model_dump(mode="json", exclude_none=True, include={"within", "before", "between"})
    parts = [f"{word} {' and '.join(to) if isinstance(to, list) else to}" for word, to in said.items()]
    return f" {' and '.join(parts)}" if parts else ""


def _where(where: Mapping[str, Comparison]) -> str:
    if not where:
        return ""
    return " where " + " and ".join(f"'{path}' {_comparison(one)}" for path, one in where.items())


def _comparison(comparison: Comparison) -> str:
    return " and ".join(f"{_words(word)} {operand!r}" for word, operand in comparison.operations.items())


def _words(text: str) -> str:
    return text.replace("_", " ")
