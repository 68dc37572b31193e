"""Values as an analytical table holds them: by kind, under the way to each, so that SQL compares what the
incremental evaluator compares, with no JSON to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from domain.audiences.matching import as_number

#: Objects inside one another are followed so deep.
DEEPEST: Final = 20

_ELEMENTS: Final[Mapping[str, Callable[[str], Any]]] = {
    "b": lambda told: told == "True",
    "t": str,
    "n": float,
}


class Flat(NamedTuple):
    """Path → value, by kind; `lists` holds its elements as `element` writes them, `objects` only the paths.

    What is null is in none of them.
    """

    texts: dict[str, str]
    numbers: dict[str, float]
    truths: dict[str, bool]
    lists: dict[str, list[str]]
    objects: list[str]


def flatten(values: Mapping[str, Any]) -> Flat:
    """Every value that `matching.value_at` can find, under the path that finds it."""
    flat = Flat({}, {}, {}, {}, [])
    for path, value in _paths(values):
        match value:
            case None:
                pass
            case bool():
                flat.truths[path] = value
            case int() | float():
                flat.numbers[path] = as_number(value)
            case str():
                flat.texts[path] = value
            case list():
                flat.lists[path] = [
                    element(each) for each in value if isinstance(each, (bool, int, float, str))
                ]
            case _:
                flat.objects.append(path)
    return flat


def element(value: bool | float | str) -> str:
    """An element of a list, or an operand that one is compared with: equal text for equal values."""
    if isinstance(value, bool):
        return f"b:{value}"
    return f"t:{value}" if isinstance(value, str) else f"n:{as_number(value)!r}"


def unflattened(
    text: str | None,
    number: float | None,
    truth: bool | None,
    elements: list[str] | None,
    is_object: bool | None,
) -> Any:
    """The value that lies so, as far as conditions can tell; `None` where there is none. Of an object no more is told
    than that it is one."""
    for value in (text, number, truth):
        if value is not None:
            return value
    if elements is not None:
        return [_ELEMENTS[each[0]](each[2:]) for each in elements]
    return {} if is_object else None


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from values.items()
    for name, value in values.items():
        if isinstance(value, Mapping) and "." not in name:
            yield from ((path, v) for path, v in _inside(name, value, 1) if path not in values)


def _inside(way: str, values: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if "." in name or depth > DEEPEST:
            continue
        path = f"{way}.{name}"
        yield path, value
        if isinstance(value, Mapping):
            yield from _inside(path, value, depth + 1)
