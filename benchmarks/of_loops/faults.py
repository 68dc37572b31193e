"""What goes wrong while the story is told: `kill -9` of each part with work in its hands, and a vendor that is
away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import psutil

from benchmarks.of_loops.vendors import Vendors
from benchmarks.platform import Platform, wait_for

PARTS: Final = ("serve", "pipeline", "relay", "deliver")


class Trouble(NamedTuple):
    """What goes wrong in a step: parts are killed one after the other, and meanwhile the ad platform is away or
    not."""

    parts: Sequence[str] = ()
    away: bool = False


#: What goes wrong in which step: once each, or again and again while much is under way. The first waits for an
#: answer to a push are over in step 7.
ONCE: Final[Mapping[int, Trouble]] = {
    0: Trouble(("serve",)),
    1: Trouble(("relay", "pipeline", "deliver"), away=True),
}
AGAIN_AND_AGAIN: Final[Mapping[int, Trouble]] = {
    **{step: Trouble(PARTS, away=step == 2) for step in (0, 1, 2, 3)},
    7: Trouble(("pipeline", "deliver"), away=True),
    8: Trouble(("relay", "serve"), away=True),
}
#: How long the ad platform is away at least, in seconds.
AWAY_S: Final = 3.0
#: A part that has nothing to do for so long is killed all the same.
_IDLE_S: Final = 10.0
#: So long after a push went out the push tool keeps its answer, and `deliver` is killed meanwhile.
_KEPT_S: Final = 1.0


class Faults:
    """`kills` counts them, `at_work` those of parts that had work in their hands, `outages` those of the ad
    platform."""

    def __init__(self, ours: Platform, vendors: Vendors, plan: Mapping[int, Trouble]) -> None:
        self.kills, self.at_work, self.outages = 0, 0, 0
        self._ours = ours
        self._vendors = vendors
        self._plan = plan

    def __call__(self, step: int) -> None:
        """Does what is planned for the step."""
        trouble = self._plan.get(step, Trouble())
        back_at = time.monotonic() + AWAY_S
        if trouble.away:
            self._vendors.ads.kill()
        try:
            for part in trouble.parts:
                self._kill(part)
            while trouble.away and time.monotonic() < back_at:
                time.sleep(0.02)
        finally:
            if trouble.away:
                self._vendors.ads.start()
                self.outages += 1

    def _kill(self, part: str) -> None:
        if part == "deliver":
            # A push goes out and its sender does not hear of it: it is dead by then, or the answer is lost.
            lost = {"drop_after_commit": True}
            for push in self._vendors.pushes.values():
                push.post("faults", {"next": [lost | {"delay_s": _KEPT_S}, lost, {"status": 503}]})
        at_work = self._wait(lambda: self._works(part))
        if part == "deliver":
            time.sleep(_KEPT_S / 3)
        process = self._process(part)
        for one in [process, *process.children(recursive=True)]:
            one.kill()
        self.kills += 1
        self.at_work += at_work
        process.wait(10)

    def _works(self, part: str) -> bool:
        try:
            status: dict[str, Any] = self._ours.status()
        except OSError:
            return False
        if part == "deliver":
            return any(counts.get("pending") for counts in status["outbound"].values())
        # What is posted to `serve` is in its hands as long as the pipeline has news of it.
        return bool(status["readers"]["pipeline" if part == "serve" else part]["lag"])

    def _process(self, part: str) -> psutil.Process:
        """The part's process that runs now, once there is one."""
        found: list[psutil.Process] = []

        def there() -> bool:
            for one in psutil.Process(self._ours.process_id).children():
                try:
                    if one.cmdline()[-1:] == [part] and one.status() != psutil.STATUS_ZOMBIE:
                        found.append(one)
                except psutil.NoSuchProcess:
                    continue
            return bool(found)

        wait_for(there, f"a process of `{part}`", 60)
        return found[-1]

    @staticmethod
    def _wait(holds: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _IDLE_S
        while not (held := holds()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return held
