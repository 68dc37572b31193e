"""Files to read, on this machine or in an object store: their bytes, size and what their content is known by."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, NamedTuple, cast
from urllib.parse import urlsplit

import obstore
import obstore.store
import pyarrow
from obstore.exceptions import BaseError as StoreError

_CHUNK: Final = 1024 * 1024
#: What is read of an object store at once.
_STORE_CHUNK: Final = 8 * 1024 * 1024
_KINDS: Final = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".parquet": "parquet",
}
_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd"}
SCHEMES: Final = ("s3", "gs", "gcs", "az", "azure", "abfs", "abfss", "http", "https", "file")
#: Where the environment names the address of a store that speaks S3.
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
#: Tells where the store is and by whose right it is read, in obstore's own words; empty for those in the
#: environment.
Options = Mapping[str, str]
_NO_OPTIONS: Final[Options] = {}


class NoFileError(Exception):
    """There is no such file, or it cannot be read."""


class File(NamedTuple):
    """A file that is open. `stream` gives its content, unzipped; `tell` is how many of its `size` bytes have
    been read; `digest` tells its content from any other's. It was opened with `options`."""

    name: str
    kind: str
    stream: BinaryIO
    size: int
    digest: str
    raw: Any
    options: Options = _NO_OPTIONS

    def tell(self) -> int:
        return int(self.raw.tell())


def kind_of(name: str) -> tuple[str, str]:
    """What a file's name says: kind (`csv`, `ndjson`, `parquet`) and compression, empty where unknown."""
    path = Path(urlsplit(name).path if "://" in name else name)
    compression = _COMPRESSED.get(path.suffix.lower(), "")
    suffix = path.with_suffix("").suffix if compression else path.suffix
    return _KINDS.get(suffix.lower(), ""), compression


def find_files(pattern: str, options: Options = _NO_OPTIONS) -> list[str]:
    """The names, in order, of the files that a path, a URL or a pattern of either (`*`, `?`, `**`) stands for.

    A folder, or a URL that ends in a slash, stands for the files in it whose names tell their kind. Raises
    `NoFileError` where there is none.
    """
    if "://" in pattern:
        found = _find_stored(pattern, options) if has_magic(pattern) or pattern.endswith("/") else [pattern]
    elif Path(pattern).is_dir():
        found = [str(path) for path in Path(pattern).iterdir() if path.is_file() and kind_of(path.name)[0]]
    elif has_magic(pattern) and not Path(pattern).exists():
        found = [path for path in glob(pattern, recursive=True) if Path(path).is_file()]  # noqa: PTH207
    else:
        found = [pattern]
    # What an import has put aside lies beside the files themselves.
    found = sorted(name for name in found if not name.endswith(".rejected.ndjson"))
    if not found and pattern.endswith("/"):
        raise NoFileError(
            f"{pattern}: has no file of a name that tells what it is, as .csv.gz or .parquet; of the folders in it are"
            f" those of {pattern}**/*.csv.gz"
        )
    if not found:
        raise NoFileError(f"{pattern}: there is no such file")
    return found


def _find_stored(pattern: str, options: Options) -> list[str]:
    folder = pattern if pattern.endswith("/") else pattern[: _first_magic(pattern)].rpartition("/")[0]
    folder = folder.rstrip("/")
    below = pattern[len(folder) + 1 :]
    names: list[str] = []
    try:
        for page in obstore.list(_store(folder, options)):
            names += [str(item["path"]) for item in page]
    except StoreError as error:
        raise _unreadable(pattern, error) from error
    if not below:
        return [f"{folder}/{name}" for name in names if "/" not in name and kind_of(name)[0]]
    return [
        f"{folder}/{name}" for name in names if _matches(PurePosixPath(name).parts, tuple(below.split("/")))
    ]


def _first_magic(pattern: str) -> int:
    return min(pattern.find(sign) % (len(pattern) + 1) for sign in "*?[")


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Part by part, where `**` stands for any number of parts."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[n:], pattern[1:]) for n in range(len(parts) + 1))
    return bool(parts) and PurePosixPath(parts[0]).match(pattern[0]) and _matches(parts[1:], pattern[1:])


@contextmanager
def open_file(name: str, kind: str = "", options: Options = _NO_OPTIONS) -> Iterator[File]:
    """Opens a path, or a URL of an object store. Raises `NoFileError`."""
    by_name, compression = kind_of(name)
    kind = kind or by_name
    if not kind:
        raise NoFileError(f"{name}: its name does not tell what it is; say --kind csv, ndjson or parquet")
    if compression and kind == "parquet":
        raise NoFileError(f"{name}: Parquet is compressed in itself; unpack it first")
    with ExitStack() as stack:
        try:
            opened = _stored(name, options) if "://" in name else _local(Path(name))
            raw = stack.enter_context(opened[0])
            stream: Any = raw
            if compression:
                stream = stack.enter_context(
                    pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), compression)
                )
        except (OSError, StoreError) as error:
            raise _unreadable(name, error) from error
        yield File(name, kind, cast(BinaryIO, stream), opened[1], opened[2], raw, options)


def _unreadable(name: str, error: Exception) -> NoFileError:
    return NoFileError(f"{name}: cannot be read ({_why(error)})")


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    # What stands before says at which address, and after it what the store has answered whole.
    said = str(error).partition("\n")[0].partition(" - ")[2].partition("<")[0].rstrip(": ")
    return said or type(error).__name__


def _local(path: Path) -> tuple[BinaryIO, int, str]:
    file = path.open("rb")
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    size = file.tell()
    file.seek(0)
    return file, size, "sha256:" + digest.hexdigest()


def _store(folder: str, options: Options) -> Any:
    scheme = urlsplit(folder).scheme
    if scheme not in SCHEMES:
        raise NoFileError(f"{folder}: '{scheme}' is no store; known are {', '.join(SCHEMES)}")
    # Which options there are depends on the store, so their names are known to none of its signatures.
    connect: Any = obstore.store.from_url
    named = (folder, *options.values(), *(os.environ.get(name, "") for name in _ENDPOINTS))
    # Whoever names an address without TLS means it.
    plain = {"client_options": {"allow_http": True}} if any(one.startswith("http:") for one in named) else {}
    return connect(folder, **plain, **options)


def _stored(url: str, options: Options) -> tuple[BinaryIO, int, str]:
    folder, _, name = url.rpartition("/")
    store = _store(folder, options)
    found = obstore.head(store, name)
    # Read once, not twice: what the store calls a version is told by its tag.
    version = found.get("e_tag") or str(found["last_modified"])
    digest = f"{folder}/{name}:{found['size']}:{version}"
    return cast(BinaryIO, io.BufferedReader(_Stored(store, name), _STORE_CHUNK)), found["size"], digest


class _Stored(io.RawIOBase):
    """An object of a store as a file of Python's, which Arrow and `csv` can read from."""

    def __init__(self, store: Any, name: str) -> None:
        self._reader = obstore.open_reader(store, name, buffer_size=_STORE_CHUNK)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._reader.read(len(buffer))
        except StoreError as error:
            raise OSError(f"the store ended the reading ({type(error).__name__})") from error
        buffer[: len(found)] = memoryview(found)
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())
