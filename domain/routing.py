"""What a connection has to tell its destination of one person, and why it may not.

A destination that takes adds and removes is told the difference between what it was last told and what
holds now. A destination that only takes adds, as one that sends messages, is told of a person
once: whoever leaves the audience and comes back gets no second message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from domain.audiences.splits import in_share
from domain.consent import NO_POLICIES, Policies
from domain.mapping import Mapped, value_of
from domain.mirrors import alike, tell
from domain.outbound import Change, Status
from domain.profiles import Profile, consented
from domain.quiet import QuietHours

#: The reason that a member of an audience's holdout is not told.
HELD_OUT: Final = "in the audience's holdout"


Mode = Literal["stream", "snapshot", "diff", "batch"]


class Destination(NamedTuple):
    """A connection as routing needs it. `changes` are those that its connector takes, `max_batch` how many
    outbound records form a batch, `holdout` the percent of the audience that is not told to anybody, `share` the
    percent of people whom this connection tells of. `optional` are
    fields that go along where they are known. `audience` is empty where events go out. `mirrored` are fields that
    people may change at the destination, which its paired feed then tells. `channel` is empty where none is shared with
    other connections. `mode` says whether it is told of changes as they come (`stream`) or by runs: of all members
    (`snapshot`), of what is different (`diff`), of the events since (`batch`). `policies` say what holds of a person
    who has said nothing to a purpose."""

    connection: str
    audience: str
    purpose: str
    fields: tuple[tuple[str, Mapped], ...]
    changes: frozenset[str]
    max_batch: int
    holdout: float = 0
    optional: frozenset[str] = frozenset()
    mirrored: frozenset[str] = frozenset()
    channel: str = ""
    mode: Mode = "stream"
    policies: Policies = NO_POLICIES
    share: float = 100

    @property
    def by_runs(self) -> bool:
        """Whether nothing is told but by runs."""
        return self.mode != "stream"

    @property
    def purposes(self) -> frozenset[str]:
        """The purposes that a person's consent is looked at for: to be told of, or to be told itself."""
        asked = {purpose for _, field in self.fields for purpose in field.purposes}
        return frozenset(asked | {self.purpose} - {""})

    @property
    def traits(self) -> tuple[str, ...]:
        """The computed traits that go along."""
        return tuple(sorted({trait for _, field in self.fields for trait in field.traits}))


class Routed(NamedTuple):
    """One change to send, with the fields it is sent with; of an event its name, time (microseconds) and properties.
    Not in the hours `quiet`, and not at all with a reason why it is `unsent`: then `ends` is its outcome. An update
    says what the fields that are different were `before`."""

    destination: Destination
    change: Change
    fields: dict[str, Any]
    event: str = ""
    occurred_at: int = 0
    properties: dict[str, Any] = {}
    quiet: QuietHours | None = None
    unsent: str = ""
    ends: Status = "suppressed"
    before: dict[str, Any] = {}


class Held(NamedTuple):
    """Something is to be sent once the quiet hours are over, if it still is then."""

    destination: Destination


class Withheld(NamedTuple):
    """Nothing may be sent, and why; with the kind of an `identifier` that is lacking and may become known. `told` says
    that the destination knew of the person until now."""

    destination: Destination
    reason: str
    identifier: str = ""
    told: bool = False


def route(
    profile: Profile, destination: Destination, traits: Mapping[str, Any] = {}, quiet: bool = False
) -> list[Routed | Held | Withheld]:
    """Decides, and notes in `profile.routed` what the destination is told. `traits` are the values now of those that
    go along. In `quiet` hours nothing is told but who is to be taken out."""
    name = destination.connection
    told = profile.routed.get(name)
    member = destination.audience in profile.memberships
    decisions: list[Routed | Held | Withheld] = [
        Routed(destination, "remove", fields) for fields in profile.unsaid.pop(name, ())
    ]
    if "remove" not in destination.changes and (told is not None or not member):
        return []
    wanted, missing = _wanted(profile, destination, traits)
    if quiet and wanted is not None and (wanted != told or destination.mirrored):
        return [*decisions, Held(destination)]
    if told is not None and wanted is not None and _same_but_mirrored(destination, told, wanted):
        return [*decisions, *_differences(profile, destination, told, wanted)]
    if wanted == told:
        return [*decisions, Withheld(destination, missing)] if missing else decisions
    if told is not None and wanted is not None and "update" in destination.changes:
        profile.routed[name] = wanted
        _note(profile, destination, wanted)
        names = [field for field in {**told, **wanted} if told.get(field) != wanted.get(field)]
        before = {field: told.get(field) for field in names}
        return [*decisions, Routed(destination, "update", wanted, before=before)]
    if told is not None:
        del profile.routed[name]
        decisions.append(Routed(destination, "remove", told))
    if wanted is not None:
        profile.routed[name] = wanted
        _note(profile, destination, wanted)
        decisions.append(Routed(destination, "add", wanted))
    elif missing:
        decisions.append(Withheld(destination, missing, told=told is not None))
    return decisions


