"""What the environment decides: where the data lies, which servers are used, where the HTTP API listens."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from adapters.keys.local import LocalKeys
from adapters.lake.place import PlaceError, url_of
from runtime.embedded.private_file import read_or_create
from runtime.errors import SettingsError as SettingsError
from runtime.master_key import load_keys

_DRIVER = "postgresql+psycopg"
_NATS_SCHEMES = ("nats", "tls", "ws", "wss")


class Settings(BaseModel):
    """The settings of one Roundtrip. What may hold a secret is left out of `repr`.

    `database_url` and `nats_url` are None when the embedded server is to be used; `database_owner_url` is None
    when the owner of the tables logs in as everybody else. `http_port` 0 means a free one, `http_processes` is how
    many answer on it, and `public_url` where others call it (empty: where it listens). `lake` is a URL. `keys` wrap
    the data keys by the master key, None where none is named and the database is not the embedded one. All paths
    are absolute.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    home: Path
    database_url: str | None = Field(default=None, repr=False)
    database_owner_url: str | None = Field(default=None, repr=False)
    nats_url: str | None = Field(default=None, repr=False)
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    http_processes: int = 1
    public_url: str = ""
    nats_replicas: int = 1
    lake: str
    api_token: str = Field(repr=False)
    keys: LocalKeys | None = Field(default=None, repr=False)
    workspace: Path


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from an environment; an empty variable counts as unset.

    Makes the home directory, the API token in `<home>/api-token`, and for the embedded database the master key in
    `<home>/master-key`, where they are not there.
    Raises SettingsError naming the variable, its value (secrets left out) and the mend.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    home = _home(given.get("ROUNDTRIP_HOME", "./.roundtrip"))
    host, port = _http(given.get("ROUNDTRIP_HTTP", "127.0.0.1:8080"))
    database_url = _database_url("ROUNDTRIP_DATABASE_URL", given)
    return Settings(
        home=home,
        database_url=database_url,
        database_owner_url=_database_url("ROUNDTRIP_DATABASE_OWNER_URL", given),
        nats_url=_nats_url(given.get("ROUNDTRIP_NATS_URL")),
        http_host=host,
        http_port=port,
        http_processes=_http_processes(given.get("ROUNDTRIP_HTTP_PROCESSES")),
        public_url=_public_url(given.get("ROUNDTRIP_PUBLIC_URL", "")),
        nats_replicas=_replicas(given.get("ROUNDTRIP_NATS_REPLICAS", "1")),
        lake=_lake(given.get("ROUNDTRIP_LAKE", str(home / "lake"))),
        api_token=_api_token(given.get("ROUNDTRIP_API_TOKEN"), home),
        keys=load_keys(given, home, embedded=database_url is None),
        workspace=Path(given.get("ROUNDTRIP_WORKSPACE", "./roundtrip.yaml")).expanduser().absolute(),
    )


def _home(value: str) -> Path:
    try:
        home = Path(value).expanduser().resolve()
        # Others may pass through, since as root PostgreSQL's user must, but not look around.
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"ROUNDTRIP_HOME={value}: cannot be made a directory ({error}); name one that you can write to"
        ) from error
    return home


def _database_url(name: str, given: Mapping[str, str]) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    mend = f"write it as {_DRIVER}://USER:PASSWORD@HOST:PORT/DATABASE, or unset it for the embedded server"
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise SettingsError(f"{name}=(not shown): is not a URL; {mend}") from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername=_DRIVER)
    if url.drivername != _DRIVER:
        raise SettingsError(f"{name}={url!r}: is not for PostgreSQL with psycopg; {mend}")
    if not url.database:
        raise SettingsError(f"{name}={url!r}: names no database; {mend}")
    return url.render_as_string(hide_password=False)


def _nats_url(value: str | None) -> str | None:
    for server in value.split(",") if value else ():
        try:
            url = urlsplit(server.strip())
            usable = url.scheme in _NATS_SCHEMES and bool(url.hostname) and url.port != 0
            shown = f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url.scheme else "(not shown)"
        except ValueError:
            usable, shown = False, "(not shown)"
        if not usable:
            raise SettingsError(
                f"ROUNDTRIP_NATS_URL={shown}: is not the address of a NATS server; write it as "
                "nats://HOST:4222 (several with commas), or unset it for the embedded server"
            )
    return value


def _http(value: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?P<host>[^\s:\[\]]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})", value)
    if match is None or int(match["port"]) > 65535:
        raise SettingsError(
            f"ROUNDTRIP_HTTP={value}: is not HOST:PORT with a port from 0 to 65535; "
            "write it as 127.0.0.1:8080, with port 0 for a free one"
        )
    return match["host"].strip("[]"), int(match["port"])


def _http_processes(value: str | None) -> int:
    """Two where there are two processors: with more, the log itself is what others wait for."""
    if value is None:
        return min(len(os.sched_getaffinity(0)), 2)
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 64:
        raise SettingsError(
            f"ROUNDTRIP_HTTP_PROCESSES={value}: is not how many processes answer HTTP; write a number from 1 to 64"
        )
    return int(value)


def _public_url(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/?#@]+/?", value):
        raise SettingsError(
            f"ROUNDTRIP_PUBLIC_URL={value}: is not where others call this server; write it as "
            "https://cdp.example.com, without a path"
        )
    return value.rstrip("/")


def _replicas(value: str) -> int:
    if value not in ("1", "3", "5"):
        raise SettingsError(
            f"ROUNDTRIP_NATS_REPLICAS={value}: is not how many servers can keep a stream; write 1, or 3 or 5 where"
            " the NATS cluster has so many servers"
        )
    return int(value)


def _lake(value: str) -> str:
    try:
        return url_of(value)
    except PlaceError as error:
        raise SettingsError(
            f"ROUNDTRIP_LAKE={value.rpartition('@')[2]}: {error}; write it as /var/lib/roundtrip/lake or s3://BUCKET/PREFIX"
        ) from error


def _api_token(value: str | None, home: Path) -> str:
    name, file = "ROUNDTRIP_API_TOKEN=(not shown)", home / "api-token"
    if value is None:
        name = str(file)
        try:
            value = read_or_create(file, lambda: secrets.token_urlsafe(32))
        except OSError as error:
            raise SettingsError(
                f"{file}: the API token cannot be read or made ({error.strerror}); run as its owner, "
                "or set ROUNDTRIP_API_TOKEN"
            ) from error
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"{file}: the API token is open to other users; close it (chmod 600 {file})")
    if not re.fullmatch(r"[!-~]+", value):
        raise SettingsError(
            f"{name}: the API token goes into an HTTP header, so it is one word of visible ASCII characters; "
            "make one with: openssl rand -hex 32"
        )
    return value
