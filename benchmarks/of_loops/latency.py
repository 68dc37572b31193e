"""How long after the user's action the retargeting request is at the ad platform, at an offered load.

The actions come one call a request, at their moments, whether those before are answered or not (`opened`): an
answer that is late makes no call late. Five in a hundred are `Checkout Left`, each of another user who is known
and has consented; the others are what app users do besides. An action's moment is when it was due to leave the
client, and a request's when the simulator had it, by this machine's clock. So the way is: client → `serve` → log
→ `pipeline` → log → `relay` → NATS → `deliver` → simulator, durable in each.

- *due at once*: the call `Checkout Left` → its request at the ad platform (connection `checkout_ads`).
- *due after a wait*: the reminder that was sent, plus the wait → its request at the ad platform (connection
  `retargeting`). OneSignal tells when it sent a push in whole seconds, and the wait begins at these.
- *push*: the call `Checkout Left` → its request at the push tool (connection `reminder`).
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx2
import psutil

from benchmarks.of_loops.vendors import PUSHES, SECRETS, Vendors
from benchmarks.platform import Platform, wait_for

#: Calls offered in a second.
RATE: Final = 1_000
#: The share of calls that leave a checkout.
_LEAVING: Final = 0.05
#: What the wait of 24 hours is here.
WAIT_S: Final = 2
_BATCH: Final = 500
_OTHERS: Final = ("Product Viewed", "Product Viewed", "Screen Opened", "Search Done")


class Latencies(NamedTuple):
    """In milliseconds, sorted. `answered` is from when a call was due to its answer."""

    at_once: list[float]
    waited: list[float]
    push: list[float]
    answered: list[float]


def workspace(file: Path, to: Path) -> Path:
    """The workspace of the story with the wall's clock and a short wait."""
    said = file.read_text().replace("clock: simulated", "clock: wall").replace("24h", f"{WAIT_S}s")
    to.write_text(said)
    return to


def measure(ours: Platform, vendors: Vendors, users: int, seconds: int) -> Latencies:
    """Makes so many users known, and then has them act for so long."""
    vendors.wait()
    vendors.tell(ours.url)
    people = [f"latency-{number:06d}" for number in range(users)]
    behaviours = [{"external_id": one, "outcome": "delivered", "opens_after_s": None} for one in people]
    for name in PUSHES:
        vendors.pushes[name].post("behaviours", behaviours)
    _introduce(ours, people)
    wait_for(lambda: _all_answer(ours), "every process that answers HTTP", 60)
    calls = _calls(people, RATE * seconds)
    with tempfile.TemporaryDirectory() as place:
        times = _offer(ours, calls, Path(place))
    leaving = {call["userId"]: at for call, (at, _) in zip(calls, times, strict=True) if _leaves(call)}
    wait_for(lambda: len(vendors.members("retargeting")) >= len(leaving), "the retargeting", 60)
    return _latencies(vendors, leaving, [1_000 * (answer - at) for at, answer in times])


def _introduce(ours: Platform, people: Sequence[str]) -> None:
    consent = {"consent": {"categoryPreferences": {"push": True, "advertising": True}}}
    with httpx2.Client(base_url=ours.url, trust_env=False, timeout=60) as http:
        for start in range(0, len(people), _BATCH):
            batch = [
                {"type": "identify", "userId": one, "traits": {"email": _email(one)}, "context": consent}
                for one in people[start : start + _BATCH]
            ]
            key = SECRETS["ROUNDTRIP_APP_WRITE_KEY"]
            http.post("/v1/batch", json={"batch": batch}, auth=(key, "")).raise_for_status()
    wait_for(lambda: not any(reader["lag"] for reader in ours.status()["readers"].values()), "the users")


def _all_answer(ours: Platform) -> bool:
    """Whether all the processes of `serve` listen: a connection stays with the one that took it."""
    port = urlsplit(ours.url).port
    parts = psutil.Process(ours.process_id).children(recursive=True)
    servers = [one for one in parts if "serve" in one.cmdline()]
    listening = [one for one in servers if any(port == each.laddr.port for each in one.net_connections())]
    return len(listening) == len(servers) > 0


def _calls(people: Sequence[str], count: int) -> list[dict[str, Any]]:
    rng = Random(1)
    leaving = iter(rng.sample(people, min(len(people), math.ceil(count * _LEAVING))))
    every = round(1 / _LEAVING)
    calls = []
    for number in range(count):
        if number % every == 0:
            who, event = next(leaving), "Checkout Left"
        else:
            who, event = rng.choice(people), rng.choice(_OTHERS)
        properties = {
            "product_id": f"sku-{rng.randrange(1_000)}",
            "total": rng.randrange(1, 100),
            "currency": "EUR",
        }
        calls.append(
            {"event": event, "userId": who, "messageId": f"latency-{number}", "properties": properties}
        )
    return calls


def _leaves(call: dict[str, Any]) -> bool:
    return bool(call["event"] == "Checkout Left")


def _offer(ours: Platform, calls: Sequence[dict[str, Any]], place: Path) -> list[tuple[float, float]]:
    """When each call was due, and when it was answered."""
    file, out = place / "calls", place / "times"
    file.write_text("\n".join(json.dumps(call) for call in calls))
    command = [sys.executable, "-m", "benchmarks.of_loops.opened", ours.url]
    subprocess.run([*command, SECRETS["ROUNDTRIP_APP_WRITE_KEY"], str(file), str(RATE), str(out)], check=True)
    return [(at, answered) for at, answered in json.loads(out.read_text())]


def _latencies(vendors: Vendors, leaving: dict[str, float], answered: list[float]) -> Latencies:
    reminders = vendors.messages("reminder")
    shown = {name: _received(vendors, name) for name in ("checkout_ads", "retargeting")}
    due = {
        who: math.floor(datetime.fromisoformat(sent["sent_at"]).timestamp()) + WAIT_S
        for who, sent in reminders.items()
    }
    return Latencies(
        at_once=_sorted(shown["checkout_ads"][_hash(who)] - at for who, at in leaving.items()),
        waited=_sorted(shown["retargeting"][_hash(who)] - at for who, at in due.items()),
        push=_sorted(float(reminders[who]["received_wall"]) - at for who, at in leaving.items()),
        answered=sorted(answered),
    )


def _sorted(seconds: Any) -> list[float]:
    return sorted(1_000 * one for one in seconds)


def _received(vendors: Vendors, connection: str) -> dict[str, float]:
    return {one["value"]: float(one["received_wall"]) for one in vendors.members(connection)}


def _email(user: str) -> str:
    return f"{user}@example.com"


def _hash(user: str) -> str:
    return hashlib.sha256(_email(user).encode()).hexdigest()
