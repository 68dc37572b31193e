"""The three streams, and how each is bounded.

What waits in a work queue is never dropped: a full queue refuses, and the sender keeps it. The log's copy
drops its oldest, since the log itself has everything.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import BadRequestError, NotFoundError

IN: Final = "ROUNDTRIP_IN"
LOG: Final = "ROUNDTRIP_LOG"
OUT: Final = "ROUNDTRIP_OUT"

DUPLICATE_WINDOW_S: Final = 120.0
_GIB: Final = 1024**3
_DAY_S: Final = 86_400.0
_NAME_IN_USE: Final = 10058

_QUEUE: Final[dict[str, Any]] = {
    "retention": RetentionPolicy.WORK_QUEUE,
    "discard": DiscardPolicy.NEW,
    "max_bytes": _GIB,
}
_STREAMS: Final[dict[str, dict[str, Any]]] = {
    IN: {"subjects": ["roundtrip.in.*", "roundtrip.outcome.*"], **_QUEUE},
    LOG: {
        "subjects": ["roundtrip.log.>", "roundtrip.audience.>", "roundtrip.profile.>"],
        "retention": RetentionPolicy.LIMITS,
        "discard": DiscardPolicy.OLD,
        "max_bytes": 2 * _GIB,
        "max_age": 7 * _DAY_S,
    },
    OUT: {"subjects": ["roundtrip.out.*"], **_QUEUE},
}


class Stream(NamedTuple):
    """A stream that is there now. `created` is when the server made it (RFC 3339): another value than
    before means that the server has lost the stream, and with it all that was in it. `new` is true when it
    was made just now."""

    name: str
    created: str
    new: bool


async def ensure_streams(js: JetStreamContext, replicas: int = 1) -> list[Stream]:
    """Makes the streams that are missing, with so many replicas, and brings the others' bounds up to date
    (not their replicas, which an operator may have changed). May be called at any time, by any process."""
    return [await _ensure(js, name, settings, replicas) for name, settings in _STREAMS.items()]


async def _ensure(js: JetStreamContext, name: str, settings: dict[str, Any], replicas: int) -> Stream:
    wanted = {**settings, "storage": StorageType.FILE, "duplicate_window": DUPLICATE_WINDOW_S}
    try:
        return _stream(await _update(js, name, wanted), new=False)
    except NotFoundError:
        try:
            info = await js.add_stream(StreamConfig(name=name, num_replicas=replicas, **wanted))
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:
                raise
            # Another process made it meanwhile, with other replicas.
            return _stream(await _update(js, name, wanted), new=False)
        return _stream(info, new=bool(info.did_create))


async def _update(js: JetStreamContext, name: str, wanted: dict[str, Any]) -> StreamInfo:
    info = await js.stream_info(name)
    if all(getattr(info.config, key) == value for key, value in wanted.items()):
        return info
    return await js.update_stream(info.config.evolve(**wanted))


def _stream(info: StreamInfo, new: bool) -> Stream:
    assert info.config.name is not None
    assert info.created is not None
    return Stream(info.config.name, info.created.isoformat(), new)
