"""One batch to its destination: each request until nothing of it is to be tried again.

A request waits for those before it that are about the same people, as their order is the order in which they have to
take effect; others are sent side by side, as many as the connection allows.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from adapters.connectors.connector import Connector, ConnectorConfig, Judgement, Request
from adapters.http.client import NoAnswerError
from adapters.http.retry_after import retry_after_s
from adapters.transports.transport import Transport
from domain.channels import waits
from domain.outbound import Outbound, Outcome
from domain.retry import MAX_ELAPSED_S, GiveUp, decide
from domain.transforming import Unsent
from runtime.delivery.asking import judge, render
from runtime.delivery.closings import Closings
from runtime.delivery.coalescing import Coalescing
from runtime.delivery.consent import Consented, Looked, taken_back
from runtime.delivery.errors import StoppedError
from runtime.delivery.gate import GONE, Gate
from runtime.delivery.lease import Lease
from runtime.delivery.quiet import Now, in_quiet_hours, wall
from runtime.delivery.transforming import Transforming
from runtime.failpoints import failpoint

log = structlog.get_logger("deliver")


class Destination(NamedTuple):
    """A connection, ready to be talked to. What it does not take for `give_up_s` seconds is a dead letter. `now` is
    the log's time, by which quiet hours are. `transform` makes of records what is sent, where that is declared."""

    connector: Connector
    config: ConnectorConfig
    transport: Transport
    consented: Consented
    gate: Gate
    give_up_s: float = MAX_ELAPSED_S
    now: Now = wall
    transform: Transforming | None = None


class _Judged(NamedTuple):
    judgements: list[Judgement]
    retry_after_s: float | None


