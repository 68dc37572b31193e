"""Heads of the hash chain as lines of JSON, for whoever holds them outside: a file, a subscriber."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from adapters.log.chain import ChainHead
from domain.mendable import Mendable


class WitnessError(Mendable):
    """A file of witnessed heads cannot be read."""


def read_witness(file: Path) -> Iterator[ChainHead]:
    """The heads in a file that `roundtrip log heads` or a subscriber has written, one JSON object a line.

    Raises `WitnessError` naming the line that is none.
    """
    try:
        with file.open() as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    said = json.loads(line)
                    moment = datetime.fromisoformat(said["recorded_at"])
                    digest = bytes.fromhex(said["digest"])
                    yield ChainHead(int(said["position"]), round(moment.timestamp() * 1_000_000), digest)
                except (ValueError, KeyError, TypeError) as error:
                    raise WitnessError(
                        f"{file}: line {number} is not a head of the log ({error}); `roundtrip log heads` writes"
                        ' lines as {"position": 1, "recorded_at": "2026-01-01T00:00:00+00:00", "digest": "…"}'
                    ) from error
    except OSError as error:
        raise WitnessError(
            f"{file}: cannot be read ({error.strerror}); name a file of witnessed heads"
        ) from error


def line_of(head: ChainHead) -> str:
    """A head as a line of such a file."""
    moment = datetime.fromtimestamp(head.recorded_at / 1_000_000, UTC).isoformat()
    return json.dumps({"position": head.position, "recorded_at": moment, "digest": head.digest.hex()})
