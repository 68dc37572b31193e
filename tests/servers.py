"""What tests share about servers: a home of their own, other users, and waiting for a condition.

A server started by a test dies with pytest, even when pytest is killed. The homes that a killed run left
behind are removed by the next run.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from runtime.embedded.claim import lock
from runtime.embedded.errors import EmbeddedError

REPOSITORY = Path(__file__).parent.parent

_PREFIX = "rt-tests-"
_YOUNG = 60.0
#: Where files are in memory on Linux, and how much of it a run of the tests may need, in bytes.
_MEMORY = Path("/dev/shm")
_ROOM = 6 * 2**30


@dataclass(frozen=True, slots=True)
class User:
    """Whom to run a supervisor as; `uid` None means as ourselves."""

    name: str
    uid: int | None = None
    gid: int | None = None


def users() -> list[User]:
    """Ourselves, and when that is root, an ordinary user too."""
    if os.geteuid() != 0:
        return [User("ordinary")]
    nobody = pwd.getpwnam("nobody")
    return [User("root"), User("ordinary", nobody.pw_uid, nobody.pw_gid)]


def python_of(user: User) -> tuple[str, dict[str, str]] | None:
    """A Python that `user` can run with our packages, and the environment it needs; None when there is none.

    A Python below a closed folder, such as root's pyenv, is no use to others; the system's own of the same
    version is, with the packages of ours.
    """
    packages = Path(psycopg.__file__).parent.parent
    environment = {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    for python in (Path(sys.executable), system):
        if python.exists() and all(_open(each, user) for each in (python, REPOSITORY, packages)):
            return str(python), environment
    return None


def _open(path: Path, user: User) -> bool:
    ways = [*path.parents, *path.resolve().parents]
    return user.uid is None or all(each.stat().st_mode & stat.S_IXOTH for each in ways)


def room_in_memory() -> Path | None:
    """A place whose files are in memory, where there is room for a run: databases are made and dropped there at a
    fraction of the cost."""
    try:
        return _MEMORY if shutil.disk_usage(_MEMORY).free > _ROOM and os.access(_MEMORY, os.W_OK) else None
    except OSError:
        return None


@contextmanager
def temporary_home(user: User | None = None, place: Path | None = None) -> Iterator[Path]:
    """An empty directory that `user` owns, with a path short enough for a unix socket; removed at the end. It is at
    `place`, or where temporary files are."""
    _remove_abandoned(place or Path(tempfile.gettempdir()))
    # Not pytest's tmp_path, which pytest closes to other users, among them PostgreSQL's.
    top = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    top.chmod(0o711)
    held = lock(top / "tests.lock", "tests")
    try:
        home = top / "home"
        home.mkdir(mode=0o711)
        if user and user.uid is not None and user.gid is not None:
            os.chown(home, user.uid, user.gid)
        yield home
    finally:
        # Removed while it is held: another run of pytest would take it for abandoned, and remove it too.
        try:
            shutil.rmtree(top)
        finally:
            os.close(held)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Wait until the condition holds; fail saying `what` was awaited when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.01)


def _remove_abandoned(place: Path) -> None:
    for top in place.glob(f"{_PREFIX}*"):
        file = top / "tests.lock"
        try:
            if file.stat().st_uid != os.geteuid() or time.time() - file.stat().st_mtime < _YOUNG:
                continue
            held = lock(file, "tests")
        except (EmbeddedError, OSError):
            continue
        shutil.rmtree(top, ignore_errors=True)
        os.close(held)
