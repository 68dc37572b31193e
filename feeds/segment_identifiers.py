"""Who a Segment call is about, besides its `userId` and `anonymousId`: traits, device and external ids.

Sources: segment.com/docs/connections/spec/common (context.device), .../unify/identity-resolution/externalids.
What cannot be read as its kind is no identifier here, and no reason to refuse the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from domain.identifiers import KINDS, read_identifier, vendor_kind
from domain.records import Identifier

#: External ids of one call that are looked at.
_EXTERNAL_LIMIT: Final = 20
#: Segment's names of external ids → our kinds. A group is no person.
_KINDS: Final[Mapping[str, str]] = {kind: kind for kind in KINDS} | {
    "android.id": "android_id",
    "android.idfa": "gaid",
    "android.push_token": "push_token",
    "ios.id": "idfv",
    "ios.idfa": "idfa",
    "ios.push_token": "push_token",
}
_DEVICE: Final = {"ios": ("idfv", "idfa"), "android": ("android_id", "gaid")}

_decode = msgspec.json.Decoder().decode


class Context(Protocol):
    """The parts of a call's context that identifiers are in, undecoded."""

    traits: msgspec.Raw
    device: msgspec.Raw
    externalIds: msgspec.Raw  # noqa: N815


def more_identifiers(
    feed: str, traits: Mapping[str, msgspec.Raw] | None, context: Context | None, said: set[str]
) -> list[Identifier]:
    """The further identifiers of a call, each once. Of the kinds that the call itself has `said`, none."""
    if traits is None and context is None:
        return []
    found: dict[Identifier, None] = {}
    for kind, value in _claims(feed, traits, context):
        if kind not in said and isinstance(value, str) and (read := read_identifier(kind, value)) is not None:
            found[read] = None
    return list(found)


def _claims(
    feed: str, traits: Mapping[str, msgspec.Raw] | None, context: Context | None
) -> Iterator[tuple[str, Any]]:
    for kind in ("email", "phone"):
        if traits is not None and kind in traits:
            yield kind, _decode(traits[kind])
    if context is None:
        return
    if isinstance(known := _decode(context.traits), dict):
        yield from ((kind, known.get(kind)) for kind in ("email", "phone"))
    if isinstance(device := _decode(context.device), dict):
        yield from _device(device)
    if isinstance(ids := _decode(context.externalIds), list):
        yield from _external(feed, ids[:_EXTERNAL_LIMIT])


def _device(device: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    kinds = _DEVICE.get(str(device.get("type")).lower())
    if kinds is not None:
        yield kinds[0], device.get("id")
        if device.get("adTrackingEnabled") is not False:
            yield kinds[1], device.get("advertisingId")
    yield "push_token", device.get("token")


def _external(feed: str, ids: list[Any]) -> Iterator[tuple[str, Any]]:
    for one in ids:
        if not isinstance(one, dict) or one.get("collection", "users") != "users":
            continue
        type = one.get("type")
        if not isinstance(type, str) or type == "group_id" or one.get("encoding", "none") != "none":
            continue
        kind = _KINDS.get(type) or vendor_kind(feed, type)
        if kind is not None:
            yield kind, one.get("id")
