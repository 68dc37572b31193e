"""Where the master key comes from: the environment, a file, or, with embedded engines, a file that is made here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from adapters.keys.local import LocalKeys, new_master, parse_masters
from runtime.embedded.private_file import read_or_create
from runtime.errors import SettingsError

VARIABLE: Final = "ROUNDTRIP_MASTER_KEY"
FILE_VARIABLE: Final = "ROUNDTRIP_MASTER_KEY_FILE"
MISSING: Final = (
    f"{VARIABLE}: is not set, and personal data is never kept in the clear; make a key with"
    f" `openssl rand -base64 32`, keep it in a safe place, and set it, or {FILE_VARIABLE}=PATH"
)


def master_key_file(home: Path) -> Path:
    """Where embedded engines keep the master key."""
    return home / "master-key"


def load_keys(given: Mapping[str, str], home: Path, *, embedded: bool) -> LocalKeys | None:
    """The master key, `None` where there is none. With `embedded` one is made where none is named.

    Raises `SettingsError` naming the place, and never the key.
    """
    if VARIABLE in given:
        return _parse(VARIABLE, given[VARIABLE])
    named = FILE_VARIABLE in given
    file = Path(given[FILE_VARIABLE]).expanduser() if named else master_key_file(home)
    place = f"{FILE_VARIABLE}={file}" if named else str(file)
    try:
        text = read_or_create(file, new_master) if embedded and not named else file.read_text()
        open_to_others = file.stat().st_mode & 0o077
    except FileNotFoundError as error:
        if named:
            raise SettingsError(
                f"{place}: there is no such file; name the file with the master key"
            ) from error
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{place}: the master key cannot be read or made ({type(error).__name__})"
        ) from error
    if open_to_others and not named:
        raise SettingsError(f"{place}: the master key is open to other users; close it (chmod 600 {file})")
    return _parse(place, text)


def _parse(place: str, text: str) -> LocalKeys:
    try:
        return parse_masters(text.strip())
    except ValueError as error:
        raise SettingsError(f"{place}=(not shown): {error}") from None
