"""A channel on real servers: caps hold over connections and workers, also killed ones, and quiet hours in a rebuild."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from sqlalchemy import Engine

from domain.outbound import Outbound, Outcome
from domain.quiet import QuietHours
from domain.workspace import Workspace
from runtime.connection_preview import preview_connection
from runtime.definitions import apply_workspace, open_definitions
from runtime.engines import running
from tests.integration.by_hand import Hand
from tests.integration.conftest import WRITE_KEY, Roundtrip
from tests.integration.delivering import Bench, delivering, worker
from tests.integration.destination import Destination
from tests.keys import said
from tests.servers import wait_until

HERE = Path(__file__).parent
HOUR = 3_600_000_000
#: Noon of a day, in UTC.
NOON = 1_767_614_400_000_000
MIRROR: dict[str, Any] = {
    "connector": "segment",
    "events": ["Lamp Lit"],
    "feeds": ["app"],
    "fields": {"user_id": "identifier.user_id"},
    "secrets": {"write_key": {"env": "ROUNDTRIP_PLANNED_WRITE_KEY"}},
    "channel": "phone",
}
AT_MOST = 3


@pytest.fixture
def mirrored(roundtrip: Roundtrip, tmp_path: Path) -> Iterator[Roundtrip]:
    """A Roundtrip that sends its own events to another feed of itself, by two connections of one channel."""

    def apply(file: Path) -> None:
        command = [sys.executable, "-m", "runtime.cli", "apply", str(file)]
        subprocess.run(command, env=dict(roundtrip.ours.environment), check=True, capture_output=True)

    shutil.copy(HERE / "order.v2.json", tmp_path)
    workspace = yaml.safe_load((HERE / "workspace.yaml").read_text())
    mirror = MIRROR | {"settings": {"base_url": roundtrip.url}, "allow_private": True}
    file = tmp_path / "workspace.yaml"
    both = {
        "connections": {"left": mirror, "right": mirror},
        "channels": {"phone": {"cap": [{"at_most": AT_MOST, "within": "1d"}]}},
    }
    file.write_text(yaml.safe_dump(workspace | both))
    apply(file)
    roundtrip.settle()
    yield roundtrip
    apply(HERE / "workspace.yaml")
    roundtrip.settle()


def test_two_workers_of_which_one_is_killed_reach_nobody_more_often_than_the_cap(mirrored: Roundtrip) -> None:
    run = uuid4().hex
    people: list[str] = []

    def light() -> None:
        """Somebody lights two lamps, which by two connections would be four messages."""
        people.append(f"{len(people)}-{run}")
        for lamp in "ab":
            said = {"messageId": f"{lamp}-{people[-1]}", "userId": people[-1], "event": "Lamp Lit"}
            answer = mirrored.http.post("/v1/track", json=said, auth=(WRITE_KEY, ""))
            assert answer.status_code == 200, answer.text

    def all_closed() -> bool:
        found: Counter[str] = Counter()
        for name in ("left", "right"):
            found.update(mirrored.ours.status()["outbound"].get(name, {}))
        return found == {"delivered": AT_MOST * len(people), "suppressed": len(people)}

    engines = running(mirrored.ours.home)
    assert engines is not None
    command = [sys.executable, "-m", "runtime.cli", "deliver"]
    environment = dict(mirrored.ours.environment) | {
        "ROUNDTRIP_DATABASE_URL": engines.database_url,
        "ROUNDTRIP_NATS_URL": engines.nats_url,
    }
    killed = subprocess.Popen(command, env=environment | {"ROUNDTRIP_FAILPOINT": "deliver.sent:1"})
    try:
        light()

        def is_killed() -> bool:
            if all_closed():
                light()
            return killed.poll() == -signal.SIGKILL

        wait_until(is_killed, "one of the two workers to be killed")
        light()
        wait_until(all_closed, "every outcome to be in the log")
    finally:
        killed.kill()
        killed.wait()
    told = [one["body"]["userId"] for one in said(engines.database_url, "track.") if one["feed"] == "planned"]
    # Other tests speak to that feed too.
    assert Counter(who for who in told if who.endswith(run)) == dict.fromkeys(people, AT_MOST)
    reasons = {one["reason"] for one in said(engines.database_url, "outbound.suppressed")}
    assert reasons == {f"the cap of channel 'phone': at most {AT_MOST} within 1d"}


def declared(**phone: Any) -> Workspace:
    connection = MIRROR | {"settings": {"base_url": "https://cdp.example.com"}}
    quiet = {"quiet": {"from": "21:00", "to": "08:00", "zone": "attribute.timezone"}}
    return Workspace.model_validate(
        {
            "workspace": "test",
            "clock": "simulated",
            "feeds": {"app": {"format": "files"}},
            "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
            "connections": {
                "left": connection,
                "push": {
                    "connector": "onesignal",
                    "audience": "pros",
                    "channel": "phone",
                    "fields": {"external_id": "identifier.user_id"},
                    "settings": {
                        "app_id": "8250eaf6-1a58-489e-b136-7c74a864b434",
                        "contents": {"en": "Hello"},
                    },
                    "secrets": {"api_key": {"env": "PUSH_KEY"}},
                },
            },
            "channels": {"phone": {"cap": [{"at_most": 3, "within": "2d"}]} | quiet | phone},
        }
    )


def lit(n: int, at: int) -> dict[str, Any]:
    return {"type": "track", "messageId": f"lit-{n}-{at}", "userId": f"u-{n}", "event": "Lamp Lit"}


def outcome(one: Outbound, status: Any = "delivered", again_at: int = 0) -> Outcome:
    return Outcome(
        id=one.id,
        connection=one.connection,
        status=status,
        profile=one.profile,
        channel=one.channel,
        cause=one.cause,
        again_at=again_at,
    )


def test_a_rebuild_knows_whom_a_channel_reached_and_what_waits(
    engine: Engine, database: str, tmp_path: Path
) -> None:
    with open_definitions(database) as definitions:
        hand = Hand(engine, database, definitions)
        apply_workspace(engine, definitions, declared())
        zone = {"traits": {"timezone": "Europe/Berlin", "plan": "pro"}}
        people = [{"type": "identify", "messageId": f"i-{n}", "userId": f"u-{n}"} | zone for n in range(6)]
        hand.say(NOON, *people, *(lit(n, NOON) for n in range(6)))
        first = hand.requested()
        assert Counter(one.connection for one in first) == {"left": 6, "push": 6}
        # Some arrive, some do not, and of two the worker says that they come into quiet hours.
        evening, morning = NOON + 10 * HOUR, NOON + 19 * HOUR
        late = [first[0], first[-1]]
        hand.say(NOON + HOUR, outcomes=[outcome(one) for one in first[1:5]] + [outcome(first[5], "dead")])
        hand.say(
            evening,
            lit(0, evening),
            lit(3, evening),
            outcomes=[outcome(one, "suppressed", morning) for one in late],
        )
        assert hand.requested() == first
        assert hand.differing(tmp_path / "rebuild") == []

        hand.say(morning, lit(5, morning))
        again = hand.requested()[len(first) :]
        assert Counter(one.connection for one in again) == {"left": 4, "push": 1}
        assert sorted(one.occurred_at for one in again if one.event)[0] == NOON
        # Another workspace, with other hours and a lower cap, while much is open and something waits.
        night = NOON + 34 * HOUR
        hand.say(night, *(lit(n, night) for n in range(6)))
        assert len(hand.requested()) == len(first) + len(again)
        one_a_day = declared(cap=[{"at_most": 2, "within": "1d"}])
        one_a_day.channels["phone"] = one_a_day.channels["phone"].model_copy(update={"quiet": None})
        apply_workspace(engine, definitions, one_a_day)
        hand.drain()
        said_then = hand.requested()[len(first) + len(again) :]
        assert len(said_then) == 6
        assert {bool(one.unsent) for one in said_then} == {True, False}
        assert hand.differing(tmp_path / "rebuild") == []
        held = preview_connection(engine, "push", "user_id:u-0", {})
        assert "told of this person already" in held.why_not


def test_what_comes_to_be_sent_in_quiet_hours_is_not_sent_and_says_when_it_will(nats_url: str) -> None:
    async def run(on: Bench, destination: Destination) -> None:
        clock = datetime.now(UTC)
        hours = QuietHours(
            (clock - timedelta(hours=1)).strftime("%H:%M"),
            (clock + timedelta(hours=2)).strftime("%H:%M"),
            "UTC",
        )
        over = QuietHours(hours.end, hours.begin, "UTC")
        night = on.batch(2, channel="phone", quiet=hours)
        day = on.batch(2, channel="phone", quiet=over)
        async with worker(on, destination):
            await on.request(night, day)
            found = {one.id: one for one in await on.outcomes(4)}
        now = time.time_ns() // 1_000
        for one in night:
            closed = found[one.id]
            assert (closed.status, closed.channel, closed.profile) == ("suppressed", "phone", one.profile)
            assert now + HOUR < closed.again_at < now + 2 * HOUR
            assert "it goes out then, if it still holds" in closed.reason
        assert [(found[one.id].status, found[one.id].again_at) for one in day] == [("delivered", 0)] * 2
        assert len(destination.seen) == 1

    delivering(nats_url, run)
