"""A secret does not come out by accident."""

from __future__ import annotations

import copy
import pickle

import msgspec
import pytest

from plugins.sdk import KeyPair, SecretBytes

SECRET = SecretBytes(b"swordfish")


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r:>40}".format, lambda value: f"{value}"])
def test_no_way_of_formatting_shows_the_content(show) -> None:
    assert "swordfish" not in show(SECRET)
    assert "9 bytes" in show(SECRET)


def test_a_struct_that_holds_a_secret_does_not_show_it() -> None:
    assert "swordfish" not in repr(KeyPair(private_key=SECRET, public_key=b"public"))


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_neither_pickled_nor_copied(duplicate) -> None:
    with pytest.raises(TypeError, match="not pickled or copied"):
        duplicate(SECRET)


def test_a_secret_is_not_serialised() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode(SECRET)


def test_secrets_compare_with_secrets_only() -> None:
    assert SecretBytes(b"swordfish") == SECRET
    assert SecretBytes(b"Swordfish") != SECRET
    with pytest.raises(TypeError):
        assert SECRET == b"swordfish"


def test_a_secret_is_never_a_dictionary_key() -> None:
    with pytest.raises(TypeError):
        assert {SECRET: 1}


def test_a_secret_keeps_its_own_copy_of_the_bytes() -> None:
    source = bytearray(b"swordfish")
    secret = SecretBytes(source)
    source[:] = b"xxxxxxxxx"
    assert secret.expose() == b"swordfish"
    assert len(secret) == 9
