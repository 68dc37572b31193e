"""The loop of the examples that somebody leaves: an app, a push tool and an ad platform around a Roundtrip of its own.

Time is the log's, in seconds since `START`; the simulated push tool's clock goes with it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx2

from benchmarks.platform import Platform, platform
from runtime.engines import running as engines_of
from simulators.times import SECOND, write_time
from tests.integration.simulating import Simulator, running
from tests.keys import said
from tests.servers import wait_until

HOUR: Final = 3_600
#: 2026-01-05T00:00:00Z.
START: Final = 1_767_571_200
AUDIENCE: Final = "23842000000000001"
APP: Final = "8250eaf6-1a58-489e-b136-7c74a864b434"
WRITE_KEY, PUSH_KEY, PUSH_SECRET, ADS_TOKEN = "app-key", "push-key", "push-secret", "ads-token"

Call = dict[str, Any]


def hashed(email: str) -> str:
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def consents(user: str, **given: bool) -> Call:
    return {"type": "identify", "userId": user, "context": {"consent": {"categoryPreferences": given}}}


def signs_up(user: str, email: str, **given: bool) -> list[Call]:
    return [
        {"type": "track", "userId": user, "event": "App Installed"},
        consents(user, **given) | {"traits": {"email": email}},
    ]


class Loop:
    def __init__(self, ours: Platform, push: Simulator, ads: Simulator) -> None:
        self.ours, self.push, self.ads = ours, push, ads
        self._http = httpx2.Client(base_url=ours.url, trust_env=False, timeout=30)
        self._bearer = {"Authorization": f"Bearer {ours.token}"}
        self.at(0)
        self.feed(ours.url)

    def at(self, seconds: int) -> None:
        """It is so late now, for everybody."""
        self.now = (START + seconds) * SECOND
        self.api("POST", "/v1/clock", json={"to": write_time(self.now)})
        self.push.post("clock", {"now": write_time(self.now)})

    def feed(self, url: str) -> None:
        """Where the push tool's engagement goes."""
        self.push.post("webhook", {"url": f"{url}/v1/feeds/push_engagement", "secret": PUSH_SECRET})

    def happens(self, *calls: Call) -> float:
        """The app says this; the wall's time once it has been taken in."""
        batch = [{"messageId": str(uuid4()), "timestamp": write_time(self.now)} | call for call in calls]
        for start in range(0, len(batch), 100):
            said = {"batch": batch[start : start + 100]}
            self._http.post("/v1/batch", json=said, auth=(WRITE_KEY, "")).raise_for_status()
        wait_until(lambda: not self.ours.status()["readers"]["pipeline"]["lag"], "it to be taken in")
        return time.time()

    def rest(self, seconds: float = 60) -> None:
        """Waits until nothing is on its way anywhere."""
        wait_until(self._at_rest, "all to be at rest", seconds)

    def _at_rest(self) -> bool:
        def told() -> bool:
            return not self.push.get("status")["webhooks"]["pending"]

        before = self.ours.status()
        return (
            told()
            and not any(reader["lag"] for name, reader in before["readers"].items() if name != "history")
            and not any(counts.get("pending") for counts in before["outbound"].values())
            and told()
            and self.ours.status()["log"]["position"] == before["log"]["position"]
        )

    def delivered(self) -> None:
        """Waits until nothing is on its way to a tool."""
        wait_until(lambda: not any(c.get("pending") for c in self.ours.status()["outbound"].values()), "it")

    def down(self, tool: Simulator) -> None:
        """The tool answers nothing but 503, until it is `up`."""
        tool.post("faults", {"next": [{"status": 503}] * 1_000})

    def up(self, tool: Simulator) -> None:
        tool.post("faults", {"next": []})

    def refusals(self, tool: Simulator) -> int:
        return int(tool.get("status")["rejected"].get("fault_503", 0))

    def members(self) -> dict[str, dict[str, Any]]:
        """By hash, everybody who ever was in the ad platform's audience."""
        return {one["value"]: one for one in self.ads.get(f"audiences/{AUDIENCE}")["members"]}

    def erase(self, user: str) -> str:
        """Has somebody erased by HTTP; where the certificate is, once they are gone."""
        where = str(self.api("DELETE", f"/v1/profiles/user_id:{user}")["certificate"])
        wait_until(lambda: self._http.get(where, headers=self._bearer).status_code == 200, "them to be gone")
        return where

    def api(self, method: str, path: str, **more: Any) -> Any:
        answer = self._http.request(method, path, headers=self._bearer, **more)
        return answer.raise_for_status().json()

    def trace(self, outbound: str) -> list[dict[str, Any]]:
        """The steps of a message's circle."""
        return list(_flat(self.api("GET", f"/v1/trace/{outbound}")["circle"]))

    def sent(self, connection: str) -> list[dict[str, Any]]:
        """What was to be sent by a connection, as the log has it."""
        return [one for one in said(self.database, "outbound.requested") if one["connection"] == connection]

    @property
    def database(self) -> str:
        engines = engines_of(self.ours.home)
        assert engines is not None
        return engines.database_url

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "runtime.cli", *words]
        environment = dict(self.ours.environment)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _flat(branch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield branch
    for one in branch["then"]:
        yield from _flat(one)


@contextmanager
def loop(workspace: Path, home: Path) -> Iterator[Loop]:
    for name in ("push", "ads"):
        (home / name).mkdir()
    app = ("--api-key", PUSH_KEY, "--app-id", APP)
    with (
        running("push_tool", home / "push", *app) as push,
        running("ad_platform", home / "ads", "--token", ADS_TOKEN) as ads,
    ):
        environment = {
            "ROUNDTRIP_APP_WRITE_KEY": WRITE_KEY,
            "ROUNDTRIP_PUSH_WEBHOOK_SECRET": PUSH_SECRET,
            "ROUNDTRIP_PUSH_API_KEY": PUSH_KEY,
            "ROUNDTRIP_PUSH_URL": str(push.http.base_url).rstrip("/"),
            "ROUNDTRIP_ADS_TOKEN": ADS_TOKEN,
            "ROUNDTRIP_ADS_URL": str(ads.http.base_url).rstrip("/"),
        }
        with platform(workspace, environment) as ours:
            yield Loop(ours, push, ads)
