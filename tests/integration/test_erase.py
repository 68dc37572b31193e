"""Erasing a person on a whole Roundtrip: nothing of theirs is readable anywhere, and everything else holds."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from adapters.log.read import iterate
from adapters.quarantine import Quarantined, put_aside
from benchmarks.platform import Platform, platform
from domain.erasure import ERASED
from domain.records import Identifier, node_id
from runtime.engines import running as engines_of
from tests.integration.readable import holding, on_disk, readable
from tests.integration.simulating import Simulator
from tests.integration.simulating import running as simulating
from tests.keys import opened, said
from tests.servers import REPOSITORY, wait_until

KEY = "erase-write-key"
AUDIENCE = "23842000000000001"
WORKSPACE = """
workspace: erasing
identity: {shared_device: most_recent_user}
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
#: What a device tells while nobody is logged in.
ALONE = "Seen By Whoever Is There"


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
        {"type": "track", "event": ALONE, "anonymousId": DEVICE, "properties": {"what": person["secret"]}},
    ]
    batch = [call | {"messageId": str(uuid4())} for call in calls]
    answer = httpx2.post(f"{ours.url}/v1/batch", json={"batch": batch}, auth=(KEY, ""), trust_env=False)
    assert answer.status_code == 200, answer.text


def settled(ours: Platform) -> None:
    wait_until(lambda: not any(r["lag"] for r in ours.status()["readers"].values()), "readers to catch up")


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


def test_nothing_of_an_erased_person_is_readable_and_all_else_holds(ours: Platform, ads: Simulator) -> None:
    tell(ours, ANN)
    tell(ours, BOB)
    with opened(database(ours)) as connection:
        body = f'{{"userId": "{ANN["user"]}", "timestamp": "yesterday"}}'.encode()
        put_aside(connection, Quarantined(str(uuid4()), "app", "code", "reason", {}, body, 1))
        connection.commit()
    settled(ours)
    told = f"audiences/{AUDIENCE}"
    wait_until(lambda: len(ads.get(told)["members"]) == 2, "both to be told to the ad platform")
    with opened(database(ours)) as connection:
        before = readable(ours, connection)
    assert {"log, opened", "profiles, opened", "quarantine, opened", "messages"} <= holding(
        before, ANN.values()
    )
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
        alone = said(database(ours), f"track.{ALONE}")
    assert holding(after, ANN.values()) == set()
    assert {"log, opened", "profiles, opened", "messages"} <= holding(after, BOB.values())
    assert [one["identifiers"][0] for one in alone] == [["user_id", BOB["user"]]], (
        "each was of who used it then"
    )
    assert on_disk(ours.home, list(ANN.values())) == []
    assert ours.status()["audiences"] == {"pros": 1}

    for words in (("log", "verify"), ("rebuild", "--verify")):
        held = command(ours, *words)
        assert held.returncode == 0, held.stdout + held.stderr
    again = command(ours, "erase", f"email:{ANN['email']}", "--yes")
    assert (again.returncode, json.loads(again.stdout)["erasure"]) == (0, certificate["erasure"])
    listed = command(ours, "erasures", "list")
    assert listed.returncode == 0, listed.stdout
    assert [(one["erasure"], one["pending"]) for one in map(json.loads, listed.stdout.splitlines())] == [
        (certificate["erasure"], [])
    ]
    shown = command(ours, "erasures", "show", certificate["erasure"])
    assert (shown.returncode, json.loads(shown.stdout)["erased"]) == (0, certificate["erased"])


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
        assert holding(readable(ours, connection), ANN.values()) == set()
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
