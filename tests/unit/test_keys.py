"""What wrapping and sealing promise: only the same key, for the same place, and unaltered."""

from __future__ import annotations

import base64
import pickle

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from adapters.keys.local import LocalKeys, new_master, parse_masters
from adapters.keys.management import KeyManagementError
from adapters.keys.sealing import place_of_row, same_nonce, seal, unseal

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SECRET = bytes(range(64, 96))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=16))
def test_a_wrapped_key_is_unwrapped_for_what_it_was_wrapped_for_and_nothing_else(
    key: bytes, context: bytes
) -> None:
    wrapped = LocalKeys([OLD]).wrap(context, key)
    assert key not in wrapped
    assert LocalKeys([OLD]).unwrap(context, wrapped) == key
    with pytest.raises(KeyManagementError, match="altered"):
        LocalKeys([OLD]).unwrap(context + b"!", wrapped)


def test_keys_that_are_wrapped_together_are_unwrapped_one_by_one() -> None:
    contexts, keys = [b"ann", b"bob", b"bob"], [SECRET, OLD, OLD]
    wrapped = LocalKeys([NEW]).wrap_all(contexts, keys)
    assert list(map(LocalKeys([NEW]).unwrap, contexts, wrapped)) == keys
    assert len(set(wrapped)) == 3
    with pytest.raises(KeyManagementError, match="altered"):
        LocalKeys([NEW]).unwrap(b"ann", wrapped[1])


def test_another_master_key_is_told_apart_and_named_without_being_shown() -> None:
    wrapped = LocalKeys([OLD]).wrap(b"", SECRET)
    with pytest.raises(KeyManagementError, match="ROUNDTRIP_MASTER_KEY") as caught:
        LocalKeys([NEW]).unwrap(b"", wrapped)
    for master in (OLD, NEW):
        assert base64.b64encode(master).decode() not in str(caught.value)
        assert master.hex() not in str(caught.value)


def test_while_keys_are_rotated_the_first_wraps_and_both_unwrap() -> None:
    old, both = LocalKeys([OLD]), LocalKeys([NEW, OLD])
    before, after = old.wrap(b"", SECRET), both.wrap(b"", SECRET)
    assert both.unwrap(b"", before) == both.unwrap(b"", after) == SECRET
    assert (both.is_current(before), both.is_current(after)) == (False, True)
    with pytest.raises(KeyManagementError):
        old.unwrap(b"", after)


def test_a_master_key_is_read_as_it_was_made_and_goes_to_other_processes() -> None:
    text = new_master()
    keys = parse_masters(f"{text}, {new_master()}")
    wrapped = parse_masters(text).wrap(b"", SECRET)
    assert pickle.loads(pickle.dumps(keys)).unwrap(b"", wrapped) == SECRET


@given(st.binary(max_size=100), st.integers(min_value=0, max_value=40))
def test_what_was_altered_or_moved_does_not_open(text: bytes, at: int) -> None:
    key, place = AESGCM(SECRET), place_of_row("stream", 1)
    sealed = seal(key, bytes(12), text, place)
    assert unseal(key, sealed, place) == text
    with pytest.raises(InvalidTag):
        unseal(key, sealed, place_of_row("stream", 2))
    at = 1 + at % (len(sealed) - 1)
    with pytest.raises(InvalidTag):
        unseal(key, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], place)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_a_state_of_a_table_has_the_nonce_of_its_text_alone(a: bytes, b: bytes) -> None:
    assert (same_nonce(SECRET, a, b"profile") == same_nonce(SECRET, b, b"profile")) == (a == b)
    assert same_nonce(SECRET, a, b"profile") != same_nonce(NEW, a, b"profile")
