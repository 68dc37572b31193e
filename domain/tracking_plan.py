"""Tracking plans: what events and traits have to look like, and what becomes of a record that does not.

A plan is a definition of the workspace, so the log says which one held when.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from domain.json_schema import Schema, Violation, compile_schema
from domain.records import TOPIC_NAME_LIMIT, Record, dig

Policy = Literal["block", "quarantine", "mark"]
#: Where Segment's clients say which version of an event this is.
VERSION_AT: Final = "context.protocols.event_version"

_decode = msgspec.json.Decoder().decode


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Version(_Model):
    """One version of an event: the JSON Schema of its properties, or of an identify call's traits."""

    json_schema: Annotated[dict[str, Any], Field(alias="schema")]

    @field_validator("json_schema")
    @classmethod
    def _sure_to_end(cls, value: dict[str, Any]) -> dict[str, Any]:
        compile_schema(value)
        return value


class Planned(_Model):
    """The versions of an event; a record that does not say which one it is has the highest. One schema alone is
    version 1."""

    versions: Annotated[dict[str, Version], Field(min_length=1)]
    on_violation: Policy | None = None

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if "schema" in value and "versions" not in value:
            value["versions"] = {"1": {"schema": value.pop("schema")}}
        if isinstance(value.get("versions"), dict):
            value["versions"] = {str(name): version for name, version in value["versions"].items()}
        return value


class TrackingPlan(_Model):
    """A plan for some feeds. `on_violation` says what becomes of a record that is not as planned: it is `block`ed
    (a row in the log says so), put into `quarantine`, or kept with a `mark`. `unplanned` says the same of
    events that the plan does not name."""

    feeds: Annotated[list[str], Field(min_length=1)]
    on_violation: Policy = "quarantine"
    unplanned: Literal["allow", "block", "quarantine", "mark"] = "allow"
    version_at: str = VERSION_AT
    events: dict[str, Planned] = {}
    traits: Planned | None = None


class Verdict(NamedTuple):
    """What a plan says against a record."""

    policy: Policy
    plan: str
    event: str
    version: str
    violations: tuple[Violation, ...]

    @property
    def reason(self) -> str:
        """One sentence, without a value of the record's."""
        said = ", ".join(f"{one.pointer or '/'} ({one.keyword})" for one in self.violations)
        return f"plan '{self.plan}', {self.event} version {self.version}: {said}"


class _Checks(NamedTuple):
    policy: Policy
    versions: Mapping[str, Schema]
    current: str


class PlanOfFeed:
    """A plan, ready to judge the records of a feed."""

    def __init__(self, name: str, plan: TrackingPlan) -> None:
        self._name, self._plan = name, plan
        self._events = {event: _checks(planned, plan) for event, planned in plan.events.items()}
        self._traits = None if plan.traits is None else _checks(plan.traits, plan)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlanOfFeed) and (self._name, self._plan) == (other._name, other._plan)

    __hash__ = None  # type: ignore[assignment]

    def judge(self, record: Record) -> Verdict | None:
        """What is against the record; `None` where it is as planned, or of no concern to the plan."""
        if record.type == "identify":
            checks, event, at = self._traits, "identify", record.traits_at
            if checks is None:
                return None
        elif record.type == "track":
            checks, event, at = self._events.get(record.name), f"'{record.name}'", record.properties_at
        else:
            return None
        if checks is None:
            if self._plan.unplanned == "allow":
                return None
            unplanned = (Violation("", "unplanned"),)
            return Verdict(self._plan.unplanned, self._name, event[:TOPIC_NAME_LIMIT], "?", unplanned)
        body = _decode(record.body)
        version = self._version(body) or checks.current
        schema = checks.versions.get(version)
        if schema is None:
            # What a sender calls a version is his text, and may be anything.
            unknown = (Violation("", "unknown_version"),)
            return Verdict(checks.policy, self._name, event, "?", unknown)
        violations = schema.violations({**dig(body, at), **record.properties})
        return Verdict(checks.policy, self._name, event, version, violations) if violations else None

    def _version(self, body: Any) -> str:
        place, _, name = self._plan.version_at.rpartition(".")
        found = (dig(body, place) if place else body).get(name)
        return str(found) if isinstance(found, (str, int)) and not isinstance(found, bool) else ""


def _checks(planned: Planned, plan: TrackingPlan) -> _Checks:
    versions = {name: compile_schema(version.json_schema) for name, version in planned.versions.items()}
    return _Checks(planned.on_violation or plan.on_violation, versions, max(versions, key=_rank))


def _rank(version: str) -> list[tuple[int, int, str]]:
    """1.10 is higher than 1.9."""
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def plans_of_feeds(plans: Mapping[str, TrackingPlan]) -> dict[str, PlanOfFeed]:
    """Each feed's plan; a feed has one at most."""
    return {feed: PlanOfFeed(name, plan) for name, plan in plans.items() for feed in plan.feeds}
