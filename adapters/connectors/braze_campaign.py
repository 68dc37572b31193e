"""Braze: an API-triggered campaign sent to a batch of people.

Source: braze.com/docs/api/endpoints/messaging/send_messages/post_send_triggered_campaigns. No key for a repeated
request is documented: where Braze's answer is lost, a person may get the message again, unless the campaign's
re-eligibility says otherwise. A message cannot be taken back, so there are adds only. Fields: `external_id`; all
others go along as `trigger_properties`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.connectors.braze import NO_URL, Reply, request
from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import all_are, latest, others, parts, read, refused, text, unreadable
from adapters.connectors.settings import check_base_url, check_names, wrong
from domain.engagement import EVENTS
from domain.outbound import Outbound

MAX_BATCH: Final = 50


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "campaign_id"}, {"api_key"})
    check_base_url(config, NO_URL)
    if not isinstance(config.settings.get("campaign_id"), str) or not config.settings["campaign_id"]:
        raise wrong(config, "settings.campaign_id", "is missing; copy it from the campaign's page in Braze")


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Requests of at most `MAX_BATCH` people."""
    adds = [one for one in outbound if one.change == "add"]
    people = latest(adds, lambda one: text(one, "external_id"))
    requests = []
    for some in parts(list(people), MAX_BATCH):
        recipients = [
            {"external_user_id": who, "trigger_properties": others(people[who][-1].fields, "external_id")}
            for who in some
        ]
        body = {
            "campaign_id": config.settings["campaign_id"],
            "broadcast": False,
            "recipients": recipients,
        }
        told = [one for who in some for one in people[who]]
        requests.append(request(config, "/campaigns/trigger/send", body, told))
    return requests


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """The dispatch id comes back in Currents."""
    if answer.status not in (200, 201):
        return refused("Braze", request, answer)
    reply = read(answer, Reply)
    if reply is None or reply.message != "success":
        return unreadable("Braze", request)
    return all_are(request, "delivered", reference=reply.dispatch_id)


_EXAMPLE: Final = Example(
    {"base_url": "https://rest.iad-01.braze.com", "campaign_id": "a-campaign"},
    {"api_key": "an-api-key"},
    lambda n: {"external_id": f"user-{n}", "first_name": f"Name {n}"},
    lambda request: Answer(201, {}, b'{"message": "success", "dispatch_id": "d-1"}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    feeds=frozenset({"braze"}),
    engagement=frozenset(EVENTS),
    campaign="campaign_id",
)
