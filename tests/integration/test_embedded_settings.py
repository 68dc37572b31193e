"""What the environment decides, and how a mistake in it is told."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.engines import Engines, open_engines, running
from runtime.settings import SettingsError, load_settings
from tests.integration.conftest import Roundtrip
from tests.keys import MASTER_KEY
from tests.servers import REPOSITORY


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_an_empty_environment_means_embedded_servers_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"ROUNDTRIP_DATABASE_URL": ""})
    assert settings.home == tmp_path / ".roundtrip"
    assert settings.workspace == tmp_path / "roundtrip.yaml"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.database_url is None
    assert settings.nats_url is None


def test_the_token_is_made_once_and_kept_private(home: Path) -> None:
    first = load_settings({"ROUNDTRIP_HOME": str(home)})
    second = load_settings({"ROUNDTRIP_HOME": str(home)})
    assert len(first.api_token) >= 40
    assert first == second
    assert stat.S_IMODE((home / "api-token").stat().st_mode) == 0o600
    assert sorted(each.name for each in home.iterdir()) == ["api-token", "master-key"]


def test_the_master_key_is_made_once_for_embedded_engines_and_kept_private(home: Path) -> None:
    first = load_settings({"ROUNDTRIP_HOME": str(home)}).keys
    again = load_settings({"ROUNDTRIP_HOME": str(home)}).keys
    assert first is not None and again is not None
    assert again.unwrap(b"for", first.wrap(b"for", bytes(32))) == bytes(32)
    assert stat.S_IMODE((home / "master-key").stat().st_mode) == 0o600
    (home / "master-key").chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_settings({"ROUNDTRIP_HOME": str(home)})


def test_a_database_elsewhere_gets_no_master_key_made_up_for_it(home: Path) -> None:
    environ = {"ROUNDTRIP_HOME": str(home), "ROUNDTRIP_DATABASE_URL": "postgresql://me@db/roundtrip"}
    settings = load_settings(environ)
    assert settings.keys is None
    with pytest.raises(SettingsError, match="openssl rand -base64 32"):
        Engines(str(settings.database_url), "").open("test")


def test_secrets_are_not_shown(home: Path) -> None:
    settings = load_settings(
        {
            "ROUNDTRIP_HOME": str(home),
            "ROUNDTRIP_API_TOKEN": "hush-token",
            "ROUNDTRIP_DATABASE_URL": "postgresql://me:hush-database@db/roundtrip",
            "ROUNDTRIP_NATS_URL": "nats://hush-nats@a:4222,nats://b:4222",
        }
    )
    assert settings.api_token == "hush-token"
    assert settings.database_url == "postgresql+psycopg://me:hush-database@db/roundtrip"
    assert settings.nats_url == "nats://hush-nats@a:4222,nats://b:4222"
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:9000", ("::1", 9000)), ("localhost:80", ("localhost", 80))],
)
def test_addresses_are_read(home: Path, value: str, expected: tuple[str, int]) -> None:
    settings = load_settings({"ROUNDTRIP_HOME": str(home), "ROUNDTRIP_HTTP": value})
    assert (settings.http_host, settings.http_port) == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ROUNDTRIP_HTTP", "8080", "ROUNDTRIP_HTTP=8080: .*127.0.0.1:8080"),
        ("ROUNDTRIP_HTTP", "127.0.0.1:65536", "65536: .*65535"),
        ("ROUNDTRIP_HTTP", "::1:80", "HOST:PORT"),
        (
            "ROUNDTRIP_DATABASE_URL",
            "mysql://me:hush@db/x",
            r"mysql://me:\*\*\*@db/x: .*postgresql\+psycopg://",
        ),
        ("ROUNDTRIP_DATABASE_URL", "postgresql://me:hush@db", "names no database"),
        ("ROUNDTRIP_DATABASE_URL", "db.example.com hush", "is not a URL"),
        ("ROUNDTRIP_DATABASE_URL", "postgresql://me:hush@db:port/x", "is not a URL"),
        ("ROUNDTRIP_NATS_URL", "http://hush@a:4222", "ROUNDTRIP_NATS_URL=http://a:4222: .*nats://HOST:4222"),
        ("ROUNDTRIP_NATS_URL", "nats://a:4222,b hush", "not the address of a NATS server"),
        ("ROUNDTRIP_NATS_URL", "nats://a:99999", "not the address of a NATS server"),
        ("ROUNDTRIP_MASTER_KEY", "hush!", "key 1 is not base64; make one"),
        ("ROUNDTRIP_MASTER_KEY", "aHVzaA==", "4 bytes in place of 32"),
        ("ROUNDTRIP_MASTER_KEY_FILE", "/nowhere/key", "/nowhere/key: there is no such file"),
        ("ROUNDTRIP_API_TOKEN", "hush hush", "one word of visible ASCII"),
        ("ROUNDTRIP_HOME", "/dev/null/home", "ROUNDTRIP_HOME=/dev/null/home: .*write to"),
    ],
)
def test_a_mistake_names_variable_and_mend_but_no_secret(
    home: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings({"ROUNDTRIP_HOME": str(home), name: value})
    assert "hush" not in str(caught.value)


def test_an_open_token_file_is_refused(home: Path) -> None:
    load_settings({"ROUNDTRIP_HOME": str(home)})
    (home / "api-token").chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_settings({"ROUNDTRIP_HOME": str(home)})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("https://cdp.example.com/", "https://cdp.example.com"), ("http://a:81", "http://a:81")],
)
def test_where_others_call_is_read(home: Path, value: str, expected: str) -> None:
    assert load_settings({"ROUNDTRIP_HOME": str(home), "ROUNDTRIP_PUBLIC_URL": value}).public_url == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROUNDTRIP_PUBLIC_URL", "cdp.example.com"),
        ("ROUNDTRIP_PUBLIC_URL", "https://cdp.example.com/path"),
        ("ROUNDTRIP_HTTP_PROCESSES", "0"),
        ("ROUNDTRIP_HTTP_PROCESSES", "many"),
    ],
)
def test_what_cannot_be_used_is_named(home: Path, variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load_settings({"ROUNDTRIP_HOME": str(home), variable: value})


def test_servers_that_are_named_go_before_those_of_a_running_up(roundtrip: Roundtrip) -> None:
    home = roundtrip.ours.home
    up = running(home)
    assert up is not None
    named = "postgresql://me@elsewhere/other"
    settings = load_settings({"ROUNDTRIP_HOME": str(home), "ROUNDTRIP_DATABASE_URL": named})
    with open_engines(settings) as engines:
        assert (engines.database_url, engines.nats_url) == (settings.database_url, up.nats_url)
        assert "elsewhere/other" in engines.database_url
    with open_engines(load_settings({"ROUNDTRIP_HOME": str(home)})) as engines:
        assert engines[:2] == up[:2]


def test_a_database_that_does_not_answer_is_told_in_one_line(home: Path) -> None:
    environment = {
        "ROUNDTRIP_HOME": str(home),
        "ROUNDTRIP_DATABASE_URL": "postgresql://me@127.0.0.1:1/other",
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
    }
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "log", "heads"],
        env=os.environ | environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("roundtrip: PostgreSQL: connection failed")
