"""The one shape of a feed: bytes and headers in, records out, no I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import NamedTuple

from domain.records import Record


class Problem(NamedTuple):
    """One thing wrong with a payload: a JSON pointer to it, a code for programs, a sentence for people."""

    pointer: str
    code: str
    detail: str


class FeedError(Exception):
    """A payload was refused. `problems` names each thing wrong; nothing of the payload is stored."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(p.detail for p in problems))
        self.problems = problems


class MalformedError(FeedError):
    """The bytes are not what the format is made of (HTTP 400)."""


class InvalidError(FeedError):
    """The bytes are well formed, and say something the format does not allow (HTTP 422)."""


class TooLargeError(FeedError):
    """A payload or one of its items is over the format's limit (HTTP 413)."""


class UnverifiedError(FeedError):
    """The signature or secret that came along is wrong, missing or stale (HTTP 401)."""


class Payload(NamedTuple):
    """What came in: header names in lower case, body already unzipped, `received_at` in microseconds."""

    headers: Mapping[str, str]
    body: bytes
    received_at: int


class FeedFormat(NamedTuple):
    """A webhook format. `verify` raises `UnverifiedError`; `parse` raises the other `FeedError`s."""

    verify: Callable[[Payload, str], None]
    parse: Callable[[str, Payload], Sequence[Record]]


def feed_format(name: str) -> FeedFormat:
    """The format of this name, from the entry points in group `roundtrip.feeds`.

    Raises `LookupError` naming the formats there are.
    """
    found = {point.name: point for point in entry_points(group="roundtrip.feeds")}
    if name not in found:
        raise LookupError(f"no feed format '{name}'; installed are: {', '.join(sorted(found))}")
    loaded = found[name].load()
    assert isinstance(loaded, FeedFormat)
    return loaded
