"""The bodies of a simulator's own endpoints, and the answer to one that cannot be used."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


async def read_json(request: Request) -> Any:
    """Raises `ValueError` where the body is no JSON."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is no JSON: {error}") from error


async def read_fields(request: Request, *names: str) -> list[Any]:
    """The values of exactly these fields. Raises `ValueError` where the body has others, or lacks one."""
    body = await read_json(request)
    if not isinstance(body, dict) or set(body) != set(names):
        raise ValueError(f"the body is not a JSON object of {' and '.join(names)}")
    return [body[name] for name in names]


async def refuse_body(request: Request, error: Exception) -> Response:
    """The answer to a `ValueError` raised while reading a body."""
    return JSONResponse({"error": str(error)}, 400)
