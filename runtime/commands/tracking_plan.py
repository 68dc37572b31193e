"""`roundtrip plan infer`: a tracking plan out of a feed's history."""

from __future__ import annotations

import os
from typing import Annotated

import typer
import yaml

from adapters.log.read import pages, read_head
from domain.inference import SAMPLES, Inference
from domain.records import record_of
from runtime.engines import open_engines
from runtime.settings import load_settings


def infer(
    feed: Annotated[list[str], typer.Option(help="A feed whose records are looked at; may be repeated.")],
    name: Annotated[str, typer.Option(help="What the plan is called.")] = "inferred",
    last: Annotated[int, typer.Option(min=1, help="Look at so many of the log's last rows.")] = 1_000_000,
    samples: Annotated[int, typer.Option(min=1, help="Records of each event that are enough.")] = SAMPLES,
) -> None:
    """Propose a tracking plan from history, as a part of a workspace file. It marks, and stops nothing."""
    found = Inference(samples)
    with open_engines(load_settings(os.environ)) as engines:
        database = engines.open("plan")
        try:
            with database.connect() as connection:
                after = max(read_head(connection).position - last, 0)
            for page in pages(database, after):
                for row in page:
                    if row.topic.startswith(("track.", "identify.")) and not row.erased:
                        record = record_of(row.state)
                        if record.feed in feed:
                            found.take_in(record)
        finally:
            database.dispose()
    if not found.counts():
        typer.echo(f"roundtrip: the log has no track or identify record of {', '.join(feed)}", err=True)
        raise typer.Exit(1)
    for event, count in found.counts().items():
        typer.echo(f"{event}: {count:,} records", err=True)
    document = {"tracking_plans": {name: found.plan(feed)}}
    typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
