"""A request's body: bounded in size and time while it streams in, unzipped where it was zipped."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from feeds.feed import MalformedError, Problem, TooLargeError

#: A whole body comes within so many seconds, also from somebody who sends a byte now and then.
BODY_S: Final = 30.0
_GZIP: Final = 16 + zlib.MAX_WBITS


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes as sent and unzipped.

    Raises `TooLargeError` as soon as the limit is passed, `MalformedError` for broken gzip, and
    `HTTPException` 415 for an encoding that is not known, 408 for a body that does not come.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise HTTPException(415, "the content encodings gzip and identity are known here")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_S):
            body = await _whole(request, limit)
    except TimeoutError:
        raise HTTPException(408, f"a body comes within {BODY_S:g} seconds", {"Connection": "close"}) from None
    return gunzip(body, limit) if "gzip" in encoding else body


async def _whole(request: Request, limit: int) -> bytes:
    receive = request.receive
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


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
