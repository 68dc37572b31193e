"""Applying a workspace file: what differs from what is declared becomes events in the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import StoredEvent
from sqlalchemy import Engine, text

from adapters.connectors.connector import connector
from adapters.log.append import append
from adapters.projections.definitions import DefinitionChange
from domain.audiences.evaluation import compile_audiences
from domain.configuration import Definition
from domain.consent import NO_POLICIES, Policies
from domain.forwarding import Forwarding, Forwardings, choice
from domain.mapping import mapped
from domain.mendable import Mendable
from domain.outbound import Change
from domain.records import Row
from domain.routing import Destination, Mode
from domain.settling import STREAM, applied_entry
from domain.state import Plan
from domain.workspace import Connection, Workspace
from runtime.identity_rules import rules_of as rules_of
from runtime.pairing import answered_of, pairs_of

#: The changes that a connection of each mode has no use for, whatever its connector takes.
_UNUSED: Final[Mapping[Mode, frozenset[Change]]] = {
    "stream": frozenset({"update", "complete"}),
    "snapshot": frozenset({"update", "remove", "event"}),
    "diff": frozenset({"event"}),
    "batch": frozenset({"add", "update", "remove"}),
}


class WorkspaceError(Mendable):
    """A workspace file has a mistake; nothing of it is applied."""


class Definitions(Application[UUID]):
    """The workspace's definitions as aggregates in the log."""

    name = "roundtrip"

    def current(self, kind: str, name: str) -> Definition | None:
        try:
            found: object = self.repository.get(Definition.create_id(kind, name))
        except AggregateNotFoundError:
            return None
        assert isinstance(found, Definition)
        return found

    def declare(self, kind: str, name: str, body: dict[str, Any]) -> bool:
        """Declares or changes a definition; true where that is news."""
        definition = self.current(kind, name)
        if definition is None:
            definition = Definition(kind, name, body)
        elif definition.body == body:
            return False
        else:
            definition.change(kind, name, body)
        self.save(definition)
        return True

    def withdraw(self, kind: str, name: str) -> bool:
        """Withdraws a definition; true where that is news."""
        definition = self.current(kind, name)
        if definition is None or definition.body is None:
            return False
        definition.withdraw(kind, name)
        self.save(definition)
        return True

    def change_of(self, row: Row) -> DefinitionChange:
        """What one of the definitions' events in the log says."""
        stored = StoredEvent(Definition.create_id("", ""), row.version, row.topic, row.state)
        said = vars(self.mapper.to_domain_event(stored))
        return DefinitionChange(row.position, said["kind"], said["name"], said.get("body"))


def open_definitions(database_url: str) -> Definitions:
    return Definitions(
        env={"PERSISTENCE_MODULE": "adapters.log.persistence", "ROUNDTRIP_DATABASE_URL": database_url}
    )


def apply_workspace(engine: Engine, definitions: Definitions, workspace: Workspace) -> int:
    """Makes the log declare this workspace; how many definitions changed by it.

    Raises `WorkspaceError` where the workspace wants another clock than the log has records by.
    """
    _set_clock(engine, workspace.clock)
    declared = bodies_of(workspace)
    with engine.connect() as connection:
        there = {tuple(row) for row in connection.execute(text("SELECT kind, name FROM definition"))}
    changed = sum(definitions.withdraw(kind, name) for kind, name in sorted(there - set(declared)))
    changed += sum(definitions.declare(kind, name, body) for (kind, name), body in declared.items())
    _take_effect(engine, {*there, *declared}, changed)
    return changed


def bodies_of(workspace: Workspace) -> dict[tuple[str, str], dict[str, Any]]:
    """Kind and name of each definition of a workspace → its body, as it stands in the log."""
    return {
        ("workspace", workspace.workspace): {"clock": workspace.clock}
        | _body(workspace, include={"identity", "identifiers", "jurisdictions", "purposes"}),
        **{("feed", name): _body(feed) for name, feed in workspace.feeds.items()},
        **{("trait", name): _body(trait) for name, trait in workspace.traits.items()},
        **{("audience", name): _body(audience) for name, audience in workspace.audiences.items()},
        **{("channel", name): _body(channel) for name, channel in workspace.channels.items()},
        **{("connection", name): _body(c) for name, c in workspace.connections.items()},
        **{("loop", name): _body(loop) for name, loop in workspace.loops.items()},
        **{("tracking_plan", name): _body(plan) for name, plan in workspace.tracking_plans.items()},
        **{("import", name): _body(one) for name, one in workspace.imports.items()},
    }


