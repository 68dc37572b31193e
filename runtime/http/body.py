"""A request's body: bounded while it streams in, unzipped where it was zipped."""

from __future__ import annotations

import zlib
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from feeds.feed import MalformedError, Problem, TooLargeError

_GZIP: Final = 16 + zlib.MAX_WBITS


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes as sent and unzipped.

    Raises `TooLargeError` as soon as the limit is passed, `MalformedError` for broken gzip, and
    `HTTPException` 415 for an encoding that is not known.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise HTTPException(415, "the content encodings gzip and identity are known here")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    body = b"".join(parts)
    return gunzip(body, limit) if "gzip" in encoding else body


def gunzip(body: bytes, limit: int) -> bytes:
    """Unzips at most `limit` bytes, whatever the body claims to hold."""
    reader = zlib.decompressobj(_GZIP)
    try:
        plain = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise _broken(str(error)) from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not reader.eof:
        raise _broken("it ends too early")
    if reader.unused_data:
        raise _broken("something follows its end")
    return plain


def _broken(why: str) -> MalformedError:
    return MalformedError(Problem("", "broken_gzip", f"the body is not gzip as it should be: {why}"))


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(Problem("", "body_too_large", f"a body has at most {limit} bytes, also unzipped"))
