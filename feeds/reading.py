"""Bytes as JSON, with what cannot be taken in told apart: broken JSON, or values that no record can hold."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from feeds.feed import InvalidError, MalformedError, Problem

#: Deeper nesting than this is refused.
DEPTH_LIMIT: Final = 64
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def malformed(error: Exception) -> MalformedError:
    """What a decoder's complaint means to the sender; it never repeats what was sent."""
    return MalformedError(Problem("", "malformed_json", f"the body is not JSON as it should be: {error}"))


def _holds_nul(body: bytes) -> bool:
    """An escaped U+0000, and not an escaped backslash before the letters u0000."""
    at = body.find(b"\\u0000")
    while at >= 0:
        before = at
        while before > 0 and body[before - 1] == 0x5C:
            before -= 1
        if (at - before) % 2 == 0:
            return True
        at = body.find(b"\\u0000", at + 1)
    return False


def check_depth(body: bytes) -> None:
    """Refuses JSON that is nested deeper than `DEPTH_LIMIT`. Cheap: brackets inside text count as well at
    first, so only where there are very many of them the text is taken out and the nesting peeled, layer by
    layer."""
    if body.count(b"{") + body.count(b"[") <= DEPTH_LIMIT:
        return
    left = _TEXT.sub(b"", body).translate(None, _NOT_BRACKETS)
    for _ in range(DEPTH_LIMIT):
        # Marked before they go, as what then meets was not a pair before.
        left = left.replace(b"{}", b"-").replace(b"[]", b"-").translate(None, b"-")
        if not left:
            return
    raise _too_deep()


def read_json(body: bytes) -> Any:
    """The decoded body. Raises `MalformedError` where it is not JSON or has a key twice, `InvalidError` for what
    JSON allows and a record cannot hold: U+0000, numbers that no reader holds. Lone surrogates are not text."""
    try:
        said = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidError(Problem("", "out_of_range", str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_text(body) or malformed(error) from None
    except RecursionError:
        raise _too_deep() from None
    if b"\\u0000" in body and _holds_nul(body):
        raise InvalidError(Problem("", "nul_character", "text may not contain U+0000"))
    if isinstance(said, (dict, list)):
        check_keys(body, said)
    return said


def _not_text(body: bytes) -> MalformedError | None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return MalformedError(
            Problem("", "invalid_utf8", f"byte {error.start} does not belong to UTF-8 text")
        )
    return None


def check_keys(body: bytes, said: Any) -> None:
    """Refuses an object that has the same key twice, of which readers keep different ones.

    What a reader dropped is not there when it is written again: then the body has more colons than that.
    (A colon written as an escape only hides a double key; it never makes one up.)
    """
    if body.count(b":") > _encode(said).count(b":"):
        raise MalformedError(Problem("", "duplicate_key", "an object in the body has the same key twice"))


def _too_deep() -> MalformedError:
    return MalformedError(Problem("", "too_deep", f"JSON may be nested {DEPTH_LIMIT} deep, this is deeper"))
