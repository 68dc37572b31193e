"""All that can still be read of a person, wherever a whole Roundtrip keeps something."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import nats
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from adapters.bus.streams import IN, LOG, OUT
from adapters.history.tables import History
from adapters.log.read import iterate
from adapters.projections.people import load_profiles
from adapters.quarantine import put_asides
from benchmarks.platform import Platform
from runtime.engines import running as engines_of


async def messages(url: str) -> list[bytes]:
    """Every message that NATS would still give to anybody."""
    client = await nats.connect(url)
    js = client.jetstream()
    found = []
    for stream in (IN, LOG, OUT):
        state = (await js.stream_info(stream)).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            try:
                found.append((await js.get_msg(stream, sequence)).data or b"")
            except nats.js.errors.NotFoundError:
                continue
    await client.close()
    return found


def readable(ours: Platform, connection: Connection) -> dict[str, bytes]:
    """All that anybody with every key can read, by place."""
    engines = engines_of(ours.home)
    assert engines is not None
    tables = connection.execute(
        text(
            "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'"
        )
    ).scalars()
    places = {
        name: "\n".join(connection.execute(text(f"SELECT t::text FROM {name} t")).scalars()).encode()
        for name in list(tables)
    }
    places["log, opened"] = b"\n".join(row.state for row in iterate(connection))
    ids = connection.execute(text("SELECT profile::text FROM profile")).scalars().all()
    places["profiles, opened"] = repr(load_profiles(connection, ids)).encode()
    places["quarantine, opened"] = repr(put_asides(connection)).encode()
    places["messages"] = b"\n".join(asyncio.run(messages(engines.nats_url)))
    history = History(f"{ours.home}/lake")
    for name, files in history.files().items():
        rows = [pq.read_table(file.removeprefix("file://")).to_pylist() for file in files]
        places[f"lake {name}"] = repr(rows).encode()
    return places


def on_disk(home: Path, values: Collection[str]) -> list[str]:
    """The files below a home that have one of these in the clear."""
    found = []
    for file in home.rglob("*"):
        if file.is_file() and not file.is_symlink():
            try:
                content = file.read_bytes()
            except OSError:
                continue
            found += [f"{file}: {value}" for value in values if value.encode() in content]
    return found


def holding(places: dict[str, bytes], values: Collection[str]) -> set[str]:
    """The places that have one of these."""
    return {place for place, content in places.items() for value in values if value.encode() in content}
