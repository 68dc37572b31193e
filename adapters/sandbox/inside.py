"""What runs in the sandbox's own process: one program, over one record a line, until nothing more comes in.

Started by `process.py` with nothing of ours but two pipes. It reads the program, shuts itself in, and only then
looks at code that somebody wrote.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final

from adapters.sandbox.limits import can_shut_in, limit, shut_in

#: Loaded by the standard library when it is first used, which is too late in here.
_LATE: Final = ("_strptime", "encodings.idna", "encodings.latin_1", "encodings.utf_16", "encodings.ascii")

Program = Callable[[dict[str, Any]], Any]


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def main() -> None:
    lines, out = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr = _Nowhere()
    program = json.loads(lines.readline())

    def say(what: Any) -> None:
        out.write(json.dumps(what, allow_nan=False).encode() + b"\n")
        out.flush()

    for module in (*program["modules"], *_LATE):
        importlib.import_module(module)
    make = _cel if program["cel"] is not None else _python
    if make is _cel:
        importlib.import_module("cel.stdlib")
    limit(program["memory"], program["cpu_s"])
    if can_shut_in():
        shut_in()
    elif make is _python:
        raise SystemExit("a Python file is run where Linux shuts it in, and nowhere else")
    say({"shut_in": True})
    try:
        run = make(program)
    except Exception as error:  # noqa: BLE001
        say(_failure(program, error))
        return
    say({"ready": True})
    for line in lines:
        try:
            said = json.dumps({"made": run(json.loads(line))}, allow_nan=False).encode()
        except Exception as error:  # noqa: BLE001
            said = json.dumps(_failure(program, error)).encode()
        out.write(said + b"\n")
        out.flush()


def _cel(program: dict[str, Any]) -> Program:
    import cel
    from cel.stdlib import add_stdlib_to_context

    compiled = cel.compile(program["cel"])
    context = cel.Context()
    add_stdlib_to_context(context)
    context.add_function("with", lambda given, further: {**given, **further})
    context.add_function("without", lambda given, names: {k: v for k, v in given.items() if k not in names})

    def run(record: dict[str, Any]) -> Any:
        for name, value in record.items():
            context.add_variable(name, value)
        return compiled.execute(context)

    return run


def _python(program: dict[str, Any]) -> Program:
    names: dict[str, Any] = {"__name__": "transformation"}
    exec(compile(program["source"], program["file"], "exec"), names)  # noqa: S102
    found = names[program["function"]]
    assert callable(found)

    def run(record: dict[str, Any]) -> Any:
        return found(record)

    return run


def _failure(program: dict[str, Any], error: Exception) -> dict[str, str]:
    """The kind of an error and its line; what it says apart from that, as it may repeat the record's values."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == program["file"] and program["file"]
    ]
    where = f" at {program['file']}:{lines[-1]}" if lines else ""
    return {"failed": f"{type(error).__name__}{where}", "detail": str(error)[:1_000]}


if __name__ == "__main__":
    main()
