"""CloudEvents 1.0 in binary mode: the headers that go with a JSON body, as its NATS binding has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote

from nats.js.api import Header

_MSG_ID = Header.MSG_ID.value
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Visible ASCII but for `"` and `%`, which the binding has percent-encoded, as it has all else.
_is_plain = re.compile(r"[!#$&-~]*").fullmatch
_PLAIN = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def cloud_event(
    *, id: str, type: str, source: str, subject: str | None = None, time_us: int | None = None, msg_id: str
) -> dict[str, str]:
    """The headers of one event. `time_us` is in microseconds since the epoch. `msg_id` is what the stream
    knows a duplicate by, for as long as its duplicate window lasts."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": _encoded(id),
        "ce-source": _encoded(source),
        "ce-type": _encoded(type),
        "content-type": "application/json",
        _MSG_ID: _encoded(msg_id),
    }
    if subject is not None:
        headers["ce-subject"] = _encoded(subject)
    if time_us is not None:
        headers["ce-time"] = _rfc3339(time_us)
    return headers


@lru_cache(maxsize=1_000)
def _rfc3339(time_us: int) -> str:
    at = _EPOCH + timedelta(microseconds=time_us)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=10_000)
def _encoded(text: str) -> str:
    return text if _is_plain(text) else quote(text, safe=_PLAIN)
