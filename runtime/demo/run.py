"""Runs the demo: the engines, every part, the simulators and the story, and checks the end by the truth."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from pathlib import Path
from threading import Event, Thread
from typing import Final

from rich.console import Console
from rich.live import Live

from domain.mendable import Mendable
from runtime import up
from runtime.demo.driver import Driver, Places, Stalled, Stopped
from runtime.demo.report import check, latencies, print_findings, print_funnel, print_latencies
from runtime.demo.view import View
from runtime.embedded.private_file import read_or_create
from runtime.processes import Part, run_parts
from runtime.settings import Settings
from simulators.app_users import Step, Story, story

WORKSPACE: Final = Path("examples/push-retarget/roundtrip.yaml")
PUSH_APP: Final = "8250eaf6-1a58-489e-b136-7c74a864b434"
ADS_AUDIENCE: Final = "23842000000000001"
_REFRESH_S: Final = 0.25


class OtherStory(Mendable):
    """This home holds the demo of another story."""


def run_demo(settings: Settings, workspace: Path, users: int, seed: int, console: Console) -> int:
    """The whole demo; the exit code: 0 if the truth was met, 1 if not, 130 if it was stopped."""
    told = story(users, seed)
    home = settings.home
    secret = _secrets(home, users, seed)
    push_port, ads_port = _free_port(), _free_port()
    os.environ |= {
        "ROUNDTRIP_APP_WRITE_KEY": secret["write_key"],
        "ROUNDTRIP_PUSH_WEBHOOK_SECRET": secret["webhook"],
        "ROUNDTRIP_PUSH_API_KEY": secret["push"],
        "ROUNDTRIP_ADS_TOKEN": secret["ads"],
        "ROUNDTRIP_PUSH_URL": f"http://127.0.0.1:{push_port}",
        "ROUNDTRIP_ADS_URL": f"http://127.0.0.1:{ads_port}",
    }
    console.print(f"Starting PostgreSQL, NATS, the simulators and every part of Roundtrip in {home} …")
    with up.prepared(settings, workspace, up.http_fixed()) as ready:
        places = Places(
            api=ready.url,
            api_token=settings.api_token,
            write_key=secret["write_key"],
            push=os.environ["ROUNDTRIP_PUSH_URL"],
            ads=os.environ["ROUNDTRIP_ADS_URL"],
            webhook_secret=secret["webhook"],
        )
        stop = Event()
        teller = _Teller(told, Driver(places, stop), console, stop)
        thread = Thread(target=teller.run, name="story")
        thread.start()
        parts = [
            *_simulators(home, secret, push_port, ads_port),
            *(
                Part(name, [sys.executable, "-m", "runtime.cli", name], ready.environment)
                for name in up.PARTS
            ),
        ]
        run_parts(
            parts,
            stop=stop,
            home=home,
            engines=ready.engines.started,
            report=lambda line: console.print(line),
        )
        thread.join()
    return teller.code


class _Teller:
    """Tells the story in a thread of its own, while the main thread watches over the processes."""

    def __init__(self, told: Story, driver: Driver, console: Console, stop: Event) -> None:
        self._story = told
        self._driver = driver
        self._console = console
        self._stop = stop
        self.code = 1

    def run(self) -> None:
        try:
            self.code = self._tell()
        except Stopped:
            self._console.print("Stopped; the same command goes on from here.")
            self.code = 130
        except Stalled as stalled:
            self._console.print(f"[red]{stalled}[/] (logs: .roundtrip/log)")
        finally:
            self._stop.set()

    def _tell(self) -> int:
        driver, view = self._driver, View(len(self._story.steps))
        driver.wait_ready()
        driver.prepare(self._story)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            watching = Event()
            watcher = Thread(target=self._watch, args=(view, live, watching), name="view")
            watcher.start()
            try:
                driver.tell(self._story, lambda number, step: view.step(number, _time(step)))
            finally:
                watching.set()
                watcher.join()
        return self._conclude(view)

    def _watch(self, view: View, live: Live, done: Event) -> None:
        watcher = Driver(self._driver.places, self._stop)
        try:
            while not done.wait(_REFRESH_S):
                live.update(view.render(watcher.snapshot()), refresh=True)
        except (Stopped, Stalled):
            return

    def _conclude(self, view: View) -> int:
        driver, console = self._driver, self._console
        truth = self._story.truth()
        messages = driver.messages()
        members = driver.members(ADS_AUDIENCE)
        snapshot = driver.snapshot()
        console.print(view.render(snapshot))
        console.print()
        print_funnel(console, truth, snapshot.push["events"], len(messages), len(members))
        found = latencies(driver.posted.users, driver.posted.ticks, messages, members)
        print_latencies(console, found)
        console.print("Against the truth that the generator computed by itself:")
        return 0 if print_findings(console, check(truth, messages, members)) else 1


def _time(step: Step) -> str:
    return step.at_text


def _secrets(home: Path, users: int, seed: int) -> dict[str, str]:
    """The demo's keys, made once and kept with the story they belong to."""

    def make() -> str:
        names = ("write_key", "webhook", "push", "ads")
        return json.dumps(
            {name: secrets.token_urlsafe(24) for name in names} | {"users": str(users), "seed": str(seed)}
        )

    kept: dict[str, str] = json.loads(read_or_create(home / "demo.json", make))
    if (kept["users"], kept["seed"]) != (str(users), str(seed)):
        raise OtherStory(
            f"{home} holds the demo with --users {kept['users']} --seed {kept['seed']}; go on with these, or"
            f" begin another story with `make clean` or another ROUNDTRIP_HOME"
        )
    return kept


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _simulators(home: Path, secret: dict[str, str], push_port: int, ads_port: int) -> list[Part]:
    state = home / "simulators"
    state.mkdir(exist_ok=True)

    def part(name: str, port: int, *options: str) -> Part:
        common = ["--state", str(state / f"{name}.db"), "--ready-file", str(state / f"{name}.json")]
        argv = [sys.executable, "-m", f"simulators.{name}", *common, "--port", str(port), *options]
        return Part(name.replace("_", "-"), [*argv, "--die-with-parent"], {})

    return [
        part("push_tool", push_port, "--api-key", secret["push"], "--app-id", PUSH_APP),
        part("ad_platform", ads_port, "--token", secret["ads"]),
    ]
