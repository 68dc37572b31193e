"""Whose a record is that a shared device sends while nobody is logged in: by the strategy `most_recent_user`, it is
the user's who was last known on the device by then.

That is decided at the door, once, and kept in the record: its first identifier is that user's. So the record is the
user's for ever, whoever uses the device next (docs/decisions/0270-most-recent-user.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from domain.identity_rules import Rules, leading
from domain.records import Identifier, Record, node_id


class LastUser(NamedTuple):
    """Who was last known on a device: the identifier that led the record that said so, when that occurred
    (microseconds), and where it stands in the log."""

    identifier: Identifier
    occurred_at: int
    position: int


def devices_of(record: Record, rules: Rules) -> list[str]:
    """The nodes of a record's identifiers that say which device it is from, and not who somebody is."""
    identifiers = rules.understood(record).identifiers
    return [node_id(one) for one in identifiers if not rules.known(one.kind) and not rules.blocked(one)]


def presumed(record: Record, last: Mapping[str, LastUser], rules: Rules) -> Record:
    """The record, led by the user who was last known on any of its devices by then where it names no user itself.

    An alias call says what is one, and is left as it is.
    """
    if record.type == "alias" or _user_of(record, rules) is not None:
        return record
    users = [last[node] for node in devices_of(record, rules) if node in last]
    by_then = [user for user in users if user.occurred_at <= record.occurred_at]
    user = max(by_then, key=lambda one: one[1:], default=None)
    if user is None or not rules.known(user.identifier.kind) or rules.blocked(user.identifier):
        return record
    return msgspec.structs.replace(record, identifiers=(user.identifier, *record.identifiers), presumed=True)


def learned(
    record: Record, position: int, recorded_at: int, last: Mapping[str, LastUser], rules: Rules
) -> dict[str, LastUser]:
    """Device → user, where the record names a user, and none is known there from later on. A time in the future counts
    as the log's."""
    identifier = None if record.presumed else _user_of(record, rules)
    if identifier is None:
        return {}
    user = LastUser(identifier, min(record.occurred_at, recorded_at), position)
    devices = devices_of(record, rules)
    return {node: user for node in devices if node not in last or last[node][1:] < user[1:]}


def _user_of(record: Record, rules: Rules) -> Identifier | None:
    """The identifier that leads the record, where that says who somebody is."""
    identifiers = rules.understood(record).identifiers
    first = leading(identifiers, rules)
    return identifiers[first] if first is not None and rules.known(identifiers[first].kind) else None
