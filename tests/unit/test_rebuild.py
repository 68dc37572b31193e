"""What a rebuild promises: folding the log in shards, beside one another, gives what folding it in order gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adapters.projections.definitions import DefinitionChange, workspace_of
from domain.identity_rules import Rules
from domain.profiles import encode_profile
from domain.records import Entry, Identifier, Record, Row, derive_id, entry_of, node_id, record_of
from domain.runs import RUN, Run, decode_run, run_entry
from domain.settling import APPLIED, Settling, settling_of
from domain.state import Inbound, Plan
from domain.unmerge import REQUESTED as UNMERGE
from domain.unmerge import Place, UnmergeRequest, decode_request, request_entry
from runtime.definitions import plan_of
from runtime.rebuild.clock import Clock
from runtime.rebuild.components import Shards, components, united, united_pairs
from runtime.rebuild.fold import Lone, ShardFold, TakenRow
from runtime.rebuild.passing import EVERYTHING, Heard
from runtime.rebuild.plans import AT_RUN, EFFECT, Plans, declared_by
from runtime.rebuild.scan import Kind, Scan
from runtime.rebuild.unmerge import Past, PastRow
from tests.unit.door import Door
from tests.unit.memory import HOUR, Memory, record, rows
from tests.unit.test_step import AUDIENCES, histories

_ADS = {
    "connector": "meta_custom_audience",
    "audience": "ignored",
    "purpose": "advertising",
    "fields": {"email": "attribute.email"},
    "settings": {"audience_id": "1"},
    "secrets": {"access_token": {"env": "TOKEN"}},
}
_OTHERS: dict[str, Any] = {
    "newcomers": {"match": {"event": "App Installed", "at_least": 2, "within": "12h"}},
    "pros": {"match": {"attribute": "plan", "is": "free"}},
}
_BUYS: dict[str, Any] = {"event": "Order Completed", "compute": "count"}
_BUYS_OF_LATE = _BUYS | {"within": "12h"}
_BUYERS = {"match": {"trait": "buys", "at_least": 1}}
_MAIL_WITH_TRAITS = _ADS | {
    "audience": "pros",
    "purpose": "",
    "fields": {"email": "identifier.email", "user": "identifier.user_id", "buys": "trait.buys"},
    "requires": [],
}
NIGHTLY = {
    "connector": "files",
    "audience": "pros",
    "mode": "diff",
    "schedule": "0 6 * * *",
    "fields": {"user": "identifier.user_id", "device": "identifier.anonymous_id", "buys": "trait.buys"},
    "requires": [],
    "settings": {"url": "s3://bucket/folder"},
}
#: What a workspace may come to declare: an audience, a trait, a connection, kinds of identifiers, or the end of one.
CHANGES = st.one_of(
    st.sampled_from(
        [
            ("trait", "buys", _BUYS_OF_LATE),
            ("trait", "buys", _BUYS),
            ("audience", "buyers", _BUYERS),
            ("connection", "mail", _MAIL_WITH_TRAITS),
        ]
    ),
    st.tuples(st.just("audience"), st.sampled_from(sorted(AUDIENCES)), st.none()).map(
        lambda named: (named[0], named[1], AUDIENCES[named[1]])
    ),
    st.sampled_from([("audience", name, body) for name, body in _OTHERS.items()]),
    st.sampled_from(
        [("audience", "never_bought", None), ("connection", "ads", None), ("connection", "ads", _ADS)]
    ),
    # A connection that goes out by runs, and its runs.
    st.sampled_from([("connection", "nightly", NIGHTLY), *[("run", "nightly", None)] * 4]),
    st.sampled_from(
        [
            ("workspace", "w", {"identifiers": {"crm_id": {"limit": 1}}}),
            ("workspace", "w", {"identity": {"blocked": ["phone", "ann"]}}),
            ("workspace", "w", {"identity": {"login": "begins_anew"}}),
            ("workspace", "w", {"identity": {"login": "begins_anew", "match": "best"}}),
            ("workspace", "w", {"identity": {"match": "best"}}),
            ("workspace", "w", {"identity": {"shared_device": "most_recent_user"}}),
            ("workspace", "w", {"identity": {"login": "begins_anew", "shared_device": "most_recent_user"}}),
            (
                "workspace",
                "w",
                {"purposes": {"push": {"default": "given"}, "advertising": {"default": "given"}}},
            ),
            (
                "workspace",
                "w",
                {
                    "jurisdictions": {"free": {"where": {"plan": {"is": "free"}}}},
                    "purposes": {"advertising": {"default": "given", "in": {"free": "refused"}}},
                },
            ),
        ]
    ),
)


class Cut(NamedTuple):
    """After so many records it is said that two identifiers are not one person's."""

    number: int
    one: tuple[str, str]
    other: tuple[str, str]


