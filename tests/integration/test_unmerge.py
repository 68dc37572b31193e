"""`roundtrip identity unmerge`: one person is two again, in the tables, the lake and a rebuild."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from adapters.history.tables import History
from adapters.log.append import append
from adapters.projections.people import load_profiles
from adapters.projections.subjects import index_subjects
from domain.profiles import Profile
from domain.records import Identifier, Record, RecordType, entry_of
from domain.workspace import Workspace
from runtime.cli import app_for
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.erase import parse_identifier, request_erasure
from runtime.errors import UnmergeError
from runtime.history import HistoryWriter
from runtime.identity_explain import explain_identity
from runtime.pipeline import Pipeline, drain
from runtime.profile_then import show_profile_then
from runtime.profiles import NobodyError, show_profile
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from runtime.unmerge_request import unmerge_identity
from tests.integration.test_history import HOUR, WORKSPACE, bulk, stream, take_in
from tests.keys import KEYS, MASTER_KEY, said

ADS = {
    "connector": "meta_custom_audience",
    "audience": "pros",
    "fields": {"device": "identifier.anonymous_id"},
    "settings": {"base_url": "https://ads.example.com", "audience_id": "23"},
    "secrets": {"access_token": {"env": "ADS_TOKEN"}},
}


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    with open_definitions(database) as definitions:
        declared = WORKSPACE | {"connections": {"ads": ADS}}
        apply_workspace(engine, definitions, Workspace.model_validate(declared))
        yield definitions


def says(engine: Engine, hours: int, kind: RecordType, *named: str, **traits: Any) -> int:
    """Appends a record; its position."""
    record = Record(
        feed="app",
        message_id=f"{kind}-{hours}",
        type=kind,
        name="Order Completed" if kind == "track" else "",
        occurred_at=hours * HOUR,
        identifiers=tuple(Identifier(*one.split(":")) for one in named),
        body=msgspec.Raw(msgspec.json.encode({"traits": traits, "properties": {"total": 40}})),
        traits_at="traits" if traits else "",
        properties_at="properties" if kind == "track" else "",
    )
    with engine.begin() as connection:
        return append(connection, [entry_of(record)], advance_to=hours * HOUR).last_position


@pytest.fixture
def login(engine: Engine, definitions: Definitions) -> int:
    """Where a record says that a phone is Ann's."""
    says(engine, 1, "track", "anonymous_id:phone")
    says(engine, 2, "identify", "user_id:ann", plan="pro")
    position = says(engine, 3, "identify", "user_id:ann", "anonymous_id:phone")
    drain(Pipeline(engine, definitions), 2**62)
    return position


def unmerge(engine: Engine, definitions: Definitions, who: str, apart_from: str = "") -> dict[str, Any]:
    return unmerge_identity(engine, definitions, who, apart_from, "a test", 30.0)


def different(database: str, engine: Engine, definitions: Definitions, home: Path) -> list[Any]:
    task = Task(database, KEYS, home / "rebuild", jobs=1, range_rows=150)
    found = verify_live(engine, task, definitions, lambda at, goal: None)
    return [one for one in found.tables if not one.equal] + ([found.followed] if found.followed else [])


def people(engine: Engine) -> list[Profile]:
    with engine.connect() as connection:
        ids = connection.execute(text("SELECT profile::text FROM profile")).scalars().all()
        return sorted(load_profiles(connection, ids).values(), key=lambda one: one.id)


