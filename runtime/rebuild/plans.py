"""Which definitions were in force at each position of the log, those declared before a workspace last took effect; and
where connections' runs are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Final

from adapters.projections.definitions import DefinitionChange, workspace_of
from domain.audiences.evaluation import Leaf
from domain.records import Row
from domain.runs import RUN, Run, decode_run
from domain.settling import APPLIED, Settling, settling_of
from domain.state import Plan
from runtime.definitions import plan_of
from runtime.rebuild.passing import Heard

#: What is declared: kind and name, and with them the body and the position that declared it.
Declared = dict[tuple[str, str], tuple[dict[str, Any], int]]
#: The kind of a change that only says that those before it take effect; its body says when.
EFFECT: Final = "effect"
#: The kind of a change that is none: a connection has a run.
AT_RUN: Final = "run"


class Plans:
    """The plans that follow one another. `changes` are in order. Each of them remembers what any of them asks about
    events, so that a condition has its whole history when it takes effect."""

    def __init__(self, changes: Sequence[DefinitionChange]) -> None:
        self._effects = [(change.position, change.body or {}) for change in changes if change.kind == EFFECT]
        self._positions = [position for position, _ in self._effects]
        self._runs = {
            change.position: Run(change.name, change.position, (change.body or {})["at"])
            for change in changes
            if change.kind == AT_RUN
        }
        self._boundaries = sorted((*self._positions, *self._runs))
        self._changes = [change for change in changes if change.kind not in (EFFECT, AT_RUN)]
        places = [change.position for change in self._changes]
        self._counts = [0, *(bisect_left(places, position) for position in self._positions)]
        bare = [self._bare(number) for number in range(len(self._counts))]
        leaves: dict[str, Leaf] = {}
        for plan in bare:
            leaves |= plan.audiences.leaves
        #: The ids of the conditions that the last plan asks for: the others are not live.
        self.live = frozenset(bare[-1].audiences.leaves)
        #: The names of the events that any of the plans asks for.
        self.heard: Heard = frozenset().union(
            *(plan.audiences.events | plan.forwardings.events for plan in bare)
        )
        self._plans = [plan._replace(audiences=plan.audiences.remembering(leaves)) for plan in bare]

    def next_after(self, position: int) -> int | None:
        """The first position above this one at which a workspace takes effect, or a connection has a run."""
        index = bisect_left(self._boundaries, position + 1)
        return self._boundaries[index] if index < len(self._boundaries) else None

    def run(self, position: int) -> Run | None:
        """The run of a connection at this position."""
        return self._runs.get(position)

    def at(self, position: int) -> Plan:
        """What is in force for a row at this position."""
        return self._plans[bisect_left(self._positions, position)]

    def feeds_at(self, position: int) -> set[str]:
        """Every feed that was in force at a position or before it."""
        number = bisect_left(self._positions, position)
        return set().union(*(plan.priorities for plan in self._plans[: number + 1]))

    def settling(self, position: int) -> Settling:
        """What is looked at anew as a workspace takes effect at this position."""
        number = self._positions.index(position)
        changed = self._changes[self._counts[number] : self._counts[number + 1]]
        at: int = self._effects[number][1]["at"]
        return settling_of(
            self._plans[number + 1], position, at, [(change.kind, change.name) for change in changed]
        )

    @property
    def last_effect(self) -> int:
        """Where a workspace last took effect, 0 where none did."""
        return self._positions[-1] if self._positions else 0

    def declared(self) -> Declared:
        """What is in force at the end."""
        return declared_by(self._changes[: self._counts[-1]])

    def _bare(self, number: int) -> Plan:
        declared = declared_by(self._changes[: self._counts[number]])
        rows = [(kind, name, declared[kind, name][0]) for kind, name in sorted(declared)]
        return plan_of(workspace_of(rows))


def change_at(row: Row, change_of: Callable[[Row], DefinitionChange]) -> DefinitionChange:
    """What a row that a scan has kept says."""
    if row.topic == APPLIED:
        return DefinitionChange(row.position, EFFECT, "", {"at": row.recorded_at})
    if row.topic == RUN:
        return DefinitionChange(
            row.position, AT_RUN, decode_run(row.state).connection, {"at": row.recorded_at}
        )
    return change_of(row)


def declared_by(changes: Sequence[DefinitionChange]) -> Declared:
    """What is declared after these changes."""
    declared: Declared = {}
    for change in changes:
        if change.body is None:
            declared.pop((change.kind, change.name), None)
        else:
            declared[change.kind, change.name] = (change.body, change.position)
    return declared