#: What the tests' vendor's id is called where its kind is declared, and where it is not.
CRM = (Identifier("crm_id", "7"), Identifier("app.crm_id", "7"))


class History:
    """A log as it is read: records, ticks and definitions, from position 1 on."""

    def __init__(
        self,
        records: list[Inbound],
        changes: list[tuple[int, Any]],
        cuts: Sequence[Cut] = (),
        row_of: Callable[[Record], Entry] = entry_of,
    ) -> None:
        self._row_of = row_of
        self.rows: list[Row] = []
        self.changes: list[DefinitionChange] = []
        self.inbound: dict[int, Inbound] = {}
        self._define("workspace", "w", {"clock": "simulated"}, records[0].recorded_at)
        # Whatever is referred to is there all the time.
        for name in ("ignored", "pros", "newcomers"):
            self._define("audience", name, AUDIENCES[name], records[0].recorded_at)
        self._define("trait", "buys", _BUYS, records[0].recorded_at)
        self._apply(records[0].recorded_at)
        for number, row in enumerate(records):
            several = [change for change in changes if change[0] == number]
            declared = [change for _, change in several if change[0] != "run"]
            for kind, name, body in declared:
                self._define(kind, name, body, row.recorded_at)
            if declared:
                self._apply(row.recorded_at)
            for _, (kind, name, _) in several:
                if kind == "run":
                    self._run(name, row.recorded_at)
            self._add(row)
            for cut in cuts:
                if cut.number == number:
                    self._cut(cut, row.recorded_at)

    def _define(self, kind: str, name: str, body: Any, at: int) -> None:
        position = len(self.rows) + 1
        self.changes.append(DefinitionChange(position, kind, name, body))
        self.rows.append(Row(position, derive_id(str(position)), 1, "domain.configuration:D", None, at, b""))

    def _apply(self, at: int) -> None:
        position = len(self.rows) + 1
        self.changes.append(DefinitionChange(position, EFFECT, "", {"at": at}))
        self.rows.append(Row(position, derive_id(str(position)), 1, APPLIED, None, at, b"{}"))

    def _cut(self, cut: Cut, at: int) -> None:
        position = len(self.rows) + 1
        request = UnmergeRequest(
            id=derive_id(str(position)),
            node=node_id(Identifier(*cut.one)),
            other=node_id(Identifier(*cut.other)),
            asked_by="",
        )
        self.rows.append(Row(position, *request_entry(request)[:4], at, request_entry(request).state))

    def _run(self, name: str, at: int) -> None:
        position = len(self.rows) + 1
        self.changes.append(DefinitionChange(position, AT_RUN, name, {"at": at}))
        self.rows.append(Row(position, *run_entry(name, position, at)[:4], at, run_entry(name, 1, at).state))

    def _add(self, row: Inbound) -> None:
        position = len(self.rows) + 1
        self.inbound[position] = row._replace(position=position)
        if row.record is None:
            self.rows.append(
                Row(position, derive_id(str(position)), 1, "clock.tick", None, row.recorded_at, b"")
            )
        else:
            entry = self._row_of(row.record)
            led = record_of(entry.state)
            self.inbound[position] = self.inbound[position]._replace(record=led, subject=entry.subject)
            self.rows.append(Row(position, *entry[:4], row.recorded_at, entry.state))

    def in_order(self) -> Memory:
        """What the live pipeline makes of it."""
        memory = Memory(plan_of(None))
        for row in self.rows:
            if row.topic == UNMERGE:
                changes = [change for change in self.changes if change.position < row.position]
                place, request = Place(row.position, row.recorded_at), decode_request(row.state)
                memory.unmerge(place, request, Plans(changes), self.clock, self.led_before(row.position))
            elif row.topic == APPLIED:
                memory.take_in([Inbound(row.position, row.recorded_at, None)])
                before = [change for change in self.changes if change.position < row.position]
                memory.take_effect(
                    _plan_of(before), self._settling(before, row), self._past(row.position), self._rules
                )
            elif row.topic == RUN:
                memory.take_in([Inbound(row.position, row.recorded_at, None)])
                memory.run(Run(decode_run(row.state).connection, row.position, row.recorded_at))
            elif row.position in self.inbound:
                one = self.inbound[row.position]
                record = one.record and memory.plan.rules.understood(one.record)
                memory.take_in([one._replace(record=record)])
        return memory

    @cached_property
    def clock(self) -> Clock:
        scan = Scan()
        for row in self.rows:
            scan.add(row)
        return clock_of([scan])

    def led_before(self, position: int) -> Past:
        def past(subjects: Collection[str]) -> Iterator[PastRow]:
            for row in self.rows:
                if row.position < position and row.position in self.inbound and row.subject in subjects:
                    yield PastRow(row.position, row.recorded_at, row.subject or "", row.state)

        return past

    def _settling(self, before: list[DefinitionChange], row: Row) -> Settling:
        last = max((change.position for change in before if change.kind == EFFECT), default=0)
        changed = [(change.kind, change.name) for change in before if change.position > last]
        return settling_of(_plan_of(before), row.position, row.recorded_at, changed)

    def _rules(self, position: int) -> Rules:
        last = max(
            (c.position for c in self.changes if c.kind == EFFECT and c.position < position), default=0
        )
        return _plan_of([change for change in self.changes if change.position < last]).rules

    def _past(self, position: int) -> list[Inbound]:
        return [row for at, row in self.inbound.items() if at < position and row.record is not None]


