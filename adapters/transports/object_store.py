"""Requests to files: a request's body becomes the whole content of the file at its address, in one step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
import obstore.store
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from adapters.connectors.connector import Answer, ConnectorConfig, Request
from adapters.http.client import NoAnswerError
from adapters.http.guard import REFUSAL, InnerAddressError, public_address
from adapters.transports.addresses import http_hosts

_TIMES: Final = {"timeout": "25s", "connect_timeout": "5s"}


class ObjectStoreTransport:
    """A folder on this machine, or a bucket. Credentials are those of the environment, unless the connection's
    secrets say others, in obstore's own words. Before each file the hosts that are `guarded` are looked up: the library
    looks them up again by itself."""

    def __init__(self, url: str, options: dict[str, str], guarded: Sequence[str] = ()) -> None:
        self._store: Any = _store(url, options)
        self._guarded = guarded

    async def send(self, request: Request) -> Answer:
        """200 once the file is there. Raises `NoAnswerError`."""
        name = request.url
        try:
            for host in self._guarded:
                await public_address(host)
            await obstore.put_async(self._store, name, request.body, use_multipart=False)
        except InnerAddressError:
            raise NoAnswerError(f"its host {REFUSAL}") from None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError):
            return Answer(403, {}, b"")
        except (InvalidPathError, NotFoundError, FileNotFoundError):
            return Answer(404, {}, b"")
        except (BaseError, OSError) as error:
            raise NoAnswerError(type(error).__name__) from None
        return Answer(200, {}, b"")


def _store(url: str, options: dict[str, str]) -> Any:
    if urlsplit(url).scheme == "file":
        folder = Path(urlsplit(url).path)
        return obstore.store.LocalStore(folder, mkdir=True)
    connect: Any = obstore.store.from_url
    plain = any(value.startswith("http:") for value in (url, *options.values()))
    return connect(url, config=options or None, client_options={**_TIMES, "allow_http": plain})


@asynccontextmanager
async def open_object_store(
    config: ConnectorConfig, allow_private: bool
) -> AsyncIterator[ObjectStoreTransport]:
    options = {name: str(value) for name, value in config.settings.get("options", {}).items()}
    guarded = () if allow_private else http_hosts(config)
    yield ObjectStoreTransport(str(config.settings["url"]), {**options, **config.secrets}, guarded)
