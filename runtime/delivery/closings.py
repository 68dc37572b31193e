"""The outcomes of one batch as they come: at the end one for each of its records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from domain.outbound import Outbound, Outcome, Status
from runtime.delivery.transforming import what_is_sent


class Closings:
    """What became of the records of a batch. Those that something else is sent of than was requested are `transformed`,
    by id."""

    def __init__(self) -> None:
        self.transformed: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}

    def close(
        self,
        record: Outbound,
        status: Status,
        reason: str,
        attempts: int = 0,
        reference: str = "",
        again_at: int = 0,
        superseded_by: str = "",
    ) -> None:
        counted: dict[str, Any] = {}
        if record.channel:
            counted = {"channel": record.channel, "profile": record.profile, "cause": record.cause}
        # What asks to delete somebody must be kept nowhere.
        if record.id in self.transformed and record.change != "delete":
            counted["transformed"] = what_is_sent(record)
        self._outcomes[record.id] = Outcome(
            id=record.id,
            connection=record.connection,
            status=status,
            reason=reason,
            reference=reference,
            attempts=attempts,
            again_at=again_at,
            superseded_by=superseded_by,
            **counted,
        )

    def open(self, records: Iterable[Outbound]) -> list[Outbound]:
        """Those of the records that have no outcome yet."""
        return [record for record in records if record.id not in self._outcomes]

    def of(self, records: Sequence[Outbound]) -> list[Outcome]:
        """The records' outcomes, in their order."""
        return [self._outcomes[record.id] for record in records]
