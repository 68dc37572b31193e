"""Where the lake is: a directory of this machine, or a prefix of an object store, always told as a URL.

An object store's credentials are in that store's own environment variables (AWS_…, GOOGLE_…).
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import obstore
import obstore.store
from obstore.store import ObjectStore

SCHEMES: Final = ("s3", "gs", "file")


class PlaceError(ValueError):
    """What was given is no place for a lake."""


def url_of(said: str) -> str:
    """The URL of a path or a URL, without a slash at its end. Raises `PlaceError`."""
    if "://" not in said:
        return Path(said).expanduser().absolute().as_uri()
    parts = urlsplit(said)
    if parts.scheme not in SCHEMES or parts.query or parts.fragment or "@" in parts.netloc:
        raise PlaceError(
            f"is neither a path nor a URL beginning with {', '.join(f'{s}://' for s in SCHEMES)} and without"
            " credentials, which belong in the store's own variables (as AWS_ACCESS_KEY_ID)"
        )
    return said.rstrip("/")


def directory_of(url: str) -> Path | None:
    """The directory that a URL stands for; `None` where it is in an object store."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


@lru_cache(maxsize=8)
def store_of(url: str) -> ObjectStore:
    """The files below a URL."""
    directory = directory_of(url)
    if directory is not None:
        return obstore.store.LocalStore(directory, mkdir=True)
    return obstore.store.from_url(url)


def make_durable(url: str, *folders: str) -> None:
    """Has the files in these folders on disk for good, and the names of them. An object store's are already."""
    directory = directory_of(url)
    if directory is None:
        return
    places = [directory / folder for folder in folders]
    files = [file for place in places for file in place.iterdir() if file.is_file()]
    for path in (*files, *places, directory, directory.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
