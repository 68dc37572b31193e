"""Cells side by side as JSON objects: made and written some times faster than as dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

_encoder: Final = msgspec.json.Encoder()


@lru_cache(1_000)
def object_maker(names: tuple[str, ...], sparse: bool = False) -> Callable[..., Any]:
    """What makes of cells, in the order of these names, an object that msgspec writes; where it is `sparse`,
    one that says nothing of those that are `None`."""
    default = {"default": None} if sparse else {}
    fields = [(f"f{place}", Any, msgspec.field(name=name, **default)) for place, name in enumerate(names)]
    try:
        return msgspec.defstruct("Object", fields, omit_defaults=sparse, gc=False)
    except ValueError:
        # A name that a struct's field cannot have: one with a quote or a control character.
        return lambda *cells: {
            name: cell for name, cell in zip(names, cells, strict=True) if not (sparse and cell is None)
        }


def objects_of(names: Iterable[str], columns: Iterable[Iterable[Any]], sparse: bool = False) -> Iterator[Any]:
    """The objects that equally long columns of these names are, row by row."""
    return map(object_maker(tuple(names), sparse), *columns)


def json_of(objects: Sequence[Any]) -> list[bytes]:
    """The JSON text of each. Raises what msgspec raises where one of them cannot be written."""
    # Lines, since JSON escapes every line break in a text.
    return _encoder.encode_lines(objects).split(b"\n")[:-1]
