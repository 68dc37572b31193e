"""What is told of a person as something happens to them, and when: now, after quiet hours, or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from domain import awaiting, derived
from domain.awaiting import Awaiting
from domain.channels import (
    REACHES,
    WAITING_LIMIT,
    Reached,
    Waiting,
    capped,
    hours_of,
    note_outcome,
    timer_of,
)
from domain.echoes import note_way
from domain.forwarding import Forwarding, Happening, chosen, forward, told_of
from domain.profiles import Profile
from domain.quiet import QuietHours, quiet_until
from domain.records import Entry
from domain.routing import Held, Routed, Withheld, known_of, list_member, route
from domain.runs import Run
from domain.state import Closed, Plan
from domain.traits.telling import TraitsTold


class Telling:
    """Collects what is to be sent in `routed` and, into `derived`, why something is not; each with its cause and, of
    what is sent, the profile."""

    def __init__(self, plan: Plan, derived: list[tuple[int, Entry]]) -> None:
        self.routed: list[tuple[int, str, Routed]] = []
        as_they_come = (d for d in chain(*plan.destinations.values()) if not d.by_runs)
        self.traits = TraitsTold(plan.audiences, as_they_come)
        self._plan = plan
        self._derived = derived

    def members(self, profile: Profile, audiences: Iterable[str], now: int, cause: int) -> None:
        """Tells these audiences' destinations what they are to know of the person."""
        for audience in dict.fromkeys(audiences):
            for destination in self._plan.destinations.get(audience, ()):
                if destination.by_runs:
                    continue
                until = self._quiet_until(profile, destination.channel, now)
                traits = self.traits.values(destination, profile, now)
                for decision in route(profile, destination, traits, quiet=until is not None):
                    match decision:
                        case Withheld():
                            self._withhold(profile, decision, cause)
                        case Routed():
                            self._send(profile, decision, now, cause)
                        case Held() if until is not None:
                            profile.dues[timer_of(destination.channel)] = until
                        case _:
                            raise AssertionError("nothing is held outside quiet hours")

    def run(self, profile: Profile, run: Run) -> bool:
        """Tells what a connection's run has to tell of a person; whether that was anything, or something is noted."""
        destination = self._plan.destination(run.connection)
        if destination is None or destination.mode not in ("snapshot", "diff"):
            return False
        told = profile.routed.get(run.connection)
        traits = self.traits.values(destination, profile, run.at)
        decisions = (list_member if destination.mode == "snapshot" else route)(profile, destination, traits)
        for decision in decisions:
            if isinstance(decision, Withheld):
                self._withhold(profile, decision, run.position)
            elif isinstance(decision, Routed):
                self.routed.append((run.position, profile.id, decision))
        return bool(decisions) or profile.routed.get(run.connection) != told

    def event(
        self, profile: Profile, forwarding: Forwarding, happening: Happening, now: int, cause: int
    ) -> None:
        """Tells of an event that a connection listens to."""
        decision = forward(
            profile, forwarding, happening, self.traits.values(forwarding.destination, profile, now)
        )
        if not isinstance(decision, Withheld) or (decision.identifier and forwarding.patience):
            note_way(profile, forwarding.destination.connection, happening.came_through)
        if not isinstance(decision, Withheld):
            self._pass_on(profile, decision, now, cause)
        elif decision.identifier and forwarding.patience:
            self._await(profile, forwarding, happening, decision, now, cause)

    def look_again(self, profile: Profile, now: int, cause: int) -> None:
        """Sends those of the events that wait for an identifier which lack none any more, and gives those up that have
        waited long enough."""
        for connection in list(profile.awaiting):
            waiting = profile.awaiting.pop(connection)
            profile.dues.pop(awaiting.timer_of(connection), None)
            forwarding = self._plan.forwardings.by(connection)
            if forwarding is not None:
                for one in waiting:
                    self._look_at(profile, forwarding, one, now, cause)

    def _look_at(self, profile: Profile, forwarding: Forwarding, one: Awaiting, now: int, cause: int) -> None:
        destination = forwarding.destination
        found = told_of(profile, forwarding, self.traits.values(destination, profile, now))
        decision = Routed(destination, "event", {}, one.event, one.occurred_at, one.properties)
        if not isinstance(found, Withheld):
            self._pass_on(profile, decision._replace(fields=found), now, cause)
        elif not found.identifier:
            self._withhold(profile, found, cause)
        elif one.until <= now:
            self._give_up(profile, decision, f"{found.reason} became known in time", now, cause)
        else:
            profile.awaiting.setdefault(destination.connection, []).append(one)
            timer = awaiting.timer_of(destination.connection)
            profile.dues[timer] = min(one.until, profile.dues.get(timer, one.until))

    def _await(
        self,
        profile: Profile,
        forwarding: Forwarding,
        happening: Happening,
        lacking: Withheld,
        now: int,
        cause: int,
    ) -> None:
        """Has an event wait for an identifier, as long as not too many do."""
        properties, connection = chosen(forwarding, happening), forwarding.destination.connection
        waiting = profile.awaiting.setdefault(connection, [])
        if len(waiting) < awaiting.AWAITING_LIMIT:
            until = now + forwarding.patience
            waiting.append(Awaiting(until, happening.occurred_at, happening.name, properties))
            profile.dues.setdefault(awaiting.timer_of(connection), until)
            return
        decision = Routed(
            forwarding.destination, "event", {}, happening.name, happening.occurred_at, properties
        )
        reason = f"{lacking.reason}, and {len(waiting)} events wait for it already"
        self._give_up(profile, decision, reason, now, cause)

    def _give_up(self, profile: Profile, decision: Routed, reason: str, now: int, cause: int) -> None:
        destination = decision.destination
        known = known_of(profile, destination, self.traits.values(destination, profile, now))
        letter = decision._replace(fields=known, unsent=reason, ends="dead")
        self.routed.append((cause, profile.id, letter))

    def _pass_on(self, profile: Profile, decision: Routed, now: int, cause: int) -> None:
        """Sends an event, after the quiet hours where it is in any, or by the connection's next run."""
        if decision.destination.by_runs:
            profile.heard[decision.destination.connection] = decision.fields
            self._derived.append((cause, derived.gathered(profile.id, decision, cause)))
            return
        until = self._quiet_until(profile, decision.destination.channel, now)
        if until is None:
            self._send(profile, decision, now, cause)
        else:
            self._keep(profile, decision, until, cause)

    def resume(self, profile: Profile, channel: str, now: int, cause: int) -> None:
        """The quiet hours of a channel are over: what waited goes out, where it still holds."""
        until = self._quiet_until(profile, channel, now)
        if until is not None:
            profile.dues[timer_of(channel)] = until
            return
        reached = profile.reached.get(channel)
        waiting = list(reached.waiting) if reached is not None else []
        if reached is not None:
            reached.waiting.clear()
        for one in waiting:
            forwarding = self._plan.forwardings.by(one.connection)
            if forwarding is None:
                continue
            destination = forwarding.destination
            found = told_of(profile, forwarding, self.traits.values(destination, profile, now))
            if isinstance(found, Withheld):
                self._withhold(profile, found, cause)
            else:
                decision = Routed(destination, "event", found, one.event, one.occurred_at, one.properties)
                self._send(profile, decision, now, cause)
        concerned = [
            audience
            for audience in profile.memberships
            if any(d.channel == channel for d in self._plan.destinations.get(audience, ()))
        ]
        self.members(profile, concerned, now, cause)

    def entry(self, profile: Profile, decision: Routed, now: int, cause: int) -> None:
        """Tells of an entry that was decided elsewhere; in quiet hours it is decided anew after them."""
        channel = decision.destination.channel
        until = self._quiet_until(profile, channel, now)
        if until is None:
            self._send(profile, decision, now, cause)
        else:
            profile.routed.pop(decision.destination.connection, None)
            profile.dues[timer_of(channel)] = until

    def settle(self, profile: Profile, waited: Iterable[str], now: int, cause: int) -> None:
        """Another workspace is in force: looks anew at what waits for the end of these channels' quiet hours."""
        for channel in waited:
            profile.dues.pop(timer_of(channel), None)
            self.resume(profile, channel, now, cause)
        self.look_again(profile, now, cause)
        for channel in profile.reached.keys() - self._plan.channels.keys():
            del profile.reached[channel]

    def close(self, profile: Profile, closed: Closed, now: int, cause: int) -> None:
        """Takes in what became of a message; one that came into quiet hours is to be told again."""
        outcome, record = closed.outcome, closed.record
        channel = self._plan.channels.get(outcome.channel)
        if channel is None:
            return
        if channel.cap:
            reached = profile.reached.setdefault(outcome.channel, Reached())
            delivered_at = now if outcome.status == "delivered" else None
            note_outcome(channel, reached, (outcome.connection, outcome.cause), delivered_at)
        if record is None:
            return
        forwarding = self._plan.forwardings.by(record.connection)
        if record.change == "event" and forwarding is not None:
            decision = Routed(
                forwarding.destination,
                "event",
                record.fields,
                record.event,
                record.occurred_at,
                record.properties,
            )
            self._keep(profile, decision, outcome.again_at, cause)
        elif profile.routed.get(record.connection) == record.fields:
            del profile.routed[record.connection]
            profile.dues[timer_of(outcome.channel)] = outcome.again_at
        if outcome.again_at <= now:
            profile.dues.pop(timer_of(outcome.channel), None)
            self.resume(profile, outcome.channel, now, cause)

    def _keep(self, profile: Profile, decision: Routed, until: int, cause: int) -> None:
        """Has an event wait, as long as not too many do."""
        destination = decision.destination
        waiting = profile.reached.setdefault(destination.channel, Reached()).waiting
        if len(waiting) >= WAITING_LIMIT:
            reason = (
                f"{WAITING_LIMIT} events wait already for channel '{destination.channel}' to be quiet no more"
            )
            self.routed.append((cause, profile.id, decision._replace(unsent=reason)))
            return
        waiting.append(
            Waiting(destination.connection, decision.event, decision.occurred_at, decision.properties)
        )
        profile.dues[timer_of(destination.channel)] = until

    def _send(self, profile: Profile, decision: Routed, now: int, cause: int) -> None:
        connection, name = decision.destination.connection, decision.destination.channel
        channel = self._plan.channels.get(name)
        if channel is not None and decision.change in REACHES:
            decision = decision._replace(quiet=hours_of(channel, profile.value))
            if channel.cap:
                reached = profile.reached.setdefault(name, Reached())
                decision = decision._replace(unsent=capped(name, channel, reached, now))
                if not decision.unsent:
                    reached.open.append((connection, cause))
        if decision.change == "event" and not decision.unsent:
            # So that an erasure knows who was told of the person, and by what.
            profile.heard[connection] = decision.fields
        self.routed.append((cause, profile.id, decision))

    def _withhold(self, profile: Profile, decision: Withheld, cause: int) -> None:
        self._derived.append((cause, derived.withheld(profile, decision, cause)))

    def _quiet_until(self, profile: Profile, channel: str, now: int) -> int | None:
        declared = self._plan.channels.get(channel)
        hours: QuietHours | None = None
        if declared is not None and declared.quiet is not None:
            hours = hours_of(declared, profile.value)
        return None if hours is None else quiet_until(hours, now)
