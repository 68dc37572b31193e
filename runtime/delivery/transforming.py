"""A connection's transformation, right before records are rendered: what is sent of each, or why it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from adapters.sandbox.process import LIMITS, Limits, Sandbox, SandboxError
from domain.outbound import Outbound, Transformed
from domain.transforming import Transform, Unsent, asked_of, transformed
from runtime.delivery.errors import SandboxAwayError, StoppedError

log = structlog.get_logger("deliver")


class Transforming:
    """Runs it in a process of the connection's own."""

    def __init__(self, connection: str, transform: Transform, sandbox: Sandbox) -> None:
        self._connection = connection
        self._transform = transform
        self._sandbox = sandbox

    async def __call__(
        self, records: Sequence[Outbound], stop: asyncio.Event | None = None
    ) -> list[Outbound | Unsent]:
        """Raises `SandboxAwayError` where there is nothing to run it in, and `StoppedError` where `stop` comes
        first."""
        asked = [asked_of(record) for record in records]
        answers = await self._answers([one for several in asked for one in several], stop)
        made, at = [], 0
        for record, several in zip(records, asked, strict=True):
            made.append(transformed(record, answers[at : at + len(several)], self._transform.name))
            at += len(several)
        return made

    async def _answers(self, asked: Sequence[object], stop: asyncio.Event | None) -> list[object]:
        answering = asyncio.create_task(self._sandbox.answers(asked))
        ending = asyncio.create_task((stop or asyncio.Event()).wait())
        try:
            await asyncio.wait((answering, ending), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise StoppedError
            return answering.result()
        except SandboxError as error:
            log.error("transformation cannot run", connection=self._connection, reason=str(error))
            raise SandboxAwayError from error
        finally:
            answering.cancel()
            ending.cancel()
            await asyncio.gather(answering, ending, return_exceptions=True)


@asynccontextmanager
async def open_transforming(
    connection: str, transform: Transform | None, limits: Limits = LIMITS
) -> AsyncIterator[Transforming | None]:
    """A connection's transformation, where it has one."""
    if transform is None:
        yield None
        return
    sandbox = Sandbox(transform, limits)
    try:
        yield Transforming(connection, transform, sandbox)
    finally:
        await sandbox.close()


def what_is_sent(record: Outbound) -> Transformed:
    """What the log is to say of a record of which something else is sent than was requested."""
    return Transformed(
        id=record.id,
        connection=record.connection,
        profile=record.profile,
        change=record.change,
        fields=record.fields,
        event=record.event,
        properties=record.properties,
        before=record.before,
    )
