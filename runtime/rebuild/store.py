"""What a rebuild keeps on disk between its passes, so that a killed one goes on where it was.

A file is complete once it has its name; a machine that was started anew may have lost what was written, so
its rebuilds begin anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

import domain
import runtime.rebuild
from adapters.keys.sealing import NONCE_BYTES, seal, unseal
from domain.records import Row
from runtime.rebuild.clock import Clock
from runtime.rebuild.components import Shards
from runtime.rebuild.passing import Heard
from runtime.rebuild.scan import Scan
from runtime.rebuild.taken_in import ShardRow

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
#: A stretch's rows in order of shards: where in the file of states each ends, and what goes with it.
_INDEX: Final = np.dtype(
    [("position", "i8"), ("recorded_at", "i8"), ("label", "i8"), ("end", "i8"), ("kind", "i1")]
)


class Manifest(msgspec.Struct, frozen=True):
    """What a rebuild set out to do: only one that does the same may go on with its files."""

    token: str
    goal: int
    as_of: bool
    people: bool
    comparing: bool
    range_rows: int
    erasures: int
    boot: str
    code: str


class Store:
    """The files of one rebuild, in a directory that only its owner can read. What they hold of persons is
    sealed by a key that lies with the rebuilt tables, and goes with them."""

    def __init__(self, home: Path, secret: bytes) -> None:
        self.home = home
        self._cipher = AESGCM(secret)

    def begin(self, manifest: Manifest) -> None:
        """Begins anew."""
        self.remove()
        self.home.mkdir(mode=0o700, parents=True)
        self._put("manifest.json", msgspec.json.encode(manifest))

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def scanned(self, number: int) -> bool:
        return self._file(number, "scan.npz").exists() or self.routed(number)

    def save_scan(self, number: int, scan: Scan) -> None:
        columns = list(zip(*scan.rows, strict=True)) or [()] * 5
        positions, times, kinds, keys, states = columns
        self._file(number, "rows").write_bytes(self._seal(b"".join(states), f"{number}"))
        self._save(
            self._file(number, "scan.npz"),
            positions=np.array(positions, dtype=np.int64),
            times=np.array(times, dtype=np.int64),
            kinds=np.array(kinds, dtype=np.int8),
            keys=np.array(keys, dtype=np.uint64),
            lengths=np.array([len(state) for state in states], dtype=np.int64),
            clock=np.array(scan.clock, dtype=np.int64).reshape(-1, 2),
            nodes=np.sort(np.fromiter(scan.nodes, np.uint64, len(scan.nodes))),
            edges=np.array(sorted(scan.edges), dtype=np.uint64).reshape(-1, 2),
            apart=np.array(scan.apart, dtype=np.int64),
            definitions=np.frombuffer(msgspec.msgpack.encode(scan.definitions), dtype=np.uint8),
        )

    def load_scan(self, number: int) -> dict[str, NDArray[Any]]:
        with np.load(self._file(number, "scan.npz")) as found:
            return {name: found[name] for name in found.files}

    def definitions(self, scan: dict[str, NDArray[Any]]) -> list[Row]:
        return msgspec.msgpack.decode(scan["definitions"].tobytes(), type=list[Row])

    def routed(self, number: int) -> bool:
        return self._file(number, "index").exists()

    def route(self, number: int, shards: Shards) -> None:
        """Puts the rows of one stretch into order of their shards."""
        scan = self.load_scan(number)
        labels = shards.labels_of(scan["keys"])
        of = shards.of_labelled(scan["keys"], labels)
        order = np.argsort(of, kind="stable")
        ends = np.cumsum(scan["lengths"])
        starts = (ends - scan["lengths"])[order].tolist()
        stops = ends[order].tolist()
        whole = self._unseal(self._file(number, "rows").read_bytes(), f"{number}")
        data = [whole[start:stop] for start, stop in zip(starts, stops, strict=True)]
        counts = np.bincount(of, minlength=shards.count)
        borders = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        parts = [
            self._seal(b"".join(data[first:last]), f"{number}/{shard}") if first < last else b""
            for shard, (first, last) in enumerate(pairwise(borders.tolist()))
        ]
        self._file(number, "sorted").write_bytes(b"".join(parts))
        places = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
        index = np.empty(len(order), dtype=_INDEX)
        index["position"], index["recorded_at"] = scan["positions"][order], scan["times"][order]
        index["label"], index["kind"] = labels[order], scan["kinds"][order]
        index["end"] = np.cumsum(scan["lengths"][order])
        index["end"] -= np.concatenate(([0], index["end"]))[borders[of[order]]]
        self._put(f"{number:06d}.index", borders.tobytes() + places.tobytes() + index.tobytes())
        self._file(number, "scan.npz").unlink()
        self._file(number, "rows").unlink()

    def rows_of(
        self, shard: int, shards: int, ranges: Sequence[int], label: int | None = None
    ) -> Iterator[ShardRow]:
        """The rows of one of so many shards in order, or those of one of its components."""
        for number in ranges:
            with self._file(number, "index").open("rb") as file:
                first, last = self._pair(file, shard)
                if first == last:
                    continue
                begin, end = self._pair(file, shards + 1 + shard)
                file.seek(16 * (shards + 1) + first * _INDEX.itemsize)
                index = np.frombuffer(file.read((last - first) * _INDEX.itemsize), dtype=_INDEX)
            with self._file(number, "sorted").open("rb") as file:
                file.seek(begin)
                data = self._unseal(file.read(end - begin), f"{number}/{shard}")
            ends = index["end"]
            starts = np.concatenate(([0], ends[:-1]))
            if label is not None:
                wanted = index["label"] == label
                index, starts, ends = index[wanted], starts[wanted], ends[wanted]
            states = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
            named = (index[name].tolist() for name in ("position", "recorded_at", "kind"))
            yield from map(ShardRow, *named, states)

    def _pair(self, file: BinaryIO, place: int) -> tuple[int, int]:
        file.seek(8 * place)
        first, last = np.frombuffer(file.read(16), dtype=np.int64).tolist()
        return first, last

    def _seal(self, data: bytes, place: str) -> bytes:
        return seal(self._cipher, os.urandom(NONCE_BYTES), data, place.encode())

    def _unseal(self, sealed: bytes, place: str) -> bytes:
        return unseal(self._cipher, sealed, place.encode())

    def save_shards(self, shards: Shards, clock: Sequence[NDArray[np.int64]]) -> None:
        with (self.home / "clock.tmp").open("wb") as file:
            for part in clock:
                part.tofile(file)
        (self.home / "clock.tmp").rename(self.home / "clock")
        count = np.array([shards.count])
        self._save(self.home / "shards.npz", nodes=shards.nodes, labels=shards.labels, count=count)

    def load_shards(self) -> Shards | None:
        try:
            with np.load(self.home / "shards.npz") as found:
                return Shards(found["nodes"], found["labels"], int(found["count"][0]))
        except FileNotFoundError:
            return None

    def clock(self) -> Clock:
        """The log's time, read from the file where it is looked at."""
        file = self.home / "clock"
        if not file.stat().st_size:
            return Clock(np.empty(0, np.int64), np.empty(0, np.int64))
        pairs = np.memmap(file, dtype=np.int64, mode="r").reshape(-1, 2)
        return Clock(pairs[:, 0], pairs[:, 1])

    def save_apart(self, positions: NDArray[np.int64]) -> None:
        self._put("apart", positions.tobytes())

    def apart(self) -> frozenset[int]:
        """The positions of records that were left out."""
        return frozenset(np.frombuffer((self.home / "apart").read_bytes(), dtype=np.int64).tolist())

    def save_heard(self, heard: Heard) -> None:
        """Notes what the scans take for asked for, and forgets those that took less for it."""
        for file in (*self.home.glob("*.scan.npz"), *self.home.glob("*.rows")):
            file.unlink()
        self._put("heard", msgspec.json.encode(sorted(heard)))

    def knows_heard(self) -> bool:
        return (self.home / "heard").exists()

    def heard(self) -> Heard:
        """What the scans take for asked for."""
        return frozenset(msgspec.json.decode((self.home / "heard").read_bytes(), type=list[str]))

    def save_changes(self, changes: bytes) -> None:
        self._put("definitions", changes)

    def changes(self) -> bytes:
        return (self.home / "definitions").read_bytes()

    def _file(self, number: int, name: str) -> Path:
        return self.home / f"{number:06d}.{name}"

    def _put(self, name: str, content: bytes) -> None:
        new = self.home / f"{name}.tmp"
        new.write_bytes(content)
        new.rename(self.home / name)

    def _save(self, file: Path, **arrays: NDArray[Any]) -> None:
        new = file.with_name(f"tmp.{os.getpid()}.{file.name}")
        with new.open("wb") as out:
            np.savez(out, allow_pickle=False, **arrays)
        new.rename(file)


def manifest_in(home: Path) -> Manifest | None:
    """What is under way in this directory, `None` where nothing is that could go on."""
    try:
        found = msgspec.json.decode((home / "manifest.json").read_bytes(), type=Manifest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if (found.boot, found.code) == (boot_id(), code_digest()) else None


def boot_id() -> str:
    """Which start of this machine this is, as far as it tells."""
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


def code_digest() -> str:
    """Which release folds: what another one has folded is not gone on with."""
    digest = hashlib.sha256()
    for package in (domain, runtime.rebuild):
        assert package.__file__ is not None
        for file in sorted(Path(package.__file__).parent.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
