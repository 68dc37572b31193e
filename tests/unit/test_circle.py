"""A message's circle: the steps of a person as a tree, whichever of them is asked for."""

from __future__ import annotations

import pytest

from domain.circle import FAR, Branch, Step, circle

#: Somebody signs up and gets a push; as it is not opened in time, an ad platform is told. Beside it they buy something.
STEPS = [
    Step("record", 1, 10, "Signed Up"),
    Step("entered", 2, 10, "new users", 1, "new users", (1,)),
    Step("sent", 3, 10, "push", 1, "new users", outbound="p"),
    Step("outcome", 4, 12, "delivered by push", outbound="p"),
    Step("record", 5, 13, "Push Sent", outbound="p"),
    # Only time has passed: the cause is nobody's row.
    Step("entered", 7, 90, "ignored it", 6, "ignored it", (1, 5)),
    Step("sent", 8, 90, "ads", 6, "ignored it", outbound="a"),
    Step("outcome", 9, 91, "delivered by ads", outbound="a"),
    Step("record", 10, 95, "Order Completed"),
    Step("exited", 11, 95, "ignored it", 10, "ignored it"),
    Step("sent", 12, 95, "ads", 10, "ignored it", outbound="r"),
]


def drawn(branch: Branch | None) -> object:
    assert branch is not None
    return (
        {branch.step.position: [drawn(one) for one in branch.then]} if branch.then else branch.step.position
    )


@pytest.mark.parametrize("place", range(1, 6))
def test_a_message_stands_between_what_led_to_it_and_what_followed(place: int) -> None:
    assert drawn(circle(STEPS, place)) == {1: [{2: [{3: [4, {5: [{7: [{8: [9]}]}]}]}]}]}


@pytest.mark.parametrize("place", [10, 11, 12])
def test_what_came_of_something_else_is_a_circle_of_its_own(place: int) -> None:
    assert drawn(circle(STEPS, place)) == {10: [{11: [12]}]}


def test_why_somebody_is_withheld_stands_below_the_audience_that_they_are_withheld_in() -> None:
    withdrawn = [Step("record", 9, 91, "identify"), Step("withheld", 10, 91, "ads", 9, "ignored it")]
    assert drawn(circle(STEPS[:6] + withdrawn, 10)) == {1: [{2: [{3: [4, {5: [{7: [10]}]}]}]}]}


def test_the_order_of_rows_decides_whatever_order_they_are_given_in() -> None:
    assert circle(reversed(STEPS), 9) == circle(STEPS, 9)


def test_what_is_no_step_has_no_circle() -> None:
    assert circle(STEPS, 6) is None


def test_of_a_long_life_only_what_is_near_is_drawn() -> None:
    steps = [Step("record", 1, 1, "first")]
    for n in range(2, 1_000, 2):
        steps += [
            Step("sent", n, n, "c", n - 1, outbound=str(n)),
            Step("record", n + 1, n + 1, "r", outbound=str(n)),
        ]
    found = circle(steps, 501)
    assert found is not None
    assert (found.step.position, found.further) == (501 - FAR, True)
    depth = 1
    while found.then:
        [found] = found.then
        depth += 1
    assert (depth, found.further) == (2 * FAR, True)
