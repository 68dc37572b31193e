"""Erasing a person on a whole Roundtrip: nothing of theirs is readable anywhere, and everything else holds."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import nats
import pytest
from sqlalchemy import Connection, text

from adapters.bus.streams import IN, LOG, OUT
from adapters.history.tables import History
from adapters.log.read import iterate
from adapters.projections.people import load_profiles
from adapters.quarantine import Quarantined, put_aside, put_asides
from benchmarks.platform import Platform, platform
from domain.erasure import ERASED
from domain.records import Identifier, node_id
from runtime.engines import running as engines_of
from tests.integration.simulating import Simulator
from tests.integration.simulating import running as simulating
from tests.keys import opened
from tests.servers import REPOSITORY, wait_until

KEY = "erase-write-key"
AUDIENCE = "23842000000000001"
WORKSPACE = """
workspace: erasing
feeds:
  app: {format: segment, secret: {env: ERASE_WRITE_KEY}}
audiences:
  pros: {match: {attribute: plan, is: pro}}
connections:
  ads:
    connector: meta_custom_audience
    audience: pros
    fields: {email: attribute.email}
    settings: {base_url: "${ERASE_ADS_URL}", audience_id: "23842000000000001"}
    secrets: {access_token: {env: ERASE_ADS_TOKEN}}
    allow_private: true
"""
#: All of these are nowhere but in what Ann's apps have sent.
ANN = {
    "user": "ann-7f3a9c",
    "email": "ann-51c2@example.com",
    "phone": "+493012345678",
    "secret": "likes-Zk93x",
}
BOB = {
    "user": "bob-2b7d1e",
    "email": "bob-77aa@example.com",
    "phone": "+493087654321",
    "secret": "likes-Qm41w",
}
DEVICE = "shared-device-4d5e"


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulating("ad_platform", tmp_path_factory.mktemp("ads"), "--token", "ads-token") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def ours(ads: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    file = tmp_path_factory.mktemp("workspace") / "roundtrip.yaml"
    file.write_text(WORKSPACE)
    environment = {
        "ERASE_WRITE_KEY": KEY,
        "ERASE_ADS_URL": str(ads.http.base_url).rstrip("/"),
        "ERASE_ADS_TOKEN": "ads-token",
    }
    with platform(file, environment) as running:
        yield running


def tell(ours: Platform, person: dict[str, str], *, plan: str = "pro") -> None:
    """What a person's app sends, from a device that somebody else has used too."""
    traits = {"email": person["email"], "phone": person["phone"], "plan": plan, "hobby": person["secret"]}
    calls = [
        {"type": "identify", "userId": person["user"], "anonymousId": DEVICE, "traits": traits},
        {
            "type": "track",
            "event": "Seen",
            "userId": person["user"],
            "properties": {"what": person["secret"]},
        },
        {"type": "track", "event": "Seen", "anonymousId": DEVICE, "properties": {}},
    ]
    batch = [call | {"messageId": str(uuid4())} for call in calls]
    answer = httpx2.post(f"{ours.url}/v1/batch", json={"batch": batch}, auth=(KEY, ""), trust_env=False)
    assert answer.status_code == 200, answer.text


def settled(ours: Platform) -> None:
    wait_until(
        lambda: not any(r["lag"] for r in ours.status()["readers"].values()), "readers to catch up", 30
    )


def database(ours: Platform) -> str:
    engines = engines_of(ours.home)
    assert engines is not None
    return engines.database_url


def command(ours: Platform, *words: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**ours.environment, "PYTHONPATH": str(REPOSITORY), "ROUNDTRIP_FAILPOINT": failpoint}
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


async def messages(url: str) -> list[bytes]:
    """Every message that NATS would still give to anybody."""
    client = await nats.connect(url)
    js = client.jetstream()
    found = []
    for stream in (IN, LOG, OUT):
        state = (await js.stream_info(stream)).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            try:
                found.append((await js.get_msg(stream, sequence)).data or b"")
            except nats.js.errors.NotFoundError:
                continue
    await client.close()
    return found


def readable(ours: Platform, connection: Connection) -> dict[str, bytes]:
    """All that anybody with every key can read, by place."""
    engines = engines_of(ours.home)
    assert engines is not None
    tables = connection.execute(
        text(
            "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'"
        )
    ).scalars()
    places = {
        name: "\n".join(connection.execute(text(f"SELECT t::text FROM {name} t")).scalars()).encode()
        for name in list(tables)
    }
    places["log, opened"] = b"\n".join(row.state for row in iterate(connection))
    ids = connection.execute(text("SELECT profile::text FROM profile")).scalars().all()
    places["profiles, opened"] = repr(load_profiles(connection, ids)).encode()
    places["quarantine, opened"] = repr(put_asides(connection)).encode()
    places["messages"] = b"\n".join(asyncio.run(messages(engines.nats_url)))
    history = History(f"{ours.home}/lake")
    import pyarrow.parquet as pq

    for name, files in history.files().items():
        rows = [pq.read_table(file.removeprefix("file://")).to_pylist() for file in files]
        places[f"lake {name}"] = repr(rows).encode()
    return places


