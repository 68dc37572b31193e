"""ACME Mail's segments: people in and out, named by their address. Adding and removing twice is as once."""

from collections.abc import Sequence

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.hashing import email
from adapters.connectors.judging import all_are, latest, read, refused
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

BASE_URL = "https://api.acme.example"
MAX_BATCH = 500


class Reply(msgspec.Struct):
    unknown: list[str] = []


def check(config: ConnectorConfig) -> None:
    check_names(config, {"base_url", "segment"}, {"api_key"})
    check_base_url(config, BASE_URL)
    if not isinstance(config.settings.get("segment"), str):
        raise wrong(config, "settings.segment", "is missing; name one of ACME's segments")


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    people = latest(outbound, lambda one: email(one.fields.get("email")))
    headers = {"authorization": f"Bearer {config.secrets['api_key']}", "content-type": "application/json"}
    requests = []
    for change, method in (("remove", "DELETE"), ("add", "POST")):
        told = [who for who, several in people.items() if several[-1].change == change]
        if told:
            url = f"{base_url(config, BASE_URL)}/segments/{config.settings['segment']}/people"
            carried = tuple(one for who in told for one in people[who])
            requests.append(Request(method, url, headers, msgspec.json.encode({"emails": told}), carried))
    return requests


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    reply = read(answer, Reply)
    if answer.status != 200 or reply is None:
        return refused("ACME", request, answer)
    if not reply.unknown:
        return all_are(request, "delivered")
    return [
        Judgement(one, "dead", "ACME knows no such person")
        if email(one.fields.get("email")) in reply.unknown
        else Judgement(one, "delivered")
        for one in request.outbound
    ]


EXAMPLE = Example(
    settings={"segment": "spring"},
    secrets={"api_key": "an-api-key"},
    fields=lambda n: {"email": f"user{n}@example.com"},
    accepted=lambda request: Answer(200, {}, b"{}"),
)

CONNECTOR = Connector(MAX_BATCH, frozenset({"add", "remove"}), check, render, judge, example=EXAMPLE)
