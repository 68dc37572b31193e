"""Transformations in real processes: what they may not do is refused by the kernel, and one that does not keep to its
limits costs its own record alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import psutil
import pytest

from adapters.sandbox import process
from adapters.sandbox.process import Limits, Sandbox, SandboxError
from domain.transforming import Failure, PythonFile, Transform

RECORD = {"fields": {"email": "Ann@example.com", "n": 1}, "event": "Order Completed", "properties": {}}
ENDLESS = RECORD | {"event": "endless"}
IMPATIENT = Limits(record_s=1.0)


def python(body: str) -> Transform:
    """Of a file that the workspace would refuse where it imports what it may not: the walls have to hold without."""
    source = "def f(record):\n    " + body.replace("\n", "\n    ")
    return Transform.model_construct(cel=None, python=PythonFile(file="t.py", source=source), function="f")


def made(transform: Transform, records: Sequence[Any] = (RECORD,), limits: Limits = IMPATIENT) -> list[Any]:
    async def run() -> list[Any]:
        sandbox = Sandbox(transform, limits)
        try:
            return await sandbox.answers(records)
        finally:
            await sandbox.close()

    return asyncio.run(run())


def test_cel_and_python_make_of_a_batch_what_they_say() -> None:
    cel = Transform(cel="{'fields': fields.with({'email': fields.email.lowerAscii()}).without(['n'])}")
    text = python("import re\nreturn {'event': re.sub(' ', '_', record['event'].lower())}")
    assert made(cel, [RECORD] * 500) == [{"fields": {"email": "ann@example.com"}}] * 500
    assert made(text) == [{"event": "order_completed"}]


@pytest.mark.parametrize(
    "body",
    [
        "open('/etc/passwd')",
        "open('left-behind', 'w')",
        "import sys\nsys.modules['os'].listdir('/')",
        "import sys\nsys.modules['os'].fork()",
        "import sys\nsys.modules['os'].kill(1, 0)",
        "import sys\nsys.modules['os'].execv('/bin/true', ['true'])",
        "import sys\nsys.modules['os'].pipe()",
    ],
)
def test_nothing_outside_can_be_reached(body: str) -> None:
    [found] = made(python(body))
    assert isinstance(found, Failure)
    assert found.reason == "failed: PermissionError at t.py:" + str(2 + body.count("\n"))


def test_there_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Loaded before the walls are up, as it cannot be after.
    monkeypatch.setattr(process, "MODULES", ("socket",))
    [found] = made(python("import socket\nsocket.socket()"))
    assert isinstance(found, Failure)
    assert found.reason == "failed: PermissionError at t.py:3"


def test_nothing_of_ours_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADS_TOKEN", "the-token-itself")
    inherited = os.open("/", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        seen = "import sys\nos = sys.modules['os']\nopen_ = []\nfor n in range(3, 64):\n"
        seen += "    try: os.fstat(n); open_.append(n)\n    except OSError: pass\n"
        found = made(python(seen + "return {'fields': dict(os.environ), 'properties': {'open': open_}}"))
    finally:
        os.close(inherited)
    assert found == [{"fields": {"LC_CTYPE": "C.UTF-8"}, "properties": {"open": []}}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("while record['event'] == 'endless': pass", "no answer within 1 s"),
        ("if record['event'] == 'endless': bytearray(2**30)", "failed: MemoryError at t.py:2"),
        ("import os\nif record['event'] == 'endless': os._exit(3)", "its process ended (3); it has 256 MB"),
        (
            "if record['event'] == 'endless': return 'x' * 2**20",
            "makes more than 262,144 bytes of one record",
        ),
    ],
)
def test_what_breaks_a_limit_costs_one_record(body: str, reason: str) -> None:
    first, found, last = made(python(body + "\nreturn True"), [RECORD, ENDLESS, RECORD])
    assert first is last is True
    assert isinstance(found, Failure)
    assert reason in found.reason


def test_a_batch_comes_to_an_end_where_nothing_does() -> None:
    found = made(python("while True: pass"), [RECORD] * 1_000, Limits(record_s=0.2, batch_s=1.0))
    assert len(found) == 1_000
    assert found[-1] == Failure("its batch was not done within 1 s")


def test_cel_that_takes_too_much_costs_one_record() -> None:
    squared = "properties.v.map(x, properties.v)"
    grown = Transform(cel=f"event != 'endless' || size({squared}.map(y, {squared})) > 0")
    greedy = ENDLESS | {"properties": {"v": ["x" * 100] * 2_000}}
    first, found, last = made(grown, [RECORD, greedy, RECORD])
    assert first is last is True
    assert isinstance(found, Failure)


def test_what_fails_as_it_is_loaded_fails_every_record() -> None:
    broken = Transform.model_construct(
        cel=None,
        python=PythonFile(file="t.py", source="TABLE = {}['x']\ndef f(record): return True"),
        function="f",
    )
    assert made(broken, [RECORD] * 2) == [Failure("cannot be loaded: KeyError at t.py:1", "'x'")] * 2


def test_without_walls_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MODULES", ("no_such_module",))
    with pytest.raises(SandboxError, match="cannot be shut in"):
        made(python("return True"))


def test_its_process_ends_with_it_and_is_replaced_in_time() -> None:
    async def run() -> None:
        sandbox = Sandbox(python("return True"), Limits(cpu_s=0))
        before = set(psutil.Process().children())
        assert await sandbox.answers([RECORD]) == [True]
        [one] = set(psutil.Process().children()) - before
        assert await sandbox.answers([RECORD]) == [True]
        [other] = set(psutil.Process().children()) - before
        assert other != one
        await sandbox.close()
        assert not other.is_running()

    asyncio.run(run())
