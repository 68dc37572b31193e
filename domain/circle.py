"""One person's way through loops, as a tree: what they did, the audiences that follow, what is sent of that, what came
of it, and what they did then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

#: Steps that are drawn above and below the one that is asked for.
FAR: Final = 100

What = Literal["record", "entered", "exited", "sent", "withheld", "outcome"]


class Step(NamedTuple):
    """One row of the log. `at` is the log's time in microseconds, `name` what a reader calls it.

    `cause` is the position that made it so. `audience` is that of a membership change, or of what was sent for one, or
    withheld;
    `because` are the positions that made a membership true. `outbound` is the id of what was sent, of what its outcome
    is, or that a record answers. `told` is more that is worth reading.
    """

    what: What
    position: int
    at: int
    name: str
    cause: int = 0
    audience: str = ""
    because: tuple[int, ...] = ()
    outbound: str = ""
    told: Mapping[str, Any] = {}


class Branch(NamedTuple):
    """A step and what came of it, in order; `further` steps that are not drawn led to it, or came of it."""

    step: Step
    then: Sequence[Branch]
    further: bool = False


def circle(steps: Iterable[Step], position: int) -> Branch | None:
    """The tree that the step at a position is in, from the first step that led to it, at most `FAR` before it; `None`
    where there is no such step."""
    by_position = {step.position: step for step in sorted(steps, key=lambda step: step.position)}
    if position not in by_position:
        return None
    parents = _parents(by_position)
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        if parent is not None:
            children.setdefault(parent, []).append(child)
    root = position
    for _ in range(FAR):
        root = parents[root] or root
    return _branch(root, children, by_position)._replace(further=parents[root] is not None)


def _parents(steps: Mapping[int, Step]) -> dict[int, int | None]:
    """The step that led to each, where one did: it always stands before it. `steps` are in order."""
    sent: dict[str, int] = {}
    changed: dict[str, int] = {}
    changed_by: dict[tuple[str, int], int] = {}
    found: dict[int, int | None] = {}
    for position, step in steps.items():
        # Where only time has passed, the last of the records that it is true by has led to it.
        records = [place for place in (step.cause, *sorted(step.because, reverse=True)) if place in found]
        led = records[0] if records else None
        if step.what in ("record", "outcome"):
            led = sent.get(step.outbound)
        elif step.what in ("sent", "withheld"):
            led = changed_by.get((step.audience, step.cause), changed.get(step.audience, led))
            if step.what == "sent":
                sent[step.outbound] = position
        else:
            changed[step.audience] = changed_by[step.audience, step.cause] = position
        found[position] = led
    return found


def _branch(root: int, children: Mapping[int, Sequence[int]], steps: Mapping[int, Step]) -> Branch:
    reached: list[int] = []
    level = [root]
    for _ in range(2 * FAR):
        reached += level
        level = [child for here in level for child in children.get(here, ())]
    beyond = set(level)
    made: dict[int, Branch] = {}
    # From the last one on, as what follows a step stands after it.
    for here in sorted(reached, reverse=True):
        below = children.get(here, ())
        drawn = [made[child] for child in below if child not in beyond]
        made[here] = Branch(steps[here], drawn, len(drawn) < len(below))
    return made[root]
