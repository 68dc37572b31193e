"""The one shape of a connector: outbound records → requests, answers → outcomes. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final, Literal, NamedTuple

from domain.outbound import Change, Outbound

Verdict = Literal["delivered", "retry", "dead"]

#: Statuses besides 5xx that pass: request timeout, too early, too many requests.
_PASSING: Final = frozenset({408, 425, 429})


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


class Connector(NamedTuple):
    """What a destination takes, and how it is talked to.

    `max_batch` outbound records are formed into one batch, of these `changes`: others are never requested
    of it. `check` raises `ValueError` naming what is wrong with the settings. `render` makes the requests
    of a batch, or of what is left of it, in the order in which they have to take effect; a record of which
    nothing can be made is in none of them. It raises `RenderError`. `judge` reads an answer and says
    something of every record of the request.
    """

    max_batch: int
    changes: frozenset[Change]
    check: Callable[[ConnectorConfig], None]
    render: Callable[[ConnectorConfig, Sequence[Outbound]], list[Request]]
    judge: Callable[[ConnectorConfig, Request, Answer], list[Judgement]]


def passes(status: int) -> bool:
    """Whether an HTTP status is of a fault that may pass by itself."""
    return status in _PASSING or status >= 500


def connector(name: str) -> Connector:
    """The connector of this name, from the entry points in group `roundtrip.connectors`.

    Raises `LookupError` naming the connectors there are.
    """
    found = {point.name: point for point in entry_points(group="roundtrip.connectors")}
    if name not in found:
        raise LookupError(f"no connector '{name}'; installed are: {', '.join(sorted(found))}")
    loaded = found[name].load()
    assert isinstance(loaded, Connector)
    return loaded