def _same_but_mirrored(destination: Destination, told: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return bool(destination.mirrored) and _others(destination, told) == _others(destination, wanted)


def _others(destination: Destination, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in destination.mirrored}


def _differences(
    profile: Profile, destination: Destination, told: Mapping[str, Any], wanted: dict[str, Any]
) -> list[Routed | Held | Withheld]:
    """Of fields that people change at the destination, those that it is known to hold do not go along: somebody may be
    changing them there. What has lost its value here is emptied there."""
    held = profile.mirrors.get(destination.connection, {})
    news = {}
    for name, field in destination.fields:
        if name in destination.mirrored and (name in wanted or field.key in profile.attributes):
            known = held[name].value if name in held else told.get(name)
            value = wanted.get(name, "")
            if not alike(known, value):
                news[name] = value
    profile.routed[destination.connection] = wanted
    if not news:
        return []
    _note(profile, destination, news)
    return [Routed(destination, "add", _others(destination, wanted) | news)]


def _note(profile: Profile, destination: Destination, fields: Mapping[str, Any]) -> None:
    told = {name: value for name, value in fields.items() if name in destination.mirrored}
    if told:
        tell(profile.mirrors.setdefault(destination.connection, {}), told)


def list_member(
    profile: Profile, destination: Destination, traits: Mapping[str, Any] = {}
) -> list[Routed | Held | Withheld]:
    """As `route`, for a destination that is told of all members each time: a member is told whatever was told before,
    and who is no member any more is in what was told before, and in nothing further."""
    if destination.audience not in profile.memberships:
        return []
    wanted, missing = _wanted(profile, destination, traits)
    if wanted is None:
        return [Withheld(destination, missing)]
    profile.routed[destination.connection] = wanted
    return [Routed(destination, "add", wanted)]


def _wanted(
    profile: Profile, destination: Destination, traits: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    """What the destination is to know of the person, `None` where that is nothing, and why a member is withheld."""
    if destination.audience not in profile.memberships:
        return None, ""
    fields, missing = fields_of(profile, destination, traits)
    if not consented(profile, destination.purpose, destination.policies):
        missing = f"no consent to '{destination.purpose}'"
    missing = unsampled(profile, destination) or missing
    if held_out(profile, destination):
        missing = HELD_OUT
    return (None if missing else fields), missing


def held_out(profile: Profile, destination: Destination) -> bool:
    """Whether the person is of the share of the audience that nobody is told of."""
    return destination.holdout > 0 and in_share(
        f"holdout:{destination.audience}", profile.id, 0, destination.holdout
    )


def unsampled(profile: Profile, destination: Destination) -> str:
    """Why the connection does not tell of this person though it may; empty where it does."""
    if in_share(f"sample:{destination.connection}", profile.id, 0, destination.share):
        return ""
    return f"not among the {destination.share:g} % of people whom the connection tells of"


def known_of(profile: Profile, destination: Destination, traits: Mapping[str, Any] = {}) -> dict[str, Any]:
    """The values of those of the declared fields that are known."""
    values = ((name, value_of(field, profile, traits)) for name, field in destination.fields)
    return {name: value for name, value in values if value is not None and value != ""}


def lacking(profile: Profile, destination: Destination) -> str:
    """The kind of an identifier without which nothing is sent and which is not known; empty where there is none."""
    needed = (
        field.key
        for name, field in destination.fields
        if field.source == "identifier" and name not in destination.optional
    )
    return next((kind for kind in needed if not profile.identifiers.get(kind)), "")


def fields_of(
    profile: Profile, destination: Destination, traits: Mapping[str, Any] = {}
) -> tuple[dict[str, Any], str]:
    """The declared fields' values, and what is missing of them."""
    values: dict[str, Any] = {}
    for name, field in destination.fields:
        value = value_of(field, profile, traits)
        if value is None or value == "":
            if name in destination.optional:
                continue
            return {}, f"no {field.source} '{field.key}'"
        values[name] = value
    return values, ""
