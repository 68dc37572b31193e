"""Tells the story through the public HTTP API: calls as the app's SDK sends them, and the clock's ticks."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Event
from typing import Any, Final, NamedTuple

import httpx2

from simulators.app_users import Step, Story

CALLS_A_BATCH: Final = 100
PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.02


class Stopped(Exception):
    """The demo was asked to stop before its story was told."""


class Stalled(Exception):
    """Something did not come to rest in time; the message says what was waited for."""


class Places(NamedTuple):
    """Where everything listens, and what opens it."""

    api: str
    api_token: str
    write_key: str
    push: str
    ads: str
    webhook_secret: str


class Snapshot(NamedTuple):
    """What the API and the simulators say of themselves at one moment."""

    status: Mapping[str, Any]
    push: Mapping[str, Any]
    ads: Mapping[str, Any]


class Posted(NamedTuple):
    """When what was posted, in seconds since the epoch: calls by their user, ticks by the log time."""

    users: dict[str, list[float]]
    ticks: list[float]


class Driver:
    """One run of the story. Everything it does can be done again: the ids are the same every time."""

    def __init__(self, places: Places, stop: Event) -> None:
        self.places = places
        self._stop = stop
        self._client = httpx2.Client(timeout=30.0, trust_env=False)
        self.posted = Posted({}, [])

    def wait_ready(self) -> None:
        """Waits until the API takes calls by the write key, and the simulators listen."""
        for url in (f"{self.places.api}/healthz", f"{self.places.push}/simulate/status"):
            self._until(f"{url} answers", partial(self._answers, url))
        self._until(f"{self.places.ads} answers", lambda: self._answers(f"{self.places.ads}/simulate/status"))
        self._until("the workspace is declared", self._declared)

    def prepare(self, story: Story) -> None:
        """Tells the push tool where its engagement goes and how its users behave."""
        webhook = f"{self.places.api}/v1/feeds/push_engagement"
        self._simulate("webhook", {"url": webhook, "secret": self.places.webhook_secret})
        self._simulate("behaviours", list(story.behaviours))

    def tell(self, story: Story, at_step: Callable[[int, Step], None]) -> None:
        """Tells the story step by step; each begins when all is at rest from the one before."""
        for number, step in enumerate(story.steps):
            at_step(number, step)
            self._post_clock(step.at_text)
            for batch in _batches(step.calls):
                self._post_calls(batch)
            self.rest()

    def rest(self) -> None:
        """Waits until nothing is on its way anywhere."""
        self._until("all is at rest", self._at_rest)

    def snapshot(self) -> Snapshot:
        """What everything says of itself."""
        return Snapshot(
            self._status(),
            self._get(f"{self.places.push}/simulate/status"),
            self._get(f"{self.places.ads}/simulate/status"),
        )

    def messages(self) -> Mapping[str, Any]:
        """By user, what the push tool has sent."""
        return self._get(f"{self.places.push}/simulate/messages")

    def members(self, audience_id: str) -> Mapping[str, Any]:
        """By hash, who is in the ad platform's audience."""
        found = self._get(f"{self.places.ads}/simulate/audiences/{audience_id}")
        return {one["value"]: one for one in found["members"] if one["member"]}

    def _at_rest(self) -> bool:
        if self._push_pending():
            return False
        before = self._status()
        if any(reader["lag"] for reader in before["readers"].values()):
            return False
        if any(counts.get("pending") for counts in before["outbound"].values()):
            return False
        return not self._push_pending() and self._status()["log"]["position"] == before["log"]["position"]

    def _push_pending(self) -> int:
        return int(self._get(f"{self.places.push}/simulate/status")["webhooks"]["pending"])

    def _post_clock(self, at: str) -> None:
        self.posted.ticks.append(time.time())
        self._retrying(
            lambda: self._client.post(f"{self.places.api}/v1/clock", json={"to": at}, headers=self._bearer())
        )
        self._simulate("clock", {"now": at})

    def _post_calls(self, calls: Sequence[Mapping[str, Any]]) -> None:
        body = gzip.compress(json.dumps({"batch": calls}).encode(), 1)
        now = time.time()
        for call in calls:
            if call.get("userId"):
                self.posted.users.setdefault(call["userId"], []).append(now)
        self._retrying(
            lambda: self._client.post(
                f"{self.places.api}/v1/batch",
                content=body,
                auth=(self.places.write_key, ""),
                headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
            )
        )

    def _simulate(self, what: str, body: Any) -> None:
        self._retrying(lambda: self._client.post(f"{self.places.push}/simulate/{what}", json=body))

    def _status(self) -> Mapping[str, Any]:
        return self._get(f"{self.places.api}/v1/status", self._bearer())

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        response = self._retrying(lambda: self._client.get(url, headers=headers))
        found: Mapping[str, Any] = response.json()
        return found

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.places.api_token}"}

    def _retrying(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        """Sends until it is taken: a part that crashed is back in a moment, and every call may be repeated."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                response = send()
            except httpx2.TransportError as error:
                said = type(error).__name__
            else:
                if response.status_code < 300:
                    return response
                said = f"{response.status_code} {response.text[:500]}"
                if response.status_code not in (408, 429, 500, 502, 503, 504):
                    raise Stalled(f"{response.request.method} {response.request.url.path}: {said}")
            self._pause(deadline, f"an answer; the last one was: {said}")

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            self._pause(deadline, what)

    def _pause(self, deadline: float, what: str) -> None:
        if self._stop.wait(_POLL_S):
            raise Stopped
        if time.monotonic() > deadline:
            raise Stalled(f"waited {PATIENCE_S:.0f} s in vain until {what}")

    def _answers(self, url: str) -> bool:
        try:
            return self._client.get(url).status_code < 500
        except httpx2.TransportError:
            return False

    def _declared(self) -> bool:
        status = self._status()
        return bool(status["log"]["position"]) and not status["readers"]["pipeline"]["lag"]


def _batches(calls: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(calls), CALLS_A_BATCH):
        yield calls[start : start + CALLS_A_BATCH]
