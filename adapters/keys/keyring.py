"""The data keys of a process: looked up in `subject_key`, unwrapped once, kept in bounded memory.

An engine that was opened with keys carries a keyring. `append` seals by it and the readers in `adapters.log.read`
open by it, so whoever uses these need not think of keys: a `Row` has its state in the clear, or is `erased`.

Nobody may go on with a key that another process has destroyed. So the log's head counts erasures: what was
remembered at another count is forgotten. A new key is remembered only once it was read
back, as the transaction that made it may yet fail (docs/decisions/0010-keys-and-erasure.md).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from threading import Lock
from typing import Any, Final

import msgspec
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from adapters.keys.making import (
    context_of,
    contexts_of,
    key_rows,
    make_keys,
    sealed,
    write_keys,
)
from adapters.keys.management import KeyManagement, KeyManagementError, KeysMissingError, UnreadableError
from adapters.keys.sealing import NONCE_BYTES, SEALED, place_of_row, same_nonce, seal, unseal
from adapters.log.driver import driver_of
from domain.records import Entry, Row

#: Keys that are remembered: a key takes about 250 bytes.
REMEMBERED: Final = 100_000
#: Of more subjects than these, some are looked up first: so many, spread evenly.
MANY: Final = 1_000
PROBE: Final = 64
#: The execution option of an engine that holds its keyring.
OPTION: Final = "roundtrip_keyring"

_SEALED: Final = bytes([SEALED])

Cursor = psycopg.Cursor[Any]


class DataKey(msgspec.Struct, frozen=True, gc=False):
    """A subject's key, empty where there is none any more. Rows at positions up to `erased_at` are erased.

    A cipher is made of it for each run of a subject's rows: kept, it would take ten times the memory, and reading
    that again takes longer than making it.
    """

    secret: bytes
    erased_at: int


class Keyring:
    """The keys of one engine. May be used by several threads."""

    def __init__(self, management: KeyManagement, remembered: int = REMEMBERED) -> None:
        self._management = management
        self._half = max(remembered // 2, 1)
        self._lock = Lock()
        self._young: dict[str, DataKey] = {}
        self._old: dict[str, DataKey] = {}
        self._as_of = -1

    @property
    def management(self) -> KeyManagement:
        """What wraps its keys."""
        return self._management

    def seal(self, cursor: Cursor, entries: Sequence[Entry], erasures: int) -> Iterator[bytes]:
        """The entries' states, each sealed as it is asked for, but for those that are nobody's. The head's lock has
        to be held; `erasures` is what the head says. The keys are there when this returns."""
        subjects = {owner for entry in entries if (owner := entry[3]) is not None}
        if len(subjects) >= MANY and (anew := self._sealed_anew(cursor, entries, subjects, erasures)):
            return anew
        keys = self._for_writing(cursor, subjects, erasures) if subjects else {}
        return sealed(entries, {subject: key.secret for subject, key in keys.items()})

    def there(
        self, cursor: Cursor, subjects: Sequence[str], probes: bool
    ) -> tuple[int, dict[str, bytes]] | None:
        """How many erasures the head counts, and the keys that there are, for who seals before the head's lock is held.
        Where it `probes`, many subjects are taken for new as far as some of them tell. `None` where somebody was erased
        of whom nothing has come since: a key in place of one that was destroyed is made under the lock."""
        erasures = _erasures(cursor)
        if probes and len(subjects) >= MANY and not self._known(cursor, _some(subjects), erasures):
            return erasures, {}
        known = self._known(cursor, subjects, erasures)
        if not all(key.secret for key in known.values()):
            return None
        return erasures, {subject: key.secret for subject, key in known.items()}

    def destroyed(self, cursor: Cursor, subjects: Collection[str], erasures: int) -> dict[str, int]:
        """Those of the subjects who were erased, and of whom nothing has come since: each with the last position that
        the erasure took. As for `seal`, the head's lock has to be held."""
        known = self._known(cursor, subjects, erasures)
        return {subject: key.erased_at for subject, key in known.items() if not key.secret}

    def open(self, cursor: Cursor, rows: list[Row]) -> list[Row]:
        """The rows with their states in the clear; empty where the subject was erased at or after the row.

        Raises `UnreadableError` naming the position of a row that cannot be opened for another reason.
        """
        subjects = {row.subject for row in rows if row.subject is not None}
        keys = self._known(cursor, subjects, _erasures(cursor))
        return list(_opened(rows, keys))

    def seal_states(
        self, cursor: Cursor, place: bytes, states: Mapping[str, bytes], *, same: bool = False
    ) -> dict[str, bytes]:
        """States beside the log, by subject, sealed for a place. With `same`, equal states are equal bytes."""
        keys = self._for_writing(cursor, states.keys(), None)
        sealed = {}
        for subject, state in states.items():
            secret = keys[subject].secret
            nonce = same_nonce(secret, state, place) if same else os.urandom(NONCE_BYTES)
            sealed[subject] = seal(AESGCM(secret), nonce, state, place)
        return sealed

    def open_states(self, cursor: Cursor, place: bytes, states: Mapping[str, bytes]) -> dict[str, bytes]:
        """What `seal_states` has sealed. Raises `UnreadableError` naming the subject."""
        if not states:
            return {}
        keys = self._known(cursor, states.keys(), _erasures(cursor))
        opened = {}
        for subject, state in states.items():
            key = keys.get(subject)
            try:
                if key is None or not key.secret:
                    raise InvalidTag
                opened[subject] = unseal(AESGCM(key.secret), state, place)
            except InvalidTag as error:
                where = place.decode()
                raise UnreadableError(
                    f"the state of {where} {subject} cannot be opened by its key"
                ) from error
        return opened

    def open_state(self, place: bytes, subject: str, state: bytes, wrapped: bytes | None) -> bytes:
        """As `open_states`, of one, by its wrapped key as it was read with it."""
        try:
            if wrapped is None:
                raise InvalidTag
            secret = self._management.unwrap(context_of(subject), wrapped)
            return unseal(AESGCM(secret), state, place)
        except InvalidTag as error:
            raise UnreadableError(
                f"the state of {place.decode()} {subject} cannot be opened by its key"
            ) from error

    def _for_writing(
        self, cursor: Cursor, subjects: Collection[str], erasures: int | None
    ) -> dict[str, DataKey]:
        """A living key for each subject, made where there is none. Keys are made under the head's lock, so
        two processes never make one for the same subject; `erasures` None says that it is not held yet."""
        if erasures is not None:
            keys = self._known(cursor, subjects, erasures)
        else:
            keys = self._known(cursor, subjects, _erasures(cursor))
            if all(subject in keys and keys[subject].secret for subject in subjects):
                return keys
            [erasures] = cursor.execute("SELECT erasures FROM log_head FOR UPDATE").fetchone() or [0]
            keys = self._known(cursor, subjects, erasures)
        if len(keys) < len(subjects) or not all(key.secret for key in keys.values()):
            absent = [subject for subject in subjects if subject not in keys]
            destroyed = [subject for subject, key in keys.items() if not key.secret]
            keys.update(self._make(cursor, absent, destroyed))
        return keys

    def _sealed_anew(
        self, cursor: Cursor, entries: Sequence[Entry], subjects: Collection[str], erasures: int
    ) -> Iterator[bytes] | None:
        """The states under new keys, where none of the subjects has one as far as some of them tell: what the table's
        primary key says to the new ones is the look-up. `None` where one has."""
        if self._known(cursor, _some(subjects), erasures):
            return None
        secrets, wrapped = make_keys(self._management, list(subjects))
        rows = key_rows(list(subjects), wrapped)
        states = sealed(entries, dict(zip(subjects, secrets, strict=True)))
        early: list[bytes] = []
        cursor.execute("SAVEPOINT keys")
        try:
            write_keys(cursor, rows, lambda: early.extend(islice(states, len(entries) // len(rows))))
        except psycopg.errors.UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT keys")
            return None
        return chain(early, states)

    def _make(
        self, cursor: Cursor, absent: Sequence[str], destroyed: Sequence[str]
    ) -> Iterable[tuple[str, DataKey]]:
        """Keys for subjects that never had one, and for those whose key was destroyed."""
        subjects = [*absent, *destroyed]
        secrets, wrapped = make_keys(self._management, subjects)
        if absent:
            write_keys(cursor, key_rows(absent, wrapped[: len(absent)]))
        if destroyed:
            cursor.execute(
                "UPDATE subject_key AS held SET wrapped = made.wrapped"
                " FROM unnest(%b::text[]::uuid[], %b::bytea[]) AS made (subject, wrapped)"
                " WHERE held.subject = made.subject AND held.wrapped IS NULL",
                (list(destroyed), wrapped[len(absent) :]),
            )
            if cursor.rowcount != len(destroyed):
                raise KeyManagementError("a key was made without the log's head being locked; begin again")
        return [(subject, DataKey(secret, 0)) for subject, secret in zip(subjects, secrets, strict=True)]

    def _known(self, cursor: Cursor, subjects: Collection[str], as_of: int) -> dict[str, DataKey]:
        """The keys that there are, from memory or the table."""
        found: dict[str, DataKey] = {}
        missing: list[str] = []
        with self._lock:
            if self._as_of != as_of:
                self._forget(as_of)
            young, old = self._young, self._old
            for subject in subjects:
                key = young.get(subject)
                if key is None:
                    key = old.get(subject)
                    if key is None:
                        missing.append(subject)
                        continue
                    young[subject] = key
                found[subject] = key
        if missing:
            read = self._read(cursor, missing)
            found.update(read)
            with self._lock:
                if self._as_of == as_of:
                    # What is destroyed may be made anew by anyone, so it is looked up every time.
                    self._young.update((subject, key) for subject, key in read.items() if key.secret)
                    if len(self._young) > self._half:
                        self._old, self._young = self._young, {}
        return found

    def _read(self, cursor: Cursor, subjects: Sequence[str]) -> dict[str, DataKey]:
        unwrap = self._management.unwrap
        named = dict(zip(contexts_of(subjects), subjects, strict=True))
        rows = cursor.execute(
            "SELECT uuid_send(subject), wrapped, coalesce(erased_at, 0) FROM subject_key"
            " WHERE subject = ANY(string_to_array(%b, ',')::uuid[])",
            # One text in place of a list, which psycopg goes through twice.
            (",".join(subjects),),
        )
        return {
            named[context]: DataKey(b"" if wrapped is None else unwrap(context, wrapped), erased_at)
            for context, wrapped, erased_at in rows
        }

    def _forget(self, as_of: int) -> None:
        self._young, self._old = {}, {}
        self._as_of = as_of


def _opened(rows: Sequence[Row], keys: Mapping[str, DataKey]) -> Iterator[Row]:
    owner: str | None = None
    for row in rows:
        position, stream_id, version, topic, subject, recorded_at, state = row
        if subject is None or not state or state[0] != SEALED:
            yield row
            continue
        key = keys.get(subject)
        if key is not None and position <= key.erased_at:
            yield Row(position, stream_id, version, topic, subject, recorded_at, b"")
            continue
        if key is None or not key.secret:
            raise UnreadableError(
                f"the row at position {position} cannot be opened: there is no key of subject {subject}, and it"
                " was not erased; restore table subject_key from a backup"
            )
        if subject != owner:
            owner, cipher = subject, AESGCM(key.secret)
        try:
            state = unseal(cipher, state, place_of_row(stream_id, version))
        except InvalidTag as error:
            raise UnreadableError(
                f"the row at position {position} cannot be opened: it or its key was altered; `roundtrip log verify`"
                " tells which"
            ) from error
        yield Row(position, stream_id, version, topic, subject, recorded_at, state)


def _some(subjects: Collection[str]) -> list[str]:
    return list(islice(subjects, 0, None, len(subjects) // PROBE))


def keyring_of(connection: Connection) -> Keyring:
    """The keyring of the engine that a connection is of. Raises `KeysMissingError`."""
    keyring = connection.get_execution_options().get(OPTION)
    if keyring is None:
        raise KeysMissingError(
            "personal data is sealed, and this connection has no keys; open the database with keys"
            " (`Engines.open`, or `open_database(…, keys=…)`)"
        )
    assert isinstance(keyring, Keyring)
    return keyring


def open_rows(connection: Connection, rows: list[Row]) -> list[Row]:
    """Rows as they are stored, opened (`Keyring.open`). A connection without keys is enough for rows of
    which none is anybody's."""
    if not any(row.state[:1] == _SEALED and row.subject is not None for row in rows):
        return rows
    with driver_of(connection).cursor(binary=True) as cursor:
        return keyring_of(connection).open(cursor, rows)


def _erasures(cursor: Cursor) -> int:
    row = cursor.execute("SELECT erasures FROM log_head").fetchone()
    assert row is not None, "the log has no head row; run `roundtrip migrate`"
    found: int = row[0]
    return found
