"""Durable consumers of the work queues, and the looks at what NATS has lost.

It acknowledges before it writes to disk: after a power cut, or from an older copy of its directory, its streams and
consumers may be as they were once.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from adapters.bus.streams import IN

log = structlog.get_logger("bus")


class Consumer(NamedTuple):
    """A durable consumer, subscribed to. What has a sequence up to `old` was in its stream before, and may have been
    given out already."""

    subscription: JetStreamContext.PullSubscription
    old: int


def reconnects(js: JetStreamContext) -> int:
    """How often the connection was lost and made again. After each time what NATS holds has to be looked at anew."""
    client: Client = js._nc
    return client.stats["reconnects"]


async def open_consumer(js: JetStreamContext, stream: str, config: ConsumerConfig) -> Consumer:
    """Makes the consumer where it is not there, and subscribes to it.

    One that has acknowledged messages which are still there is made anew, and gives them out again: its stream is older
    than it, and of a work queue everything that is there is to be done.
    """
    assert config.durable_name is not None
    name = config.durable_name
    info = await js.add_consumer(stream, config)
    floor = info.ack_floor.stream_seq if info.ack_floor is not None else 0
    if floor and await _first(js, stream, config.filter_subject or ">") <= floor:
        log.warning("consumer made anew: its stream is older than it", stream=stream, consumer=name)
        await js.delete_consumer(stream, name)
        await js.add_consumer(stream, config)
    old = (await js.stream_info(stream)).state.last_seq
    return Consumer(await js.pull_subscribe_bind(consumer=name, stream=stream), old)


async def open_incoming(
    js: JetStreamContext, durable: str, subject: str
) -> JetStreamContext.PullSubscription:
    """Subscribes to what is handed in on a subject. What is not acknowledged within 30 s is given out again."""
    config = ConsumerConfig(
        durable_name=durable,
        filter_subject=subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30,
        max_ack_pending=1_000,
    )
    return (await open_consumer(js, IN, config)).subscription


async def _first(js: JetStreamContext, stream: str, subject: str) -> int:
    """The sequence of the first message on this subject; one beyond all where there is none."""
    try:
        found = await js.get_msg(stream, seq=1, subject=subject, next=True)
    except NotFoundError:
        return 2**63
    assert found.seq is not None
    return found.seq
