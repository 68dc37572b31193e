"""The conformance suite: every connector of ours keeps its promises, and one that does not is found out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from adapters.connectors.conformance import try_out
from adapters.connectors.connector import (
    Answer,
    Connector,
    Example,
    Judgement,
    Request,
    connector,
    connector_names,
)
from adapters.connectors.segment import CONNECTOR as GOOD
from domain.outbound import Outbound
from tests.servers import REPOSITORY

EXAMPLE = GOOD.example
assert EXAMPLE is not None


@pytest.mark.parametrize("name", connector_names())
def test_every_connector_keeps_its_promises(name: str) -> None:
    results = try_out(connector(name))
    assert len(results) == 10
    assert [(one.promise, one.problems) for one in results if one.problems] == []


def rendering(change: Callable[[Request], Request]) -> Connector:
    return GOOD._replace(render=lambda config, records: [change(r) for r in GOOD.render(config, records)])


def judging(change: Callable[[Answer, Judgement], Judgement]) -> Connector:
    return GOOD._replace(
        judge=lambda config, request, answer: [change(answer, j) for j in GOOD.judge(config, request, answer)]
    )


counter = iter(range(10**9))


def in_the_order_of_fields(config: Any, records: Any) -> list[Request]:
    [request] = GOOD.render(config, records)
    return [request._replace(body=request.body + str([list(one.fields) for one in records]).encode())]


def with_new_keys(config: Any, records: Any) -> list[Request]:
    told: list[Outbound] = [msgspec.structs.replace(one, id=f"k{next(counter)}") for one in records]
    [request] = GOOD.render(config, told)
    return [request._replace(outbound=tuple(records))]


@pytest.mark.parametrize(
    ("promise", "bad"),
    [
        ("settings are checked", GOOD._replace(check=lambda config: None)),
        ("always give the same", rendering(lambda r: r._replace(url=f"{r.url}?{next(counter)}"))),
        ("always give the same", GOOD._replace(render=in_the_order_of_fields)),
        ("known by its key", GOOD._replace(render=with_new_keys)),
        ("each record is in one request", rendering(lambda r: r._replace(outbound=r.outbound[1:]))),
        ("each record is in one request", rendering(lambda r: r._replace(outbound=r.outbound * 2))),
        ("each record is in one request", GOOD._replace(max_batch=1, render=GOOD.render)),
        ("judged once", GOOD._replace(judge=lambda config, request, answer: [])),
        ("judged once", judging(lambda answer, j: j if answer.body != b"null" else None.verdict)),  # type: ignore
        ("accepts is delivered", judging(lambda answer, j: j._replace(verdict="retry"))),
        (
            "passing faults",
            judging(lambda answer, j: j._replace(verdict="dead") if answer.status == 429 else j),
        ),
        (
            "passing faults",
            judging(lambda answer, j: j._replace(verdict="retry") if answer.status == 400 else j),
        ),
        (
            "passing faults",
            judging(lambda answer, j: j._replace(verdict="delivered") if answer.status == 302 else j),
        ),
        (
            "no reason says",
            judging(lambda answer, j: j._replace(reason=answer.body.decode("utf-8", "replace"))),
        ),
        ("not declared", rendering(lambda r: r._replace(body=r.body + r.outbound[0].profile.encode()))),
        ("not declared", rendering(lambda r: r._replace(url=r.url + "?key=a-write-key"))),
        ("only headers", GOOD._replace(sign=lambda config, r, now: r._replace(url=f"{r.url}?at={now}"))),
        ("only headers", GOOD._replace(sign=lambda config, r, now: r._replace(body=str(now).encode()))),
    ],
)
def test_a_broken_promise_is_found(promise: str, bad: Connector) -> None:
    assert any(promise in one.promise and one.problems for one in try_out(bad))


def test_the_example_in_the_documentation_keeps_its_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = REPOSITORY / "examples" / "acme-connector"
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("acme_connector")
    assert [one for one in try_out(module.CONNECTOR) if one.problems] == []
    page = (REPOSITORY / "docs" / "how-to" / "write-a-connector.md").read_text()
    assert (folder / "acme_connector.py").read_text() in page


def test_one_without_an_example_has_to_be_given_one() -> None:
    bare = GOOD._replace(example=None)
    with pytest.raises(ValueError, match="has no example"):
        try_out(bare)
    assert isinstance(EXAMPLE, Example)
    assert not any(one.problems for one in try_out(bare, EXAMPLE))
