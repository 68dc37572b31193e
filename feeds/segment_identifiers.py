"""Who a Segment call is about, besides its `userId` and `anonymousId`: traits, device and external ids.

Sources: segment.com/docs/connections/spec/common (context.device), .../unify/identity-resolution/externalids.
What cannot be read as its kind is no identifier here, and no reason to refuse the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

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

#: Parts of a call's context that identifiers are in.
_PLACES: Final = frozenset({"traits", "device", "externalIds"})


def more_identifiers(
    feed: str, traits: dict[str, Any] | None, context: dict[str, Any] | None, said: Sequence[Identifier]
) -> tuple[Identifier, ...]:
    """The further identifiers of a call, each once. Of the kinds that the call itself has `said`, none."""
    if traits is None and (context is None or _PLACES.isdisjoint(context)):
        return ()
    kinds = {identifier.kind for identifier in said}
    found: dict[Identifier, None] = {}
    for kind, value in _claims(feed, traits or {}, context or {}):
        if kind not in kinds and isinstance(value, str):
            read = read_identifier(kind, value)
            if read is not None:
                found[read] = None
    return tuple(found)


def _claims(feed: str, traits: dict[str, Any], context: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for kind in ("email", "phone"):
        yield kind, traits.get(kind)
    if isinstance(known := context.get("traits"), dict):
        yield from ((kind, known.get(kind)) for kind in ("email", "phone"))
    if isinstance(device := context.get("device"), dict):
        yield from _device(device)
    if isinstance(ids := context.get("externalIds"), list):
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
