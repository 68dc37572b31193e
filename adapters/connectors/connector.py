"""The one shape of a connector: outbound records → requests, answers → outcomes. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, NamedTuple

from domain.outbound import Change, Outbound

Verdict = Literal["delivered", "retry", "dead"]
Way = Literal["http", "nats", "postgresql", "object_store"]

#: Statuses besides 5xx that pass: request timeout, too early, too many requests.
_PASSING: Final = frozenset({408, 425, 429})
_GROUP: Final = "roundtrip.connectors"


class RenderError(ValueError):
    """No request can be made of these records at all. The message says why and holds no personal data."""


class Request(NamedTuple):
    """One HTTP request, and the outbound records it carries. The same records always give the same bytes,
    and what is left of a batch always has the batch's idempotency key."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    outbound: tuple[Outbound, ...]


class Answer(NamedTuple):
    """What the destination said. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Judgement(NamedTuple):
    """What an answer means for one outbound record: `delivered`, `retry` (passing fault) or `dead`.

    `reason` holds no personal data. `after_s` is the least number of seconds before a retry has a chance,
    where the destination says that elsewhere than in `Retry-After`.
    """

    outbound: Outbound
    verdict: Verdict
    reason: str = ""
    reference: str = ""
    after_s: float | None = None


class ConnectorConfig(NamedTuple):
    """A connection's settings, with its secrets resolved."""

    name: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, str]


def unsigned(config: ConnectorConfig, request: Request, now: int) -> Request:
    """The request as it is: nothing of it depends on when it is sent."""
    return request


def nothing(config: ConnectorConfig, request: Request, answer: Answer) -> list[Request]:
    """No request follows on an answer."""
    return []


class Example(NamedTuple):
    """A connection as it might be declared, by which a connector is tried out: see `conformance`.

    `fields` are those of the n-th of many people; `accepted` is what a destination answers that takes a request.
    `key` finds what a destination knows a repeated request by; without one, doing twice what a request says has
    to be as doing it once. `in_url` are the secrets that this destination takes in the address, and nowhere else.
    """

    settings: Mapping[str, Any]
    secrets: Mapping[str, str]
    fields: Callable[[int], dict[str, Any]]
    accepted: Callable[[Request], Answer]
    key: Callable[[Request], Any] | None = None
    in_url: frozenset[str] = frozenset()


class Connector(NamedTuple):
    """What a destination takes, and how it is talked to.

    `max_batch` outbound records are formed into one batch, of these `changes`: others are never requested
    of it. One with `add` takes audiences, told the difference where it takes `remove` as well; one with `event`
    takes events as they come. `check` raises `ValueError` naming what is wrong with the settings. `render` makes
    the requests of a batch, or of what is left of it, in the order in which they have to take effect; a record of which
    nothing can be made is in none of them. It raises `RenderError`. `judge` reads an answer and says
    something of every record of the request.

    `sign` makes the request that is sent at `now`, in seconds since the epoch: the one place where a moment
    may come in. `follow` gives the requests that an answer makes possible, where a destination has to be asked
    for its own id of a person first; what becomes of their records is said by their own answers.

    `transport` is the way that requests go. By another than HTTP they say where (`url`) and what (`body`) in the
    transport's own words, and its answers have the statuses that HTTP would give: see `adapters/transports`.

    `feeds` are the formats of feeds that bring engagement with what was sent back, `engagement` the events that they
    then say it in (`domain/engagement.py`), `campaign` the setting that has the campaign's id as they say it.

    Where people change at the destination what it was told, and a feed tells that, `own` gives, by the connection's
    settings, the properties that such a record has where the change was made by this connection
    (`domain/mirrors.py`). It raises `ValueError` naming the setting without which that cannot be told.
    """

    max_batch: int
    changes: frozenset[Change]
    check: Callable[[ConnectorConfig], None]
    render: Callable[[ConnectorConfig, Sequence[Outbound]], list[Request]]
    judge: Callable[[ConnectorConfig, Request, Answer], list[Judgement]]
    sign: Callable[[ConnectorConfig, Request, int], Request] = unsigned
    follow: Callable[[ConnectorConfig, Request, Answer], list[Request]] = nothing
    example: Example | None = None
    transport: Way = "http"
    feeds: frozenset[str] = frozenset()
    engagement: frozenset[str] = frozenset()
    campaign: str = ""
    own: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None


def passes(status: int) -> bool:
    """Whether an HTTP status is of a fault that may pass by itself."""
    return status in _PASSING or status >= 500


def connector(name: str) -> Connector:
    """The connector of this name, from the entry points in group `roundtrip.connectors`.

    Raises `LookupError` naming the connectors there are.
    """
    found = _points()
    if name not in found:
        raise LookupError(f"no connector '{name}'; installed are: {', '.join(sorted(found))}")
    loaded = found[name].load()
    assert isinstance(loaded, Connector)
    return loaded


def connector_names() -> list[str]:
    """The names of all connectors that are installed."""
    return sorted(_points())


@cache
def _points() -> Mapping[str, EntryPoint]:
    """Looked for once: that reads every installed package's metadata, and a process keeps what it began with."""
    return {point.name: point for point in entry_points(group=_GROUP)}
