"""The one shape of a feed: bytes and headers in, records out, no I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NamedTuple

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


class Refused(NamedTuple):
    """One item of a payload that was not taken in, as it came, and what is wrong with it."""

    raw: bytes
    problems: tuple[Problem, ...]


class PartlyInvalidError(InvalidError):
    """Some items of a payload are bad, the others good (HTTP 207). `records` are those of the good ones; whoever
    catches this takes them in, and keeps what was `refused`."""

    def __init__(self, records: Sequence[Record], refused: Sequence[Refused]) -> None:
        super().__init__(*(problem for one in refused for problem in one.problems))
        self.records = records
        self.refused = refused


class TooLargeError(FeedError):
    """A payload or one of its items is over the format's limit (HTTP 413)."""


class UnverifiedError(FeedError):
    """The signature or secret that came along is wrong, missing or stale (HTTP 401)."""


class Payload(NamedTuple):
    """What came in: header names in lower case, body already unzipped, `received_at` in microseconds.

    `url` is the whole address that the sender called, for the vendors that sign it.
    """

    headers: Mapping[str, str]
    body: bytes
    received_at: int
    url: str = ""


#: Kinds of content that JSON is sent as; the empty one is that of a sender who names none.
JSON: Final = frozenset({"", "application/json", "text/json", "text/plain", "application/octet-stream"})


class StreamRequest(NamedTuple):
    """How a stream is opened: by POST."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Line(NamedTuple):
    """One line of a stream. `offset` is where to go on after it, empty where it tells none; `problem` says why
    there is no record."""

    offset: str
    records: Sequence[Record]
    problem: FeedError | None = None


class Stream(NamedTuple):
    """A source that is pulled, line by line. `request` makes the request from the feed's settings, its secret and
    the offset to go on after (empty: from the beginning), and raises `ValueError` for settings that cannot be
    used. `read_line` reads a line of a feed, received at a time in microseconds; `None` for one that says
    nothing."""

    request: Callable[[Mapping[str, Any], str, str], StreamRequest]
    read_line: Callable[[str, bytes, int], Line | None]


class FeedFormat(NamedTuple):
    """A webhook format. `verify` raises `UnverifiedError`; `parse` raises the other `FeedError`s. `content` is
    what a body's Content-Type may be, in lower case and without parameters. `stream` is for a source that is
    pulled."""

    verify: Callable[[Payload, str], None]
    parse: Callable[[str, Payload], Sequence[Record]]
    content: frozenset[str] = JSON
    stream: Stream | None = None


@cache
def feed_formats() -> Mapping[str, EntryPoint]:
    """Every format that is installed, from the entry points in group `roundtrip.feeds`. Looked for once: that reads
    every installed package's metadata, and a process keeps what it began with."""
    return {point.name: point for point in entry_points(group="roundtrip.feeds")}


def feed_format(name: str) -> FeedFormat:
    """The format of this name. Raises `LookupError` naming the formats there are."""
    found = feed_formats()
    if name not in found:
        raise LookupError(f"no feed format '{name}'; installed are: {', '.join(sorted(found))}")
    loaded = found[name].load()
    if not isinstance(loaded, FeedFormat):
        raise LookupError(f"feed format '{name}' ({found[name].value}) is not a feeds.feed.FeedFormat")
    return loaded
