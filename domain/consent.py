"""What a person said to a purpose, and what holds where they have said nothing: the purpose's default, which may be
another one in a jurisdiction that the person is in by their attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field

from domain.audiences.comparisons import Where
from domain.audiences.definition import AttributeCondition
from domain.audiences.matching import matcher, value_at
from domain.records import Record
from domain.secret_ref import Model, Name

#: What holds of who has said nothing. Of `unknown` it is neither that they have given consent nor that they refused.
Default = Literal["given", "refused", "unknown"]
#: The strictest first.
STRICTEST: Final[tuple[Default, ...]] = ("refused", "unknown", "given")
_MEANS: Final[Mapping[Default, bool | None]] = {"given": True, "refused": False, "unknown": None}


class Consent(NamedTuple):
    """A consent given or refused, when that was said (microseconds) and where it stands in the log; by which feed it
    came, under which law, and to which version of which document, as far as that was said."""

    given: bool
    occurred_at: int
    position: int
    feed: str = ""
    jurisdiction: str = ""
    document: str = ""

    @property
    def rank(self) -> tuple[int, int]:
        """Of several, the highest holds."""
        return (self.occurred_at, self.position)


def consents_of(record: Record, recorded_at: int, position: int) -> dict[str, Consent]:
    """Purpose → what a record says of it. What is said of the future is taken as of its receipt."""
    found = {}
    for purpose, given in record.consent.items():
        terms = record.consent_terms.get(purpose)
        if terms is None:
            found[purpose] = Consent(given, min(record.occurred_at, recorded_at), position, record.feed)
        else:
            at = record.occurred_at if terms.at is None else terms.at
            by = (record.feed, terms.jurisdiction, terms.document)
            found[purpose] = Consent(given, min(at, recorded_at), position, *by)
    return found


class Purpose(Model):
    """What people consent to. `default` holds of who has said nothing, unless they are in a jurisdiction that has a
    default of its own in `in`."""

    default: Default = "unknown"
    in_: Annotated[dict[Name, Default], Field(alias="in")] = {}


class Jurisdiction(Model):
    """Where a law holds: for people whose attributes are `where`."""

    where: Annotated[Where, Field(min_length=1)]


class Policies:
    """The defaults of a workspace's purposes; never changed. A purpose that is not declared is `unknown`."""

    def __init__(
        self, purposes: Mapping[str, Purpose] = {}, jurisdictions: Mapping[str, Jurisdiction] = {}
    ) -> None:
        self.purposes = purposes
        self._conditions = {name: _conditions(one.where) for name, one in jurisdictions.items()}
        self._checks = {
            name: [(condition.attribute, matcher(condition)) for condition in conditions]
            for name, conditions in self._conditions.items()
        }

    def default(self, purpose: str) -> Purpose:
        """What is declared of a purpose."""
        return self.purposes.get(purpose, _UNDECLARED)

    def conditions(self, jurisdiction: str) -> tuple[AttributeCondition, ...]:
        """All that holds of who is in a jurisdiction."""
        return self._conditions[jurisdiction]

    def attributes(self, purpose: str) -> frozenset[str]:
        """The attributes that a purpose's default goes by."""
        paths = (c.attribute for name in self.default(purpose).in_ for c in self._conditions[name])
        return frozenset(name for path in paths for name in (path, path.split(".")[0]))

    def by_default(self, purpose: str, attributes: Mapping[str, Any]) -> bool | None:
        """Whether somebody with these attributes who has said nothing has given (`True`) or refused (`False`) consent.
        Who is in several jurisdictions has the strictest default of theirs."""
        declared = self.default(purpose)
        if not declared.in_:
            return _MEANS[declared.default]
        theirs = {default for name, default in declared.in_.items() if self._holds(name, attributes)}
        return _MEANS[next((default for default in STRICTEST if default in theirs), declared.default)]

    def _holds(self, jurisdiction: str, attributes: Mapping[str, Any]) -> bool:
        return all(meets(value_at(attributes, path)) for path, meets in self._checks[jurisdiction])


_UNDECLARED: Final = Purpose()
#: The policies of a workspace that declares no purposes.
NO_POLICIES: Final = Policies()


def _conditions(where: Where) -> tuple[AttributeCondition, ...]:
    return tuple(
        AttributeCondition.model_validate(
            {"attribute": path} | comparison.model_dump(by_alias=True, exclude_unset=True)
        )
        for path, comparison in where.items()
    )
