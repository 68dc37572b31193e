"""Named points at which a test kills this process as a crash would: `ROUNDTRIP_FAILPOINT=deliver.sent:2`
is SIGKILL at the second pass of `deliver.sent`. Without that variable a failpoint does nothing."""

from __future__ import annotations

import os
import re
import signal
from itertools import count

_setting = os.environ.get("ROUNDTRIP_FAILPOINT", "")
_match = re.fullmatch(r"([a-z_.]+):([1-9][0-9]*)", _setting)
if _setting and _match is None:
    raise ValueError(
        f"ROUNDTRIP_FAILPOINT={_setting}: is not <name>:<n>; write it as deliver.sent:1, or unset it"
    )
_name = _match[1] if _match else None
_fatal = int(_match[2]) if _match else 0
_passes = count(1)


def failpoint(name: str) -> None:
    """Passes the point of this name."""
    if name == _name and next(_passes) == _fatal:
        os.kill(os.getpid(), signal.SIGKILL)
