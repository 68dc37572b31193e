"""What is published is what the AsyncAPI document says: read by a client of NATS alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from jsonschema_rs import validator_for
from nats.aio.msg import Msg
from sqlalchemy import Engine, text

from adapters.bus.connection import connect
from adapters.database import open_database
from adapters.log.append import append
from domain.erasure import EraseRequest, request_entry
from domain.outbound import Outcome
from domain.records import Identifier, Record, derive_id, entry_of, node_id
from domain.workspace import Workspace
from runtime.bus_contract import CHANNELS, asyncapi
from runtime.definitions import apply_workspace, open_definitions
from runtime.leading import tick
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.relay import run_relay
from tests.keys import KEYS

HOUR = 3_600_000_000
ADS = {
    "connector": "meta_custom_audience",
    "audience": "pros",
    "purpose": "advertising",
    "fields": {"email": "identifier.email"},
    "settings": {"base_url": "http://ads.example", "audience_id": "23"},
    "secrets": {"access_token": {"env": "ADS_TOKEN"}},
}
WORKSPACE = {
    "workspace": "test",
    "clock": "simulated",
    "feeds": {"app": {"format": "files"}},
    "audiences": {
        "pros": {"match": {"attribute": "plan", "is": "pro"}},
        "busy": {"match": {"event": "Push Opened", "within": "1h"}},
    },
    "connections": {"ads": ADS},
}


def said(kind: Any, message: str, *identifiers: Identifier, name: str = "", **body: Any) -> Record:
    return Record(
        feed="app",
        message_id=message,
        type=kind,
        name=name,
        occurred_at=HOUR,
        identifiers=identifiers,
        body=msgspec.Raw(msgspec.json.encode(body)),
        traits_at="traits",
        consent={"advertising": True} if message == "one" else {},
    )


def live(engine: Engine, pipeline: Pipeline) -> int:
    """People who are new, turn out to be one, enter and leave, and may not be told of; how far the log goes."""
    ada, device = Identifier("user_id", "ada"), Identifier("anonymous_id", "phone")
    email, other = Identifier("email", "ada@example.com"), Identifier("user_id", "bob")
    records = [
        said("identify", "one", ada, email, traits={"plan": "pro"}),
        said("track", "two", device, name="Push Opened"),
        said("identify", "three", ada, device),
        said("identify", "four", other, traits={"plan": "pro"}),
        said("identify", "five", other, ada),
        said("screen", "six", device, name="A.b *"),
    ]
    with engine.begin() as connection:
        append(connection, [entry_of(record) for record in records], advance_to=2 * HOUR)
        append(connection, [tick(4 * HOUR)], advance_to=4 * HOUR)
    drain(pipeline, 2**62)
    return head(engine)


def erased(engine: Engine, pipeline: Pipeline) -> int:
    """What was sent is delivered, and then one of them is erased, and opens a push still; how far the log goes."""
    with engine.begin() as connection:
        sent = connection.execute(text("SELECT id::text FROM outbound")).scalars().all()
        outcomes = [Outcome(id=one, connection="ads", status="delivered") for one in sent]
        append(connection, entries_of(outcomes))
        request = EraseRequest(
            id=derive_id("erase", "1"), node=node_id(Identifier("user_id", "ada")), asked_by="0" * 64
        )
        append(connection, [request_entry(request)])
    drain(pipeline, 2**62)
    with engine.begin() as connection:
        late = said("track", "late", Identifier("user_id", "ada"), name="Push Opened")
        append(connection, [entry_of(late)])
    return head(engine)


def head(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT position FROM log_head")).scalar_one())


async def published(engine: Engine, nats_url: str, last: int) -> list[Msg]:
    """All that a subscriber to everything hears, up to the head of the chain at this position."""
    bus = await connect(nats_url, "test contract")
    stop = asyncio.Event()
    subscription = await bus.subscribe("roundtrip.>")
    relay = asyncio.create_task(run_relay(engine, bus.jetstream(), stop))
    heard: list[Msg] = []
    try:
        while not heard or (heard[-1].headers or {}).get("ce-id") != f"chain:{last}":
            heard.append(await subscription.next_msg(timeout=20))
        return heard
    finally:
        stop.set()
        await relay
        await bus.close()


def channels_of(subject: str, channels: dict[str, Any]) -> Iterable[str]:
    for name, channel in channels.items():
        pattern = re.sub(r"\\\{[a-z]+\\\}", "[^.]+", re.escape(channel["address"]))
        if re.fullmatch(pattern, subject):
            yield name


def test_every_message_is_what_the_document_says(database: str, nats_url: str) -> None:
    engine = open_database(database, application="test", keys=KEYS)
    document = asyncapi()
    try:
        with open_definitions(database) as definitions:
            apply_workspace(engine, definitions, Workspace.model_validate(WORKSPACE))
            pipeline = Pipeline(engine, definitions)
            messages = asyncio.run(published(engine, nats_url, live(engine, pipeline)))
            messages += asyncio.run(published(engine, nats_url, erased(engine, pipeline)))
    finally:
        engine.dispose()
    seen: set[str] = set()
    for message in messages:
        found = list(channels_of(message.subject, document["channels"]))
        assert len(found) == 1, f"{message.subject} is {found or 'in no channel of the document'}"
        seen |= set(found)
        [title] = document["channels"][found[0]]["messages"]
        described = document["components"]["messages"][title]
        for schema, instance in (
            (described["payload"], msgspec.json.decode(message.data)),
            (described["headers"], dict(message.headers or {})),
        ):
            whole = {**schema, "components": document["components"]}
            [*faults] = validator_for(whole).iter_errors(instance)
            assert not faults, f"{message.subject}: {faults[0].message}"
    addresses = {document["channels"][name]["address"] for name in seen}
    assert addresses >= {
        "roundtrip.log.identify.{name}",
        "roundtrip.log.screen.{name}",
        "roundtrip.log.clock.tick",
        "roundtrip.log.definition.{event}",
        "roundtrip.log.profile.merged",
        "roundtrip.log.routing.withheld",
        "roundtrip.log.outbound.requested",
        "roundtrip.log.outbound.delivered",
        "roundtrip.log.subject.erased",
        "roundtrip.log.engagement.refused",
        "roundtrip.log.chain.head",
        "roundtrip.audience.{audience}.entered",
        "roundtrip.audience.{audience}.exited",
        "roundtrip.profile.created",
        "roundtrip.out.{connection}",
    }


def test_the_document_names_every_channel_once() -> None:
    document = asyncapi()
    assert len(document["channels"]) == len(CHANNELS) == len({channel.address for channel in CHANNELS})
