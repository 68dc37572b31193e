"""Any `eventsourcing` application on the log: apart from others, with its own ids, snapshots and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application, ProcessingEvent
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    DataError,
    InfrastructureFactoryError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
)
from eventsourcing.system import MultiThreadedRunner, ProcessApplication, System
from eventsourcing.utils import Environment
from sqlalchemy import create_engine, exc, make_url, text

from adapters.log.append import append
from adapters.log.persistence import LogFactory, schema_of
from domain.records import Entry, derive_id
from tests.servers import REPOSITORY, wait_until

Open = Callable[..., LogFactory]


@pytest.fixture
def open_factory(database: str) -> Iterator[Open]:
    """Opens factories by application name; they are closed after the test."""
    opened: list[LogFactory] = []

    def open_one(name: str, **settings: str) -> LogFactory:
        opened.append(LogFactory(Environment(name, {"ROUNDTRIP_DATABASE_URL": database, **settings})))
        return opened[-1]

    yield open_one
    for factory in opened:
        factory.close()


@pytest.fixture
def environment(database: str) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": "adapters.log.persistence", "ROUNDTRIP_DATABASE_URL": database}


def stored(originator_id: UUID | str, version: int = 1, topic: str = "topic") -> StoredEvent:
    return StoredEvent(originator_id, version, topic, b"state")


def test_applications_in_one_database_do_not_see_each_other(open_factory: Open) -> None:
    orders, bills, own = (open_factory(n).application_recorder() for n in ("Orders", "Bills", "roundtrip"))
    same = stored(uuid4())
    assert orders.insert_events([same, stored(uuid4())]) == [1, 2]
    assert bills.insert_events([same]) == [1]
    assert own.max_notification_id() is None
    assert [n.id for n in orders.select_notifications(None, 10)] == [1, 2]
    assert [n.id for n in bills.select_notifications(None, 10)] == [1]


def test_an_application_finds_its_log_again(open_factory: Open) -> None:
    first = stored(uuid4())
    open_factory("Orders").application_recorder().insert_events([first])
    again = open_factory("orders").application_recorder()
    assert again.select_events(first.originator_id) == [first]


def test_the_application_roundtrip_reads_what_was_appended_to_roundtrips_own_log(open_factory: Open) -> None:
    factory = open_factory("roundtrip")
    stream = derive_id("test", "a")
    with factory.engine.begin() as connection:
        append(connection, [Entry(stream, 1, "track.a", None, b"{}")])
    recorder = factory.application_recorder()
    assert [n.originator_id for n in recorder.select_notifications(None, 10)] == [UUID(stream)]
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(UUID(stream))])


def test_events_and_snapshots_of_one_version_are_apart(open_factory: Open) -> None:
    factory = open_factory("Orders")
    events, snapshots, others = map(factory.aggregate_recorder, ("events", "snapshots", "others"))
    order = uuid4()
    kept = [stored(order, topic=topic) for topic in ("event", "snapshot", "other")]
    for recorder, each in zip((events, snapshots, others), kept, strict=True):
        recorder.insert_events([each])
    assert [r.select_events(order) for r in (events, snapshots, others)] == [[each] for each in kept]
    assert factory.application_recorder().max_notification_id() == 1


def test_an_id_is_read_as_what_it_was_stored_as(open_factory: Open) -> None:
    recorder = open_factory("Orders").application_recorder()
    one = uuid4()
    ids: list[UUID | str] = [one, str(one), "order-1", "Grüße"]
    for each in ids:
        recorder.insert_events([stored(each), stored(each, 2)])
        assert [e.originator_id for e in recorder.select_events(each)] == [each, each]
    assert [n.originator_id for n in recorder.select_notifications(None, 10)][::2] == ids


def test_text_ids_stored_by_many_at_once_conflict_only_by_version(open_factory: Open) -> None:
    recorder = open_factory("Orders").application_recorder()

    def store(version: int) -> None:
        recorder.insert_events([stored(f"order-{n}", version) for n in range(20)])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store, range(40)))
    assert recorder.max_notification_id() == 800


@pytest.mark.parametrize(("version", "mend"), [(-1, "from 0 or 1"), (2**31, "from 0 or 1")])
def test_a_version_that_the_log_cannot_hold_is_refused(open_factory: Open, version: int, mend: str) -> None:
    for recorder in (open_factory("A").application_recorder(), open_factory("A").aggregate_recorder("s")):
        with pytest.raises(DataError, match=mend):
            recorder.insert_events([stored(uuid4(), version)])


def test_a_text_that_postgresql_cannot_hold_is_a_data_error(open_factory: Open) -> None:
    recorder = open_factory("A").application_recorder()
    with pytest.raises(DataError):
        recorder.insert_events([stored("order\0")])
    with pytest.raises(DataError):
        recorder.insert_events([stored(uuid4(), topic="a\0b")])


def test_without_create_table_a_missing_log_is_an_error_and_not_roundtrips_own(open_factory: Open) -> None:
    recorder = open_factory("Orders", CREATE_TABLE="no").application_recorder()
    with pytest.raises(ProgrammingError, match="log_head"):
        recorder.insert_events([stored(uuid4())])
    with pytest.raises(ProgrammingError):
        recorder.select_notifications(None, 1)
    assert open_factory("roundtrip").application_recorder().max_notification_id() is None


def test_a_database_that_was_not_migrated_is_named_with_its_mend(postgres_url: str) -> None:
    factory = LogFactory(Environment("Orders", {"ROUNDTRIP_DATABASE_URL": postgres_url}))
    with pytest.raises(ProgrammingError, match="run `roundtrip migrate`"):
        factory.application_recorder()
    factory.close()


def test_a_server_that_is_not_there_is_an_operational_error() -> None:
    url = "postgresql+psycopg://postgres@/nothing?host=/nonexistent"
    factory = LogFactory(Environment("roundtrip", {"ROUNDTRIP_DATABASE_URL": url}))
    with pytest.raises(OperationalError):
        factory.application_recorder().max_notification_id()


def test_a_lock_held_too_long_is_an_operational_error(open_factory: Open, database: str) -> None:
    short = make_url(database).update_query_dict({"options": "-c lock_timeout=50ms"})
    holder = open_factory("roundtrip")
    waiting = LogFactory(Environment("roundtrip", {"ROUNDTRIP_DATABASE_URL": database}))
    waiting.engine.dispose()
    waiting.engine = create_engine(short)
    with holder.engine.begin() as connection:
        append(connection, [Entry(derive_id("a"), 1, "a", None, b"")])
        with pytest.raises(OperationalError, match="lock timeout"):
            waiting.application_recorder().insert_events([stored(uuid4())])
    waiting.close()


def test_a_factory_without_a_database_says_what_to_set() -> None:
    with pytest.raises(InfrastructureFactoryError, match="ROUNDTRIP_DATABASE_URL is not set"):
        LogFactory(Environment("Orders", {}))


def test_names_become_schemas_that_nothing_else_uses() -> None:
    assert schema_of("Roundtrip") == "public"
    assert schema_of("public") == "app_public"
    assert schema_of("") == schema_of("stored") == "app_stored"
    assert schema_of("ä" * 29) == "app_" + "ä" * 29
    with pytest.raises(InfrastructureFactoryError, match="name it shorter"):
        schema_of("ä" * 30)


def test_any_name_will_do(open_factory: Open) -> None:
    for name in ('my "own" app', "x'; DROP SCHEMA public; --", "100%", "a.b"):
        assert open_factory(name).application_recorder().insert_events([stored(uuid4())]) == [1]


def test_a_log_created_by_many_at_once_is_created_once(open_factory: Open) -> None:
    def start(number: int) -> Any:
        return open_factory("Orders").application_recorder().insert_events([stored(uuid4())])

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(start, range(6))) == [[n] for n in range(1, 7)]


@pytest.mark.parametrize(
    "statement", ["UPDATE {}.log SET state = 'x'", "DELETE FROM {}.log", "TRUNCATE {}.log_0"]
)
def test_another_applications_log_cannot_be_changed_either(
    open_factory: Open, database: str, statement: str
) -> None:
    open_factory("Orders").application_recorder().insert_events([stored(uuid4())])
    engine = create_engine(database)
    with pytest.raises(exc.IntegrityError, match="the log is append-only"), engine.begin() as connection:
        connection.execute(text(statement.format("app_orders")))
    engine.dispose()


def test_a_subscription_to_topics_looks_at_each_position_once(open_factory: Open) -> None:
    recorder: Any = open_factory("Orders").application_recorder()
    recorder.insert_events([stored(uuid4(), topic="other") for _ in range(20)])
    with recorder.subscribe(topics=["wanted"]) as subscription:
        wait_until(lambda: subscription._last_notification_id == 20, "the subscription to pass the others")
        recorder.insert_events([stored(uuid4(), topic="other"), stored(uuid4(), topic="wanted")])
        assert next(subscription).id == 22
        wait_until(lambda: subscription._last_notification_id == 22, "the subscription to stand at the end")


def test_a_subscription_whose_connection_is_lost_ends_with_an_error(
    open_factory: Open, database: str
) -> None:
    recorder = open_factory("Orders").application_recorder()
    engine = create_engine(database)
    with recorder.subscribe() as subscription:

        def cut() -> bool:
            with engine.begin() as connection:
                return bool(
                    connection.execute(
                        text(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
                        )
                    ).scalar()
                )

        wait_until(cut, "the subscription to listen")
        with pytest.raises(OperationalError):
            next(subscription)
    engine.dispose()


class Order(Aggregate):
    @event("Placed")
    def __init__(self, number: int) -> None:
        self.number = number


class Orders(Application[UUID]):
    pass


class Bill(Aggregate):
    @event("Written")
    def __init__(self, order: UUID) -> None:
        self.order = order


class Bills(ProcessApplication[UUID]):
    def policy(self, domain_event: Any, processing_event: ProcessingEvent[UUID]) -> None:
        processing_event.collect_events(Bill(domain_event.originator_id))


def test_a_system_of_applications_runs_on_one_database(environment: dict[str, str]) -> None:
    with MultiThreadedRunner[UUID](System(pipes=[[Orders, Bills]]), env=environment) as runner:
        orders, bills = runner.get(Orders), runner.get(Bills)
        for number in range(20):
            orders.save(Order(number))
        wait_until(lambda: bills.recorder.max_notification_id() == 20, "a bill for each order")
        assert bills.recorder.max_tracking_id("Orders") == 20
        assert orders.recorder.max_notification_id() == 20


def test_the_documented_application_runs_by_its_environment_alone(environment: dict[str, str]) -> None:
    page = (REPOSITORY / "docs/how-to/use-eventsourcing.md").read_text()
    program = page.partition("```python\n")[2].partition("```")[0]
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=os.environ | environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in page
