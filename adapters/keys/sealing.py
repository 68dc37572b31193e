"""What is sealed under a data key: one version byte, a nonce of 12 bytes, AES-256-GCM's text and tag.

What a seal is bound to (its place) is authenticated along: moved to another place, it does not open.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEALED: Final = 1
_VERSION: Final = bytes([SEALED])
NONCE_BYTES: Final = 12
_TEXT_AT: Final = 1 + NONCE_BYTES


def place_of_row(stream_id: str, version: int) -> bytes:
    """The place of a row's state: its stream and version, and thereby its record."""
    return f"{stream_id}:{version}".encode()


def seal(key: AESGCM, nonce: bytes, text: bytes, place: bytes) -> bytes:
    return b"%b%b%b" % (_VERSION, nonce, key.encrypt(nonce, text, place))


def unseal(key: AESGCM, sealed: bytes, place: bytes) -> bytes:
    """Raises `cryptography.exceptions.InvalidTag` where it was altered, or sealed by another key or for
    another place."""
    return key.decrypt(sealed[1:_TEXT_AT], sealed[_TEXT_AT:], place)


def same_nonce(secret: bytes, text: bytes, place: bytes) -> bytes:
    """A nonce that the same text at the same place always has, and no other text: a keyed hash.

    For tables that are compared with their rebuilt twins: equal states are equal bytes, and all that shows
    from outside is that a state is the same as before.
    """
    return hashlib.blake2b(
        place + b"\x00" + text, key=secret, digest_size=NONCE_BYTES, person=b"nonce"
    ).digest()
