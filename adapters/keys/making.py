"""New keys, and states sealed under them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.keys.local import KEY_BYTES
from adapters.keys.management import KeyManagement
from adapters.keys.sealing import NONCE_BYTES, place_of_row, seal
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
    return secrets, management.wrap_all(contexts_of(subjects), secrets)


def key_rows(subjects: Sequence[str], wrapped: Sequence[bytes]) -> list[bytes]:
    """Tuples of `subject_key` in PostgreSQL's binary COPY format, in pieces, and in order of the index, whose pages
    are then gone through once."""
    # Up to the subject all are the same bytes.
    rows = sorted(
        _KEY.pack(2, 16, context, len(key)) + key
        for context, key in zip(contexts_of(subjects), wrapped, strict=True)
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


def contexts_of(subjects: Sequence[str]) -> list[bytes]:
    """What the data keys of many are wrapped for."""
    # All at once: a call for each would be a good part of making a key.
    together = context_of("".join(subjects))
    return [together[at : at + 16] for at in range(0, len(together), 16)]
