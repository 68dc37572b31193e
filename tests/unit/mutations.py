"""What stands in a valid text or document, altered: where a parser is most likely to believe what is not so."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["\x00", "\x1f", "9" * 400, "2025-11-24T16:00:00Z", "99999-01-01T00:00:00Z", "a@b.de", "+49"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def places(said: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(said) if isinstance(said, dict) else range(len(said)) if isinstance(said, list) else []
    return [at, *(place for key in keys for place in places(said[key], (*at, key)))]


def with_value(said: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(said) if isinstance(said, dict) else list(said)
    copy[place[0]] = with_value(said[place[0]], place[1:], value)
    return copy


@st.composite
def documents(draw: st.DrawFn, valid: Any, values: st.SearchStrategy[Any] = json_values) -> Any:
    """A document with anything in one to three of its places."""
    for _ in range(draw(st.integers(1, 3))):
        valid = with_value(valid, draw(st.sampled_from(places(valid))), draw(values))
    return valid


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """Bytes with one to three stretches of them replaced, left out, doubled, or cut off behind."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(valid)))
        end = draw(st.integers(start, min(start + 8, len(valid))))
        some = draw(st.binary(max_size=8) | st.just(valid[start:end] * 2))
        valid = valid[:start] + some + (valid[end:] if draw(st.integers(0, 7)) else b"")
    return valid
