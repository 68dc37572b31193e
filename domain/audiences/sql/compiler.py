"""Compiles an audience to SQL that says who belongs to it at a moment: the same answer as the incremental
evaluator's, from the history as it lies in the lake.

The query is a sqlglot tree, so one compiler serves every engine: `compile_audience(…).sql(dialect="duckdb")`, or
`"spark"`, `"trino"`. Each leaf of the definition becomes a common table expression of the profiles it speaks of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from domain.audiences.definition import (
    AllOf,
    AnyOf,
    AttributeCondition,
    Audience,
    Condition,
    ConsentCondition,
    InAudience,
    InSplit,
    Not,
    TraitCondition,
    dependency_order,
    validate_audiences,
)
from domain.audiences.events import EventCount, EventSum, FirstOrLast, Sequence
from domain.audiences.splits import bound
from domain.audiences.sql import leaves
from domain.audiences.sql.relations import Asked, LeafQuery
from domain.audiences.sql.terms import Term, column, every, literal, negated, some
from domain.audiences.sql.traits import trait_leaf
from domain.consent import NO_POLICIES, STRICTEST, Default, Policies
from domain.traits.definition import Trait

COUNTED: Final = "counted"


def compile_audience(
    audiences: Mapping[str, Audience],
    name: str,
    now: int,
    position: int | None = None,
    traits: Mapping[str, Trait] = {},
    policies: Policies = NO_POLICIES,
) -> exp.Select:
    """A query for the profiles in an audience at log time `now` (microseconds), one column `profile`.
    `traits` are those that the audiences may ask for, `policies` say what holds of who has said nothing to a purpose.

    With `position`, records above it do not count. Raises `InvalidAudiences` as `compile_audiences` does.
    """
    validate_audiences(audiences, traits)
    order = dependency_order(audiences)
    query = _Query(audiences, traits, policies, Asked(now, position))
    for each in order[: order.index(name)]:
        query.refer(each)
    return query.select(name)


class _Query:
    def __init__(
        self,
        audiences: Mapping[str, Audience],
        traits: Mapping[str, Trait],
        policies: Policies,
        asked: Asked,
    ) -> None:
        self._audiences = audiences
        self._traits = traits
        self._policies = policies
        self._asked = asked
        self._tables: dict[str, exp.Query] = {}
        self._counts: dict[str, Term] = {}
        self._names: set[str] = set()
        self._needed: dict[str, set[str]] = {}

    def refer(self, name: str) -> None:
        """Makes an audience ready to be referred to."""
        self._needed[f"audience_{name}"] = set()
        self._tables[f"audience_{name}"] = self._members(name, "who")

    def select(self, name: str) -> exp.Select:
        members = self._members(name, "profile")
        wanted = self._reachable(members)
        query = members
        tables: dict[str, exp.Query] = {COUNTED: self._counted(), **self._tables}
        for table, select in tables.items():
            if table in wanted:
                query = query.with_(table, as_=select, copy=False)
        return query

    def _reachable(self, select: exp.Select) -> set[str]:
        """The common tables that a query needs, directly or through others."""
        wanted: set[str] = set()
        waiting: list[exp.Query] = [select]
        while waiting:
            for found in waiting.pop().find_all(exp.Table):
                if found.name in wanted:
                    continue
                wanted.add(found.name)
                if found.name in self._tables:
                    waiting.append(self._tables[found.name])
        return wanted

    def _members(self, name: str, told: str) -> exp.Select:
        audience = self._audiences[name]
        joined: dict[str, str] = {}
        parts = [self._condition(audience.match, joined)]
        for excluded in audience.exclude:
            parts.append(negated(self._in(f"audience_{excluded}", joined)))
        select = exp.select(column(told, "p")).from_(
            exp.alias_(exp.to_table("person"), "p", table=True, copy=False), copy=False
        )
        for table, alias in joined.items():
            select = select.join(
                exp.alias_(exp.to_table(table), alias, table=True, copy=False),
                on=exp.EQ(this=column("who", "p"), expression=column("who", alias)),
                join_type="left",
                copy=False,
            )
        return select.where(every(exp.paren(part, copy=False) for part in parts), copy=False)

    def _condition(self, condition: Condition, joined: dict[str, str]) -> Term:
        match condition:
            case EventCount() if not leaves.slides(condition):
                return self._count(condition, joined)
            case EventCount() | EventSum() | FirstOrLast() | Sequence() | AttributeCondition():
                return self._leaf(leaves.leaf_of(condition, self._asked), joined)
            case ConsentCondition():
                return self._consent(condition, joined)
            case TraitCondition():
                return self._leaf(trait_leaf(condition, self._traits[condition.trait], self._asked), joined)
            case InAudience():
                return self._in(f"audience_{condition.in_audience}", joined)
            case InSplit():
                return _split(condition)
            case AllOf():
                return every(exp.paren(self._condition(each, joined), copy=False) for each in condition.all_)
            case AnyOf():
                return some(exp.paren(self._condition(each, joined), copy=False) for each in condition.any_)
            case Not():
                return negated(self._condition(condition.not_, joined))

    def _consent(self, condition: ConsentCondition, joined: dict[str, str]) -> Term:
        """Whoever said so and, where the default is the same, whoever has not said the contrary."""
        said = self._leaf(leaves.leaf_of(condition, self._asked), joined)
        by_default = self._by_default(condition, joined)
        if by_default is None:
            return said
        contrary = condition.model_copy(update={"is_": "refused" if condition.is_ == "given" else "given"})
        silent = negated(self._leaf(leaves.leaf_of(contrary, self._asked), joined))
        return some([said, exp.paren(every([silent, by_default]), copy=False)])

    def _by_default(self, condition: ConsentCondition, joined: dict[str, str]) -> Term | None:
        """For whom the default is what is asked for: the strictest of the jurisdictions that they are in; `None` for
        nobody."""
        declared, wanted = self._policies.default(condition.consent), condition.is_
        if wanted not in (declared.default, *declared.in_.values()):
            return None
        inside: dict[Default, list[Term]] = {default: [] for default in STRICTEST}
        for name, default in declared.in_.items():
            conditions = self._policies.conditions(name)
            inside[default].append(
                exp.paren(every(exp.paren(self._condition(c, joined), copy=False) for c in conditions))
            )
        stricter = [one for default in STRICTEST[: STRICTEST.index(wanted)] for one in inside[default]]
        meant = list(inside[wanted])
        if declared.default == wanted:
            others = [one for default in STRICTEST if default != wanted for one in inside[default]]
            meant.append(every(negated(one.copy()) for one in others) if others else exp.true())
        return every([*(negated(one) for one in stricter), exp.paren(some(meant), copy=False)])

    def _leaf(self, leaf: LeafQuery, joined: dict[str, str]) -> Term:
        table = f"leaf_{leaf.id}"
        for name, select in {**leaf.tables, table: leaf.select}.items():
            self._tables.setdefault(name, select)
        inside = self._in(table, joined)
        return negated(inside) if leaf.violators else inside

    def _in(self, table: str, joined: dict[str, str]) -> Term:
        alias = joined.setdefault(table, f"j{len(joined)}")
        return negated(exp.Is(this=column("who", alias), expression=exp.null()))

    def _count(self, condition: EventCount, joined: dict[str, str]) -> Term:
        """Counts that need no ranking are counted together, in one pass over the events."""
        id, term = leaves.count_of(condition, self._asked)
        self._counts[id] = term
        self._names.add(condition.event)
        alias = joined.setdefault(COUNTED, f"j{len(joined)}")
        count = exp.Coalesce(this=column(id, alias), expressions=[literal(0)])
        least, most = condition.bounds
        bounds: list[Term] = [exp.GTE(this=count, expression=literal(least))]
        if most is not None:
            bounds.append(exp.LTE(this=count.copy(), expression=literal(most)))
        return every(bounds)

    def _counted(self) -> exp.Select:
        return leaves.counts(self._counts, self._names, self._asked)


def _split(condition: InSplit) -> Term:
    low, high = condition.share
    told = exp.DPipe(
        this=literal(f"{condition.split}:"),
        expression=column("profile", "p"),
    )
    place = exp.DPipe(
        this=literal("0"),
        expression=exp.Substring(this=exp.MD5(this=told), start=literal(1), length=literal(8)),
    )
    return every(
        [
            exp.GTE(this=place, expression=literal(bound(low))),
            exp.LT(this=place.copy(), expression=literal(bound(high))),
        ]
    )
