"""What a tracking plan makes of records on their way in: kept, kept with a mark, put aside, or told and not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from adapters.quarantine import Quarantined
from domain.identity_rules import DEFAULT_RULES, Rules, entry_for
from domain.records import Entry, Record, derive_id, entry_of
from domain.tracking_plan import PlanOfFeed, Verdict
from runtime.set_aside import told_of

Plans = Mapping[str, PlanOfFeed]

CODE = "tracking_plan"
#: Against a record whose source's time lies after its receipt.
FUTURE = "/occurred_at in_the_future"


class Admitted(NamedTuple):
    """One entry for each record, in order: the record itself, or what the log is told of it. `aside` goes into
    quarantine before the entries are appended."""

    entries: list[Entry]
    aside: list[Quarantined]


def admit(plans: Plans, records: Sequence[Record], now: int, rules: Rules = DEFAULT_RULES) -> Admitted:
    """`plans` are those of the feeds that have one; `now` is in microseconds. `rules` say who leads a record."""
    if not plans:
        timely = [record if record.occurred_at <= now else _early(record) for record in records]
        return Admitted([entry_for(record, rules) for record in timely], [])
    entries: list[Entry] = []
    aside: list[Quarantined] = []
    for record in records:
        plan = plans.get(record.feed)
        verdict = None if plan is None else plan.judge(record)
        seen = record if record.occurred_at <= now else _early(record)
        if verdict is None:
            entries.append(entry_for(seen, rules))
        elif verdict.policy == "mark":
            entries.append(entry_for(marked(seen, verdict), rules))
        elif verdict.policy == "quarantine":
            aside.append(quarantined(record, verdict, now))
            entries.append(told_of(aside[-1]))
        else:
            entries.append(_blocked(record, verdict))
    return Admitted(entries, aside)


def marked(record: Record, verdict: Verdict) -> Record:
    """The record with what is against it."""
    against = tuple(f"{one.pointer or '/'} {one.keyword}" for one in verdict.violations)
    return msgspec.structs.replace(record, violations=(*record.violations, *against))


def _early(record: Record) -> Record:
    """A record of the future counts as of now, and says so."""
    return msgspec.structs.replace(record, violations=(*record.violations, FUTURE))


def quarantined(record: Record, verdict: Verdict, now: int) -> Quarantined:
    """The record, with the reason. Its item alone would not do: what it is may stand in the address that was called, in
    a header, or around it."""
    id = derive_id("quarantine", record.feed, CODE, record.message_id)
    return Quarantined(id, record.feed, CODE, verdict.reason, {}, entry_of(record).state, now)


def _blocked(record: Record, verdict: Verdict) -> Entry:
    told = {
        "plan": verdict.plan,
        "feed": record.feed,
        "event": verdict.event,
        "version": verdict.version,
        "violations": verdict.violations,
    }
    id = derive_id(CODE, record.feed, record.message_id)
    return Entry(id, 1, f"{CODE}.blocked", None, msgspec.json.encode(told))
