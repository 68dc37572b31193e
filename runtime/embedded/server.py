"""What the embedded servers have in common: one child of ours, in a home that it has been claimed in."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtime.embedded.child import ended, stop_child
from runtime.embedded.claim import Claim
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.logfile import tail

_POLL: Final = 0.02


class EmbeddedServer:
    """One server in one home; a context manager that stops it. It stores in `store`, and says what it does in `log`."""

    name: str
    #: How its makers write its name.
    title: str
    #: The signals that end it, and how many seconds each of them has to do so.
    _stop_by: Sequence[tuple[signal.Signals, float]]

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.store = self.home / self.name
        self.log = self.home / f"{self.name}.log"
        self._claim: Claim | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedError while it does not run."""
        if self._child is None:
            raise EmbeddedError(f"{self.store}: {self.title} is not running; start it first")
        return self._child.pid

    def poll(self) -> int | None:
        """The server's exit code (negative: the signal that ended it), or None while it runs."""
        return self._child.poll() if self._child else 0

    def stop(self) -> None:
        """Shut the server down, in good order if its time is enough. Does nothing when it does not run."""
        if self._child:
            stop_child(self._child, self._stop_by)
            self._child = None
        if self._claim:
            self._claim.release()
            self._claim = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _still_starting(self, deadline: float, timeout: float, hint: str, reason: str = "") -> None:
        """Wait a moment; raise EmbeddedError when the server has ended, or `deadline` (of `time.monotonic`) is over."""
        child = self._child
        if child is None or ended(child, within=_POLL):
            code = child.returncode if child else None
            raise EmbeddedError(
                f"{self.store}: {self.title} ended with exit code {code} while starting; mend what it says "
                f"and start again. The end of {self.log}:\n{tail(self.log)}"
            )
        if time.monotonic() > deadline:
            because = f" ({reason.strip()})" if reason else ""
            raise EmbeddedError(
                f"{self.store}: {self.title} accepted no connection within {timeout:.0f} s{because}; allow it more "
                f"time when it is {hint}. The end of {self.log}:\n{tail(self.log)}"
            )
