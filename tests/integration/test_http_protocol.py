"""What a connection says that no HTTP client would: slow, endless or ambiguous requests end soon, with an answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from feeds.feed import TooLargeError
from runtime.http import body, protocol
from runtime.http.listening import listen
from tests.servers import wait_until

LIMIT = 100_000
PATIENCE_S = 0.4


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """The connection and the body's reader as `serve` uses them, with less patience."""

    async def endpoint(request: Request) -> Response:
        try:
            return PlainTextResponse(str(len(await body.read_body(request, LIMIT))))
        except TooLargeError:
            raise HTTPException(413) from None

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(listen("127.0.0.1", 0)) as listening:
        patch.setattr(protocol, "HEAD_S", PATIENCE_S)
        patch.setattr(body, "BODY_S", PATIENCE_S)
        patch.setattr(protocol, "LINGER_S", PATIENCE_S)
        config = uvicorn.Config(app, http=protocol.Connection, log_level="critical", timeout_keep_alive=1)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        wait_until(lambda: running.started, "the server")
        host, port = listening.getsockname()[:2]
        yield host, port
        running.should_exit = True
        thread.join(10)


def said(server: tuple[str, int], *parts: bytes, every_s: float = 0.0) -> bytes:
    """What the server answers to these parts, one after the other, until it closes. Raises `TimeoutError` when it
    leaves the connection open."""
    answer = b""
    with socket.create_connection(server, timeout=10) as connection:
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                if every_s:
                    connection.settimeout(every_s)
                    with contextlib.suppress(TimeoutError):
                        answer += connection.recv(65536)
                    connection.settimeout(10)
                if answer:
                    break
        with contextlib.suppress(ConnectionError):
            while more := connection.recv(65536):
                answer += more
    return answer


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


def test_what_is_in_order_is_answered(server: tuple[str, int]) -> None:
    answer = said(server, HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\nok")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"2")


def test_a_kept_connection_is_not_cut_between_two_requests(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=10) as connection:
        for _ in range(3):
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            # Longer than a head may take, and shorter than an idle connection is kept.
            threading.Event().wait(PATIENCE_S * 1.5)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST http://x:99999999/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\n X: folded\r\nX\x00: a\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"Content-Length: 99999999999999999\r\n\r\n", 413),
    ],
    ids=str,
)
def test_what_is_not_http_or_says_two_things_is_refused(
    server: tuple[str, int], request_: bytes, status: int
) -> None:
    answer = said(server, request_)
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer
    assert answer.count(b"\r\n\r\n") == 1, "one answer, and no second request"
    if status == 400:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 400


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([HEAD, *[b"X-%d: a\r\n" % n for n in range(200)]], b"408"),
        ([HEAD + b"Content-Length: 200\r\n\r\n", *[b"x"] * 200], b"408"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 200], b"408"),
    ],
    ids=["headers", "body", "chunks"],
)
def test_who_sends_a_little_now_and_then_is_cut_off(
    server: tuple[str, int], parts: list[bytes], status: bytes
) -> None:
    answer = said(server, *parts, every_s=0.05)
    assert answer.split(b" ")[1] == status


def test_who_says_nothing_at_all_is_cut_off(server: tuple[str, int]) -> None:
    answer = said(server)
    assert answer == b""


@pytest.mark.parametrize("endless", [b"X: " + b"y" * 10_000 + b"\r\n", b"z" * 10_000])
def test_a_head_that_never_ends_is_cut_off_at_its_limit(server: tuple[str, int], endless: bytes) -> None:
    answer = said(server, HEAD, *[endless] * 20)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


def test_chunks_without_end_are_cut_off_at_the_limit(server: tuple[str, int]) -> None:
    answer = said(
        server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"4000\r\n" + b"x" * 0x4000 + b"\r\n"] * 50
    )
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")


def test_who_goes_on_sending_after_the_answer_is_cut_off(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 200000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(b"x")


def test_a_connection_answered_early_serves_again_once_the_body_has_ended(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 200000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        connection.sendall(b"x" * 200_000 + HEAD + b"Content-Length: 2\r\n\r\nok")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_connection_answered_early_is_kept_no_longer_than_another(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 200000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        connection.sendall(b"x" * 200_000)
        assert connection.recv(65536) == b""
