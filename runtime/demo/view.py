"""The demo's live view: what each stage has counted, at what rate, and how far it is behind."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from rich.columns import Columns
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runtime.demo.driver import Snapshot

_WINDOW_S: Final = 3.0


class View:
    """Keeps the last few seconds of counts, for the rates."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._at = ""
        self._history: deque[tuple[float, dict[str, int]]] = deque()

    def step(self, number: int, at: str) -> None:
        """The story has come to this step, at this simulated time."""
        self._step, self._at = number + 1, at

    def render(self, snapshot: Snapshot) -> Group:
        """The whole picture."""
        counts = _counts(snapshot)
        now = time.monotonic()
        self._history.append((now, counts))
        while now - self._history[0][0] > _WINDOW_S:
            self._history.popleft()
        then, before = self._history[0]
        table = Table(box=None, pad_edge=False)
        for name in ("stage", "count", "a second", "behind"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        lags = {name: reader["lag"] for name, reader in snapshot.status["readers"].items()}
        behind = {
            "records in the log": 0,
            "taken in by the pipeline": lags["pipeline"],
            "relayed to NATS": lags["relay"],
            **{
                f"delivered by connection {name}": statuses.get("pending", 0)
                for name, statuses in snapshot.status["outbound"].items()
            },
            "engagement returned by the push tool": snapshot.push["webhooks"]["pending"],
        }
        for name, count in counts.items():
            rate = (count - before.get(name, 0)) / (now - then) if now > then else 0.0
            lag = behind.get(name)
            table.add_row(name, f"{count:,}", f"{rate:,.0f}", "" if lag is None else f"{lag:,}")
        return Group(
            Text(f"step {self._step} of {self._steps}, simulated time {self._at}"),
            Columns([ProgressBar(total=self._steps, completed=self._step, width=60)]),
            table,
        )


def _counts(snapshot: Snapshot) -> dict[str, int]:
    status = snapshot.status
    return {
        "records in the log": status["log"]["position"],
        "taken in by the pipeline": status["readers"]["pipeline"]["position"],
        "relayed to NATS": status["readers"]["relay"]["position"],
        "profiles": status["profiles"],
        **{f"in audience {name}": count for name, count in status["audiences"].items()},
        **{
            f"delivered by connection {name}": statuses.get("delivered", 0)
            for name, statuses in status["outbound"].items()
        },
        "engagement returned by the push tool": snapshot.push["webhooks"]["sent"],
    }