def _plan_of(changes: list[DefinitionChange]) -> Plan:
    declared = declared_by([change for change in changes if change.kind not in (EFFECT, AT_RUN)])
    return plan_of(workspace_of([(kind, name, declared[kind, name][0]) for kind, name in sorted(declared)]))


def in_shards(history: History, count: int, cuts: int, heard: Heard | None = None) -> list[ShardFold]:
    """What a rebuild makes of it: stretches of so many rows scanned, dealt to so many shards, and folded."""
    plans = Plans(history.changes)
    scans = []
    for start in range(0, len(history.rows), cuts):
        scan = Scan(heard=plans.heard if heard is None else heard)
        for row in history.rows[start : start + cuts]:
            scan.add(row)
        scans.append(scan)
    nodes, edges = np.empty(0, np.uint64), np.empty((0, 2), np.uint64)
    for scan in scans:
        nodes = united(nodes, np.array(sorted(scan.nodes), np.uint64))
        edges = united_pairs(edges, np.array(sorted(scan.edges), np.uint64).reshape(-1, 2))
    assert set(nodes.tolist()) == set().union(*(scan.nodes for scan in scans))
    assert set(map(tuple, edges.tolist())) == set().union(*(scan.edges for scan in scans))
    shards = Shards(nodes, components(nodes, edges), count)
    dealt: list[list[TakenRow]] = [[] for _ in range(count)]
    for scan in scans:
        keys = np.array([row[3] for row in scan.rows], dtype=np.uint64)
        for shard, (position, recorded_at, kind, _, state) in zip(
            shards.of(keys).tolist(), scan.rows, strict=True
        ):
            dealt[shard].append((position, recorded_at, kind, state))
    clock = clock_of(scans)
    return [_folded(plans, clock, len(history.rows), rows) for rows in dealt]


