"""The log's tables. Times are microseconds since the epoch; what changes them is in `migrations/`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)

metadata = MetaData()

#: Rows in one partition of a log, unless its head row says otherwise.
PARTITION_ROWS: Final = 10_000_000

#: The channel on which an append tells its last position.
CHANNEL: Final = "roundtrip_log"

#: Partitioned by position. Nothing but an append writes here, and nothing ever changes a row.
log = Table(
    "log",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("stream_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("topic", Text, nullable=False),
    Column("subject", Uuid),
    Column("recorded_at", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

#: Where each version of each stream stands: the uniqueness that makes a duplicate a no-op.
log_stream = Table(
    "log_stream",
    metadata,
    Column("stream_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("position", BigInteger, nullable=False),
)

#: One row: the last position, its time and digest, which clock stamps the log, and how often keys were
#: destroyed. Its lock is the append's.
log_head = Table(
    "log_head",
    metadata,
    Column("singleton", Boolean, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("clock", Text, nullable=False),
    Column("partition_rows", BigInteger, nullable=False),
    Column("erasures", BigInteger, nullable=False),
)

#: The hash chain: each batch's digest covers the digest before it and the batch's rows. `checks` has four
#: bytes for each row, its CRC-32: they prove nothing, and name the row where the digest proves a change.
log_batch = Table(
    "log_batch",
    metadata,
    Column("last_position", BigInteger, primary_key=True, autoincrement=False),
    Column("first_position", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("checks", LargeBinary),
)

#: The partitions that are in the lake and no longer here: which rows, their digest, and the Delta table.
log_archive = Table(
    "log_archive",
    metadata,
    Column("partition", BigInteger, primary_key=True, autoincrement=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("location", Text, nullable=False),
    Column("archived_at", DateTime(timezone=True), nullable=False),
)

#: The ids that applications gave as text, by the stream that was derived from each.
log_name = Table(
    "log_name",
    metadata,
    Column("stream_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
)

#: Each subject's data key, wrapped by the master key; none any more where the subject was erased. Rows up to
#: `erased_at` cannot be opened. A replay takes the identifier for gone at positions below `gone_before`.
subject_key = Table(
    "subject_key",
    metadata,
    Column("subject", Uuid, primary_key=True),
    Column("wrapped", LargeBinary),
    Column("erased_at", BigInteger),
    Column("gone_before", BigInteger),
)

#: Who was last known on a device: the node of the identifier that led the record that said so, when that occurred
#: (microseconds), and where it stands.
device_user = Table(
    "device_user",
    metadata,
    Column("device", Uuid, primary_key=True),
    Column("subject", Uuid, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
)
Index("device_user_subject", device_user.c.subject)

#: What an application keeps by version beside its events: snapshots. Not part of the log's truth.
log_snapshot = Table(
    "log_snapshot",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("stream_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

#: How far an application has come in the sequence of each application that it follows.
log_tracking = Table(
    "log_tracking",
    metadata,
    Column("application_name", Text, primary_key=True),
    Column("notification_id", BigInteger, nullable=False),
)
