"""Consents of the IAB's Transparency and Consent Framework, version 2, as the string that consent tools make of them.

Source: github.com/InteractiveAdvertisingBureau/GDPR-Transparency-and-Consent-Framework, "Consent string and vendor list
formats v2". The core segment is at least 230 bits; purposes stand in bits 152 to 175.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from iab_tcf import decode_v2

from domain.records import ConsentTerms
from feeds.feed import InvalidError, Problem

#: The purposes that version 2.2 of the framework defines; those of higher numbers are not assigned.
PURPOSES: Final = 11
_CORE: Final = re.compile(r"C[A-Za-z0-9_-]{38,}")
_LONGEST: Final = 10_000


class Framework(NamedTuple):
    """What a string says: `tcf.1` to `tcf.11` → whether the person consents, and under which version of the
    framework's policy and vendor list."""

    purposes: dict[str, bool]
    terms: ConsentTerms


def read_framework(said: Any, pointer: str) -> Framework:
    """Reads a string. Raises `InvalidError` for what is none."""
    core = said.partition(".")[0] if isinstance(said, str) else ""
    # What is cut short or empty the library reads as consent to everything; six bits over it fails on.
    if len(core) > _LONGEST or len(core) % 4 == 1 or not _CORE.fullmatch(core):
        detail = "a TCF 2 consent string is expected, as IAB consent tools give it (it begins with 'C')"
        raise InvalidError(Problem(pointer, "not_tcf", detail))
    found = decode_v2(core)
    consented = found.purposes_consent
    document = f"tcf policy {found.tcf_policy_version}, vendor list {found.vendor_list_version}"
    return Framework(
        {f"tcf.{purpose}": consented[purpose] for purpose in range(1, PURPOSES + 1)},
        ConsentTerms(jurisdiction="gdpr", document=document),
    )
