"""A shop's app around a Roundtrip of its own: time goes in moments, and each is over when nothing is on its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

from benchmarks.platform import Platform, free_port, platform
from runtime.engines import running as engines_of
from simulators.times import SECOND, write_time
from tests.integration.simulating import Simulator
from tests.keys import said
from tests.servers import wait_until

HOUR: Final = 3_600
#: 2026-01-05T00:00:00Z.
START: Final = 1_767_571_200
WRITE_KEY: Final = "app-key"

Call = dict[str, Any]


def at(seconds: int) -> str:
    """So long after the story's beginning."""
    return write_time((START + seconds) * SECOND)


class Shop:
    """`waiting` are the simulators' status pages that say how much their webhooks are still to be told."""

    def __init__(self, ours: Platform, waiting: Sequence[tuple[Simulator, str]] = ()) -> None:
        self.ours = ours
        self._waiting = waiting
        self._http = httpx2.Client(base_url=ours.url, trust_env=False, timeout=30)
        self._bearer = {"Authorization": f"Bearer {ours.token}"}

    def clock(self, seconds: int) -> None:
        self._http.post("/v1/clock", json={"to": at(seconds)}, headers=self._bearer).raise_for_status()

    def says(self, calls: Sequence[Call], times: int = 1) -> None:
        """The app's calls; an SDK that got no answer says them several times."""
        for _ in range(times if calls else 0):
            answer = self._http.post("/v1/batch", json={"batch": calls}, auth=(WRITE_KEY, ""))
            answer.raise_for_status()

    def rest(self) -> None:
        wait_until(self._at_rest, "all to be at rest")

    def _at_rest(self) -> bool:
        before = self.status()
        return (
            not any(reader["lag"] for name, reader in before["readers"].items() if name != "history")
            and not any(counts.get("pending") for counts in before["outbound"].values())
            and not any(self._of(simulator, page)["waiting"] for simulator, page in self._waiting)
            and self.status()["log"]["position"] == before["log"]["position"]
        )

    def _of(self, simulator: Simulator, page: str) -> Any:
        return simulator.http.get(page).raise_for_status().json()

    def status(self) -> Any:
        return self.ours.status()

    def api(self, path: str) -> Any:
        return self._http.get(path, headers=self._bearer).raise_for_status().json()

    def loop(self, name: str) -> list[dict[str, Any]]:
        """How each hop does, once all engagement is tied to what it answers."""
        head = self.status()["log"]["position"]
        wait_until(lambda: self.api("/v1/loops")["position"] >= head, "engagement to be tied")
        return list(self.api("/v1/loops")["loops"][name]["hops"])

    def sent(self, connection: str) -> list[dict[str, Any]]:
        """What was to be sent by a connection, as the log has it."""
        engines = engines_of(self.ours.home)
        assert engines is not None
        requested = said(engines.database_url, "outbound.requested")
        return [one for one in requested if one["connection"] == connection]

    def way(self, outbound: str) -> list[dict[str, Any]]:
        """The steps of a message's circle from what began it to the message."""
        found = self.api(f"/v1/trace/{outbound}")
        return _way(found["circle"], found["place"])


def _way(branch: dict[str, Any], place: int) -> list[dict[str, Any]]:
    if branch["position"] == place:
        return [branch]
    for one in branch["then"]:
        if way := _way(one, place):
            return [branch, *way]
    return []


@contextmanager
def shop(workspace: Path, environment: dict[str, str], *waiting: tuple[Simulator, str]) -> Iterator[Shop]:
    """Roundtrip with this workspace, at an address that can be known before."""
    where = f"127.0.0.1:{free_port()}"
    own = {
        "ROUNDTRIP_HTTP": where,
        "ROUNDTRIP_PUBLIC_URL": f"http://{where}",
        "ROUNDTRIP_APP_WRITE_KEY": WRITE_KEY,
    }
    with platform(workspace, own | environment) as ours:
        yield Shop(ours, waiting)
