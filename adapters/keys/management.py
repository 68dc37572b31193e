"""Key management as the rest sees it: something that wraps data keys and unwraps them again.

The one implementation here keeps its master key in the environment or a file (`adapters.keys.local`). A key
management service fits behind the same two calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.mendable import Mendable


class KeyManagementError(Mendable):
    """A data key cannot be wrapped or unwrapped. The message says why and how to mend it, and holds no key."""


class KeysMissingError(KeyManagementError):
    """Personal data was met on a connection that has no keys."""


class UnreadableError(KeyManagementError):
    """Something sealed cannot be opened though its subject was not erased: it was altered, or its key is lost."""


class KeyManagement(Protocol):
    """Wraps data keys under a master key. `context` is what the key is for: unwrapping needs the same.

    Implementations can be pickled, as commands hand them to processes of their own.
    """

    def wrap(self, context: bytes, key: bytes) -> bytes: ...

    def wrap_all(self, contexts: Sequence[bytes], keys: Sequence[bytes]) -> list[bytes]:
        """Many keys, each for the context in its place."""
        ...

    def unwrap(self, context: bytes, wrapped: bytes) -> bytes:
        """Raises `KeyManagementError` where this was not wrapped by a master key that is at hand."""
        ...

    def is_current(self, wrapped: bytes) -> bool:
        """Whether it was wrapped by the master key that wraps now, so that rotation need not touch it."""
        ...
