"""How a table's columns become records: the YAML file that `roundtrip import --mapping` reads."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from feeds.coercion import Kind


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Model):
    """Where a value comes from and what it must be. Of nested rows, `column` is a path joined by dots.

    An empty cell is no value. `format` is strptime's, for times that are not RFC 3339; without an offset a
    time is UTC.
    """

    column: Annotated[str, Field(min_length=1)]
    kind: Annotated[Kind, Field(alias="as")] = "text"
    required: bool = False
    one_of: list[Any] = []
    min: float | None = None
    max: float | None = None
    format: str = ""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class ConsentColumn(_Model):
    """The column that says yes or no to a purpose, and what that was said under, the same for every row: the law,
    and the version of the document that people were shown."""

    column: Annotated[str, Field(min_length=1)]
    jurisdiction: Annotated[str, Field(max_length=512)] = ""
    document: Annotated[str, Field(max_length=512)] = ""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Mapping(_Model):
    """One row becomes one record of this `type`.

    `id` names the column that a row is known by; without it a row is known by its file's content and its
    number. `time` is when it happened; without it, when the import began. `identifiers` maps kinds to
    columns, of which a row needs one. `values` become traits of an identify record, else properties; where it
    is empty, every column that has no other use does, as it is.
    """

    type: Literal["track", "identify", "page", "screen"] = "identify"
    event: str = ""
    event_column: str = ""
    id: str = ""
    time: Column | None = None
    identifiers: Annotated[dict[str, str], Field(min_length=1)]
    values: dict[str, Column] = {}
    consent: dict[str, ConsentColumn] = {}
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","

    @model_validator(mode="after")
    def _named(self) -> Mapping:
        if self.type == "track" and bool(self.event) == bool(self.event_column):
            raise ValueError("rows of type 'track' name their event by one of 'event' and 'event_column'")
        if self.type != "track" and (self.event or self.event_column):
            raise ValueError(f"rows of type '{self.type}' have no event; leave it out, or make them 'track'")
        return self

    @cached_property
    def columns(self) -> frozenset[str]:
        """Every column that the mapping names."""
        times = {self.time.column} if self.time else set()
        named = {*self.identifiers.values(), self.id, self.event_column}
        values = {one.column for one in self.values.values()}
        consents = {one.column for one in self.consent.values()}
        return frozenset((named | times | values | consents) - {""})
