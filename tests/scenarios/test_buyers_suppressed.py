"""The example `buyers-suppressed` on real servers: who buys is taken out of the ads, and kept out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from tests.integration.simulating import Simulator, running
from tests.scenarios.lookers import END, STEP, Looker, lookers
from tests.scenarios.shop import Call, Shop, shop
from tests.servers import REPOSITORY

WORKSPACE: Final = REPOSITORY / "examples/buyers-suppressed/roundtrip.yaml"
TOKEN: Final = "ads-token"
RETARGETING, EXCLUSION = "23842000000000001", "23842000000000002"
PEOPLE: Final = 150


class Told(NamedTuple):
    people: list[Looker]
    shop: Shop
    ads: Simulator

    def audience(self, name: str) -> dict[str, dict[str, Any]]:
        """By hash, everybody who ever was in it."""
        return {one["value"]: one for one in self.ads.get(f"audiences/{name}")["members"]}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The story, told to its end."""
    with running("ad_platform", tmp_path_factory.mktemp("ads"), "--token", TOKEN) as ads:
        environment = {
            "ROUNDTRIP_ADS_URL": str(ads.http.base_url).rstrip("/"),
            "ROUNDTRIP_ADS_TOKEN": TOKEN,
        }
        with shop(WORKSPACE, environment) as on:
            people = lookers(PEOPLE, seed=8)
            tell(people, on, ads)
            yield Told(people, on, ads)


def tell(people: list[Looker], on: Shop, ads: Simulator) -> None:
    calls: defaultdict[int, list[Call]] = defaultdict(list)
    for one in people:
        for when, call in one.calls():
            calls[when].append(call)
    for moment in range(0, END + 1, STEP):
        on.clock(moment)
        if moment == END // 2:
            # One is refused, and of another the answer is lost after it took effect.
            ads.post("faults", {"next": [{"status": 503}, {"drop_after_commit": True}]})
        on.says(calls[moment], times=2)
        on.rest()


def test_in_the_end_who_looked_is_shown_ads_and_who_bought_is_not(told: Told) -> None:
    shown = {hash for hash, one in told.audience(RETARGETING).items() if one["member"]}
    excluded = {hash for hash, one in told.audience(EXCLUSION).items() if one["member"]}
    assert shown == {one.hash for one in told.people if one.shown and one.shown[-1].until is None}
    assert excluded == {one.hash for one in told.people if one.excluded}
    assert shown and excluded and not shown & excluded


def test_each_is_added_when_they_come_and_taken_out_when_they_go_and_never_twice(told: Told) -> None:
    shown, excluded = told.audience(RETARGETING), told.audience(EXCLUSION)
    assert {hash: (one["adds"], one["removes"]) for hash, one in shown.items()} == {
        one.hash: (len(one.shown), sum(stay.until is not None for stay in one.shown))
        for one in told.people
        if one.shown
    }
    assert {(one["adds"], one["removes"]) for one in excluded.values()} == {(1, 0)}
    status = told.ads.get("status")
    assert (status["duplicate_adds"], status["needless_removes"]) == (0, 0)
    assert status["rejected"] == {"fault_503": 1}
    assert status["replayed_requests"] == 1


def test_buyers_are_taken_out_as_they_buy(told: Told) -> None:
    """A removal is caused by the order, or by the week that is over."""
    bought = [one for one in told.people if one.shown and one.shown[-1].until in one.orders]
    assert bought
    [hop, exclusion] = told.shop.loop("ads")
    changes = sum(1 + (stay.until is not None) for one in told.people for stay in one.shown)
    assert hop["records"] == {"delivered": changes}
    assert exclusion["records"] == {"delivered": sum(len(one.excluded) for one in told.people)}
    removals = [one for one in told.shop.sent("retargeting") if one["change"] == "remove"]
    address = bought[0].email.strip().lower()
    [*_, removal] = [one for one in removals if one["fields"]["email"].strip().lower() == address]
    way = told.shop.way(removal["id"])
    assert [(step["what"], step["name"]) for step in way[-3:]] == [
        ("record", "Order Completed"),
        ("exited", "lookers"),
        ("sent", "retargeting"),
    ]
