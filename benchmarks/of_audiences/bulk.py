"""How fast an audience is answered over all of the history at once, against SQL that somebody who knows the tables
writes by hand for the same question, over the same Parquet files, in turn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from adapters.history.columns import SCHEMAS
from adapters.history.query import offer_history, open_duckdb
from adapters.history.tables import History
from benchmarks.report import Figure
from domain.audiences.definition import Audience
from domain.audiences.sql.compiler import compile_audience

MOST: Final = 1.3
SECONDS: Final = 3.0
_BATCH: Final = 200_000
_EACH: Final = 20
_TIMES: Final = 5
_DAY: Final = 86_400_000_000
_NOW: Final = 1_795_000_000_000_000
_NAMES: Final = ("Product Viewed", "Push Sent", "Push Opened", "Order Completed", "Cart Viewed")


class _Question(NamedTuple):
    name: str
    match: dict[str, Any]
    sql: str


_OF: Final = "FROM events e JOIN identity i ON i.node = e.node WHERE e.name ="
_PROFILE: Final = "SELECT p.profile FROM person p"
_PLAN: Final = (
    "SELECT i.who FROM attributes a JOIN identity i ON i.node = a.node WHERE a.name = 'plan' GROUP BY i.who"
    " HAVING arg_max(a.texts['plan'], (a.priority, a.occurred_at, a.position)) = 'pro'"
)
_THRICE: Final = f"SELECT i.who {_OF} 'Order Completed' GROUP BY i.who HAVING count(*) >= 3"
_IGNORED: Final = f"""
    WITH sent AS (SELECT i.who, e.occurred_at AS at, e.texts['item'] AS item {_OF} 'Push Sent'),
    opened AS (SELECT i.who, e.occurred_at AS at, e.texts['item'] AS item {_OF} 'Push Opened')
    SELECT DISTINCT s.who FROM sent s WHERE s.at <= {_NOW} - {_DAY} AND NOT EXISTS (
        SELECT 1 FROM opened o WHERE o.who = s.who AND o.item = s.item AND o.at BETWEEN s.at AND s.at + {_DAY})
