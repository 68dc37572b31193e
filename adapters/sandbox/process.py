"""A transformation's process: begun when there is something to do, fed whole batches, ended when it does not keep to
its limits, and begun again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psutil

from domain.transforming import MODULES, Failure, Transform


class Limits(NamedTuple):
    """Seconds until the answer to a record, until those to a batch, and until the process is there; bytes of its
    memory, and of one answer; seconds of processor time after which it makes place for a new one."""

    record_s: float = 5.0
    batch_s: float = 30.0
    start_s: float = 30.0
    memory: int = 256 * 1024 * 1024
    answer: int = 256 * 1024
    cpu_s: int = 60


LIMITS: Final = Limits()


class SandboxError(Exception):
    """There is no process to run it in. No fault of the transformation."""


class Sandbox:
    """Runs one transformation, for one task at a time. To be closed."""

    def __init__(self, transform: Transform, limits: Limits = LIMITS) -> None:
        self._transform = transform
        self._limits = limits
        self._process: Process | None = None

    async def answers(self, records: Sequence[Any]) -> list[Any]:
        """What the transformation makes of each record, or a `Failure`. One that fails, hangs or takes too much memory
        costs the others nothing but time; what comes after the batch's time is over fails too.

        Raises `SandboxError`.
        """
        answers: list[Any] = []
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.batch_s
        while len(answers) < len(records):
            if loop.time() >= end:
                late = Failure(f"its batch was not done within {self._limits.batch_s:g} s")
                return answers + [late] * (len(records) - len(answers))
            process = await self._started()
            if isinstance(process, Failure):
                return answers + [process] * (len(records) - len(answers))
            before = len(answers)
            failure = await self._feed(process, records[before:], answers, end)
            if failure is not None:
                await self.close()
                answers.append(failure)
        return answers

    async def close(self) -> None:
        """Ends the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            await _end(process)

    async def _feed(
        self, process: Process, records: Sequence[Any], answers: list[Any], end: float
    ) -> Failure | None:
        """Adds answers in their order; why there was none to the next record, where the process was at fault."""
        assert process.stdin is not None
        written = asyncio.create_task(_write(process.stdin, records))
        loop = asyncio.get_running_loop()
        try:
            for _ in records:
                wait = min(self._limits.record_s, end - loop.time())
                answer = await self._line(process, wait)
                if isinstance(answer, Failure):
                    return answer
                answers.append(answer)
        finally:
            written.cancel()
            await asyncio.gather(written, return_exceptions=True)
        return None

    async def _line(self, process: Process, wait_s: float) -> Any:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(wait_s):
                line = await process.stdout.readline()
        except TimeoutError:
            return Failure(f"no answer within {max(wait_s, 0):.3g} s")
        except ValueError:
            return Failure(f"makes more than {self._limits.answer:,} bytes of one record")
        if not line:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.start_s):
                    await process.wait()
            megabytes = self._limits.memory // 2**20
            return Failure(f"its process ended ({process.returncode}); it has {megabytes} MB of memory")
        try:
            said = json.loads(line)
            if "made" in said:
                return said["made"]
            return Failure(f"failed: {said['failed']}", said["detail"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return Failure("its process said what is no answer")

    async def _started(self) -> Process | Failure:
        if self._process is not None and _spent(self._process) >= self._limits.cpu_s:
            await self.close()
        if self._process is not None:
            return self._process
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                "adapters.sandbox.inside",
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={},
                limit=self._limits.answer,
            )
        except OSError as error:
            raise SandboxError(
                f"the transformation's process cannot be started ({error.strerror})"
            ) from error
        self._process = process
        try:
            return await self._loaded(process)
        except BaseException:
            await self.close()
            raise

    async def _loaded(self, process: Process) -> Process | Failure:
        assert process.stdin is not None
        assert process.stdout is not None
        transform, python = self._transform, self._transform.python
        program = {
            "cel": transform.cel,
            "source": python.source if python is not None else "",
            "file": python.file if python is not None else "",
            "function": transform.function,
            "modules": MODULES,
            "memory": self._limits.memory,
            # Twice what it is replaced after: only one that nobody ends any more comes so far.
            "cpu_s": 2 * self._limits.cpu_s + int(self._limits.batch_s),
        }
        await _write(process.stdin, [program])
        try:
            async with asyncio.timeout(self._limits.start_s):
                shut_in = await process.stdout.readline()
        except TimeoutError:
            shut_in = b""
        if not shut_in:
            raise SandboxError("the transformation's process cannot be shut in, and nothing is run in it")
        # From here on it is the transformation's own.
        try:
            async with asyncio.timeout(self._limits.record_s):
                said = json.loads(await process.stdout.readline() or b"{}")
        except (TimeoutError, ValueError):
            said = {}
        if "ready" in said:
            return process
        await self.close()
        reason = said.get("failed", f"no answer within {self._limits.record_s:g} s")
        return Failure(f"cannot be loaded: {reason}", said.get("detail", ""))


async def _write(to: asyncio.StreamWriter, lines: Sequence[Any]) -> None:
    with contextlib.suppress(ConnectionError):
        for line in lines:
            to.write(json.dumps(line).encode() + b"\n")
            await to.drain()


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _spent(process: Process) -> float:
    """Its seconds of processor time; as good as endless where it is no more."""
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.Error:
        return float("inf")
    return float(times.user + times.system)
