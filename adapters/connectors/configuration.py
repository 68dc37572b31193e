"""A connection's declared settings and secrets, made ready: `${NAME}` filled in, secrets read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapters.connectors.connector import ConnectorConfig
from domain.workspace import Connection, SecretRef

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigurationError(ValueError):
    """A connection cannot be used as it is declared. The message names what is missing, never a value."""


def resolve(name: str, definition: Connection, environ: Mapping[str, str]) -> ConnectorConfig:
    """The connection's settings and secrets. An empty variable counts as missing.

    Raises `ConfigurationError` naming everything that is missing at once.
    """
    missing: list[str] = []
    settings = _filled(definition.settings, "settings", environ, missing)
    secrets = {
        key: _secret(f"secrets.{key}", ref, environ, missing) for key, ref in definition.secrets.items()
    }
    if missing:
        raise ConfigurationError(f"connection '{name}' cannot be used: " + "; ".join(missing))
    return ConnectorConfig(name, settings, secrets)


def _filled(value: Any, path: str, environ: Mapping[str, str], missing: list[str]) -> Any:
    match value:
        case str():
            for name in dict.fromkeys(_REFERENCE.findall(value)):
                if not environ.get(name):
                    missing.append(f"{path} needs the environment variable {name}, which is not set")
            return _REFERENCE.sub(lambda found: environ.get(found[1], ""), value)
        case dict():
            return {key: _filled(inner, f"{path}.{key}", environ, missing) for key, inner in value.items()}
        case list():
            return [_filled(inner, f"{path}[{index}]", environ, missing) for index, inner in enumerate(value)]
        case _:
            return value


def _secret(path: str, ref: SecretRef, environ: Mapping[str, str], missing: list[str]) -> str:
    if ref.env is not None:
        value = environ.get(ref.env, "").strip()
        if not value:
            missing.append(f"{path} needs the environment variable {ref.env}, which is not set")
        return value
    assert ref.file is not None
    try:
        value = Path(ref.file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        missing.append(f"{path} needs the file {ref.file}, which cannot be read ({type(error).__name__})")
        return ""
    if not value:
        missing.append(f"{path} needs the file {ref.file}, which is empty")
    return value
