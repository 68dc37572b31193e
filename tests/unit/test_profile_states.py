"""A part of a profile is read without the rest, and is the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.consent import Consent
from domain.profiles import Attribute, Membership, Profile, decode_consent, encode_profile

NUMBERS = st.integers(0, 2**53)
NAMES = st.text(max_size=8)
CONSENTS = st.dictionaries(NAMES, st.builds(Consent, st.booleans(), NUMBERS, NUMBERS), max_size=4)


@given(CONSENTS, st.dictionaries(NAMES, st.dictionaries(NAMES, NUMBERS, max_size=3), max_size=3))
def test_the_consent_read_alone_is_that_of_the_whole_profile(
    consent: dict[str, Consent], identifiers: dict[str, dict[str, int]]
) -> None:
    profile = Profile(
        "id",
        1,
        2,
        identifiers,
        {"plan": Attribute({"nested": [1, "two"]}, 0, 3, 4)},
        consent,
        {"leaf": [[5, 6]]},
        {"buyers": Membership(7, 8)},
    )
    assert decode_consent(encode_profile(profile)) == consent
    assert decode_consent(encode_profile(Profile("id", 1, 2, consent=consent))) == consent
