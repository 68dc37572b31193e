"""What holds of somebody who has said nothing to a purpose, everywhere that consent is looked at."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from domain.audiences.definition import Audience
from domain.audiences.evaluation import Person, compile_audiences
from domain.audiences.explanation import explain
from domain.consent import Consent
from domain.identity_rules import DEFAULT_RULES
from domain.profiles import consent_to
from domain.records import ConsentTerms, Identifier, Record
from domain.settling import settling_of
from domain.state import Inbound
from domain.workspace import Workspace
from runtime.connection_preview import preview_person
from runtime.definitions import plan_of
from runtime.profiles import shown_profile
from tests.unit.memory import HOUR, Memory, record, rows

ANN = Identifier("user_id", "ann")
EUROPE = {
    "jurisdictions": {
        "gdpr": {"where": {"country": {"in": ["AT", "DE"]}}},
        "ccpa": {"where": {"country": {"is": "US"}, "address.state": {"is": "CA"}}},
    },
    "purposes": {"ads": {"default": "given", "in": {"gdpr": "refused", "ccpa": "unknown"}}},
}


def workspace(**declared: Any) -> Workspace:
    fields = {"id": "identifier.user_id", "ok": "consent.ads"}
    connection = {"connector": "files", "fields": fields, "settings": {"url": "s3://bucket/folder"}}
    said: dict[str, Any] = {
        "workspace": "shop",
        "feeds": {"app": {"format": "files"}},
        "audiences": {
            "everybody": {"match": {"attribute": "unheard of", "exists": False}},
            "willing": {"match": {"consent": "ads"}},
            "unwilling": {"match": {"consent": "ads", "is": "refused"}},
        },
        "connections": {
            "list": {
                "connector": "meta_custom_audience",
                "audience": "everybody",
                "purpose": "ads",
                "fields": fields,
                "settings": {"audience_id": "1"},
                "secrets": {"access_token": {"env": "TOKEN"}},
            },
            "events": connection | {"events": ["Bought"], "purpose": "ads"},
        },
    }
    return Workspace.model_validate(said | declared)


def says(at: int, **more: Any) -> list[Inbound]:
    return rows((at * HOUR, record("identify", [ANN], at * HOUR, **more)), first=at)


def sent(memory: Memory) -> list[tuple[object, object]]:
    return [(one["change"], one["fields"]) for one in memory.outbound()]


def test_a_default_says_who_is_told_who_belongs_and_what_goes_along_until_the_person_speaks() -> None:
    memory = Memory(plan_of(workspace(**EUROPE)))
    bought = record("track", [ANN], HOUR, name="Bought")
    memory.take_in(rows((HOUR, bought)))
    told = {"id": "ann", "ok": True}
    assert ("event", told) in sent(memory)
    assert sent(memory)[-1] == ("add", told)
    assert set(memory.profile(ANN).memberships) == {"everybody", "willing"}
    # She turns out to live where nothing may be done without a word of hers.
    memory.take_in(says(2, traits={"country": "DE"}))
    assert sent(memory)[-1] == ("remove", told)
    assert set(memory.profile(ANN).memberships) == {"everybody", "unwilling"}
    memory.take_in(says(3, consent={"ads": True}))
    assert sent(memory)[-1] == ("add", told)
    assert set(memory.profile(ANN).memberships) == {"everybody", "willing"}
    # What she has said holds wherever she goes.
    memory.take_in(says(4, traits={"country": "FR"}, consent={"ads": False}))
    assert sent(memory)[-1] == ("remove", told)


@pytest.mark.parametrize(
    ("attributes", "holds"),
    [
        ({}, True),
        ({"country": "DE"}, False),
        ({"country": "US"}, True),
        ({"country": "US", "address": {"state": "CA"}}, None),
        ({"country": "US", "address.state": "CA"}, None),
    ],
)
def test_a_jurisdiction_is_where_all_its_attributes_are(
    attributes: dict[str, Any], holds: bool | None
) -> None:
    policies = workspace(**EUROPE).policies
    assert policies.by_default("ads", attributes) is holds
    memory = Memory(plan_of(workspace(**EUROPE)))
    memory.take_in(says(1, traits=attributes | {"name": "Ann"}))
    assert consent_to(memory.profile(ANN), "ads", policies) is holds


def test_of_several_jurisdictions_the_strictest_default_holds() -> None:
    declared = {
        "jurisdictions": {name: {"where": {name: {"is": 1}}} for name in ("a", "b", "c")},
        "purposes": {"ads": {"default": "refused", "in": {"a": "given", "b": "unknown", "c": "refused"}}},
    }
    policies = workspace(**declared).policies
    assert policies.by_default("ads", {"a": 1}) is True
    assert policies.by_default("ads", {"a": 1, "b": 1}) is None
    assert policies.by_default("ads", {"a": 1, "b": 1, "c": 1}) is False
    assert policies.by_default("ads", {}) is False
    assert policies.by_default("undeclared", {"a": 1}) is None


def test_a_changed_default_takes_effect_with_its_workspace() -> None:
    memory = Memory(plan_of(workspace()))
    memory.take_in(says(1, traits={"name": "Ann"}))
    assert sent(memory) == []
    for default, change in (("given", "add"), ("unknown", "remove")):
        after = plan_of(workspace(purposes={"ads": {"default": default}}))
        settling = settling_of(after, 9, 9 * HOUR, [("workspace", "shop")])
        memory.take_effect(after, settling, [], lambda position: DEFAULT_RULES)
        assert sent(memory)[-1][0] == change
        assert ("willing" in memory.profile(ANN).memberships) == (default == "given")


def test_previews_and_explanations_say_what_holds_and_why() -> None:
    plan = plan_of(workspace(**EUROPE))
    memory = Memory(plan)
    memory.take_in(says(1, traits={"country": "DE"}))
    ann = memory.profile(ANN)
    destination = plan.destination("list")
    assert destination is not None
    from adapters.connectors.configuration import resolve
    from adapters.connectors.connector import connector

    declared = workspace(**EUROPE).connections["list"]
    config = resolve("list", declared, {"TOKEN": "x"})
    found = preview_person(ann, destination, connector(declared.connector), config)
    assert (found.records, found.why_not) == ((), "no consent to 'ads'")
    audiences = workspace(**EUROPE).audiences
    compiled = compile_audiences(audiences, policies=workspace(**EUROPE).policies)
    person = Person({}, {"country": "DE"}, {}, (), ann.id)
    clause = explain(audiences["willing"], compiled, person, HOUR)
    assert (clause.holds, clause.value) == (False, "never said, refused by default")
    undeclared = {"a": Audience.model_validate({"match": {"consent": "x"}})}
    assert explain(undeclared["a"], compile_audiences(undeclared), person, HOUR).value == "never said"
    assert shown_profile(ann, {}, plan.audiences.policies)["consent"] == {
        "ads": {"given": False, "by_default": True}
    }


def test_a_consent_keeps_law_document_source_and_time_and_the_newest_holds() -> None:
    memory = Memory(plan_of(workspace()))
    terms = {"ads": ConsentTerms(jurisdiction="gdpr", document="2026-01", at=2 * HOUR)}
    first = record("identify", [ANN], 5 * HOUR, consent={"ads": True, "mail": True})
    later = msgspec.structs.replace(
        record("identify", [ANN], 6 * HOUR, consent={"ads": False}, feed="crm"), consent_terms=terms
    )
    memory.take_in(rows((7 * HOUR, first), (7 * HOUR, later)))
    # The refusal is older than the consent, though it arrived after it.
    assert memory.profile(ANN).consent["ads"] == Consent(True, 5 * HOUR, 1, "app")
    ahead = {"ads": ConsentTerms(jurisdiction="gdpr", document="2026-02", at=90 * HOUR)}
    withdrawn = record("identify", [ANN], 8 * HOUR, consent={"ads": False}, feed="crm")
    memory.take_in(rows((9 * HOUR, msgspec.structs.replace(withdrawn, consent_terms=ahead)), first=3))
    held = memory.profile(ANN).consent["ads"]
    assert held == Consent(False, 9 * HOUR, 3, "crm", "gdpr", "2026-02")
    shown = shown_profile(memory.profile(ANN), {}, memory.plan.audiences.policies)["consent"]["ads"]
    assert shown["given"] is False
    assert (shown["feed"], shown["jurisdiction"], shown["document"]) == ("crm", "gdpr", "2026-02")


def test_a_record_of_an_earlier_release_has_no_terms() -> None:
    whole = record("identify", [ANN], HOUR, consent={"ads": True})
    assert b"consent_terms" not in msgspec.json.encode(whole)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Record).consent_terms == {}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([True, 1, 2]), type=Consent) == Consent(True, 1, 2)


@pytest.mark.parametrize(
    ("declared", "wrong"),
    [
        ({"purposes": {"ads": {"default": "denied"}}}, "'given', 'refused' or 'unknown'"),
        (
            {"purposes": {"ads": {"in": {"gdpr": "refused"}}}},
            "purpose 'ads' names jurisdiction 'gdpr', which is not declared; declared are: none",
        ),
        ({"jurisdictions": {"gdpr": {"where": {"country": "DE"}}}}, "'DE' has no operator"),
        ({"jurisdictions": {"gdpr": {"where": {}}}}, "at least 1 item"),
    ],
)
def test_what_is_declared_wrongly_is_refused(declared: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        workspace(**declared)
