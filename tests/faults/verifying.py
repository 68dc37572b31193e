"""What holds after every fault (I1 to I9 of the tests of faults), asked of a platform that runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.of_loops.vendors import Simulator
from benchmarks.platform import Platform
from domain.records import record_id
from runtime.engines import Engines
from tests.invariants import broken
from tests.keys import said
from tests.servers import wait_until


def verify(ours: Platform, engines: Engines, answered: Collection[str], push: Simulator) -> None:
    """Waits until all that is in the log is taken in and sent; then nothing is lost, and nothing is there twice: asked
    of the callers, of the push tool, and as `roundtrip doctor --deep` asks."""
    wait_until(lambda: settled(ours), "everything to be taken in and sent", 180)
    calls = said(engines.database_url, "track.")
    stored = Counter(call["message_id"] for call in calls)
    assert set(answered) <= set(stored), "I1: every call that was answered with success is in the log"
    assert set(stored.values()) == {1}, "I2: each call is there once"
    people = {
        value
        for call in calls
        for kind, value in call["identifiers"]
        if (call["name"], kind) == ("App Installed", "user_id")
    }
    outbound = ours.status()["outbound"]
    assert outbound == {"welcome": {"delivered": len(people)}}, "I5: each push has its one outcome"
    sent = push.get("messages")
    assert {one: sent.get(one, {}).get("count") for one in people} == dict.fromkeys(people, 1), "I6"
    with TemporaryDirectory() as place:
        ids = [record_id("app", message_id) for message_id in answered]
        assert broken(engines.database_url, engines.nats_url, Path(place), ids) == []


def settled(ours: Platform) -> bool:
    """Whether nothing waits for a part. One that does not answer has something to do."""
    try:
        status = ours.status()
    except OSError:
        return False
    behind = any(status["readers"][one]["lag"] for one in ("pipeline", "relay"))
    return not behind and not any(counts.get("pending") for counts in status["outbound"].values())