def _folded(plans: Plans, clock: Clock, goal: int, rows: list[TakenRow]) -> ShardFold:
    fold = ShardFold(plans, clock, goal, past=lambda: rows)
    for row in rows:
        fold.take(*row)
    fold.finish()
    return fold


def clock_of(scans: Iterable[Scan]) -> Clock:
    clock: list[tuple[int, int]] = []
    for scan in scans:
        clock += [pair for pair in scan.clock if not clock or pair[0] > clock[-1][0]]
    pairs = np.array(clock, dtype=np.int64).reshape(-1, 2)
    return Clock(pairs[:, 0], pairs[:, 1])


#: After which record two identifiers, of those of an earlier one, are said to be of two people.
CUTS = st.lists(
    st.tuples(st.integers(0, 29), st.integers(0, 29), st.integers(0, 3), st.integers(0, 3)), max_size=3
)


def cuts_of(records: list[Inbound], drawn: list[tuple[int, int, int, int]]) -> list[Cut]:
    found = []
    for number, of, one, other in drawn:
        said = records[of % len(records)].record
        if said is not None and (named := said.identifiers):
            found.append(Cut(number % len(records), named[one % len(named)], named[other % len(named)]))
    return [cut for cut in found if cut.one != cut.other]


@given(
    histories(),
    st.lists(st.tuples(st.integers(0, 29), CHANGES), max_size=6),
    st.integers(1, 5),
    st.integers(1, 12),
    CUTS,
    st.booleans(),
)
def test_shards_folded_by_themselves_make_up_what_the_log_in_order_makes(
    records: list[Inbound],
    changes: list[tuple[int, Any]],
    count: int,
    stretch: int,
    cuts: list[tuple[int, int, int, int]],
    shared: bool,
) -> None:
    door = Door(Rules(shared_device="most_recent_user")) if shared else entry_of
    history = History(records, changes, cuts_of(records, cuts), door)
    live = history.in_order()
    folds = in_shards(history, count, stretch)
    profiles = {id: encode_profile(profile) for fold in folds for id, profile in fold.profiles.items()}
    assert profiles == live.profiles
    assert {node: id for fold in folds for node, id in fold.state.graph.items()} == live.graph
    assert sum(len(fold.state.graph) for fold in folds) == len(live.graph), "a node is in one shard"
    memberships = {
        (audience, id): since
        for fold in folds
        for id, profile in fold.profiles.items()
        for audience, since in profile.memberships.items()
    }
    assert memberships == live.memberships
    derived = {lone.id for fold in folds for lone in fold.comparing.lone()}
    assert derived == {e.stream_id for e in live.entries if e.topic.startswith(("audience.", "profile."))}


@given(
    histories(),
    st.lists(st.tuples(st.integers(0, 29), CHANGES), max_size=6),
    st.integers(1, 3),
    CUTS,
)
def test_records_of_which_nothing_is_asked_pass_by_with_the_same_result(
    records: list[Inbound],
    changes: list[tuple[int, Any]],
    count: int,
    cuts: list[tuple[int, int, int, int]],
) -> None:
    unheard = [
        row._replace(record=msgspec.structs.replace(row.record, name="Unheard Of"))
        if row.record is not None and row.record.type == "track" and number % 2
        else row
        for number, row in enumerate(records)
    ]
    history = History(unheard, changes, cuts_of(unheard, cuts))
    passing, whole = in_shards(history, count, 7), in_shards(history, count, 7, EVERYTHING)
    for one, other in zip(passing, whole, strict=True):
        assert {id: encode_profile(p) for id, p in one.profiles.items()} == {
            id: encode_profile(p) for id, p in other.profiles.items()
        }
        assert one.state.graph == other.state.graph
        assert sorted(one.comparing.lone()) == sorted(other.comparing.lone())


