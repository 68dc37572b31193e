"""What a process that Python starts for us has in common with others: it imports little, and ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from runtime.embedded.die_with_parent import PR_SET_PDEATHSIG


@contextmanager
def nothing_to_import() -> Iterator[None]:
    """A process that is started meanwhile imports what it is given to do. The whole console script, which it would
    import too as its main module, takes seconds and 100 MB."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def end_with_parent(parent: int) -> None:
    """Called in a process that was started by `parent`: nothing is left behind by whoever kills that one, and what the
    terminal interrupts is for that one to end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
