"""The projections' tables: all of them can be dropped and folded again from the log.

Times are microseconds since the epoch. The tables carry no schema name: a rebuild makes them again in a
schema of its own.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

#: Up to which position a reader of the log has come.
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
)

#: What the workspace declares, as of the pipeline's position.
definition = Table(
    "definition",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("body", JSONB, nullable=False),
    Column("position", BigInteger, nullable=False),
)

#: The identity graph: which profile an identifier leads to.
identity = Table(
    "identity",
    metadata,
    Column("node", Uuid, primary_key=True),
    Column("profile", Uuid, nullable=False),
)

#: One row a person. `due` is the log time at which time alone may change something.
profile = Table(
    "profile",
    metadata,
    Column("profile", Uuid, primary_key=True),
    Column("due", BigInteger),
    Column("state", LargeBinary, nullable=False),
)
Index("profile_due", profile.c.due, postgresql_where=profile.c.due.isnot(None))

#: Who is in which audience, since when.
membership = Table(
    "membership",
    metadata,
    Column("audience", Text, primary_key=True),
    Column("profile", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("entered_at", BigInteger, nullable=False),
)

#: What became of each outbound record.
outbound = Table(
    "outbound",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("connection", Text, nullable=False),
    Column("batch", Uuid, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("profile", Uuid),
)
Index("outbound_profile", outbound.c.profile)
Index(
    "outbound_dead",
    outbound.c.connection,
    outbound.c.position,
    postgresql_where=outbound.c.status == "dead",
)
Index("outbound_pending", outbound.c.position, postgresql_where=outbound.c.status == "pending")

#: Where the rows of each subject stand, up to the checkpoint `subjects`; those of the workspace's definitions are one
#: subject. Nothing but the log says more, so it can be filled again from there.
subject_position = Table(
    "subject_position",
    metadata,
    Column("subject", Uuid, primary_key=True),
    Column("position", BigInteger, primary_key=True),
)

#: Engagement that came in, and which outbound record it answers: none where nobody can know. `inferred` is a guess.
answer = Table(
    "answer",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("outbound", Uuid),
    Column("connection", Text, nullable=False),
    Column("feed", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("inferred", Boolean, nullable=False),
)
Index("answer_outbound", answer.c.outbound)

#: Whom a connection was first not told of because they are held out, and when.
held_out = Table(
    "held_out",
    metadata,
    Column("connection", Text, primary_key=True),
    Column("profile", Uuid, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

#: Which NATS streams the relay has filled: a stream made at another time is a stream that was lost.
bus_stream = Table(
    "bus_stream",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created", Text, nullable=False),
)

#: Those that `rebuild` makes again and compares. Checkpoints are where a reader stands, not what it says.
REBUILT = (definition, identity, profile, membership, outbound)
