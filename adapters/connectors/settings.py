"""What connectors' settings have in common: reading one, and saying what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from adapters.connectors.connector import ConnectorConfig


def check_names(config: ConnectorConfig, settings: Collection[str], secrets: Collection[str]) -> None:
    """Raises `ValueError` for a setting that does not exist, or a secret that is missing or unusable."""
    if unknown := sorted(set(config.settings) - set(settings)):
        raise wrong(
            config, f"settings.{unknown[0]}", f"does not exist; there are: {', '.join(sorted(settings))}"
        )
    if unknown := sorted(set(config.secrets) - set(secrets)):
        raise wrong(
            config, f"secrets.{unknown[0]}", f"does not exist; there are: {', '.join(sorted(secrets))}"
        )
    for name in secrets:
        if name not in config.secrets:
            raise wrong(config, f"secrets.{name}", "is missing; add it as {env: NAME} or {file: PATH}")
        if not re.fullmatch(r"[!-~]+", config.secrets[name]):
            raise wrong(
                config, f"secrets.{name}", "goes into an HTTP header: it is one word of visible ASCII"
            )


def check_base_url(config: ConnectorConfig, default: str) -> None:
    """Raises `ValueError` unless `base_url` is one that a path can be appended to."""
    value = config.settings.get("base_url", default)
    mend = "write it as https://HOST or https://HOST/PATH"
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise wrong(config, "settings.base_url", f"is not a URL; {mend}")
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        raise wrong(config, "settings.base_url", f"is not a URL; {mend}") from None
    if not usable or url.username is not None or url.query or url.fragment:
        raise wrong(config, "settings.base_url", f"has another scheme, user, query or fragment; {mend}")


def base_url(config: ConnectorConfig, default: str) -> str:
    """The URL that paths are appended to, without a slash at its end."""
    return str(config.settings.get("base_url", default)).rstrip("/")


def is_texts(value: Any) -> bool:
    """Whether a setting is a text for each of some languages, such as `{en: Hello}`."""
    return (
        isinstance(value, Mapping) and bool(value) and all(isinstance(v, str) and v for v in value.values())
    )


def wrong(config: ConnectorConfig, path: str, what: str) -> ValueError:
    """The error that names connection, setting and mend."""
    return ValueError(f"connection '{config.name}': {path} {what}")
