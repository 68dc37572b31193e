"""When an event has to have happened to be asked about: in the last so much time, longer ago, or between.

Every window comes down to two ends. An end that is a length of time moves with the log's time; one that is a
moment stays.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema, model_validator

from domain.audiences.durations import Duration, format_duration, parse_duration
from domain.audiences.occurrences import Occurrence
from domain.audiences.words import Part, refusal


class Moment(NamedTuple):
    """A fixed moment, in microseconds since the epoch."""

    at: int


class Window(NamedTuple):
    """An event at `at` is in the window while `now − within < at ≤ now − before` and `since ≤ at < until`.

    All in microseconds; `None` is an end that is open.
    """

    within: int | None = None
    before: int | None = None
    since: int | None = None
    until: int | None = None

    def takes(self, at: int) -> bool:
        """Whether the ends that stay allow this moment."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

    @property
    def moves(self) -> bool:
        """Whether an end moves with the log's time."""
        return self.within is not None or self.before is not None

    def inside(self, kept: list[Occurrence], now: int) -> list[Occurrence]:
        """Those that are in the window now, of occurrences that the ends that stay allow."""
        if self.within is not None:
            after = now - self.within
            kept = [each for each in kept if each[0] > after]
        if self.before is not None:
            upto = now - self.before
            kept = [each for each in kept if each[0] <= upto]
        return kept

    def next_change(self, kept: list[Occurrence], now: int) -> int | None:
        """The next log time at which one of these enters the window or leaves it."""
        ends = [end for end in (self.within, self.before) if end is not None]
        return min((at for each in kept for end in ends if (at := each[0] + end) > now), default=None)


def _end(value: Any) -> int | Moment:
    if isinstance(value, Moment):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError:
            pass
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise refusal(
                f"{value!r} is neither a length of time, as in 30d, nor a moment, as in '2026-01-31' or"
                " '2026-01-31T12:00:00Z'"
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise refusal(f"{value!r} is neither a length of time, as in 30d, nor a moment, as in '2026-01-31'")
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    return Moment(round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000))


def _written(end: int | Moment) -> str:
    if isinstance(end, Moment):
        return datetime.fromtimestamp(end.at / 1_000_000, UTC).isoformat()
    return format_duration(end)


def _two(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise refusal(f"{value!r} is not two ends: write between: [7d, 30d], or two moments")
    ends = first, second = _end(value[0]), _end(value[1])
    if isinstance(first, Moment) != isinstance(second, Moment):
        raise refusal("the two ends are of a kind: two lengths of time, or two moments")
    first_at, second_at = (end.at if isinstance(end, Moment) else end for end in ends)
    if first_at >= second_at:
        raise refusal("the nearer length of time comes first, and so does the earlier moment")
    return first, second


#: A length of time ("so long ago") or a moment; a date is its midnight in UTC.
End = Annotated[
    int | Moment,
    BeforeValidator(_end),
    PlainSerializer(_written, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["30d", "2026-01-31", "2026-01-31T12:00:00+00:00"]}),
]


class Windowed(Part):
    """What may be said of when an event happened; nothing said is ever.

    `within` 7d: in the last seven days. `before` 30d: longer ago than thirty days, or before a moment.
    `between` [7d, 30d]: longer ago than seven days and in the last thirty; or from one moment to another.
    """

    within: Duration | None = None
    before: End | None = None
    between: Annotated[tuple[End, End], BeforeValidator(_two)] | None = None

    @property
    def window(self) -> Window:
        if self.between is not None:
            near, far = self.between
            if isinstance(near, Moment) and isinstance(far, Moment):
                return Window(since=near.at, until=far.at)
            assert not isinstance(near, Moment) and not isinstance(far, Moment)
            return Window(within=far, before=near)
        if isinstance(self.before, Moment):
            return Window(within=self.within, until=self.before.at)
        return Window(within=self.within, before=self.before)

    @model_validator(mode="after")
    def _one_window(self) -> Windowed:
        if self.between is not None and (self.within is not None or self.before is not None):
            raise refusal("'between' says both ends: leave it out, or leave out within and before")
        if self.within is not None and isinstance(self.before, int) and self.before >= self.within:
            raise refusal(
                "nothing is longer ago than 'before' and yet within 'within': make 'before' shorter"
            )
        return self