def on_disk(home: Path, values: Sequence[str]) -> list[str]:
    """The files below a home that have one of these in the clear."""
    found = []
    for file in home.rglob("*"):
        if file.is_file() and not file.is_symlink():
            try:
                content = file.read_bytes()
            except OSError:
                continue
            found += [f"{file}: {value}" for value in values if value.encode() in content]
    return found


def holding(places: dict[str, bytes], person: dict[str, str]) -> set[str]:
    return {place for place, content in places.items() for v in person.values() if v.encode() in content}


def test_nothing_of_an_erased_person_is_readable_and_all_else_holds(ours: Platform, ads: Simulator) -> None:
    tell(ours, ANN)
    tell(ours, BOB)
    with opened(database(ours)) as connection:
        body = f'{{"userId": "{ANN["user"]}", "timestamp": "yesterday"}}'.encode()
        put_aside(connection, Quarantined(str(uuid4()), "app", "code", "reason", {}, body, 1))
        connection.commit()
    settled(ours)
    told = f"audiences/{AUDIENCE}"
    wait_until(lambda: len(ads.get(told)["members"]) == 2, "both to be told to the ad platform", 30)
    with opened(database(ours)) as connection:
        before = readable(ours, connection)
    assert {"log, opened", "profiles, opened", "quarantine, opened", "messages"} <= holding(before, ANN)
    assert on_disk(ours.home / "postgres", [*ANN.values(), *BOB.values()]) == []

    # Killed after it was asked for, and after the keys were destroyed; then whole, by another identifier.
    for point in ("erase.requested:1", "erase.erased:1"):
        killed = command(ours, "erase", f"email:{ANN['email']}", "--yes", failpoint=point)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = command(ours, "erase", f"user_id:{ANN['user']}", "--yes", "--asked-by", "dpo@example.com")
    assert done.returncode == 0, done.stdout + done.stderr
    certificate: dict[str, Any] = json.loads(done.stdout)
    nodes = {node_id(Identifier(*one)) for one in (("user_id", ANN["user"]), ("email", ANN["email"]))}
    assert nodes <= set(certificate["identifiers"])
    assert certificate["complete"] is True
    assert certificate["keys_destroyed"] == len(certificate["identifiers"])
    assert certificate["audiences_left"] == ["pros"]
    assert certificate["destinations_asked"] == [{"connection": "ads", "status": "delivered"}]
    assert not any(value in done.stdout for value in ANN.values())

    members = {one["value"]: one["member"] for one in ads.get(told)["members"]}
    assert members == {
        hashlib.sha256(ANN["email"].encode()).hexdigest(): False,
        hashlib.sha256(BOB["email"].encode()).hexdigest(): True,
    }
    with opened(database(ours)) as connection:
        after = readable(ours, connection)
        assert sum(row.topic == ERASED for row in iterate(connection)) == 1
    assert holding(after, ANN) == set()
    assert {"log, opened", "profiles, opened", "messages"} <= holding(after, BOB)
    assert on_disk(ours.home, list(ANN.values())) == []
    assert ours.status()["audiences"] == {"pros": 1}

    for words in (("log", "verify"), ("rebuild", "--verify")):
        held = command(ours, *words)
        assert held.returncode == 0, held.stdout + held.stderr
    again = command(ours, "erase", f"email:{ANN['email']}", "--yes")
    assert (again.returncode, json.loads(again.stdout)["erasure"]) == (0, certificate["erasure"])


def test_who_comes_back_is_a_new_person_and_can_go_again(ours: Platform) -> None:
    tell(ours, ANN, plan="free")
    settled(ours)
    assert command(ours, "rebuild", "--verify").returncode == 0
    tail = command(ours, "log", "tail", "-n", "100", "--subject", f"user_id:{ANN['user']}")
    assert tail.returncode == 0, tail.stderr
    assert ANN["secret"] in tail.stdout
    done = command(ours, "erase", f"user_id:{ANN['user']}", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["destinations_asked"] == []
    with opened(database(ours)) as connection:
        assert holding(readable(ours, connection), ANN) == set()
    held = command(ours, "rebuild", "--verify")
    assert held.returncode == 0, held.stdout


@pytest.mark.parametrize(
    ("said", "why"),
    [("user_id:nobody", "nobody is known"), ("ann", "KIND:VALUE"), ("phone:12", "KIND:VALUE")],
)
def test_nobody_is_erased_by_what_names_nobody(ours: Platform, said: str, why: str) -> None:
    done = command(ours, "erase", said, "--yes")
    assert done.returncode == 2
    assert why in done.stderr
