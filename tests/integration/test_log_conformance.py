"""The log passes the test cases that the `eventsourcing` library ships for persistence modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import InfrastructureFactory, Tracking
from eventsourcing.tests import application as application_cases
from eventsourcing.tests import persistence as cases
from eventsourcing.tests import projection as projection_cases
from eventsourcing.utils import Environment, get_topic
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.schema import DropSchema

from adapters.log.persistence import LogFactory
from adapters.log.recorders.events import LogAggregateRecorder, LogApplicationRecorder
from adapters.log.recorders.tracking import LogProcessRecorder, LogTrackingRecorder

TRecorder = TypeVar("TRecorder")


@pytest.fixture(scope="module")
def applications(postgres_url: str, migrated_template: str) -> Iterator[str]:
    """The URL of one database for all tests here, which is quicker than one each."""
    name = f"conformance_{uuid4().hex[:12]}"
    with psycopg.connect(
        make_url(postgres_url).set(drivername="postgresql").render_as_string(False), autocommit=True
    ) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
        yield make_url(postgres_url).set(database=name).render_as_string(False)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def fresh(applications: str) -> Iterator[str]:
    """The URL of a database in which no application has a log yet."""
    yield applications
    engine = create_engine(applications)
    with engine.begin() as connection:
        schemas = connection.execute(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'app\\_%'"))
        for schema in schemas.scalars().all():
            connection.execute(DropSchema(schema, cascade=True))
    engine.dispose()


class OnTheLog:
    """An application without a log yet, and in the environment what any application needs."""

    database = "fresh"
    #: Some of the cases know it as an `Environment`, others as any dictionary.
    env: ClassVar[Any]

    @pytest.fixture(autouse=True)
    def _environment(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        settings = {
            "PERSISTENCE_MODULE": "adapters.log.persistence",
            "ROUNDTRIP_DATABASE_URL": request.getfixturevalue(self.database),
        }
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(type(self), "env", Environment("Conformance", settings), raising=False)
        self.factory: Any = InfrastructureFactory.construct(self.env)
        yield
        self.factory.close()


class TextIds:
    def new_originator_id(self) -> str:
        return f"order-{uuid4()}"


class TestAggregateRecorder(OnTheLog, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.factory.aggregate_recorder()


class TestAggregateRecorderWithTextIds(TextIds, TestAggregateRecorder):
    pass


class TestSnapshotRecorder(OnTheLog, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.factory.aggregate_recorder(purpose="snapshots")


class TestSnapshotRecorderWithTextIds(TextIds, TestSnapshotRecorder):
    pass


class TestApplicationRecorder(OnTheLog, cases.ApplicationRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.factory.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(TextIds, TestApplicationRecorder):
    pass


class TestApplicationRecorderOnRoundtripsOwnLog(TestApplicationRecorder):
    database = "database"

    def create_recorder(self) -> Any:
        self.factory.close()
        self.factory = LogFactory(Environment("roundtrip", self.env))
        return self.factory.application_recorder()


class TestNonInterleavingNotificationIds(OnTheLog, cases.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> Any:
        return self.factory.application_recorder()


class TestTrackingRecorder(OnTheLog, cases.TrackingRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.factory.tracking_recorder()


class TestProcessRecorder(OnTheLog, cases.ProcessRecorderTestCase):
    def create_recorder(self) -> Any:
        return self.factory.process_recorder()


class TestProcessRecorderAsApplicationRecorder(TestApplicationRecorder):
    def create_recorder(self) -> Any:
        return self.factory.process_recorder()


class TestInfrastructureFactory(OnTheLog, cases.InfrastructureFactoryTestCase[LogFactory]):
    def expected_factory_class(self) -> type[LogFactory]:
        return LogFactory

    def expected_aggregate_recorder_class(self) -> type[LogAggregateRecorder]:
        return LogAggregateRecorder

    def expected_application_recorder_class(self) -> type[LogApplicationRecorder]:
        return LogApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[LogTrackingRecorder]:
        return LogTrackingRecorder

    def tracking_recorder_subclass(self) -> type[LogTrackingRecorder]:
        return CustomTrackingRecorder

    def expected_process_recorder_class(self) -> type[LogProcessRecorder]:
        return LogProcessRecorder


class CustomTrackingRecorder(LogTrackingRecorder):
    pass


class TestApplication(OnTheLog, application_cases.ApplicationTestCase):
    pass


class TestExampleApplication(OnTheLog, application_cases.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(LogFactory)


class EventCounters(LogTrackingRecorder, projection_cases.EventCountersView):
    """The library's example of a view, kept in a table beside the log and counted with the tracking."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        with engine.begin() as connection:
            connection.execute(
                text("CREATE TABLE IF NOT EXISTS counter (name text PRIMARY KEY, count bigint)")
            )

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        with self.engine.connect() as connection:
            statement = text("SELECT count FROM counter WHERE name = :name")
            return connection.execute(statement, {"name": name}).scalar() or 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.engine.begin() as connection:
            statement = text(
                "INSERT INTO counter VALUES (:name, 1)"
                " ON CONFLICT (name) DO UPDATE SET count = counter.count + 1"
            )
            connection.execute(statement, {"name": name})
            self._insert_tracking(connection, tracking)


class TestEventCountersView(OnTheLog, projection_cases.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> Any:
        return self.factory.tracking_recorder(EventCounters)


class TestProjection(OnTheLog, projection_cases.AggregateEventCountersProjectionTestCase):
    view_class = EventCounters


class TestEventSourcedProjection(OnTheLog, projection_cases.EventSourcedProjectionTestCase):
    pass
