"""Attributes whose names mean the same everywhere have a type: a value is brought into one form, or kept out with the
reason. All other attributes keep the JSON that was said.

The table is in docs/reference/attributes.md. Countries are ISO 3166-1's, as `phonenumbers` knows them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from phonenumbers import SUPPORTED_REGIONS

from domain.identifiers import read_identifier
from domain.quiet import is_zone

#: Longest name of an attribute, in characters, and largest value: text in characters, all else in bytes as JSON.
NAME_LIMIT: Final = 200
VALUE_LIMIT: Final = 16_384
#: Longest text of a standard field, in characters.
TEXT_LIMIT: Final = 512

_TOO_LONG_A_NAME: Final = f"the name has more than {NAME_LIMIT} characters"
_TOO_LARGE: Final = f"the value is larger than {VALUE_LIMIT:,} characters, or bytes as JSON"
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]{2,8}){0,3}", re.IGNORECASE | re.ASCII)
#: Of ISO 3166-1, those that have no telephone numbers of their own; and what are no countries of it.
_WITHOUT_NUMBERS: Final = frozenset({"AQ", "BV", "GS", "HM", "PN", "TF", "UM"})
_COUNTRIES: Final = (SUPPORTED_REGIONS | _WITHOUT_NUMBERS) - {"AC", "TA"}
#: Above this a number is no time in seconds, but in milliseconds.
_SECONDS: Final = 100_000_000_000

_encode = msgspec.json.Encoder().encode


class Type(NamedTuple):
    """A standard field's type: what a value is read as, `None` where it cannot be, and what it ought to be."""

    read: Callable[[Any], Any]
    wanted: str


class Typed(NamedTuple):
    """The attributes that are taken in, and of each other one the reason why it is not."""

    taken: Mapping[str, Any]
    refused: Mapping[str, str]


def typed(said: Mapping[str, Any]) -> Typed:
    """Looks at attributes as they were said. Nearly always all of them are what they ought to be: then they are given
    back as they are."""
    changed: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name, value in said.items():
        type = _type_of(name)
        if type is None:
            if len(name) > NAME_LIMIT:
                refused[name] = _TOO_LONG_A_NAME
            elif value.__class__ not in _SMALL and _size(value) > VALUE_LIMIT:
                refused[name] = _TOO_LARGE
            continue
        meant = value.strip() if value.__class__ is str else value
        found = type.read(meant)
        if found is value or (found == value and found.__class__ is value.__class__):
            continue
        if found is not None:
            changed[name] = found
        elif meant is None or meant == "":
            changed[name] = meant
        else:
            refused[name] = f"expected is {type.wanted}"
    if not changed and not refused:
        return Typed(said, refused)
    return Typed({name: value for name, value in {**said, **changed}.items() if name not in refused}, refused)


_SMALL: Final = frozenset({bool, int, float, type(None)})


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(_encode(value))


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_LIMIT else None


def _identifier(kind: str) -> Callable[[Any], str | None]:
    def read(value: Any) -> str | None:
        found = read_identifier(kind, value) if isinstance(value, str) else None
        return found.value if found is not None else None

    return read


def _age(value: Any) -> int | None:
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= 3 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 150 else None


def _day(value: Any) -> str | None:
    """The day as it was written, whatever time stands behind it."""
    if not isinstance(value, str) or not _DATE.match(value):
        return None
    try:
        if len(value) > 10:
            datetime.fromisoformat(value)
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        return None


def _moment(value: Any) -> str | None:
    """In UTC, always as long, so that earlier is less as text too."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            at = datetime.fromtimestamp(value / 1_000 if abs(value) >= _SECONDS else value, UTC)
        elif isinstance(value, str) and _DATE.match(value):
            at = datetime.fromisoformat(value)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _country(value: Any) -> str | None:
    code = value.upper() if isinstance(value, str) and len(value) == 2 else None
    return code if code in _COUNTRIES else None


def _language(value: Any) -> str | None:
    return _tag(value) if isinstance(value, str) and len(value) <= TEXT_LIMIT else None


@lru_cache(maxsize=1_000)
def _tag(value: str) -> str | None:
    """In the form that BCP 47 recommends: de-AT, zh-Hant-TW."""
    if not _LANGUAGE.fullmatch(value):
        return None
    language, *more = value.replace("_", "-").lower().split("-")
    return "-".join((language, *map(_subtag, more)))


def _subtag(one: str) -> str:
    if len(one) == 4 and one.isalpha():
        return one.title()
    return one.upper() if len(one) == 2 else one


def _zone(value: Any) -> str | None:
    return value if is_zone(value) else None


_TYPES: Final[Mapping[Type, tuple[str, ...]]] = {
    Type(_identifier("email"), "an e-mail address"): ("email",),
    Type(_identifier("phone"), "a phone number with + and its country's code"): ("phone",),
    Type(_text, f"text of at most {TEXT_LIMIT} characters"): (
        "name",
        "first_name",
        "firstName",
        "last_name",
        "lastName",
        "gender",
        "city",
        "region",
        "postal_code",
        "postalCode",
        "zip",
    ),
    Type(_age, "a whole number from 0 to 150"): ("age",),
    Type(_day, "a day as 1990-05-17"): ("birthday", "birth_date", "birthDate", "date_of_birth"),
    Type(_moment, "a time in RFC 3339, or in seconds or milliseconds since 1970"): (
        "created_at",
        "createdAt",
    ),
    Type(_country, "a country's two letters by ISO 3166-1, as DE"): (
        "country",
        "country_code",
        "countryCode",
    ),
    Type(_language, "a language tag by BCP 47, as de or de-AT"): ("language", "locale"),
    Type(_zone, "a time zone's name, as Europe/Berlin"): ("timezone", "time_zone", "timeZone"),
}
#: Attribute → its type.
STANDARD: Final[Mapping[str, Type]] = {name: type for type, names in _TYPES.items() for name in names}
_type_of: Final = STANDARD.get