def test_a_record_of_which_nothing_is_asked_is_taken_along_as_whose_it_is() -> None:
    ann = (Identifier("user_id", "ann"),)
    body, traits = msgspec.Raw(b'{"traits":{"plan":"pro"},"amount":1}'), {"plan": "pro"}
    said: list[dict[str, Any]] = [
        {"type": "track", "name": "Product Viewed"},
        {"type": "page", "name": "Start"},
        {"type": "identify"},
        {"type": "track", "name": "Order Completed"},
        {"type": "screen", "name": "Start"},
        {"type": "track", "name": "Product Viewed", "traits": traits},
        {"type": "identify", "traits_at": "traits"},
        {"type": "identify", "consent": {"push": True}},
        {"type": "alias"},
        # The topic tells no more than the beginning of such a name.
        {"type": "track", "name": "x" * 200},
    ]
    scan = Scan(heard=frozenset({"Order Completed", "Screen Viewed"}))
    for number, more in enumerate(said, 1):
        record = Record(
            feed="app", message_id=str(number), occurred_at=number, identifiers=ann, body=body, **more
        )
        scan.add(Row(number, *entry_of(record)[:4], number, entry_of(record).state))
    assert [kind for _, _, kind, _, _ in scan.rows] == [Kind.PASSING] * 3 + [Kind.RECORD] * 7
    assert len({state for _, _, _, _, state in scan.rows[:3]}) == 1
    assert b"amount" not in scan.rows[0][4]
    assert b"amount" in scan.rows[3][4]


def test_what_any_workspace_of_the_log_asked_for_is_heard() -> None:
    installed, sent = ({"match": {"event": name}} for name in ("App Installed", "Push Sent"))
    declared = [
        DefinitionChange(1, "workspace", "w", {"clock": "simulated"}),
        DefinitionChange(2, "audience", "a", installed),
        DefinitionChange(3, EFFECT, "", {"at": 1}),
        DefinitionChange(4, "audience", "a", sent),
        DefinitionChange(5, EFFECT, "", {"at": 2}),
        DefinitionChange(6, "audience", "a", None),
        DefinitionChange(7, EFFECT, "", {"at": 3}),
    ]
    assert Plans(declared).heard == {"App Installed", "Push Sent"}


def test_a_record_passes_by_nobody_whose_identifier_names_nobody_any_more() -> None:
    seen = [record("track", [("user_id", "ann")], at * HOUR, name="Unheard Of") for at in (1, 2, 3)]
    blocked = ("workspace", "w", {"identity": {"blocked": ["ann"]}})
    history = History(rows(*((HOUR * at, one) for at, one in enumerate(seen, 1))), [(2, blocked)])
    [ann] = in_shards(history, 1, 7)[0].profiles.values()
    assert encode_profile(ann) == history.in_order().profiles[ann.id]
    assert ann.latest == list(history.inbound)[1]


@given(histories(), st.integers(1, 5))
def test_what_the_log_says_has_followed_meets_what_follows_again(records: list[Inbound], count: int) -> None:
    history = History(records, [])
    live = history.in_order()
    for entry in live.entries:
        position, at = len(history.rows) + 1, history.rows[-1].recorded_at
        history.rows.append(Row(position, *entry[:4], at, entry.state))
    assert [lone for fold in in_shards(history, count, 7) for lone in fold.comparing.lone()] == []
    followed = [row for row in history.rows if row.topic.startswith(("audience.", "profile."))]
    if followed:
        history.rows.remove(followed[0])
        lone: list[Lone] = [one for fold in in_shards(history, count, 7) for one in fold.comparing.lone()]
        assert [(one.id, one.logged) for one in lone] == [(followed[0].stream_id, False)]
