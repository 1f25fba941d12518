"""Attested recipients: a test enclave of our own, its documents true and false, and answers sealed to its key."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain import attestation
from controlplane.domain.attestation import attestation_conditions, recipient_key, verify_attestation
from controlplane.errors import InvalidInput
from controlplane.usage.recipient import seal_for
from tests.enclave import (
    DER,
    NOW,
    OAEP,
    PCRS,
    SIGNER_USAGE,
    SPKI,
    Enclave,
    as_the_sdk_reads,
    enclave,
    issue,
    opened,
    rsa_key,
)


def refused(document: bytes, *words: str, now: datetime = NOW, of: Enclave | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        (of or enclave()).verified(document, now)
    message = caught.value.message
    assert message.startswith("The attestation document ")
    assert all(word in message for word in words), message
    return message


# Genuine documents


def test_a_genuine_document_says_what_the_enclave_asked_for():
    stated = enclave().verified(enclave().document(user_data=b"data", nonce=b"once"))
    assert stated.module_id.startswith("i-")
    assert stated.timestamp == NOW
    assert stated.pcrs == PCRS
    assert stated.public_key == enclave().public_key
    assert (stated.user_data, stated.nonce) == (b"data", b"once")


def test_the_cose_tag_may_stand_or_not():
    payload = cbor2.dumps(enclave().payload())
    tagged = enclave().sign(payload, tagged=True)
    assert tagged[0] == 0xD2
    assert enclave().verified(tagged) == enclave().verified(enclave().sign(payload))


def test_absent_and_null_optional_fields_are_the_same():
    for document in (enclave().document(), enclave().document(user_data=..., nonce=...)):
        stated = enclave().verified(document)
        assert stated.user_data is None
        assert stated.nonce is None


def test_the_payload_map_may_have_an_indefinite_length_as_since_2026():
    definite = cbor2.dumps(enclave().payload())
    assert definite[0] == 0xA9
    stated = enclave().verified(enclave().sign(b"\xbf" + definite[1:] + b"\xff"))
    assert stated.pcrs == PCRS


@pytest.mark.parametrize("length", [32, 48, 64])
def test_registers_of_every_published_length_are_read(length: int):
    assert enclave().verified(enclave().document(pcrs={31: b"x" * length})).pcrs == {31: b"x" * length}


def test_a_root_may_be_trusted_by_its_fingerprint():
    fingerprint = enclave().root.fingerprint(hashes.SHA256())
    stated = verify_attestation(enclave().document(), roots=[], fingerprints={fingerprint}, now=NOW)
    assert stated.pcrs == PCRS


def test_one_of_several_roots_suffices():
    other = issue("other").certificate
    assert verify_attestation(enclave().document(), roots=[other, enclave().root], now=NOW).pcrs == PCRS


def test_conditions_name_every_register_and_the_image():
    conditions = attestation_conditions(enclave().verified(enclave().document()))
    assert conditions["kms:RecipientAttestation:ImageSha384"] == "01" * 48
    assert conditions["kms:RecipientAttestation:PCR0"] == "01" * 48
    assert conditions["kms:RecipientAttestation:PCR8"] == "09" * 48
    assert len(conditions) == len(PCRS) + 1


def test_conditions_without_register_0_name_no_image():
    stated = enclave().verified(enclave().document(pcrs={4: b"\xab" * 48}))
    assert attestation_conditions(stated) == {"kms:RecipientAttestation:PCR4": "ab" * 48}


# Trust


def test_without_a_root_the_refusal_says_what_to_configure():
    with pytest.raises(InvalidInput, match="Configure the root"):
        verify_attestation(enclave().document(), roots=[], now=NOW)


def test_a_time_without_zone_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="time zone"):
        verify_attestation(enclave().document(), roots=[enclave().root], now=NOW.replace(tzinfo=None))


def test_another_root_is_refused():
    same_name = issue("aws.nitro-enclaves").certificate
    with pytest.raises(InvalidInput, match="not configured as trusted"):
        verify_attestation(enclave().document(), roots=[same_name], now=NOW)
    with pytest.raises(InvalidInput, match="not configured as trusted"):
        verify_attestation(enclave().document(), roots=[], fingerprints={attestation.AWS_NITRO_ROOT_G1}, now=NOW)


def test_a_chain_of_ones_own_under_the_trusted_root_is_refused():
    root = issue("aws.nitro-enclaves")
    host = root.issue("host")
    forger = Enclave([root, host, host.issue("enclave", ca=False)], rsa_key())
    bundle = [enclave().chain[0].der, host.der]
    refused(forger.document(cabundle=bundle), "certificates", of=enclave())


def test_a_trusted_intermediate_does_not_stand_in_for_its_root():
    with pytest.raises(InvalidInput, match="not configured as trusted"):
        verify_attestation(enclave().document(), roots=[enclave().chain[1].certificate], now=NOW)


def reordered(change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    return enclave().document(cabundle=change([each.der for each in enclave().chain[:-1]]))


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle[::-1],
        lambda bundle: [bundle[0], bundle[2], bundle[1], bundle[3]],
        lambda bundle: [*bundle[1:], bundle[0]],
        lambda bundle: bundle[1:],
        lambda bundle: bundle[:-1],
        lambda bundle: [bundle[0], *bundle],
        lambda bundle: [*bundle, bundle[-1]],
        lambda bundle: [*bundle, enclave().signer.der],
        lambda bundle: [*bundle[:1], issue("stranger").der, *bundle[1:]],
        lambda bundle: [*bundle[:-1], b"\x30\x00"],
        lambda bundle: [*bundle[:-1], bundle[-1] + b"\x00"],
    ],
    ids=range(11),
)
def test_a_bundle_is_the_path_from_the_root_in_order_and_nothing_else(change: Any):
    refused(reordered(change))


def with_chain(*, host: dict[str, Any] | None = None, leaf: dict[str, Any] | None = None, **root: Any) -> Enclave:
    top = issue("root", **root)
    middle = top.issue("host", **(host or {}))
    return Enclave([top, middle, middle.issue("enclave", **({"ca": False} | (leaf or {})))], rsa_key())


def test_the_short_chain_of_these_tests_is_good():
    good = with_chain()
    assert good.verified(good.document()).pcrs == PCRS


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def p521() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP521R1())


def described(value: Any) -> str:
    """A name for a test that is the same in every process."""
    if isinstance(value, dict):
        return ",".join(f"{key}={described(each)}" for key, each in value.items())
    if isinstance(value, tuple):
        return {PAST: "past", FUTURE: "future", UNKNOWN: "unknown"}[value]
    return str(getattr(value, "__name__", getattr(value, "name", value)))


PAST = (timedelta(hours=-2), timedelta(seconds=-1))
FUTURE = (timedelta(seconds=1), timedelta(hours=2))
UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)


@pytest.mark.parametrize(
    "changes",
    [
        {"leaf": {"lifetime": PAST}},
        {"leaf": {"lifetime": FUTURE}},
        {"host": {"lifetime": PAST}},
        {"host": {"lifetime": FUTURE}},
        {"lifetime": PAST},
        {"lifetime": FUTURE},
        {"host": {"ca": False}},
        {"host": {"constraints": None}},
        {"host": {"constraints_critical": False}},
        {"host": {"bits": {"digital_signature": True}}},
        {"host": {"key_usage": False}},
        {"ca": False},
        {"constraints": None},
        {"bits": {"digital_signature": True}},
        {"path_length": 0, "host": {"path_length": 0}},
        {"leaf": {"ca": True}},
        {"leaf": {"ca": True, "path_length": 0, "bits": SIGNER_USAGE}},
        {"leaf": {"bits": {"content_commitment": True}}},
        {"leaf": {"bits": {"digital_signature": True, "key_cert_sign": True}}},
        {"leaf": {"key_usage": False}},
        {"leaf": {"extra": UNKNOWN}},
        {"host": {"extra": UNKNOWN}},
        {"leaf": {"key": p256}},
        {"host": {"key": p521}},
        {"host": {"key": p256}},
        {"host": {"key": rsa_key}},
        {"leaf": {"digest": hashes.SHA256()}},
        {"digest": hashes.SHA512()},
    ],
    ids=described,
)
def test_a_certificate_that_breaks_a_rule_is_refused(changes: dict[str, Any]):
    bad = with_chain(**changes)
    # Signed by a P-384 key whatever the certificate says, so that only the certificates can be the reason.
    document = bad.sign(cbor2.dumps(bad.payload()), key=ec.generate_private_key(ec.SECP384R1()))
    refused(document, "certificate", of=bad)


def test_a_leaf_without_basic_constraints_is_an_end_entity():
    good = with_chain(leaf={"constraints": None})
    assert good.verified(good.document()).pcrs == PCRS


def test_more_certificates_than_the_path_may_have_are_refused():
    chain = [issue("root")]
    for depth in range(8):
        chain.append(chain[-1].issue(f"ca {depth}"))
    long = Enclave([*chain, chain[-1].issue("enclave", ca=False)], rsa_key())
    refused(long.document(), "cabundle", of=long)


# Signature


def test_a_signature_by_another_key_is_refused():
    other = ec.generate_private_key(ec.SECP384R1())
    refused(enclave().sign(cbor2.dumps(enclave().payload()), key=other), "signature")


def test_a_signature_by_the_issuer_is_refused():
    refused(enclave().sign(cbor2.dumps(enclave().payload()), key=enclave().chain[-2].key), "signature")


def test_a_changed_payload_is_refused():
    protected, unprotected, _, signature = cbor2.loads(enclave().document())
    payload = cbor2.dumps(enclave().payload(pcrs=PCRS | {0: b"\0" * 48}))
    refused(cbor2.dumps([protected, unprotected, payload, signature]), "signature")


@pytest.mark.parametrize(
    "signature", [b"", b"\0" * 95, b"\0" * 97, b"\0" * 96, b"\xff" * 96, b"\x30" * 104], ids=range(6)
)
def test_a_signature_that_is_none_is_refused(signature: bytes):
    protected, unprotected, payload, _ = cbor2.loads(enclave().document())
    refused(cbor2.dumps([protected, unprotected, payload, signature]), "signature")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xa0",
        cbor2.dumps({1: -7}),
        cbor2.dumps({1: -36}),
        cbor2.dumps({1: 5}),
        cbor2.dumps({"1": -35}),
        cbor2.dumps({True: -35}),
        cbor2.dumps({1: -35, 4: b"id"}),
        cbor2.dumps({1: -35, 2: [1]}),
        cbor2.dumps([1, -35]),
        cbor2.dumps({1: -35}) + b"\0",
        b"\xa2\x01\x38\x22\x01\x38\x22",
        b"\xa1\x01\x38",
        cbor2.dumps({1: -35, 4: b"x" * 64}),
    ],
    ids=bytes.hex,
)
def test_another_algorithm_or_more_in_the_protected_header_is_refused(header: bytes):
    refused(enclave().sign(cbor2.dumps(enclave().payload()), protected=header))


@pytest.mark.parametrize("header", [{1: -35}, {"kid": b"x"}, [], 0, b"\xa0", "{}", False])
def test_an_unprotected_header_is_refused(header: Any):
    refused(enclave().sign(cbor2.dumps(enclave().payload()), unprotected=header))


# Form


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, ...) for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")),
        *((name, None) for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")),
        *(("module_id", value) for value in ("", b"i-1", 1, ["i-1"])),
        *(("digest", value) for value in ("SHA256", "sha384", "SHA512", "", b"SHA384", 384)),
        *(("timestamp", value) for value in (0, -1, 1.5, float(int(NOW.timestamp() * 1000)), "1", True, NOW, 2**64)),
        *(("pcrs", value) for value in ({}, [], [b"x" * 48], b"", {0: None}, {0: "x" * 48}, {0: {}})),
        *(("pcrs", {0: b"x" * length}) for length in (0, 1, 31, 33, 47, 49, 63, 65)),
        *(("pcrs", {key: b"x" * 48}) for key in (-1, 32, 2**64 - 1, "0", b"0", False, 0.0, None)),
        ("pcrs", dict.fromkeys(range(33), b"x" * 48)),
        *(("certificate", value) for value in (b"", b"x", b"x" * 1025, "x", [b"x"], 1)),
        *(("cabundle", value) for value in ([], {}, b"", b"x", [b""], [b"x" * 1025], ["x"], [None], [[b"x"]], [1])),
        *(("public_key", value) for value in (b"", b"x" * 1025, "x", 1, [b"x"], b"x")),
        *((name, value) for name in ("user_data", "nonce") for value in (b"x" * 513, "x", 1, [b"x"], {})),
        ("nitrotpm_pcrs", {0: b"x" * 48}),
        ("Module_id", "x"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_field_that_is_missing_or_of_another_form_is_refused(name: str, value: Any):
    refused(enclave().document(**{name: value}))


def test_fields_at_the_bounds_are_read():
    stated = enclave().verified(
        enclave().document(user_data=b"x" * 512, nonce=b"", pcrs=dict.fromkeys(range(32), b"x" * 64))
    )
    assert len(stated.pcrs) == 32
    assert stated.user_data == b"x" * 512
    assert stated.nonce == b""


@pytest.mark.parametrize("public_key", [..., None])
def test_a_document_without_public_key_is_refused(public_key: Any):
    refused(enclave().document(public_key=public_key), "public key")


def test_a_repeated_field_is_refused():
    payload = cbor2.dumps(enclave().payload())
    again = b"\xaa" + payload[1:] + cbor2.dumps("nonce") + cbor2.dumps(b"x")
    refused(enclave().sign(again), "malformed")


def test_a_repeated_register_is_refused():
    pcrs = b"\xa2" + 2 * (b"\x00\x58\x30" + b"x" * 48)
    payload = cbor2.dumps(enclave().payload(pcrs=7)).replace(cbor2.dumps("pcrs") + b"\x07", cbor2.dumps("pcrs") + pcrs)
    refused(enclave().sign(payload), "malformed")


@pytest.mark.parametrize("tail", [b"\0", b"\xff", b"\xf6", b"\xa0"])
def test_trailing_octets_are_refused(tail: bytes):
    refused(enclave().document() + tail, "octets follow")
    refused(enclave().sign(cbor2.dumps(enclave().payload()) + tail), "octets follow")


def test_indefinite_lengths_are_refused_outside_the_payload():
    protected, _, payload, signature = cbor2.loads(enclave().document())
    parts = [cbor2.dumps(protected), b"\xa0", cbor2.dumps(payload), cbor2.dumps(signature)]
    enclave().verified(b"\x84" + b"".join(parts))
    refused(b"\x9f" + b"".join(parts) + b"\xff", "malformed")
    refused(b"\x84" + b"".join([parts[0], b"\xbf\xff", *parts[2:]]), "malformed")
    refused(b"\x84" + b"".join([*parts[:2], b"\x5f" + parts[2] + b"\xff", parts[3]]), "malformed")
    refused(b"\x84" + b"".join([*parts[:3], b"\x5f" + parts[3] + b"\xff"]), "malformed")


def test_an_indefinite_payload_without_end_is_refused():
    definite = cbor2.dumps(enclave().payload())
    refused(enclave().sign(b"\xbf" + definite[1:]), "malformed")


@pytest.mark.parametrize(
    "value",
    [
        cbor2.CBORTag(2, b"\x01"),
        cbor2.CBORTag(0, "2026-03-01T12:00:00Z"),
        cbor2.CBORTag(1, 1),
        cbor2.CBORTag(28, b"x"),
        cbor2.CBORTag(29, 0),
        cbor2.CBORTag(35, "(a+)+"),
        cbor2.CBORTag(24, b"\x01"),
        cbor2.CBORTag(258, [1]),
        cbor2.CBORTag(99_999, b"x"),
    ],
    ids=lambda value: str(value.tag),
)
def test_tags_are_refused_everywhere(value: Any):
    refused(enclave().document(timestamp=value), "malformed")
    refused(enclave().document(user_data=value), "malformed")
    refused(enclave().sign(cbor2.dumps(enclave().payload()), unprotected={"x": value}), "malformed")
    refused(cbor2.dumps(value))


def test_another_tag_or_two_are_refused():
    refused(cbor2.dumps(cbor2.CBORTag(17, cbor2.loads(enclave().document()))))
    refused(b"\xd2\xd2" + enclave().document())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\x84",
        b"\xd2",
        b"\xf6",
        b"\x00",
        b"\x84\x40\xa0\x40\x40",
        b"\x83\x40\xa0\x40",
        b"\x85\x40\xa0\x40\x40\x40",
        b"\x5b" + b"\xff" * 8,
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8,
        b"\x81" * 100_000 + b"\x00",
        b"\xa1\x00" * 100_000,
        b"\x9f" * 262_144,
        b"\x84" + b"\xa0" * 262_143,
    ],
    ids=lambda document: document[:6].hex(),
)
def test_what_is_no_document_at_all_is_refused(document: bytes):
    refused(document)


def test_sizes_are_bounded_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(attestation, "_decoded")
    refused(b"\0" * 262_145, "262145 octets")


def test_a_payload_beyond_its_bound_is_refused():
    refused(enclave().sign(b"\0" * 16_385), "payload of 16385 octets")
    refused(enclave().sign(b""), "payload of 0 octets")


def test_nesting_is_bounded_while_parsing():
    refused(enclave().document(user_data=[[b"x"]]), "not the CBOR")
    refused(enclave().sign(cbor2.dumps(enclave().payload()), unprotected={"x": {"y": 1}}), "not the CBOR")


def test_a_large_map_of_keys_that_may_collide_is_refused_at_its_first_key():
    header = b"\xb9\x7d\x00" + b"".join(cbor2.dumps(float(index)) + b"\x00" for index in range(32_000))
    refused(b"\x84\x44\xa1\x01\x38\x22" + header[:200_000], "not the CBOR")
    refused(enclave().sign(cbor2.dumps(enclave().payload()), unprotected={4: 0}), "not the CBOR")


def test_a_refusal_holds_nothing_of_the_document():
    secret = b"correct horse battery staple"
    for changes in ({"timestamp": 1}, {"extra": secret}, {"nonce": secret * 30}, {"cabundle": [secret]}):
        message = refused(enclave().document(**({"user_data": secret} | changes)))
        assert "horse" not in message


# Freshness


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 86_400])
def test_a_document_that_is_not_of_these_five_minutes_is_refused(seconds: int):
    when = int((NOW + timedelta(seconds=seconds)).timestamp() * 1000)
    refused(enclave().document(timestamp=when), "fresh")


@pytest.mark.parametrize("when", [1, 2**53, 2**63, 2**64 - 1, int(NOW.timestamp())])
def test_a_timestamp_beyond_all_dates_or_in_seconds_is_refused(when: int):
    refused(enclave().document(timestamp=when), "fresh")


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_document_within_five_minutes_is_fresh(seconds: int):
    when = int((NOW + timedelta(seconds=seconds)).timestamp() * 1000)
    assert enclave().verified(enclave().document(timestamp=when)).timestamp == NOW + timedelta(seconds=seconds)


def test_the_zone_of_now_does_not_matter():
    from zoneinfo import ZoneInfo

    assert enclave().verified(enclave().document(), NOW.astimezone(ZoneInfo("Asia/Tokyo"))).timestamp == NOW


# Whatever arrives


@cache
def genuine() -> bytes:
    return enclave().document(user_data=b"data", nonce=b"once")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_changed_octet_is_ever_accepted(data: st.DataObject):
    document = bytearray(genuine())
    for position in data.draw(st.sets(st.integers(0, len(document) - 1), min_size=1, max_size=3)):
        document[position] ^= data.draw(st.integers(1, 255))
    refused(bytes(document))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_document_cut_or_stretched_is_ever_accepted(data: st.DataObject):
    document = genuine()
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, len(document)))
    middle = data.draw(st.binary(max_size=8).filter(lambda octets: octets != document[start:end]))
    changed = document[:start] + middle + document[end:]
    if changed != document:
        refused(changed)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_changed_certificate_is_accepted_whoever_signs_the_document(data: st.DataObject):
    """The document's own signature is good here: only the certificates can be the reason."""
    ders = [bytearray(each.der) for each in enclave().chain]
    der = data.draw(st.sampled_from(ders))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    refused(enclave().document(certificate=bytes(ders[-1]), cabundle=[bytes(each) for each in ders[:-1]]))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=64),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(-2, 40) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*attestation._Payload.__struct_fields__, "more"]),
    anything,
)
def test_signed_nonsense_raises_nothing_but_a_refusal(name: str, value: Any):
    document = enclave().document(**{name: value})
    try:
        stated = enclave().verified(document)
    except InvalidInput:
        return
    expected = {"module_id", "user_data", "nonce", "pcrs"}
    assert name in expected
    assert getattr(stated, name) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | anything.map(cbor2.dumps))
def test_octets_of_any_kind_raise_nothing_but_a_refusal(octets: bytes):
    refused(octets)
    refused(enclave().sign(octets))


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
    stated = enclave().verified(genuine())
    assert opened(seal_for(stated.public_key, b"data key"), enclave().rsa_key) == b"data key"
