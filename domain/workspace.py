"""What a workspace declares: its feeds, its audiences and its connections.

The YAML form is `roundtrip.yaml`. A workspace with a mistake is refused whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from domain.audiences.definition import Audience
from domain.audiences.durations import Duration
from domain.audiences.splits import Percent
from domain.channels import Channel
from domain.consent import Jurisdiction, Policies, Purpose
from domain.forwarding import ForwardedEvents, Properties
from domain.identity_rules import Login, Match, SharedDevice
from domain.imports import Import
from domain.loops import Loop, hops_of
from domain.mapping import Declared, mapped
from domain.pace import DeclaredRate
from domain.schedules import check_schedule, check_timezone
from domain.secret_ref import Model as Model
from domain.secret_ref import Name as Name
from domain.secret_ref import SecretRef as SecretRef
from domain.tracking_plan import TrackingPlan
from domain.traits.definition import Trait
from domain.transforming import Transform

#: A purpose as records name it: any text.
PurposeName = Annotated[str, Field(min_length=1, max_length=512)]
#: The format of feeds that only files come in by.
FILES: Final = "files"


class Feed(Model):
    """Where records come in. `priority` decides between sources that disagree on an attribute: higher wins.

    A feed of the format `files` takes in what an operator imports, and has no secret. `settings` are those of a
    source that is pulled.
    """

    format: str
    secret: SecretRef | None = None
    priority: int = 0
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _secret_where_needed(self) -> Feed:
        if (self.secret is None) != (self.format == FILES):
            raise ValueError(f"a feed has a 'secret', unless its format is '{FILES}'")
        return self


class Connection(Model):
    """Where an audience goes out, or events as they come.

    `fields` names what goes along: the destination's name → where it comes from, as `identifier.<kind>`,
    `attribute.<name>`, `trait.<name>` or `consent.<purpose>`, or made as `MappedField` says. What is not declared
    stays. `requires` names fields without which nothing can be sent; by default all of them. `purpose` is the consent
    that a person must have given, at routing and again at delivery.

    Of `events`, `properties` go along that are declared, or all of them. Those of all feeds go out, or those of
    `feeds`. `sample` is the percent of people whom it tells of, always the same.

    At most `rate` requests are sent, as in `10/s`, and `concurrency` at once, of which no two are of one person.
    What a destination that fails has not taken after `give_up_after` is a dead letter. Its address must be public,
    unless `allow_private`. That a person was erased is told to it, unless `deletions` is false.

    What it sends counts for the `channel`, and goes out when that allows. An event that lacks an identifier waits so
    long for it (`wait_for_identifier`), and is a dead letter then.

    With a `schedule`, cron's syntax in `timezone`, nothing goes out but by runs: of an audience, by its `mode`, all of
    it (`snapshot`) or what is different since the last run (`diff`); of events, all that came since.

    A `transform` makes of each record what the destination takes, right before it is sent.
    """

    connector: str
    audience: Name | None = None
    events: ForwardedEvents | None = None
    properties: Properties = {}
    feeds: list[Name] = []
    sample: Percent = 100
    mode: Literal["snapshot", "diff"] | None = None
    schedule: str = ""
    timezone: str = "UTC"
    wait_for_identifier: Duration | None = None
    fields: dict[str, Declared]
    requires: list[str] | None = None
    transform: Transform | None = None
    purpose: str = ""
    channel: Name | None = None
    settings: dict[str, Any] = {}
    secrets: dict[str, SecretRef] = {}
    rate: DeclaredRate | None = None
    concurrency: int = Field(default=4, ge=1, le=64)
    give_up_after: Duration = 86_400_000_000
    allow_private: bool = False
    deletions: bool = True

    @property
    def traits(self) -> set[str]:
        """The computed traits that go along."""
        return {trait for field in self.fields.values() for trait in mapped(field).traits}

    @model_validator(mode="after")
    def _one_mode(self) -> Connection:
        if (self.audience is None) == (self.events is None):
            raise ValueError("a connection sends an 'audience', or 'events': write one of the two")
        if self.events is None:
            alone = {"properties", "feeds", "wait_for_identifier"} & self.model_fields_set
            if alone:
                raise ValueError(f"{_quoted(alone)} are of a connection that sends 'events'")
        self._by_runs()
        if self.schedule and self.wait_for_identifier:
            raise ValueError(
                "'wait_for_identifier' is of a connection that has no 'schedule': a run sends what there is"
            )
        unknown = set(self.requires or ()) - set(self.fields)
        if unknown:
            raise ValueError(f"'requires' names {_quoted(unknown)}; the fields are: {_quoted(self.fields)}")
        return self

    def _by_runs(self) -> None:
        """Raises `ValueError` where it is not clear what goes out when."""
        if self.events is not None and self.mode is not None:
            raise ValueError(
                "'mode' is of a connection that sends an 'audience'; events need a 'schedule' alone"
            )
        if self.mode is not None and not self.schedule:
            raise ValueError(
                f"'mode: {self.mode}' sends by runs: say when by 'schedule', as in \"0 6 * * *\""
            )
        if self.schedule and self.audience is not None and self.mode is None:
            raise ValueError(
                "a 'schedule' needs a 'mode': 'snapshot' (all of the audience) or 'diff' (what changed)"
            )
        if "timezone" in self.model_fields_set and not self.schedule:
            raise ValueError("'timezone' is that of a 'schedule', and there is none")
        if self.schedule and self.channel is not None:
            raise ValueError(
                "'channel' is of what goes out as it comes; a connection with a 'schedule' has none"
            )
        check_timezone(self.timezone)
        if "schedule" in self.model_fields_set:
            check_schedule(self.schedule)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


class IdentifierKind(Model):
    """What an identifier of this kind may do. Of a record's identifiers, that with the lowest `priority` says
    first whose record it is. A profile has at most `limit` values of the kind; with a limit of 1 the kind
    tells people apart. One that does not `merge` never makes two profiles one."""

    priority: int = Field(default=40, ge=1, le=1000)
    limit: int = Field(default=5, ge=1, le=1000)
    merges: bool = True


class Identity(Model):
    """How people are told apart. `blocked` are values that name nobody, besides those that never do. At a `login`
    what was met before `joins` the person, or they begin anew. Of several profiles that cannot be one, a record is
    about that of its identifier with the lowest `priority` number, or the `best` match: where most of them lead. What
    comes without a user from a `shared_device` is its `first_user`'s, or its `most_recent_user`'s."""

    blocked: list[str] = []
    login: Login = "joins"
    match: Match = "priority"
    shared_device: SharedDevice = "first_user"


class Workspace(Model):
    """A whole workspace file."""

    workspace: Name
    clock: Literal["wall", "simulated"] = "wall"
    identity: Identity = Identity()
    identifiers: dict[Name, IdentifierKind] = {}
    jurisdictions: dict[Name, Jurisdiction] = {}
    purposes: dict[PurposeName, Purpose] = {}
    feeds: dict[Name, Feed] = {}
    traits: dict[Name, Trait] = {}
    audiences: dict[Name, Audience] = {}
    channels: dict[Name, Channel] = {}
    connections: dict[Name, Connection] = {}
    loops: dict[Name, Loop] = {}
    tracking_plans: dict[Name, TrackingPlan] = {}
    imports: dict[Name, Import] = {}

    @property
    def policies(self) -> Policies:
        """What holds of who has said nothing to a purpose."""
        return Policies(self.purposes, self.jurisdictions)

    @model_validator(mode="after")
    def _in_declared_jurisdictions(self) -> Workspace:
        for name, purpose in self.purposes.items():
            for jurisdiction in purpose.in_:
                if jurisdiction not in self.jurisdictions:
                    who = f"purpose '{name}'"
                    problem = _unknown(who, "jurisdiction", jurisdiction, self.jurisdictions)
                    raise _refused(problem, "purposes", name)
        return self

    @model_validator(mode="after")
    def _imports_by_feeds(self) -> Workspace:
        for name, one in self.imports.items():
            if one.feed not in self.feeds:
                known = ", ".join(sorted(self.feeds)) or "none"
                raise _refused(
                    f"import '{name}' comes in by feed '{one.feed}'; declared are: {known}", "imports", name
                )
        return self

    @model_validator(mode="after")
    def _planned_once(self) -> Workspace:
        planned: dict[str, str] = {}
        for name, plan in self.tracking_plans.items():
            for feed in plan.feeds:
                if feed not in self.feeds:
                    known = ", ".join(sorted(self.feeds)) or "none"
                    raise _refused(
                        f"tracking plan '{name}' is for feed '{feed}'; declared are: {known}",
                        "tracking_plans",
                        name,
                    )
                if feed in planned:
                    raise _refused(
                        f"feed '{feed}' has the tracking plans '{planned[feed]}' and '{name}'",
                        "tracking_plans",
                        name,
                    )
                planned[feed] = name
        return self

    @model_validator(mode="after")
    def _names_known(self) -> Workspace:
        for name, connection in self.connections.items():
            for feed in connection.feeds:
                if feed not in self.feeds:
                    known = ", ".join(sorted(self.feeds)) or "none"
                    raise _refused(
                        f"connection '{name}' sends events of feed '{feed}'; declared are: {known}",
                        "connections",
                        name,
                    )
            if connection.audience is not None and connection.audience not in self.audiences:
                known = ", ".join(sorted(self.audiences)) or "none"
                raise _refused(
                    f"connection '{name}' sends audience '{connection.audience}', which is not declared; "
                    f"declared are: {known}",
                    "connections",
                    name,
                    "audience",
                )
            if connection.channel is not None and connection.channel not in self.channels:
                who = f"connection '{name}'"
                problem = _unknown(who, "channel", connection.channel, self.channels)
                raise _refused(problem, "connections", name, "channel")
            unknown = connection.traits - self.traits.keys()
            if unknown:
                known = ", ".join(sorted(self.traits)) or "none"
                raise _refused(
                    f"connection '{name}' sends trait {_quoted(unknown)}, which is not declared; declared are: {known}",
                    "connections",
                    name,
                    "fields",
                )
        return self

    @model_validator(mode="after")
    def _loops_of_what_is_declared(self) -> Workspace:
        for name, loop in self.loops.items():
            for hop in hops_of(loop):
                connection = self.connections.get(hop.connection)
                if connection is None:
                    unknown = _unknown(f"loop '{name}'", "connection", hop.connection, self.connections)
                    raise _refused(unknown, "loops", name)
                if connection.audience != hop.audience:
                    sends = f"audience '{connection.audience}'" if connection.audience else "events"
                    raise _refused(
                        f"loop '{name}' tells connection '{hop.connection}' of audience '{hop.audience}', but that"
                        f" connection sends {sends}",
                        "loops",
                        name,
                    )
                if hop.feed is not None and hop.feed not in self.feeds:
                    raise _refused(_unknown(f"loop '{name}'", "feed", hop.feed, self.feeds), "loops", name)
        return self


def _unknown(who: str, what: str, name: str, known: Iterable[str]) -> str:
    return f"{who} names {what} '{name}', which is not declared; declared are: {', '.join(sorted(known)) or 'none'}"


def _refused(problem: str, *way: str) -> PydanticCustomError:
    """A mistake that only the whole file shows, and the way to the part that has it."""
    return PydanticCustomError("workspace", "{problem}", {"problem": problem, "way": way})
