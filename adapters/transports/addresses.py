"""The addresses in a connection's settings and secrets, whatever they are called, and whether they are inside.

What a name resolves to is looked at when it is connected to: by `adapters/http/client.py`, and by each transport.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from adapters.connectors.connector import ConnectorConfig, Way
from adapters.http.guard import REFUSAL, ForbiddenAddressError, check_host, check_url

_is_url: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*").fullmatch
_HTTP: Final = ("http", "https")


def check_addresses(way: Way, config: ConnectorConfig, allow_private: bool) -> None:
    """Raises `ForbiddenAddressError` naming the setting whose address is inside. Of a secret nothing is said."""
    for path, value in _texts(config.settings, "settings"):
        try:
            if _is_url(value) and urlsplit(value).scheme in _HTTP:
                check_url(value, allow_private)
            elif path.endswith("use_emulator") and value.lower() not in ("false", "0") and not allow_private:
                raise ForbiddenAddressError(f"an emulator {REFUSAL}")
        except ValueError as error:
            raise ForbiddenAddressError(f"{path}: {error}") from None
    if allow_private:
        return
    for path, value in _texts(config.secrets, "secrets"):
        try:
            for host in hosts_of(way, value):
                check_host(host)
        except ValueError:
            raise ForbiddenAddressError(f"{path}: its host {REFUSAL}") from None


def hosts_of(way: Way, address: str) -> list[str]:
    """The hosts that are connected to by an address. Raises `ValueError` where it is none, or is of this machine."""
    match way:
        case "postgresql":
            from psycopg import ProgrammingError
            from psycopg.conninfo import conninfo_to_dict

            try:
                said = conninfo_to_dict(address)
            except ProgrammingError:
                raise ValueError("it is no address of a PostgreSQL server") from None
            hosts = str(said.get("hostaddr") or said.get("host") or "localhost").split(",")
            # A host that is a path, or none, is a socket of this machine.
            return [host if host and not host.startswith(("/", "@")) else "localhost" for host in hosts]
        case "nats":
            return [_host(address if "://" in address else f"nats://{address}")]
        case _:
            # Of a bucket (`s3://`) or a folder (`file://`) there is no host in it.
            url = urlsplit(address) if _is_url(address) else None
            return [_host(address)] if url is not None and url.scheme in _HTTP else []


def http_hosts(config: ConnectorConfig) -> list[str]:
    """The hosts of all HTTP addresses in settings and secrets."""
    texts = [*_texts(config.settings, ""), *_texts(config.secrets, "")]
    return [host for _, value in texts for host in hosts_of("http", value)]


def _host(url: str) -> str:
    host = urlsplit(url.strip()).hostname
    if not host:
        raise ValueError("there is no host in it")
    return host


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from _texts(inner, f"{path}.{key}")
        case list() | tuple():
            for index, inner in enumerate(value):
                yield from _texts(inner, f"{path}[{index}]")
        case bool():
            yield path, str(value).lower()
        case str():
            yield path, value
