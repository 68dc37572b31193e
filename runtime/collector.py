"""How often Python's cycle collector looks at what a process holds."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """What a request or a batch makes is gone by its end without the cycle collector, which by default would look at
    all of it several times a batch: up to a fifth of the processor. What is there at the start is looked at no more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
