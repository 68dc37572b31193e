"""Whatever a workspace or mapping file holds, it is taken, or refused by a sentence that names the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.commands.import_file import _mapping
from runtime.definitions import WorkspaceError
from runtime.workspace_file import read_workspace
from runtime.yaml_file import YamlError
from tests.servers import REPOSITORY
from tests.unit.mutations import documents, json_values, mutated

MAPPING = """
type: track
event: Order Completed
id: order_no
identifiers: {user_id: customer_no, email: e_mail}
time: {column: at, format: "%d.%m.%Y"}
values:
  total: {column: total, as: number, min: 0, max: 1.5, required: true}
  plan: {column: plan, one_of: [free, pro]}
consent: {push: push_ok, mail: {column: mail_ok, jurisdiction: gdpr}}
delimiter: ";"
"""
FILES: dict[str, str] = {
    **{
        file.parent.name: file.read_text()
        for file in sorted((REPOSITORY / "examples").glob("*/roundtrip.yaml"))
    },
    "tests": (REPOSITORY / "tests/integration/workspace.yaml").read_text(),
    "mapping": MAPPING,
}
#: What PyYAML makes an error of Python's of, or an object that no JSON has.
ODD: dict[str, bytes] = {
    "a date that is none": b"workspace: 2026-13-45\n",
    "a number of 10,000 digits": b"workspace: " + b"9" * 10_000,
    "nested 10,000 deep": b"workspace: " + b"[" * 10_000,
    "a list that holds itself": b"workspace: &a [*a]\nfeeds: *a\nidentifiers: *a\n",
    "bytes that are none": b"workspace: !!binary \xc3\xa9",
    "a set, a date and a float": b"workspace: {? a}\nfeeds: 2026-11-24\nidentifiers: .nan\n",
    "a key that is no text": b"1: a\n2026-11-24: b\n? [a]\n: c\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "an object of Python's": b"workspace: !!python/object/apply:os.getcwd []\n",
    "not UTF-8": b"workspace: \xff\xfe\x00",
    "nothing": b"",
}
READERS: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    "workspace": (read_workspace, WorkspaceError),
    "mapping": (_mapping, YamlError),
}
odd_values = json_values | st.sampled_from(
    ["${HOME}", "*/5 * * * *", "attribute.x", "identifier.", "7d", "\ud800"]
)
some = settings(
    max_examples=max(settings().max_examples // 4, 10),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True, scope="module")
def _secrets_and_addresses() -> Iterator[None]:
    """So that a file is refused for what was altered in it, and not before for what the environment lacks."""
    with pytest.MonkeyPatch.context() as patch:
        for name in re.findall(r"env: (\w+)|\$\{(\w+)\}", "".join(FILES.values())):
            patch.setenv("".join(name), "https://203.0.113.7:443")
        yield


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    file = tmp_path / "order.v2.json"
    file.write_text("{}")
    file = tmp_path / "file.yaml"
    file.write_text(FILES[name])
    READERS["mapping" if name == "mapping" else "workspace"][0](file)


def is_read_or_refused(name: str, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    read, refusal = READERS["mapping" if name == "mapping" else "workspace"]
    try:
        read(file)
    except refusal as error:
        assert str(file) in str(error)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("what", ODD)
def test_an_odd_file(name: str, what: str, tmp_path: Path) -> None:
    is_read_or_refused(name, tmp_path / "file.yaml", ODD[what])


@pytest.mark.parametrize("name", FILES)
@some
@given(data=st.data())
def test_a_file_with_anything_in_any_place(name: str, tmp_path: Path, data: st.DataObject) -> None:
    document = data.draw(documents(yaml.safe_load(FILES[name]), odd_values))
    is_read_or_refused(name, tmp_path / "file.yaml", yaml.dump(document).encode(errors="replace"))


@pytest.mark.parametrize("name", FILES)
@some
@given(data=st.data())
def test_a_file_with_any_bytes_in_it(name: str, tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(mutated(FILES[name].encode()) | st.binary(max_size=100))
    is_read_or_refused(name, tmp_path / "file.yaml", content)
