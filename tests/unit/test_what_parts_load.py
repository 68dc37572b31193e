"""A part that answers by HTTP, folds, relays or delivers starts soon and stays small: it loads no arrays, no lake."""

from __future__ import annotations

import subprocess
import sys

PARTS = ("runtime.serve", "runtime.pipeline", "runtime.relay", "runtime.deliver")
LARGE = ("duckdb", "deltalake", "numpy", "pyarrow")


def test_no_part_loads_what_only_the_lake_and_files_need() -> None:
    said = f"import sys, {', '.join(PARTS)}; print(*(set({LARGE!r}) & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
