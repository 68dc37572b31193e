"""Records as rows: many at once are the rows that they are one by one, and each is led by who it is about."""

from __future__ import annotations

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from domain.entries import entries_for
from domain.identifiers import VENDOR
from domain.identity_rules import Rules, entry_for, leading
from domain.records import Identifier, Record

RULES = Rules({"loyalty_id": VENDOR}, blocked=["kiosk"])
IDENTIFIERS = st.builds(
    Identifier,
    st.sampled_from(["user_id", "email", "anonymous_id", "push_token", "idfv", "crm.loyalty_id", "shop.no"]),
    st.sampled_from(["u-1", "u-2", "Kiosk", "NULL", "0", "00:00-0+ 0", "ü\N{GRINNING FACE}"]),
)
RECORDS = st.builds(
    Record,
    feed=st.sampled_from(["crm", "app"]),
    message_id=st.text(max_size=5),
    type=st.sampled_from(["track", "identify"]),
    occurred_at=st.integers(0, 2**50),
    identifiers=st.lists(IDENTIFIERS, max_size=4).map(tuple),
    body=st.just(msgspec.Raw(b'{"a": 1}')),
    name=st.sampled_from(["", "Order Completed", "n" * 200]),
)


@given(st.lists(RECORDS, max_size=8))
def test_many_records_at_once_are_the_rows_that_they_are_one_by_one(records: list[Record]) -> None:
    assert entries_for(records, RULES) == [entry_for(record, RULES) for record in records]


@given(st.lists(IDENTIFIERS, max_size=5))
@example([Identifier("push_token", "u-1"), Identifier("email", "0"), Identifier("idfv", "u-2")])
def test_a_record_is_led_by_the_first_that_may_join_people_and_names_somebody(who: list[Identifier]) -> None:
    usable = [n for n, one in enumerate(who) if not RULES.blocked(one)]
    joining = [n for n in usable if RULES.kind(who[n].kind).merges]
    first = min(joining or usable, key=lambda n: RULES.kind(who[n].kind).priority, default=None)
    assert leading(who, RULES) == first
