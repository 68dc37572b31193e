"""What an unmerge promises: one person is two, who are what they would be had they never been one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.profiles import Profile, decode_profile, encode_profile, nodes
from domain.records import Identifier, Record, RecordType, node_id
from domain.state import Inbound
from domain.unmerge import (
    NOT_ONE,
    REFUSED,
    UNMERGED,
    decode_refused,
    decode_unmerged,
)
from runtime.rebuild.people import PersonFold
from runtime.rebuild.plans import Plans
from tests.unit.memory import HOUR, Memory, record
from tests.unit.test_rebuild import CHANGES, CRM, CUTS, Cut, History, cuts_of
from tests.unit.test_step import histories

ANN, BOB = ("user_id", "ann"), ("user_id", "bob")
PHONE, TABLET = ("anonymous_id", "phone"), ("anonymous_id", "tablet")
MAIL = ("email", "a@b.c")


def inbound(*said: Record | None) -> list[Inbound]:
    """A log with an hour between its rows."""
    return [Inbound(number, number * HOUR, one) for number, one in enumerate(said, 1)]


def says(kind: RecordType, hour: int, *identifiers: tuple[str, str], **more: Any) -> Record:
    return record(kind, identifiers, hour * HOUR, **more)


def after(cut: Cut, *said: Record | None) -> Memory:
    return History(inbound(*said), [], [cut]).in_order()


def person(memory: Memory, identifier: tuple[str, str]) -> Profile:
    return memory.profile(Identifier(*identifier))


def bare(profile: Profile) -> bytes:
    """A profile without what says from whom it was unmerged."""
    return encode_profile(msgspec.structs.replace(profile, apart={}))


LOGIN = [
    says("track", 1, PHONE, name="Order Completed"),
    says("identify", 2, ANN, traits={"plan": "pro"}),
    says("identify", 3, ANN, PHONE, consent={"advertising": True}),
]


def test_two_devices_that_were_merged_by_mistake_are_two_again_with_all_that_is_theirs() -> None:
    memory = after(Cut(2, ANN, PHONE), *LOGIN)
    ann, phone = person(memory, ANN), person(memory, PHONE)
    assert (set(ann.identifiers), set(phone.identifiers)) == ({"user_id"}, {"anonymous_id"})
    assert ann.attributes["plan"].value == "pro"
    assert phone.attributes == {}
    assert set(ann.consent) == {"advertising"}
    assert ("pros", ann.id) in memory.memberships
    assert ("pros", phone.id) not in memory.memberships
    assert phone.conditions
    assert not ann.conditions


def test_what_was_unmerged_does_not_join_again_unless_an_alias_call_says_so() -> None:
    cut = Cut(2, ANN, PHONE)
    again = says("track", 5, ANN, PHONE, name="Order Completed")
    apart = after(cut, *LOGIN, again)
    assert len(apart.profiles) == 2
    reasons = [msgspec.json.decode(e.state)["reason"] for e in apart.entries if "merge_refused" in e.topic]
    assert len(reasons) == 1
    assert "unmerged" in reasons[0]
    assert len(after(cut, *LOGIN, again, says("alias", 6, ANN, PHONE)).profiles) == 1


def test_a_third_identifier_does_not_join_them_either() -> None:
    memory = after(
        Cut(2, ANN, PHONE), *LOGIN, says("identify", 5, ANN, MAIL), says("identify", 6, MAIL, PHONE)
    )
    assert len(memory.profiles) == 2
    assert set(person(memory, MAIL).identifiers) == {"user_id", "email"}


def test_an_identifier_that_no_record_of_its_own_makes_anybodys_is_nobodys() -> None:
    memory = after(Cut(0, ANN, PHONE), says("identify", 1, ANN, PHONE))
    assert node_id(Identifier(*PHONE)) not in memory.graph
    [done] = [decode_unmerged(e.state) for e in memory.entries if e.topic == UNMERGED]
    assert (done.parted, done.nobodys) == ([], [node_id(Identifier(*PHONE))])
    later = after(Cut(0, ANN, PHONE), says("identify", 1, ANN, PHONE), says("identify", 2, PHONE))
    assert len(later.profiles) == 2


def test_who_is_not_one_person_is_not_unmerged_and_the_log_says_why() -> None:
    memory = after(Cut(1, ANN, PHONE), LOGIN[0], LOGIN[1])
    [refused] = [decode_refused(e.state) for e in memory.entries if e.topic == REFUSED]
    assert refused.reason == NOT_ONE


def test_who_has_more_records_than_are_folded_again_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.rebuild.unmerge.RECORD_LIMIT", 2)
    assert len(after(Cut(1, ANN, PHONE), LOGIN[0], LOGIN[2]).profiles) == 2
    memory = after(Cut(2, ANN, PHONE), *LOGIN)
    [refused] = [decode_refused(e.state) for e in memory.entries if e.topic == REFUSED]
    assert "more than 2 records" in refused.reason
    assert len(memory.profiles) == 1


@pytest.mark.parametrize("kind", ["alias", "identify"])
def test_destinations_are_told_the_difference(kind: RecordType) -> None:
    """Ann is in the ads by the address that the phone's identify call gave; without the phone she is not."""
    said = [
        says("identify", 1, ANN, consent={"advertising": True}),
        says("track", 2, ANN, name="Push Sent", properties={"message_id": "m"}),
        says("identify", 3, PHONE, traits={"email": "p@b.c"}),
        says(kind, 4, ANN, PHONE),
        None,
    ]
    rows = [*inbound(*said[:4]), Inbound(5, 40 * HOUR, None)]
    ads = {
        "connector": "meta_custom_audience",
        "audience": "ignored",
        "purpose": "advertising",
        "fields": {"email": "attribute.email"},
        "settings": {"audience_id": "1"},
        "secrets": {"access_token": {"env": "TOKEN"}},
    }
    memory = History(rows, [(0, ("connection", "ads", ads))], [Cut(4, ANN, PHONE)]).in_order()
    assert [(one["change"], one["fields"]) for one in memory.outbound()] == [
        ("add", {"email": "p@b.c"}),
        ("remove", {"email": "p@b.c"}),
    ]


