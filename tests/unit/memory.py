"""The pipeline's state in memory, for tests: the same step, with dictionaries in the tables' place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from domain.audiences.evaluation import Event
from domain.derived import event_name
from domain.fold import Fold
from domain.identity_rules import Rules, leader_of
from domain.profiles import Profile, decode_profile, encode_profile
from domain.records import Entry, Identifier, Record, RecordType, dig, node_id
from domain.runs import Run
from domain.settling import Settling
from domain.state import Inbound, Outcome, Plan, State, nodes_of
from domain.step import step
from domain.unmerge import Place, UnmergeRequest
from runtime.rebuild.clock import Clock
from runtime.rebuild.plans import Plans
from runtime.rebuild.unmerge import Past, fold_apart

HOUR = 3_600_000_000


class Memory:
    """Takes batches in, as the pipeline does, and keeps what it would save."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.graph: dict[str, str] = {}
        self.profiles: dict[str, bytes] = {}
        self.memberships: dict[tuple[str, str], tuple[int, int]] = {}
        self.entries: list[Entry] = []
        self.gone: dict[str, int] = {}
        self.erased: list[Entry] = []

    def take_in(self, rows: Sequence[Inbound]) -> Outcome:
        nodes = nodes_of(rows)
        graph = {node: self.graph[node] for node in nodes if node in self.graph}
        loaded = {id: decode_profile(state) for id, state in self.profiles.items()}
        due = {id for id, p in loaded.items() if p.due is not None and p.due <= rows[-1].recorded_at}
        gone = {node: self.gone[node] for node in nodes if node in self.gone}
        state = State(graph, {id: loaded[id] for id in {*graph.values(), *due}}, gone)
        outcome = step(self.plan, rows, state)
        self._keep(state, outcome)
        return outcome

    def _keep(self, state: State, outcome: Outcome) -> None:
        for erasure in outcome.erased:
            self.erased += erasure.entries
            for node in erasure.nodes:
                self.graph.pop(node, None)
                self.profiles.pop(node, None)
        for node in outcome.unlinked:
            self.graph.pop(node, None)
        for id in outcome.merged:
            self.profiles.pop(id, None)
        for id in outcome.changed:
            self.profiles[id] = encode_profile(state.profiles[id])
        for node, profile in outcome.links.items():
            while profile in outcome.merged:
                profile = outcome.merged[profile]
            self.graph[node] = profile
        for change in outcome.memberships:
            key = (change.audience, change.profile)
            if change.membership is None:
                self.memberships.pop(key, None)
            else:
                self.memberships[key] = change.membership
        self.entries += outcome.entries

    def take_effect(
        self, plan: Plan, settling: Settling, past: Iterable[Inbound], rules: Callable[[int], Rules]
    ) -> None:
        """A workspace takes effect after these records: their events are folded, and everybody is looked at."""
        self.plan = plan
        profiles = {id: decode_profile(state) for id, state in self.profiles.items()}
        for row in past:
            assert row.record is not None
            record = row.record
            leader = leader_of(record, row.subject or "", rules(row.position))
            node = "" if leader is None else node_id(leader)
            if node in self.graph and record.type in ("track", "page", "screen"):
                properties = dig(msgspec.json.decode(record.body), record.properties_at) | record.properties
                at = min(record.occurred_at, row.recorded_at)
                event = Event(event_name(record), at, row.position, properties)
                plan.audiences.fold(profiles[self.graph[node]].conditions, event)
        state = State({}, profiles)
        fold = Fold(plan, state, lambda _: settling.position)
        for profile in profiles.values():
            fold.settle(profile, settling)
        self._keep(state, fold.outcome())

    def unmerge(
        self, place: Place, request: UnmergeRequest, plans: Plans, clock: Clock, past: Past
    ) -> Outcome:
        """As the pipeline does it: once what is due has happened, the person's records are folded again."""
        self.take_in([Inbound(place.position, place.at, None)])
        state = State(
            dict(self.graph), {id: decode_profile(one) for id, one in self.profiles.items()}, self.gone
        )
        fold = Fold(self.plan, state, lambda _: place.position)
        done = fold_apart(fold, place, request, plans, clock, past, live=True)
        outcome = fold.outcome()
        self._keep(state, outcome)
        self.entries.append(done)
        return outcome

    def run(self, run: Run) -> Outcome:
        """A connection has a run. Every timer due by then has fired."""
        profiles = {id: decode_profile(state) for id, state in self.profiles.items()}
        state = State({}, profiles)
        fold = Fold(self.plan, state, lambda _: run.position)
        for profile in profiles.values():
            fold.run(profile, run)
        outcome = fold.outcome()
        self._keep(state, outcome)
        return outcome

    def take_in_all(self, batches: Iterable[Sequence[Inbound]]) -> Memory:
        for batch in batches:
            self.take_in(batch)
        return self

    def profile(self, identifier: Identifier) -> Profile:
        return decode_profile(self.profiles[self.graph[node_id(identifier)]])

    def topics(self) -> list[str]:
        return [entry.topic for entry in self.entries]

    def outbound(self) -> list[dict[str, Any]]:
        """What was requested of connections, without the batches' names."""
        found = [msgspec.json.decode(e.state) for e in self.entries if e.topic == "outbound.requested"]
        return [{key: value for key, value in one.items() if key not in ("batch", "id")} for one in found]


def record(
    kind: RecordType,
    identifiers: Sequence[tuple[str, str]],
    at: int,
    *,
    name: str = "",
    properties: dict[str, object] | None = None,
    traits: dict[str, object] | None = None,
    consent: dict[str, bool] | None = None,
    feed: str = "app",
) -> Record:
    """A record as a feed makes it. `at` is in microseconds."""
    return Record(
        feed=feed,
        message_id=f"{kind}-{at}",
        type=kind,
        occurred_at=at,
        identifiers=tuple(Identifier(*identifier) for identifier in identifiers),
        body=msgspec.Raw(msgspec.json.encode({"properties": properties or {}, "traits": traits or {}})),
        name=name,
        properties_at="properties" if properties else "",
        traits_at="traits" if traits else "",
        consent=consent or {},
    )


def rows(*records: tuple[int, Record | None], first: int = 1) -> list[Inbound]:
    """Rows of a log: each its log time and its record, `None` for a tick."""
    return [Inbound(position, at, record) for position, (at, record) in enumerate(records, first)]
