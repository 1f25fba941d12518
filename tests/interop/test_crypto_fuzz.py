"""Cryptographic operations with anything: the answer is right, or a documented refusal. Never a 500, never a lie.

``test_hostile`` sends bodies that are no requests; here the requests are well-formed and what they say does not fit:
the key of another kind, the algorithm of another key, ciphertexts cut and mixed, contexts changed, base64 that is none.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.harness import Server
from tests.interop.keyring import Keyring
from tests.interop.test_hostile import assert_answered_or_refused

SPECS = [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    ("RSA_2048", "ENCRYPT_DECRYPT"),
    ("RSA_2048", "SIGN_VERIFY"),
    ("ECC_NIST_P256", "SIGN_VERIFY"),
    ("ECC_NIST_P521", "SIGN_VERIFY"),
    ("ECC_NIST_P256", "KEY_AGREEMENT"),
    ("ECC_SECG_P256K1", "SIGN_VERIFY"),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
    ("HMAC_224", "GENERATE_VERIFY_MAC"),
    ("HMAC_512", "GENERATE_VERIFY_MAC"),
    ("ML_DSA_44", "SIGN_VERIFY"),
    ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
]
ENCRYPTION = ["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"]
SIGNING = [
    *(f"RSASSA_{padding}_SHA_{bits}" for padding in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)),
    *("ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512", "SM2DSA", "ML_DSA_SHAKE_256"),
    *("ED25519_SHA_512", "ED25519_PH_SHA_512"),
]
MAC = [f"HMAC_SHA_{bits}" for bits in (224, 256, 384, 512)]
PAIRS = ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "ML_KEM_768", "ML_KEM_512", "SM2", "ECC_SECG_P256K1"]
USAGE = {
    "Encrypt": "ENCRYPT_DECRYPT",
    "Decrypt": "ENCRYPT_DECRYPT",
    "ReEncrypt": "ENCRYPT_DECRYPT",
    "GenerateDataKey": "ENCRYPT_DECRYPT",
    "GenerateDataKeyWithoutPlaintext": "ENCRYPT_DECRYPT",
    "GenerateDataKeyPair": "ENCRYPT_DECRYPT",
    "GenerateDataKeyPairWithoutPlaintext": "ENCRYPT_DECRYPT",
    "Sign": "SIGN_VERIFY",
    "Verify": "SIGN_VERIFY",
    "GenerateMac": "GENERATE_VERIFY_MAC",
    "VerifyMac": "GENERATE_VERIFY_MAC",
    "DeriveSharedSecret": "KEY_AGREEMENT",
    "Encapsulate": "ENCAPSULATE_DECAPSULATE",
    "Decapsulate": "ENCAPSULATE_DECAPSULATE",
}
"""The usage that a key must have for the operation to succeed."""

fuzz = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def octets(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


class Sealed(NamedTuple):
    """A ciphertext, and all that decrypts it."""

    blob: bytes
    key_id: str
    algorithm: str
    context: dict[str, str]
    plaintext: bytes


@pytest.fixture(scope="module")
def keys(keyring: Keyring) -> list[dict[str, Any]]:
    return [keyring(*each) for each in SPECS]


@pytest.fixture(scope="module")
def sealed(kms: Any, keyring: Keyring) -> list[Sealed]:
    """Ciphertexts under several keys, contexts and algorithms."""
    ids = [keyring.id(), *(kms.create_key(MultiRegion=multi)["KeyMetadata"]["KeyId"] for multi in (False, True))]
    made = []
    for key_id in ids:
        for context in ({}, {"a": "b"}, {"a": "b", "c": ""}):
            plaintext = f"{key_id} {context}".encode()
            answer = kms.encrypt(KeyId=key_id, Plaintext=plaintext, EncryptionContext=context)
            made.append(Sealed(answer["CiphertextBlob"], key_id, "SYMMETRIC_DEFAULT", context, plaintext))
    for algorithm in ENCRYPTION[1:3]:
        key_id = keyring.id("RSA_2048", "ENCRYPT_DECRYPT")
        answer = kms.encrypt(KeyId=key_id, Plaintext=algorithm.encode(), EncryptionAlgorithm=algorithm)
        made.append(Sealed(answer["CiphertextBlob"], key_id, algorithm, {}, algorithm.encode()))
    return made


# ---- what does not fit -----------------------------------------------------------------------------------------------

messages = st.binary(min_size=1, max_size=4096) | st.sampled_from([28, 32, 48, 64, 190, 214, 4096]).map(
    lambda length: b"m" * length
)
contexts = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


def request(data: st.DataObject, operation: str, key_id: str, others: list[str], blobs: list[bytes]) -> dict[str, Any]:
    """A well-formed request; whether it fits the key is chance."""

    def maybe(member: str, value: st.SearchStrategy[Any]) -> dict[str, Any]:
        return {member: data.draw(value)} if data.draw(st.booleans()) else {}

    blob = st.sampled_from(blobs) | st.binary(min_size=1, max_size=400)
    body: dict[str, Any] = {"KeyId": key_id, **maybe("DryRun", st.booleans())}
    match operation:
        case "Encrypt":
            body |= {"Plaintext": text(data.draw(messages)), **maybe("EncryptionContext", contexts)}
            body |= maybe("EncryptionAlgorithm", st.sampled_from(ENCRYPTION))
        case "Decrypt":
            body |= {"CiphertextBlob": text(data.draw(blob)), **maybe("EncryptionContext", contexts)}
            body |= maybe("EncryptionAlgorithm", st.sampled_from(ENCRYPTION))
            if data.draw(st.booleans()):
                del body["KeyId"]
        case "ReEncrypt":
            body = {"DestinationKeyId": key_id, "CiphertextBlob": text(data.draw(blob))}
            body |= maybe("SourceKeyId", st.sampled_from(others))
            body |= maybe("SourceEncryptionContext", contexts) | maybe("DestinationEncryptionContext", contexts)
            body |= maybe("SourceEncryptionAlgorithm", st.sampled_from(ENCRYPTION))
            body |= maybe("DestinationEncryptionAlgorithm", st.sampled_from(ENCRYPTION))
        case "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext":
            body |= maybe("KeySpec", st.sampled_from(["AES_256", "AES_128"]))
            body |= maybe("NumberOfBytes", st.integers(-1, 1030)) | maybe("EncryptionContext", contexts)
        case "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext":
            body |= {"KeyPairSpec": data.draw(st.sampled_from(PAIRS)), **maybe("EncryptionContext", contexts)}
        case "Sign" | "Verify":
            body |= {"Message": text(data.draw(messages)), "SigningAlgorithm": data.draw(st.sampled_from(SIGNING))}
            body |= maybe("MessageType", st.sampled_from(["RAW", "DIGEST", "EXTERNAL_MU"]))
            if operation == "Verify":
                body["Signature"] = text(data.draw(st.binary(min_size=1, max_size=600)))
        case "GenerateMac" | "VerifyMac":
            body |= {"Message": text(data.draw(messages)), "MacAlgorithm": data.draw(st.sampled_from(MAC))}
            if operation == "VerifyMac":
                body["Mac"] = text(data.draw(st.binary(min_size=1, max_size=80)))
        case "DeriveSharedSecret":
            body |= {"KeyAgreementAlgorithm": "ECDH", "PublicKey": text(data.draw(blob))}
        case "Encapsulate":
            body["EncapsulationAlgorithm"] = "ML_KEM"
        case "Decapsulate":
            lengths = st.sampled_from([768, 1088, 1568]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
            body |= {"EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": text(data.draw(lengths | blob))}
    return body


def assert_true(server: Server, operation: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
    """What was answered with success is what the operation promises."""

    def ask(what: str, **members: Any) -> dict[str, Any]:
        said = server.call(what, members)
        assert said.status == 200, (operation, body, said.body)
        return dict(said.json())

    key_id = answer["KeyId"]
    if operation == "Encrypt":
        more = {name: body[name] for name in ("EncryptionContext", "EncryptionAlgorithm") if name in body}
        opened = ask("Decrypt", KeyId=key_id, CiphertextBlob=answer["CiphertextBlob"], **more)
        assert opened["Plaintext"] == body["Plaintext"]
    elif operation.startswith("GenerateDataKey"):
        blob = answer.get("CiphertextBlob") or answer["PrivateKeyCiphertextBlob"]
        opened = ask("Decrypt", CiphertextBlob=blob, EncryptionContext=body.get("EncryptionContext", {}))
        assert opened["Plaintext"] == (
            answer.get("Plaintext") or answer.get("PrivateKeyPlaintext") or opened["Plaintext"]
        )
        if "NumberOfBytes" in body:
            assert len(octets(opened["Plaintext"])) == body["NumberOfBytes"]
    elif operation == "Sign":
        same = {name: body[name] for name in ("Message", "MessageType", "SigningAlgorithm") if name in body}
        assert ask("Verify", KeyId=key_id, Signature=answer["Signature"], **same)["SignatureValid"] is True
    elif operation == "GenerateMac":
        same = {name: body[name] for name in ("Message", "MacAlgorithm")}
        assert ask("VerifyMac", KeyId=key_id, Mac=answer["Mac"], **same)["MacValid"] is True
    elif operation == "Encapsulate":
        blob = answer["SharedSecretCiphertextBlob"]
        opened = ask("Decapsulate", KeyId=key_id, EncapsulationAlgorithm="ML_KEM", SharedSecretCiphertextBlob=blob)
        assert opened["SharedSecret"] == answer["SharedSecret"]


@pytest.mark.parametrize("operation", USAGE)
@settings(fuzz, max_examples=40)
@given(data=st.data())
def test_any_key_with_anything_is_answered_right_or_refused(
    shared_server: Server, keys: list[dict[str, Any]], sealed: list[Sealed], operation: str, data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(keys))
    body = request(data, operation, key["KeyId"], [each["KeyId"] for each in keys], [each.blob for each in sealed])
    answer = shared_server.call(operation, body)
    assert_answered_or_refused(answer, operation)
    if answer.status != 200:
        return
    assert not body.get("DryRun"), "a dry run never succeeds"
    if operation == "Verify":
        pytest.fail(f"a random signature verified: {body}")
    if operation == "VerifyMac":
        pytest.fail(f"a random MAC verified: {body}")
    members = answer.json()
    if "KeyId" in body:
        assert (members["KeyId"], key["KeyUsage"]) == (key["Arn"], USAGE[operation])
    if operation == "Decrypt":
        assert_plaintext_of(sealed, octets(body["CiphertextBlob"]), body.get("EncryptionContext", {}), members)
    assert_true(shared_server, operation, body, members)


def assert_plaintext_of(sealed: list[Sealed], blob: bytes, context: dict[str, str], members: dict[str, Any]) -> None:
    found = next((each for each in sealed if each.blob == blob), None)
    assert found is not None, "octets that were never a ciphertext decrypted"
    assert (context, octets(members["Plaintext"])) == (found.context, found.plaintext)
    assert members["KeyId"].endswith(found.key_id)


# ---- ciphertexts -----------------------------------------------------------------------------------------------------


@st.composite
def changed(draw: st.DrawFn, blob: bytes, others: list[bytes]) -> bytes:
    """A ciphertext with something done to it. What is drawn does not depend on its length, which varies from run to
    run for ECDSA."""
    what = draw(st.sampled_from(["flip", "cut", "insert", "drop", "splice", "repeat", "same"]))
    at, mask = draw(st.integers(0, 9_999)) % len(blob), draw(st.integers(1, 255))
    other, extra = draw(st.sampled_from(others)), draw(st.binary(min_size=1, max_size=20))
    return {
        "flip": blob[:at] + bytes([blob[at] ^ mask]) + blob[at + 1 :],
        "cut": blob[: at or 1],
        "insert": blob[:at] + extra + blob[at:],
        "drop": blob[:at] + blob[at + 1 :],
        "splice": blob[: at + 1] + other[(at * mask) % len(other) :],
        "repeat": blob + blob,
        "same": blob,
    }[what]


@settings(fuzz, max_examples=400)
@given(data=st.data())
def test_only_an_unchanged_ciphertext_in_its_context_decrypts(
    shared_server: Server, keys: list[dict[str, Any]], sealed: list[Sealed], data: st.DataObject
) -> None:
    of = data.draw(st.sampled_from(sealed))
    blob = data.draw(changed(of.blob, [each.blob for each in sealed]))
    context = data.draw(st.sampled_from([of.context, of.context, {}, {"a": "b"}, {"A": "b"}, {"a": "b", "c": "d"}]))
    key_id = data.draw(st.sampled_from([of.key_id, of.key_id, None, *(key["KeyId"] for key in keys)]))
    algorithm = data.draw(st.sampled_from([of.algorithm, of.algorithm, *ENCRYPTION]))
    body: dict[str, Any] = {"CiphertextBlob": text(blob), "EncryptionContext": context}
    body |= {"EncryptionAlgorithm": algorithm} | ({"KeyId": key_id} if key_id else {})
    answer = shared_server.call("Decrypt", body)
    right = (blob, context, algorithm) == (of.blob, of.context, of.algorithm)
    right = right and (key_id == of.key_id or (key_id is None and algorithm == "SYMMETRIC_DEFAULT"))
    if answer.status == 200:
        assert_plaintext_of(sealed, blob, context, answer.json())
    else:
        assert_answered_or_refused(answer, "Decrypt")
        assert not right, answer
    moved = shared_server.call(
        "ReEncrypt",
        {
            "CiphertextBlob": text(blob),
            "SourceEncryptionContext": context,
            "SourceEncryptionAlgorithm": algorithm,
            "DestinationKeyId": keys[0]["KeyId"],
            **({"SourceKeyId": key_id} if key_id else {}),
        },
    )
    assert (moved.status == 200) == (answer.status == 200), "ReEncrypt decrypts exactly what Decrypt decrypts"
    if moved.status == 200:
        opened = shared_server.call("Decrypt", {"CiphertextBlob": moved.json()["CiphertextBlob"]}).json()
        assert opened["Plaintext"] == answer.json()["Plaintext"]
    else:
        assert_answered_or_refused(moved, "ReEncrypt")


@settings(fuzz, max_examples=200)
@given(data=st.data())
def test_only_an_unchanged_signature_and_mac_verify(
    shared_server: Server, kms: Any, keyring: Keyring, data: st.DataObject
) -> None:
    spec, algorithm = data.draw(
        st.sampled_from(
            [
                ("RSA_2048", "RSASSA_PSS_SHA_256"),
                ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_512"),
                ("ECC_NIST_P256", "ECDSA_SHA_256"),
                ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
                ("ML_DSA_44", "ML_DSA_SHAKE_256"),
                ("HMAC_512", "HMAC_SHA_512"),
            ]
        )
    )
    key_id = keyring.id(spec)
    message = data.draw(st.binary(min_size=1, max_size=64))
    if spec.startswith("HMAC"):
        proof = kms.generate_mac(KeyId=key_id, Message=message, MacAlgorithm=algorithm)["Mac"]
        operation, member, said = "VerifyMac", "Mac", "MacAlgorithm"
    else:
        proof = kms.sign(KeyId=key_id, Message=message, SigningAlgorithm=algorithm)["Signature"]
        operation, member, said = "Verify", "Signature", "SigningAlgorithm"
    other = data.draw(changed(proof, [proof[::-1], b"\x00" * len(proof)]))
    words = data.draw(st.sampled_from([message, message, message + b"\x00", message[:-1] or b"x"]))
    answer = shared_server.call(
        operation, {"KeyId": key_id, "Message": text(words), member: text(other), said: algorithm}
    )
    if (other, words) == (proof, message):
        assert answer.status == 200, answer
        return
    # An ECDSA signature has a twin (r, n - s), but not among these changes; its DER form has one encoding.
    assert answer.status == 400, (algorithm, proof.hex(), other.hex())
    assert_answered_or_refused(answer, operation)


# ---- base64 ----------------------------------------------------------------------------------------------------------

BLOBS = [
    ("Encrypt", "Plaintext", {}),
    ("Decrypt", "CiphertextBlob", {}),
    ("ReEncrypt", "CiphertextBlob", {"DestinationKeyId": "@"}),
    ("Sign", "Message", {"SigningAlgorithm": "ECDSA_SHA_256"}),
    ("Verify", "Signature", {"Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}),
    ("GenerateMac", "Message", {"MacAlgorithm": "HMAC_SHA_224"}),
    ("VerifyMac", "Mac", {"Message": "eA==", "MacAlgorithm": "HMAC_SHA_224"}),
    ("DeriveSharedSecret", "PublicKey", {"KeyAgreementAlgorithm": "ECDH"}),
    ("Decapsulate", "SharedSecretCiphertextBlob", {"EncapsulationAlgorithm": "ML_KEM"}),
]


@settings(fuzz, max_examples=150)
@given(
    case=st.sampled_from(BLOBS),
    value=st.text("ABCabc019+/=-_ \n\u00fc", min_size=1, max_size=24) | st.text(max_size=12),
)
def test_what_is_no_base64_is_refused_before_anything_happens(
    shared_server: Server, keyring: Keyring, case: tuple[str, str, dict[str, str]], value: str
) -> None:
    operation, member, more = case
    with contextlib.suppress(binascii.Error, ValueError):
        assume(text(octets(value)) != value)
    usage = USAGE[operation]
    spec = {"SIGN_VERIFY": "ECC_NIST_P256", "KEY_AGREEMENT": "ECC_NIST_P256", "GENERATE_VERIFY_MAC": "HMAC_224"}.get(
        usage, "ML_KEM_768" if usage == "ENCAPSULATE_DECAPSULATE" else "SYMMETRIC_DEFAULT"
    )
    key_id = keyring.id(spec, usage)
    named = {name: key_id if each == "@" else each for name, each in more.items()}
    body = {**named, member: value} if operation == "ReEncrypt" else {"KeyId": key_id, **named, member: value}
    answer = shared_server.call(operation, body)
    assert_answered_or_refused(answer, operation)
    if answer.status == 200:
        # Some decoders take bits that stand for nothing; then the octets are what any decoder makes of it.
        assert octets(value)
