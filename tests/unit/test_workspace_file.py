"""A workspace file with a mistake is refused whole, and the refusal names the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.definitions import WorkspaceError
from runtime.workspace_file import read_workspace

HEAD = """workspace: shop
feeds:
  app: {format: segment, secret: {env: KEY}}
audiences:
"""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("  a:\n    match:\n      event: A\n      witin: 7d\n", ":8: audiences.a.match.witin: "),
        (
            "  a:\n    match:\n      all:\n        - event: A\n        - {event: B, within: 3x}\n",
            ":9: audiences.a.match.all.1",
        ),
        ("  a: {match: {event: A}}\n  b: {match: {in_audience: c}}\n", ":6: audience 'b' refers to 'c'"),
        ("  a: {match: {in_audience: b}}\n  b: {match: {in_audience: a}}\n", "in a circle"),
        ("  a: [\n", "not YAML"),
    ],
)
def test_the_line_of_a_mistake_is_named(tmp_path: Path, rest: str, said: str) -> None:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(HEAD + rest)
    with pytest.raises(WorkspaceError) as caught:
        read_workspace(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
