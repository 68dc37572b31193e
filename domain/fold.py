"""Rows of the log taken in one by one, on the state of those whom they touch.

Before a row is applied, every timer that fell due by the row's log time has fired, in order of its due time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from domain import awaiting, derived
from domain.audiences.evaluation import Event
from domain.channels import channels_of
from domain.consent import consents_of
from domain.echoes import came_through
from domain.erasure import EraseRequest, erase
from domain.forwarding import Forwarding, Happening
from domain.mirrors import hear
from domain.outbound import Outbound
from domain.owners import Owners
from domain.profiles import (
    ATTRIBUTE_LIMIT,
    Membership,
    Profile,
    as_person,
    set_attributes,
    set_consent,
)
from domain.records import Record, dig, node_id
from domain.runs import Run
from domain.settling import Settling
from domain.standard_fields import typed
from domain.state import Changes, Closed, Inbound, MembershipChange, Outcome, Plan, State
from domain.telling import Telling
from domain.traits.telling import fell_due

#: The reason why a further attribute is not taken in.
TOO_MANY: Final = f"a profile has at most {ATTRIBUTE_LIMIT} attributes"

_body = msgspec.json.Decoder().decode
_NONE: Final[tuple[Forwarding, ...]] = ()


class Fold:
    """Rows taken in one by one, in log order. `first_at` says where the first row at or after a log time is,
    of all rows that move the log's time: it is the cause of what time alone has changed by then."""

    def __init__(self, plan: Plan, state: State, first_at: Callable[[int], int]) -> None:
        self.plan = plan
        self.state = state
        self.first_at = first_at
        self.changes = Changes()
        self.telling = Telling(plan, self.changes.derived)
        self._owners = Owners(plan, state, self.changes, self.telling)

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
            self.changes.memberships.append(MembershipChange(audience, profile.id, None))
            self.changes.derived.append(
                (cause, derived.membership(audience, profile.id, False, now, cause, ()))
            )
        self.changes.profiles.add(profile.id)
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
            self.changes.profiles.add(profile.id)

    def outcome(self) -> Outcome:
        """What has changed since the fold began."""
        changes = self.changes
        changes.derived.sort(key=lambda pair: pair[0])
        entries = [entry for _, entry in changes.derived]
        entries += derived.outbound(self.telling.routed)
        return Outcome(
            frozenset(changes.profiles),
            changes.merged,
            changes.links,
            changes.memberships,
            entries,
            changes.erased,
            frozenset(changes.unlinked),
        )

    def apply(self, row: Inbound) -> None:
        """Takes one row in."""
        if row.erase is not None:
            self._erase(row, row.erase)
        if row.closed is not None:
            self._close(row, row.closed)
        if row.told is not None:
            self._hear(row.told)
        if row.record is not None:
            self._take_in(row, row.record)

    def _take_in(self, row: Inbound, record: Record) -> None:
        """Whose record it is, what it says of them, what changes by it, and who is told of that: in this order."""
        touched: Iterable[str] = ()
        profile = self._owners.known(row, record)
        if profile is not None:
            if profile.dues:
                self.fire_of(profile, row.recorded_at)
        else:
            self._fire_named(row, record)
            profile, touched = self._owners.owner_of(row, record)
        if profile is None:
            return
        now, cause, occurred_at = row.recorded_at, row.position, min(record.occurred_at, row.recorded_at)
        compiled = self.plan.audiences
        names: list[str] = list(touched)
        data_changed = bool(names)
        listening, forwardings = False, _NONE
        if record.type in ("track", "page", "screen"):
            name = derived.event_name(record)
            listening, forwardings = compiled.listens_to(name), self.plan.forwardings.of(name)
        asked = listening or forwardings
        body = _body(record.body) if asked or record.traits_at else None
        properties = dig(body, record.properties_at) if asked else {}
        if record.properties:
            properties = properties | record.properties
        if listening:
            names += compiled.fold(profile.conditions, Event(name, occurred_at, cause, properties))
            data_changed = data_changed or name in self.telling.traits.events
        if forwardings:
            through = came_through(profile, self.plan.answered.get(record.feed, ()))
            happening = Happening(record.feed, name, occurred_at, properties, through)
        if record.traits_at or record.traits:
            said = dig(body, record.traits_at) | record.traits
            data_changed = self._set_attributes(profile, row, record, said, names) or data_changed
        if record.consent:
            purposes = set_consent(profile, consents_of(record, now, cause))
            data_changed = data_changed or bool(purposes)
            names += compiled.touched_by_consent(purposes)
        profile.latest = cause
        self.changes.profiles.add(profile.id)
        entered_or_left = self._evaluate(profile, names, now, cause) if names else []
        if data_changed:
            entered_or_left += profile.memberships
            entered_or_left += [a for a in self._audiences_told(profile) if a not in entered_or_left]
        if entered_or_left:
            self.telling.members(profile, entered_or_left, now, cause)
        if profile.awaiting:
            self.telling.look_again(profile, now, cause)
        for forwarding in forwardings:
            if forwarding.listens_to(happening):
                self.telling.event(profile, forwarding, happening, now, cause)
        self.telling.traits.await_changes(profile, now)

    def _fire_named(self, row: Inbound, record: Record) -> None:
        """Fires what is due of everybody whom a record names: it may show several of them to be one."""
        graph, profiles = self.state.graph, self.state.profiles
        for identifier in record.identifiers:
            holder = graph.get(node_id(identifier))
            if holder is not None and profiles[holder].dues:
                self.fire_of(profiles[holder], row.recorded_at)

    def pass_by(self, nodes: Sequence[str], recorded_at: int, position: int) -> bool:
        """Takes in a record that says nothing but whose it is, as `apply` would, where all of these nodes are one
        person's already; whether they are."""
        profile = self._owners.met(nodes)
        if profile is None:
            return False
        if profile.dues:
            self.fire_of(profile, recorded_at)
        profile.latest = position
        self.changes.profiles.add(profile.id)
        if profile.awaiting:
            self.telling.look_again(profile, recorded_at, position)
        self.telling.traits.await_changes(profile, recorded_at)
        return True

    def _set_attributes(
        self, profile: Profile, row: Inbound, record: Record, said: Mapping[str, Any], names: list[str]
    ) -> bool:
        """Takes in what can be, and tells of the rest; whether a value has changed, or one that a destination holds.
        The audiences to look at are added to `names`."""
        moved = False
        pairs = self.plan.pairs.get(record.feed)
        if pairs:
            said, moved = hear(profile.mirrors, pairs, record, said)
        taken, refused = typed(said)
        priority = self.plan.priorities.get(record.feed, 0)
        occurred_at = min(record.occurred_at, row.recorded_at)
        changed, over = set_attributes(profile, taken, priority, occurred_at, row.position)
        for name, reason in chain(refused.items(), ((name, TOO_MANY) for name in over)):
            entry = derived.attribute_refused(profile.id, name, reason, row.position)
            self.changes.derived.append((row.position, entry))
        names += self.plan.audiences.touched_by_attributes(changed)
        return moved or bool(changed)

    def _erase(self, row: Inbound, request: EraseRequest) -> None:
        """Takes a person out of the state, with all that is on its way for them."""
        profile = self.state.profiles.get(self.state.graph.get(request.node, ""))
        known = dict.fromkeys((*profile.routed, *profile.heard)) if profile else ()
        told = [d for c in known if (d := self.plan.destination(c)) is not None]
        aliases = self.plan.rules.aliases(profile.identifiers, self.plan.priorities) if profile else []
        erasure = erase(request, row.position, row.recorded_at, profile, told, aliases)
        self.changes.erased.append(erasure)
        if profile is None:
            return
        for audience in profile.memberships:
            self.changes.memberships.append(MembershipChange(audience, profile.id, None))
        for node in erasure.nodes:
            self.state.graph.pop(node, None)
            self.changes.links.pop(node, None)
            self.changes.merged.pop(node, None)
        del self.state.profiles[profile.id]
        self.changes.profiles.discard(profile.id)

    def _close(self, row: Inbound, closed: Closed) -> None:
        """Tells a person's channel what became of a message."""
        profile = self.state.profiles.get(self.state.graph.get(closed.outcome.profile, ""))
        if profile is not None:
            self.fire_of(profile, row.recorded_at)
            self.telling.close(profile, closed, row.recorded_at, row.position)
            self.changes.profiles.add(profile.id)

    def _hear(self, told: Outbound) -> None:
        """Notes who was told of a person by a replay, so that an erasure knows it."""
        profile = self.state.profiles.get(self.state.graph.get(told.profile, ""))
        if profile is not None:
            profile.heard[told.connection] = told.fields
            self.changes.profiles.add(profile.id)

    def fire_of(self, profile: Profile, upto: int) -> None:
        """Fires the profile's timers up to a log time, each at its own time."""
        while (due := profile.due) is not None and due <= upto:
            names = [audience for audience, at in profile.dues.items() if at <= due]
            names += self.plan.audiences.dependants(names)
            for audience in names:
                profile.dues.pop(audience, None)
            cause = self.first_at(due)
            self.changes.profiles.add(profile.id)
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
            self.changes.memberships.append(MembershipChange(audience, profile.id, membership))
            entry = derived.membership(audience, profile.id, verdict.holds, now, cause, verdict.because)
            self.changes.derived.append((cause, entry))
        return changed

    def _audiences_told(self, profile: Profile) -> list[str]:
        destinations = (self.plan.destination(connection) for connection in profile.routed)
        return [destination.audience for destination in destinations if destination is not None]
