"""The workspace file: read, and checked against everything that it names. One with a mistake is refused whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from adapters.connectors.connector import connector, connector_names
from domain.audiences.definition import InvalidAudiences, validate_audiences
from domain.loops import Hop, hops_of
from domain.workspace import FILES, Connection, Feed, Workspace
from feeds.feed import feed_format
from runtime.definitions import WorkspaceError
from runtime.delivery.run import ready
from runtime.pairing import pairs_of
from runtime.referred_files import with_files
from runtime.scheduled.mapping import check_mapping
from runtime.workspace_view import SEGMENT
from runtime.yaml_file import YamlError, read_yaml

_BOTH_WAYS: Final = (
    "a loop takes back what people change of it at the destination, which then has to be what was sent; make the"
    " fields otherwise (`expression`, `constant`), or leave the loop's 'feed' out"
)


def read_workspace(path: Path) -> Workspace:
    """Reads and checks a workspace file. Raises `WorkspaceError` naming what is wrong and where."""
    try:
        file = read_yaml(path, "no such file; `examples/` has workspaces to begin with")
    except YamlError as error:
        raise WorkspaceError(str(error)) from error
    try:
        workspace = Workspace.model_validate(with_files(file.document, path.parent))
        validate_audiences(workspace.audiences, workspace.traits)
    except ValidationError as error:
        raise WorkspaceError(file.mistakes(error)) from error
    except InvalidAudiences as error:
        line = file.line_of(("audiences", error.audience))
        raise WorkspaceError(f"{path}:{line}: {error}") from error
    except ValueError as error:
        raise WorkspaceError(f"{path}: {error}") from error
    for name, feed in workspace.feeds.items():
        if feed.format not in (SEGMENT, FILES):
            _named(path, f"feeds.{name}.format", feed_format, feed.format)
            _check_settings(path, name, feed)
    for name, connection in workspace.connections.items():
        _named(path, f"connections.{name}.connector", connector, connection.connector)
        try:
            takes(connection)
            ready(name, connection, os.environ)
        except ValueError as error:
            line = file.line_of(("connections", name))
            raise WorkspaceError(f"{path}:{line}: connections.{name}: {error}") from error
    for name, loop in workspace.loops.items():
        line = file.line_of(("loops", name))
        for hop in hops_of(loop):
            if mistake := _unpaired(workspace, hop):
                raise WorkspaceError(f"{path}:{line}: loops.{name}: {mistake}")
    for several in pairs_of(workspace).values():
        for pair in several:
            if workspace.connections[pair.connection].transform is not None:
                line = file.line_of(("connections", pair.connection, "transform"))
                raise WorkspaceError(f"{path}:{line}: connections.{pair.connection}.transform: {_BOTH_WAYS}")
    for name, one in workspace.imports.items():
        try:
            check_mapping(one)
        except ValueError as error:
            raise WorkspaceError(f"{path}: imports.{name}.mapping: {error}") from error
    return workspace


def _unpaired(workspace: Workspace, hop: Hop) -> str:
    """What is wrong where a hop's feed brings nothing back of what its connection sends."""
    declared = workspace.connections[hop.connection]
    wire = connector(declared.connector)
    paired = wire.feeds
    if hop.feed is None or not paired:
        return ""
    if workspace.feeds[hop.feed].format in paired:
        try:
            if wire.own is not None:
                wire.own(declared.settings)
        except ValueError as error:
            return f"connection '{hop.connection}': {error}"
        return ""
    return (
        f"what connection '{hop.connection}' sends comes back by a feed of the format"
        f" {' or '.join(sorted(paired))}; feed '{hop.feed}' is of the format {workspace.feeds[hop.feed].format}"
    )


def takes(connection: Connection) -> None:
    """Raises `ValueError` where the connector does not take what the connection sends."""
    sends, change = ("events", "event") if connection.events else ("an audience", "add")
    if connection.mode == "snapshot":
        sends, change = "snapshots of an audience", "complete"
    if change not in connector(connection.connector).changes:
        able = ", ".join(name for name in connector_names() if change in connector(name).changes)
        raise ValueError(f"'{connection.connector}' does not take {sends}; those that do are: {able}")


def _check_settings(path: Path, name: str, feed: Feed) -> None:
    stream = feed_format(feed.format).stream
    try:
        if stream is not None:
            stream.request(feed.settings, "", "")
        elif feed.settings:
            raise ValueError(f"settings: a feed of the format '{feed.format}' has none")
    except ValueError as error:
        raise WorkspaceError(f"{path}: feeds.{name}.{error}") from error


def _named(path: Path, where: str, look_up: Any, name: str) -> None:
    try:
        look_up(name)
    except LookupError as error:
        raise WorkspaceError(f"{path}: {where}: {error}") from error
