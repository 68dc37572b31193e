"""Braze: audiences as values of an array attribute, with the declared fields as attributes; events; users deleted.

Source: braze.com/docs/api: endpoints/user_data/post_user_track and post_user_delete,
objects_filters/user_attributes_object and event_object, api_limits. Adding a value to an array that has it changes
nothing, so a repeated request needs no key; for events none is documented: where an answer is lost, one may count
twice. Fields: `external_id`, and any attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import latest, others, parts, read, refused, text, unreadable, when
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

#: Objects of all kinds in a request, unless a customer has older limits.
MAX_BATCH: Final = 75
MAX_DELETED: Final = 50
#: Each instance has an address of its own, so there is none that everybody has.
NO_URL: Final = ""
ATTRIBUTE: Final = "roundtrip_audiences"

_encode = msgspec.json.Encoder(order="deterministic").encode


class Wrong(msgspec.Struct):
    """An object of a request that Braze could not use."""

    type: Any = None
    input_array: str = ""
    index: int = -1


class Reply(msgspec.Struct):
    message: str = ""
    errors: list[Any] = []
    dispatch_id: str = ""


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "attribute"}, {"api_key"})
    check_base_url(config, NO_URL)
    attribute = config.settings.get("attribute", ATTRIBUTE)
    if not isinstance(attribute, str) or not attribute:
        raise wrong(
            config, "settings.attribute", "is no text; name the array attribute that audiences go into"
        )


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Deletions, attributes, then events. A removal tells nothing but itself, an event nothing but its properties."""
    people = latest([one for one in outbound if one.change != "event"], _who)
    requests = []
    gone = [who for who, several in people.items() if several[-1].change == "delete"]
    for some in parts(gone, MAX_DELETED):
        told = [one for who in some for one in people[who]]
        requests.append(request(config, "/users/delete", {"external_ids": list(some)}, told))
    kept = [who for who, several in people.items() if several[-1].change != "delete"]
    for some in parts(kept, MAX_BATCH):
        attributes = [_attributes(config, who, people[who][-1]) for who in some]
        told = [one for who in some for one in people[who]]
        requests.append(request(config, "/users/track", {"attributes": attributes}, told))
    events = [one for one in outbound if one.change == "event" and _who(one)]
    for records in parts(events, MAX_BATCH):
        body = {"events": [_event(one) for one in records]}
        requests.append(request(config, "/users/track", body, records))
    return requests


def _who(one: Outbound) -> str:
    return text(one, "external_id")


def _event(one: Outbound) -> dict[str, Any]:
    said = {"external_id": _who(one), "name": one.event, "time": when(one)}
    return {**said, "properties": one.properties} if one.properties else said


def _attributes(config: ConnectorConfig, who: str, one: Outbound) -> dict[str, Any]:
    told = others(one.fields, "external_id") if one.change == "add" else {}
    attribute = config.settings.get("attribute", ATTRIBUTE)
    return {**told, "external_id": who, attribute: {one.change: [one.audience]}}


def request(config: ConnectorConfig, path: str, body: Any, outbound: Sequence[Outbound]) -> Request:
    headers = {"authorization": f"Bearer {config.secrets['api_key']}", "content-type": "application/json"}
    return Request("POST", base_url(config, NO_URL) + path, headers, _encode(body), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """A success may name objects that were not used, by their place in the request."""
    reply = read(answer, Reply)
    bad = _unused(request, reply)
    if answer.status not in (200, 201) and not (answer.status == 400 and bad):
        return refused("Braze", request, answer)
    if reply is None or (answer.status != 400 and reply.message != "success"):
        return unreadable("Braze", request)
    return [
        Judgement(one, "dead", "Braze could not use the object")
        if one.id in bad
        else Judgement(one, "delivered")
        for one in request.outbound
    ]


def _unused(request: Request, reply: Reply | None) -> set[str]:
    """The ids of the records whose object was not used."""
    places = set()
    for error in reply.errors if reply else []:
        try:
            one = msgspec.convert(error, Wrong)
        except msgspec.ValidationError:
            continue
        if one.input_array in ("attributes", "events"):
            places.add(one.index)
    events = all(one.change == "event" for one in request.outbound)
    objects = latest(request.outbound, (lambda one: one.id) if events else _who)
    return {one.id for index, several in enumerate(objects.values()) if index in places for one in several}


_EXAMPLE: Final = Example(
    {"base_url": "https://rest.iad-01.braze.com"},
    {"api_key": "an-api-key"},
    lambda n: {"external_id": f"user-{n}", "first_name": f"Name {n}"},
    lambda request: Answer(201, {}, b'{"message": "success", "attributes_processed": 1}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "delete", "event"}), check, render, judge, example=_EXAMPLE
)
