"""A person as they were at any position: what the pipeline had then, folded again from their own records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from adapters.log.append import append
from adapters.projections.subjects import index_subjects
from domain.outbound import Outbound, Outcome
from domain.records import Entry, Identifier, Record, RecordType, entry_of
from domain.workspace import Identity as Told
from domain.workspace import Workspace
from runtime.audiences.explain import Explained, explain_membership, explain_membership_then
from runtime.connection_runs import RunError, ask_for_run
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.identity_rules import rules_of
from runtime.log_tail import PlaceError
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.profile_then import show_attribute, show_profile_then
from runtime.profiles import NobodyError, show_profile
from runtime.timeline import show_timeline
from tests.keys import said

HOUR = 3_600_000_000
BUYERS = {"match": {"event": "Bought", "at_least": 2, "within": "5h"}}
LAPSED = {"match": {"all": [{"event": "Bought"}, {"not": {"event": "Bought", "within": "3h"}}]}}
PROS = {"match": {"attribute": "plan", "is": "pro"}}
ADS = {
    "connector": "standard_webhooks",
    "audience": "lapsed",
    "fields": {"plan": "attribute.plan"},
    "settings": {"url": "https://ads.example.com"},
    "secrets": {"secret": {"env": "ADS_SECRET"}},
}
#: What of an event goes along is told only of those that the cap of their channel lets out.
MAIL = {k: v for k, v in ADS.items() if k != "audience"} | {
    "events": ["Bought"],
    "channel": "mail",
    "fields": {"seats": "attribute.seats"},
}
#: Told of its audience by runs.
NIGHTLY = ADS | {"audience": "lapsed", "mode": "diff", "schedule": "0 6 * * *"}
CAPPED = {
    "connections": {"ads": ADS, "mail": MAIL, "nightly": NIGHTLY},
    "channels": {"mail": {"cap": [{"at_most": 1, "within": "6h"}]}},
}


def workspace(**more: Any) -> Workspace:
    said = {
        "workspace": "shop",
        "clock": "simulated",
        "feeds": {"app": {"format": "files"}, "crm": {"format": "files", "priority": 5}},
        "audiences": {"buyers": BUYERS, "lapsed": LAPSED},
        "connections": {"ads": ADS},
    }
    return Workspace.model_validate(said | more)


#: Declared one after the other, while records come in.
WORKSPACES = [
    workspace(**CAPPED),
    workspace(
        audiences={"lapsed": LAPSED, "pros": PROS},
        traits={"bought": {"event": "Bought", "compute": "count"}},
        **CAPPED,
    ),
    workspace(traits={"bought": {"event": "Bought", "compute": "count", "within": "4h"}}, **CAPPED),
]


@pytest.fixture
def definitions(database: str) -> Iterator[Definitions]:
    with open_definitions(database) as opened:
        yield opened


def record(random: Random, number: int, at: int) -> Record:
    """Somebody buys, or says who they are; two people in one now and then."""
    user, device = (
        Identifier("user_id", f"u{random.randrange(5)}"),
        Identifier("anonymous_id", f"d{random.randrange(7)}"),
    )
    kind: RecordType = random.choice(["track", "track", "identify"])
    who = random.choice([(user,), (device,), (user, device), (device, user)])
    said = {"traits": {"plan": random.choice(["pro", "free"]), "seats": number}} if kind == "identify" else {}
    return Record(
        feed=random.choice(["app", "app", "crm"]),
        message_id=f"m-{number}",
        type=kind,
        name="Bought" if kind == "track" else "",
        occurred_at=at - random.randrange(2) * HOUR,
        identifiers=who,
        body=msgspec.Raw(msgspec.json.encode(said)),
        traits_at="traits" if said else "",
    )


def everybody(engine: Engine) -> dict[str, dict[str, Any]]:
    found = {}
    for who in (*(f"user_id:u{n}" for n in range(5)), *(f"anonymous_id:d{n}" for n in range(7))):
        try:
            found[who] = show_profile(engine, who)
        except NobodyError:
            continue
    return found


def explained(engine: Engine, people: dict[str, Any]) -> dict[str, Explained]:
    """Why each of these is in the audience that goes by time, or not."""
    return {who: explain_membership(engine, "lapsed", who) for who in people}


def closed(random: Random, database: str, known: set[str]) -> list[Entry]:
    """What became of some of the messages that are open: it arrived, or not."""
    wanted = [one for one in requested(database) if one.id not in known and random.random() < 0.6]
    known |= {one.id for one in wanted}
    return entries_of(
        [
            Outcome(
                id=one.id,
                connection=one.connection,
                status=random.choice(["delivered", "dead"]),
                profile=one.profile,
                channel=one.channel,
                cause=one.cause,
            )
            for one in wanted
        ]
    )


def requested(database: str) -> list[Outbound]:
    return [msgspec.convert(one, Outbound) for one in said(database, "outbound.requested")]


@pytest.mark.parametrize(("seed", "identity"), [(1, Told()), (2, Told(shared_device="most_recent_user"))])
def test_who_somebody_was_is_what_the_pipeline_said_then(
    seed: int, identity: Told, engine: Engine, database: str, definitions: Definitions
) -> None:
    random, at, number = Random(seed), 1_000 * HOUR, 0
    answered: set[str] = set()
    then: list[dict[str, dict[str, Any]]] = []
    why: list[dict[str, Any]] = []
    for turn in range(18):
        if turn in (0, 7, 13):
            declared = WORKSPACES[turn // 6].model_copy(update={"identity": identity})
            apply_workspace(engine, definitions, declared)
        at += random.randrange(3) * HOUR
        several = []
        for _ in range(random.randrange(1, 6)):
            number += 1
            several.append(entry_of(record(random, number, at)))
        with engine.begin() as connection:
            entries = [*several, *closed(random, database, answered)]
            append(connection, entries, advance_to=at, rules=rules_of(declared))
        if turn % 3 == 2:
            with suppress(RunError):
                ask_for_run(engine, "nightly")
        drain(Pipeline(engine, definitions), 2**62)
        then.append(everybody(engine))
        why.append(explained(engine, then[-1]))
        if random.random() < 0.4:
            with engine.begin() as connection:
                index_subjects(connection)
    assert any(one["memberships"] for people in then for one in people.values())
    with engine.connect() as connection:
        assert connection.execute(
            text("SELECT count(*) FROM log WHERE topic = 'profile.merged'")
        ).scalar_one()
    for people in then:
        for who, shown in people.items():
            found = show_profile_then(engine, who, str(shown["position"]), definitions.change_of)
            found.pop("at")
            assert found == shown
    for people, clauses in zip(then, why, strict=True):
        for who, clause in clauses.items():
            place = str(people[who]["position"])
            assert explain_membership_then(engine, "lapsed", who, place, definitions.change_of) == clause
    with pytest.raises(NobodyError, match="nobody was known by this identifier at position 1"):
        show_profile_then(engine, next(iter(then[0])), "1", definitions.change_of)
    with pytest.raises(PlaceError, match="'soon' is neither a position nor a time"):
        show_profile_then(engine, next(iter(then[0])), "soon", definitions.change_of)


def say(number: int, feed: str, who: tuple[Identifier, ...], plan: str, at: int) -> Record:
    return Record(
        feed=feed,
        message_id=f"said-{number}",
        type="identify",
        occurred_at=at,
        identifiers=who,
        body=msgspec.Raw(msgspec.json.encode({"traits": {"plan": plan}})),
        traits_at="traits",
    )


ANN, PHONE, BOB = (
    Identifier("user_id", "ann"),
    Identifier("anonymous_id", "phone"),
    Identifier("user_id", "bob"),
)


@pytest.fixture
def ann(engine: Engine, definitions: Definitions) -> Engine:
    """A log in which four records speak of Ann, by two of her identifiers, and one of Bob."""
    apply_workspace(engine, definitions, workspace(audiences={"pros": PROS, "lapsed": LAPSED}))
    said = [
        say(1, "app", (PHONE,), "trial", HOUR),
        say(2, "crm", (ANN,), "pro", HOUR),
        say(3, "app", (BOB,), "free", HOUR),
        say(4, "app", (ANN, PHONE), "free", 2 * HOUR),
        say(5, "crm", (ANN,), "old", HOUR // 2),
    ]
    with engine.begin() as connection:
        append(connection, [entry_of(one) for one in said], advance_to=3 * HOUR)
    drain(Pipeline(engine, definitions), 2**62)
    return engine


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "not yet indexed"])
def test_a_timeline_has_every_record_of_a_person_and_of_nobody_else(indexed: bool, ann: Engine) -> None:
    if indexed:
        with ann.begin() as connection:
            assert index_subjects(connection) > 0
            assert index_subjects(connection) == 0
    whole = show_timeline(ann, "user_id:ann")
    assert "next" not in whole
    places = [one["position"] for one in whole["records"]]
    assert places == sorted(places, reverse=True)
    inbound = [one["said"] for one in whole["records"] if one["record"].startswith("identify.")]
    assert [one["message_id"] for one in inbound] == ["said-5", "said-4", "said-2", "said-1"]
    assert inbound[1]["identifiers"] == ["user_id:ann", "anonymous_id:phone"]
    assert inbound[1]["body"] == {"traits": {"plan": "free"}}
    followed = {one["record"] for one in whole["records"]} - {"identify."}
    assert {"profile.created", "profile.merged", "audience.entered"} <= followed
    # The same, page by page.
    found, before = [], None
    while True:
        page = show_timeline(ann, "anonymous_id:phone", before, 2)
        assert len(page["records"]) <= 2
        found += page["records"]
        if "next" not in page:
            break
        before = page["next"]
    assert found == whole["records"]


def test_each_value_of_an_attribute_is_told_with_its_source_and_which_one_holds(
    ann: Engine, definitions: Definitions
) -> None:
    found = show_attribute(ann, "anonymous_id:phone", "plan", definitions.change_of)
    told = [(one["value"], one["feed"], one["priority"], one["holds"]) for one in found["values"]]
    assert told == [
        ("pro", "crm", 5, True),
        ("old", "crm", 5, False),
        ("free", "app", 0, False),
        ("trial", "app", 0, False),
    ]
    shown = show_profile(ann, "user_id:ann")["attributes"]["plan"]
    assert shown.items() <= found["values"][0].items()
    assert show_attribute(ann, "user_id:ann", "shoe size", definitions.change_of)["values"] == []
    with pytest.raises(NobodyError):
        show_attribute(ann, "user_id:eve", "plan", definitions.change_of)
