"""What the workspace declares, as of the pipeline's position: a fold of the definitions' events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb
from sqlalchemy import Connection

from adapters.log.read import driver_of
from domain.consent import NO_POLICIES, Policies
from domain.workspace import Workspace

_SECTIONS = {
    "feed": "feeds",
    "audience": "audiences",
    "trait": "traits",
    "channel": "channels",
    "loop": "loops",
    "connection": "connections",
    "tracking_plan": "tracking_plans",
    "import": "imports",
}


class DefinitionChange(NamedTuple):
    """A definition as it holds from a position on; `body` is `None` where it was withdrawn."""

    position: int
    kind: str
    name: str
    body: dict[str, Any] | None


def apply_definitions(connection: Connection, changes: Sequence[DefinitionChange]) -> None:
    """Folds changes in log order."""
    with driver_of(connection).cursor() as cursor:
        for change in changes:
            if change.body is None:
                cursor.execute(
                    "DELETE FROM definition WHERE kind = %s AND name = %s", (change.kind, change.name)
                )
            else:
                cursor.execute(
                    "INSERT INTO definition (kind, name, body, position) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (kind, name) DO UPDATE"
                    " SET body = excluded.body, position = excluded.position",
                    (change.kind, change.name, Jsonb(change.body), change.position),
                )


def as_stored(connection: Connection, change: DefinitionChange) -> DefinitionChange:
    """A change as the table of definitions gives it back: jsonb has an order and numbers of its own."""
    if change.body is None:
        return change
    row = driver_of(connection).execute("SELECT %s::jsonb", (Jsonb(change.body),)).fetchone()
    assert row is not None
    return change._replace(body=row[0])


def load_workspace(connection: Connection) -> Workspace | None:
    """The workspace as it is declared, `None` where none has been applied yet."""
    with driver_of(connection).cursor() as cursor:
        rows = cursor.execute("SELECT kind, name, body FROM definition ORDER BY kind, name").fetchall()
    return workspace_of(rows)


def load_policies(connection: Connection) -> Policies:
    """What holds, as it is declared, of who has said nothing to a purpose."""
    with driver_of(connection).cursor() as cursor:
        rows = cursor.execute(
            "SELECT kind, name, body FROM definition WHERE kind = 'workspace' ORDER BY name"
        ).fetchall()
    workspace = workspace_of(rows)
    return workspace.policies if workspace is not None else NO_POLICIES


def changed_since(connection: Connection, position: int) -> list[tuple[str, str]]:
    """Kind and name of the definitions that were declared or changed above a position."""
    rows = driver_of(connection).execute("SELECT kind, name FROM definition WHERE position > %s", (position,))
    return rows.fetchall()


def workspace_of(rows: Iterable[tuple[str, str, dict[str, Any]]]) -> Workspace | None:
    """The workspace that these definitions declare, `None` where none is named. They come in order of kind
    and name."""
    document: dict[str, Any] = {}
    for kind, name, body in rows:
        if kind == "workspace":
            document |= {"workspace": name} | body
        else:
            document.setdefault(_SECTIONS[kind], {})[name] = body
    return Workspace.model_validate(document) if "workspace" in document else None
