"""The example `cart-abandonment` on real servers: who leaves a cart is reminded by e-mail, and then by SMS."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from simulators.times import SECOND, read_time
from tests.integration.simulating import Simulator, running
from tests.scenarios.carts import END, STEP, Shopper, shoppers
from tests.scenarios.shop import START, Call, Shop, at, shop
from tests.servers import REPOSITORY

WORKSPACE: Final = REPOSITORY / "examples/cart-abandonment/roundtrip.yaml"
SECRET: Final = "vendors-secret"
PEOPLE: Final = 150


class Told(NamedTuple):
    people: list[Shopper]
    shop: Shop
    vendors: Simulator

    def held(self, vendor: str, collection: str) -> list[Any]:
        answer = self.vendors.http.get(f"/{vendor}/simulate/held/{collection}")
        return list(answer.raise_for_status().json().values())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The story, told to its end."""
    with running("vendors", tmp_path_factory.mktemp("vendors"), "--secret", SECRET) as vendors:
        where = str(vendors.http.base_url).rstrip("/")
        environment = {
            "ROUNDTRIP_MAIL_URL": f"{where}/sendgrid",
            "ROUNDTRIP_MAIL_API_KEY": SECRET,
            "ROUNDTRIP_MAIL_VERIFICATION_KEY": send_events(vendors, "http://127.0.0.1:9/not-yet"),
            "ROUNDTRIP_SMS_URL": f"{where}/twilio",
            "ROUNDTRIP_SMS_AUTH_TOKEN": SECRET,
        }
        waiting = [(vendors, f"/{vendor}/simulate/status") for vendor in ("sendgrid", "twilio")]
        with shop(WORKSPACE, environment, *waiting) as on:
            send_events(vendors, f"{on.ours.url}/v1/feeds/mail")
            people = shoppers(PEOPLE, seed=8)
            tell(people, on, vendors)
            yield Told(people, on, vendors)


def send_events(vendors: Simulator, url: str) -> str:
    """Events come twice and in another order; the key that they are signed with."""
    answer = vendors.http.post("/sendgrid/simulate/webhook", json={"url": url, "trouble": "late"})
    return str(answer.raise_for_status().json()["public_key"])


def tell(people: list[Shopper], on: Shop, vendors: Simulator) -> None:
    calls: defaultdict[int, list[Call]] = defaultdict(list)
    engagement: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
    for one in people:
        for when, call in one.calls():
            calls[when].append(call)
        if (mailed := one.mailed) is not None:
            for after, what in one.mail:
                when = mailed + after
                engagement[when].append({"email": one.email.strip(), "event": what, "at": at(when)})
    unreachable = [one.phone for one in people[::10] if one.phone]
    vendors.http.post("/twilio/simulate/unreachable", json=unreachable).raise_for_status()
    for vendor in ("sendgrid", "twilio"):
        faults = {"next": [{"status": 503}, {"status": 429, "retry_after": "0"}]}
        vendors.http.post(f"/{vendor}/simulate/faults", json=faults).raise_for_status()
    for moment in range(0, END + 1, STEP):
        on.clock(moment)
        if engagement[moment]:
            vendors.http.post("/sendgrid/simulate/engage", json=engagement[moment]).raise_for_status()
        on.says(calls[moment], times=2)
        on.rest()


def test_who_left_a_cart_gets_one_mail_and_who_ignores_it_one_sms(told: Told) -> None:
    mails = Counter(mail["to"][0]["email"] for mail in told.held("sendgrid", "mails"))
    texts = Counter(message["To"] for message in told.held("twilio", "messages"))
    mailed = [one for one in told.people if one.mailed is not None]
    texted = [one for one in told.people if one.texted is not None]
    assert mails == Counter(one.email.strip().lower() for one in mailed)
    assert texts == Counter(one.phone for one in texted)
    # None of the ways through the story is empty.
    assert 0 < len(texted) < len(mailed) < len(told.people)


def test_what_became_of_each_message_comes_back(told: Told) -> None:
    mail, sms = told.shop.loop("carts")
    mailed = sum(one.mailed is not None for one in told.people)
    texted = sum(one.texted is not None for one in told.people)
    assert (mail["records"], mail["answered"], mail["orphaned"]) == ({"delivered": mailed}, mailed, 0)
    assert (sms["records"], sms["answered"], sms["orphaned"]) == ({"delivered": texted}, texted, 0)
    bounced = sum(one.texted is not None for one in told.people[::10])
    assert sms["answers"]["SMS Bounced"] == {"records": bounced, "inferred": 0}


def test_an_sms_is_traced_back_to_the_cart(told: Told) -> None:
    one = next(one for one in told.people if one.texted is not None)
    [sms] = [sent for sent in told.shop.sent("text") if sent["fields"] == {"phone": one.phone}]
    way = told.shop.way(sms["id"])
    assert [(step["what"], step["name"]) for step in way] == [
        ("record", "Product Added"),
        ("entered", "cart_left"),
        ("sent", "reminder"),
        ("record", "Email Sent"),
        ("entered", "mail_ignored"),
        ("sent", "text"),
    ]
    assert (way[3]["answers"], way[3]["inferred"]) == (way[2]["id"], False)
    assert one.mailed is not None and one.texted is not None
    times = [read_time(way[place]["at"]) // SECOND - START for place in (2, 5)]
    assert times == [one.mailed, one.texted]
    assert {step["answers"] for step in way[-1]["then"] if step["what"] == "record"} == {sms["id"]}
