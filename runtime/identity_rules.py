"""How a workspace tells people apart, made ready."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from sqlalchemy import Connection

from adapters.log.read import driver_of, read_positions
from adapters.projections.definitions import DefinitionChange, changed_since
from domain.configuration import Definition
from domain.identifiers import Kind
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.records import Row
from domain.settling import APPLIED, STREAM
from domain.workspace import Workspace


def rules_of(workspace: Workspace | None) -> Rules:
    """The workspace's rules; those of one that says nothing where there is none yet."""
    if workspace is None:
        return DEFAULT_RULES
    kinds = {name: Kind(k.priority, k.limit, k.merges) for name, k in workspace.identifiers.items()}
    declared = workspace.identity
    return Rules(kinds, declared.blocked, declared.login, declared.match, declared.shared_device)


def rules_until(
    connection: Connection, position: int, change_of: Callable[[Row], DefinitionChange]
) -> Callable[[int], Rules]:
    """By which rules identities were resolved at a position below this one."""
    streams = [
        str(Definition.create_id(kind, name))
        for kind, name in changed_since(connection, 0)
        if kind == "workspace"
    ]
    found = driver_of(connection).execute(
        "SELECT position FROM log_stream WHERE stream_id = ANY(%s::uuid[]) AND position < %s ORDER BY 1",
        ([*streams, STREAM], position),
    )
    places: list[int] = []
    rules: list[Rules] = []
    declared = DEFAULT_RULES
    for one in read_positions(connection, [position for (position,) in found]):
        if one.topic == APPLIED:
            places.append(one.position)
            rules.append(declared)
        else:
            body = change_of(one).body or {}
            declared = rules_of(Workspace.model_validate({"workspace": "past"} | body))
    return lambda at: rules[index - 1] if (index := bisect_left(places, at)) else DEFAULT_RULES
