"""The public contract of the bus as an AsyncAPI 3.0 document, made of the very types that are written.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and the NATS binding of CloudEvents 1.0.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, NamedTuple

import msgspec

from domain.erasure import EngagementRefused, EraseRequest, SubjectErased
from domain.messages import (
    AttributeRefused,
    MembershipChanged,
    MergeRefused,
    ProfileCreated,
    ProfileMerged,
    ProfileUnmerged,
    PutAside,
    RoutingWithheld,
)
from domain.outbound import Outbound, Outcome, Transformed
from domain.records import RECORD_TYPES, Record
from domain.replays import ConnectionReplay
from domain.runs import ConnectionRun
from domain.settling import WorkspaceApplied
from domain.unmerge import SubjectUnmerged, UnmergeRefused, UnmergeRequest

Schema = dict[str, Any]


class Tick(msgspec.Struct, frozen=True):
    """Time has passed without traffic: a timer is due at this time, in microseconds since the epoch."""

    due: int


class ChainHeadLine(msgspec.Struct, frozen=True):
    """The head of the log's hash chain, for a witness: RFC 3339 time, hexadecimal digest."""

    position: int
    recorded_at: str
    digest: str


class Anything(NamedTuple):
    """A body whose form somebody else decides."""

    title: str
    description: str


Body = type | Anything | Any


class Channel(NamedTuple):
    """A subject, with its variable tokens in braces, the stream that keeps its messages, if one does, what they hold,
    and whether we `send` it or `receive` it."""

    address: str
    stream: str
    body: Body
    what: str
    action: str = "send"


_LOG: Final = "ROUNDTRIP_LOG"
_IN: Final = "ROUNDTRIP_IN"
CHANNELS: Final = (
    *(
        Channel(f"roundtrip.log.{kind}.{{name}}", _LOG, Record, f"an inbound record of type {kind}")
        for kind in sorted(RECORD_TYPES)
    ),
    Channel("roundtrip.log.clock.tick", _LOG, Tick, "time alone has passed"),
    Channel("roundtrip.log.audience.entered", _LOG, MembershipChanged, "somebody entered an audience"),
    Channel("roundtrip.log.audience.exited", _LOG, MembershipChanged, "somebody left an audience"),
    Channel("roundtrip.log.profile.created", _LOG, ProfileCreated, "somebody was seen first"),
    Channel("roundtrip.log.profile.merged", _LOG, ProfileMerged, "two profiles are one person"),
    Channel(
        "roundtrip.log.profile.unmerged", _LOG, ProfileUnmerged, "a profile was another person after all"
    ),
    Channel(
        "roundtrip.log.attribute.refused",
        _LOG,
        AttributeRefused,
        "a value that is none of its attribute's type",
    ),
    Channel("roundtrip.log.identity.merge_refused", _LOG, MergeRefused, "a guard refused an identifier"),
    Channel("roundtrip.log.routing.withheld", _LOG, RoutingWithheld, "a member is not told of, and why"),
    Channel(
        "roundtrip.log.connection.replay",
        _LOG,
        ConnectionReplay,
        "a connection tells again what it was to tell",
    ),
    Channel(
        "roundtrip.log.connection.run", _LOG, ConnectionRun, "a connection that goes out by runs has one"
    ),
    Channel(
        "roundtrip.log.gathered.{connection}", _LOG, Outbound, "an event waits for its connection's next run"
    ),
    Channel("roundtrip.log.outbound.requested", _LOG, Outbound, "a connection is to tell its destination"),
    Channel(
        "roundtrip.log.outbound.transformed", _LOG, Transformed, "what is sent in place of what was requested"
    ),
    *(
        Channel(f"roundtrip.log.outbound.{status}", _LOG, Outcome, f"an outbound record is {status}")
        for status in ("delivered", "dead", "suppressed")
    ),
    Channel("roundtrip.log.subject.erase_requested", _LOG, EraseRequest, "somebody is to be erased"),
    Channel("roundtrip.log.subject.erased", _LOG, SubjectErased, "somebody is erased"),
    Channel(
        "roundtrip.log.engagement.refused",
        _LOG,
        EngagementRefused,
        "what came back of a message is not kept, as it is of somebody who was erased",
    ),
    Channel("roundtrip.log.subject.unmerge_requested", _LOG, UnmergeRequest, "a person is to be two"),
    Channel("roundtrip.log.subject.unmerged", _LOG, SubjectUnmerged, "a person is two"),
    Channel("roundtrip.log.subject.unmerge_refused", _LOG, UnmergeRefused, "it was not done, and why"),
    Channel(
        "roundtrip.log.quarantine.{feed}",
        _LOG,
        PutAside,
        "a payload was put aside, or a record that cannot be applied",
    ),
    Channel(
        "roundtrip.log.import.{step}",
        _LOG,
        Anything("ImportRun", "The import, when it was due, and counts."),
        "a declared import began or ended",
    ),
    Channel(
        "roundtrip.log.import_cursor.{import}",
        _LOG,
        Anything("ImportCursor", "The import, and up to which value of its cursor it has read."),
        "a query against a warehouse has got on",
    ),
    Channel(
        "roundtrip.log.stream.{feed}",
        _LOG,
        Anything("StreamOffset", "The feed, and up to which offset of the vendor's stream it has read."),
        "a feed that is pulled has got on",
    ),
    Channel(
        "roundtrip.log.tracking_plan.blocked",
        _LOG,
        Anything("PlanBlocked", "The plan, the feed, the event, its version, and what is against it."),
        "a tracking plan has refused an event",
    ),
    Channel(
        "roundtrip.log.definition.{event}",
        _LOG,
        Anything("DefinitionEvent", "An event of the `eventsourcing` aggregate that holds the definition."),
        "a feed, audience, connection or another part of the workspace was declared, changed or withdrawn",
    ),
    Channel("roundtrip.log.workspace.applied", _LOG, WorkspaceApplied, "what was declared takes effect"),
    Channel("roundtrip.log.chain.head", _LOG, ChainHeadLine, "the head of the hash chain"),
    Channel("roundtrip.audience.{audience}.entered", _LOG, MembershipChanged, "somebody entered it"),
    Channel("roundtrip.audience.{audience}.exited", _LOG, MembershipChanged, "somebody left it"),
    Channel("roundtrip.profile.created", _LOG, ProfileCreated, "somebody was seen first"),
    Channel("roundtrip.profile.merged", _LOG, ProfileMerged, "two profiles are one person"),
    Channel("roundtrip.profile.unmerged", _LOG, ProfileUnmerged, "a profile was another person after all"),
    Channel(
        "roundtrip.loop.{loop}",
        "",
        Anything("LoopMeasured", "A loop's hops as `GET /v1/loops` has them, as of a position."),
        "how a loop does has changed",
    ),
    Channel("roundtrip.out.{connection}", "ROUNDTRIP_OUT", list[Outbound], "a batch for a connector worker"),
    Channel("roundtrip.outcome.{connection}", _IN, list[Outcome], "what became of it", "receive"),
    Channel(
        "roundtrip.in.{feed}",
        _IN,
        Anything("Payload", "What the feed's format takes over HTTP."),
        "records handed in",
        "receive",
    ),
)
#: The kinds of rows that the log can have. The chain's head is told on the bus, and is no row.
ROW_KINDS: Final = tuple(
    dict.fromkeys(
        kind
        for channel in CHANNELS
        if channel.address.startswith("roundtrip.log.") and (kind := channel.address.split(".")[2]) != "chain"
    )
)
_HEADERS: Final[Schema] = {
    "type": "object",
    "required": ["ce-specversion", "ce-id", "ce-source", "ce-type", "content-type"],
    "properties": {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {"type": "string", "description": "A row's position, or a batch's id: tells duplicates."},
        "ce-source": {"enum": ["/roundtrip/log", "/roundtrip/routing", "/roundtrip/loops"]},
        "ce-type": {"type": "string"},
        "ce-time": {"type": "string", "format": "date-time", "description": "The log's time."},
        "ce-subject": {"type": "string", "description": "Whose data it is, as a pseudonym."},
        "content-type": {"const": "application/json"},
    },
}