"""
QUESTIONS: Final = (
    _Question(
        "three orders",
        {"event": "Order Completed", "at_least": 3},
        f"{_PROFILE} WHERE who IN ({_THRICE})",
    ),
    _Question(
        "viewed in a week",
        {"event": "Product Viewed", "within": "7d"},
        f"{_PROFILE} WHERE who IN (SELECT i.who {_OF} 'Product Viewed' AND e.occurred_at > {_NOW - 7 * _DAY})",
    ),
    _Question(
        "spent 200",
        {"event": "Order Completed", "sum": "total", "at_least": 200},
        f"{_PROFILE} WHERE who IN (SELECT i.who {_OF} 'Order Completed' GROUP BY i.who"
        " HAVING sum(e.numbers['total']) >= 200)",
    ),
    _Question(
        "push ignored",
        {"event": "Push Sent", "then_none": [{"event": "Push Opened", "same": "item"}], "within": "24h"},
        f"{_PROFILE} WHERE who IN ({_IGNORED})",
    ),
    _Question("pros", {"attribute": "plan", "is": "pro"}, f"{_PROFILE} WHERE who IN ({_PLAN})"),
    _Question(
        "never bought",
        {"not": {"event": "Order Completed"}},
        f"{_PROFILE} WHERE who NOT IN (SELECT i.who {_OF} 'Order Completed')",
    ),
    _Question(
        "dear views",
        {"event": "Product Viewed", "where": {"total": {"greater_than": 90}, "category": {"is": "garden"}}},
        f"{_PROFILE} WHERE who IN (SELECT i.who {_OF} 'Product Viewed' AND e.numbers['total'] > 90"
        " AND e.texts['category'] = 'garden')",
    ),
    _Question(
        "lapsed",
        {"event": "Order Completed", "last": {"before": "14d"}},
        f"{_PROFILE} WHERE who IN (SELECT i.who {_OF} 'Order Completed' GROUP BY i.who"
        f" HAVING max(e.occurred_at) <= {_NOW - 14 * _DAY})",
    ),
    _Question(
        "loyal pros",
        {"all": [{"event": "Order Completed", "at_least": 3}, {"attribute": "plan", "is": "pro"}]},
        f"{_PROFILE} WHERE who IN ({_THRICE}) AND who IN ({_PLAN})",
    ),
    _Question(
        "viewed twice and did not buy of late",
        {
            "all": [
                {"event": "Cart Viewed", "at_least": 2, "within": "30d"},
                {"not": {"event": "Order Completed", "within": "30d"}},
            ]
        },
        f"{_PROFILE} WHERE who IN (SELECT i.who {_OF} 'Cart Viewed' AND e.occurred_at > {_NOW - 30 * _DAY}"
        f" GROUP BY i.who HAVING count(*) >= 2) AND who NOT IN (SELECT i.who {_OF} 'Order Completed'"
        f" AND e.occurred_at > {_NOW - 30 * _DAY})",
    ),
)


def bulk_figures(home: Path, events: int) -> list[Figure]:
    """Writes so many events of a twentieth as many people to a lake, and asks."""
    people = events // _EACH
    history = History(str(home / "lake"))
    _write(history, events, people)
    figures = []
    with open_duckdb() as duck:
        offer_history(duck, history.files(), history.written(), [])
        names = pa.array([f"node-{n}" for n in range(people)])
        duck.register("people", pa.table({"node": names, "who": pa.array(range(people), pa.int32())}))
        duck.execute("CREATE TABLE identity AS SELECT node, who FROM people")
        duck.execute("CREATE TABLE person AS SELECT who, node AS profile FROM people")
        for question in QUESTIONS:
            audience = {"asked": Audience.model_validate({"match": question.match})}
            ours = compile_audience(audience, "asked", _NOW).sql(dialect="duckdb")
            took, byhand = _in_turn(duck, ours, question.sql, question.name)
            figures += [
                Figure(f"bulk, {question.name}", took, "s", SECONDS, at_most=True),
                Figure(f"bulk, {question.name} ÷ by hand", took / byhand, "×", MOST, at_most=True),
            ]
    return figures


def _in_turn(duck: duckdb.DuckDBPyConnection, ours: str, byhand: str, name: str) -> tuple[float, float]:
    """The best time of each. Both have to find the same people."""
    best, found = [float("inf")] * 2, [set[Any](), set[Any]()]
    for _ in range(_TIMES):
        for place, query in enumerate((ours, byhand)):
            began = time.perf_counter()
            found[place] = set(duck.execute(query).fetchall())
            best[place] = min(best[place], time.perf_counter() - began)
    if found[0] != found[1]:
        raise SystemExit(f"{name}: ours finds {len(found[0])} people, the SQL by hand {len(found[1])}")
    return best[0], best[1]


#: Columns as the lake has them, of people and of events by their number `n`.
_KINDS: Final = "MAP {}::MAP(VARCHAR, BOOLEAN), MAP {}::MAP(VARCHAR, VARCHAR[]), []::VARCHAR[]"
_PLANS: Final = f"""
    SELECT n + 1, $now, $now - 100 * $day, 'node-' || n, 0, 'plan',
        MAP {{'plan': CASE WHEN n % 3 = 0 THEN 'pro' ELSE 'free' END}}, MAP {{}}::MAP(VARCHAR, DOUBLE), {_KINDS}
    FROM range($start, $stop) t(n)
"""
_EVENTS: Final = f"""
    SELECT $people + n + 1 AS position, moment, moment, 'node-' || hash(n, 1) % $people, 'app',
        $names[1 + (hash(n, 2) % len($names))::INT] AS name,
        MAP {{
            'item': 'sku-' || hash(n, 3) % 50,
            'category': ['garden', 'kitchen', 'toys', 'books'][1 + (hash(n, 4) % 4)::INT]
        }},
        MAP {{'total': (1 + hash(n, 5) % 99)::DOUBLE}}, {_KINDS}
    FROM (SELECT n, $now - ($events - n) * (60 * $day // $events) AS moment FROM range($start, $stop) t(n))
    ORDER BY name, position
"""


def _write(history: History, events: int, people: int) -> None:
    """By name, as the lake's writer does, so many at a time."""
    known: dict[str, Any] = {"now": _NOW, "day": _DAY}
    with open_duckdb() as duck:

        def table(name: str, sql: str, **more: Any) -> dict[str, pa.Table]:
            found = duck.sql(sql, params=known | more).to_arrow_table()
            return {name: found.rename_columns(SCHEMAS[name].names).cast(SCHEMAS[name])}

        history.write_tables(table("attributes", _PLANS, start=0, stop=people), people)
        several = {"events": events, "people": people, "names": list(_NAMES)}
        for start in range(0, events, _BATCH):
            stop = min(start + _BATCH, events)
            history.write_tables(table("events", _EVENTS, start=start, stop=stop, **several), people + stop)
