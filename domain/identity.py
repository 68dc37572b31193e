"""Whose record is it: which profile its identifiers lead to, and which profiles they show to be one.

A user id is a person's own: a profile has one, unless an alias call says that two are the same person.
An anonymous id that a known user has left behind on a shared device stays with that user. Guards keep
profiles from running together: values that name nobody, kinds that join nobody, limits for each kind. A workspace
chooses what a login does with what was there before, and which of several profiles a record is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from domain.identity_rules import Rules, leading
from domain.profiles import Profile, nodes
from domain.records import Identifier, node_id

BLOCKED_VALUE: Final = "the value is blocked: it names nobody"
OTHER_PERSON: Final = "it belongs to a profile with another {kind}"
OVER_LIMIT: Final = "a profile has at most {limit} of the kind {kind}"
#: In place of a profile: the identifier was of somebody whose records are erased, as it was at that position.
GONE: Final = ""
WAS_ERASED: Final = "it belongs to a person who was erased"
UNMERGED: Final = "it was unmerged from this person at position {position}; an alias call joins them again"
SHARED: Final = "the device is shared with another person"
JOINS_NOBODY: Final = "it belongs to another profile, and the kind {kind} joins none"


class Refusal(NamedTuple):
    """An identifier that does not become the person's, and why."""

    identifier: Identifier
    reason: str


class Resolution(NamedTuple):
    """`profile` is whose record it is, `None` for a person not seen before; `merge` are profiles that turn
    out to be the same person; `link` are identifiers that become that person's; `refused` are identifiers
    that do not. A record with neither `profile` nor `link` is nobody's."""

    profile: str | None
    merge: tuple[str, ...]
    link: tuple[Identifier, ...]
    refused: tuple[Refusal, ...]


def resolve(
    identifiers: tuple[Identifier, ...],
    explicit: bool,
    graph: Mapping[str, str],
    profiles: Mapping[str, Profile],
    rules: Rules,
    leader: Identifier | None = None,
    position: int = 0,
    apart: Mapping[str, Mapping[str, int]] = {},
) -> Resolution:
    """Resolves a record's identifiers. `graph` maps node ids to profile ids, for every node known, and to
    `GONE`. `explicit` is for an alias call, which says itself that two are one. `leader` is the identifier
    that the row's subject is; whosever record it is, that identifier is theirs. It must not be blocked.
    `position` is the record's: an alias call joins again what was unmerged before it. `apart` says of nodes that
    may be nobody's yet from which others they were unmerged."""
    usable: list[Identifier] = [i for i in identifiers if not rules.blocked(i)]
    if leader is None and (first := leading(usable, rules)) is not None:
        leader = usable[first]
    if leader is not None and usable[0] != leader:
        usable.remove(leader)
        usable.insert(0, leader)
    holders = [graph.get(node_id(identifier)) for identifier in usable]
    refused: tuple[Refusal, ...] = ()
    if len(usable) < len(identifiers):
        refused = tuple(Refusal(i, BLOCKED_VALUE) for i in identifiers if i not in usable)
    # Nearly every record: everything it names is known, and is one person's.
    if holders and holders[0] and holders.count(holders[0]) == len(holders):
        return Resolution(holders[0], (), (), refused)
    # And of all others most: somebody not seen before, by one name.
    if holders == [None] and not apart:
        return Resolution(None, (), (usable[0],), refused)
    return _Decision(usable, holders, explicit, profiles, rules, position, apart).decide(refused)


class _Side(NamedTuple):
    """Nodes that would become one person's together, and what they were unmerged from."""

    nodes: frozenset[str]
    apart: Mapping[str, Mapping[str, int]]


