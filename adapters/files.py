"""A file to read, on this machine or in an object store: its bytes, its size and what its content is known by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast
from urllib.parse import urlsplit

import obstore
import obstore.store
import pyarrow
from obstore.exceptions import BaseError as StoreError

_CHUNK: Final = 1024 * 1024
_KINDS: Final = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".parquet": "parquet",
}
_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd"}
#: Codecs hand on what they read at this size; they are closed with the file below.
SCHEMES: Final = ("s3", "gs", "gcs", "az", "azure", "abfs", "abfss", "http", "https", "file", "memory")


class NoFileError(Exception):
    """There is no such file, or it cannot be read."""


class File(NamedTuple):
    """A file that is open. `stream` gives its content, unzipped; `tell` is how many of its `size` bytes have
    been read; `digest` tells its content from any other's."""

    name: str
    kind: str
    stream: BinaryIO
    size: int
    digest: str
    raw: Any

    def tell(self) -> int:
        return int(self.raw.tell())


def kind_of(name: str) -> tuple[str, str]:
    """What a file's name says: kind (`csv`, `ndjson`, `parquet`) and compression, empty where unknown."""
    path = Path(urlsplit(name).path if "://" in name else name)
    compression = _COMPRESSED.get(path.suffix.lower(), "")
    suffix = path.with_suffix("").suffix if compression else path.suffix
    return _KINDS.get(suffix.lower(), ""), compression


@contextmanager
def open_file(name: str, kind: str = "") -> Iterator[File]:
    """Opens a path, or a URL of an object store (credentials as that store's own environment variables).

    Raises `NoFileError`.
    """
    by_name, compression = kind_of(name)
    kind = kind or by_name
    if not kind:
        raise NoFileError(f"{name}: its name does not tell what it is; say --kind csv, ndjson or parquet")
    with ExitStack() as stack:
        try:
            raw, size, digest = _remote(name) if "://" in name else _local(Path(name), stack)
            stream: Any = raw
            if compression:
                stream = stack.enter_context(
                    pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), compression)
                )
            if compression and kind == "parquet":
                raise NoFileError(f"{name}: Parquet is compressed in itself; unpack it first")
        except (OSError, StoreError) as error:
            raise NoFileError(f"{name}: cannot be read ({type(error).__name__})") from error
        yield File(name, kind, cast(BinaryIO, stream), size, digest, raw)


def _local(path: Path, stack: ExitStack) -> tuple[BinaryIO, int, str]:
    file = stack.enter_context(path.open("rb"))
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    size = file.tell()
    file.seek(0)
    return file, size, "sha256:" + digest.hexdigest()


def _remote(url: str) -> tuple[Any, int, str]:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise NoFileError(f"{url}: '{parts.scheme}' is no store; known are {', '.join(SCHEMES)}")
    base, _, name = url.rpartition("/")
    store = obstore.store.from_url(base)
    found = obstore.head(store, name)
    # Read once, not twice: what the store calls a version is told by its tag.
    version = found.get("e_tag") or str(found["last_modified"])
    return obstore.open_reader(store, name), found["size"], f"{base}/{name}:{found['size']}:{version}"
