"""The embedded NATS: on a free loopback port, closed without its token, whole after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import nats
import psutil
import pytest
from nats.errors import Error as NatsError

from runtime.embedded.errors import EmbeddedError, HeldError
from runtime.embedded.nats import EmbeddedNats, start_nats
from tests.servers import temporary_home, wait_until


@pytest.fixture
def server() -> Iterator[EmbeddedNats]:
    with temporary_home() as home, start_nats(home) as server:
        yield server


async def publish(url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept"])
    await stream.publish("kept", b"42")
    await client.close()


async def read(url: str) -> bytes | None:
    client = await nats.connect(url)
    message = await client.jetstream().get_msg("KEPT", seq=1)
    largest = client.max_payload
    await client.close()
    assert largest == 8 * 1024 * 1024
    return message.data


async def refusal(url: str) -> str:
    async def quiet(_error: Exception) -> None:
        """The refusal is raised as well."""

    try:
        client = await nats.connect(url, allow_reconnect=False, error_cb=quiet)
    except NatsError as error:
        return str(error)
    await client.close()
    return ""


def test_listens_on_loopback_only_and_wants_its_token(server: EmbeddedNats) -> None:
    listening = psutil.Process(server.pid).net_connections("tcp")
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
    ports = {each.laddr.port for each in listening}
    assert len(ports) == 2 and server.port in ports
    # The other one says how it is, under a path that nobody else knows.
    for port in ports - {server.port}:
        for path in ("", "/healthz", "/varz", "/connz"):
            assert httpx2.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == 404
    assert "Authorization" in asyncio.run(refusal(f"nats://127.0.0.1:{server.port}"))
    for secret in ("nats-token", "nats.conf"):
        assert stat.S_IMODE((server.home / secret).stat().st_mode) == 0o600


def test_restarted_after_a_kill_it_keeps_port_and_messages(server: EmbeddedNats) -> None:
    asyncio.run(publish(server.url))
    url = server.url
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.poll() is not None, "the server's end")
    assert server.poll() == -signal.SIGKILL
    server.start()
    assert server.url == url
    assert asyncio.run(read(url)) == b"42"


def test_second_start_finds_the_messages() -> None:
    with temporary_home() as home:
        with start_nats(home) as first:
            asyncio.run(publish(first.url))
        with start_nats(home) as second:
            assert asyncio.run(read(second.url)) == b"42"


def test_two_homes_beside_a_listener_on_4222(server: EmbeddedNats) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        try:
            listener.bind(("127.0.0.1", 4222))
            listener.listen()
        except OSError:
            """Somebody else listens there, which is just as good."""
        other = stack.enter_context(start_nats(stack.enter_context(temporary_home())))
        assert len({4222, server.port, other.port}) == 3
        assert "Authorization" in asyncio.run(refusal(other.url.replace(str(other.port), str(server.port))))


def test_second_supervisor_is_refused_by_pid(server: EmbeddedNats) -> None:
    with pytest.raises(HeldError, match=rf"process {os.getpid()} .*kill {os.getpid()}"):
        start_nats(server.home)


def test_a_damaged_store_is_told_with_the_log(server: EmbeddedNats) -> None:
    server.stop()
    store: Path = server.store / "jetstream"
    for each in sorted(store.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    store.rmdir()
    store.write_text("not a directory")
    with pytest.raises(EmbeddedError, match="storage directory is not a directory"):
        server.start()
