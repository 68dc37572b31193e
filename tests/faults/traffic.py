"""Callers who hand records in one after the other while things go wrong, and note what they are answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx2

from tests.servers import wait_until

CALLERS = 4
#: Between two calls of one caller, in seconds: many people are not what is tried here.
PAUSE_S = 0.02
#: More than there is time for.
PEOPLE = 20_000


def person(number: int) -> str:
    return f"person-{number}"


class Traffic:
    """Every call is of another person who installs the app. `answered` are the message ids of those that were answered
    with success, `refused` the other answers; `unanswered` counts the calls without any."""

    def __init__(self, url: str, key: str) -> None:
        self.answered: list[str] = []
        self.refused: list[httpx2.Response] = []
        self.unanswered = 0
        self._url, self._key = url, key
        self._numbers = count()

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """They call as long as the block lasts."""
        done = threading.Event()
        callers = [threading.Thread(target=self._call, args=(done,)) for _ in range(CALLERS)]
        for one in callers:
            one.start()
        try:
            yield
        finally:
            done.set()
            for one in callers:
                one.join()

    def goes_on(self, calls: int = 50) -> None:
        """Waits until so many more were answered with success."""
        goal = len(self.answered) + calls
        wait_until(lambda: len(self.answered) >= goal, f"{calls} more calls to be answered with success")

    def some(self, calls: int = 50) -> None:
        """Has so many calls be answered with success."""
        with self.flowing():
            self.goes_on(calls)

    def _call(self, done: threading.Event) -> None:
        with httpx2.Client(base_url=self._url, timeout=60.0, trust_env=False) as client:
            while not done.wait(PAUSE_S):
                number = next(self._numbers)
                body = {
                    "event": "App Installed",
                    "userId": person(number),
                    "messageId": f"call-{number}",
                }
                try:
                    response = client.post("/v1/track", json=body, auth=(self._key, ""))
                except httpx2.TransportError:
                    self.unanswered += 1
                    continue
                if response.status_code == 200:
                    self.answered.append(body["messageId"])
                else:
                    self.refused.append(response)
