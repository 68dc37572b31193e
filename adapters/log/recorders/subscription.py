"""Following the log: notifications as they are appended, told by the database and not by polling it."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from typing import Any, Final

from eventsourcing.persistence import ApplicationRecorder, ListenNotifySubscription
from sqlalchemy import Engine

from adapters.log.read import listen, wait_for_append
from adapters.log.recorders.errors import translated

#: How soon a stopped subscription's thread has ended, in seconds.
_STOP_WITHIN: Final = 0.1


class LogSubscription(ListenNotifySubscription[ApplicationRecorder]):
    """Iterates over the notifications above `gt`, with one of `topics` where they are given, without end.

    Use it as a context manager: leaving it ends its threads. A lost database ends the iteration with an
    `OperationalError`.
    """

    def __init__(
        self,
        recorder: ApplicationRecorder,
        engine: Engine,
        *,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._engine = engine
        self._listen_thread = Thread(target=self._listen)
        self._listen_thread.start()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._listen_thread.join()

    def _listen(self) -> None:
        try:
            with translated(), self._engine.connect() as pooled:
                connection = pooled.execution_options(isolation_level="AUTOCOMMIT")
                connection.detach()
                listen(connection)
                # What was appended before the database began to tell.
                self._has_been_notified.set()
                while not self._has_been_stopped:
                    if wait_for_append(connection, _STOP_WITHIN):
                        self._has_been_notified.set()
        except BaseException as error:  # noqa: BLE001 - whoever iterates gets it
            if self._thread_error is None:
                self._thread_error = error
            self.stop()

    def _pull(self) -> None:
        # The library's own would look again at everything since the last match, each time it is woken.
        head = self._recorder.max_notification_id()
        super()._pull()
        if self._topics and head is not None and not self._has_been_stopped:
            self._last_notification_id = max(head, self._last_notification_id or 0)
