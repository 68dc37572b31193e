"""Key management with a master key at hand: data keys wrapped by AES-256-GCM.

A wrapped key is a version byte, the first four bytes of the SHA-256 of the master key (which tells one master
key from another and nothing about it), a random nonce of 12 bytes, and the sealed key with its tag.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.keys.management import KeyManagementError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"
_NAME_BYTES: Final = 4
_NONCE_AT: Final = 1 + _NAME_BYTES
_TEXT_AT: Final = _NONCE_AT + NONCE_BYTES
MEND: Final = "make one with: openssl rand -base64 32"


class LocalKeys:
    """The first master key wraps; all of them unwrap. Raises `ValueError` for one that is not of 32 bytes."""

    def __init__(self, masters: Sequence[bytes]) -> None:
        if not masters or any(len(master) != KEY_BYTES for master in masters):
            raise ValueError(f"a master key has {KEY_BYTES} bytes; {MEND}")
        self._masters = tuple(masters)
        self._by_name = {_name(master): AESGCM(master) for master in reversed(masters)}
        self._current = _name(masters[0])

    def __reduce__(self) -> tuple[type[LocalKeys], tuple[tuple[bytes, ...]]]:
        return LocalKeys, (self._masters,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalKeys) and self._masters == other._masters

    def __hash__(self) -> int:
        return hash(self._current)

    def wrap(self, context: bytes, key: bytes) -> bytes:
        [wrapped] = self.wrap_all([context], [key])
        return wrapped

    def wrap_all(self, contexts: Sequence[bytes], keys: Sequence[bytes]) -> list[bytes]:
        encrypt, head = self._by_name[self._current].encrypt, _VERSION + self._current
        random = os.urandom(NONCE_BYTES * len(keys))
        nonces = [random[at : at + NONCE_BYTES] for at in range(0, len(random), NONCE_BYTES)]
        return [
            head + nonce + encrypt(nonce, key, context)
            for nonce, context, key in zip(nonces, contexts, keys, strict=True)
        ]

    def unwrap(self, context: bytes, wrapped: bytes) -> bytes:
        name = wrapped[1 : 1 + _NAME_BYTES]
        master = self._by_name.get(name)
        if wrapped[:1] != _VERSION or master is None:
            known = ", ".join(sorted(one.hex() for one in self._by_name))
            raise KeyManagementError(
                f"a data key was wrapped by master key {name.hex()}, and at hand is {known}; name the right one in"
                " ROUNDTRIP_MASTER_KEY, while keys are rotated both with a comma between them"
            )
        try:
            return master.decrypt(wrapped[_NONCE_AT:_TEXT_AT], wrapped[_TEXT_AT:], context)
        except InvalidTag as error:
            raise KeyManagementError(
                f"a data key wrapped by master key {name.hex()} was altered; restore table subject_key from a backup"
            ) from error

    def is_current(self, wrapped: bytes) -> bool:
        return wrapped[: 1 + _NAME_BYTES] == _VERSION + self._current


def parse_masters(text: str) -> LocalKeys:
    """Master keys in base64, with commas between them. Raises `ValueError` saying what is wrong, without them."""
    masters = []
    for number, word in enumerate(text.split(","), 1):
        try:
            master = base64.b64decode(word.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"key {number} is not base64; {MEND}") from None
        if len(master) != KEY_BYTES:
            raise ValueError(f"key {number} has {len(master)} bytes in place of {KEY_BYTES}; {MEND}")
        masters.append(master)
    return LocalKeys(masters)


def new_master() -> str:
    """A new master key, in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def _name(master: bytes) -> bytes:
    return hashlib.sha256(master).digest()[:_NAME_BYTES]
