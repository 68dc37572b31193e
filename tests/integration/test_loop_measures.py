"""How a loop does: what was sent and answered, how soon, and what it is good for against those held out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg
from sqlalchemy import Engine, text

from adapters.bus.connection import connect
from adapters.history.tables import History
from adapters.log.append import append
from domain.erasure import EraseRequest, request_entry
from domain.outbound import Outcome
from domain.records import Identifier, Record, derive_id, entry_of, node_id
from domain.workspace import Workspace
from runtime.answers import tie_answers
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.errors import LoopError
from runtime.loop_lift import measure_lift
from runtime.loop_measures import measure_loops
from runtime.loop_telling import tell_loops
from runtime.metrics import exposition
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.status import read_status
from tests.integration.locks import waits_for_a_lock
from tests.keys import said
from tests.servers import wait_until

SECOND = 1_000_000
HOUR = 3_600 * SECOND
PEOPLE = 60

LOOP = {
    "hops": [
        {
            "audience": "new",
            "connection": "push",
            "feed": "engagement",
            "then": [{"audience": "opened", "connection": "ads"}],
        }
    ],
    "conversion": {"event": "Bought", "within": "1d"},
}


def workspace(loop: Mapping[str, Any] = LOOP, holdout: int = 50) -> Workspace:
    return Workspace.model_validate(
        {
            "workspace": "shop",
            "clock": "simulated",
            "feeds": {
                "app": {"format": "files"},
                "engagement": {"format": "onesignal", "secret": {"env": "PUSH_SECRET"}},
            },
            "audiences": {
                "new": {"match": {"event": "Signed Up"}, "holdout": holdout},
                "opened": {"match": {"event": "Push Opened"}},
            },
            "connections": {
                "push": {
                    "connector": "onesignal",
                    "audience": "new",
                    "fields": {"external_id": "identifier.user_id"},
                    "settings": {"app_id": "8250eaf6-1a58-489e-b136-7c74a864b434", "contents": {"en": "Hi"}},
                    "secrets": {"api_key": {"env": "PUSH_KEY"}},
                },
                "ads": {
                    "connector": "standard_webhooks",
                    "audience": "opened",
                    "fields": {"id": "identifier.user_id"},
                    "settings": {"url": "https://ads.example.com"},
                    "secrets": {"secret": {"env": "ADS_SECRET"}},
                },
            },
            "loops": {"welcome": loop},
        }
    )


def happened(user: str, event: str, at: int, feed: str = "app", **properties: str) -> Record:
    return Record(
        feed=feed,
        message_id=f"{user}-{event}-{at}",
        type="track",
        name=event,
        occurred_at=at,
        identifiers=(Identifier("user_id", user),),
        body=msgspec.Raw(b"{}"),
        properties=properties,
    )


class Told:
    """A log in which everybody signed up, half are held out, and a push was delivered to the others after 2 s. Of
    those, in the order of their ids, every second one opens it after 10 s: the first by our record's id, the others by
    nothing that says which. Every third of them buys, and of those held out every sixth."""

    def __init__(self, database: str, engine: Engine, definitions: Definitions) -> None:
        self.engine = engine
        self.definitions = definitions
        apply_workspace(engine, definitions, workspace())
        users = [f"u-{n:02}" for n in range(PEOPLE)]
        self.at(100 * HOUR, *(entry_of(happened(user, "Signed Up", 100 * HOUR)) for user in users))
        pushed = [one for one in said(database, "outbound.requested") if one["connection"] == "push"]
        self.told = {one["fields"]["external_id"]: one["id"] for one in pushed}
        self.held = [user for user in users if user not in self.told]
        outcomes = [Outcome(id=id, connection="push", status="delivered") for id in self.told.values()]
        self.at(100 * HOUR + 2 * SECOND, *entries_of(outcomes))
        opened = sorted(self.told)[::2]
        self.opened = len(opened)
        self.at(
            100 * HOUR + 12 * SECOND,
            entry_of(happened(opened[0], "Push Opened", 0, "engagement", outbound_id=self.told[opened[0]])),
            *(entry_of(happened(user, "Push Opened", 0, "engagement")) for user in opened[1:]),
            entry_of(happened("stranger", "Push Opened", 0, "engagement")),
        )
        buyers = [*sorted(self.told)[::3], *self.held[::6]]
        self.bought = len(sorted(self.told)[::3]), len(self.held[::6])
        self.at(101 * HOUR, *(entry_of(happened(user, "Bought", 101 * HOUR)) for user in buyers))
        # Too late to count.
        self.at(150 * HOUR, entry_of(happened(sorted(self.told)[1], "Bought", 150 * HOUR)))
        while self.tie():
            pass

    def at(self, time: int, *entries: Any) -> None:
        with self.engine.begin() as connection:
            append(connection, list(entries), advance_to=time)
        drain(Pipeline(self.engine, self.definitions), 2**62)

    def tie(self) -> int:
        with self.engine.begin() as connection:
            return tie_answers(connection)


@pytest.fixture
def told(database: str, engine: Engine) -> Iterator[Told]:
    with open_definitions(database) as definitions:
        yield Told(database, engine, definitions)


def test_each_hop_says_what_was_sent_and_answered_and_how_soon(told: Told) -> None:
    assert len(told.told) >= 15
    assert len(told.held) >= 15
    push, ads = measure_loops(told.engine)["loops"]["welcome"]["hops"]
    assert push["members"] == PEOPLE
    assert push["records"] == {"delivered": len(told.told)}
    assert push["people"] == len(told.told)
    assert push["answered"] == told.opened
    assert push["answers"] == {"Push Opened": {"records": told.opened, "inferred": told.opened - 1}}
    assert push["returned"] == pytest.approx(told.opened / len(told.told))
    assert push["orphaned"] == 1
    assert push["seconds"]["sent_to_delivered"] == {"records": len(told.told), "p50": 2.0, "p99": 2.0}
    assert push["seconds"]["delivered_to_answered"] == {"records": told.opened, "p50": 10.0, "p99": 10.0}
    assert ads["after"] == "push"
    assert ads["records"] == {"pending": told.opened + 1}
    # Who opened something that nobody had sent is told of too, and after nothing.
    assert ads["seconds"]["answered_to_sent"] == {"records": told.opened, "p50": 0.0, "p99": 0.0}


def test_what_was_tied_once_stays_so_when_it_is_done_again(told: Told) -> None:
    before = measure_loops(told.engine)["loops"]
    with told.engine.begin() as connection:
        connection.execute(text("DELETE FROM checkpoint WHERE name = 'answers'"))
    while told.tie():
        pass
    assert measure_loops(told.engine)["loops"] == before


def test_what_is_tied_to_somebody_while_they_are_erased_goes_with_them(told: Told, owner: Engine) -> None:
    def tied() -> set[str]:
        with told.engine.connect() as connection:
            return set(
                connection.execute(
                    text("SELECT outbound::text FROM answer WHERE outbound IS NOT NULL")
                ).scalars()
            )

    user, *others = sorted(told.told)[::2]
    request = EraseRequest(
        id=derive_id("erase", user), node=node_id(Identifier("user_id", user)), asked_by="dpo"
    )
    with told.engine.begin() as connection:
        connection.execute(text("DELETE FROM checkpoint WHERE name = 'answers'"))
        connection.execute(text("DELETE FROM answer"))
    with ThreadPoolExecutor(1) as thread:
        with told.engine.begin() as tying:
            tie_answers(tying)
            erasing = thread.submit(told.at, 151 * HOUR, request_entry(request))
            wait_until(waits_for_a_lock(owner), "the erasure to wait for what is being tied")
        erasing.result()
    assert tied() == {told.told[other] for other in others}


def test_prometheus_reads_the_same(told: Told) -> None:
    shown = exposition(read_status(told.engine), measure_loops(told.engine)).decode()
    hop = 'connection="push",loop="welcome"'
    for line in (
        f'roundtrip_loop_records{{{hop},status="delivered"}} {float(len(told.told))}',
        f"roundtrip_loop_answered_records{{{hop}}} {float(told.opened)}",
        f"roundtrip_loop_orphaned_records{{{hop}}} 1.0",
        f'roundtrip_loop_seconds{{{hop},quantile="0.5",step="sent_to_delivered"}} 2.0',
    ):
        assert line in shown


def test_the_lift_is_that_of_those_told_over_those_held_out(told: Told, tmp_path: Path) -> None:
    found = measure_lift(told.engine, told.definitions, History(str(tmp_path)), "welcome")
    [hop] = found["hops"]
    assert (hop["told"]["people"], hop["told"]["converted"]) == (len(told.told), told.bought[0])
    assert (hop["held_out"]["people"], hop["held_out"]["converted"]) == (len(told.held), told.bought[1])
    lift = hop["lift"]
    assert lift["difference"] == pytest.approx(hop["told"]["rate"] - hop["held_out"]["rate"])
    assert lift["low"] < lift["difference"] < lift["high"]


async def heard(told: Told, nats_url: str) -> list[Msg]:
    """What a subscriber hears: once as the telling begins, and once more after something has changed."""
    bus = await connect(nats_url, "test loops")
    stop = asyncio.Event()
    subscription = await bus.subscribe("roundtrip.loop.welcome")
    telling = asyncio.create_task(tell_loops(told.engine, bus, stop, every_s=0.05))
    try:
        first = await subscription.next_msg(timeout=20)
        await asyncio.to_thread(
            told.at, 151 * HOUR, entry_of(happened("another", "Push Opened", 0, "engagement"))
        )
        while await asyncio.to_thread(told.tie):
            pass
        second = await subscription.next_msg(timeout=20)
        while msgspec.json.decode(second.data)["hops"][0]["orphaned"] == 1:
            second = await subscription.next_msg(timeout=20)
        return [first, second]
    finally:
        stop.set()
        await telling
        await bus.close()


def test_nats_is_told_whenever_it_has_changed(told: Told, nats_url: str) -> None:
    before = measure_loops(told.engine)
    first, second = asyncio.run(heard(told, nats_url))
    assert msgspec.json.decode(first.data) == {
        "loop": "welcome",
        "position": before["position"],
        **before["loops"]["welcome"],
    }
    assert (first.headers or {})["ce-type"] == "roundtrip.loop.measured"
    after = measure_loops(told.engine)
    assert msgspec.json.decode(second.data)["hops"] == after["loops"]["welcome"]["hops"]
    assert after["loops"]["welcome"]["hops"][0]["orphaned"] == 2


@pytest.mark.parametrize(
    ("changed", "name", "why"),
    [
        (workspace(), "goodbye", "loop 'goodbye' is not declared; declared are: welcome"),
        (workspace({"hops": LOOP["hops"]}), "welcome", "write `conversion: "),
        (workspace(holdout=0), "welcome", "nobody is held out of loop 'welcome'"),
    ],
    ids=["unknown", "no conversion", "no holdout"],
)
def test_where_there_is_no_lift_it_is_said_what_to_write(
    changed: Workspace, name: str, why: str, engine: Engine, database: str, tmp_path: Path
) -> None:
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, changed)
        drain(Pipeline(engine, definitions), 2**62)
        with pytest.raises(LoopError, match=why):
            measure_lift(engine, definitions, History(str(tmp_path)), name)
