"""The kinds of identifiers: how a value is read as one of its kind, and what a kind may do to profiles.

A value that cannot be read as its kind is no identifier. It stays in the record's body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from domain.records import Identifier

#: Longest value of an identifier, in characters; push tokens and vendors' ids are the long ones.
VALUE_LIMIT: Final = 1024


class Kind(NamedTuple):
    """What a kind of identifier may do. Of a record's identifiers, that with the lowest `priority` says first
    whose record it is. A profile has at most `limit` values of the kind; a kind of which it has one alone
    tells people apart. A kind that does not `merge` never makes two profiles one."""

    priority: int
    limit: int
    merges: bool = True


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "user_id": Kind(10, 1),
        "email": Kind(20, 5),
        "phone": Kind(30, 5),
        "anonymous_id": Kind(60, 100),
        "idfv": Kind(70, 20),
        "android_id": Kind(70, 20),
        "idfa": Kind(75, 20),
        "gaid": Kind(75, 20),
        "push_token": Kind(80, 20, merges=False),
    }
)
#: Ids that a vendor gave, one namespace for each feed: `<feed>.<type>`.
VENDOR: Final = Kind(50, 5)

_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
#: An unquoted local part of letters, digits and the signs that RFC 5322 allows; a domain of ASCII, where no label
#: stands for other letters.
_PLAIN_EMAIL: Final = re.compile(
    r"(?=[^@]{1,64}@)[a-zA-Z0-9_!#$%&'*+/=?^`{|}~-]+(?:\.[a-zA-Z0-9_!#$%&'*+/=?^`{|}~-]+)*"
    r"@(?!(?:.*\.)?..--)([a-zA-Z0-9.-]+)"
)
#: What a plain address may hold besides its @, in lower case.
_EMAIL_BYTES: Final = b"abcdefghijklmnopqrstuvwxyz0123456789._+-"
#: Kinds of which not every text is an identifier.
_SHAPED: Final = frozenset({"email", "phone", "idfa", "idfv", "gaid", "android_id"})
_ANDROID_ID: Final = re.compile(r"[0-9a-f]{8,16}")
_TYPE: Final = re.compile(r"[a-z][a-z0-9_.]{0,62}")


@lru_cache(maxsize=100_000)
def read_identifier(kind: str, value: str) -> Identifier | None:
    """The identifier that a value is, normalised; `None` where it cannot be read as its kind.

    An e-mail address is compared without regard to case, also before the @. A phone number has to begin
    with + and its country's code, as nothing else says which country is meant.
    """
    value = value.strip()
    if not value or len(value) > VALUE_LIMIT:
        return None
    # What is printable has none of these; looking at each character is for the rest.
    if not value.isprintable() and any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in value):
        return None
    match kind:
        case "email":
            return _email(value)
        case "phone":
            return _phone(value)
        case "idfa" | "idfv" | "gaid":
            value = value.lower()
            return Identifier(kind, value) if _UUID.fullmatch(value) else None
        case "android_id":
            value = value.lower()
            return Identifier(kind, value) if _ANDROID_ID.fullmatch(value) else None
        case _:
            return Identifier(kind, value)


#: Without a call into Python for each of many.
_identifier: Final[Callable[[Iterable[Any]], Identifier]] = partial(tuple.__new__, Identifier)


def read_identifiers(kind: str, values: Sequence[str]) -> list[Identifier | None]:
    """What `read_identifier` says of each of many values: at once where all of them are plain."""
    texts = list(map(str.strip, values))
    plain: Sequence[str] | None = None
    if kind == "email":
        plain = _plain_emails(texts)
    elif kind not in _SHAPED and "" not in texts and max(map(len, texts), default=0) <= VALUE_LIMIT:
        plain = texts if "".join(texts).isprintable() else None
    if plain is not None:
        return list(map(_identifier, zip(repeat(kind), plain, strict=False)))
    # Only where reading is dear does it pay to remember what was read.
    read = read_identifier if kind == "phone" else read_identifier.__wrapped__
    return [read(kind, text) for text in texts]


def _plain_emails(values: Sequence[str]) -> Sequence[str] | None:
    """Addresses, normalised, where all of them are plain: of few signs, short, with domains that stay as they are."""
    together = "\n".join(["", *values, ""]).lower()
    if not together.isascii() or max(map(len, values), default=0) > 64:
        return None
    if together.encode().translate(None, _EMAIL_BYTES) != b"\n" + b"@\n" * len(values):
        return None
    if any(odd in together for odd in ("..", "\n.", ".@", "\n@", "--")):
        return None
    found = together.split("\n")[1:-1]
    domains = {one.partition("@")[2] for one in found}
    return found if all(_domain(domain) == domain for domain in domains) else None


def vendor_kind(feed: str, type: str) -> str | None:
    """The kind of a vendor's id in its feed's namespace; `None` for a type that is no name."""
    return f"{feed}.{type}" if _TYPE.fullmatch(type) else None


def _email(value: str) -> Identifier | None:
    plain = _PLAIN_EMAIL.fullmatch(value)
    if plain is not None and len(value) <= 254:
        # What the library finds, without its look at each character: most addresses are of this shape.
        domain = _domain(plain[1].lower())
        return None if domain is None else Identifier("email", value[: plain.start(1)].lower() + domain)
    try:
        found = validate_email(value, check_deliverability=False)
    except EmailNotValidError:
        return None
    return Identifier("email", found.normalized.lower())


@lru_cache(maxsize=10_000)
def _domain(name: str) -> str | None:
    try:
        return validate_email("a@" + name, check_deliverability=False).domain.lower()
    except EmailNotValidError:
        return None


def _phone(value: str) -> Identifier | None:
    if not value.startswith("+"):
        return None
    try:
        number = phonenumbers.parse(value, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return Identifier("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
