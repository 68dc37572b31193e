"""What the HTTP API needs of the rest, and nothing more."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adapters.log.append import Appended
from adapters.quarantine import Quarantined
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.records import Entry, Record
from domain.tracking_plan import PlanOfFeed
from feeds.feed import FeedFormat, Payload

Parse = Callable[[str, Payload], Sequence[Record]]


class Webhook(NamedTuple):
    """A feed that comes as webhooks: its format and the secret that verifies them."""

    format: FeedFormat
    secret: str


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """What the door knows of the workspace: the write keys, the webhooks, and which clock stamps the log.

    `unusable` names feeds whose secret is not to be had, and why. `parsers` has every feed's own reader of
    payloads, for what comes in by a way that is trusted already. `plans` has the tracking plan of each feed that
    has one, `rules` say which identifier leads a record.
    """

    write_keys: Mapping[str, str]
    webhooks: Mapping[str, Webhook]
    clock: str
    unusable: Mapping[str, str]
    parsers: Mapping[str, Parse]
    plans: Mapping[str, PlanOfFeed] = field(default_factory=dict)
    rules: Rules = DEFAULT_RULES

    def feed_of(self, write_key: str) -> str | None:
        """The feed with this write key. Every key is compared, so time tells nothing about any of them."""
        found = None
        for key, feed in self.write_keys.items():
            if hmac.compare_digest(key.encode(), write_key.encode()):
                found = feed
        return found


@dataclass(frozen=True, slots=True)
class Ports:
    """`append` answers after the commit and raises `TryAgainError`s; `advance_clock` takes and gives
    microseconds; `now` is the wall's time in microseconds. `refresh` brings `workspace` up to date, for whoever
    meets a feed that it does not know. `put_aside` keeps what was refused of a payload. `public_url` is where
    others call us, as `https://cdp.example.com`; empty where that is the address that the server sees. `full` says
    that the log has no room for more to wait. `profile` shows whoever `KIND:VALUE` names, as they are or
    as they were at a place in the log, `timeline` a page of their records, `attribute` all that was said of one of
    their attributes; these raise `NobodyError` where that is nobody. `trace` gives the circle of an outbound record or
    a position, and raises `TraceError`. `loops` says how each loop does, `lift` what one is good for, which raises
    `LoopError`. `audiences` names them, `members` gives a page of one, after a profile, and `explain` says why somebody
    is in one, now or at a place; both raise `NobodyError`. `erase` asks that somebody be erased, and gives the
    erasure's id, by which `certificate` says what has been done of it; both raise `EraseError`.
    `unmerge` asks that they be two, and gives the request's id, by which `unmerged` says what was done; both raise
    `UnmergeError`."""

    append: Callable[[Sequence[Entry]], Awaitable[Sequence[Appended]]]
    workspace: Callable[[], WorkspaceView]
    refresh: Callable[[], Awaitable[None]]
    status: Callable[[], Awaitable[dict[str, Any]]]
    advance_clock: Callable[[int], Awaitable[int]]
    put_aside: Callable[[Sequence[Quarantined]], Awaitable[None]]
    now: Callable[[], int]
    api_token: str
    profile: Callable[[str, str | None], Awaitable[dict[str, Any]]]
    timeline: Callable[[str, int | None, int], Awaitable[dict[str, Any]]]
    attribute: Callable[[str, str], Awaitable[dict[str, Any]]]
    trace: Callable[[str], Awaitable[dict[str, Any]]]
    loops: Callable[[], Awaitable[dict[str, Any]]]
    lift: Callable[[str], Awaitable[dict[str, Any]]]
    audiences: Callable[[], Awaitable[dict[str, Any]]]
    members: Callable[[str, str, int], Awaitable[dict[str, Any]]]
    explain: Callable[[str, str, str | None], Awaitable[dict[str, Any]]]
    erase: Callable[[str], Awaitable[str]]
    certificate: Callable[[str], Awaitable[dict[str, Any]]]
    unmerge: Callable[[str, str], Awaitable[str]]
    unmerged: Callable[[str], Awaitable[dict[str, Any]]]
    public_url: str = ""
    full: Callable[[], bool] = lambda: False
