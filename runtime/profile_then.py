"""A person as they were, and what was ever said of them: folded again from the log."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine

from adapters.log.read import time_before
from adapters.projections.checkpoint import read_checkpoint
from domain.mirrors import attributes_of
from domain.profiles import Profile, nodes
from domain.records import dig, node_id
from domain.standard_fields import typed
from runtime.log_tail import place_of
from runtime.past import ChangeOf, folded, past_of
from runtime.pipeline import CHECKPOINT
from runtime.profiles import NobodyError, identifier_of, person_of, shown_profile
from runtime.rebuild.plans import Plans
from runtime.times import written

_body = msgspec.json.Decoder().decode


class Then(NamedTuple):
    """A person at a position, the log's time then (microseconds), and the plans that were in force up to it."""

    position: int
    now: int
    profile: Profile
    plans: Plans


def show_profile_then(engine: Engine, said: str, place: str, change_of: ChangeOf) -> dict[str, Any]:
    """As `show_profile`, as it was at a position of the log, or right before a time (RFC 3339): folded again from the
    person's records alone, with what was declared then.

    Raises `NobodyError`, `PlaceError` and `TooMuchPastError`.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        then = person_then(connection, said, place, change_of)
    compiled = then.plans.at(then.position + 1).audiences
    traits = compiled.values(compiled.traits, then.profile.conditions, then.now)
    shown = shown_profile(then.profile, traits, compiled.policies)
    return {"position": then.position, "at": written(then.now), **shown}


def person_then(connection: Connection, said: str, place: str, change_of: ChangeOf) -> Then:
    """The profile of whoever `KIND:VALUE` names, at a position or right before a time.

    Raises `NobodyError`, `PlaceError` and `TooMuchPastError`.
    """
    node = node_id(identifier_of(said))
    asked = place_of(connection, place) - (0 if place.isdecimal() else 1)
    position = min(asked, read_checkpoint(connection, CHECKPOINT))
    past = past_of(connection, node, position, change_of)
    fold = folded(connection, past, position)
    profile = fold.profiles.get(fold.state.graph.get(node, ""))
    if profile is None:
        raise NobodyError(f"nobody was known by this identifier at position {position:,}")
    return Then(position, time_before(connection, position + 1), profile, past.plans)


def show_attribute(engine: Engine, said: str, name: str, change_of: ChangeOf) -> dict[str, Any]:
    """Every value that a person's records have said of an attribute, the one that holds first: by the feed's priority
    then, the source's time, and the position. Those that were not taken in come last, with the reason.

    Raises `NobodyError` and `TooMuchPastError`.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        profile = person_of(connection, said)
        position = read_checkpoint(connection, CHECKPOINT)
        past = past_of(connection, profile.id, position, change_of)
    theirs = {profile.id, *nodes(profile)}
    values = []
    for row, record in past.records:
        if row.subject not in theirs or not (record.traits_at or record.traits):
            continue
        plan = past.plans.at(row.position)
        traits = dig(_body(record.body), record.traits_at) if record.traits_at else {}
        said_here = attributes_of(plan.pairs.get(record.feed, ()), record, traits | record.traits)
        if name in said_here:
            at = min(record.occurred_at, row.recorded_at)
            rank = (plan.priorities.get(record.feed, 0), at, row.position)
            taken, refused = typed({name: said_here[name]})
            values.append((rank, record.feed, taken.get(name, said_here[name]), refused.get(name, "")))
    # What a two-way destination's snapshot repeats is no news, whatever its rank.
    held = profile.attributes.get(name)
    holds = held.position if held is not None else 0
    ranked = sorted(values, key=lambda one: (one[0][2] == holds, not one[3], one[0]), reverse=True)
    return {
        "attribute": name,
        "position": position,
        "values": [
            {
                "value": value,
                "feed": feed,
                "priority": priority,
                "occurred_at": written(at),
                "position": place,
                "holds": place == holds,
            }
            | ({"refused": reason} if reason else {})
            for (priority, at, place), feed, value, reason in ranked
        ],
    }
