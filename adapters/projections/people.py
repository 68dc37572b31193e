"""Identities, profiles and memberships on PostgreSQL: what a step needs, read and written in batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from adapters.keys.keyring import keyring_of
from adapters.log.read import driver_of
from adapters.projections.answers import TYING
from domain.consent import Consent
from domain.profiles import Profile, decode_consent, decode_profile, encode_profile
from domain.state import MembershipChange, Outcome, State

#: What profiles are sealed for: their table. Equal profiles are equal bytes, so that digests can be compared.
_PLACE: Final = b"profile"


def load_state(connection: Connection, nodes: Collection[str], due: Collection[str]) -> State:
    """The part of the graph that these nodes are in, its profiles, and the profiles in `due`."""
    graph = load_graph(connection, nodes)
    return State(graph, load_profiles(connection, {*graph.values(), *due}), load_gone(connection, nodes))


def load_gone(connection: Connection, nodes: Collection[str]) -> dict[str, int]:
    """Node id → the position below which it was somebody's who was erased there, for nodes of the erased."""
    if not nodes:
        return {}
    with driver_of(connection).cursor(binary=True) as cursor:
        # Where nobody ever was erased, nobody need be looked up.
        [erasures] = cursor.execute("SELECT erasures FROM log_head").fetchone() or [0]
        if not erasures:
            return {}
        cursor.execute(
            "SELECT subject::text, gone_before FROM subject_key"
            " WHERE subject = ANY(string_to_array(%b, ',')::uuid[]) AND gone_before IS NOT NULL",
            (_text(nodes),),
        )
        return dict(cursor.fetchall())


def load_all_gone(connection: Connection) -> dict[str, int]:
    """As `load_gone`, of everybody who was erased."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute("SELECT subject::text, gone_before FROM subject_key WHERE gone_before IS NOT NULL")
        return dict(cursor.fetchall())


def load_graph(connection: Connection, nodes: Collection[str]) -> dict[str, str]:
    """Node id → profile id, for the nodes that are known."""
    if not nodes:
        return {}
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT node::text, profile::text FROM identity WHERE node = ANY(string_to_array(%b, ',')::uuid[])",
            (_text(nodes),),
        )
        return dict(cursor.fetchall())


def load_profiles(connection: Connection, ids: Collection[str]) -> dict[str, Profile]:
    """The profiles with these ids, as far as they exist."""
    return {profile: decode_profile(state) for profile, state in _states(connection, ids).items()}


def load_consent(connection: Connection, ids: Collection[str]) -> dict[str, dict[str, Consent]]:
    """Purpose → consent of the profiles with these ids, as far as they exist."""
    return {profile: decode_consent(state) for profile, state in _states(connection, ids).items()}


def _states(connection: Connection, ids: Collection[str]) -> dict[str, bytes]:
    if not ids:
        return {}
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT profile::text, state FROM profile WHERE profile = ANY(string_to_array(%b, ',')::uuid[])",
            (_text(ids),),
        )
        sealed = dict(cursor.fetchall())
        return keyring_of(connection).open_states(cursor, _PLACE, sealed) if sealed else {}


class Seen(NamedTuple):
    """One person, and what else a look at them needs, of one moment: the pipeline's position, the log's time there
    (microseconds; `None` where the log's row is not in the database), and how many definitions there are up to which
    position, which is never the same for others."""

    position: int
    now: int | None
    definitions: tuple[int, int]
    profile: Profile | None


def see_person(connection: Connection, node: str, reader: str) -> Seen:
    """Whoever a node leads to, as of the position of a reader of the log, by one statement."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT coalesce(c.position, 0), l.recorded_at, d.count, d.last, i.profile::text, p.state, k.wrapped"
            " FROM (SELECT (SELECT position FROM checkpoint WHERE name = %b)) AS c (position)"
            " CROSS JOIN (SELECT count(*), coalesce(max(position), 0) FROM definition) AS d (count, last)"
            " LEFT JOIN log l ON l.position = c.position"
            " LEFT JOIN identity i ON i.node = %b::text::uuid"
            " LEFT JOIN profile p ON p.profile = i.profile"
            " LEFT JOIN subject_key k ON k.subject = i.profile",
            (reader, node),
        )
        row = cursor.fetchone()
    assert row is not None
    position, now, count, last, id, state, wrapped = row
    profile = None
    if state is not None:
        profile = decode_profile(keyring_of(connection).open_state(_PLACE, id, state, wrapped))
    return Seen(position, now, (count, last), profile)


