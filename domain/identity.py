"""Whose record is it: which profile its identifiers lead to, and which profiles they show to be one.

A user id is a person's own: a profile has one, unless an alias call says that two are the same person.
An anonymous id that a known user has left behind on a shared device stays with that user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from domain.profiles import Profile
from domain.records import Identifier, node_id


class Resolution(NamedTuple):
    """`profile` is whose record it is, `None` for a person not seen before; `merge` are profiles that turn
    out to be the same person; `link` are identifiers that become that person's; `refused` are identifiers
    that belong to somebody else and stay there."""

    profile: str | None
    merge: tuple[str, ...]
    link: tuple[Identifier, ...]
    refused: tuple[Identifier, ...]


_NOBODY = Resolution(None, (), (), ())


def resolve(
    identifiers: tuple[Identifier, ...],
    explicit: bool,
    graph: Mapping[str, str],
    profiles: Mapping[str, Profile],
) -> Resolution:
    """Resolves a record's identifiers. `graph` maps node ids to profile ids, for every node known.
    `explicit` is for an alias call, which says itself that two are one."""
    if not identifiers:
        return _NOBODY
    holders = [graph.get(node_id(identifier)) for identifier in identifiers]
    if len(identifiers) == 1:
        return Resolution(holders[0], (), identifiers if holders[0] is None else (), ())
    owner = _owner(identifiers, holders)
    user_id = next((i.value for i in identifiers if i.kind == "user_id"), None)
    if owner is None:
        owner = next(
            (h for h in holders if h is not None and _may_join(profiles[h], user_id, explicit)), None
        )
    merge: list[str] = []
    link: list[Identifier] = []
    refused: list[Identifier] = []
    for identifier, holder in zip(identifiers, holders, strict=True):
        if holder is None:
            link.append(identifier)
        elif holder == owner or holder in merge:
            continue
        elif owner is not None and _may_join(profiles[holder], user_id, explicit):
            merge.append(holder)
        else:
            refused.append(identifier)
    return Resolution(owner, tuple(merge), tuple(link), tuple(refused))


def _owner(identifiers: tuple[Identifier, ...], holders: list[str | None]) -> str | None:
    """A known user id decides, whatever else comes along."""
    for identifier, holder in zip(identifiers, holders, strict=True):
        if identifier.kind == "user_id" and holder is not None:
            return holder
    return None


def _may_join(profile: Profile, user_id: str | None, explicit: bool) -> bool:
    held = profile.identifiers.get("user_id")
    return not held or user_id is None or user_id in held or explicit
