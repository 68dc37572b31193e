"""An engagement is tied to the message that caused it: by what came back, else by a guess that is said to be one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.correlation import WINDOW, Answer, Sent, cause_of

PUSH = frozenset({"Push Sent", "Push Opened"})
FEEDS = frozenset({"onesignal"})


def sent(id: str, at: int = 100, connection: str = "push", reference: str = "") -> Sent:
    return Sent(id, connection, f"batch-{id}", at, reference, PUSH, FEEDS)


def answer(
    at: int = 200, event: str = "Push Opened", feed: str = "onesignal", **properties: object
) -> Answer:
    return Answer(event, properties, feed, at)


@pytest.mark.parametrize(
    ("properties", "by"),
    [
        ({"outbound_id": "a"}, "outbound_id"),
        ({"outbound_batch": "batch-a"}, "outbound_batch"),
        ({"message_id": "vendor-7"}, "message_id"),
    ],
)
def test_what_comes_back_names_the_message(properties: dict[str, Any], by: str) -> None:
    found = cause_of(answer(**properties), [sent("a", reference="vendor-7"), sent("b", at=150)])
    assert found is not None
    assert (found.outbound, found.by, found.inferred) == ("a", by, False)


def test_where_nothing_comes_back_it_is_the_newest_message_and_is_said_to_be_a_guess() -> None:
    found = cause_of(answer(), [sent("a", at=100), sent("b", at=150), sent("late", at=201)])
    assert found is not None
    assert (found.outbound, found.inferred) == ("b", True)


@pytest.mark.parametrize(
    "one",
    [
        answer(at=100 + WINDOW + 1),
        answer(event="Order Completed"),
        answer(feed="sendgrid"),
        answer(outbound_id="of somebody else"),
        answer(outbound_batch="of somebody else"),
    ],
    ids=["too late", "no engagement", "another tool's", "another's record", "another's batch"],
)
def test_what_cannot_be_its_answer_is_not_guessed_to_be(one: Answer) -> None:
    assert cause_of(one, [sent("a")]) is None


@pytest.mark.parametrize(
    ("campaign", "meant"),
    [
        ("spring", ("a", "campaign")),
        ("autumn", ("d", "campaign")),
        ("unheard of", ("c", "recipient")),
        ("", ("d", "recipient")),
    ],
    ids=["its connection's, though there is a newer one", "another's", "of one that says none", "none"],
)
def test_a_guess_goes_by_the_campaign_where_the_engagement_names_one(
    campaign: str, meant: tuple[str, str]
) -> None:
    messages = [
        sent("a", at=100, connection="spring sale"),
        sent("b", at=90, connection="spring sale"),
        sent("c", at=110, connection="unnamed"),
        sent("d", at=120, connection="autumn sale"),
    ]
    campaigns = {"spring sale": "spring", "autumn sale": "autumn", "never sent": "winter"}
    found = cause_of(answer(campaign=campaign), messages, campaigns)
    assert found is not None
    assert (found.outbound, found.by, found.inferred) == (*meant, True)
    # Of a campaign that this person was sent nothing of, nobody else's message is meant.
    assert cause_of(answer(campaign="winter"), messages, campaigns) is None
    # What came back by an id is no guess.
    known = cause_of(answer(campaign=campaign, outbound_id="b"), messages, campaigns)
    assert known is not None
    assert (known.outbound, known.inferred) == ("b", False)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2 * WINDOW)), unique_by=lambda one: one[0]),
    st.integers(0, 3 * WINDOW),
)
def test_the_order_in_which_messages_are_given_says_nothing(messages: list[tuple[str, int]], at: int) -> None:
    several = [sent(id, when) for id, when in messages]
    found = cause_of(answer(at=at), several)
    assert found == cause_of(answer(at=at), reversed(several))
    meant = [when for _, when in messages if 0 <= at - when <= WINDOW]
    assert (found is None) == (not meant)
