"""`kill -9` of the whole process tree in the middle of the demo: it goes on, and nobody is told twice."""

from __future__ import annotations

from functools import partial

from tests.scenarios.demo import kill_tree, reached, roundtrip, run, start
from tests.servers import temporary_home, wait_until

USERS = 120


def test_a_demo_killed_again_and_again_meets_the_truth_and_tells_nobody_twice() -> None:
    with temporary_home() as home:
        for goal in (250, 900):
            process = start(home, USERS)
            try:
                wait_until(partial(reached, process, home, goal), f"position {goal}", 90)
            finally:
                kill_tree(process)
        code, output = run(home, USERS)
        assert code == 0, output
        assert "got the push more than once: expected 0, found 0" in output
        assert "retargeted more than once: expected 0, found 0" in output
        code, output = roundtrip(home, "rebuild", "--verify")
        assert code == 0, output
