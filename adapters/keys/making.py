"""New keys, and states sealed under them.

Both can be done ahead by whoever has the master key, before the log's head is locked: whether somebody was erased since
says the head, and whether somebody has a key by now the primary key of `subject_key`, as the new ones are written down.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.keys.local import KEY_BYTES
from adapters.keys.management import KeyManagement
from adapters.keys.sealing import NONCE_BYTES, place_of_row, seal, unseal
from adapters.log.wire import HEADER, TRAILER
from domain.records import Entry

#: Keys that are written at once.
_PIECE: Final = 250
#: A tuple of `subject_key` up to the wrapped key, in PostgreSQL's binary COPY format.
_KEY: Final = struct.Struct(">hi16si")


def make_keys(management: KeyManagement, subjects: Sequence[str]) -> tuple[list[bytes], list[bytes]]:
    """A new key for each subject, and these as they are wrapped."""
    random = os.urandom(KEY_BYTES * len(subjects))
    secrets = [random[at : at + KEY_BYTES] for at in range(0, len(random), KEY_BYTES)]
    return secrets, management.wrap_all(_contexts(subjects), secrets)


def key_rows(subjects: Sequence[str], wrapped: Sequence[bytes]) -> list[bytes]:
    """Tuples of `subject_key` in PostgreSQL's binary COPY format, in pieces, and in order of the index, whose pages
    are then gone through once."""
    # Up to the subject all are the same bytes.
    rows = sorted(
        _KEY.pack(2, 16, context, len(key)) + key
        for context, key in zip(_contexts(subjects), wrapped, strict=True)
    )
    return [b"".join(rows[at : at + _PIECE]) for at in range(0, len(rows), _PIECE)]


def write_keys(
    cursor: psycopg.Cursor[Any], rows: Iterable[bytes], meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Writes new keys down (`key_rows`); does something after each piece, as the server is at work on it.

    Raises psycopg's `UniqueViolation` where a subject has or had a key."""
    with cursor.copy("COPY subject_key (subject, wrapped) FROM STDIN (FORMAT binary)") as copy:
        copy.write(HEADER)
        for piece in rows:
            copy.write(piece)
            meanwhile()
        copy.write(TRAILER)


class SealedAhead(NamedTuple):
    """Entries whose states are sealed, under keys that were there as the log's head counted so many `erasures`, and new
    ones for those who had none then. `secrets` are all of these keys, in the order in which whose they are come, `rows`
    those that are new (`key_rows`)."""

    entries: Sequence[Entry]
    erasures: int
    secrets: bytes
    rows: Sequence[bytes]


def seal_ahead(
    management: KeyManagement, entries: Sequence[Entry], known: Mapping[str, bytes], erasures: int
) -> SealedAhead:
    """The entries as they may be appended while nobody is erased, and nobody else makes a key for somebody who is not
    among the `known` (`adapters.log.append.append_ahead`)."""
    subjects = subjects_of(entries)
    new = [subject for subject in subjects if subject not in known]
    made, wrapped = make_keys(management, new)
    secrets = {**known, **dict(zip(new, made, strict=True))}
    states = sealed(entries, secrets)
    return SealedAhead(
        [Entry(*entry[:4], state) for entry, state in zip(entries, states, strict=True)],
        erasures,
        b"".join(map(secrets.__getitem__, subjects)),
        key_rows(new, wrapped),
    )


def open_ahead(ahead: SealedAhead) -> list[Entry]:
    """The entries with their states in the clear again."""
    secrets = (ahead.secrets[at : at + KEY_BYTES] for at in range(0, len(ahead.secrets), KEY_BYTES))
    keys = dict(zip(subjects_of(ahead.entries), secrets, strict=True))
    return [
        entry
        if entry.subject is None
        else entry._replace(
            state=unseal(
                AESGCM(keys[entry.subject]), entry.state, place_of_row(entry.stream_id, entry.version)
            )
        )
        for entry in ahead.entries
    ]


def subjects_of(entries: Iterable[Entry]) -> list[str]:
    """Whose they are, in the order in which these first come."""
    return list(dict.fromkeys(owner for entry in entries if (owner := entry[3]) is not None))


def sealed(entries: Sequence[Entry], secrets: Mapping[str, bytes]) -> Iterator[bytes]:
    """The entries' states, each sealed as it is asked for, but for those that are nobody's."""
    nonces = os.urandom(NONCE_BYTES * len(entries))
    owner: str | None = None
    for start, (stream_id, version, _, subject, state) in zip(
        range(0, len(nonces), NONCE_BYTES), entries, strict=True
    ):
        if subject is None:
            yield state
            continue
        if subject != owner:
            # What somebody does comes in runs, and making a cipher takes as long as sealing by it.
            owner, cipher = subject, AESGCM(secrets[subject])
        yield seal(cipher, nonces[start : start + NONCE_BYTES], state, place_of_row(stream_id, version))


def context_of(subject: str) -> bytes:
    """What a subject's data key is wrapped for."""
    return bytes.fromhex(subject.replace("-", ""))


def _contexts(subjects: Sequence[str]) -> list[bytes]:
    # All at once: a call for each would be a good part of making a key.
    together = context_of("".join(subjects))
    return [together[at : at + 16] for at in range(0, len(together), 16)]