def test_destinations_and_subscribers_are_told_and_explain_shows_it(
    database: str, engine: Engine, definitions: Definitions, login: int, tmp_path: Path
) -> None:
    phone, ann = "anonymous_id:phone", "user_id:ann"
    whole = show_profile(engine, ann)["profile"]
    done = unmerge(engine, definitions, ann)
    assert (done["profile"], done["nobodys"]) == (whole, [])
    assert show_profile(engine, phone)["profile"] == whole
    assert [show_profile(engine, ann)["profile"]] == done["parted"]
    assert show_profile(engine, phone)["attributes"] == {}
    told = [(one["change"], one["fields"]) for one in said(database, "outbound.requested")]
    assert told == [("add", {"device": "phone"}), ("remove", {"device": "phone"})]
    [unmerged] = said(database, "profile.unmerged")
    assert unmerged == {"profile": whole, "parted": done["parted"][0], "cause": done["position"]}
    found = explain_identity(engine, ann)
    assert found["unmerged"] == [{"position": done["position"], "from": whole}]
    assert [edge["merged"] for edge in found["edges"]] == []
    assert found["edges"] == explain_identity(engine, phone)["edges"]
    assert different(database, engine, definitions, tmp_path) == []


def test_rebuild_and_lake_agree_with_live_tables_while_people_are_unmerged(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    history = History(str(tmp_path / "lake"))
    take_in(engine, definitions, 250, seed=1)
    HistoryWriter(engine, definitions, history).turn()
    cut = _cut_some(engine, definitions, 6)
    assert bulk(engine, definitions, history) == stream(engine)
    # A workspace that takes effect looks at the whole history, by who is who now.
    audiences = WORKSPACE["audiences"] | {"bought": {"match": {"event": "Order Completed", "at_least": 3}}}  # type: ignore[operator]
    declared = WORKSPACE | {"connections": {"ads": ADS}, "audiences": audiences}
    apply_workspace(engine, definitions, Workspace.model_validate(declared))
    take_in(engine, definitions, 80, seed=2)
    cut += _cut_some(engine, definitions, 3)
    assert len(cut) == 9
    assert different(database, engine, definitions, tmp_path) == []


def _cut_some(engine: Engine, definitions: Definitions, count: int) -> list[dict[str, Any]]:
    done = []
    for profile in people(engine):
        if "user_id" in profile.identifiers and len(profile.identifiers.get("anonymous_id", ())) > 1:
            [user] = profile.identifiers["user_id"]
            device = max(profile.identifiers["anonymous_id"].items(), key=lambda one: one[1])[0]
            done.append(unmerge(engine, definitions, f"anonymous_id:{device}", f"user_id:{user}"))
        if len(done) == count:
            break
    return done


@pytest.mark.parametrize(
    ("who", "apart_from", "mend"),
    [
        ("user_id:ann", "user_id:ann", "out of itself"),
        ("user_id:ann", "user_id:bob", "not one person's"),
        ("user_id:ann", "17", "at position 17"),
        ("user_id:ann", "nonsense", "write KIND:VALUE"),
        ("user_id:bob", "", "only identifier"),
        ("anonymous_id:tablet", "", "nothing to undo"),
    ],
)
def test_what_cannot_be_unmerged_is_said_with_the_mend(
    engine: Engine, definitions: Definitions, login: int, who: str, apart_from: str, mend: str
) -> None:
    says(engine, 4, "identify", "user_id:bob")
    says(engine, 5, "identify", "anonymous_id:tablet", "email:a@b.c")
    drain(Pipeline(engine, definitions), 2**62)
    with pytest.raises(UnmergeError, match=mend):
        unmerge(engine, definitions, who, apart_from)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM profile")).scalar_one() == 3


def test_nobody_is_unmerged_who_is_not_known(engine: Engine, definitions: Definitions, login: int) -> None:
    with pytest.raises(NobodyError):
        unmerge(engine, definitions, "user_id:nobody")


def test_a_merge_is_undone_by_its_position_and_an_alias_call_makes_it_again(
    database: str, engine: Engine, definitions: Definitions, login: int, tmp_path: Path
) -> None:
    done = unmerge(engine, definitions, "user_id:ann", str(login))
    assert len(done["parted"]) == 1
    says(engine, 6, "identify", "user_id:ann", "anonymous_id:phone")
    drain(Pipeline(engine, definitions), 2**62)
    assert len(people(engine)) == 2
    [refused] = explain_identity(engine, "user_id:ann")["refused"]
    assert f"unmerged from this person at position {done['position']}" in refused["reason"]
    says(engine, 7, "alias", "user_id:ann", "anonymous_id:phone")
    drain(Pipeline(engine, definitions), 2**62)
    assert len(people(engine)) == 1
    assert different(database, engine, definitions, tmp_path) == []


def test_a_person_as_of_a_position_was_one_before_and_is_another_after(
    engine: Engine, definitions: Definitions, login: int
) -> None:
    before = show_profile(engine, "user_id:ann")
    done = unmerge(engine, definitions, "user_id:ann")
    with engine.begin() as connection:
        index_subjects(connection)
    says(engine, 5, "identify", "user_id:ann", seats=2)
    drain(Pipeline(engine, definitions), 2**62)
    for who in ("user_id:ann", "anonymous_id:phone"):
        now = show_profile(engine, who)
        then = show_profile_then(engine, who, str(now["position"]), definitions.change_of)
        assert {name: then[name] for name in now} == now
        then = show_profile_then(engine, who, str(done["position"] - 1), definitions.change_of)
        assert then["identifiers"] == before["identifiers"]
        assert then["memberships"] == before["memberships"]


@pytest.mark.parametrize("who", ["user_id:ann", "anonymous_id:phone"])
def test_one_of_the_two_is_erased_and_a_rebuild_has_the_other_as_they_are(
    database: str, engine: Engine, definitions: Definitions, login: int, tmp_path: Path, who: str
) -> None:
    unmerge(engine, definitions, "user_id:ann")
    says(engine, 5, "track", "user_id:ann", "anonymous_id:phone")
    drain(Pipeline(engine, definitions), 2**62)
    with engine.begin() as connection:
        request_erasure(connection, parse_identifier(who), "a test")
    drain(Pipeline(engine, definitions), 2**62)
    says(engine, 6, "track", "user_id:ann", "anonymous_id:phone")
    drain(Pipeline(engine, definitions), 2**62)
    assert len(people(engine)) == (2 if who.startswith("user_id") else 1)
    assert [one for one in different(database, engine, definitions, tmp_path) if hasattr(one, "equal")] == []


@pytest.mark.parametrize("point", ["pipeline.before_commit", "pipeline.before_checkpoint"])
def test_killed_in_the_middle_it_is_done_once(
    database: str, engine: Engine, definitions: Definitions, login: int, tmp_path: Path, point: str
) -> None:
    command = [sys.executable, "-m", "runtime.cli", "identity", "unmerge", "user_id:ann"]
    environment = _environment(database, tmp_path) | {"ROUNDTRIP_FAILPOINT": f"{point}:1"}
    killed = subprocess.run(command, env=os.environ | environment, check=False)
    assert killed.returncode == -9
    assert len(people(engine)) == 1
    drain(Pipeline(engine, definitions), 2**62)
    assert len(people(engine)) == 2
    assert len(said(database, "subject.unmerged")) == 1
    assert different(database, engine, definitions, tmp_path) == []


def test_the_command_prints_what_was_done(
    database: str, engine: Engine, definitions: Definitions, login: int, tmp_path: Path
) -> None:
    def run(*words: str) -> Result:
        app = app_for(["identity"])
        return CliRunner().invoke(
            app, ["identity", *words], env=os.environ | _environment(database, tmp_path)
        )

    told = json.loads(run("unmerge", "user_id:ann", "--from", "anonymous_id:phone").stdout)
    assert len(told["parted"]) == 1
    assert "unmerged from profile" in run("explain", "user_id:ann").stdout
    again = run("unmerge", "user_id:ann", "--from", "anonymous_id:phone")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "only identifier" in again.stderr


def _environment(database: str, home: Path) -> dict[str, str]:
    return {
        "ROUNDTRIP_HOME": str(home),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
    }
