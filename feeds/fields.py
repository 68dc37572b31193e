"""A vendor's fields as the parts of a record: ids as text, people by what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from domain.identifiers import read_identifier, vendor_kind
from domain.records import Identifier
from feeds.feed import InvalidError, Problem

TEXT_LIMIT: Final = 512


def text_of(value: Any) -> str:
    """An id or a name as text; numbers are taken. Empty where it is none, too long, or holds a character that no id
    may: U+0000, which the database has not, and the one that parts of a derived id are joined by."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and len(value) <= TEXT_LIMIT and "\0" not in value and "\x1f" not in value:
        return value
    return ""


def require_text(said: Mapping[str, Any], name: str, pointer: str) -> str:
    """Text that has to be there. Raises `InvalidError` pointing at it."""
    found = text_of(said.get(name))
    if not found:
        detail = f"text of 1 to {TEXT_LIMIT} characters is expected in '{name}'"
        raise InvalidError(Problem(f"{pointer}/{name}", "not_text", detail))
    return found


def object_in(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under a name; empty where there is none."""
    found = said.get(name)
    return found if isinstance(found, dict) else {}


def identifiers_of(claims: Iterable[tuple[str | None, Any]]) -> tuple[Identifier, ...]:
    """Who a record is about, each identifier once, in the order of the claims (kind and value). What cannot
    be read as its kind is no identifier."""
    found: dict[Identifier, None] = {}
    for kind, value in claims:
        text = text_of(value)
        if kind and text and (identifier := read_identifier(kind, text)) is not None:
            found[identifier] = None
    return tuple(found)


def vendors(feed: str, type: str, value: Any) -> tuple[str | None, Any]:
    """A claim by an id that the vendor gave."""
    return vendor_kind(feed, type), value


def digest_of(*parts: bytes) -> str:
    """What a thing without an id is known by: the same bytes are the same thing."""
    return "sha256:" + hashlib.sha256(b"\x1f".join(parts)).hexdigest()
