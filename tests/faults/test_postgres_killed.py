"""PostgreSQL dies under load: what was answered is in the log once, and meanwhile the answer is to try again."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx2
import psutil
import psycopg

from benchmarks.platform import platform
from domain.records import record_id
from runtime.engines import running
from tests.invariants import broken
from tests.keys import said
from tests.servers import wait_until

KEY = "fault-write-key"
WORKSPACE = Path(__file__).parents[1] / "integration" / "workspace.yaml"
SECRETS = {
    "ROUNDTRIP_APP_WRITE_KEY": KEY,
    "ROUNDTRIP_PUSH_WEBHOOK_SECRET": "unused-push-secret",
    "ROUNDTRIP_TOOLS_SECRET": "whsec_dW51c2VkLXRvb2xzLXNlY3JldC1vZi0zMmJ5",
}


def test_killed_backends_and_a_killed_server_lose_and_double_nothing(tmp_path: Path) -> None:
    with platform(WORKSPACE, SECRETS) as ours:
        engines = running(ours.home)
        assert engines is not None
        url = engines.database_url.replace("+psycopg", "")
        answered: list[str] = []
        refused: list[httpx2.Response] = []
        done = threading.Event()

        def load(worker: int) -> None:
            with httpx2.Client(base_url=ours.url, timeout=30.0, trust_env=False) as client:
                number = 0
                while not done.is_set():
                    number += 1
                    body = {
                        "event": "Order Completed",
                        "userId": "u",
                        "messageId": f"fault-{worker}-{number}",
                    }
                    try:
                        response = client.post("/v1/track", json=body, auth=(KEY, ""))
                    except httpx2.TransportError:
                        continue
                    if response.status_code == 200:
                        answered.append(body["messageId"])
                    else:
                        refused.append(response)

        workers = [threading.Thread(target=load, args=(n,)) for n in range(4)]
        for worker in workers:
            worker.start()
        try:
            wait_until(lambda: len(answered) > 100, "the load to be under way")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'roundtrip serve'"
                )
            more = len(answered) + 100
            wait_until(lambda: len(answered) > more, "the load to go on after its backends were ended")
            postmaster = next(
                p
                for p in psutil.Process(ours.process_id).children(recursive=True)
                if p.name() == "postgres" and (parent := p.parent()) and parent.name() != "postgres"
            )
            postmaster.send_signal(signal.SIGKILL)
            wait_until(lambda: bool(refused), "a refusal while PostgreSQL is away")
            more = len(answered) + 100
            wait_until(lambda: len(answered) > more, "the load to go on after PostgreSQL came back")
        finally:
            done.set()
            for worker in workers:
                worker.join()
        assert {response.status_code for response in refused} == {503}
        assert all(response.headers["retry-after"] == "1" for response in refused)
        stored = [record["message_id"] for record in said(url, "track.")]
        assert len(stored) == len(set(stored))
        assert set(answered) <= set(stored)
        wait_until(lambda: not ours.status()["readers"]["pipeline"]["lag"], "the pipeline to catch up")
        ids = [record_id("app", message_id) for message_id in answered]
        assert broken(engines.database_url, engines.nats_url, tmp_path, ids) == []
