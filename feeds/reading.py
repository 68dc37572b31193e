"""Bytes as JSON, with what cannot be taken in told apart: broken JSON, or values that no record can hold."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from feeds.feed import InvalidError, MalformedError, Problem

#: Deeper nesting than this is refused.
DEPTH_LIMIT: Final = 64
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
#: Whole numbers that are held, and as many digits as the shortest of all others have.
_HELD: Final = range(-(2**63), 2**63)
_LONG: Final = b"0" * 19
_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_OUT_OF_RANGE: Final = (
    "a number has at most 64 bits: a whole one is from -2^63 to 2^63 - 1; send more digits as text"
)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def malformed(error: Exception | str) -> MalformedError:
    """What a decoder's complaint means to the sender; it never repeats what was sent."""
    return MalformedError(Problem("", "malformed_json", f"the body is not JSON as it should be: {error}"))


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
    JSON allows and a record cannot hold (`check_values`)."""
    said = read_parts(body)
    if is_doubtful(body):
        check_values(said, "")
    return said


def read_parts(body: bytes) -> Any:
    """As `read_json`, of a body whose parts' values are looked at by themselves, so that one bad value is one bad
    part."""
    try:
        said = _decode(body)
    except msgspec.ValidationError:
        raise InvalidError(Problem("", "out_of_range", _OUT_OF_RANGE)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        halves = "; half of a surrogate pair, as \\ud800 alone, is no text" if _SURROGATE.search(body) else ""
        raise _not_text(body) or malformed(f"{error}{halves}") from None
    except RecursionError:
        raise _too_deep() from None
    if isinstance(said, (dict, list)):
        check_keys(body, said)
    return said


def is_doubtful(body: bytes) -> bool:
    """Whether any value may be one that `check_values` refuses; nearly no body looks like it."""
    return b"\\u0000" in body or _LONG in body.translate(_AS_ZEROS)


def check_values(said: Any, pointer: str) -> None:
    """Refuses what JSON allows and no database, or no reader of 64 bits, can hold: U+0000, and whole numbers beyond
    that. Raises `InvalidError`."""
    waiting = [(pointer, said)]
    while waiting:
        at, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{at}/{_escaped(key)}", inner) for key, inner in value.items()]
            value = "".join(value)
        if isinstance(value, list):
            waiting += [(f"{at}/{index}", inner) for index, inner in enumerate(value)]
        elif isinstance(value, str) and "\0" in value:
            raise InvalidError(Problem(at, "nul_character", "text may not contain U+0000"))
        elif isinstance(value, int) and value not in _HELD:
            raise InvalidError(Problem(at, "out_of_range", _OUT_OF_RANGE))


def _escaped(key: str) -> str:
    return key.replace("\0", "").replace("~", "~0").replace("/", "~1")


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
