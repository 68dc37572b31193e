"""The language: what can be said, and what a mistake is answered with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from domain.audiences.definition import Audience, InvalidAudiences, path_of, validate_audiences

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs/reference/audiences.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOC, re.S))
def test_every_example_of_the_reference_can_be_declared(block: str) -> None:
    declared = {name: Audience.model_validate(body) for name, body in yaml.safe_load(block).items()}
    validate_audiences(declared, ["lifetime_value"])
    for audience in declared.values():
        said = audience.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert Audience.model_validate(json.loads(json.dumps(said))) == audience


def test_there_is_a_json_schema() -> None:
    schema = Audience.model_json_schema()
    assert schema["properties"]["match"]
    assert "then_none" in json.dumps(schema)


MISTAKES = [
    ("{evnt: A}", "did you mean 'event'?"),
    ("{event: A, witin: 7d}", "did you mean 'within'?"),
    ("{event: A, within: 7}", "as in 30s, 15m, 24h, 7d or 2w"),
    ("{event: A, within: 0h}", "above 0"),
    ("{event: A, then_none: [{event: B}]}", "add within: 24h"),
    ("{event: A, then_none: {event: B}, within: 1h}", "a list of at least one"),
    ("{all: []}", "a list of at least one"),
    ("{all: {event: A}}", "a list of at least one"),
    ("{attribute: plan}", "nothing is compared: add one of"),
    ("{attribute: plan, is: }", "'is' is empty"),
    ("{attribute: day, is: 2026-01-01}", "put it in quotes"),
    ("{attribute: age, at_least: true}", "compare true/false with 'is'"),
    ("{attribute: plan, is: [pro]}", "several values go with 'in'"),
    ("{attribute: plan, in: pro}", "use is for one value"),
    ("{attribute: a..b, exists: true}", "the way into an object with dots"),
    ("{attribute: plan, exists: 1}", "exists: true or exists: false"),
    ("{event: A, where: {plan: pro}}", "write {is: pro}"),
    ("{event: A, where: {plan: {equals: pro}}}", "'equals' is not known here"),
    ("{event: A, at_least: 0}", "at_most: 0 for never"),
    ("{event: A, at_most: 1000}", "from 0 to 100"),
    ("{event: A, exactly: 2, at_most: 3}", "'exactly' stands alone"),
    ("{event: A, at_least: 3, at_most: 2}", "exchange the two"),
    ("{event: A, attribute: b, is: 1}", "put each on its own under 'all'"),
    ("{event: 3}", "is not text"),
    ("{event: ''}", "at least one character"),
    ("{in_audience: Foo Bar}", "as in new_app_users"),
    ("{event: A, before: soon}", "neither a length of time, as in 30d, nor a moment"),
    ("{event: A, between: [30d, 7d]}", "the nearer length of time comes first"),
    ("{event: A, between: [7d, 2026-01-01]}", "the two ends are of a kind"),
    ("{event: A, between: 7d}", "is not two ends"),
    ("{event: A, between: [1d, 7d], within: 7d}", "'between' says both ends"),
    ("{event: A, within: 7d, before: 8d}", "make 'before' shorter"),
    ("{event: A, sum: total}", "a sum is compared: add"),
    ("{event: A, sum: total, at_least: lots}", "is no sum that can be compared"),
    ("{event: A, first: {}}", "nothing is asked of it"),
    ("{event: A, first: {within: 1d}, last: {within: 1d}}", "put each on its own under 'all'"),
    ("{event: A, then: [{event: B}], then_none: [{event: B}], within: 1d}", "cannot stand in one condition"),
    ("{event: A, then: [{event: B, within: never}], within: 1d}", "as in 30s, 15m, 24h, 7d or 2w"),
    ("{split: s, share: 101}", "a number from 0 to 100"),
    ("{split: s, share: [50, 20]}", "the lower number first"),
    ("5", "is not a condition"),
    ("{}", "a condition has one of"),
]


@pytest.mark.parametrize(("said", "answer"), MISTAKES, ids=[said for said, _ in MISTAKES])
def test_a_mistake_is_answered_with_what_would_be_right(said: str, answer: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Audience.model_validate({"match": yaml.safe_load(said)})
    assert any(answer in error["msg"] for error in caught.value.errors()), caught.value.errors()


def test_a_mistake_is_pointed_at_as_the_document_has_it() -> None:
    said = {"match": {"any": [{"event": "A"}, {"not": {"event": "A", "within": "3x"}}]}}
    with pytest.raises(ValidationError) as caught:
        Audience.model_validate(said)
    assert path_of(caught.value.errors()[0]["loc"]) == "match.any.1.not.within"


def test_a_definition_that_is_endless_or_too_deep_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["not"] = endless
    deep: dict[str, Any] = {"event": "A"}
    for _ in range(60):
        deep = {"not": deep}
    for said in (endless, deep):
        with pytest.raises(ValidationError, match="too large"):
            Audience.model_validate({"match": said})


def test_circles_and_unknown_references_are_named() -> None:
    def referring(**to: str) -> dict[str, Audience]:
        return {
            name: Audience.model_validate({"match": {"in_audience": other}}) for name, other in to.items()
        }

    with pytest.raises(InvalidAudiences, match=r"circle: \w → \w → \w → \w; take one"):
        validate_audiences(referring(a="b", b="c", c="a"))
    with pytest.raises(InvalidAudiences, match="'a' refers to 'bb', which is not declared"):
        validate_audiences(referring(a="bb"))
