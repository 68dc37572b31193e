"""What a record is: one thing a customer's tool said, or one thing that followed from it.

An inbound record keeps the item exactly as the source sent it (`body`) and beside it only what the
source's format had to be understood for: who, what, when. Properties and traits are read out of the
body by path, so nothing is stored twice.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

RecordType = Literal["track", "identify", "page", "screen", "group", "alias"]
RECORD_TYPES: Final[frozenset[str]] = frozenset({"track", "identify", "page", "screen", "group", "alias"})

#: Longest name that is repeated in the log's topic; the whole name stands in the record.
TOPIC_NAME_LIMIT: Final = 120


class Identifier(NamedTuple):
    """One way to name a person: `Identifier("user_id", "u-17")`. `value` is already normalised."""

    kind: str
    value: str


class ConsentTerms(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a consent was given or refused under: the law, as `gdpr`, and the version of the document that the person
    was shown. `at` is when, in microseconds, where that is another time than the record's."""

    jurisdiction: str = ""
    document: str = ""
    at: int | None = None


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One inbound record, as the log keeps it.

    `occurred_at` is the source's time in microseconds since the epoch, not yet clamped.
    `body` is the source's item, byte for byte. `properties_at` and `traits_at` are paths into it, parts
    joined by dots (`"context.traits"`), empty where it has none. `properties` and `traits` hold values that a feed
    had to translate from the vendor's words into ours; they win over those in the body. `consent` maps a
    purpose to given or refused, `consent_terms` to what that was said under. `violations` is what a tracking plan has
    against a record that it lets pass: a pointer and a schema's keyword each. `presumed` says that the source did not
    say the first identifier: it is of whoever was last known on the device (`domain.shared_devices`).
    """

    feed: str
    message_id: str
    type: RecordType
    occurred_at: int
    identifiers: tuple[Identifier, ...]
    body: msgspec.Raw
    name: str = ""
    properties_at: str = ""
    traits_at: str = ""
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    consent: dict[str, bool] = {}
    consent_terms: dict[str, ConsentTerms] = {}
    violations: tuple[str, ...] = ()
    presumed: bool = False


class Entry(NamedTuple):
    """One row to append. `subject` is whose data it is, `None` where it is nobody's."""

    stream_id: str
    version: int
    topic: str
    subject: str | None
    state: bytes


class Row(NamedTuple):
    """One row of the log as it is read. `recorded_at` is in microseconds since the epoch.

    `state` is empty where the subject's data was erased: then the row only moves the log's time.
    """

    position: int
    stream_id: str
    version: int
    topic: str
    subject: str | None
    recorded_at: int
    state: bytes

    @property
    def erased(self) -> bool:
        """Whether whose data this was has been erased, and nobody can know what it said."""
        return not self.state and self.subject is not None


#: What the ids are derived in.
NAMESPACE: Final = bytes.fromhex("6f0e0f3c1d5b5a0a9a3e52f1c0ffee01")

#: The digit that a digest has where a UUID says its variant → the digit that says it.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def derive_id(*parts: str) -> str:
    """The UUID (version 5, RFC 9562) that these parts always have, in canonical text.

    The parts are joined with U+001F, which no name, kind or message id may contain.
    """
    h = hashlib.sha1(NAMESPACE + "\x1f".join(parts).encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


@lru_cache(maxsize=100_000)
def node_id(identifier: Identifier) -> str:
    """The id of an identifier in the identity graph, and the subject of records that it leads."""
    return derive_id("identifier", identifier.kind, identifier.value)


def record_id(feed: str, message_id: str) -> str:
    """A record's identity: the same message of the same feed is the same record, however often it comes."""
    return derive_id("record", feed, message_id)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


def entry_of(record: Record, leader: Identifier | None = None) -> Entry:
    """The row that a record becomes: stream = its identity, version 1, subject = the identifier that leads it,
    the first where none is named. A record without identifiers is a subject of its own."""
    identity = record_id(record.feed, record.message_id)
    if leader is None and record.identifiers:
        leader = record.identifiers[0]
    topic = f"{record.type}.{record.name[:TOPIC_NAME_LIMIT]}"
    subject = node_id(leader) if leader is not None else identity
    return Entry(identity, 1, topic, subject, _encode(record))


def record_of(state: bytes) -> Record:
    """The record that a row's state holds. Raises `msgspec.DecodeError` where it is none."""
    return _decode(state)


def dig(body: Any, path: str) -> dict[str, Any]:
    """The object at a dotted path of a decoded body; empty where there is none."""
    if not path:
        return {}
    for part in path.split("."):
        if not isinstance(body, dict):
            return {}
        body = body.get(part)
    return body if isinstance(body, dict) else {}
