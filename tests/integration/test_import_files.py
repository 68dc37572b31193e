"""`roundtrip import`: every row once, also when the process is killed; from folders and from object stores."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import obstore
import obstore.store
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from moto.server import ThreadedMotoServer

from feeds.blocks import BLOCK_ROWS
from runtime.import_reader import WORTH_A_PROCESS
from tests.integration.importing import FEEDS, Command, declare, message_ids, records


@pytest.fixture
def command(database: str, nats_url: str, tmp_path: Path) -> Command:
    declare(database, FEEDS)
    return Command(database, nats_url, tmp_path)


def csv(first: int, count: int, broken: int = 0) -> bytes:
    """Rows of users; every `broken`th has a cell too many."""
    lines = [b"user,plan"]
    for number in range(first, first + count):
        extra = b",x" if broken and number % broken == 0 else b""
        lines.append(b"u-%d,pro%b" % (number, extra))
    return b"\n".join(lines) + b"\n"


def test_killed_anywhere_it_goes_on_and_no_row_is_doubled(
    command: Command, database: str, tmp_path: Path
) -> None:
    file, count = tmp_path / "users.csv", BLOCK_ROWS * 3
    file.write_bytes(csv(1, count, broken=100).replace(b"pro", b"pro" * 30))
    assert file.stat().st_size >= WORTH_A_PROCESS
    asked = ("import", file, "--feed", "crm", "--mapping", command.mapping(values={"plan": "plan"}))
    for point in (
        "import.before_commit:1",
        "import.committed:1",
        "import.before_commit:2",
        "import.committed:1",
    ):
        killed = command(*asked, ROUNDTRIP_FAILPOINT=point)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = command(*asked)
    assert done.returncode == 0, done.stderr
    assert f"{count - count // 100:,} new, 0 known before, {count // 100} rejected" in done.stdout
    found = message_ids(database)
    assert set(found.values()) == {1}
    assert set(found) == {f"u-{number}" for number in range(1, count + 1) if number % 100}
    aside = (tmp_path / "users.csv.rejected.ndjson").read_text().splitlines()
    assert [json.loads(line)["number"] for line in aside] == [n + 1 for n in range(100, count + 1, 100)]
    assert json.loads(aside[0]) == {
        "number": 101,
        "code": "ragged",
        "reason": "2 cells are expected, here are 3",
        "row": ["u-100", "pro" * 30, "x"],
    }
    again = command(*asked)
    assert again.returncode == 0
    assert "imported before, and passed over" in again.stdout
    assert len(records(database)) == count - count // 100


def test_a_folder_and_patterns_stand_for_their_files(command: Command, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_bytes(csv(0, 2))
    (folder / "b.csv.gz").write_bytes(gzip.compress(csv(10, 2)))
    (folder / "c.ndjson.zst").write_bytes(zstandard.compress(b'{"user":"u-20","plan":"pro"}\n'))
    (folder / "notes.txt").write_text("not a table")
    (folder / "deep" / "d.csv").write_bytes(csv(30, 1))
    pyarrow.parquet.write_table(pyarrow.table({"user": ["u-40"], "plan": ["free"]}), folder / "e.parquet")
    mapping = command.mapping()
    done = command("import", folder, folder / "**" / "d.csv", "--feed", "crm", "-m", mapping)
    assert done.returncode == 0, done.stderr
    expected = {"u-0", "u-1", "u-10", "u-11", "u-20", "u-30", "u-40"}
    assert message_ids(database) == dict.fromkeys(expected, 1)
    none = command("import", folder / "*.orc", "--feed", "crm", "-m", mapping)
    assert (none.returncode, "there is no such file" in none.stderr) == (2, True)


def test_a_preview_shows_records_and_what_became_of_their_cells(
    command: Command, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "users.csv"
    file.write_bytes(b"\xef\xbb\xbfuser,age\nu-1,042\nu-2,old\n")
    rules = command.mapping(values={"age": {"column": "age", "as": "integer"}})
    shown = command("import", file, "--feed", "crm", "-m", rules, "--preview").stdout
    assert 'age (integer): "042" → 42' in shown
    assert "3: rejected: wrong_value: column 'age' is not a whole number of at most 64 bits" in shown
    assert not records(database)


def test_a_file_that_breaks_off_is_named_and_goes_on_once_it_is_whole(
    command: Command, database: str, tmp_path: Path
) -> None:
    file, whole = tmp_path / "users.csv.gz", gzip.compress(csv(0, BLOCK_ROWS * 2))
    asked = ("import", file, "--feed", "crm", "-m", command.mapping())
    file.write_bytes(whole[: len(whole) // 2])
    broken = command(*asked)
    assert broken.returncode == 2
    assert f"{file}: the reading broke off" in broken.stderr
    file.write_bytes(whole)
    assert command(*asked).returncode == 0
    assert message_ids(database) == dict.fromkeys((f"u-{n}" for n in range(BLOCK_ROWS * 2)), 1)


@pytest.fixture
def lake() -> Iterator[dict[str, str]]:
    """A server that speaks S3, with a bucket `lake`; the environment that leads there."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }
    try:
        import urllib.request

        request = urllib.request.Request(f"http://{host}:{port}/lake", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        yield environment
    finally:
        server.stop()


def test_files_come_out_of_an_object_store(
    command: Command, database: str, tmp_path: Path, lake: dict[str, str]
) -> None:
    store = obstore.store.S3Store(
        "lake",
        endpoint=lake["AWS_ENDPOINT_URL"],
        access_key_id="testing",
        secret_access_key="testing",
        region="us-east-1",
        client_options={"allow_http": True},
    )
    table = tmp_path / "p.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"user": [f"p-{n}" for n in range(10)]}), table)
    obstore.put(store, "in/2026/a.csv.gz", gzip.compress(csv(0, 10, broken=5)))
    obstore.put(store, "in/2026/b.csv.gz", gzip.compress(csv(10, 5)))
    obstore.put(store, "in/p.parquet", table.read_bytes())
    obstore.put(store, "in/notes.txt", b"not a table")
    asked = ("--feed", "crm", "-m", command.mapping())
    done = command("import", "s3://lake/in/**/*.csv.gz", "s3://lake/in/", *asked, **lake)
    assert done.returncode == 0, done.stderr
    expected = {f"u-{n}" for n in range(15) if n not in (0, 5)} | {f"p-{n}" for n in range(10)}
    assert message_ids(database) == dict.fromkeys(expected, 1)
    assert len((tmp_path / "a.csv.gz.rejected.ndjson").read_text().splitlines()) == 2
    gone = command("import", "s3://lake/in/gone.csv", *asked, **lake)
    assert (gone.returncode, "gone.csv: cannot be read (there is no such file)" in gone.stderr) == (2, True)
    deep = command("import", "s3://lake/", *asked, **lake)
    assert (deep.returncode, "s3://lake/**/*.csv.gz" in deep.stderr) == (2, True)
