"""Tells the story through the public HTTP API, as SDKs do: over several connections, and again until it is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx2

from benchmarks.of_loops.story import Step, Story
from benchmarks.of_loops.vendors import PUSHES, SECRETS, Vendors
from benchmarks.platform import Platform, wait_for

CONNECTIONS: Final = 4
_CALLS_A_REQUEST: Final = 50
#: Answers after which an SDK tries again.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_PATIENCE_S: Final = 120.0

#: What else is done while the calls of the step with this number arrive.
Meanwhile = Callable[[int], None]


class Teller:
    """One run of the story against a platform and its vendors."""

    def __init__(self, ours: Platform, vendors: Vendors) -> None:
        self._ours = ours
        self._vendors = vendors
        limits = httpx2.Limits(max_connections=CONNECTIONS + 1)
        self._http = httpx2.Client(base_url=ours.url, trust_env=False, timeout=30, limits=limits)

    def tell(self, story: Story, meanwhile: Meanwhile) -> None:
        """Step by step; each begins when all is at rest from the one before."""
        self._vendors.wait()
        self._vendors.tell(self._ours.url)
        for name in PUSHES:
            self._vendors.pushes[name].post("behaviours", story.behaviours(name))
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            for number, step in enumerate(story.steps):
                self._begin(step)
                requests = range(0, len(step.calls), _CALLS_A_REQUEST)
                parts = [step.calls[start : start + _CALLS_A_REQUEST] for start in requests]
                posted = threads.map(self._post_calls, parts)
                meanwhile(number)
                list(posted)
                wait_for(self._at_rest, f"rest after {step.at_text}", _PATIENCE_S)

    def _begin(self, step: Step) -> None:
        """Moves the clocks to the step's end, and has sales do their work."""
        bearer = {"Authorization": f"Bearer {self._ours.token}"}
        self._post("/v1/clock", {"to": step.at_text}, headers=bearer)
        for push in self._vendors.pushes.values():
            push.post("clock", {"now": step.at_text})
        for email in step.vips:
            self._vendors.crm.post("change", {"email": email, "property": "lifecyclestage", "value": "vip"})

    def _post_calls(self, calls: Sequence[Mapping[str, Any]]) -> None:
        self._post("/v1/batch", {"batch": calls}, auth=(SECRETS["ROUNDTRIP_APP_WRITE_KEY"], ""))

    def _post(self, path: str, body: Any, **how: Any) -> None:
        """Again until it is taken: a part that was killed is back in a moment, and every call may be repeated."""
        content = json.dumps(body).encode()
        how["headers"] = {"Content-Type": "application/json", **how.get("headers", {})}
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer = self._http.post(path, content=content, **how)
            except httpx2.TransportError as error:
                said = type(error).__name__
            else:
                if answer.is_success:
                    return
                said = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code not in _PASSING:
                    raise RuntimeError(f"{path}: {said}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} was not taken within {_PATIENCE_S:.0f} s: {said}")
            time.sleep(0.05)

    def _at_rest(self) -> bool:
        """Nothing is on its way anywhere. While a part is away that is not known."""
        try:
            if not self._vendors.quiet():
                return False
            before = self._ours.status()
            if any(reader["lag"] for reader in before["readers"].values()):
                return False
            if any(counts.get("pending") for counts in before["outbound"].values()):
                return False
            return (
                self._vendors.quiet() and self._ours.status()["log"]["position"] == before["log"]["position"]
            )
        except (OSError, httpx2.HTTPError):
            return False
