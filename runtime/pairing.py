"""What each feed brings back of which connections: their fields, as the workspace's loops pair them, and campaigns."""

from __future__ import annotations

from adapters.connectors.connector import connector
from domain.loops import hops_of
from domain.mapping import mapped
from domain.mirrors import Pair
from domain.workspace import Connection, Workspace


def pairs_of(workspace: Workspace | None) -> dict[str, tuple[Pair, ...]]:
    """Feed → the pairs that it is in. A connection is in one where people change at its destination what it tells."""
    found: dict[str, dict[str, Pair]] = {}
    for loop in workspace.loops.values() if workspace is not None else ():
        for hop in hops_of(loop):
            assert workspace is not None
            declared = workspace.connections[hop.connection]
            own = connector(declared.connector).own
            if hop.feed is not None and own is not None:
                pair = Pair(hop.connection, mirrored_of(declared), own(declared.settings))
                found.setdefault(hop.feed, {})[hop.connection] = pair
    return {feed: tuple(pairs.values()) for feed, pairs in found.items()}


def answered_of(workspace: Workspace) -> dict[str, tuple[str, ...]]:
    """Feed → the connections that it may bring engagement back of: those whose connector pairs with its format."""
    formats = {name: connector(one.connector).feeds for name, one in workspace.connections.items()}
    found = {
        feed: tuple(name for name, those in formats.items() if declared.format in those)
        for feed, declared in workspace.feeds.items()
    }
    return {feed: connections for feed, connections in found.items() if connections}


def campaigns_of(workspace: Workspace | None) -> dict[str, str]:
    """Connection → the campaign that its settings name; one that the environment has to fill in is not known here."""
    found: dict[str, str] = {}
    for name, one in workspace.connections.items() if workspace is not None else ():
        named = one.settings.get(connector(one.connector).campaign)
        if isinstance(named, str) and named and "${" not in named:
            found[name] = named
    return found


def mirrored_of(connection: Connection) -> dict[str, str]:
    """The fields that can be taken back as they were sent: destination's name → attribute."""
    fields = ((name, mapped(field)) for name, field in connection.fields.items())
    return {name: field.key for name, field in fields if field.source == "attribute" and not field.hashed}
