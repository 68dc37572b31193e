"""Whose rows are, as a step goes on: profiles are found, made and joined in its state."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence

from domain import derived, identity
from domain.identity_rules import leader_of
from domain.profiles import Profile, add_identifiers, keep_apart, leave_unsaid, merge, nodes
from domain.records import Identifier, Record, node_id
from domain.routing import Routed
from domain.state import Changes, Inbound, MembershipChange, Plan, State
from domain.telling import Telling


class Owners:
    """Notes in `changes` what it finds out, and has destinations told of it by `telling`."""

    def __init__(self, plan: Plan, state: State, changes: Changes, telling: Telling) -> None:
        self._plan = plan
        self._state = state
        self._changes = changes
        self._telling = telling

    def known(self, row: Inbound, record: Record) -> Profile | None:
        """Whose all is that a record names, as of nearly every record; `None` where that has yet to be found out."""
        if not record.identifiers:
            return None
        return self.met(self._plan.rules.nodes(record.feed, record.identifiers, row.subject))

    def owner_of(self, row: Inbound, record: Record) -> tuple[Profile | None, Iterable[str]]:
        """Whose record it is where nobody is `known` by it, `None` where it is nobody's, and the audiences to look at
        because identities have changed."""
        if not record.identifiers:
            return None, ()
        leader: Identifier | None = None
        if row.subject is not None:
            leader = leader_of(record, row.subject, self._plan.rules)
            if leader is None:
                return None, ()
        profiles = self._state.profiles
        found = identity.resolve(
            record.identifiers,
            record.type == "alias",
            self._graph_at(row.position, record),
            profiles,
            self._plan.rules,
            leader,
            row.position,
            self._state.apart,
        )
        touched: tuple[str, ...] = ()
        if found.profile is None:
            if not found.link:
                return None, ()
            profile = Profile(id=node_id(found.link[0]), created=row.position, latest=row.position)
            profiles[profile.id] = profile
            self._changes.derived.append((row.position, derived.profile_created(profile, row.position)))
            touched = self._plan.audiences.open_to_strangers
        else:
            profile = profiles[found.profile]
        for identifier, reason in found.refused:
            entry = derived.merge_refused(profile, identifier, reason, row.position)
            self._changes.derived.append((row.position, entry))
        for loser_id in found.merge:
            profile = self._merge(profile, profiles[loser_id], row.position)
            touched = self._plan.audiences.names
        if found.link:
            self._link(profile, found.link, row.position)
            if found.profile is not None:
                self._telling.members(profile, list(profile.memberships), row.recorded_at, row.position)
        return profile, touched

    def met(self, nodes: Sequence[str]) -> Profile | None:
        """Whose all of these nodes are already, `None` where that is nobody, or has yet to be looked at."""
        graph, gone = self._state.graph, self._state.gone
        holder = graph.get(nodes[0]) if nodes else None
        if not holder:
            return None
        for node in nodes:
            if graph.get(node) != holder:
                return None
        return None if gone and not gone.keys().isdisjoint(nodes) else self._state.profiles[holder]

    def _graph_at(self, position: int, record: Record) -> Mapping[str, str]:
        """The graph, with those marked whose identifiers these were though nothing of them is left to fold."""
        graph, gone = self._state.graph, self._state.gone
        if not gone:
            return graph
        nodes_here = [node_id(identifier) for identifier in record.identifiers]
        marked = {node: identity.GONE for node in nodes_here if position < gone.get(node, 0)}
        return ChainMap(marked, graph) if marked else graph

    def _link(self, profile: Profile, identifiers: Iterable[Identifier], position: int) -> None:
        add_identifiers(profile, identifiers, position)
        for identifier in identifiers:
            node = node_id(identifier)
            self._state.graph[node] = self._changes.links[node] = profile.id
            if node in self._state.apart:
                keep_apart(profile, node, self._state.apart[node])

    def _merge(self, a: Profile, b: Profile, position: int) -> Profile:
        told = {p.id: dict(p.routed) for p in (a, b)}
        members = {p.id: dict(p.memberships) for p in (a, b)}
        kept = merge(a, b, self._plan.audiences)
        gone = b if kept is a else a
        changes = self._changes
        for node in nodes(gone):
            self._state.graph[node] = changes.links[node] = kept.id
        del self._state.profiles[gone.id]
        changes.profiles.discard(gone.id)
        changes.merged[gone.id] = kept.id
        for audience in members[gone.id]:
            changes.memberships.append(MembershipChange(audience, gone.id, None))
            if kept.memberships[audience] != members[kept.id].get(audience):
                changes.memberships.append(MembershipChange(audience, kept.id, kept.memberships[audience]))
        for connection, fields in told[gone.id].items():
            if kept.routed[connection] != fields:
                self._take_back(kept, gone.id, connection, fields, position)
        changes.derived.append((position, derived.profile_merged(kept.id, gone.id, position)))
        return kept

    def _take_back(
        self, kept: Profile, gone: str, connection: str, fields: dict[str, object], position: int
    ) -> None:
        """Has a destination told to forget what it knew of somebody who has become another."""
        destination = self._plan.destination(connection)
        if destination is None or "remove" not in destination.changes:
            return
        if destination.by_runs:
            leave_unsaid(kept, connection, fields)
        else:
            self._telling.routed.append((position, gone, Routed(destination, "remove", fields)))
