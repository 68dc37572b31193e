"""Where a destination may be: not in this machine's own network, unless the connection allows it.

Checked when a connection is declared, by what its URL says, and again at every connect, by the addresses that the
name has at that moment: what was checked is what is connected to, so a name that changes its address gains nothing.
No redirect is followed (`client.py`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2


class ForbiddenAddressError(ValueError):
    """The address is inside, and the connection does not allow that."""


def check_url(url: str, allow_private: bool) -> None:
    """Raises `ForbiddenAddressError` for a URL that names an inner address, in whatever way it is written.

    A name is looked at only as far as it is an address: what it resolves to is checked at connect.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ForbiddenAddressError(f"{parts.scheme or 'no scheme'}: is not http or https with a host")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenAddressError("it has a user or password in it; those are secrets")
    if allow_private:
        return
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        raise ForbiddenAddressError(_refusal(host))
    address = _as_address(host)
    if address is not None and not is_public(address):
        raise ForbiddenAddressError(_refusal(host))


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's: neither private, loopback, link-local nor reserved, also where an
    IPv4 address stands inside an IPv6 one."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            found = inner
        elif found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.is_global and not found.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _as_address(host: str) -> str | None:
    """The address that a host is, also where it is written as one number or in octal or hexadecimal."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        # inet_aton reads whatever the system's resolver would: 2130706433, 0x7f.1, 0177.0.0.1.
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def _refusal(host: str) -> str:
    return f"'{host}' is an inner address; name a public one, or set allow_private: true for this connection"


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses only: resolves the name, checks every address, and connects to what it checked."""

    def __init__(self) -> None:
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        error: Exception = httpcore2.ConnectError(f"'{host}' has no address")
        for address in await _resolve(host, port):
            if not is_public(address):
                raise httpcore2.ConnectError(_refusal(host))
            try:
                return await self._inner.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                error = failed
        raise error

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError(f"'{host}' cannot be resolved") from error
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def transport(limits: httpx2.Limits, allow_private: bool) -> httpx2.AsyncHTTPTransport:
    """A transport that connects as the guard allows."""
    made = httpx2.AsyncHTTPTransport(limits=limits, trust_env=False)
    if not allow_private:
        made._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=GuardedBackend(),
        )
    return made
