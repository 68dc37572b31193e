"""Rows by columns are, byte for byte, the rows one by one, and rows without a place get the one that they are given."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adapters.log import wire
from adapters.log.columns import encode_rows, encode_stream_rows
from adapters.log.placing import Unplaced
from adapters.log.wire import decode_row, encode_log_rows
from domain.records import Entry, derive_id

FIRST, AT = 2**40 + 3, 1_790_000_000_000_000
TOPICS = st.sampled_from(["track.Order Completed", "identify.", "track.Überfällig"])
STATES = st.binary(max_size=40)


@st.composite
def batches(draw: st.DrawFn) -> list[Entry]:
    """Some rows and many, of one topic and of several, of somebody and of nobody."""
    topics = draw(st.sampled_from([st.just("identify."), st.just("track.Überfällig"), TOPICS]))
    owners = draw(st.sampled_from([[True], [True, True, False], [False]]))
    return [
        Entry(
            derive_id("stream", str(number)),
            1 + number % 3,
            draw(topics),
            derive_id("owner", str(number % 7)) if owners[number % len(owners)] else None,
            draw(STATES),
        )
        for number in range(draw(st.sampled_from([0, 1, 31, 32, 33, 70])))
    ]


def one_by_one(entries: list[Entry]) -> list[bytes]:
    return list(encode_log_rows(FIRST, AT, entries, [entry.state for entry in entries]))


@given(batches())
def test_rows_by_columns_are_the_rows_one_by_one(entries: list[Entry]) -> None:
    assert list(encode_rows(FIRST, AT, entries, [entry.state for entry in entries])) == one_by_one(entries)


@given(batches())
def test_streams_by_columns_are_the_streams_one_by_one_in_order(entries: list[Entry]) -> None:
    assert encode_stream_rows(FIRST, entries) == b"".join(wire.encode_stream_rows(FIRST, entries))


@given(batches())
def test_rows_without_a_place_get_the_one_that_they_are_given(entries: list[Entry]) -> None:
    unplaced = Unplaced.of(entries, [entry.state for entry in entries])
    log, streams = unplaced.placed(FIRST, AT)
    assert bytes(log) == b"".join(one_by_one(entries))
    assert streams == encode_stream_rows(FIRST, entries)
    assert list(unplaced.entries()) == entries
    assert list(unplaced.entries(3)) == entries[::3]
    ends = [0, *unplaced.ends.tolist()]
    assert [decode_row(bytes(log[begin:end]))[:4] for begin, end in pairwise(ends)] == [
        (position, *entry[:3]) for position, entry in enumerate(entries, FIRST)
    ]
