"""A network that swallows everything between the platform and PostgreSQL, NATS and a destination."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url

from benchmarks.of_loops.vendors import Simulator
from benchmarks.platform import platform
from runtime.embedded.nats import start_nats
from runtime.engines import Engines
from tests.faults.conftest import SECRETS, WORKSPACE
from tests.faults.proxy import proxied
from tests.faults.traffic import Traffic
from tests.faults.verifying import verify
from tests.servers import temporary_home, wait_until


def test_partitions_lose_and_double_nothing_and_callers_are_told_in_time(
    database: str, push: Simulator
) -> None:
    behind = make_url(database)
    socket = Path(str(behind.query["host"])) / f".s.PGSQL.{behind.query['port']}"
    with (
        temporary_home() as home,
        start_nats(home) as nats,
        proxied(str(socket)) as to_store,
        proxied(str(nats.port)) as to_bus,
        proxied(push.url.rpartition(":")[2]) as to_vendor,
    ):
        environment = {
            **SECRETS,
            "ROUNDTRIP_DATABASE_URL": behind.set(
                host="127.0.0.1", port=to_store.port, query={}
            ).render_as_string(hide_password=False),
            "ROUNDTRIP_NATS_URL": nats.url.replace(f":{nats.port}", f":{to_bus.port}"),
            "ROUNDTRIP_PUSH_URL": f"http://127.0.0.1:{to_vendor.port}",
        }
        with platform(WORKSPACE, environment) as ours:
            traffic = Traffic(ours.url, SECRETS["ROUNDTRIP_APP_WRITE_KEY"])
            with traffic.flowing():
                traffic.goes_on()
                with to_vendor.swallowing(), to_bus.swallowing():
                    # Neither is in the way of a record.
                    traffic.goes_on(200)
                    with to_store.swallowing():
                        wait_until(lambda: bool(traffic.refused), "callers to be told to try again", 40)
                traffic.goes_on(200)
            assert {one.status_code for one in traffic.refused} == {503}
            assert all(one.headers["retry-after"] == "1" for one in traffic.refused)
            assert not traffic.unanswered
            verify(ours, Engines(database, nats.url), traffic.answered, push)
