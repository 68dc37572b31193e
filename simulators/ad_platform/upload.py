"""What Meta takes as a list of people for an audience, and in which words it refuses one. Pure.

Source: developers.facebook.com/docs: marketing-api/reference/custom-audience/users,
marketing-api/audiences/guides/custom-audiences, graph-api/guides/error-handling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import orjson

MAX_ROWS: Final = 10_000
VERSION: Final = "v25.0"

#: Keys whose values are hashed; the last two are the names that a schema of one key may use.
_HASHED: Final = frozenset(
    {
        *("EMAIL", "PHONE", "GEN", "DOBY", "DOBM", "DOBD", "LN", "FN", "FI", "CT", "ST", "ZIP", "COUNTRY"),
        *("EMAIL_SHA256", "PHONE_SHA256"),
    }
)
_PLAIN: Final = frozenset({"EXTERN_ID", "MADID", "MOBILE_ADVERTISER_ID"})
#: Say something of a person, but not who it is.
_ABOUT: Final = frozenset(
    {"LOOKALIKE_VALUE", "DATA_PROCESSING_OPTIONS", "DATA_PROCESSING_OPTIONS_COUNTRY"}
    | {"DATA_PROCESSING_OPTIONS_STATE"}
)
#: By which of its keys a row is recognised as the same person later, the first that it has.
_STRONGEST: Final = (
    "EXTERN_ID",
    "EMAIL",
    "EMAIL_SHA256",
    "PHONE",
    "PHONE_SHA256",
    "MADID",
    "MOBILE_ADVERTISER_ID",
)
_is_hash: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_SAMPLES: Final = 10
#: As many as a number of 64 bits has.
_DIGITS: Final = 19

INVALID: Final = 100
BAD_TOKEN: Final = 190


class GraphError(Exception):
    """A refusal in the Graph API's shape. `reason` is the counter it goes under."""

    def __init__(self, reason: str, code: int, message: str, *, status: int = 400, subcode: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code
        self.status = status
        self.subcode = subcode


class Row(NamedTuple):
    """One person: what identifies them, and all the keys that came along."""

    key: str
    value: str
    keys: dict[str, str]


class Upload(NamedTuple):
    """One request's people. `batch` is session and sequence number, by which a repeated one is known."""

    rows: tuple[Row, ...]
    num_received: int
    invalid_samples: dict[str, str]
    num_invalid: int
    session_id: str | None
    batch: tuple[str, int] | None


def read_parameters(content_type: str, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The request's parameters, from its address and its body. Objects in a form are written as JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    parameters: dict[str, Any] = dict(query)
    if body and kind == "application/json":
        said = _json(body, "the body")
        if not isinstance(said, dict):
            raise GraphError("malformed", INVALID, "(#100) The body must be a JSON object")
        parameters.update(said)
    elif body and kind == "application/x-www-form-urlencoded":
        try:
            parameters.update(parse_qsl(body.decode(), keep_blank_values=True))
        except UnicodeDecodeError:
            raise GraphError("malformed", INVALID, "(#100) The body must be UTF-8") from None
    elif body:
        raise GraphError(
            "malformed",
            INVALID,
            f"(#100) A body of type {kind or 'none'} is not read here: send a form or JSON",
        )
    return parameters


def read_upload(parameters: Mapping[str, Any]) -> Upload:
    """Raises `GraphError` on the first thing that the vendor would refuse; then nothing is taken."""
    payload = _object(parameters, "payload")
    if payload is None:
        raise GraphError("payload", INVALID, "(#100) The parameter payload is required")
    schema, data = _schema(payload), payload.get("data")
    if not isinstance(data, list) or not data:
        raise GraphError("payload", INVALID, "(#100) payload.data must be a list of at least one row")
    if len(data) > MAX_ROWS:
        raise GraphError(
            "too_many", INVALID, f"(#100) payload.data has {len(data)} rows; at most {MAX_ROWS} go"
        )
    rows: list[Row] = []
    samples: dict[str, str] = {}
    invalid = 0
    for index, values in enumerate(data):
        row = _row(schema, values, index)
        if row is not None:
            rows.append(row)
            continue
        invalid += 1
        if len(samples) < _SAMPLES:
            samples[str(index)] = orjson.dumps(values).decode()
    session_id, batch = _session(parameters)
    return Upload(tuple(rows), len(data), samples, invalid, session_id, batch)


def _schema(payload: Mapping[str, Any]) -> list[str]:
    given = payload.get("schema")
    schema = [given] if isinstance(given, str) else given
    known = _HASHED | _PLAIN | _ABOUT
    if not isinstance(schema, list) or not all(isinstance(key, str) and key in known for key in schema):
        raise GraphError(
            "schema", INVALID, f"(#100) payload.schema must be of the keys {', '.join(sorted(known))}"
        )
    if len(set(schema)) < len(schema) or not set(schema) - _ABOUT:
        raise GraphError(
            "schema", INVALID, "(#100) payload.schema must name each key once, and one of a person"
        )
    return schema


def _row(schema: list[str], values: Any, index: int) -> Row | None:
    """The person; `None` where every key of one is blank, which the vendor counts as an invalid entry."""
    if isinstance(values, str) and len(schema) == 1:
        values = [values]
    if not isinstance(values, list) or len(values) != len(schema):
        raise GraphError(
            "row", INVALID, f"(#100) payload.data[{index}] must have the {len(schema)} values of the schema"
        )
    keys: dict[str, str] = {}
    for key, value in zip(schema, values, strict=True):
        if key in _ABOUT or value is None or value == "":
            continue
        if not isinstance(value, str):
            raise GraphError("row", INVALID, f"(#100) {key} of payload.data[{index}] must be a string")
        if key in _HASHED and not _is_hash(value):
            # The value is not repeated: it may well be the address that should have been hashed.
            raise GraphError(
                "not_hashed",
                INVALID,
                f"(#100) {key} of payload.data[{index}] must be a SHA-256 hash: 64 hexadecimal digits in lower case",
            )
        keys[key] = value
    if not keys:
        return None
    strongest = next((key for key in _STRONGEST if key in keys), None)
    if strongest is None:
        return Row("+".join(sorted(keys)), "+".join(keys[key] for key in sorted(keys)), keys)
    return Row(strongest, keys[strongest], keys)


def _session(parameters: Mapping[str, Any]) -> tuple[str | None, tuple[str, int] | None]:
    session = _object(parameters, "session")
    if session is None:
        return None, None
    session_id, batch_seq = session.get("session_id"), session.get("batch_seq", 0)
    if not _is_number(session_id) or not _is_number(batch_seq) or int(batch_seq) < 1:
        raise GraphError(
            "session", INVALID, "(#100) session must have a numeric session_id and a batch_seq from 1 on"
        )
    if type(session.get("last_batch_flag", False)) is not bool:
        raise GraphError("session", INVALID, "(#100) session.last_batch_flag must be true or false")
    if not _is_number(session.get("estimated_num_total", 0)):
        raise GraphError("session", INVALID, "(#100) session.estimated_num_total must be a number")
    return str(session_id), (str(session_id), int(batch_seq))


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) <= _DIGITS
    return type(value) is int and value >= 0


def _object(parameters: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = parameters.get(name)
    if isinstance(value, str):
        value = _json(value.encode(), name)
    if value is not None and not isinstance(value, dict):
        raise GraphError(name, INVALID, f"(#100) {name} must be an object")
    return value


def _json(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise GraphError("malformed", INVALID, f"(#100) {what} must be valid JSON") from None