class Delivery:
    """The delivery of one batch. `again` says that it was given to a worker before, `resent` that it was put onto the
    bus before. With `coalescing`, what has been overtaken is not sent."""

    def __init__(
        self,
        to: Destination,
        lease: Lease,
        stop: asyncio.Event,
        again: bool,
        coalescing: Coalescing | None = None,
        resent: bool = False,
    ) -> None:
        self._to = to
        self._lease = lease
        self._stop = stop
        self._again = again
        self._records: Sequence[Outbound] = ()
        self._looked = Looked(to.consented)
        self._coalescing = coalescing
        self._resent = resent
        #: Records of a request that went out, and was not answered by a plain "later".
        self._tried: set[str] = set()
        self._closings = Closings()
        self.attempts = 0
        #: Records that were overtaken before anything of their batch was sent.
        self.overtaken: list[str] = []

    async def run(self, records: Sequence[Outbound], done: Collection[str] = ()) -> list[Outcome]:
        """One outcome for each record, in their order; of those with these ids the log has one `done`, which stays.
        Raises `LeftError` when it cannot come to an end."""
        self._records = records
        takes = self._to.connector.changes
        for record in records:
            if record.id in done:
                self._closings.close(record, "suppressed", "it has an outcome")
            elif record.change not in takes:
                self._closings.close(record, "suppressed", f"the destination takes no '{record.change}'")
        if self._coalescing is not None and "remove" in takes:
            await self._coalesce(self._coalescing, [one for one in records if one.id not in done])
        await self._side_by_side(self._render(await self._transform(await self._allowed(records))))
        return self._closings.of(records)

    async def _transform(self, records: Sequence[Outbound]) -> Sequence[Outbound]:
        """What is sent of these records, made once: an attempt again sends the same."""
        if self._to.transform is None or not records:
            return records
        sent = []
        for record, made in zip(records, await self._to.transform(records, self._stop), strict=True):
            if isinstance(made, Unsent):
                self._closings.close(record, made.status, made.reason)
                continue
            if made != record:
                self._closings.transformed.add(record.id)
            sent.append(made)
        return sent

    async def _coalesce(self, coalescing: Coalescing, records: Sequence[Outbound]) -> None:
        """Closes what has been overtaken."""
        perhaps_sent = self._again or self._resent
        overtaken = await coalescing.overtaken(records, perhaps_sent)
        for record in records:
            if (found := overtaken.get(record.id)) is not None:
                self._closings.close(record, "suppressed", found.reason, superseded_by=found.by)
        self.overtaken = [] if perhaps_sent else list(overtaken)

    async def _side_by_side(self, requests: Sequence[Request]) -> None:
        """Settles requests at once, but for those that are about the same people."""
        tasks: list[asyncio.Task[None]] = []
        newest: dict[str, asyncio.Task[None]] = {}
        for request in requests:
            people = {one.profile for one in request.outbound}
            before = {newest[person] for person in people if person in newest}
            task = asyncio.create_task(self._after(before, request))
            tasks.append(task)
            newest.update(dict.fromkeys(people, task))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _after(self, before: set[asyncio.Task[None]], request: Request) -> None:
        for task in before:
            await task
        await self._settle(request)

    async def _settle(self, request: Request) -> None:
        """Sends a request, and what is to be repeated of it, until each of its records has an outcome."""
        requests, attempt = [request], 0
        started = asyncio.get_running_loop().time()
        while requests:
            attempt += 1
            repeat: list[Judgement] = []
            waits: list[float] = []
            for each in requests:
                judged = await self._attempt(each)
                repeat += self._take_in(judged.judgements, attempt)
                waits += [wait for wait in (judged.retry_after_s,) if wait is not None]
            if not repeat:
                return
            waits += [one.after_s for one in repeat if one.after_s is not None]
            elapsed = asyncio.get_running_loop().time() - started
            decision = decide(attempt, elapsed, max(waits, default=None), random.random(), self._to.give_up_s)
            if isinstance(decision, GiveUp):
                for one in repeat:
                    self._closings.close(one.outbound, "dead", f"{one.reason}; {decision.reason}", attempt)
                return
            log.info(
                "trying again",
                connection=self._to.config.name,
                records=len(repeat),
                attempt=attempt,
                after_s=round(decision.after_s, 3),
                reason=repeat[0].reason,
            )
            await self._pause(decision.after_s)
            requests = self._render(await self._allowed([one.outbound for one in repeat], attempt), attempt)

    async def _attempt(self, request: Request) -> _Judged:
        connector, config, gate = self._to.connector, self._to.config, self._to.gate
        async with gate.turn(self._stop):
            if gate.gone:
                return _Judged([Judgement(one, "dead", GONE) for one in request.outbound], None)
            if await in_quiet_hours(self._to.now, request.outbound):
                return _Judged(
                    [Judgement(one, "retry", "quiet hours began") for one in request.outbound], None
                )
            if await self._withdrawn(request.outbound):
                # It is made again at once, without whom must not be told of.
                return _Judged(
                    [Judgement(one, "retry", "consent withdrawn", after_s=0) for one in request.outbound],
                    None,
                )
            self._lease.require()
            self.attempts += 1
            ids = {one.id for one in request.outbound}
            self._tried |= ids
            failpoint("deliver.before_send")
            try:
                answer = await self._to.transport.send(connector.sign(config, request, int(time.time())))
            except NoAnswerError as error:
                gate.failed()
                return _Judged([Judgement(one, "retry", str(error)) for one in request.outbound], None)
            gate.answered(answer)
            if answer.status == 429:
                self._tried -= ids
        failpoint("deliver.sent")
        wait = retry_after_s(answer.headers, datetime.now(UTC))
        judgements, following = judge(connector, config, request, answer)
        if not following:
            return _Judged(judgements, wait)
        told_by_others = {one.id for each in following for one in each.outbound}
        judgements = [one for one in judgements if one.outbound.id not in told_by_others]
        for each in following:
            judged = await self._attempt(each)
            judgements += judged.judgements
            wait = max((w for w in (wait, judged.retry_after_s) if w is not None), default=None)
        return _Judged(judgements, wait)

    def _take_in(self, judgements: Sequence[Judgement], attempt: int) -> list[Judgement]:
        """Closes what is decided; the rest is to be tried again."""
        repeat = []
        for one in judgements:
            if one.verdict == "retry":
                repeat.append(one)
            else:
                self._closings.close(one.outbound, one.verdict, one.reason, attempt, one.reference)
        return repeat

    async def _withdrawn(self, records: Sequence[Outbound]) -> bool:
        """Whether one of these must not be sent any more, who may have waited long for their turn since they were
        looked at. What waits behind them is looked at with them."""
        now = asyncio.get_running_loop().time()
        if self._looked.stale(records, now):
            await self._looked.look(self._closings.open(self._records), now)
        return self._looked.refused(records)

    async def _allowed(self, records: Sequence[Outbound], attempts: int = 0) -> list[Outbound]:
        """Those of the records that are open and may be sent now."""
        waiting = self._closings.open(records)
        refused = await self._looked.look(waiting, asyncio.get_running_loop().time())
        # Who was told of before is taken back, by what was told.
        waiting = [
            taken_back(one) if one.id in refused and one.change == "update" else one for one in waiting
        ]
        refused -= {record.id for record in waiting if record.change == "remove"}
        for record in waiting:
            if record.id in refused:
                tried = self._again or record.id in self._tried
                note = "; an attempt before may have reached the person" if tried else ""
                why = f"no consent to '{record.purpose}'" if record.purpose else "the person had been erased"
                self._closings.close(record, "suppressed", f"{why} at delivery{note}", attempts)
        return await self._undisturbed([record for record in waiting if record.id not in refused], attempts)

    async def _undisturbed(self, records: Sequence[Outbound], attempts: int) -> list[Outbound]:
        """Those that are not in quiet hours. The others go out after them as new records, but for what a destination
        may have taken already, since it would not know it again."""
        quiet = await in_quiet_hours(self._to.now, records)
        for record in records:
            if (until := quiet.get(record.id)) is None:
                continue
            if self._again or record.id in self._tried:
                reason = f"quiet hours of channel '{record.channel}'; an attempt before may have reached the person"
                self._closings.close(record, "suppressed", reason, attempts)
            else:
                self._closings.close(
                    record, "suppressed", waits(record.channel, until), attempts, again_at=until
                )
        return [record for record in records if record.id not in quiet]

    def _render(self, records: Sequence[Outbound], attempts: int = 0) -> list[Request]:
        """The requests for these records; a record that is in none of them is dead."""
        requests, reason = render(self._to.connector, self._to.config, records)
        carried = {one.id for request in requests for one in request.outbound}
        for record in records:
            if record.id not in carried:
                self._closings.close(record, "dead", reason, attempts)
        return requests

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        raise StoppedError