def asyncapi() -> Schema:
    """The whole document."""
    schemas, components = _schemas()
    messages: Schema = {}
    channels: Schema = {}
    operations: Schema = {}
    for channel in CHANNELS:
        name, title = _name(channel.address), _title(channel.body)
        messages[title] = {"name": title, "payload": schemas[title]} | (
            {"headers": {"$ref": "#/components/schemas/CloudEvent"}} if channel.action == "send" else {}
        )
        channels[name] = {
            "address": channel.address,
            "description": f"{channel.what}; {f'stream {channel.stream}' if channel.stream else 'kept by no stream'}",
            "messages": {title: {"$ref": f"#/components/messages/{title}"}},
        } | _parameters(channel.address)
        operations[f"{channel.action}_{name}"] = {
            "action": channel.action,
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": channel.what,
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Roundtrip's bus", "version": version("roundtrip")},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": components | {"CloudEvent": _HEADERS}},
    }


def _schemas() -> tuple[Schema, Schema]:
    """Each body's schema by its title, and the schemas that these refer to."""
    bodies = {_title(channel.body): channel.body for channel in CHANNELS}
    ours = {title: body for title, body in bodies.items() if not isinstance(body, Anything)}
    found, components = msgspec.json.schema_components(
        list(ours.values()), ref_template="#/components/schemas/{name}"
    )
    schemas: Schema = dict(zip(ours, found, strict=True))
    for title, body in bodies.items():
        if isinstance(body, Anything):
            schemas[title] = {"title": body.title, "description": body.description}
    return schemas, components


def _title(body: Body) -> str:
    if isinstance(body, Anything):
        return body.title
    members = getattr(body, "__args__", None)
    return f"{members[0].__name__}Batch" if members else str(body.__name__)


def _name(address: str) -> str:
    return address.replace(".", "_").replace("{", "").replace("}", "")


def _parameters(address: str) -> Schema:
    names = [token[1:-1] for token in address.split(".") if token.startswith("{")]
    if not names:
        return {}
    described = "One token; what NATS reads as syntax is percent-encoded, an empty name is `-`."
    return {"parameters": {name: {"description": described} for name in names}}
