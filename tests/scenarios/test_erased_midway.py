"""The example `erased-midway` on real servers: people are erased at every moment of a loop, and nothing comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest

from adapters.history.tables import History
from benchmarks.platform import free_port
from domain.erasure import REFUSED
from tests.integration.readable import holding, on_disk, readable
from tests.keys import opened, said
from tests.scenarios.retargeting import AUDIENCE, HOUR, Loop, hashed, loop, signs_up
from tests.servers import REPOSITORY, wait_until

WORKSPACE: Final = REPOSITORY / "examples/erased-midway/roundtrip.yaml"
EACH: Final = 3


class Fate(NamedTuple):
    """What comes of somebody: whether they get the push, how often they are added to the ads, and who is asked to
    delete them; `late` is what comes back of the push once they are erased."""

    pushed: bool
    added: int
    asked: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


#: By when somebody is erased.
FATES: Final = {
    "never": Fate(True, 1),
    "never, and opens it": Fate(True, 0),
    "never, signed up while the push tool is down": Fate(True, 1),
    "before anything comes back": Fate(True, 0, (), ("Push Sent", "Push Delivered")),
    "before they open it": Fate(True, 0, (), ("Push Opened",)),
    "while the push tool is down": Fate(False, 0),
    "while the ad platform is down": Fate(True, 0, ("retargeting",)),
    "once in the ads": Fate(True, 1, ("retargeting",)),
}


class Person(NamedTuple):
    user: str
    email: str
    fate: str


def people() -> list[Person]:
    """Their ids and addresses are nowhere but in what their app has sent."""
    names = [
        (fate, UUID(int=97 * n + m << 80).hex[:20]) for n, fate in enumerate(FATES, 5) for m in range(EACH)
    ]
    return [Person(f"u-{name}", f"e-{name}@example.com", fate) for fate, name in names]


class Story:
    def __init__(self, on: Loop) -> None:
        self.on = on
        self.people = people()
        #: By user, where the certificate is.
        self.certificates: dict[str, str] = {}

    def of(self, *fates: str) -> list[Person]:
        return [one for one in self.people if one.fate in fates]

    def sign_up(self, *fates: str) -> None:
        on = self.on
        on.happens(
            *(
                call
                for p in self.of(*fates)
                for call in signs_up(p.user, p.email, push=True, advertising=True)
            )
        )

    def erase(self, fate: str) -> None:
        for one in self.of(fate):
            self.certificates[one.user] = self.on.erase(one.user)

    def tell(self) -> None:
        on, opening = self.on, ("never, and opens it", "before they open it")
        on.push.post(
            "behaviours",
            [
                {
                    "external_id": one.user,
                    "outcome": "delivered",
                    "opens_after_s": 2 * HOUR if one.fate in opening else None,
                }
                for one in self.people
            ],
        )
        on.at(HOUR)
        on.feed(f"http://127.0.0.1:{free_port()}")
        self.sign_up("before anything comes back")
        on.delivered()
        self.erase("before anything comes back")
        on.feed(on.ours.url)
        on.rest()

        self.sign_up("never", *opening, "while the ad platform is down", "once in the ads")
        on.rest()
        self.erase("before they open it")

        on.at(2 * HOUR)
        on.down(on.push)
        self.sign_up("while the push tool is down", "never, signed up while the push tool is down")
        wait_until(lambda: on.refusals(on.push) >= 2, "the push tool to have refused")
        self.erase("while the push tool is down")
        on.up(on.push)
        on.rest()

        # Whoever opens it has opened it.
        on.at(4 * HOUR)
        on.rest()

        on.down(on.ads)
        on.at(25 * HOUR)
        wait_until(lambda: on.refusals(on.ads) >= 2, "the ad platform to have refused")
        self.erase("while the ad platform is down")
        on.up(on.ads)
        on.at(26 * HOUR)
        on.rest()
        self.erase("once in the ads")
        on.rest()

    @property
    def erased(self) -> list[Person]:
        return [one for one in self.people if one.user in self.certificates]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with loop(WORKSPACE, tmp_path_factory.mktemp("tools")) as on:
        story = Story(on)
        story.tell()
        yield story


def test_every_certificate_is_complete_and_names_who_was_asked(told: Story) -> None:
    def certified(one: Person) -> dict[str, Any]:
        return dict(told.on.api("GET", told.certificates[one.user]))

    for one in told.erased:
        wait_until(lambda one=one: certified(one)["complete"], f"all to be done for {one}")  # type: ignore[misc]
        found = certified(one)
        asked = [{"connection": name, "status": "delivered"} for name in FATES[one.fate].asked]
        assert (found["destinations_asked"], found["destinations_unable"]) == (asked, ["push"]), one
    assert {one.fate for one in told.erased} == {fate for fate in FATES if not fate.startswith("never")}


def test_nobody_is_reached_once_erased_and_all_others_are(told: Story) -> None:
    messages, members = told.on.push.get("messages"), told.on.members()
    for one in told.people:
        fate = FATES[one.fate]
        assert messages.get(one.user, {}).get("count", 0) == int(fate.pushed), one
        there = members.get(hashed(one.email), {"adds": 0, "member": False})
        stays = bool(fate.added) and one not in told.erased
        assert (there["adds"], there["member"]) == (fate.added, stays), one
    assert told.on.ads.get("status")["audiences"] == {AUDIENCE: 2 * EACH}


def test_what_comes_back_late_is_refused_and_counted(told: Story) -> None:
    on = told.on
    refused = said(on.database, REFUSED)
    late = [event for one in told.erased for event in FATES[one.fate].late]
    assert sorted(one["event"] for one in refused) == sorted(late)
    assert len({one["node"] for one in refused}) == 2 * EACH
    head = on.ours.status()["log"]["position"]
    wait_until(lambda: on.api("GET", "/v1/loops")["position"] >= head, "engagement to be tied")
    push, _ = on.api("GET", "/v1/loops")["loops"]["retarget"]["hops"]
    assert push["orphaned"] == len(late)
    reached = sum(FATES[one.fate].pushed for one in told.people if one not in told.erased)
    assert (push["records"], push["answered"]) == ({"delivered": reached}, reached)
    assert on.ours.status()["profiles"] == len(told.people) - len(told.erased)


def test_nothing_of_them_is_readable_and_the_log_verifies(told: Story) -> None:
    values = [value for one in told.erased for value in (one.user, one.email)]
    others = [value for one in told.people if one not in told.erased for value in (one.user, one.email)]
    lake, head = History(f"{told.on.ours.home}/lake"), told.on.ours.status()["log"]["position"]
    wait_until(lambda: min(lake.written().values()) >= head, "the lake to have it all")
    with opened(told.on.database) as connection:
        places = readable(told.on.ours, connection)
    assert {"log, opened", "profiles, opened", "messages", "lake attributes"} <= holding(places, others)
    assert holding(places, values) == set()
    assert on_disk(told.on.ours.home, values) == []
    for words in (("log", "verify"), ("rebuild", "--verify")):
        held = told.on.command(*words)
        assert held.returncode == 0, held.stdout + held.stderr
