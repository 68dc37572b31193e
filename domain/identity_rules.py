"""The rules that a workspace resolves identities by: its kinds of identifiers, and values that name nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Final, Literal

import msgspec

from domain.identifiers import KINDS, VENDOR, Kind
from domain.records import Entry, Identifier, Record, entry_of, node_id

#: What programs send where they have no value. Compared without regard to case.
BLOCKED: Final[frozenset[str]] = frozenset(
    {
        "-",
        "--",
        "0",
        "-1",
        "[object object]",
        "anonymous",
        "default",
        "deleted",
        "empty",
        "example@example.com",
        "false",
        "guest",
        "n/a",
        "na",
        "nan",
        "nil",
        "no@email.com",
        "none",
        "noreply@example.com",
        "not set",
        "(not set)",
        "null",
        "test",
        "test@example.com",
        "test@test.com",
        "true",
        "undefined",
        "unknown",
        # The Android id that one maker once gave to every device.
        "9774d56d682e549c",
    }
)
#: What a value of zeros alone is made of.
_ZEROS: Final = "0-+: "
#: Rankings of kinds that are kept in memory.
_REMEMBERED: Final = 1_000
#: Ways to name somebody that are kept in memory: of each about 600 bytes.
_NODES_REMEMBERED: Final = 20_000
#: What becomes of what a person did before they were known: it is theirs, or stays apart.
Login = Literal["joins", "begins_anew"]
#: Which profile a record is about where its identifiers lead to several that cannot be one: that of the identifier
#: with the lowest priority number, or that to which the most of them lead.
Match = Literal["priority", "best"]
#: Whose a record is that comes without a user from a device that several have used.
SharedDevice = Literal["first_user", "most_recent_user"]


class Rules:
    """A workspace's rules. Pure but for its memory of how kinds rank and what records name."""

    def __init__(
        self,
        kinds: Mapping[str, Kind] = {},
        blocked: Iterable[str] = (),
        login: Login = "joins",
        match: Match = "priority",
        shared_device: SharedDevice = "first_user",
    ) -> None:
        self.login = login
        self.match = match
        self.most_recent_user = shared_device == "most_recent_user"
        self._kinds = {**KINDS, **kinds}
        self._custom = frozenset(kinds) - frozenset(KINDS)
        self._blocked = BLOCKED | {value.strip().casefold() for value in blocked}
        self._ranked: dict[tuple[str, ...], list[int]] = {}
        self._nodes: dict[tuple[str, tuple[Identifier, ...], str | None], tuple[str, ...]] = {}

    def kind(self, name: str) -> Kind:
        """The rules of a kind; a kind that nobody declared is a vendor's."""
        return self._kinds.get(name, VENDOR)

    def known(self, name: str) -> bool:
        """Whether an identifier of this kind says who somebody is, and not only which device they use."""
        return self.kind(name).priority < self.kind("anonymous_id").priority

    def blocked(self, identifier: Identifier) -> bool:
        """Whether the value names nobody: it is on the list, or is made of zeros alone."""
        value = identifier.value
        return value.casefold() in self._blocked or not value.strip(_ZEROS)

    def any_blocked(self, values: Sequence[str]) -> bool:
        """Whether one of many identifiers with these values is `blocked`."""
        listed = not self._blocked.isdisjoint(map(str.casefold, values))
        return listed or not all(map(str.strip, values, repeat(_ZEROS)))

    def ranked(self, kinds: tuple[str, ...]) -> Sequence[int]:
        """Places in a record's identifiers of these kinds, in the order in which they say whose record it is."""
        places = self._ranked.get(kinds)
        if places is None:
            if len(self._ranked) >= _REMEMBERED:
                self._ranked.clear()
            ranks = [(not kind.merges, kind.priority) for kind in map(self.kind, kinds)]
            places = self._ranked[kinds] = sorted(range(len(kinds)), key=ranks.__getitem__)
        return places

    def nodes(self, feed: str, identifiers: tuple[Identifier, ...], subject: str | None) -> tuple[str, ...]:
        """The nodes of what an understood record names, where each of them names somebody and one is the row's subject,
        as in nearly every record; otherwise none."""
        key = feed, identifiers, subject
        found = self._nodes.get(key)
        if found is None:
            if len(self._nodes) >= _NODES_REMEMBERED:
                self._nodes.clear()
            found = tuple(node_id(identifier) for identifier in identifiers)
            if subject not in found or any(self.blocked(identifier) for identifier in identifiers):
                found = ()
            self._nodes[key] = found
        return found

    def aliases(self, kinds: Mapping[str, Iterable[str]], feeds: Iterable[str]) -> list[Identifier]:
        """Declared kinds' values as the feeds may have called them before they were understood."""
        if not self._custom:
            return []
        return [
            Identifier(f"{feed}.{kind}", value)
            for kind, values in kinds.items()
            if kind in self._custom
            for value in values
            for feed in feeds
        ]

    def meant(self, identifier: Identifier) -> Identifier:
        """The identifier under its declared kind, where it is named as a feed names it (`app.loyalty_id`)."""
        kind = identifier.kind.partition(".")[2]
        return Identifier(kind, identifier.value) if kind in self._custom else identifier

    def understood(self, record: Record) -> Record:
        """The record with its vendors' ids under the kinds that the workspace declares for them: an id of a
        declared kind is the same whichever feed it comes from."""
        if not self._custom or not any("." in identifier.kind for identifier in record.identifiers):
            return record
        prefix = f"{record.feed}."
        identifiers = tuple(
            Identifier(name, value)
            if kind.startswith(prefix) and (name := kind.removeprefix(prefix)) in self._custom
            else Identifier(kind, value)
            for kind, value in record.identifiers
        )
        return msgspec.structs.replace(record, identifiers=identifiers)


#: The rules of a workspace that says nothing about identities.
DEFAULT_RULES: Final = Rules()


def leading(identifiers: Sequence[Identifier], rules: Rules) -> int | None:
    """Which of a record's identifiers says first whose record it is; `None` where none can.

    It always becomes, or is, one of that person's (`domain.identity`), so it is the record's subject, and
    erasing the person finds every record of theirs.
    """
    for place in rules.ranked(tuple([kind for kind, _ in identifiers])):
        if not rules.blocked(identifiers[place]):
            return place
    return None


def entry_for(record: Record, rules: Rules = DEFAULT_RULES) -> Entry:
    """The row that a record becomes, led by the identifier that leads it by these rules."""
    return entry_of(record, _leader(record.identifiers, rules.understood(record).identifiers, rules))


@lru_cache(maxsize=1_000)
def _leader(
    identifiers: tuple[Identifier, ...], understood: tuple[Identifier, ...], rules: Rules
) -> Identifier | None:
    """Remembered for a moment, as what somebody does comes in runs."""
    place = leading(understood, rules)
    return identifiers[place] if place is not None else None


def leader_of(record: Record, subject: str, rules: Rules) -> Identifier | None:
    """The identifier that a row's subject is, also by the name that its feed has for a declared kind; `None`
    where that names nobody, and the record is nobody's."""
    for identifier in rules.understood(record).identifiers:
        if node_id(identifier) == subject or any(
            node_id(name) == subject
            for name in rules.aliases({identifier.kind: (identifier.value,)}, (record.feed,))
        ):
            return None if rules.blocked(identifier) else identifier
    return None
