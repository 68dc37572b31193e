"""The example `consent-withdrawn` on real servers: people withdraw their consent at every moment of a loop.

Who has to be where in the end is worked out here, from what each person does, with none of the platform's code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

import pytest

from tests.scenarios.retargeting import HOUR, Call, Loop, consents, hashed, loop, signs_up
from tests.servers import REPOSITORY, wait_until

WORKSPACE: Final = REPOSITORY / "examples/consent-withdrawn/roundtrip.yaml"
PEOPLE: Final = 150

#: What a person does, and whether they get the push, and how often they are added to the ads and taken out.
FATES: Final = {
    "ignores the push": (True, 1, 0),
    "opens it": (True, 0, 0),
    "never consents to ads": (True, 0, 0),
    "withdraws ads before it is due": (True, 0, 0),
    "withdraws ads before it is due, and consents again": (True, 1, 0),
    "withdraws pushes after the push": (True, 1, 0),
    "withdraws ads while the ad platform is down": (True, 0, 0),
    "withdraws ads once added": (True, 1, 1),
    "withdraws ads once added, and consents again": (True, 2, 1),
    "withdraws pushes while the push tool is down": (False, 0, 0),
    "signs up while the push tool is down": (True, 1, 0),
}


class Person(NamedTuple):
    user: str
    email: str
    fate: str

    @property
    def late(self) -> bool:
        return self.fate.endswith("while the push tool is down")


def people() -> list[Person]:
    rng = Random(8)
    fates = [*FATES, *(rng.choice(list(FATES)) for _ in range(PEOPLE - len(FATES)))]
    rng.shuffle(fates)
    addresses = ("{}@example.com", "{}@Example.COM ", " {}@example.net")
    return [
        Person(f"user-{n:03}", rng.choice(addresses).format(f"user-{n:03}"), fate)
        for n, fate in enumerate(fates)
    ]


class Story:
    """What happens, and since when (by the wall) the platform has known of each person what they consent to."""

    def __init__(self, on: Loop) -> None:
        self.on = on
        self.people = people()
        self.withdrawn: dict[tuple[str, str], float] = {}

    def of(self, *fates: str) -> list[Person]:
        return [one for one in self.people if one.fate in fates]

    def sign_up(self, late: bool) -> None:
        calls: list[Call] = []
        for one in self.people:
            if one.late == late:
                calls += signs_up(
                    one.user, one.email, push=True, advertising=one.fate != "never consents to ads"
                )
        self.on.happens(*calls)

    def withdraw(self, purpose: str, *fates: str) -> None:
        several = self.of(*fates)
        at = self.on.happens(*(consents(one.user, **{purpose: False}) for one in several))
        self.withdrawn |= dict.fromkeys(((one.user, purpose) for one in several), at)

    def consent_again(self, purpose: str, *fates: str) -> None:
        several = self.of(*fates)
        for one in several:
            del self.withdrawn[one.user, purpose]
        self.on.happens(*(consents(one.user, **{purpose: True}) for one in several))

    def tell(self) -> None:
        on, early, again = self.on, "withdraws ads before it is due", "{}, and consents again"
        on.push.post(
            "behaviours",
            [
                {
                    "external_id": one.user,
                    "outcome": "delivered",
                    "opens_after_s": 2 * HOUR if one.fate == "opens it" else None,
                }
                for one in self.people
            ],
        )
        on.at(HOUR)
        self.sign_up(late=False)
        on.rest()

        on.at(2 * HOUR)
        on.down(on.push)
        self.sign_up(late=True)
        wait_until(lambda: on.refusals(on.push) >= 2, "the push tool to have refused")
        self.withdraw("push", "withdraws pushes while the push tool is down")
        on.up(on.push)
        on.rest()

        on.at(10 * HOUR)
        self.withdraw("advertising", early, again.format(early))
        self.withdraw("push", "withdraws pushes after the push")
        on.at(20 * HOUR)
        self.consent_again("advertising", again.format(early))

        on.down(on.ads)
        on.at(25 * HOUR)
        wait_until(lambda: on.refusals(on.ads) >= 2, "the ad platform to have refused")
        self.withdraw("advertising", "withdraws ads while the ad platform is down")
        on.up(on.ads)
        on.rest()

        once = "withdraws ads once added"
        on.at(27 * HOUR)
        on.rest()
        self.withdraw("advertising", once, again.format(once))
        on.at(28 * HOUR)
        on.rest()
        self.consent_again("advertising", again.format(once))
        on.rest()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with loop(WORKSPACE, tmp_path_factory.mktemp("tools")) as on:
        story = Story(on)
        story.tell()
        yield story


def test_in_the_end_everybody_is_where_their_consent_has_them(told: Story) -> None:
    messages, members = told.on.push.get("messages"), told.on.members()
    for one in told.people:
        pushed, adds, removes = FATES[one.fate]
        assert messages.get(one.user, {}).get("count", 0) == int(pushed), one
        there = members.get(hashed(one.email), {"adds": 0, "removes": 0, "member": False})
        assert (there["adds"], there["member"]) == (adds, adds > removes), one
    assert {hash for hash, one in members.items() if one["member"]} == {
        hashed(one.email) for one in told.people if FATES[one.fate][1] > FATES[one.fate][2]
    }


def test_nobody_is_told_of_once_they_have_withdrawn(told: Story) -> None:
    messages, members = told.on.push.get("messages"), told.on.members()
    checked = 0
    for one in told.people:
        for purpose, there in (
            ("push", messages.get(one.user)),
            ("advertising", members.get(hashed(one.email))),
        ):
            since = told.withdrawn.get((one.user, purpose))
            if since is not None and there is not None and there.get("adds", 1):
                assert there["received_wall"] < since, one
                checked += 1
    assert checked >= 2


def test_the_trace_says_why_somebody_was_left_out(told: Story) -> None:
    pushes = {one["fields"]["external_id"]: one["id"] for one in told.on.sent("push")}
    reasons: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for fate in FATES:
        [one, *_] = told.of(fate)
        for step in told.on.trace(pushes[one.user]):
            if "reason" in step:
                reasons[fate].add((f"{step['what']} {step['name']}", step["reason"]))
    no_ads, maybe = "no consent to 'advertising'", "an attempt before may have reached the person"
    withheld = ("withheld retargeting", no_ads)
    assert reasons == {
        "never consents to ads": {withheld},
        "withdraws ads before it is due": {withheld},
        "withdraws ads while the ad platform is down": {
            withheld,
            ("outcome suppressed by retargeting", f"{no_ads} at delivery; {maybe}"),
        },
        "withdraws ads once added": {withheld},
        "withdraws ads once added, and consents again": {withheld},
        "withdraws pushes while the push tool is down": {
            ("outcome suppressed by push", f"no consent to 'push' at delivery; {maybe}")
        },
    }


def test_the_loop_counts_them(told: Story) -> None:
    head = told.on.ours.status()["log"]["position"]
    wait_until(lambda: told.on.api("GET", "/v1/loops")["position"] >= head, "engagement to be tied")
    push, ads = told.on.api("GET", "/v1/loops")["loops"]["retarget"]["hops"]
    reached = sum(FATES[one.fate][0] for one in told.people)
    assert push["records"] == {"delivered": reached, "suppressed": PEOPLE - reached}
    assert (push["answered"], push["orphaned"]) == (reached, 0)
    changes = sum(sum(FATES[one.fate][1:]) for one in told.people)
    while_down = len(told.of("withdraws ads while the ad platform is down"))
    # Each of these is suppressed, and taken out: an attempt may have got there.
    assert ads["records"] == {"delivered": changes + while_down, "suppressed": while_down}