def _take_effect(engine: Engine, named: Iterable[tuple[str, str]], changed: int) -> None:
    """Says in the log that all is declared, unless nothing was declared since that was said last. Ended in the
    middle, the next one says it."""
    ids = [str(Definition.create_id(kind, name)) for kind, name in named]
    with engine.begin() as connection:
        # Nobody else says it at the same time.
        connection.execute(text("SELECT position FROM log_head FOR UPDATE"))
        version, said = connection.execute(
            text(
                "SELECT coalesce(max(version), 0), coalesce(max(position), 0) FROM log_stream WHERE stream_id = :id"
            ),
            {"id": STREAM},
        ).one()
        last = connection.execute(
            text(
                "SELECT coalesce(max(position), 0) FROM log_stream WHERE stream_id = ANY(CAST(:ids AS uuid[]))"
            ),
            {"ids": ids},
        ).scalar_one()
        if last > said:
            append(connection, [applied_entry(version + 1, changed)])


def _body(model: Any, include: set[str] | None = None) -> dict[str, Any]:
    body = model.model_dump(mode="json", by_alias=True, exclude_unset=True, include=include)
    assert isinstance(body, dict)
    return body


def _set_clock(engine: Engine, clock: str) -> None:
    with engine.begin() as connection:
        position, held = connection.execute(text("SELECT position, clock FROM log_head FOR UPDATE")).one()
        if held == clock:
            return
        if position > 0:
            raise WorkspaceError(
                f"this log's clock is '{held}' and has stamped {position} records by it; a workspace with"
                f" clock '{clock}' needs a log of its own (another ROUNDTRIP_HOME or database)"
            )
        connection.execute(text("UPDATE log_head SET clock = :clock"), {"clock": clock})


def plan_of(workspace: Workspace | None) -> Plan:
    """The workspace made ready for the pipeline."""
    if workspace is None:
        return Plan(compile_audiences({}), {}, {})
    pairs = pairs_of(workspace)
    mirrored = {pair.connection: frozenset(pair.fields) for several in pairs.values() for pair in several}
    policies = workspace.policies
    destinations: dict[str, tuple[Destination, ...]] = {}
    for name, connection in workspace.connections.items():
        if connection.audience is not None:
            holdout = workspace.audiences[connection.audience].holdout
            destination = destination_of(name, connection, holdout, policies)._replace(
                mirrored=mirrored.get(name, frozenset())
            )
            destinations[connection.audience] = (*destinations.get(connection.audience, ()), destination)
    forwardings = (
        forwarding_of(name, one, policies) for name, one in workspace.connections.items() if one.events
    )
    return Plan(
        compile_audiences(workspace.audiences, workspace.traits, policies),
        {name: feed.priority for name, feed in workspace.feeds.items()},
        destinations,
        rules_of(workspace),
        Forwardings(tuple(forwardings)),
        pairs,
        workspace.channels,
        answered_of(workspace),
    )


def destination_of(
    name: str, connection: Connection, holdout: float = 0, policies: Policies = NO_POLICIES
) -> Destination:
    """A connection as routing needs it."""
    wire = connector(connection.connector)
    mode = connection.mode or ("batch" if connection.schedule else "stream")
    unused = _UNUSED[mode] if connection.deletions else _UNUSED[mode] | {"delete"}
    return Destination(
        connection=name,
        audience=connection.audience or "",
        purpose=connection.purpose,
        fields=tuple((name, mapped(field, policies)) for name, field in connection.fields.items()),
        changes=wire.changes - unused,
        max_batch=wire.max_batch,
        holdout=holdout,
        optional=frozenset()
        if connection.requires is None
        else frozenset(connection.fields) - frozenset(connection.requires),
        channel=connection.channel or "",
        mode=mode,
        policies=policies,
        share=connection.sample,
    )


def forwarding_of(name: str, connection: Connection, policies: Policies) -> Forwarding:
    """A connection that events go out by, as routing needs it."""
    properties = connection.properties
    return Forwarding(
        destination_of(name, connection, policies=policies),
        tuple(choice(event) for event in connection.events or ()),
        None if properties == "all" else tuple(properties.items()),
        frozenset(connection.feeds),
        connection.wait_for_identifier or 0,
    )
