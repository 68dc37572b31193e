"""What a computed trait is: one value per person, computed from what they did. The words and their exact meaning are in
docs/reference/traits.md."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from domain.audiences.comparisons import Path, Where
from domain.audiences.events import EventName
from domain.audiences.windows import Windowed
from domain.audiences.words import refusal, text

Compute = Literal[
    "count",
    "sum",
    "average",
    "min",
    "max",
    "first",
    "last",
    "most_frequent",
    "distinct",
    "distinct_count",
    "time_since",
]
#: Those that look at the event alone, and at none of its properties.
OF_EVENTS: Final = frozenset({"count", "time_since"})
#: Those whose property is a number.
OF_NUMBERS: Final = frozenset({"sum", "average", "min", "max"})
#: Those that remember values, each with how often it was there.
OF_VALUES: Final = frozenset({"most_frequent", "distinct", "distinct_count"})
#: Those that are 0 of somebody who did nothing; of the others there is no value then.
FROM_ZERO: Final = frozenset({"count", "sum", "distinct_count"})

#: Of a window that moves, so many of the newest events of a person count.
MOST_KEPT: Final = 1_000
#: So many different values of a person are told apart.
MOST_VALUES: Final = 1_000
#: A longer text counts as no value.
LONGEST_VALUE: Final = 500
#: `time_since` counts in days, in microseconds here.
DAY: Final = 86_400_000_000


class Trait(Windowed):
    """What is computed of an event's occurrences: of all there ever were, or of those in a window.

    `of` is the property that is asked: every `compute` has one but `count` and `time_since`.
    """

    event: EventName
    compute: Compute
    of: Path | None = None
    where: Where = {}
    description: Annotated[str, BeforeValidator(text), Field(max_length=1_000)] | None = None

    @model_validator(mode="after")
    def _asks_what_it_needs(self) -> Trait:
        if self.compute in OF_EVENTS and self.of is not None:
            raise refusal(f"'{self.compute}' looks at no property: leave 'of' out", "of")
        if self.compute not in OF_EVENTS and self.of is None:
            raise refusal(
                f"'{self.compute}' is computed of a property: name it with 'of', as in of: total", "compute"
            )
        return self
