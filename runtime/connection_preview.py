"""What exactly a connection would send of a person, or has to send by a position of the log: nothing is sent, and no
secret is read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine

from adapters.connectors.configuration import resolve
from adapters.connectors.connector import Connector, ConnectorConfig, RenderError, Request, connector
from adapters.log.read import read_positions
from adapters.projections.definitions import load_workspace
from adapters.projections.people import load_graph, load_profiles
from domain.channels import Reached, why_not_now
from domain.derived import event_name, outbound
from domain.echoes import came_through
from domain.forwarding import Happening, forward
from domain.mendable import Mendable
from domain.outbound import Outbound
from domain.profiles import Profile
from domain.records import RECORD_TYPES, Record, Row, dig, node_id, record_of
from domain.routing import Destination, Routed, Withheld, list_member, route
from domain.transforming import Transform, Unsent
from domain.workspace import Connection, Workspace
from runtime.definitions import plan_of
from runtime.delivery.errors import SandboxAwayError
from runtime.delivery.transforming import open_transforming
from runtime.identity_rules import rules_of
from runtime.profiles import NobodyError, log_time, person_of

#: Stands in a request where a secret would.
HIDDEN: Final = "REDACTED"
_INBOUND: Final = tuple(f"{kind}." for kind in RECORD_TYPES)

_decode = msgspec.json.Decoder(Outbound).decode


class PreviewError(Mendable, LookupError):
    """There is nothing that could be shown. The message says what to name instead."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The records that would go out, what is `sent` of them where the connection transforms them, and the requests they
    make. `why_not` says why they would not; a connection that goes out by runs sends them at the next one."""

    records: Sequence[Outbound]
    requests: Sequence[Request]
    why_not: str = ""
    at_its_next_run: bool = False
    sent: Sequence[Outbound] | None = None


def preview_connection(engine: Engine, name: str, said: str, environ: Mapping[str, str]) -> Preview:
    """Looks at a person (`KIND:VALUE`) as they are now, or at the outbound record at a position.

    Raises `PreviewError` for a connection, person or position that leads to nothing, and for settings that cannot be
    filled in.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        declared = _declared(workspace, name)
        assert workspace is not None
        wire = connector(declared.connector)
        config = _config(name, declared, environ)
        if said.isdecimal():
            rows = read_positions(connection, [int(said)])
            if declared.events and rows and not rows[0].erased and rows[0].topic.startswith(_INBOUND):
                return _event(connection, workspace, name, record_of(rows[0].state), rows[0], wire, config)
            if not rows or rows[0].topic != "outbound.requested":
                raise PreviewError(
                    f"position {said} holds no outbound record; `roundtrip log` shows what it holds"
                )
            if rows[0].erased:
                raise PreviewError(f"position {said} is of a person who was erased")
            record = _decode(rows[0].state)
            if record.connection != name:
                raise PreviewError(f"position {said} is of connection '{record.connection}', not of '{name}'")
            return rendered(wire, config, [record], declared.transform)
        if declared.audience is None:
            raise PreviewError(
                f"connection '{name}' sends events: name the position of one, as `roundtrip log tail` shows it"
            )
        try:
            profile = person_of(connection, said)
        except NobodyError as error:
            raise PreviewError(str(error)) from error
        now = log_time(connection)
    plan = plan_of(workspace)
    destination = next(d for d in plan.destinations[declared.audience] if d.connection == name)
    traits = plan.audiences.values(destination.traits, profile.conditions, now)
    found = preview_person(profile, destination, wire, config, traits, declared.transform)
    if declared.channel is not None and not found.why_not:
        channel, reached = plan.channels[declared.channel], profile.reached.get(declared.channel, Reached())
        found = replace(found, why_not=why_not_now(declared.channel, channel, reached, profile.value, now))
    return replace(found, at_its_next_run=destination.by_runs)


def _event(
    connection: SqlConnection,
    workspace: Workspace,
    name: str,
    record: Record,
    row: Row,
    wire: Connector,
    config: ConnectorConfig,
) -> Preview:
    """What an event that came in makes this connection send, with the fields that the person has now."""
    understood = rules_of(workspace).understood(record)
    graph = load_graph(connection, [node_id(identifier) for identifier in understood.identifiers])
    profiles = load_profiles(connection, set(graph.values()))
    if not profiles:
        return Preview(
            (), (), "nobody is known by what the record names, or the pipeline has not come to it yet"
        )
    profile = next(profiles[graph[node]] for i in understood.identifiers if (node := node_id(i)) in graph)
    properties = dig(msgspec.json.decode(record.body), record.properties_at) | record.properties
    at = min(record.occurred_at, row.recorded_at)
    declared = workspace.connections[name]
    plan = plan_of(workspace)
    through = came_through(profile, plan.answered.get(record.feed, ()))
    happening = Happening(record.feed, event_name(record), at, properties, through)
    forwarding = plan.forwardings.by(name)
    assert forwarding is not None
    if record.type not in ("track", "page", "screen") or not forwarding.listens_to(happening):
        return Preview((), (), "it is none of the events that the connection sends")
    traits = plan.audiences.values(forwarding.destination.traits, profile.conditions, row.recorded_at)
    decision = forward(profile, forwarding, happening, traits)
    if not isinstance(decision, Routed):
        return Preview((), (), decision.reason)
    entries = outbound([(row.position, profile.id, decision)])
    found = rendered(wire, config, [_decode(entry.state) for entry in entries], declared.transform)
    return replace(found, at_its_next_run=forwarding.destination.by_runs)


