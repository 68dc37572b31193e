"""Where a part's log goes: a line that cannot be written is lost, and stops nothing that is promised to somebody."""

from __future__ import annotations

from contextlib import suppress

from structlog import WriteLogger


class LineLogger(WriteLogger):
    """Lines to a file; where there is no room for one, it is left out."""

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = error = err = critical = fatal = exception = failure = msg