def profiles_from(connection: Connection, least: UUID, limit: int) -> list[str]:
    """The ids of the first profiles from this one on, in order."""
    with driver_of(connection).cursor(binary=True) as cursor:
        # `profile` alone would be the text, which no index is in order of.
        cursor.execute(
            "SELECT profile::text FROM profile p WHERE p.profile >= %b ORDER BY p.profile LIMIT %b",
            (least, limit),
        )
        return [profile for (profile,) in cursor]


def states_between(connection: Connection, least: UUID, greatest: UUID, limit: int) -> dict[str, bytes]:
    """Profile id → its encoded state, of the first profiles from one on up to another, in order."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT profile::text, state FROM profile p WHERE p.profile BETWEEN %b AND %b"
            " ORDER BY p.profile LIMIT %b",
            (least, greatest, limit),
        )
        return keyring_of(connection).open_states(cursor, _PLACE, dict(cursor.fetchall()))


def members_from(connection: Connection, audience: str, least: UUID, limit: int) -> list[str]:
    """The ids of the first members of an audience from this one on, in order."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT profile::text FROM membership m WHERE audience = %b AND m.profile >= %b"
            " ORDER BY m.profile LIMIT %b",
            (audience, least, limit),
        )
        return [profile for (profile,) in cursor]


def profiles_due(connection: Connection, upto: int, limit: int) -> list[tuple[str, int]]:
    """Profiles with a timer due by this log time, earliest first: id and due time."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT profile::text, due FROM profile p WHERE due <= %b ORDER BY due, p.profile LIMIT %b",
            (upto, limit),
        )
        return cursor.fetchall()


def next_due(connection: Connection) -> int | None:
    """The log time at which the next timer falls due."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute("SELECT due FROM profile WHERE due IS NOT NULL ORDER BY due LIMIT 1").fetchone()
    return row[0] if row else None


def save(connection: Connection, state: State, outcome: Outcome) -> None:
    """Writes what a step has changed, within the connection's transaction."""
    with driver_of(connection).cursor(binary=True) as cursor:
        if outcome.erased:
            # What is being tied to somebody's messages is there before it is looked for, or is not tied at all.
            cursor.execute("SELECT pg_advisory_xact_lock(%b)", (TYING,))
        # Whoever was erased may have begun anew since.
        for erasure in outcome.erased:
            nodes = _text(erasure.nodes)
            cursor.execute(
                "DELETE FROM profile WHERE profile = ANY(string_to_array(%b, ',')::uuid[])", (nodes,)
            )
            cursor.execute(
                "DELETE FROM identity WHERE node = ANY(string_to_array(%b, ',')::uuid[])", (nodes,)
            )
            theirs = "outbound WHERE profile = ANY(string_to_array(%b, ',')::uuid[])"
            cursor.execute(f"DELETE FROM answer WHERE outbound IN (SELECT id FROM {theirs})", (nodes,))  # noqa: S608
            cursor.execute(f"DELETE FROM {theirs}", (nodes,))  # noqa: S608
        if outcome.unlinked:
            cursor.execute(
                "DELETE FROM identity WHERE node = ANY(string_to_array(%b, ',')::uuid[])",
                (_text(outcome.unlinked),),
            )
        if outcome.merged:
            cursor.execute(
                "DELETE FROM profile WHERE profile = ANY(string_to_array(%b, ',')::uuid[])",
                (_text(outcome.merged),),
            )
        changed = [state.profiles[profile] for profile in outcome.changed]
        if changed:
            sealed = seal_profiles(connection, changed)
            save_profiles(connection, {profile.id: (profile.due, sealed[profile.id]) for profile in changed})
        if outcome.links:
            links = sorted((node, _final(profile, outcome)) for node, profile in outcome.links.items())
            cursor.execute(
                "INSERT INTO identity (node, profile)"
                " SELECT * FROM unnest(string_to_array(%b, ',')::uuid[], string_to_array(%b, ',')::uuid[])"
                " ON CONFLICT (node) DO UPDATE SET profile = excluded.profile",
                (_text(node for node, _ in links), _text(profile for _, profile in links)),
            )
    save_memberships(connection, outcome.memberships)


