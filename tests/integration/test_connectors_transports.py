"""Destinations that are not HTTP APIs: a NATS subject, a PostgreSQL table, files; each a real one."""

from __future__ import annotations

import asyncio
import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import nats
import obstore
import psycopg
import pyarrow.parquet
from moto.server import ThreadedMotoServer
from obstore.store import S3Store
from sqlalchemy import make_url

from adapters.connectors import files, nats_subject, postgresql_table
from adapters.connectors.connector import Answer, ConnectorConfig
from adapters.transports.transport import open_transport
from domain.outbound import Outbound
from tests.integration.sending import event, record, send
from tests.servers import wait_until


def statuses(connector: Any, config: ConnectorConfig, *records: Outbound) -> list[str]:
    return [one.status for one in send(connector, config, records)]


def dsn(database: str) -> str:
    return make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_subject_gets_each_change_once_as_a_cloud_event(nats_url: str) -> None:
    subject = f"crm_{uuid4().hex[:8]}.audiences"
    config = ConnectorConfig("out", {"subject": subject}, {"url": nats_url})
    records = [
        record(user_id="u1"),
        record("remove", user_id="u2"),
        record("delete", user_id="u3"),
        event("Order Completed", {"total": 12.5}, user_id="u1"),
    ]

    async def stream(make: bool) -> list[Any]:
        client = await nats.connect(nats_url)
        js = client.jetstream()
        name = subject.replace(".", "_")
        try:
            if make:
                await js.add_stream(name=name, subjects=[subject])
                return []
            subscription = await js.pull_subscribe(subject, durable="test", stream=name)
            return list(await subscription.fetch(10, timeout=2))
        finally:
            await client.close()

    asyncio.run(stream(make=True))
    assert statuses(nats_subject.CONNECTOR, config, *records) == ["delivered"] * 4
    # As after a crash before the outcome was kept.
    assert statuses(nats_subject.CONNECTOR, config, *records) == ["delivered"] * 4
    messages = asyncio.run(stream(make=False))
    assert [one.headers["ce-id"] for one in messages] == [one.id for one in records]
    assert [one.headers["ce-type"] for one in messages] == [
        "audience.entered",
        "audience.exited",
        "profile.erased",
        "event.tracked",
    ]
    assert msgspec.json.decode(messages[0].data)["fields"] == {"user_id": "u1"}
    assert msgspec.json.decode(messages[3].data)["properties"] == {"total": 12.5}


def test_a_table_holds_who_is_in_the_audience_and_names_rows_it_refuses(database: str) -> None:
    config = ConnectorConfig("out", {"table": "crm_members", "key": ["user_id"]}, {"url": dsn(database)})
    with psycopg.connect(dsn(database), autocommit=True) as db:
        db.execute("create table crm_members (user_id text primary key, age int check (age > 0), tags jsonb)")

        adds = [record(user_id=f"u{n}", age=n, tags={"n": n}) for n in range(4)]
        outcomes = send(
            postgresql_table.CONNECTOR, config, [*adds, record(age=3), record(user_id="x", age="old")]
        )
        assert [one.status for one in outcomes] == ["dead", *["delivered"] * 3, "dead", "dead"]
        assert outcomes[0].reason == "the table refuses the row: SQLSTATE 23514"
        assert outcomes[5].reason == "the table refuses the row: SQLSTATE 22P02"

        later = [
            record(user_id="u1", age=40),
            record("remove", user_id="u2", age=2),
            record("delete", user_id="u3"),
        ]
        assert statuses(postgresql_table.CONNECTOR, config, *later) == ["delivered"] * 3
        rows = db.execute("select user_id, age, tags from crm_members order by user_id").fetchall()
        assert rows == [("u1", 40, {"n": 1})]

        db.execute("drop table crm_members")
        [gone] = send(postgresql_table.CONNECTOR, config, [record(user_id="u1")])
        assert (gone.status, gone.reason) == ("dead", "PostgreSQL answered 422: SQLSTATE 42P01")


def test_requests_side_by_side_do_not_get_into_each_others_transactions(database: str) -> None:
    config = ConnectorConfig("out", {"table": "crm_many", "key": ["user_id"]}, {"url": dsn(database)})
    with psycopg.connect(dsn(database), autocommit=True) as db:
        db.execute("create table crm_many (user_id text primary key, age int check (age > 0))")
        batches = [[record(user_id=f"u{b}-{n}", age=n) for n in range(5)] for b in range(10)]
        requests = [postgresql_table.CONNECTOR.render(config, batch)[0] for batch in batches]

        async def all_at_once() -> list[int]:
            async with open_transport(postgresql_table.CONNECTOR, config, allow_private=True) as transport:
                first = await transport.send(requests[0])
                answers = [first, *await asyncio.gather(*map(transport.send, requests[1:]))]
                return [one.status for one in answers]

        assert asyncio.run(all_at_once()) == [207] * 10
        assert db.execute("select count(*) from crm_many").fetchone() == (40,)


