"""The conditions that ask about events: how often, how much, the first or last, and what followed."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from domain.audiences.comparisons import Path, Where
from domain.audiences.durations import Duration, parse_duration
from domain.audiences.windows import Windowed
from domain.audiences.words import Part, refusal, text

#: Greatest number that an event count may ask for; so many records a person and condition are kept.
MOST_COUNTED: Final = 100


def listed(value: Any) -> Any:
    """Lets lists through that have something in them."""
    if not isinstance(value, (list, tuple)) or not value:
        raise refusal("a list of at least one is expected here: begin each with a dash, or put them in [ ]")
    return value


def _counted(value: Any) -> Any:
    if type(value) is not int or not 0 <= value <= MOST_COUNTED:
        raise refusal(f"{value!r} cannot be counted to: write a whole number from 0 to {MOST_COUNTED}")
    return value


def _at_least_one(value: Any) -> Any:
    if value == 0:
        raise refusal("everybody has at least 0: write 1 or more, or at_most: 0 for never")
    return _counted(value)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < SUM_LIMIT:
        raise refusal(f"{value!r} is no sum that can be compared: write a number, as in 100 or 99.5")
    return value


#: Values of a sum are below this; they are added up to six decimals.
SUM_LIMIT: Final = 1_000_000_000_000

EventName = Annotated[str, BeforeValidator(text), Field(min_length=1, max_length=500)]
Count = Annotated[int, BeforeValidator(_counted), Field(ge=0, le=MOST_COUNTED)]
Amount = Annotated[int | float, BeforeValidator(_number)]


class EventCount(Windowed):
    """How often an event happened, ever or in a window. By default at least once."""

    event: EventName
    at_least: Annotated[int, BeforeValidator(_at_least_one), Field(ge=1, le=MOST_COUNTED)] | None = None
    at_most: Count | None = None
    exactly: Count | None = None
    where: Where = {}

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The least and the greatest count that hold; `None` where there is no greatest."""
        if self.exactly is not None:
            return self.exactly, self.exactly
        if self.at_most is not None:
            return self.at_least or 0, self.at_most
        return self.at_least or 1, None

    @model_validator(mode="after")
    def _one_question(self) -> EventCount:
        if self.exactly is not None and (self.at_least is not None or self.at_most is not None):
            raise refusal("'exactly' stands alone: leave it out, or leave out at_least and at_most")
        least, most = self.bounds
        if most is not None and least > most:
            raise refusal(f"no count is at least {least} and at most {most}: exchange the two")
        return self


class EventSum(Windowed):
    """What a property of an event's newest hundred occurrences adds up to. Who has none has 0."""

    event: EventName
    sum: Path
    greater_than: Amount | None = None
    at_least: Amount | None = None
    less_than: Amount | None = None
    at_most: Amount | None = None
    where: Where = {}

    @property
    def operations(self) -> dict[str, float]:
        """Operator → operand of those that were given."""
        words = ("greater_than", "at_least", "less_than", "at_most")
        return {word: getattr(self, word) for word in words if getattr(self, word) is not None}

    @model_validator(mode="after")
    def _compares(self) -> EventSum:
        if not self.operations:
            raise refusal("a sum is compared: add greater_than, at_least, less_than or at_most")
        return self


class Occasion(Windowed):
    """What must hold of one occurrence: when it was, and its properties."""

    where: Where = {}

    @model_validator(mode="after")
    def _asks(self) -> Occasion:
        if not self.model_fields_set:
            raise refusal("nothing is asked of it: add within, before, between or where")
        return self


class FirstOrLast(Part):
    """What must hold of the first or the last occurrence of an event. Who has none does not meet it."""

    event: EventName
    first: Occasion | None = None
    last: Occasion | None = None
    where: Where = {}

    @property
    def occasion(self) -> tuple[Literal["first", "last"], Occasion]:
        """Which occurrence, and what must hold of it."""
        if self.first is not None:
            return "first", self.first
        assert self.last is not None
        return "last", self.last

    @model_validator(mode="after")
    def _one_of_them(self) -> FirstOrLast:
        if self.first is not None and self.last is not None:
            raise refusal("'first' and 'last' cannot stand in one condition: put each on its own under 'all'")
        return self


def _wait(value: Any) -> Any:
    return value if value == EVER else parse_duration(value)


#: How an answer says that it counts whenever it comes.
EVER: Final = "ever"


class Answer(Part):
    """An event that answers a sequence's first one; with `same`, only where that property is equal.

    It counts in the sequence's own time, unless it has a `within` of its own; `ever` is up to now.
    """

    event: EventName
    same: Path | None = None
    within: Literal["ever"] | Duration | None = None
    where: Where = {}

    @model_validator(mode="before")
    @classmethod
    def _readable_wait(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("within") is not None:
            _wait(value["within"])
        return value


class Sequence(Part):
    """An event that one of some answers followed within a length of time (`then`), or none (`then_none`)."""

    event: EventName
    then: Annotated[tuple[Answer, ...], Field(min_length=1, max_length=8), BeforeValidator(listed)] | None = (
        None
    )
    then_none: (
        Annotated[tuple[Answer, ...], Field(min_length=1, max_length=8), BeforeValidator(listed)] | None
    ) = None
    within: Duration
    where: Where = {}

    @property
    def answers(self) -> tuple[Answer, ...]:
        return self.then or self.then_none or ()

    def wait_of(self, answer: Answer) -> int | None:
        """How long after the event an answer counts, in microseconds; `None` where it always does."""
        if answer.within == EVER:
            return None
        return self.within if answer.within is None else int(answer.within)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if isinstance(value, dict) and "then" in value and "then_none" in value:
            raise refusal(
                "'then' and 'then_none' cannot stand in one condition: put each on its own under 'all'"
            )
        if isinstance(value, dict) and "within" not in value:
            raise refusal("an answer needs the time in which to wait for it: add within: 24h")
        return value


EventCondition = EventCount | EventSum | FirstOrLast | Sequence
