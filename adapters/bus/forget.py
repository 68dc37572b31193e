"""Making NATS forget: messages about erased persons are overwritten, and what a work queue has left behind goes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from adapters.bus.streams import LOG

_FETCH: Final = 1_000
_WITHIN_S: Final = 10.0


async def forget_subjects(js: JetStreamContext, subjects: Collection[str]) -> int:
    """Overwrites every message in the log's copy that is about one of these; how many. Only headers are read.

    Whoever publishes there must not publish meanwhile.
    """
    last = (await js.stream_info(LOG)).state
    if not last.messages:
        return 0
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, headers_only=True)
    walk = await js.pull_subscribe("", stream=LOG, config=config)
    found: list[int] = []
    try:
        at = 0
        while at < last.last_seq:
            for message in await walk.fetch(_FETCH, timeout=_WITHIN_S):
                at = message.metadata.sequence.stream
                if (message.headers or {}).get("ce-subject") in subjects:
                    found.append(at)
    finally:
        await walk.unsubscribe()
    for sequence in found:
        # Overwritten, not only marked: that is what deleting a message does unless it is told otherwise.
        await js.delete_msg(LOG, sequence)
    return len(found)


async def sweep_queue(js: JetStreamContext, name: str) -> bool:
    """Removes the files of a work queue in which nothing waits; false where something does.

    A message that comes in meanwhile stays.
    """
    state = (await js.stream_info(name)).state
    if state.messages:
        return False
    await js.purge_stream(name, seq=state.last_seq + 1)
    return True