def test_one_table_may_hold_several_audiences(database: str) -> None:
    settings = {"table": "crm_both", "key": ["user_id"], "audience_column": "audience"}
    config = ConnectorConfig("out", settings, {"url": dsn(database)})
    with psycopg.connect(dsn(database), autocommit=True) as db:
        db.execute("create table crm_both (user_id text, audience text, primary key (user_id, audience))")
        records = [record(audience="a", user_id="u"), record(audience="b", user_id="u")]
        statuses(postgresql_table.CONNECTOR, config, *records)
        statuses(postgresql_table.CONNECTOR, config, record("remove", audience="a", user_id="u"))
        assert db.execute("select * from crm_both").fetchall() == [("u", "b")]


def test_a_batch_is_one_parquet_file_however_often_it_is_sent(tmp_path: Path) -> None:
    settings = {"url": tmp_path.as_uri(), "columns": {"age": "integer"}}
    config = ConnectorConfig("out", settings, {})
    records = [record(user_id="u1", age=36), record("remove", user_id="u2"), record(user_id="u3", age="old")]
    assert statuses(files.CONNECTOR, config, *records) == ["delivered", "delivered", "dead"]
    assert statuses(files.CONNECTOR, config, *records) == ["delivered", "delivered", "dead"]
    [file] = list(tmp_path.rglob("*.*"))
    assert file.relative_to(tmp_path).as_posix() == "out/b-1.parquet"
    table = pyarrow.parquet.read_table(file)
    assert table.column_names == [*files._OURS, "age", "user_id"]
    assert table["age"].to_pylist() == [36, None]
    assert table["change"].to_pylist() == ["add", "remove"]


def test_a_bucket_takes_files_with_the_connections_own_credentials() -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        options = {"aws_endpoint": endpoint, "aws_region": "us-east-1"}
        settings = {"url": "s3://lake/audiences", "options": options}
        config = ConnectorConfig("out", settings, {"aws_access_key_id": "id", "aws_secret_access_key": "key"})
        [request] = files.CONNECTOR.render(config, [record(user_id="u1")])

        async def twice() -> list[int]:
            async with open_transport(files.CONNECTOR, config, allow_private=True) as transport:
                before = await transport.send(request)
                httpx2.put(f"{endpoint}/lake", trust_env=False).raise_for_status()
                return [before.status, (await transport.send(request)).status]

        assert asyncio.run(twice()) == [404, 200]
        bucket = S3Store(
            "lake",
            endpoint=endpoint,
            region="us-east-1",
            access_key_id="id",
            secret_access_key="key",
            client_options={"allow_http": True},
        )
        got = obstore.get(bucket, "audiences/out/b-1.parquet").bytes().to_bytes()
        assert pyarrow.parquet.read_table(io.BytesIO(got))["user_id"].to_pylist() == ["u1"]
    finally:
        server.stop()


def test_cells_that_would_be_formulas_are_escaped_in_csv(tmp_path: Path) -> None:
    config = ConnectorConfig("out", {"url": tmp_path.as_uri(), "format": "csv"}, {})
    [outcome] = send(files.CONNECTOR, config, [record(name='=HYPERLINK("x")', note="a,\nb")])
    assert (outcome.status, outcome.reference) == ("delivered", "out/b-1.csv")
    [row] = csv.DictReader(io.StringIO((tmp_path / "out" / "b-1.csv").read_bytes().decode(), newline=""))
    assert (row["name"], row["note"]) == ('\'=HYPERLINK("x")', "a,\nb")


def test_a_connection_that_is_cut_is_made_again(database: str) -> None:
    config = ConnectorConfig("out", {"table": "crm_locked", "key": ["user_id"]}, {"url": dsn(database)})
    ours = "from pg_stat_activity where application_name = 'roundtrip out' and datname = current_database()"
    with psycopg.connect(dsn(database)) as holder, psycopg.connect(dsn(database), autocommit=True) as other:
        holder.execute("create table crm_locked (user_id text primary key)")
        holder.commit()
        holder.execute("lock table crm_locked")
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send, postgresql_table.CONNECTOR, config, [record(user_id="u")])
            waiting = f"select 1 {ours} and wait_event_type = 'Lock'"
            wait_until(lambda: other.execute(waiting).fetchone(), "the row to wait for the lock")
            other.execute(f"select pg_terminate_backend(pid) {ours}")
            holder.commit()
            [outcome] = sending.result(20)
        assert (outcome.status, outcome.attempts) == ("delivered", 2)
        assert other.execute("select count(*) from crm_locked").fetchone() == (1,)


def test_a_subject_that_no_stream_keeps_is_not_delivered(nats_url: str) -> None:
    async def answer() -> Answer:
        config = ConnectorConfig("out", {"subject": f"nobody_{uuid4().hex[:8]}.listens"}, {"url": nats_url})
        [request] = nats_subject.CONNECTOR.render(config, [record(user_id="u")])
        async with open_transport(nats_subject.CONNECTOR, config, allow_private=True) as transport:
            return await transport.send(request)

    assert asyncio.run(answer()).status == 503
