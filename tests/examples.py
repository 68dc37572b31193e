"""How many examples a property test draws: `ROUNDTRIP_EXAMPLES` times as many as it asks for itself.

CI draws more where that proves most, and `make soak` a hundred times as many of all.
"""

from __future__ import annotations

import os

from hypothesis import settings

_TIMES = int(os.environ.get("ROUNDTRIP_EXAMPLES", "1"))


def examples(count: int) -> settings:
    """Settings of a property test that draws `count` examples by default."""
    return settings(max_examples=count * _TIMES, deadline=None)
