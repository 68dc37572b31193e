"""How the embedded PostgreSQL is set: a unix socket nobody else can reach, durable writes, a terse log."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

import psutil

from runtime.embedded.account import Account, open_way
from runtime.embedded.errors import EmbeddedError

PORT = 5432
"""Only a part of the socket's file name: no TCP port is opened."""

_LONGEST = 107
"""Bytes in the path of a unix socket."""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    # An answer is given after the commit, so a commit is on the disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # This build has pglz alone, which takes ten times the time that writing a page of random keys takes.
    "wal_compression": "off",
    "checkpoint_timeout": "15min",
    # A large append's pages are on their way to the disk before it commits, which then waits for its last ones only.
    "wal_writer_delay": "10ms",
    # What an append needs room for, the background writer has written by then: by itself, it writes 4 MB/s at most.
    "bgwriter_delay": "20ms",
    "bgwriter_lru_maxpages": "1000",
    "bgwriter_lru_multiplier": "4",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Details, contexts and statements quote rows, and rows are personal data.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "logging_collector": "off",
}


def server_options(socket: Path, store: Path) -> list[str]:
    """The command line options of `postgres`, for a socket in the directory `socket` and data in `store`."""
    # The setting is a list, whose items are quoted like identifiers.
    quoted = '"' + str(socket).replace('"', '""') + '"'
    settings = _SETTINGS | {
        "shared_buffers": f"{_buffers_mb()}MB",
        "max_wal_size": f"{_wal_gb(store)}GB",
        # Files of the write-ahead log that are kept for use again: commits wait while a new one is filled with zeros.
        "min_wal_size": f"{_wal_gb(store) * 256}MB",
        "unix_socket_directories": quoted,
        "port": str(PORT),
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _buffers_mb() -> int:
    """The server's own cache, in megabytes: an eighth of this machine's memory, within bounds. It is taken page by
    page as it is used."""
    return min(max(psutil.virtual_memory().total // 2**23, 256), 1024)


def _wal_gb(store: Path) -> int:
    """How far the write-ahead log grows, in gigabytes: a tenth of the room that there is, within bounds. A checkpoint
    comes with each half of it, and after one each page of the index over streams is written whole once."""
    return min(max(shutil.disk_usage(store).free // (10 * 2**30), 1), 8)


def socket_directory(data: Path, account: Account | None) -> Path:
    """A directory that only the server's user can enter, with a path short enough for a unix socket.

    It is the data directory itself, or else one below the temporary directory, the same at every start.
    Raises EmbeddedError when that one belongs to somebody else.
    """
    if _fits(data):
        return data
    owner = account.uid if account else os.geteuid()
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()).resolve() / f"roundtrip-{owner}-{digest}"
    try:
        short.mkdir(mode=0o700)
        if account:
            os.chown(short, account.uid, account.gid)
    except FileExistsError:
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
            raise EmbeddedError(
                f"{short}: PostgreSQL's socket belongs there, but it is not a directory of mode 0700 owned "
                f"by user {owner}; remove it, or choose a ROUNDTRIP_HOME with a shorter path"
            ) from None
    if account:
        open_way(short)
    if not _fits(short):
        raise EmbeddedError(
            f"{short}: too long for a unix socket (at most {_LONGEST} bytes); set a shorter ROUNDTRIP_HOME"
        )
    return short


def _fits(directory: Path) -> bool:
    # In a connection's parameters, a comma would separate two hosts.
    return len(os.fsencode(directory / f".s.PGSQL.{PORT}")) <= _LONGEST and "," not in str(directory)
