"""How a simulator begins and ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from tests.integration.simulating import is_running, running
from tests.servers import REPOSITORY, wait_until

COMMAND = [sys.executable, "-m", "simulators.ad_platform", "--token", "t"]


def files(home: Path) -> list[str]:
    return ["--state", str(home / "state.db"), "--ready-file", str(home / "ready.json")]


def test_sigterm_ends_it_cleanly_and_its_state_is_private(tmp_path: Path) -> None:
    with running("ad_platform", tmp_path, "--token", "t") as platform:
        assert stat.S_IMODE(platform.state.stat().st_mode) == 0o600
        assert platform.end(signal.SIGTERM) == 0


def test_a_state_file_in_use_is_refused(tmp_path: Path) -> None:
    with running("ad_platform", tmp_path, "--token", "t"):
        second = subprocess.run(
            [*COMMAND, "--state", str(tmp_path / "state.db"), "--ready-file", str(tmp_path / "other.json")],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert second.returncode == 2
    assert "state.db" in second.stderr and "--state" in second.stderr
    assert not (tmp_path / "other.json").exists()


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    starts = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    parent = subprocess.Popen(
        [sys.executable, "-c", starts, *COMMAND, *files(tmp_path), "--die-with-parent"], cwd=REPOSITORY
    )
    ready = tmp_path / "ready.json"
    try:
        wait_until(ready.exists, "the simulator is ready")
        pid = int(ready.read_text().rpartition(":")[2].strip(" }"))
        assert is_running(pid)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_running(pid), "the simulator is gone")


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with running("ad_platform", tmp_path, "--token", "t") as platform:
        port = platform.http.base_url.port
        home = tmp_path / "second"
        home.mkdir()
        second = subprocess.run(
            [*COMMAND, *files(home), "--port", str(port)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=20,
            env=os.environ,
        )
    assert second.returncode == 2
    assert f"port {port}" in second.stderr
