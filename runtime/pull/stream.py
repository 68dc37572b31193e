"""One pulled feed: opens its stream where the log says, takes in what comes, and opens it again when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import httpx2
import structlog
from sqlalchemy import Engine

from adapters.database import STORE_ERRORS, kind_of
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.tracking_plan import PlanOfFeed
from feeds.feed import Line, MalformedError, Problem, Stream, StreamRequest
from runtime.pull.lines import LINE_LIMIT, batches, split
from runtime.pull.place import OvertakenError, Place, Pulled, commit, read_place

#: Seconds until the next try, doubled from the first to the last.
FIRST_BACKOFF_S: Final = 0.2
LAST_BACKOFF_S: Final = 30.0
#: Nothing for so long, not even a blank line: the connection is taken for dead.
SILENCE_S: Final = 120.0
#: Redirects with a cookie that are followed before it counts as a failure.
REDIRECTS: Final = 10

log = structlog.get_logger("pull")


class Source(NamedTuple):
    """A declared feed that is pulled."""

    feed: str
    stream: Stream
    settings: Mapping[str, Any]
    secret: str
    plan: PlanOfFeed | None = None
    rules: Rules = DEFAULT_RULES


class RefusedError(Exception):
    """The vendor did not open the stream; the message has its status and nothing of ours."""


async def pull(engine: Engine, source: Source, stop: asyncio.Event) -> None:
    """Pulls until `stop`. Nothing is skipped: what was not committed is asked for again."""
    backoff = FIRST_BACKOFF_S
    while not stop.is_set():
        came = False
        try:
            place = await asyncio.to_thread(read_place, engine, source.feed)
            async for _ in _taken(engine, source, place, stop):
                came = True
            reason = "the stream ended"
        except (RefusedError, OvertakenError) as error:
            reason = f"{type(error).__name__}: {error}"
        except (httpx2.HTTPError, httpx2.StreamError, TimeoutError, OSError) as error:
            reason = type(error).__name__
        except STORE_ERRORS as error:
            reason = f"the store does not answer: {kind_of(error)}"
        if stop.is_set():
            return
        backoff = FIRST_BACKOFF_S if came else min(backoff * 2, LAST_BACKOFF_S)
        log.warning("stream is opened again", feed=source.feed, reason=reason, in_s=backoff)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), backoff)


async def _taken(engine: Engine, source: Source, place: Place, stop: asyncio.Event) -> AsyncIterator[Place]:
    """Each place that was reached, while the stream lasts."""
    wanted = source.stream.request(source.settings, source.secret, place.offset)
    async with _opened(wanted) as response:
        log.info("stream is open", feed=source.feed, version=place.version)
        async for batch in batches(split(response.aiter_raw())):
            received_at = time.time_ns() // 1_000
            read = [_read(source, raw, received_at) for raw in batch]
            pulled = [one for one in read if one is not None]
            if pulled:
                plans = {} if source.plan is None else {source.feed: source.plan}
                place = await asyncio.to_thread(
                    commit, engine, source.feed, pulled, place, received_at, plans, source.rules
                )
                yield place
            if stop.is_set():
                return


def _read(source: Source, raw: bytes, received_at: int) -> Pulled | None:
    if len(raw) == LINE_LIMIT:
        problem = Problem("", "line_too_long", f"a line of the stream has less than {LINE_LIMIT} bytes")
        return Pulled(raw, Line("", (), MalformedError(problem)))
    line = source.stream.read_line(source.feed, raw, received_at)
    return None if line is None else Pulled(raw, line)


@asynccontextmanager
async def _opened(wanted: StreamRequest) -> AsyncIterator[httpx2.Response]:
    """The open stream. A 307 to the same place, which hands out a cookie, is followed; no other redirect is."""
    timeout = httpx2.Timeout(10.0, read=SILENCE_S)
    async with httpx2.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False) as client:
        for _ in range(REDIRECTS):
            headers = {"accept-encoding": "identity", **wanted.headers}
            async with client.stream("POST", wanted.url, headers=headers, content=wanted.body) as response:
                if response.status_code == 307:
                    continue
                if response.status_code != 200:
                    raise RefusedError(f"status {response.status_code}")
                yield response
                return
    raise RefusedError(f"redirected {REDIRECTS} times")
