"""What the HTTP API reaches through its ports: the group commit, and the store, which is asked in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Engine

from adapters.database import STORE_ERRORS
from adapters.log.append import append
from adapters.projections.definitions import load_workspace
from adapters.quarantine import Quarantined, put_aside
from runtime.audiences.shown import show_audiences, show_explained, show_members
from runtime.definitions import open_definitions
from runtime.erase import parse_identifier, request_erasure
from runtime.erasures import certificate
from runtime.errors import StoreUnavailable
from runtime.group_commit import RETRY_AFTER_S, GroupCommit
from runtime.leading import tick
from runtime.loop_measures import measure_loops
from runtime.ports import Ports, WorkspaceView
from runtime.profiles import show_profile
from runtime.status import read_status
from runtime.timeline import show_timeline
from runtime.trace import trace
from runtime.workspace_view import view_of

#: How long a changed definition may take to hold at the door, in seconds.
REFRESH_S: Final = 0.5
#: How long the store may take to answer a question, in seconds.
ASKING_S: Final = 60.0

A = TypeVar("A")
T = TypeVar("T")

log = structlog.get_logger("serve")


class HttpDoor:
    """What the HTTP API reaches through its ports."""

    def __init__(
        self, engine: Engine, commit: GroupCommit, environ: Mapping[str, str], lake: str, url: str
    ) -> None:
        self._engine = engine
        self._url = url
        self._lake = lake
        self._commit = commit
        self._environ = environ
        self._view: WorkspaceView = view_of(None, environ)
        self._refreshing = asyncio.Lock()
        self._begun = 0.0

    def ports(self, api_token: str, public_url: str) -> Ports:
        return Ports(
            append=self._commit.append,
            workspace=self.workspace,
            refresh=self.refresh,
            status=self.status,
            advance_clock=self.advance_clock,
            put_aside=self.put_aside,
            now=lambda: time.time_ns() // 1_000,
            api_token=api_token,
            profile=self.profile,
            timeline=self.timeline,
            attribute=self.attribute,
            trace=self.trace,
            loops=self.loops,
            lift=self.lift,
            audiences=self.audiences,
            members=self.members,
            explain=self.explain,
            erase=self.erase,
            certificate=self.certificate,
            unmerge=self.unmerge,
            unmerged=self.unmerged,
            public_url=public_url,
            full=self._commit.full,
        )

    def workspace(self) -> WorkspaceView:
        return self._view

    async def keep_up(self) -> None:
        """Keeps up with the definitions, as the pipeline takes them in."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable:
                log.warning("the store does not answer")
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Loads what is declared now; those who ask at the same time share one look."""
        asked = asyncio.get_running_loop().time()
        async with self._refreshing:
            if self._begun < asked:
                self._begun = asyncio.get_running_loop().time()
                self._view = await self._asking(self._load, None)

    def _load(self, _: None) -> WorkspaceView:
        with self._engine.connect() as connection:
            return view_of(load_workspace(connection), self._environ)

    async def status(self) -> dict[str, Any]:
        return await self._asking(read_status, self._engine)

    async def profile(self, who: str, place: str | None) -> dict[str, Any]:
        return await self._asking(lambda said: self._profile(said, place), who)

    def _profile(self, who: str, place: str | None) -> dict[str, Any]:
        if place is None:
            return show_profile(self._engine, who)
        from runtime.profile_then import show_profile_then

        with open_definitions(self._url) as definitions:
            return show_profile_then(self._engine, who, place, definitions.change_of)

    async def timeline(self, who: str, before: int | None, limit: int) -> dict[str, Any]:
        return await self._asking(lambda said: show_timeline(self._engine, said, before, limit), who)

    async def attribute(self, who: str, name: str) -> dict[str, Any]:
        return await self._asking(lambda said: self._attribute(said, name), who)

    def _attribute(self, who: str, name: str) -> dict[str, Any]:
        from runtime.profile_then import show_attribute

        with open_definitions(self._url) as definitions:
            return show_attribute(self._engine, who, name, definitions.change_of)

    async def trace(self, which: str) -> dict[str, Any]:
        return await self._asking(lambda said: trace(self._engine, said), which)

    async def audiences(self) -> dict[str, Any]:
        return await self._asking(show_audiences, self._engine)

    async def members(self, name: str, after: str, limit: int) -> dict[str, Any]:
        return await self._asking(lambda said: show_members(self._engine, said, after, limit), name)

    async def explain(self, name: str, who: str, place: str | None) -> dict[str, Any]:
        return await self._asking(lambda said: self._explain(name, said, place), who)

    def _explain(self, name: str, who: str, place: str | None) -> dict[str, Any]:
        with open_definitions(self._url) as definitions:
            return show_explained(self._engine, name, who, place, definitions.change_of)

    async def loops(self) -> dict[str, Any]:
        return await self._asking(measure_loops, self._engine)

    async def lift(self, name: str) -> dict[str, Any]:
        return await self._asking(self._lift, name)

    def _lift(self, name: str) -> dict[str, Any]:
        from adapters.history.tables import History
        from runtime.loop_lift import measure_lift

        with open_definitions(self._url) as definitions:
            return measure_lift(self._engine, definitions, History(self._lake), name)

    async def erase(self, who: str) -> str:
        return await self._asking(self._erase, who)

    def _erase(self, who: str) -> str:
        with self._engine.begin() as connection:
            return request_erasure(connection, parse_identifier(who), "the HTTP API")

    async def unmerge(self, who: str, apart_from: str) -> str:
        return await self._asking(lambda said: self._unmerge(said, apart_from), who)

    def _unmerge(self, who: str, apart_from: str) -> str:
        from runtime.unmerge_request import request_unmerge

        with self._engine.begin() as connection:
            return request_unmerge(connection, who, apart_from, "the HTTP API")

    async def unmerged(self, id: str) -> dict[str, Any]:
        return await self._asking(self._unmerged, id)

    def _unmerged(self, id: str) -> dict[str, Any]:
        from runtime.unmerge_request import outcome_of

        return outcome_of(self._engine, id)

    async def certificate(self, id: str) -> dict[str, Any]:
        return await self._asking(self._certificate, id)

    def _certificate(self, id: str) -> dict[str, Any]:
        # Only here, since what reads the lake takes 60 MB.
        from adapters.history.tables import History

        return certificate(self._engine, History(self._lake), id)

    async def advance_clock(self, to_us: int) -> int:
        return await self._asking(self._advance, to_us)

    async def _asking(self, ask: Callable[[A], T], of: A) -> T:
        """Asks the store in a thread. Raises `StoreUnavailable` where it does not answer."""
        try:
            async with asyncio.timeout(ASKING_S):
                return await asyncio.to_thread(ask, of)
        except (*STORE_ERRORS, TimeoutError) as error:
            raise StoreUnavailable(RETRY_AFTER_S) from error

    async def put_aside(self, items: Sequence[Quarantined]) -> None:
        await self._asking(self._put_aside, items)

    def _put_aside(self, items: Sequence[Quarantined]) -> None:
        with self._engine.begin() as connection:
            for item in items:
                put_aside(connection, item)

    def _advance(self, to_us: int) -> int:
        with self._engine.begin() as connection:
            return append(connection, [tick(to_us)], advance_to=to_us).recorded_at
