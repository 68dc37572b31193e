"""The whole process tree ended in the middle of the demo, by `kill -9` or Ctrl-C: it goes on and tells nobody twice."""

from __future__ import annotations

import signal
from functools import partial

import psutil

from tests.scenarios.demo import kill_tree, log_position, reached, roundtrip, run, start, tree
from tests.servers import temporary_home, wait_until

USERS = 120


def test_a_demo_killed_again_and_again_meets_the_truth_and_tells_nobody_twice() -> None:
    with temporary_home() as home:
        for goal in (250, 900):
            process = start(home, USERS)
            try:
                wait_until(partial(reached, process, home, goal), f"position {goal}")
            finally:
                kill_tree(process)
        code, output = run(home, USERS)
        assert code == 0, output
        assert "got the push more than once: expected 0, found 0" in output
        assert "retargeted more than once: expected 0, found 0" in output
        code, output = roundtrip(home, "doctor", "--deep")
        assert code == 0, output


def test_ctrl_c_ends_every_process_and_the_next_start_finds_all_data() -> None:
    with temporary_home() as home:
        process = start(home, USERS)
        wait_until(lambda: log_position(home) > 200, "the story to be under way")
        processes = tree(process)
        assert len(processes) >= 8
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, output
        _, alive = psutil.wait_procs(processes, timeout=5)
        assert alive == []
        before = output
        code, output = run(home, USERS)
        assert code == 0, before + output
