"""Records out of a request and into the log; what was refused among them into quarantine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from adapters.log.append import Appended
from domain.records import Record
from feeds.feed import PartlyInvalidError, Problem, Refused
from runtime.admission import admit
from runtime.ports import Ports
from runtime.set_aside import quarantined, set_aside

_SHOWN = 100


class Taken(NamedTuple):
    """What became of a request: where its records stand, and what was wrong with the rest of it."""

    appended: Sequence[Appended]
    problems: Sequence[Problem]

    @property
    def refused(self) -> list[dict[str, Any]]:
        """The first problems, as an answer shows them."""
        return [problem._asdict() for problem in self.problems[:_SHOWN]]


async def take_in(
    ports: Ports, feed: str, headers: Mapping[str, str], read: Callable[[], Sequence[Record]]
) -> Taken:
    """Takes in what `read` gives, and keeps what it refused. Raises `FeedError`s where nothing is good."""
    refused: Sequence[Refused] = ()
    try:
        records = read()
    except PartlyInvalidError as error:
        records, refused = error.records, error.refused
    if refused:
        now = ports.now()
        items = [quarantined(feed, one, headers, now) for one in refused]
        await set_aside(ports.append, ports.put_aside, items)
    admitted = admit(ports.workspace().plans, records, ports.now(), ports.workspace().rules)
    if admitted.aside:
        await ports.put_aside(admitted.aside)
    appended = await ports.append(admitted.entries)
    return Taken(appended, [problem for one in refused for problem in one.problems])
