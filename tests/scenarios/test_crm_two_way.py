"""The example `crm-two-way` on real servers: an app and a CRM both change a person, and then fall silent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from benchmarks.platform import Platform, free_port, platform
from runtime.engines import running as engines_of
from tests.integration.simulating import Simulator, running
from tests.keys import said
from tests.servers import REPOSITORY, wait_until

WORKSPACE = REPOSITORY / "examples/crm-two-way/roundtrip.yaml"
WRITE_KEY, TOKEN, CLIENT_SECRET = "app-key", "crm-token", "crm-client-secret"
EMAIL = "ann@example.com"


class Sides:
    """The app's side and the CRM's."""

    def __init__(self, ours: Platform, crm: Simulator, export: Path) -> None:
        self.ours, self.crm, self._export = ours, crm, export
        self._app = httpx2.Client(base_url=ours.url, auth=(WRITE_KEY, ""), trust_env=False, timeout=30)
        self._api = {"Authorization": f"Bearer {ours.token}"}

    def trouble(self, trouble: str = "") -> None:
        self.crm.post("webhook", {"url": f"{self.ours.url}/v1/feeds/crm", "trouble": trouble})

    def app_says(self, **traits: str) -> None:
        body = {"userId": "ann", "traits": traits}
        self._app.post("/v1/identify", json=body).raise_for_status()

    def sales_says(self, name: str, value: str) -> None:
        self.crm.post("change", {"email": EMAIL, "property": name, "value": value})

    def bought(self) -> None:
        body = {"userId": "ann", "event": "Order Completed"}
        self._app.post("/v1/track", json=body).raise_for_status()

    def take_snapshot(self) -> str:
        self.crm.post("export", {"file": str(self._export)})
        command = [sys.executable, "-m", "runtime.cli", "imports", "run", "crm_contacts"]
        done = subprocess.run(
            command, env=dict(self.ours.environment), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def profile(self) -> dict[str, Any]:
        answer = self._app.get("/v1/profiles/user_id:ann", headers=self._api, auth=None)
        return dict(answer.raise_for_status().json())

    def ours_hold(self) -> tuple[Any, Any]:
        attributes = self.profile()["attributes"]
        town, stage = (attributes.get(name, {}).get("value") for name in ("town", "stage"))
        return town, stage

    def theirs_hold(self) -> tuple[Any, Any]:
        contact = self.crm.get("contacts").get(EMAIL, {})
        return contact.get("city"), contact.get("lifecyclestage")

    def both_hold(self, town: str, stage: str) -> None:
        wanted = (town, stage)
        wait_until(
            lambda: self.at_rest() and self.ours_hold() == wanted == self.theirs_hold(),
            f"both sides to hold {wanted}",
        )

    def at_rest(self) -> bool:
        """Nothing is on its way anywhere."""
        before = self.ours.status()
        return (
            not self.crm.get("status")["waiting"]
            and not any(reader["lag"] for name, reader in before["readers"].items() if name != "history")
            and not any(counts.get("pending") for counts in before["outbound"].values())
            and self.ours.status()["log"]["position"] == before["log"]["position"]
        )

    def messages(self) -> list[dict[str, Any]]:
        """What was sent to the CRM so far: the change, and the fields."""
        engines = engines_of(self.ours.home)
        assert engines is not None
        return [one["fields"] for one in said(engines.database_url, "outbound.requested")]


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    export = tmp_path / "export.db"
    port = free_port()
    environment = {
        "ROUNDTRIP_APP_WRITE_KEY": WRITE_KEY,
        "ROUNDTRIP_CRM_TOKEN": TOKEN,
        "ROUNDTRIP_CRM_CLIENT_SECRET": CLIENT_SECRET,
        "ROUNDTRIP_CRM_URL": f"http://127.0.0.1:{port}",
        "ROUNDTRIP_CRM_EXPORT": f"sqlite:///{export}",
    }
    options = ("--port", str(port), "--token", TOKEN, "--client-secret", CLIENT_SECRET)
    with running("crm", tmp_path, *options) as crm, platform(WORKSPACE, environment) as ours:
        yield Sides(ours, crm, export)


def test_both_sides_come_to_hold_the_same_and_then_fall_silent(sides: Sides) -> None:
    sides.trouble()
    sides.app_says(email=EMAIL, town="Graz", stage="lead")
    sides.bought()
    sides.both_hold("Graz", "lead")

    # One change on each side: one message, with what has changed alone.
    before = len(sides.messages())
    sides.sales_says("lifecyclestage", "customer")
    sides.app_says(town="Linz")
    sides.both_hold("Linz", "customer")
    assert sides.messages()[before:] == [{"email": EMAIL, "city": "Linz"}]

    # Webhooks come twice and in another order.
    sides.trouble("late")
    for city in ("Wien", "Wels", "Enns"):
        sides.sales_says("city", city)
    sides.both_hold("Enns", "customer")
    assert len(sides.messages()) == before + 1

    # Webhooks are lost; the CRM's contacts are taken in.
    sides.trouble("lost")
    sides.sales_says("city", "Steyr")
    wait_until(sides.at_rest, "the webhook to be lost")
    assert sides.ours_hold() == ("Enns", "customer")
    assert "1 new" in sides.take_snapshot()
    sides.both_hold("Steyr", "customer")
    assert len(sides.messages()) == before + 1

    command = [sys.executable, "-m", "runtime.cli", "rebuild", "--verify"]
    done = subprocess.run(
        command, env=dict(sides.ours.environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("equal") == 5