def save_profiles(connection: Connection, changed: Mapping[str, tuple[int | None, bytes]]) -> None:
    """Writes profiles by their ids: when something falls due, and the sealed state."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "INSERT INTO profile (profile, due, state)"
            " SELECT * FROM unnest(string_to_array(%b, ',')::uuid[], %b::bigint[], %b::bytea[])"
            " ON CONFLICT (profile) DO UPDATE SET due = excluded.due, state = excluded.state",
            (_text(changed), [due for due, _ in changed.values()], [state for _, state in changed.values()]),
        )


def seal_profiles(connection: Connection, profiles: Iterable[Profile]) -> dict[str, bytes]:
    """The profiles' states as their table has them, by the profile's id."""
    return seal_states(connection, {profile.id: encode_profile(profile) for profile in profiles})


def seal_states(connection: Connection, states: Mapping[str, bytes]) -> dict[str, bytes]:
    """Encoded profiles as their table has them, by the profile's id."""
    with driver_of(connection).cursor(binary=True) as cursor:
        return keyring_of(connection).seal_states(cursor, _PLACE, states, same=True)


def _final(profile: str, outcome: Outcome) -> str:
    while profile in outcome.merged:
        profile = outcome.merged[profile]
    return profile


def member_pages(connection: Connection, audience: str, size: int) -> Iterator[list[tuple[str, int, int]]]:
    """As `load_members`, in order of the profile and so many at a time: profile, position, log time."""
    with driver_of(connection).cursor("members") as cursor:
        cursor.execute(
            "SELECT profile::text, position, entered_at FROM membership WHERE audience = %b ORDER BY profile",
            (audience,),
            binary=True,
        )
        while page := cursor.fetchmany(size):
            yield page


def load_members(connection: Connection, audience: str) -> dict[str, tuple[int, int]]:
    """Profile → (position, log time in microseconds) of the entry, of everybody who is in an audience."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT profile::text, position, entered_at FROM membership WHERE audience = %b", (audience,)
        )
        return {profile: (position, at) for profile, position, at in cursor}


def save_memberships(connection: Connection, changes: Sequence[MembershipChange]) -> None:
    """Of several changes to one membership the last one holds."""
    final = {(change.audience, change.profile): change.membership for change in changes}
    entered = [(a, p, m.position, m.at) for (a, p), m in final.items() if m is not None]
    left = [key for key, m in final.items() if m is None]
    with driver_of(connection).cursor(binary=True) as cursor:
        if left:
            audiences, profiles = zip(*left, strict=True)
            cursor.execute(
                "DELETE FROM membership m"
                " USING unnest(%b::text[], string_to_array(%b, ',')::uuid[]) AS gone(audience, profile)"
                " WHERE m.audience = gone.audience AND m.profile = gone.profile",
                (list(audiences), _text(profiles)),
            )
        if entered:
            audiences, profiles, positions, times = zip(*entered, strict=True)
            cursor.execute(
                "INSERT INTO membership (audience, profile, position, entered_at)"
                " SELECT * FROM unnest(%b::text[], string_to_array(%b, ',')::uuid[], %b::bigint[], %b::bigint[])"
                " ON CONFLICT (audience, profile) DO UPDATE"
                " SET position = excluded.position, entered_at = excluded.entered_at",
                (list(audiences), _text(profiles), list(positions), list(times)),
            )


def _text(ids: Iterable[str]) -> str:
    """Ids as one text, in place of a list, which psycopg goes through several times."""
    return ",".join(ids)
