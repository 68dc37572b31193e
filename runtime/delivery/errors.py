"""Why a batch is left as it is, to be taken up again. None of these is a fault of its records."""

from __future__ import annotations


class LeftError(Exception):
    """The batch goes back to NATS. What was sent of it is sent again with the same idempotency key."""


class StoppedError(LeftError):
    """This worker is ending."""


class LeaseLostError(LeftError):
    """NATS may have given the batch to another worker."""


class SandboxAwayError(LeftError):
    """There is no process to run the connection's transformation in."""


class ConsentUnknownError(LeftError):
    """Raised by a port that cannot tell now who consents, or what has overtaken a record, as its store is away."""
