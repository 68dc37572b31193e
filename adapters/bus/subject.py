"""Any text as one token of a NATS subject: what NATS would read as syntax is percent-encoded."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote_from_bytes

_PLAIN: Final = re.compile(r"[A-Za-z0-9_~!$&'()+,/:;=?@-]+")
_SAFE: Final = "_~!$&'()+,/:;=?@-"
_EMPTY: Final = "-"


@lru_cache(maxsize=10_000)
def token(text: str) -> str:
    """The token for this text. Different texts have different tokens, and a plain name is its own."""
    if text == _EMPTY:
        return "%2D"
    if not text:
        return _EMPTY
    if _PLAIN.fullmatch(text):
        return text
    # `quote` takes the dot for safe in any case.
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe=_SAFE).replace(".", "%2E")
