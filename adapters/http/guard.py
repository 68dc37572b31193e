"""Where a destination may be: not in this machine's own network, unless the connection allows it.

Checked when a connection is declared, by what its URL says, and again at every connect, by the addresses that the
name has at that moment: what was checked is what is connected to, so a name that changes its address gains nothing.
No redirect is followed (`client.py`). Of what is not HTTP see `adapters/transports/addresses.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from aiohttp.connector import AddrInfoType

REFUSAL: Final = "is an inner address; name a public one, or set allow_private: true for this connection"


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
    if not allow_private:
        check_host(host)


def check_host(host: str) -> None:
    """Raises `ForbiddenAddressError` for an inner address, and for a name that is this machine's."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        raise ForbiddenAddressError(refusal(host))
    address = _as_address(host)
    if address is not None and not is_public(address):
        raise ForbiddenAddressError(refusal(host))


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


def refusal(host: str) -> str:
    """What whoever declared the connection is told."""
    return f"'{host}' {REFUSAL}"


class InnerAddressError(OSError):
    """What a connection that may not go inside was about to be made to."""


def public_socket(info: AddrInfoType) -> socket.socket:
    """A socket for an address that a name was found to have, or that stood in the URL itself. Raises
    `InnerAddressError` where that is no public one."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise InnerAddressError("an inner address")
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made


async def public_address(host: str) -> str:
    """A public address that a host has now, to be connected to in its place. Raises `InnerAddressError` where it has
    none, and `OSError` where it has no address at all."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    for *_, address in found:
        if is_public(str(address[0])):
            return str(address[0])
    raise InnerAddressError("an inner address")
