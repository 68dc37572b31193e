"""What every connector promises the runner, tried out on itself: ours, and any that another package brings.

Pure, and without a test runner: `roundtrip connector test NAME` prints it, and a test suite calls `try_out`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, RenderError, Request
from domain.outbound import Change, Outbound

#: As many as are rendered at most, to keep trying out quick.
PEOPLE: Final = 250
#: Stands in what no request may hold.
MARK: Final = "never-to-be-sent"
NOW: Final = 1_800_000_000
_EVENT: Final[dict[str, Any]] = {
    "event": "Order Completed",
    "occurred_at": 1_764_000_000_123_456,
    "properties": {"total": 12.5, "currency": "EUR"},
}

_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
_LASTING: Final = (400, 404, 405, 410, 413, 422)
_BODIES: Final = (
    b"",
    b"<html>",
    b"\xff",
    b"null",
    b"{}",
    b"[]",
    b'""',
    b"0",
    b'{"errors": [{}]}',
    b'{"error": {}}',
)


class Result(NamedTuple):
    """One promise, and where it is not kept."""

    promise: str
    problems: tuple[str, ...]


class _Tried(NamedTuple):
    """A connector with an example of a connection, ready to be called."""

    connector: Connector
    example: Example
    config: ConnectorConfig

    def records(self, count: int, change: Change = "add", batch: int = 1) -> list[Outbound]:
        return [
            Outbound(
                id=str(UUID(int=batch * 1_000_000 + n)),
                connection=self.config.name,
                batch=str(UUID(int=batch)),
                profile=f"{MARK}-{n}",
                audience="" if change == "event" else "new_users",
                change=change,
                fields={"records": n} if change == "complete" else self.example.fields(n),
                cause=n + 1,
                run=batch if change in ("update", "complete") else 0,
                before=dict.fromkeys(self.example.fields(n)) if change == "update" else {},
                **(_EVENT if change == "event" else {}),
            )
            for n in range(count)
        ]

    def render(self, records: Sequence[Outbound]) -> list[Request]:
        return self.connector.render(self.config, records)

    def changes(self) -> list[Change]:
        return sorted(self.connector.changes)

    def requests(self) -> list[Request]:
        return [request for change in self.changes() for request in self.render(self.records(3, change))]


def try_out(connector: Connector, example: Example | None = None) -> list[Result]:
    """Each promise with what is wrong, in the order in which they are made. Raises `ValueError` where there is no
    example to try it with."""
    given = example or connector.example
    if given is None:
        raise ValueError("the connector has no example: give `Connector(…, example=Example(…))` one")
    tried = _Tried(connector, given, ConnectorConfig("tried_out", given.settings, given.secrets))
    return [Result(promise, tuple(_problems(check, tried))) for promise, check in _PROMISES]


def _problems(check: Callable[[_Tried], Iterator[str]], tried: _Tried) -> Iterator[str]:
    try:
        yield from dict.fromkeys(check(tried))
    except Exception as error:  # noqa: BLE001 - whatever a connector raises is what is looked for
        yield f"{type(error).__name__}: {error}"


def _settings(tried: _Tried) -> Iterator[str]:
    tried.connector.check(tried.config)
    wrong = {
        "a setting that does not exist": tried.config._replace(settings={**tried.config.settings, MARK: 1})
    }
    for name in tried.config.secrets:
        rest = {key: value for key, value in tried.config.secrets.items() if key != name}
        wrong[f"a missing secret '{name}'"] = tried.config._replace(secrets=rest)
    for what, config in wrong.items():
        try:
            tried.connector.check(config)
        except ValueError as error:
            if config.name not in str(error):
                yield f"the message on {what} does not name the connection"
            continue
        yield f"check takes {what}"


def _deterministic(tried: _Tried) -> Iterator[str]:
    for change in tried.changes():
        records = tried.records(5, change)
        turned = [msgspec.structs.replace(one, fields=dict(reversed(one.fields.items()))) for one in records]
        first = [_bytes(request) for request in tried.render(records)]
        if first != [_bytes(request) for request in tried.render(records)]:
            yield f"the same '{change}' records render to other requests the second time"
        if first != [_bytes(request) for request in tried.render(turned)]:
            yield f"the order of a '{change}' record's fields changes the request"


def _bytes(request: Request) -> tuple[Any, ...]:
    return request.method, request.url, request.headers, request.body, [one.id for one in request.outbound]


def _key(tried: _Tried) -> Iterator[str]:
    if tried.example.key is None:
        return
    for change in tried.changes():
        one, other = (tried.render(tried.records(2, change, batch)) for batch in (1, 2))
        again = tried.render(tried.records(2, change, 1))
        keys = [tried.example.key(request) for request in one]
        if keys != [tried.example.key(request) for request in again]:
            yield f"a repeated '{change}' has another idempotency key"
        if any(tried.example.key(request) in keys for request in other):
            yield f"two batches of '{change}' share an idempotency key"


def _accounted(tried: _Tried) -> Iterator[str]:
    for change in tried.changes():
        for count in (1, 2, min(tried.connector.max_batch, PEOPLE)):
            records = tried.records(count, change)
            requests = tried.render(records)
            carried = [one.id for request in requests for one in request.outbound]
            if sorted(carried) != sorted(one.id for one in records):
                yield f"{count} '{change}' records are not each in one request: {len(carried)} are carried"
            if any(len(request.outbound) > tried.connector.max_batch for request in requests):
                yield f"a request carries more than {tried.connector.max_batch} records"
    for fields in (
        {},
        dict.fromkeys(tried.example.fields(0)),
        dict.fromkeys(tried.example.fields(0), 7),
    ):
        poor = [msgspec.structs.replace(tried.records(1)[0], fields=fields)]
        try:
            requests = tried.render(poor)
        except RenderError:
            continue
        if any(one.id != poor[0].id for request in requests for one in request.outbound):
            yield "a request carries a record that was not given"


def _judged(tried: _Tried) -> Iterator[str]:
    for request in tried.requests():
        ids = sorted(one.id for one in request.outbound)
        for status in range(200, 600):
            for body in _BODIES if status % 50 < 30 else _BODIES[:3]:
                answer = Answer(status, {}, body)
                judgements = tried.connector.judge(tried.config, request, answer)
                if sorted(one.outbound.id for one in judgements) != ids:
                    yield f"an answer {status} does not judge each record once"
                tried.connector.follow(tried.config, request, answer)


def _accepted(tried: _Tried) -> Iterator[str]:
    for request in tried.requests():
        judgements = tried.connector.judge(tried.config, request, tried.example.accepted(request))
        for one in judgements:
            if one.verdict != "delivered":
                yield f"an accepted '{one.outbound.change}' is judged '{one.verdict}': {one.reason}"


def _by_status(tried: _Tried) -> Iterator[str]:
    for request in tried.requests():
        for statuses, wanted in ((_PASSING, "retry"), (_LASTING, "dead")):
            for status in statuses:
                for one in tried.connector.judge(tried.config, request, Answer(status, {}, b"")):
                    if one.verdict != wanted and not (status == 404 and one.verdict == "delivered"):
                        yield f"a bare {status} is judged '{one.verdict}', not '{wanted}'"
        for status in (301, 302, 307, 401, 403):
            for one in tried.connector.judge(tried.config, request, Answer(status, {}, b"")):
                if one.verdict == "delivered":
                    yield f"a bare {status} is judged 'delivered'"


def _private(tried: _Tried) -> Iterator[str]:
    for request in tried.requests():
        values = [
            value for one in request.outbound for value in one.fields.values() if isinstance(value, str)
        ]
        echo: list[Any] = [*values, *tried.config.secrets.values()]
        if not echo:
            continue
        bodies = [
            msgspec.json.encode(body)
            for body in (
                {"errors": echo, "message": " ".join(echo), "status": "error", "category": echo[0]},
                {
                    "errors": [{"message": one, "type": one, "category": one} for one in echo],
                    "message": "success",
                },
                {"error": {"message": echo[0], "status": echo[0], "code": 400}, "code": 40002},
                {
                    "status": echo[0],
                    "message": echo[0],
                    "category": echo[0],
                    "error": echo[0],
                    "code": echo[0],
                },
            )
        ]
        for status in (200, 201, 207, 400, 401, 422, 429, 500):
            for body in bodies:
                for one in tried.connector.judge(tried.config, request, Answer(status, {}, body)):
                    if any(value in one.reason for value in echo):
                        yield f"a reason repeats what an answer {status} says of a person, or a secret"


def _minimal(tried: _Tried) -> Iterator[str]:
    for request in tried.requests():
        told = tried.connector.sign(tried.config, request, NOW)
        sent = told.body.decode("utf-8", "replace")
        if MARK in sent or MARK in told.url or MARK in str(told.headers):
            yield "a request holds the profile's id, which nobody declared"
        for name, secret in tried.config.secrets.items():
            if secret in sent or (secret in told.url and name not in tried.example.in_url):
                yield f"the secret '{name}' is in the body or the address"


def _signed(tried: _Tried) -> Iterator[str]:
    for request in tried.requests():
        one, other = (tried.connector.sign(tried.config, request, NOW + n) for n in (0, 60))
        if one != tried.connector.sign(tried.config, request, NOW):
            yield "a request signed twice at one moment is not the same"
        if one._replace(headers={}) != request._replace(headers={}) or one.body != other.body:
            yield "signing changes more than headers"


_PROMISES: Final[tuple[tuple[str, Callable[[_Tried], Iterator[str]]], ...]] = (
    ("its settings are checked, and a mistake in them is named", _settings),
    ("the same records always give the same requests", _deterministic),
    ("a repeated request is known by its key, where it has one", _key),
    ("each record is in one request, and none has more than a batch", _accounted),
    ("whatever the answer, each record is judged once", _judged),
    ("what the destination accepts is delivered", _accepted),
    ("passing faults are tried again, lasting ones are not", _by_status),
    ("no reason says anything of a person, nor a secret", _private),
    ("nothing goes along that was not declared, and secrets stay out of bodies and addresses", _minimal),
    ("only headers depend on when a request is sent", _signed),
)
