"""The demo's story, and its truth worked out once more from the calls and the push tool's script alone."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulators.app_users import Story, story

STEP = timedelta(hours=2)
DAY = timedelta(hours=24)


@pytest.fixture(scope="module")
def told() -> Story:
    return story(2_000, 7)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def micros(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp()) * 1_000_000


def by_person(told: Story) -> dict[str, list[tuple[datetime, dict[str, Any]]]]:
    """Everybody's calls with the step's end, joined by anonymous id."""
    calls = [(datetime.fromtimestamp(s.at / 1e6, UTC), call) for s in told.steps for call in s.calls]
    owner = {call["anonymousId"]: call["userId"] for _, call in calls if call["type"] == "identify"}
    people: dict[str, list[tuple[datetime, dict[str, Any]]]] = defaultdict(list)
    for at, call in calls:
        people[owner[call["anonymousId"]]].append((at, call))
    return people


def test_the_same_seed_tells_the_same_story() -> None:
    assert story(50, 3) == story(50, 3)
    assert story(50, 3).steps != story(50, 4).steps


def test_a_larger_story_holds_the_smaller_one() -> None:
    assert story(20, 3).people == story(40, 3).people[:20]


def test_a_story_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="0 users"):
        story(0, 1)


def test_steps_follow_each_other_and_hold_what_occurred_in_them(told: Story) -> None:
    begin = moment("2026-01-05T00:00:00Z")
    for number, step in enumerate(told.steps, 1):
        assert moment(step.at_text) == begin + number * STEP
        times = [moment(call["timestamp"]) for call in step.calls]
        assert times == sorted(times)
        assert all(moment(step.at_text) - STEP < at <= moment(step.at_text) for at in times)
    assert 58 <= (moment(told.steps[-1].at_text) - begin) / timedelta(hours=1) <= 64


def test_calls_are_segments_and_their_ids_are_unique(told: Story) -> None:
    calls = [call for step in told.steps for call in step.calls]
    assert len({call["messageId"] for call in calls}) == len(calls)
    assert 6 <= len(calls) / 2_000 <= 8
    for call in calls:
        assert call["type"] in {"track", "screen", "identify"}
        assert ("event" in call) == (call["type"] == "track")
        assert call["anonymousId"]
    names = Counter(call.get("event") for call in calls)
    assert set(names) == {None, "App Installed", "App Opened", "Product Viewed", "Order Completed"}


def test_history_before_the_login_is_anonymous_and_consent_comes_with_it(told: Story) -> None:
    long_anonymous = 0
    for calls in by_person(told).values():
        login = next(index for index, (_, call) in enumerate(calls) if call["type"] == "identify")
        assert not any("userId" in call for _, call in calls[:login])
        assert all("userId" in call for _, call in calls[login:])
        assert ["consent" in call["context"] for _, call in calls].count(True) == 1
        assert set(calls[login][1]["context"]["consent"]["categoryPreferences"]) == {"push", "advertising"}
        long_anonymous += calls[login][0] > calls[0][0]
    assert long_anonymous > 600


def test_shares_are_as_told(told: Story) -> None:
    people = told.people
    share = {
        "without e-mail": sum(p.email is None for p in people),
        "push": sum(p.push_consent for p in people),
        "advertising": sum(p.advertising_consent for p in people),
        "not new": sum(not p.is_new for p in people),
        "bounced": sum(b["outcome"] == "bounced" for b in told.behaviours),
    }
    wanted = {"without e-mail": 5, "push": 80, "advertising": 85, "not new": 10, "bounced": 4}
    for name, percent in wanted.items():
        assert abs(share[name] / 20 - percent) < 2.5, name
    emails = [p.email for p in people if p.email]
    assert any(email != email.strip() for email in emails)
    assert any(email.strip() != email.strip().lower() for email in emails)
    assert len({email.strip().lower() for email in emails}) == len(emails)


def test_the_truth_is_what_a_naive_reader_of_the_calls_finds(told: Story) -> None:
    takes = {behaviour["external_id"]: behaviour for behaviour in told.behaviours}
    truth = told.truth()
    pushed, audience, ads = set(), set(), set()
    for user_id, calls in by_person(told).items():
        identify_step, identify = next((at, call) for at, call in calls if call["type"] == "identify")
        consent = identify["context"]["consent"]["categoryPreferences"]
        installed = any(call.get("event") == "App Installed" for _, call in calls)
        sent = identify_step if installed and consent["push"] else None
        fate = truth.fates[user_id]
        assert (fate.enters, fate.sent_at) == (sent is not None, micros(sent))
        if sent is None:
            assert not fate.retargeted
            continue
        pushed.add(user_id)
        orders = [moment(c["timestamp"]) for _, c in calls if c.get("event") == "Order Completed"]
        bought = next((at for at in sorted(orders) if sent <= at <= sent + DAY), None)
        opens_after = takes[user_id]["opens_after_s"]
        opened = None if opens_after is None else sent + timedelta(seconds=opens_after)
        assert (fate.opened_at, fate.converted_at) == (micros(opened), micros(bought))
        bounced = takes[user_id]["outcome"] == "bounced"
        if bounced or bought or (opened and opened <= sent + DAY):
            continue
        audience.add(user_id)
        email = identify["traits"].get("email")
        if email and consent["advertising"]:
            ads.add(hashlib.sha256(email.strip().lower().encode()).hexdigest())
    assert truth.expected_pushed == pushed
    assert truth.expected_audience == audience
    assert truth.expected_ads == ads
    assert 500 < len(ads) < len(audience) < len(pushed) < 1_600


def test_every_wait_is_over_at_the_end_and_none_is_answered_in_its_last_step(told: Story) -> None:
    answers: Counter[str] = Counter()
    for fate, person in zip(told.truth().fates.values(), told.people, strict=True):
        if person.pushed_at is None:
            continue
        wait_ends = person.pushed_at + 24 * 3600
        assert wait_ends * 1_000_000 < told.steps[-1].at
        opened = [] if fate.opened_at is None else [fate.opened_at // 1_000_000]
        for at in [*person.orders, *opened]:
            assert at != person.pushed_at
            assert not wait_ends - 2 * 3600 < at <= wait_ends
            answers["just in time"] += at == wait_ends - 2 * 3600
            answers["a second too late"] += at == wait_ends + 1
        before = any(at < person.pushed_at for at in person.orders)
        answers["bought before, and retargeted"] += before and fate.retargeted
    assert all(answers[kind] >= 5 for kind in answers), answers
    assert len(answers) == 3
