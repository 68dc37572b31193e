"""A file's rows as batches of entries: read, mapped and judged by a tracking plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from adapters.files import File
from adapters.log.ahead import SealedAhead
from adapters.quarantine import Quarantined
from domain.entries import entries_for
from domain.identity_rules import DEFAULT_RULES, Rules, entry_for
from domain.records import Entry
from domain.tracking_plan import PlanOfFeed
from feeds.blocks import Block
from feeds.files import read_blocks
from feeds.mapping import Mapping
from feeds.rows import FileError, Rejected
from feeds.table import Mapped, block_reader
from runtime.admission import CODE, marked, quarantined
from runtime.set_aside import told_of


class Batch(NamedTuple):
    """Rows up to the one with `number`: one transaction. With them, `read` bytes of the file have been read. Where the
    entries were sealed `ahead`, they are there and not in `entries`."""

    number: int
    entries: Sequence[Entry]
    rejected: Sequence[Rejected]
    aside: Sequence[Quarantined] = ()
    read: int = 0
    ahead: SealedAhead | None = None


def mapped(
    file: File, feed: str, mapping: Mapping, began_at: int, after: int = 0
) -> Iterator[tuple[int, Mapped]]:
    """Block by block the number of its last row, and what became of the rows behind number `after`.

    Raises `FileError`.
    """
    read = block_reader(feed, mapping, file.digest, began_at)
    blocks = read_blocks(file.kind, file.stream, mapping.delimiter)
    try:
        # By `map`, since a loop's variables would hold a block and what became of it while the next one is read.
        yield from map(partial(_mapped, read, after), filter(lambda block: block.last > after, blocks))
    except FileError as error:
        raise FileError(f"{file.name}: {error}") from error
    except OSError as error:
        # A store that ends the reading, a disk's fault, a broken .gz: all that was read before is kept.
        reason = f"{type(error).__name__}: {error}"
        raise FileError(f"{file.name}: the reading broke off ({reason})") from error


def _mapped(read: Callable[[Block], Mapped], after: int, block: Block) -> tuple[int, Mapped]:
    return block.last, read(block).behind(after)


def batches(
    file: File,
    feed: str,
    mapping: Mapping,
    began_at: int,
    after: int,
    plan: PlanOfFeed | None = None,
    rules: Rules = DEFAULT_RULES,
) -> Iterator[Batch]:
    """The rows behind number `after`. Those that a tracking plan blocks are rejected."""
    found = mapped(file, feed, mapping, began_at, after)
    return map(partial(_batch, file, plan, rules, began_at), found)


def _batch(
    file: File, plan: PlanOfFeed | None, rules: Rules, began_at: int, read: tuple[int, Mapped]
) -> Batch:
    last, found = read
    if plan is None:
        return Batch(last, entries_for(found.records, rules), found.rejected, (), file.tell())
    return _judged(last, found, plan, rules, began_at)._replace(read=file.tell())


def _judged(last: int, found: Mapped, plan: PlanOfFeed, rules: Rules, now: int) -> Batch:
    entries: list[Entry] = []
    rejected = list(found.rejected)
    aside: list[Quarantined] = []
    for number, record in zip(found.numbers, found.records, strict=True):
        verdict = plan.judge(record)
        if verdict is None:
            entries.append(entry_for(record, rules))
        elif verdict.policy == "mark":
            entries.append(entry_for(marked(record, verdict), rules))
        elif verdict.policy == "block":
            row = msgspec.json.decode(record.body)["row"]
            rejected.append(Rejected(number, CODE, verdict.reason, row))
        else:
            aside.append(quarantined(record, verdict, now))
            entries.append(told_of(aside[-1]))
    return Batch(last, entries, sorted(rejected, key=lambda one: one.number), aside)
