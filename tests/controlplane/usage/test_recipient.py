"""Answers sealed to the key of an attested recipient, which keys they are sealed to, and who opens them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.attestation import recipient_key
from controlplane.errors import InvalidInput
from controlplane.usage.recipient import seal_for
from tests.enclave import (
    DER,
    OAEP,
    SPKI,
    as_the_sdk_reads,
    enclave,
    opened,
    refused,
    rsa_key,
)

# The recipient's key


def encoded(key: Any, encoding: Any = DER, form: Any = SPKI) -> bytes:
    octets: bytes = key.public_key().public_bytes(encoding, form)
    return octets


def spki_with(numbers: rsa.RSAPublicNumbers) -> bytes:
    """SubjectPublicKeyInfo without the checks of the library that would make it."""

    def element(tag: int, content: bytes) -> bytes:
        size = len(content)
        head = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2)
        return bytes([tag]) + head + content

    def integer(value: int) -> bytes:
        return element(2, value.to_bytes(value.bit_length() // 8 + 1))

    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return element(0x30, algorithm + element(3, b"\0" + element(0x30, integer(numbers.n) + integer(numbers.e))))


@cache
def bad_keys() -> dict[str, bytes]:
    good = rsa_key()
    n = good.public_key().public_numbers().n
    spki = encoded(good)
    pss = spki.replace(bytes.fromhex("300d06092a864886f70d0101010500"), bytes.fromhex("300b06092a864886f70d01010a"))
    pss = pss[:2] + (len(pss) - 4).to_bytes(2) + pss[4:]
    return {
        "1024 bits": encoded(rsa.generate_private_key(65_537, 1024)),  # the smallest that the library makes
        "2047 bits": spki_with(rsa.RSAPublicNumbers(65_537, (1 << 2046) | (n >> 3) | 1)),
        "exponent 1": spki_with(rsa.RSAPublicNumbers(1, n)),
        "exponent 3": spki_with(rsa.RSAPublicNumbers(3, n)),
        "even exponent": spki_with(rsa.RSAPublicNumbers(65_538, n)),
        "P-384": encoded(ec.generate_private_key(ec.SECP384R1())),
        "Ed25519": encoded(ed25519.Ed25519PrivateKey.generate()),
        "PEM": encoded(good, serialization.Encoding.PEM),
        "PKCS#1": encoded(good, DER, serialization.PublicFormat.PKCS1),
        "RSASSA-PSS": pss,
        "private": good.private_bytes(DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        "trailing": spki + b"\0",
        "cut": spki[:-1],
        "empty": b"",
        "text": b"my super secret key",
    }


BAD_KEYS = [
    "1024 bits",
    "2047 bits",
    "exponent 1",
    "exponent 3",
    "even exponent",
    "P-384",
    "Ed25519",
    "PEM",
    "PKCS#1",
    "RSASSA-PSS",
    "private",
    "trailing",
    "cut",
    "empty",
    "text",
]


@pytest.mark.parametrize("which", BAD_KEYS)
def test_a_key_that_answers_cannot_be_sealed_to_is_refused(which: str):
    key = bad_keys()[which]
    with pytest.raises(InvalidInput):
        recipient_key(key)
    with pytest.raises(InvalidInput):
        seal_for(key, b"secret")
    refused(enclave().document(public_key=key))


def test_the_helper_of_the_weak_keys_makes_good_keys_of_good_numbers():
    assert spki_with(rsa_key().public_key().public_numbers()) == enclave().public_key


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_key_raises_nothing_but_a_refusal(data: st.DataObject):
    key = bytearray(enclave().public_key)
    key[data.draw(st.integers(0, len(key) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        recipient_key(bytes(key))
    except InvalidInput:
        return


# Sealed answers


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=4096))
def test_what_is_sealed_is_opened_the_way_the_aws_sdk_does(plaintext: bytes):
    assert opened(seal_for(enclave().public_key, plaintext), enclave().rsa_key) == plaintext


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_keys_of_every_size_get_their_answer(bits: int):
    assert opened(seal_for(encoded(rsa_key(bits)), b"secret"), rsa_key(bits)) == b"secret"


def test_a_sealed_answer_has_the_form_of_an_answer_of_aws_kms():
    message = as_the_sdk_reads(seal_for(enclave().public_key, b"x" * 32))
    assert len(message.key_identifier) == 32
    # RFC 4055: id-RSAES-OAEP, [0] SHA-256, [1] MGF1 with SHA-256
    sha256 = "300d06096086480165030402010500"
    assert message.algorithm.hex() == f"06092a864886f70d010107302fa00f{sha256}a11c301a06092a864886f70d010108{sha256}"
    assert len(message.encrypted_key) == 256
    assert len(message.iv) == 16
    assert len(message.ciphertext) == 48
    assert message.rest == b"\0\0" * 5  # the ends of the five elements of indefinite length


def test_every_answer_has_a_fresh_key_and_iv():
    one, two = (as_the_sdk_reads(seal_for(enclave().public_key, b"same")) for _ in range(2))
    assert one.iv != two.iv
    assert one.ciphertext != two.ciphertext
    key_one, key_two = (enclave().rsa_key.decrypt(each.encrypted_key, OAEP) for each in (one, two))
    assert key_one != key_two


def test_another_key_does_not_open_the_answer():
    with pytest.raises(ValueError):
        opened(seal_for(enclave().public_key, b"secret"), rsa_key(3072))


def test_the_plaintext_does_not_stand_in_the_answer():
    secret = b"correct horse battery staple"
    assert secret not in seal_for(enclave().public_key, secret)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("plaintext", [b"", b"secret", b"x" * 16, bytes(range(256)) * 16], ids=len)
def test_openssl_decrypts_the_answer(tmp_path: Path, plaintext: bytes):
    (tmp_path / "key.pem").write_bytes(
        enclave().rsa_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (tmp_path / "sealed.der").write_bytes(seal_for(enclave().public_key, plaintext))
    command = "openssl cms -decrypt -inform DER -in sealed.der -inkey key.pem -out plain -binary"
    subprocess.run(command.split(), cwd=tmp_path, check=True, timeout=30)
    assert (tmp_path / "plain").read_bytes() == plaintext


def test_from_document_to_answer():
    stated = enclave().verified(enclave().document())
    assert opened(seal_for(stated.public_key, b"data key"), enclave().rsa_key) == b"data key"
