"""The files that children write their output to: private, appended to, and bounded when they are opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST = 16 * 1024 * 1024
"""Bytes from which on a log is put aside as `<name>.1` when it is opened next; one older log is kept."""

_TAIL = 4096


@contextmanager
def open_log(path: Path) -> Iterator[int]:
    """A descriptor that appends to the log `path`, readable for its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LARGEST:
        path.replace(path.with_name(path.name + ".1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def tail(path: Path) -> str:
    """The last lines of a log, for an error message; empty when there is no log."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - _TAIL))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-15:])