class _Decision:
    def __init__(
        self,
        identifiers: Sequence[Identifier],
        holders: Sequence[str | None],
        explicit: bool,
        profiles: Mapping[str, Profile],
        rules: Rules,
        position: int,
        apart: Mapping[str, Mapping[str, int]],
    ) -> None:
        self.pairs = list(zip(identifiers, holders, strict=True))
        self.explicit = explicit
        self.profiles = profiles
        self.rules = rules
        self.position = position
        self.apart = apart
        #: Whether who is known and who is not stay apart.
        self.begins_anew = rules.login == "begins_anew" and not explicit
        #: By what leads it alone: that always is the person's, whatever else the record says.
        self.says_who = bool(identifiers) and rules.known(identifiers[0].kind)
        #: Nearly nobody was ever unmerged.
        self.unmerged = bool(apart) or any(profiles[holder].apart for holder in holders if holder)

    def decide(self, refused: tuple[Refusal, ...]) -> Resolution:
        owner = self._owner()
        counts: Counter[str] = Counter()
        if owner is not None:
            counts.update({kind: len(values) for kind, values in self.profiles[owner].identifiers.items()})
        known = self.says_who or (owner is not None and self._known(owner))
        merge: list[str] = []
        link: dict[Identifier, None] = {}
        refusals = list(refused)
        for identifier, holder in self.pairs:
            if identifier in link or (holder and (holder == owner or holder in merge)):
                continue
            if holder and self.begins_anew and self._known(holder) != known:
                continue
            reason = self._refusal(identifier, holder, owner, counts)
            if holder and known and self._shared(identifier, holder):
                reason = SHARED
            if not reason and self.unmerged:
                reason = self._unmerged(self._side(identifier, holder), self._sides(owner, merge, link))
            if reason:
                refusals.append(Refusal(identifier, reason))
            elif holder is None:
                link[identifier] = None
                counts[identifier.kind] += 1
            else:
                merge.append(holder)
                counts.update({kind: len(v) for kind, v in self.profiles[holder].identifiers.items()})
        return Resolution(owner, tuple(merge), tuple(link), tuple(refusals))

    def _owner(self) -> str | None:
        """The holder that the leading identifier leads to or, where there is none, that the others do: by priority, or
        the most of them; if that one can be meant."""
        joining = [pair for pair in self.pairs[1:] if self.rules.kind(pair[0].kind).merges]
        others = joining or ([] if self._joins(self.pairs[:1]) else self.pairs[1:])
        ranked = sorted(others, key=lambda pair: self.rules.kind(pair[0].kind).priority)
        best = self.rules.match == "best"
        if best:
            led = Counter(holder for _, holder in ranked)
            ranked.sort(key=lambda pair: -led[pair[1]] if pair[1] else 0)
        ranked = [*self.pairs[:1], *ranked]
        for number, (identifier, holder) in enumerate(ranked):
            before = [i for i, _ in (ranked if best and number else ranked[:number])]
            if not holder or self._contradicts(holder, before):
                continue
            if self.begins_anew and self.says_who and not self._known(holder):
                continue
            if self.says_who and self._shared(identifier, holder):
                continue
            if self.unmerged and self._unmerged(self._side(None, holder), self._sides(None, (), before)):
                continue
            if number == 0 or not self._full(holder, ranked[0]):
                return holder
        return None

    def _side(self, identifier: Identifier | None, holder: str | None) -> _Side:
        """Whom an identifier would bring along: all of its holder, or itself."""
        if holder:
            profile = self.profiles[holder]
            return _Side(frozenset(nodes(profile)), profile.apart)
        node = node_id(identifier) if identifier is not None else ""
        return _Side(frozenset((node,)), {node: self.apart[node]} if node in self.apart else {})

    def _sides(self, owner: str | None, merge: Sequence[str], link: Iterable[Identifier]) -> list[_Side]:
        holders = [owner, *merge] if owner is not None else [*merge]
        return [*(self._side(None, holder) for holder in holders), *(self._side(one, None) for one in link)]

    def _unmerged(self, side: _Side, others: Iterable[_Side]) -> str:
        """Why a side cannot join these: one of its nodes was unmerged from one of theirs, and this record is no alias
        call that says otherwise since."""
        for other in others:
            for ours, theirs in ((side, other), (other, side)):
                places = [
                    at for away in ours.apart.values() for node, at in away.items() if node in theirs.nodes
                ]
                last = max(places, default=0)
                if last and not (self.explicit and self.position > last):
                    return UNMERGED.format(position=last)
        return ""

    def _known(self, holder: str) -> bool:
        """Whether it is known who the profile's person is, and not only which devices they use."""
        identifiers = self.profiles[holder].identifiers
        return any(values and self.rules.known(kind) for kind, values in identifiers.items())

    def _shared(self, identifier: Identifier, holder: str) -> bool:
        """Whether somebody known has used a device that makes nobody else known one with them."""
        parts = self.rules.most_recent_user and not self.explicit
        return parts and not self.rules.known(identifier.kind) and self._known(holder)

    def _joins(self, pairs: Sequence[tuple[Identifier, str | None]]) -> bool:
        return any(self.rules.kind(identifier.kind).merges for identifier, _ in pairs)

    def _full(self, holder: str, leader: tuple[Identifier, str | None]) -> bool:
        """Whether the profile has no room for the identifier that leads the record: then it is somebody else's."""
        kind, value = leader[0]
        held = self.profiles[holder].identifiers.get(kind, {})
        return not self.explicit and value not in held and len(held) >= self.rules.kind(kind).limit

    def _contradicts(self, holder: str, said: Sequence[Identifier]) -> bool:
        """Whether the profile has a value of its own where the record says another, of a kind of which a
        person has one."""
        if self.explicit:
            return False
        held = self.profiles[holder].identifiers
        return any(
            self.rules.kind(i.kind).limit == 1 and held.get(i.kind) and i.value not in held[i.kind]
            for i in said
        )

    def _refusal(
        self, identifier: Identifier, holder: str | None, owner: str | None, counts: Counter[str]
    ) -> str:
        kind = self.rules.kind(identifier.kind)
        if holder == GONE:
            return WAS_ERASED
        if holder is None:
            full = counts[identifier.kind] >= kind.limit and not self.explicit
            return OVER_LIMIT.format(limit=kind.limit, kind=identifier.kind) if full else ""
        if not kind.merges:
            return JOINS_NOBODY.format(kind=identifier.kind)
        if self.explicit and owner is not None:
            return ""
        held = self.profiles[holder].identifiers
        if owner is None:
            said = [i for i, _ in self.pairs if self._contradicts(holder, [i])]
            return OTHER_PERSON.format(kind=said[0].kind if said else identifier.kind)
        for name, values in held.items():
            limit = self.rules.kind(name).limit
            # Two that an alias call has joined have more than one user id, and may still be met as anonymous.
            if values and counts[name] and len(values) + counts[name] > limit:
                told = OTHER_PERSON if limit == 1 else OVER_LIMIT
                return told.format(limit=limit, kind=name)
        return ""
