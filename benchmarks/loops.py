"""Three loops that share profiles: what they come to through every fault, and how long a loop takes at 1,000
events/s.

First, in calm, the time from the user's action to the retargeting request at the ad platform
(`of_loops/latency.py` says what is measured). Then 20,000 users (800 with `--quick`) go through a story of three
loops, over two push tools, a CRM and an ad platform with three audiences (`loops.workspace.yaml`): three in ten
calls come again, all come in any order, some a day late, webhooks come twice and turned round; `serve`,
`pipeline`, `relay` and `deliver` are killed with work in their hands, answers are lost after their effect, and
the ad platform goes away. The end at each simulator is compared with a reference that is worked out from the
users alone (`of_loops/truth.py`, with none of the platform's code).

Goals (issue "Loops", "Must hold"): nobody differs, nobody is told twice, nobody without consent, p99 under 500 ms.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.of_loops.comparing import compare
from benchmarks.of_loops.faults import AGAIN_AND_AGAIN, ONCE, Faults
from benchmarks.of_loops.latency import RATE, Latencies, measure, workspace
from benchmarks.of_loops.story import story
from benchmarks.of_loops.telling import Teller
from benchmarks.of_loops.truth import truth_of
from benchmarks.of_loops.vendors import vendors
from benchmarks.platform import platform
from benchmarks.report import Figure, arguments, conclude

GOAL_MS: Final = 500
WORKSPACE: Final = Path(__file__).with_name("loops.workspace.yaml")
_SEED: Final = 1


def main() -> None:
    asked = arguments(__doc__)
    speeds = _speeds(_latency(2_000, 6) if asked.quick else _latency(20_000, 60))
    figures, notes = _story(800, quick=True) if asked.quick else _story(20_000, quick=False)
    conclude("Loops", [*speeds, *figures], asked, notes)


def _latency(users: int, seconds: int) -> Latencies:
    with (
        tempfile.TemporaryDirectory() as place,
        vendors(Path(place)) as there,
        platform(workspace(WORKSPACE, Path(place) / "roundtrip.yaml"), there.environment()) as ours,
    ):
        return measure(ours, there, users, seconds)


def _speeds(found: Latencies) -> list[Figure]:
    return [
        Figure("offered, one call a request", RATE, "events/s"),
        *_percentiles("call → retargeting, due at once", found.at_once, GOAL_MS),
        *_percentiles("wait over → retargeting", found.waited, GOAL_MS),
        *_percentiles("call → push", found.push),
        *_percentiles("call → its answer", found.answered),
    ]


def _percentiles(name: str, values: Sequence[float], goal: float | None = None) -> list[Figure]:
    """The median and the 99th percentile, for which the goal is, of sorted values."""
    p50, p99 = (values[int(share * (len(values) - 1))] for share in (0.5, 0.99))
    return [Figure(f"{name}, p50", p50, "ms"), Figure(f"{name}, p99", p99, "ms", goal, at_most=True)]


def _story(users: int, *, quick: bool) -> tuple[list[Figure], list[str]]:
    told = story(users, _SEED)
    with (
        tempfile.TemporaryDirectory() as place,
        vendors(Path(place)) as there,
        platform(WORKSPACE, there.environment()) as ours,
    ):
        faults = Faults(ours, there, ONCE if quick else AGAIN_AND_AGAIN)
        Teller(ours, there).tell(told, faults)
        found = compare(truth_of(told.people), there)
    figures = [
        Figure("users of the story", users, "users"),
        Figure("their calls, repeated ones among them", sum(len(step.calls) for step in told.steps), "calls"),
        Figure("kill -9 of parts", faults.kills, "kills"),
        Figure("kill -9 of parts at work", faults.at_work, "kills"),
        Figure("ad platform away", faults.outages, "times"),
        Figure("people who differ from the reference", len(found.differ), "people", 0, at_most=True),
        Figure("people told more than once", len(found.twice), "people", 0, at_most=True),
        Figure("people told without consent", len(found.without_consent), "people", 0, at_most=True),
    ]
    reached = ", ".join(f"{name} {count:,}" for name, count in found.told.items())
    return figures, [f"told, by connection: {reached}", *found.named()]


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
