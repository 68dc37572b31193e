"""Three loops that share profiles, with calls repeated and in any order, every part killed at work, and a vendor
away: the end at each simulator is what the users alone say, nobody is told twice, and nobody without consent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.loops import WORKSPACE
from benchmarks.of_loops.comparing import compare
from benchmarks.of_loops.faults import PARTS, Faults, Trouble
from benchmarks.of_loops.story import story
from benchmarks.of_loops.telling import Teller
from benchmarks.of_loops.truth import truth_of
from benchmarks.of_loops.vendors import vendors
from benchmarks.platform import platform

USERS = 1_000
SEED = 2
#: Both while the pushes go out and when the first waits for an answer are over.
PLAN = {0: Trouble(PARTS, away=True), 7: Trouble(("pipeline",), away=True)}


def test_three_loops_come_to_what_the_users_did_whatever_is_killed(tmp_path: Path) -> None:
    told = story(USERS, SEED)
    with vendors(tmp_path) as there, platform(WORKSPACE, there.environment()) as ours:
        faults = Faults(ours, there, PLAN)
        Teller(ours, there).tell(told, faults)
        found = compare(truth_of(told.people), there)
        assert (faults.kills, faults.outages) == (5, 2)
        assert found.named() == []
        assert all(found.told.values()), found.told
        # Answers were lost after their effect, and the same requests came again.
        assert all(push.get("status")["replayed_requests"] for push in there.pushes.values())
        done = subprocess.run(
            [sys.executable, "-m", "runtime.cli", "doctor", "--deep"],
            env=dict(ours.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
