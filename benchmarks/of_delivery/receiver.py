"""A destination on loopback that is fast enough to be measured against, and checks what it is sent.

`python -m benchmarks.of_delivery.receiver READY_FILE SECRET` writes its URL to the file and serves until it is ended:

    POST /v1/batch    Segment's batches, whose calls are counted by their message ids
    POST /hook        Standard Webhooks, whose signatures are verified
    POST /control     {"down": true} has it answer 503 from then on; what was counted before is forgotten
    GET  /counts      records and repeated ones, and when requests were taken, in seconds
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import sys
import time
from pathlib import Path
from typing import Any

import httptools
import msgspec
import uvloop

from simulators.server import end_with_parent


class Counts(msgspec.Struct):
    """What was taken since the last control. `at` are the moments of its requests."""

    records: int = 0
    repeated: int = 0
    refused: int = 0
    at: list[float] = []


class _Call(msgspec.Struct, rename="camel"):
    message_id: str


class _Batch(msgspec.Struct):
    batch: list[_Call]


class _Control(msgspec.Struct):
    down: bool = False


_batch = msgspec.json.Decoder(_Batch).decode
_control = msgspec.json.Decoder(_Control).decode
_encode = msgspec.json.Encoder().encode


class Receiver:
    """What all connections share."""

    def __init__(self, secret: str) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._down = False
        self._counts = Counts()
        self._seen: set[str] = set()

    def answer(self, path: str, headers: dict[bytes, bytes], body: bytes) -> tuple[int, bytes]:
        """A status and a body."""
        if path == "/control":
            self._down, self._counts, self._seen = _control(body).down, Counts(), set()
            return 200, b"{}"
        if path == "/counts":
            return 200, _encode(self._counts)
        if self._down:
            self._counts.refused += 1
            return 503, b""
        if path == "/v1/batch":
            self._take([call.message_id for call in _batch(body).batch])
            return 200, b'{"success":true}'
        name, at = headers.get(b"webhook-id", b""), headers.get(b"webhook-timestamp", b"")
        digest = hmac.new(self._key, b".".join((name, at, body)), hashlib.sha256).digest()
        if not hmac.compare_digest(b"v1," + base64.b64encode(digest), headers.get(b"webhook-signature", b"")):
            return 401, b""
        self._take([name.decode()])
        return 200, b"{}"

    def _take(self, ids: list[str]) -> None:
        self._counts.records += len(ids)
        self._counts.repeated += sum(id in self._seen for id in ids)
        self._seen.update(ids)
        self._counts.at.append(time.monotonic())


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", dict[bytes, bytes](), bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status, said = self._receiver.answer(self._url.decode(), self._headers, bytes(self._body))
        head = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(said)) + said)


async def _serve(ready: Path, secret: str) -> None:
    receiver = Receiver(secret)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(receiver), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    draft = ready.with_suffix(".draft")
    draft.write_text(f"http://{host}:{port}")
    draft.rename(ready)
    await server.serve_forever()


def main() -> None:
    ready, secret = sys.argv[1:]
    end_with_parent()
    uvloop.run(_serve(Path(ready), secret))


if __name__ == "__main__":
    main()
