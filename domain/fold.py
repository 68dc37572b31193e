"""Rows of the log taken in one by one, on the state of those whom they touch.

Before a row is applied, every timer that fell due by the row's log time has fired, in order of its due time.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from domain import awaiting, derived, identity
from domain.audiences.evaluation import Event
from domain.channels import channels_of
from domain.consent import consents_of
from domain.echoes import came_through
from domain.erasure import EraseRequest, Erasure, erase
from domain.forwarding import Forwarding, Happening
from domain.identity_rules import leader_of
from domain.mirrors import hear
from domain.outbound import Outbound
from domain.profiles import (
    ATTRIBUTE_LIMIT,
    Membership,
    Profile,
    add_identifiers,
    as_person,
    keep_apart,
    leave_unsaid,
    merge,
    nodes,
    set_attributes,
    set_consent,
)
from domain.records import Entry, Identifier, Record, dig, node_id
from domain.routing import Routed
from domain.runs import Run
from domain.settling import Settling
from domain.standard_fields import typed
from domain.state import Closed, Inbound, MembershipChange, Outcome, Plan, State
from domain.telling import Telling
from domain.traits.telling import fell_due

#: The reason why a further attribute is not taken in.
TOO_MANY: Final = f"a profile has at most {ATTRIBUTE_LIMIT} attributes"

_body = msgspec.json.Decoder().decode


class Fold:
    """Rows taken in one by one, in log order. `first_at` says where the first row at or after a log time is,
    of all rows that move the log's time: it is the cause of what time alone has changed by then."""

    def __init__(self, plan: Plan, state: State, first_at: Callable[[int], int]) -> None:
        self.plan = plan
        self.state = state
        self.first_at = first_at
        self.changed: set[str] = set()
        self.merged: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.memberships: list[MembershipChange] = []
        self.derived: list[tuple[int, Entry]] = []
        self.erased: list[Erasure] = []
        self.unlinked: set[str] = set()
        self.telling = Telling(plan, self.derived)

    def fire(self, upto: int) -> None:
        """Fires every timer that falls due by this log time."""
        for profile in list(self.state.profiles.values()):
            self.fire_of(profile, upto)

    def settle(self, profile: Profile, settling: Settling) -> None:
        """Looks at a person anew as a workspace takes effect. Every timer due by then has fired."""
        compiled, now, cause = self.plan.audiences, settling.at, settling.position
        for id in profile.conditions.keys() - compiled.leaves.keys():
            del profile.conditions[id]
        known = frozenset(compiled.names)
        waited = channels_of(profile.dues)
        for audience in profile.dues.keys() - known:
            del profile.dues[audience]
        for audience in sorted(profile.memberships.keys() - known):
            del profile.memberships[audience]
            self.memberships.append(MembershipChange(audience, profile.id, None))
            self.derived.append((cause, derived.membership(audience, profile.id, False, now, cause, ())))
        self.changed.add(profile.id)
        entered_or_left = self._evaluate(profile, settling.audiences, now, cause)
        # Who was told of by a connection that is of another audience now may be in neither.
        concerned = [*profile.memberships, *self._audiences_told(profile)]
        told = [audience for audience in concerned if audience in settling.told]
        self.telling.members(profile, [*entered_or_left, *told], now, cause)
        self.telling.settle(profile, waited, now, cause)
        self.telling.traits.await_changes(profile, now)

    def run(self, profile: Profile, run: Run) -> None:
        """Tells what a connection's run has to tell of a person. Every timer due by then has fired."""
        if self.telling.run(profile, run):
            self.changed.add(profile.id)

    def outcome(self) -> Outcome:
        """What has changed since the fold began."""
        self.derived.sort(key=lambda pair: pair[0])
        entries = [entry for _, entry in self.derived]
        entries += derived.outbound(self.telling.routed)
        return Outcome(
            frozenset(self.changed),
            self.merged,
            self.links,
            self.memberships,
            entries,
            self.erased,
            frozenset(self.unlinked),
        )

    def apply(self, row: Inbound) -> None:
        """Takes one row in."""
        record = row.record
        if row.erase is not None:
            self._erase(row, row.erase)
        if row.closed is not None:
            self._close(row, row.closed)
        if row.told is not None:
            self._hear(row.told)
        if record is None:
            return
        graph, profiles = self.state.graph, self.state.profiles
        for identifier in record.identifiers:
            holder = graph.get(node_id(identifier))
            if holder is not None and profiles[holder].dues:
                self.fire_of(profiles[holder], row.recorded_at)
        profile, touched = self._person(row, record)
        if profile is None:
            return
        occurred_at = min(record.occurred_at, row.recorded_at)
        compiled = self.plan.audiences
        names: list[str] = list(touched)
        body = None
        forwardings: tuple[Forwarding, ...] = ()
        if record.type in ("track", "page", "screen"):
            name = derived.event_name(record)
            listening, forwardings = compiled.listens_to(name), self.plan.forwardings.of(name)
            if listening or forwardings:
                body = _body(record.body)
                properties = dig(body, record.properties_at) | record.properties
                through = came_through(profile, self.plan.answered.get(record.feed, ()))
                happening = Happening(record.feed, name, occurred_at, properties, through)
            if listening:
                names += compiled.fold(profile.conditions, Event(name, occurred_at, row.position, properties))
        data_changed = bool(touched) or (body is not None and name in self.telling.traits.events)
        if record.traits_at or record.traits:
            traits = dig(body if body is not None else _body(record.body), record.traits_at) | record.traits
            pairs = self.plan.pairs.get(record.feed)
            if pairs:
                traits, moved = hear(profile.mirrors, pairs, record, traits)
                data_changed = data_changed or moved
            fresh = self._set_attributes(profile, traits, record.feed, occurred_at, row.position)
            if fresh:
                data_changed = True
                names += compiled.touched_by_attributes(fresh)
        if record.consent:
            purposes = set_consent(profile, consents_of(record, row.recorded_at, row.position))
            if purposes:
                data_changed = True
                names += compiled.touched_by_consent(purposes)
        profile.latest = row.position
        self.changed.add(profile.id)
        entered_or_left = self._evaluate(profile, names, row.recorded_at, row.position) if names else []
        if data_changed:
            entered_or_left += profile.memberships
            entered_or_left += [a for a in self._audiences_told(profile) if a not in entered_or_left]
        if entered_or_left:
            self.telling.members(profile, entered_or_left, row.recorded_at, row.position)
        if profile.awaiting:
            self.telling.look_again(profile, row.recorded_at, row.position)
        for forwarding in forwardings:
            if forwarding.listens_to(happening):
                self.telling.event(profile, forwarding, happening, row.recorded_at, row.position)
        self.telling.traits.await_changes(profile, row.recorded_at)

    def _set_attributes(
        self, profile: Profile, said: Mapping[str, Any], feed: str, occurred_at: int, position: int
    ) -> list[str]:
        """Takes in what can be, and tells of the rest; the names whose value has changed."""
        taken, refused = typed(said)
        priority = self.plan.priorities.get(feed, 0)
        changed, over = set_attributes(profile, taken, priority, occurred_at, position)
        if refused or over:
            for name, reason in [*refused.items(), *((name, TOO_MANY) for name in over)]:
                entry = derived.attribute_refused(profile.id, name, reason, position)
                self.derived.append((position, entry))
        return changed

    def _person(self, row: Inbound, record: Record) -> tuple[Profile | None, Iterable[str]]:
        """Whose record it is, and the audiences to look at because identities have changed."""
        if not record.identifiers:
            return None, ()
        leader: Identifier | None = None
        if row.subject is not None:
            leader = leader_of(record, row.subject, self.plan.rules)
            if leader is None:
                return None, ()
        profiles, graph = self.state.profiles, self.state.graph
        found = identity.resolve(
            record.identifiers,
            record.type == "alias",
            self._graph_at(row.position, record),
            profiles,
            self.plan.rules,
            leader,
            row.position,
            self.state.apart,
        )
        touched: tuple[str, ...] = ()
        if found.profile is None:
            if not found.link:
                return None, ()
            profile = Profile(id=node_id(found.link[0]), created=row.position, latest=row.position)
            profiles[profile.id] = profile
            self.derived.append((row.position, derived.profile_created(profile, row.position)))
            touched = self.plan.audiences.open_to_strangers
        else:
            profile = profiles[found.profile]
        for identifier, reason in found.refused:
            entry = derived.merge_refused(profile, identifier, reason, row.position)
            self.derived.append((row.position, entry))
        for loser_id in found.merge:
            profile = self._merge(profile, profiles[loser_id], row.position)
            touched = self.plan.audiences.names
        if found.link:
            add_identifiers(profile, found.link, row.position)
            for identifier in found.link:
                node = node_id(identifier)
                graph[node] = self.links[node] = profile.id
                if node in self.state.apart:
                    keep_apart(profile, node, self.state.apart[node])
        if found.profile is not None and found.link:
            self.telling.members(profile, list(profile.memberships), row.recorded_at, row.position)
        return profile, touched

    def _graph_at(self, position: int, record: Record) -> Mapping[str, str]:
        """The graph, with those marked whose identifiers these were though nothing of them is left to fold."""
        graph, gone = self.state.graph, self.state.gone
        if not gone:
            return graph
        nodes_here = [node_id(identifier) for identifier in record.identifiers]
        marked = {node: identity.GONE for node in nodes_here if position < gone.get(node, 0)}
        return ChainMap(marked, graph) if marked else graph

    def _erase(self, row: Inbound, request: EraseRequest) -> None:
        """Takes a person out of the state, with all that is on its way for them."""
        profile = self.state.profiles.get(self.state.graph.get(request.node, ""))
        known = dict.fromkeys((*profile.routed, *profile.heard)) if profile else ()
        told = [d for c in known if (d := self.plan.destination(c)) is not None]
        aliases = self.plan.rules.aliases(profile.identifiers, self.plan.priorities) if profile else []
        erasure = erase(request, row.position, row.recorded_at, profile, told, aliases)
        self.erased.append(erasure)
        if profile is None:
            return
        for audience in profile.memberships:
            self.memberships.append(MembershipChange(audience, profile.id, None))
        for node in erasure.nodes:
            self.state.graph.pop(node, None)
            self.links.pop(node, None)
            self.merged.pop(node, None)
        del self.state.profiles[profile.id]
        self.changed.discard(profile.id)

    def _close(self, row: Inbound, closed: Closed) -> None:
        """Tells a person's channel what became of a message."""
        profile = self.state.profiles.get(self.state.graph.get(closed.outcome.profile, ""))
        if profile is not None:
            self.fire_of(profile, row.recorded_at)
            self.telling.close(profile, closed, row.recorded_at, row.position)
            self.changed.add(profile.id)

    def _hear(self, told: Outbound) -> None:
        """Notes who was told of a person by a replay, so that an erasure knows it."""
        profile = self.state.profiles.get(self.state.graph.get(told.profile, ""))
        if profile is not None:
            profile.heard[told.connection] = told.fields
            self.changed.add(profile.id)

    def _merge(self, a: Profile, b: Profile, position: int) -> Profile:
        told = {p.id: dict(p.routed) for p in (a, b)}
        members = {p.id: dict(p.memberships) for p in (a, b)}
        kept = merge(a, b, self.plan.audiences)
        gone = b if kept is a else a
        for node in nodes(gone):
            self.state.graph[node] = self.links[node] = kept.id
        del self.state.profiles[gone.id]
        self.changed.discard(gone.id)
        self.merged[gone.id] = kept.id
        for audience in members[gone.id]:
            self.memberships.append(MembershipChange(audience, gone.id, None))
            if kept.memberships[audience] != members[kept.id].get(audience):
                self.memberships.append(MembershipChange(audience, kept.id, kept.memberships[audience]))
        for connection, fields in told[gone.id].items():
            if kept.routed[connection] != fields:
                destination = self.plan.destination(connection)
                if destination is None or "remove" not in destination.changes:
                    continue
                if destination.by_runs:
                    leave_unsaid(kept, connection, fields)
                else:
                    self.telling.routed.append((position, gone.id, Routed(destination, "remove", fields)))
        self.derived.append((position, derived.profile_merged(kept.id, gone.id, position)))
        return kept

    def fire_of(self, profile: Profile, upto: int) -> None:
        """Fires the profile's timers up to a log time, each at its own time."""
        while (due := profile.due) is not None and due <= upto:
            names = [audience for audience, at in profile.dues.items() if at <= due]
            names += self.plan.audiences.dependants(names)
            for audience in names:
                profile.dues.pop(audience, None)
            cause = self.first_at(due)
            self.changed.add(profile.id)
            changed = self._evaluate(profile, names, due, cause)
            if fell_due(names):
                changed += profile.memberships
            self.telling.members(profile, changed, due, cause)
            for channel in channels_of(names):
                self.telling.resume(profile, channel, due, cause)
            if awaiting.fell_due(names):
                self.telling.look_again(profile, due, cause)
            self.telling.traits.await_changes(profile, due)

    def _evaluate(self, profile: Profile, names: Iterable[str], now: int, cause: int) -> list[str]:
        """Looks at these audiences in dependency order; those that the person entered or left."""
        compiled = self.plan.audiences
        changed: list[str] = []
        person = as_person(profile)
        for audience in compiled.in_order(names):
            verdict = compiled.evaluate(audience, person, now)
            if verdict.due is None:
                profile.dues.pop(audience, None)
            else:
                profile.dues[audience] = verdict.due
            if verdict.holds == (audience in profile.memberships):
                continue
            membership = Membership(cause, now) if verdict.holds else None
            if membership is not None:
                profile.memberships[audience] = membership
            else:
                del profile.memberships[audience]
            changed.append(audience)
            self.memberships.append(MembershipChange(audience, profile.id, membership))
            entry = derived.membership(audience, profile.id, verdict.holds, now, cause, verdict.because)
            self.derived.append((cause, entry))
        return changed

    def _audiences_told(self, profile: Profile) -> list[str]:
        destinations = (self.plan.destination(connection) for connection in profile.routed)
        return [destination.audience for destination in destinations if destination is not None]
