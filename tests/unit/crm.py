"""A CRM in memory, and what lies between it and us: requests in order, webhooks in none, snapshots."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from domain.audiences.definition import Audience
from domain.audiences.evaluation import compile_audiences
from domain.mapping import Mapped
from domain.mirrors import Pair
from domain.records import Identifier, Record, record_id
from domain.routing import Destination
from domain.state import Inbound, Plan
from tests.unit.memory import Memory

EMAIL = ("email", "ann@example.com")
#: The CRM's names → ours.
FIELDS = {"town": "city", "tier": "plan"}
SECOND = 1_000_000


class Crm:
    """One contact. People change it, and so do we; it tells of each change by its own clock. Its webhooks name the
    address, or, as HubSpot's do, its own number alone, but for the first one."""

    def __init__(self, name: str, skew: int, addressed: bool = True) -> None:
        self._addressed = addressed
        self.name = name
        self.skew = skew
        self.clock = 0
        self.held: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.webhooks: list[Record] = []
        self.told = 0

    def change(self, now: int, field: str, value: str, by: str) -> None:
        if self.held.get(field, "") == value:
            return
        self.clock = max(self.clock + 1, now + self.skew)
        self.held[field] = value
        self.told += 1
        self.webhooks.append(self._says("track", {field: value}, {"made_by": by}))

    def take_request(self, now: int) -> None:
        for field, value in self.requests.pop(0)["fields"].items():
            if field in FIELDS:
                self.change(now, field, value, "us")

    def snapshot(self) -> Record:
        """The contact as it is, with the time at which anything of it was last changed."""
        self.told += 1
        return self._says("identify", dict(self.held), {})

    def _says(self, kind: Any, traits: dict[str, Any], properties: dict[str, Any]) -> Record:
        contact, address = Identifier(f"{self.name}.contact", "1"), Identifier(*EMAIL)
        addressed = self._addressed or kind == "identify" or self.told == 1
        return Record(
            feed=self.name,
            message_id=f"{self.name}-{self.told}",
            type=kind,
            name="contact.propertyChange" if kind == "track" else "",
            occurred_at=self.clock,
            identifiers=(contact, address) if addressed else (contact,),
            body=msgspec.Raw(b"{}"),
            properties=properties,
            traits=traits,
        )


class Genuine(NamedTuple):
    """A change that somebody made, and what decides among several."""

    rank: tuple[int, int, int]
    value: str


class World:
    """Us and several CRMs."""

    def __init__(self, skews: list[int], priorities: list[int], addressed: bool = True) -> None:
        self.crms = [Crm(f"crm{n}", skew, addressed) for n, skew in enumerate(skews)]
        self.priorities = {"app": 10, **{crm.name: p for crm, p in zip(self.crms, priorities, strict=True)}}
        self.memory = Memory(self._plan())
        self.rows: list[Inbound] = []
        self.now = 1_000 * SECOND
        self.said: dict[str, list[Genuine]] = {"city": [], "plan": []}
        self._seen: set[str] = set()
        #: How many were sent so far.
        self.messages = 0
        self.app("plan", "free", 0)

    def _plan(self) -> Plan:
        everybody = {"everybody": Audience.model_validate({"match": {"not": {"event": "Nothing"}}})}
        ours = tuple((name, Mapped("attribute", path)) for name, path in FIELDS.items())
        fields = (("email", Mapped("identifier", "email")), *ours)
        both, mirrored = frozenset({"add", "remove"}), frozenset(FIELDS)
        destinations = tuple(
            Destination(crm.name, "everybody", "", fields, both, 100, 0, mirrored, mirrored)
            for crm in self.crms
        )
        pairs = {crm.name: (Pair(crm.name, FIELDS, {"made_by": "us"}),) for crm in self.crms}
        return Plan(compile_audiences(everybody), self.priorities, {"everybody": destinations}, pairs=pairs)

    def app(self, attribute: str, value: str, lag: int) -> None:
        """Our app says something that happened `lag` ago."""
        self._take(
            Record(
                feed="app",
                message_id=f"app-{len(self.rows)}",
                type="identify",
                occurred_at=self.now - lag,
                identifiers=(Identifier(*EMAIL),),
                body=msgspec.Raw(b"{}"),
                traits={attribute: value},
            )
        )

    def hear(self, record: Record) -> None:
        self._take(record)

    def _take(self, record: Record) -> None:
        """As the log does: what it has already is nothing new."""
        self.now += 1
        if record_id(record.feed, record.message_id) in self._seen:
            return
        self._seen.add(record_id(record.feed, record.message_id))
        self.rows.append(Inbound(len(self.rows) + 1, self.now, record))
        outcome = self.memory.take_in([self.rows[-1]])
        if record.feed == "app" or (record.type == "track" and record.properties["made_by"] != "us"):
            rank = (self.priorities[record.feed], min(record.occurred_at, self.now), self.rows[-1].position)
            for name, value in record.traits.items():
                self.said[FIELDS.get(name, name)].append(Genuine(rank, value))
        for entry in outcome.entries:
            if entry.topic == "outbound.requested":
                one = msgspec.json.decode(entry.state)
                next(crm for crm in self.crms if crm.name == one["connection"]).requests.append(one)
                self.messages += 1

    def settle(self, snapshots: bool) -> None:
        """All that is on its way arrives; after it, where wanted, a snapshot of each CRM."""
        self._arrive()
        if snapshots:
            for crm in self.crms:
                self.hear(crm.snapshot())
            self._arrive()

    def _arrive(self) -> None:
        turns = 0
        while any(crm.requests or crm.webhooks for crm in self.crms):
            turns += 1
            assert turns < 20, "they never fall silent"
            for crm in self.crms:
                while crm.requests:
                    self.now += SECOND
                    crm.take_request(self.now)
                while crm.webhooks:
                    self.hear(crm.webhooks.pop(0))

    def ours(self) -> dict[str, str]:
        """What we hold, by the CRMs' names."""
        attributes = self.memory.profile(Identifier(*EMAIL)).attributes
        return {name: attributes[ours].value for name, ours in FIELDS.items() if ours in attributes}
