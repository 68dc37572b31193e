"""Which operating system user runs PostgreSQL, and may that user reach its files?

PostgreSQL refuses to run as root. As root it runs as the owner of its data directory, or as the user
`pgserver`, which is created when missing; as an ordinary user it runs as that user.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.wheel import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

_NAME = "pgserver"


@dataclass(frozen=True, slots=True)
class Account:
    """A user other than ourselves, by number."""

    uid: int
    gid: int


def postgres_account(data: Path) -> Account | None:
    """The user to run PostgreSQL as for the data directory `data`; None means as ourselves.

    Raises EmbeddedError when running as root and the user cannot be created.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return Account(owner.st_uid, owner.st_gid)
    try:
        # Two that make the same user at once may each take another number for it.
        with Path(tempfile.gettempdir(), f"{_NAME}.lock").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            ensure_user_exists(_NAME)
        entry = pwd.getpwnam(_NAME)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        raise EmbeddedError(
            f"user '{_NAME}': PostgreSQL does not run as root, and this user could not be created ({error}); "
            f"create it (useradd {_NAME}), run as an ordinary user, or set ROUNDTRIP_DATABASE_URL"
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def open_way(path: Path) -> None:
    """As root, let every user pass through the folders above the existing `path`, where one is closed.

    A home below a folder of mode 0700, such as /root, makes that folder readable and passable for everyone:
    without it PostgreSQL's user cannot reach its own data. What lies in the folder keeps its own mode.
    """
    if any(not parent.stat().st_mode & stat.S_IXOTH for parent in path.parents):
        ensure_prefix_permissions(path)


def open_installation(binaries: Path) -> None:
    """Let every user run the wheel's PostgreSQL, as root and only where the installation is closed."""
    open_way(binaries)
    if binaries.joinpath("postgres").stat().st_mode & stat.S_IXOTH:
        return
    read, execute = stat.S_IRGRP | stat.S_IROTH, stat.S_IXGRP | stat.S_IXOTH
    binaries.parent.chmod(0o755)
    ensure_folder_permissions(binaries, read | execute)
    ensure_folder_permissions(binaries.parent / "lib", read)
    ensure_folder_permissions(binaries.parent / "share", read)
