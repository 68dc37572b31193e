"""A row of the log as a line of JSON, which a person can read and a program too."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.records import Row


def line_of_row(row: Row) -> bytes:
    """One JSON object without a line break. What the row says is in `state`; where that is not JSON, in
    `state_base64`. A row whose person was erased says nothing: it is `erased`."""
    said: dict[str, Any] = {
        "position": row.position,
        "recorded_at": datetime.fromtimestamp(row.recorded_at / 1_000_000, UTC),
        "topic": row.topic,
        "subject": row.subject,
        "stream_id": row.stream_id,
        "version": row.version,
    }
    if row.erased:
        return msgspec.json.encode(said | {"erased": True})
    try:
        # A source's item is kept byte for byte, with whatever line breaks it came with.
        said["state"] = msgspec.Raw(msgspec.json.format(row.state, indent=-1))
    except msgspec.DecodeError:
        said["state_base64"] = base64.b64encode(row.state).decode()
    return msgspec.json.encode(said)