def preview_person(
    profile: Profile,
    destination: Destination,
    wire: Connector,
    config: ConnectorConfig,
    traits: Mapping[str, Any] = {},
    transform: Transform | None = None,
) -> Preview:
    """What routing would decide of this person now, and the requests that come of it. Of one whom the destination
    has been told of, with nothing new, what it would be told if it were not so. The profile stays as it is."""
    mirrors = {connection: dict(held) for connection, held in profile.mirrors.items()}
    unsaid = dict(profile.unsaid)
    asked = msgspec.structs.replace(profile, routed=dict(profile.routed), mirrors=mirrors, unsaid=unsaid)
    decide = list_member if destination.mode == "snapshot" else route
    decisions = decide(asked, destination, traits)
    why_not = ""
    if destination.connection in profile.routed and not decisions:
        why_not = "the destination has been told of this person already, and has nothing new to be told"
        decisions = route(msgspec.structs.replace(asked, routed={}), destination, traits)
    routed = [(profile.latest, profile.id, one) for one in decisions if isinstance(one, Routed)]
    withheld = [one.reason for one in decisions if isinstance(one, Withheld)]
    if not routed:
        outside = f"the destination is told of audience '{destination.audience}', in which this person is not"
        return Preview((), (), withheld[0] if withheld else outside)
    found = rendered(wire, config, [_decode(entry.state) for entry in outbound(routed)], transform)
    return replace(found, why_not=why_not or found.why_not)


def rendered(
    wire: Connector, config: ConnectorConfig, records: Sequence[Outbound], transform: Transform | None = None
) -> Preview:
    """The requests of these records, as they are before a signature is added to them."""
    sent, unsent = records, ""
    if transform is not None:
        made = asyncio.run(_transformed(config.name, transform, records))
        sent = [one for one in made if isinstance(one, Outbound)]
        unsent = "; ".join(f"{one.reason} {one.detail}".strip() for one in made if isinstance(one, Unsent))
    found = Preview(records, (), unsent, sent=None if transform is None else sent)
    try:
        requests = wire.render(config, sent) if sent else []
    except RenderError as error:
        return replace(found, why_not=str(error))
    return replace(
        found,
        requests=requests,
        why_not=unsent or ("" if requests else "the connector can make no request of these fields"),
    )


async def _transformed(
    connection: str, transform: Transform, records: Sequence[Outbound]
) -> list[Outbound | Unsent]:
    async with open_transforming(connection, transform) as transforming:
        assert transforming is not None
        try:
            return await transforming(records)
        except SandboxAwayError as error:
            raise PreviewError(f"connection '{connection}': {error.__cause__}") from error


def shown(preview: Preview) -> dict[str, Any]:
    """The preview as JSON values: bodies as they read, those that are no text by their size."""
    requests = [
        {"method": one.method, "url": one.url, "headers": one.headers, "body": _body(one.body)}
        for one in preview.requests
    ]
    said: dict[str, Any] = {"would_be_sent": bool(requests) and not preview.why_not}
    if preview.why_not:
        said["why_not"] = preview.why_not
    if preview.at_its_next_run:
        said["when"] = "at the connection's next run"
    said["records"] = _records(preview.records)
    if preview.sent is not None:
        said["sent"] = _records(preview.sent)
    return said | {"requests": requests}


def _records(records: Sequence[Outbound]) -> list[dict[str, Any]]:
    fields = ("change", "audience", "event", "purpose", "fields", "properties")
    return [{name: value for name in fields if (value := getattr(one, name))} for one in records]


def _body(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes)"


def _declared(workspace: Workspace | None, name: str) -> Connection:
    connections = workspace.connections if workspace is not None else {}
    if name not in connections:
        known = ", ".join(sorted(connections)) or "none"
        raise PreviewError(f"connection '{name}' is not declared; declared are: {known}")
    return connections[name]


def _config(name: str, declared: Connection, environ: Mapping[str, str]) -> ConnectorConfig:
    try:
        config = resolve(name, declared.model_copy(update={"secrets": {}}), environ)
    except ValueError as error:
        raise PreviewError(str(error)) from error
    return config._replace(secrets=dict.fromkeys(declared.secrets, HIDDEN))
