"""Company: requests that were committed together are waited for, and none is waited for beyond them."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import create_engine

from adapters.log.append import Appended
from domain.records import Entry, derive_id
from runtime import group_commit
from runtime.group_commit import GroupCommit

#: Longer than anything here takes, in seconds.
LONG = 60.0


class Noted(GroupCommit):
    """Commits nowhere, and notes how many entries it would have committed together."""

    def __init__(self) -> None:
        super().__init__(create_engine("postgresql+psycopg://nowhere"))
        self.together: list[int] = []

    def _commit(self, entries: list[Entry]) -> list[Appended]:
        self.together.append(len(entries))
        return [Appended(1, True)] * len(entries)


def entry(name: str) -> Entry:
    return Entry(derive_id("test", name), 1, "track.Seen", None, b"")


def test_who_has_as_much_company_as_the_last_had_is_committed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "LINGER_S", 2 * LONG)

    async def run() -> list[int]:
        commit = Noted()
        running = asyncio.create_task(commit.run())
        async with asyncio.timeout(LONG):
            await commit.append([entry("alone")])
            for turn in range(3):
                await asyncio.gather(*(commit.append([entry(f"{turn}.{n}")]) for n in range(4)))
        running.cancel()
        return commit.together

    assert asyncio.run(run()) == [1, 4, 4, 4]


def test_who_comes_before_the_others_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "LINGER_S", LONG)

    async def run() -> list[int]:
        commit = Noted()
        running = asyncio.create_task(commit.run())
        await asyncio.gather(*(commit.append([entry(f"first.{n}")]) for n in range(3)))
        early = asyncio.create_task(commit.append([entry("early")]))
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.gather(early, *(commit.append([entry(f"late.{n}")]) for n in range(2)))
        running.cancel()
        return commit.together

    assert asyncio.run(run()) == [3, 3]
