"""Lines out of a stream of bytes, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

#: Longest line in bytes.
LINE_LIMIT: Final = 1024 * 1024
_CHUNK: Final = 1024 * 1024


def read_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Lines without their end; `None` stands for one that is too long, of which only the length is seen."""
    tail, skipping = b"", False
    while chunk := stream.read(_CHUNK):
        parts = (tail + chunk).split(b"\n")
        tail = parts.pop()
        if skipping and parts:
            skipping = False
            yield None
            del parts[0]
        for part in parts:
            yield part if len(part) <= LINE_LIMIT else None
        if len(tail) > LINE_LIMIT:
            tail, skipping = b"", True
    if skipping:
        yield None
    elif tail:
        yield tail


def shown(line: bytes) -> str:
    """What can be shown of a line that is not as it should be."""
    return line.decode("utf-8", "replace").replace("\x00", "\ufffd")
