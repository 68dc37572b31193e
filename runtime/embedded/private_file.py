"""Small files that hold a secret: whole or absent, and readable for their owner only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def read_or_create(path: Path, make: Callable[[], str]) -> str:
    """The stripped content of `path`; when it is missing, it is made first.

    Of several processes that make it at once one wins, and all read the winner's content.
    """
    while True:
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            draft = _draft(path, make() + "\n")
            try:
                os.link(draft, path)
            except FileExistsError:
                continue
            finally:
                draft.unlink()


def replace(path: Path, content: str) -> None:
    """Write `content` to `path` in one step: a reader sees the old content or the new."""
    _draft(path, content).replace(path)


def _draft(path: Path, content: str) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    return Path(name)
