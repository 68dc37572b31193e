"""The vendors' simulators that the loops go out to, each a process that can be killed and started again where it
was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2

from benchmarks.platform import free_port, wait_for

#: The connections that push, and those that tell an ad platform, with the number of their audience there.
PUSHES: Final = ("welcome", "reminder")
AD_AUDIENCES: Final = {"retargeting": "1", "checkout_ads": "2", "vip_ads": "3"}
SECRETS: Final = {
    "ROUNDTRIP_APP_WRITE_KEY": "loops-write-key",
    "ROUNDTRIP_PUSH_WEBHOOK_SECRET": "loops-push-webhook",
    "ROUNDTRIP_PUSH_API_KEY": "loops-push-key",
    "ROUNDTRIP_CRM_CLIENT_SECRET": "loops-crm-client",
    "ROUNDTRIP_CRM_TOKEN": "loops-crm-token",
    "ROUNDTRIP_ADS_TOKEN": "loops-ads-token",
}
_APP: Final = "8250eaf6-1a58-489e-b136-7c74a864b434"


class Simulator:
    """One vendor. `url` stays the same over its processes, and so does what it holds."""

    def __init__(self, module: str, name: str, home: Path, options: Sequence[str]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._name = name
        self._ready = home / f"{name}.json"
        files = ["--state", str(home / f"{name}.db"), "--ready-file", str(self._ready)]
        command = [sys.executable, "-m", f"simulators.{module}", *files, "--port", str(port)]
        self._command = [*command, "--die-with-parent", *options]
        self._http = httpx2.Client(base_url=self.url, trust_env=False, timeout=60)
        self.start()

    def start(self) -> None:
        """Has it begin; `wait` waits until it serves."""
        self._ready.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command)

    def wait(self) -> None:
        wait_for(self._ready.exists, f"the simulator {self._name}", 30)

    def kill(self) -> None:
        """`kill -9`. Connections to it are refused until it is started again."""
        self._process.kill()
        self._process.wait()

    def get(self, what: str) -> Any:
        return self._http.get(f"/simulate/{what}").raise_for_status().json()

    def post(self, what: str, body: Any) -> None:
        self._http.post(f"/simulate/{what}", json=body).raise_for_status()


class Vendors(NamedTuple):
    """All of them: two push tools by their connection, the ad platform and the CRM."""

    pushes: Mapping[str, Simulator]
    ads: Simulator
    crm: Simulator

    def environment(self) -> dict[str, str]:
        """What the workspace file needs of the environment."""
        urls = {f"ROUNDTRIP_{name.upper()}_URL": push.url for name, push in self.pushes.items()}
        return SECRETS | urls | {"ROUNDTRIP_ADS_URL": self.ads.url, "ROUNDTRIP_CRM_URL": self.crm.url}

    def wait(self) -> None:
        """Waits until all of them serve."""
        for one in (*self.pushes.values(), self.ads, self.crm):
            one.wait()

    def tell(self, api: str) -> None:
        """Has their webhooks go to the platform; the CRM's come twice and in another order."""
        for name, push in self.pushes.items():
            webhook = {
                "url": f"{api}/v1/feeds/{name}_engagement",
                "secret": SECRETS["ROUNDTRIP_PUSH_WEBHOOK_SECRET"],
            }
            push.post("webhook", webhook)
        self.crm.post("webhook", {"url": f"{api}/v1/feeds/crm", "trouble": "late"})

    def quiet(self) -> bool:
        """Whether none of them has something to tell."""
        pending = [push.get("status")["webhooks"]["pending"] for push in self.pushes.values()]
        return not any(pending) and not self.crm.get("status")["waiting"]

    def members(self, connection: str) -> list[dict[str, Any]]:
        """Everybody who ever was in the connection's ad audience."""
        found: list[dict[str, Any]] = self.ads.get(f"audiences/{AD_AUDIENCES[connection]}")["members"]
        return found

    def messages(self, connection: str) -> dict[str, dict[str, Any]]:
        """By user id, what the push tool has sent."""
        found: dict[str, dict[str, Any]] = self.pushes[connection].get("messages")
        return found


@contextmanager
def vendors(home: Path) -> Iterator[Vendors]:
    """Starts all; ends them afterwards. They may still be starting: `Vendors.wait`."""
    started: list[Simulator] = []

    def simulator(module: str, name: str, *options: str) -> Simulator:
        started.append(Simulator(module, name, home, options))
        return started[-1]

    try:
        key = SECRETS["ROUNDTRIP_PUSH_API_KEY"]
        pushes = {name: simulator("push_tool", name, "--api-key", key, "--app-id", _APP) for name in PUSHES}
        ads = simulator("ad_platform", "ads", "--token", SECRETS["ROUNDTRIP_ADS_TOKEN"])
        secrets = (SECRETS["ROUNDTRIP_CRM_TOKEN"], SECRETS["ROUNDTRIP_CRM_CLIENT_SECRET"])
        crm = simulator("crm", "crm", "--token", secrets[0], "--client-secret", secrets[1])
        yield Vendors(pushes, ads, crm)
    finally:
        for one in started:
            one.kill()
