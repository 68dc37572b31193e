"""Requests to a PostgreSQL table: a request's rows go through its statement in one transaction.

The answer is 200; 207 with the places of rows that the table refuses, the others being written; 4xx where the
statement itself cannot be carried out; 503 where the server cannot take it now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import make_conninfo

from adapters.connectors.connector import Answer, ConnectorConfig, Request
from adapters.http.client import NoAnswerError
from adapters.http.guard import REFUSAL, InnerAddressError, public_address
from adapters.transports.addresses import hosts_of

CONNECT_S: Final = 5
STATEMENT_MS: Final = 20_000
#: Classes of SQLSTATE that are of a row: its data, and the table's constraints.
_OF_A_ROW: Final = ("22", "23")
#: Connection, resources, intervention, lock, cancellation, rolled back for another's sake.
_PASSING: Final = ("08", "53", "55", "57", "58", "40")


class PostgresqlTransport:
    """One connection, made when there is something to send, and again after it is lost. One request has it at a
    time, as a transaction is of a connection."""

    def __init__(self, url: str, allow_private: bool) -> None:
        self._url = url
        self._allow_private = allow_private
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection[Any] | None = None

    async def send(self, request: Request) -> Answer:
        async with self._turn:
            return await self._send(request)

    async def _send(self, request: Request) -> Answer:
        rows = msgspec.json.decode(request.body, type=list[msgspec.Raw])
        try:
            connection = await self._connected()
            return await _write(connection, request.headers["statement"], rows)
        except InnerAddressError:
            raise NoAnswerError(f"its host {REFUSAL}") from None
        except OSError as error:
            raise NoAnswerError(type(error).__name__) from None
        except psycopg.OperationalError as error:
            await self.close()
            if error.sqlstate and error.sqlstate.startswith(_PASSING):
                return _answer(503, error)
            raise NoAnswerError(type(error).__name__) from None
        except psycopg.Error as error:
            return _answer(422, error)

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            options = f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}"
            self._connection = await AsyncConnection.connect(
                self._url if self._allow_private else await _pinned(self._url),
                connect_timeout=CONNECT_S,
                options=options,
                autocommit=True,
                application_name="roundtrip out",
            )
        return self._connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _write(connection: AsyncConnection[Any], statement: str, rows: list[msgspec.Raw]) -> Answer:
    written = statement.encode()
    try:
        async with connection.transaction():
            await connection.execute(written, [_array(rows)])
        return Answer(200, {}, b"{}")
    except (errors.DataError, errors.IntegrityError):
        pass
    refused: dict[int, str] = {}
    async with connection.transaction():
        for index, row in enumerate(rows):
            try:
                async with connection.transaction():
                    await connection.execute(written, [_array([row])])
            except (errors.DataError, errors.IntegrityError) as error:
                refused[index] = error.sqlstate or ""
    return Answer(207, {}, msgspec.json.encode({"refused": refused}))


def _array(rows: list[msgspec.Raw]) -> str:
    return msgspec.json.encode(rows).decode()


def _answer(status: int, error: psycopg.Error) -> Answer:
    # Neither the message nor its details: both may repeat values.
    return Answer(status, {}, msgspec.json.encode({"sqlstate": error.sqlstate or ""}))


async def _pinned(url: str) -> str:
    """The address with public ones that its hosts have now: what was looked at is what is connected to."""
    addresses = [await public_address(host) for host in hosts_of("postgresql", url)]
    return make_conninfo(url, hostaddr=",".join(addresses))


@asynccontextmanager
async def open_postgresql(config: ConnectorConfig, allow_private: bool) -> AsyncIterator[PostgresqlTransport]:
    transport = PostgresqlTransport(config.secrets["url"], allow_private)
    try:
        yield transport
    finally:
        await transport.close()
