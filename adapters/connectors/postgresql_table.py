"""A PostgreSQL table with a row for each member of the audience: written by its key, and deleted when they leave.

Source: postgresql.org/docs: sql-insert (ON CONFLICT), functions-json (json_populate_recordset). The table is yours:
its columns are the declared fields, with types of their own, and a unique index on the key. Writing a row twice is
as once. Fields: the columns' names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg import sql

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import all_are, latest, read, refused, unreadable
from adapters.connectors.settings import check_names, wrong
from domain.outbound import Outbound

MAX_BATCH: Final = 1_000

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_COLUMN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Reply(msgspec.Struct):
    refused: dict[int, str] = {}
    sqlstate: str = ""


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"table", "key", "audience_column"}, {"url"})
    settings = config.settings
    if not _NAME.fullmatch(str(settings.get("table", ""))):
        raise wrong(config, "settings.table", "is no table's name; write it as schema.table")
    key = settings.get("key")
    if not isinstance(key, list) or not key or not all(_COLUMN.fullmatch(str(one)) for one in key):
        raise wrong(config, "settings.key", "is no list of columns; write it as [user_id]")
    if not _COLUMN.fullmatch(str(settings.get("audience_column", "audience"))):
        raise wrong(config, "settings.audience_column", "is no column's name")


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Deletions, then rows, those with the same columns together. A record without its key is in none."""
    people = latest(outbound, lambda one: _key(config, one))
    requests = []
    gone = [who for who, several in people.items() if several[-1].change != "add"]
    if gone:
        columns = _key_columns(config)
        told = [one for who in gone for one in people[who]]
        rows = [
            {name: value for name, value in _row(config, people[who][-1]).items() if name in columns}
            for who in gone
        ]
        requests.append(_request(config, _delete(config), rows, told))
    kept: dict[tuple[str, ...], list[str]] = {}
    for who, several in people.items():
        if several[-1].change == "add":
            kept.setdefault(tuple(sorted(_row(config, several[-1]))), []).append(who)
    for names, some in kept.items():
        told = [one for who in some for one in people[who]]
        rows = [_row(config, people[who][-1]) for who in some]
        requests.append(_request(config, _upsert(config, names), rows, told))
    return requests


def _key_columns(config: ConnectorConfig) -> list[str]:
    """The declared key; with the audience where that is a column, as one table may hold several audiences."""
    audience = config.settings.get("audience_column")
    return [*config.settings["key"], *([audience] if audience else [])]


def _row(config: ConnectorConfig, one: Outbound) -> dict[str, Any]:
    audience = config.settings.get("audience_column")
    return {**one.fields, **({audience: one.audience} if audience else {})}


def _key(config: ConnectorConfig, one: Outbound) -> str:
    row = _row(config, one)
    values = [row.get(name) for name in _key_columns(config)]
    usable = all(isinstance(value, str | int) for value in values) and all(map(_COLUMN.fullmatch, row))
    return _encode(values).decode() if usable else ""


def _table(config: ConnectorConfig) -> sql.Identifier:
    return sql.Identifier(*config.settings["table"].split("."))


def _upsert(config: ConnectorConfig, names: Sequence[str]) -> str:
    key = _key_columns(config)
    told = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names if name not in key]
    statement = sql.SQL(
        "insert into {table} ({columns}) select {columns} "
        "from json_populate_recordset(null::{table}, %s::json) on conflict ({key}) do {what}"
    ).format(
        table=_table(config),
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
        key=sql.SQL(", ").join(map(sql.Identifier, key)),
        what=sql.SQL("update set {}").format(sql.SQL(", ").join(told)) if told else sql.SQL("nothing"),
    )
    return statement.as_string()


def _delete(config: ConnectorConfig) -> str:
    same = [sql.SQL("kept.{0} = gone.{0}").format(sql.Identifier(name)) for name in _key_columns(config)]
    statement = sql.SQL(
        "delete from {table} kept using json_populate_recordset(null::{table}, %s::json) gone where {same}"
    ).format(table=_table(config), same=sql.SQL(" and ").join(same))
    return statement.as_string()


def _request(
    config: ConnectorConfig, statement: str, rows: list[dict[str, Any]], outbound: Sequence[Outbound]
) -> Request:
    url = f"postgresql:{config.settings['table']}"
    return Request("EXECUTE", url, {"statement": statement}, _encode(rows), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Rows that the table refuses are named by their place."""
    reply = read(answer, _Reply)
    if answer.status == 200:
        return all_are(request, "delivered")
    if answer.status != 207:
        said = f"SQLSTATE {reply.sqlstate}" if reply and re.fullmatch(r"[0-9A-Z]{5}", reply.sqlstate) else ""
        return refused("PostgreSQL", request, answer, said)
    if reply is None or not reply.refused:
        return unreadable("PostgreSQL", request)
    order = {who: index for index, who in enumerate(latest(request.outbound, lambda one: _key(config, one)))}
    judged = []
    for one in request.outbound:
        state = reply.refused.get(order[_key(config, one)])
        reason = f"the table refuses the row: SQLSTATE {state[:5]}" if state is not None else ""
        judged.append(Judgement(one, "delivered" if state is None else "dead", reason))
    return judged


_EXAMPLE: Final = Example(
    {"table": "crm.members", "key": ["user_id"]},
    {"url": "postgresql://user:password@db.example.com/crm"},
    lambda n: {"user_id": f"user-{n}", "plan": f"plan {n}"},
    lambda request: Answer(200, {}, b"{}"),
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add", "remove", "delete"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    transport="postgresql",
)
