"""`roundtrip feed`: what a format makes of a payload, also a format that another package brings."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "acme-feed"
RECEIPT = EXAMPLE / "receipt.json"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that has the example package."""
    place = tmp_path_factory.mktemp("acme")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
    subprocess.run([*command, str(EXAMPLE)], check=True, timeout=120)
    return {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{REPOSITORY}"}


def run(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.cli", "feed", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_format_of_another_package_is_found_and_shows_its_records(installed: dict[str, str]) -> None:
    assert "acme" in run(installed, "list").stdout.split()
    shown = run(installed, "test", "acme", RECEIPT)
    assert shown.returncode == 0, shown.stderr
    [record] = [json.loads(line) for line in shown.stdout.splitlines()]
    assert record["message_id"] == "r-1001"
    assert record["identifiers"] == [["user_id", "u-17"]]
    assert record["body"]["sale"]["total"] == 12.5


@pytest.mark.parametrize(("secret", "code"), [("right", 0), ("wrong", 1)])
def test_a_signature_is_checked_where_the_secret_is_named(
    installed: dict[str, str], secret: str, code: int
) -> None:
    signature = hmac.new(b"right", RECEIPT.read_bytes(), hashlib.sha256).hexdigest()
    asked = ("test", "acme", RECEIPT, "-H", f"X-Acme-Signature: {signature}", "--secret-env", "ACME_SECRET")
    done = run(installed | {"ACME_SECRET": secret}, *asked)
    assert done.returncode == code
    assert ("wrong_signature" in done.stderr) == (code == 1)


def test_what_is_wrong_with_a_payload_is_pointed_at(tmp_path: Path) -> None:
    file = tmp_path / "call.json"
    file.write_text('{"type": "track", "userId": "u-1"}')
    done = run(dict(os.environ), "test", "segment", file)
    assert done.returncode == 1
    assert "/event: no_event" in done.stderr


def test_a_format_that_is_not_installed_is_answered_with_those_that_are(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("{}")
    done = run(dict(os.environ), "test", "nonesuch", file)
    assert done.returncode == 2
    assert "onesignal" in done.stderr


def test_the_page_that_walks_through_the_example_shows_the_example() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "write-a-feed.md").read_text()
    assert (EXAMPLE / "acme_feed.py").read_text() in page
