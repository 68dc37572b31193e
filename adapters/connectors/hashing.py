"""Identifiers as ad platforms match them: normalised as each of them says, then hashed with SHA-256 in hex.

Each function gives an empty text for what is no such identifier.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_SEPARATORS: Final = re.compile(r"[\s().\-/]")
_DEVICE: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_GMAIL: Final = frozenset({"gmail.com", "googlemail.com"})


def email(value: object) -> str:
    """An address trimmed and in lower case."""
    normal = value.strip().lower() if isinstance(value, str) else ""
    return normal if _EMAIL.fullmatch(normal) else ""


def email_of_google(value: object) -> str:
    """An address as Google compares it: without any white space, and at Gmail without dots and what follows a +."""
    normal = "".join(value.split()).lower() if isinstance(value, str) else ""
    if not _EMAIL.fullmatch(normal):
        return ""
    local, _, domain = normal.partition("@")
    if domain not in _GMAIL:
        return normal
    local = local.partition("+")[0].replace(".", "")
    return f"{local}@{domain}" if local else ""


def phone(value: object) -> str:
    """A number in E.164, with its +. One without the country's code is none, as nothing says which is meant."""
    normal = _SEPARATORS.sub("", value) if isinstance(value, str) else ""
    return normal if _PHONE.fullmatch(normal) else ""


def phone_digits(value: object) -> str:
    """A number in E.164, without its +."""
    return phone(value).removeprefix("+")


def device(value: object) -> str:
    """An advertising id in lower case."""
    normal = value.strip().lower() if isinstance(value, str) else ""
    return normal if _DEVICE.fullmatch(normal) else ""


def sha256(normal: str) -> str:
    """The hash in lower-case hex; empty for an empty text."""
    return hashlib.sha256(normal.encode()).hexdigest() if normal else ""
