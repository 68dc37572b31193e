"""No setting and no secret of any connector leads inside, unless the connection allows it; and it is the guard that
keeps it so."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest

from adapters.connectors import files, nats_subject, postgresql_table, standard_webhooks
from adapters.connectors.connector import Connector, ConnectorConfig, Request, connector, connector_names
from adapters.http.client import NoAnswerError
from adapters.transports.transport import open_transport
from domain.workspace import Connection
from runtime.delivery import run
from runtime.delivery.run import ready

#: Where each connector's address stands, and what it is there: `HOST` in its place.
ELSEWHERE: Final = {
    "standard_webhooks": ("settings", "url", "http://HOST/hook"),
    "files": ("settings", "options.aws_endpoint", "http://HOST:9000"),
    "nats_subject": ("secrets", "url", "nats://HOST:4222"),
    "postgresql_table": ("secrets", "url", "postgresql://user:word@HOST/crm"),
}
CASES: Final = [
    (name, *ELSEWHERE.get(name, ("settings", "base_url", "https://HOST"))) for name in connector_names()
]
FURTHER: Final = [
    ("files", "settings", "url", "http://HOST/bucket"),
    ("files", "secrets", "azure_msi_endpoint", "http://HOST/token"),
    ("nats_subject", "secrets", "url", "HOST:4222"),
    ("postgresql_table", "secrets", "url", "postgresql://db.example.com,HOST/crm"),
    ("postgresql_table", "secrets", "url", "postgresql://db.example.com/crm?hostaddr=HOST"),
]
INNER: Final = ("127.0.0.1", "localhost", "169.254.169.254", "10.1.2.3")


def declared(
    name: str, place: str, setting: str, value: str, **more: Any
) -> tuple[Connection, dict[str, str]]:
    """The connector's own example, with this address, and the environment that its secrets are in."""
    example = connector(name).example
    assert example is not None
    settings, secrets = dict(example.settings), dict(example.secrets)
    outer, _, inner = setting.partition(".")
    if inner:
        settings[outer] = {inner: value}
    else:
        (settings if place == "settings" else secrets)[setting] = value
    environ = {f"S_{key}": secret for key, secret in secrets.items()}
    body = {
        "connector": name,
        "audience": "a",
        "fields": {},
        "settings": settings,
        "secrets": {key: {"env": f"S_{key}"} for key in secrets},
    }
    return Connection.model_validate(body | more), environ


@pytest.mark.parametrize(("name", "place", "setting", "form"), CASES + FURTHER)
def test_an_inner_address_is_refused_by_connection_and_setting(
    name: str, place: str, setting: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in INNER:
        definition, environ = declared(name, place, setting, form.replace("HOST", host))
        with pytest.raises(
            ValueError, match="is an inner address; name a public one, or set allow_private"
        ) as told:
            ready("out", definition, environ)
        assert f"connection 'out': {place}.{setting}: " in str(told.value)
        assert place == "settings" or host not in str(told.value)
        allowed, environ = declared(name, place, setting, form.replace("HOST", host), allow_private=True)
        ready("out", allowed, environ)
    outside, environ = declared(name, place, setting, form.replace("HOST", "out.example.com"))
    ready("out", outside, environ)
    # Nothing but the guard refuses it.
    monkeypatch.setattr(run, "check_addresses", lambda *_: None)
    definition, environ = declared(name, place, setting, form.replace("HOST", "10.1.2.3"))
    ready("out", definition, environ)


def test_a_socket_of_this_machine_and_an_emulator_are_inside_and_a_text_is_no_address() -> None:
    for url in ("dbname=crm", "postgresql:///crm?host=/var/run/postgresql", "postgresql:///crm"):
        definition, environ = declared("postgresql_table", "secrets", "url", url)
        with pytest.raises(ValueError, match=r"secrets\.url: its host is an inner address"):
            ready("out", definition, environ)
    definition, environ = declared("files", "settings", "options.azure_storage_use_emulator", "true")
    with pytest.raises(ValueError, match=r"use_emulator: an emulator is an inner address"):
        ready("out", definition, environ)
    definition, environ = declared("onesignal", "settings", "contents.en", "See http://localhost or //[x")
    ready("out", definition, environ)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A server inside."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


KEYS: Final = {"aws_access_key_id": "id", "aws_secret_access_key": "key"}
TRANSPORTS: Final = [
    (standard_webhooks.CONNECTOR, {}, {}, "http://localhost:PORT/"),
    (
        files.CONNECTOR,
        {"url": "s3://b/f", "options": {"aws_endpoint": "http://localhost:PORT", "aws_region": "x"}},
        KEYS,
        "name",
    ),
    (nats_subject.CONNECTOR, {}, {"url": "nats://localhost:PORT"}, "nats:x"),
    (postgresql_table.CONNECTOR, {}, {"url": "postgresql://localhost:PORT/crm"}, ""),
]


@pytest.mark.parametrize(("wire", "settings", "secrets", "url"), TRANSPORTS)
def test_a_name_that_turns_out_to_be_inside_is_not_connected_to(
    wire: Connector, settings: Any, secrets: Any, url: str, listening: socket.socket
) -> None:
    """As after a change of its address. Where that is allowed the same request does arrive."""
    port = str(listening.getsockname()[1])
    settings, secrets, url = json.loads(json.dumps([settings, secrets, url]).replace("PORT", port))
    config = ConnectorConfig("out", settings, secrets)
    request = Request("POST", url, {"statement": "SELECT"}, b"[]", ())

    async def guarded() -> None:
        async with open_transport(wire, config) as transport:
            with pytest.raises(NoAnswerError, match="is an inner address; name a public one"):
                await transport.send(request)
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()

    async def allowed() -> None:
        listening.settimeout(10)
        async with open_transport(wire, config, allow_private=True) as transport:
            sending = asyncio.create_task(transport.send(request))
            arrived, _ = await asyncio.to_thread(listening.accept)
            arrived.close()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    asyncio.run(guarded())
    asyncio.run(allowed())
