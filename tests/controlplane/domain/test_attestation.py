"""Attestation documents that are genuine, and those that are not believed: chains, signatures, times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.domain import attestation
from controlplane.domain.attestation import Environment, attestation_conditions, verify_attestation
from controlplane.errors import InvalidInput
from tests.enclave import (
    NOW,
    PCRS,
    SIGNER_USAGE,
    Enclave,
    enclave,
    issue,
    refused,
    rsa_key,
)

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


def test_the_registers_of_a_nitrotpm_have_condition_keys_of_their_own():
    stated = enclave().verified(enclave().tpm_document(user_data=b"x" * 1024, nonce=b"y" * 1024))
    assert stated.environment is Environment.NITRO_TPM
    assert stated.pcrs == PCRS
    assert (stated.user_data, stated.nonce) == (b"x" * 1024, b"y" * 1024)
    expected = {f"kms:RecipientAttestation:NitroTPMPCR{index}": pcr.hex() for index, pcr in PCRS.items()}
    assert attestation_conditions(stated) == expected
    assert enclave().verified(enclave().document()).environment is Environment.ENCLAVE


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
