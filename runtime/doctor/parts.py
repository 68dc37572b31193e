"""Whether the parts can do their work: the schema is this release's, the streams are there, somebody leads."""

from __future__ import annotations

from typing import Final

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from sqlalchemy import Engine, text

from adapters.bus.streams import IN, LOG, OUT
from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from runtime.doctor.finding import Finding
from runtime.leading import LEAD as PIPELINE_LEAD
from runtime.migrate import revisions
from runtime.pipeline import CHECKPOINT as PIPELINE
from runtime.relay import CHECKPOINT as RELAY
from runtime.relay import LEAD as RELAY_LEAD

STREAMS_THERE: Final = "NATS has the streams"
_READERS: Final = ((PIPELINE, PIPELINE_LEAD), (RELAY, RELAY_LEAD))


def examine_schema(engine: Engine) -> Finding:
    with engine.connect() as connection:
        found, newest = revisions(connection)
    wrong = "" if found == newest else f"it has to come to {newest}; run `roundtrip migrate`"
    return Finding("schema", "the database has this release's schema", f"revision {found}", wrong)


async def examine_streams(js: JetStreamContext) -> Finding:
    missing = []
    for name in (IN, LOG, OUT):
        try:
            await js.stream_info(name)
        except NotFoundError:
            missing.append(name)
    wrong = f"{', '.join(missing)} are not there; `roundtrip relay` makes and fills them" if missing else ""
    return Finding("streams", STREAMS_THERE, "3 streams", wrong)


def examine_readers(engine: Engine) -> list[Finding]:
    """Whether somebody reads where there is something to read."""
    with engine.connect() as connection:
        head = read_head(connection).position
        held = set(
            connection.execute(
                text("SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND granted")
            ).scalars()
        )
        lags = {name: head - read_checkpoint(connection, name) for name, _ in _READERS}
    return [
        Finding(
            name,
            f"the {name} keeps up with the log",
            f"{lags[name]:,} rows behind",
            f"none runs; start `roundtrip {name}`" if lags[name] and lead not in held else "",
        )
        for name, lead in _READERS
    ]
