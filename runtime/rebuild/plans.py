"""Which definitions held at each position of the log."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from adapters.projections.definitions import DefinitionChange, workspace_of
from domain.state import Plan
from runtime.definitions import plan_of

#: What is declared: kind and name, and with them the body and the position that declared it.
Declared = dict[tuple[str, str], tuple[dict[str, Any], int]]


class Plans:
    """The plans that follow one another, made when they are asked for. `changes` are in order."""

    def __init__(self, changes: Sequence[DefinitionChange]) -> None:
        self._changes = changes
        self._positions = [change.position for change in changes]
        self._made: dict[int, Plan] = {}

    def next_after(self, position: int) -> int | None:
        """The position of the first definition above this one."""
        index = bisect_left(self._positions, position + 1)
        return self._positions[index] if index < len(self._positions) else None

    def at(self, position: int) -> Plan:
        """What holds for a row at this position, which is no definition itself."""
        count = bisect_left(self._positions, position)
        plan = self._made.get(count)
        if plan is None:
            declared = declared_by(self._changes[:count])
            rows = [(kind, name, declared[kind, name][0]) for kind, name in sorted(declared)]
            plan = self._made[count] = plan_of(workspace_of(rows))
        return plan


def declared_by(changes: Sequence[DefinitionChange]) -> Declared:
    """What is declared after these changes."""
    declared: Declared = {}
    for change in changes:
        if change.body is None:
            declared.pop((change.kind, change.name), None)
        else:
            declared[change.kind, change.name] = (change.body, change.position)
    return declared