#: The request names an identifier as it is, and not as its kind is called later. A strategy by which somebody known is
#: kept from others has kept a third profile from the one that both were meanwhile.
WITHOUT_KINDS = CHANGES.filter(
    lambda change: (
        "identifiers" not in (change[2] or {}) and {"match"} >= (change[2] or {}).get("identity", {}).keys()
    )
)
OURS = st.sampled_from([ANN, MAIL, ("app.crm_id", "7")])
THEIRS = st.sampled_from([PHONE, TABLET, ("phone", "+4930123456")])


@st.composite
def two_people(draw: st.DrawFn) -> list[tuple[bool, list[tuple[str, str]], int]]:
    """Records of two people who share no identifier: whose, the identifiers, and what is said."""
    found = []
    for _ in range(draw(st.integers(1, 12))):
        first = draw(st.booleans())
        named = draw(st.lists(OURS if first else THEIRS, min_size=1, max_size=2, unique=True))
        found.append((first, named, draw(st.integers(0, 5))))
    return found


def said_by(number: int, named: Sequence[tuple[str, str]], what: int) -> Record:
    kinds: list[tuple[RecordType, dict[str, Any]]] = [
        ("identify", {"traits": {"plan": "pro", "email": f"{named[0][1]}@b.c"}}),
        ("identify", {"traits": {"plan": "free"}, "consent": {"advertising": True}}),
        ("identify", {"consent": {"push": number % 2 == 0}}),
        ("track", {"name": "Order Completed"}),
        ("track", {"name": "Push Sent", "properties": {"message_id": "m1"}}),
        ("track", {"name": "App Installed"}),
    ]
    kind, more = kinds[what]
    return record(kind, named, number * 9 * HOUR, **more)


@example([(True, [ANN], 3), (False, [PHONE], 0)], 1, 5, "identify", [])
@given(
    two_people(),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from(["identify", "alias", "track"]),
    st.lists(st.tuples(st.integers(0, 12), WITHOUT_KINDS), max_size=2),
)
def test_merged_and_unmerged_is_as_if_that_merge_had_never_been(
    said: list[tuple[bool, list[tuple[str, str]], int]],
    merged_at: int,
    behind: int,
    kind: RecordType,
    changes: list[tuple[int, Any]],
) -> None:
    """The record that joins them says no more than whose it is, and stays with the one that leads it."""
    ours = next((named[0] for first, named, _ in said if first), ANN)
    theirs = next((named[0] for first, named, _ in said if not first), PHONE)
    lines = [said_by(number, named, what) for number, (_, named, what) in enumerate(said, 1)]
    place = min(merged_at, len(lines))
    at = (place + 1) * 9 * HOUR

    def history(named: list[tuple[str, str]], cuts: list[Cut]) -> Memory:
        joined: list[Record | None] = [*lines[:place], record(kind, named, at), *lines[place:]]
        rows = [Inbound(n, n * 9 * HOUR, one) for n, one in enumerate(joined, 1)]
        return History(rows, changes, cuts).in_order()

    number = min(place + behind, len(lines))
    there = history([ours, theirs], [Cut(number, ours, theirs)])
    # A request that is about nobody stands where the other one did.
    never = history([ours], [Cut(number, ("user_id", "nobody"), ("user_id", "either"))])
    assert there.graph == never.graph
    assert there.memberships == never.memberships
    assert bare_all(there) == bare_all(never)


@given(
    histories(),
    st.lists(st.tuples(st.integers(0, 29), CHANGES), max_size=3),
    CUTS,
)
def test_a_persons_own_records_folded_again_give_the_person(
    records: list[Inbound], changes: list[tuple[int, Any]], cuts: list[tuple[int, int, int, int]]
) -> None:
    history = History(records, changes, cuts_of(records, cuts))
    memory = history.in_order()
    end = history.rows[-1].position
    told = [decode_unmerged(entry.state) for entry in memory.entries if entry.topic == UNMERGED]
    passed_on = {node for one in told for node in one.nobodys}
    claims = [msgspec.json.decode(e.state) for e in memory.entries if e.topic == "identity.merge_refused"]
    last = max((one.requested for one in told), default=0)
    passed_on |= {one["identifier"] for one in claims if one["cause"] < last}
    refused = {decode_refused(entry.state).requested for entry in memory.entries if entry.topic == REFUSED}
    for state in memory.profiles.values():
        profile = decode_profile(state)
        own = nodes(profile)
        # A request about two who were not one keeps them apart from then on, and folded again from the beginning.
        if any(not refused.isdisjoint(others.values()) for others in profile.apart.values()):
            continue
        # What somebody was refused, or what was another's, and is theirs since an unmerge, they would have had before.
        if not passed_on.isdisjoint(own):
            continue
        again = PersonFold(Plans(history.changes), history.clock, end, own, profile.apart, {})
        for row in history.led_before(end + 1)([*own, *(node_id(i) for i in CRM)]):
            again.record(*row)
        again.finish()
        assert {id: encode_profile(one) for id, one in again.profiles.items()} == {profile.id: state}
        assert again.state.graph == dict.fromkeys(own, profile.id)


def bare_all(memory: Memory) -> dict[str, bytes]:
    return {id: bare(decode_profile(state)) for id, state in memory.profiles.items()}
