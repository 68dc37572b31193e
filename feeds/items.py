"""A payload of many things as its items, each with its own bytes; the bad ones among them told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from domain.records import Record
from feeds.feed import (
    InvalidError,
    MalformedError,
    PartlyInvalidError,
    Problem,
    Refused,
    TooLargeError,
)
from feeds.reading import check_depth, check_values, is_doubtful, read_parts

#: Items of one payload.
ITEMS_LIMIT: Final = 10_000

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode


class Item(NamedTuple):
    """One object of a payload: where it stands, its bytes, and what they say."""

    pointer: str
    raw: bytes
    said: Any


def read_items(body: bytes, within: str = "") -> list[Item]:
    """The items of a JSON list, or of the list that stands under a name in an object.

    A single object counts as a list of one where no name is given. Raises `MalformedError`, `InvalidError`,
    `TooLargeError`.
    """
    if not body.strip():
        raise MalformedError(Problem("", "empty_body", "the body is empty; JSON is expected"))
    said = read_parts(body)
    check_depth(body)
    if within:
        if not isinstance(said, dict) or not isinstance(said.get(within), list):
            detail = f"an object is expected, with a list in '{within}'"
            raise InvalidError(Problem(f"/{within}", "no_list", detail))
        body, prefix = bytes(_decode_parts(body)[within]), f"/{within}"
    elif isinstance(said, list):
        prefix = ""
    else:
        return [Item("", body, said)]
    raws = list(map(bytes, _decode_list(body)))
    if len(raws) > ITEMS_LIMIT:
        detail = f"at most {ITEMS_LIMIT} items are taken at once, these are {len(raws)}"
        raise TooLargeError(Problem(prefix, "too_many_items", detail))
    return [Item(f"{prefix}/{index}", raw, _decode(raw)) for index, raw in enumerate(raws)]


def read_object(body: bytes) -> Item:
    """The one object that a payload is. Raises `MalformedError`, `InvalidError`."""
    items = read_items(body)
    if len(items) != 1 or items[0].pointer or not isinstance(items[0].said, dict):
        raise InvalidError(Problem("", "not_an_object", "one JSON object is expected"))
    if is_doubtful(body):
        check_values(items[0].said, "")
    return items[0]


def gather(
    items: Iterable[Item], read: Callable[[Item], Iterable[Record]], alone: bytes = b"%b"
) -> Sequence[Record]:
    """The records of all items. Where some are bad, raises `PartlyInvalidError` with those of the good ones;
    where all are, `InvalidError`. `alone` is how an item is written as a payload of its own."""
    records: list[Record] = []
    refused: list[Refused] = []
    good = 0
    for item in items:
        try:
            if not isinstance(item.said, dict):
                raise InvalidError(Problem(item.pointer, "not_an_object", "an object is expected here"))
            if is_doubtful(item.raw):
                check_values(item.said, item.pointer)
            records += read(item)
            good += 1
        except InvalidError as error:
            refused.append(Refused(alone % item.raw, error.problems))
    if refused and not good:
        raise InvalidError(*(problem for one in refused for problem in one.problems))
    if refused:
        raise PartlyInvalidError(records, refused)
    return records
