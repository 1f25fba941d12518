"""``Recipient``: answers sealed to an attested enclave or NitroTPM, under a root certificate that the settings name.

The enclave is ours (``tests.enclave``): its documents have the form of genuine ones, its root is the one configured.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.enclave import Enclave, enclave, opened
from tests.harness import ACCOUNT, Server, refusal

Make = Callable[..., Server]


@pytest.fixture(scope="module")
def here() -> Enclave:
    """An enclave of today."""
    return enclave(datetime.now(UTC))


@pytest.fixture(scope="module")
def server(here: Enclave, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("nitro")
    root = directory / "root.pem"
    root.write_bytes(here.root.public_bytes(serialization.Encoding.PEM))
    server = Server(directory / "data", nitro_root=str(root))
    try:
        yield server.start()
        server.stop()
    finally:
        server.end()


@pytest.fixture(scope="module")
def kms(server: Server) -> Any:
    return server.kms()


@pytest.fixture(scope="module")
def key(kms: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = kms.create_key()["KeyMetadata"]
    return metadata


def recipient(here: Enclave, **changes: Any) -> dict[str, Any]:
    """A fresh document, as the enclave asks for one with every call."""
    document = here.document(**{"timestamp": int(time.time() * 1000), **changes})
    return {"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document}}


def members(answer: dict[str, Any]) -> set[str]:
    return answer.keys() - {"ResponseMetadata"}


def test_decrypt_answers_the_enclave_alone(kms: Any, key: dict[str, Any], here: Enclave) -> None:
    secret = os.urandom(4096)
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=secret, EncryptionContext={"a": "b"})["CiphertextBlob"]
    answer = kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"}, **recipient(here))
    assert members(answer) == {"KeyId", "EncryptionAlgorithm", "CiphertextForRecipient"}
    assert opened(answer["CiphertextForRecipient"], here.rsa_key) == secret


def test_a_data_key_comes_to_the_enclave_and_encrypted(kms: Any, key: dict[str, Any], here: Enclave) -> None:
    answer = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256", **recipient(here))
    assert members(answer) == {"CiphertextBlob", "KeyId", "CiphertextForRecipient"}
    data_key = opened(answer["CiphertextForRecipient"], here.rsa_key)
    assert len(data_key) == 32
    assert kms.decrypt(CiphertextBlob=answer["CiphertextBlob"])["Plaintext"] == data_key


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "RSA_4096"])
def test_a_data_key_pair_comes_to_the_enclave_and_encrypted(
    kms: Any, key: dict[str, Any], here: Enclave, spec: str
) -> None:
    answer = kms.generate_data_key_pair(KeyId=key["KeyId"], KeyPairSpec=spec, **recipient(here))
    assert members(answer) == {
        "PrivateKeyCiphertextBlob",
        "PublicKey",
        "KeyId",
        "KeyPairSpec",
        "CiphertextForRecipient",
        "KeyMaterialId",
    }
    private = opened(answer["CiphertextForRecipient"], here.rsa_key)
    assert kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"])["Plaintext"] == private
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = serialization.load_der_private_key(private, None).public_key()
    assert public.public_bytes(serialization.Encoding.DER, form) == answer["PublicKey"]


def test_random_octets_and_shared_secrets_come_to_the_enclave(kms: Any, here: Enclave) -> None:
    answer = kms.generate_random(NumberOfBytes=40, **recipient(here))
    assert members(answer) == {"CiphertextForRecipient"}
    assert len(opened(answer["CiphertextForRecipient"], here.rsa_key)) == 40

    agreement = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]
    peer = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    same = {
        "KeyId": agreement["KeyId"],
        "KeyAgreementAlgorithm": "ECDH",
        "PublicKey": peer.public_key().public_bytes(serialization.Encoding.DER, form),
    }
    answer = kms.derive_shared_secret(**same, **recipient(here))
    assert members(answer) == {"KeyId", "CiphertextForRecipient", "KeyAgreementAlgorithm", "KeyOrigin"}
    sealed = opened(answer["CiphertextForRecipient"], here.rsa_key)
    assert sealed == kms.derive_shared_secret(**same)["SharedSecret"]


def test_a_document_that_is_not_believed_gets_nothing(kms: Any, key: dict[str, Any], here: Enclave) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    stranger = Enclave(enclave().chain, here.rsa_key, datetime.now(UTC))
    genuine = recipient(here)["Recipient"]["AttestationDocument"]
    changed = genuine[:-1] + bytes([genuine[-1] ^ 1])
    for wrong, words in (
        (recipient(stranger), "not configured as trusted"),
        (recipient(here, timestamp=int((time.time() - 360) * 1000)), "not fresh"),
        (recipient(here, public_key=None), "no public key"),
        ({"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": changed}}, ""),
        ({"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"x"}}, "malformed"),
        ({"Recipient": {"AttestationDocument": genuine}}, "KeyEncryptionAlgorithm"),
        ({"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}}, "AttestationDocument"),
        ({"Recipient": {}}, "AttestationDocument"),
    ):
        for call, arguments in (
            (kms.decrypt, {"CiphertextBlob": blob}),
            (kms.generate_data_key, {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
            (kms.generate_random, {"NumberOfBytes": 8}),
        ):
            refused = refusal(call, **arguments, **wrong)
            assert (refused.type, refused.status) == ("ValidationException", 400)
            assert words in refused.message


def attested_only(**registers: str) -> str:
    """A key policy that lets who asks use the key in an environment with these registers alone."""
    root = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Resource": "*"}
    keys = {f"kms:RecipientAttestation:{name}": value for name, value in registers.items()}
    use = ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair", "kms:DeriveSharedSecret"]
    statements = [
        {"Effect": "Allow", "NotAction": use, **root},
        {"Effect": "Allow", "Action": use, "Condition": {"StringEqualsIgnoreCase": keys}, **root},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def test_a_policy_asks_what_the_document_says(kms: Any, here: Enclave) -> None:
    """An enclave's registers and a NitroTPM's are told apart, and a request without a document has none."""
    image, boot = "AB" * 48, "cd" * 48
    in_enclave = {"pcrs": {0: b"\xab" * 48, 4: b"\xcd" * 48}}
    in_instance = {"pcrs": ..., "nitrotpm_pcrs": {0: b"\xab" * 48, 4: b"\xcd" * 48}}
    other = {"pcrs": {0: b"\xac" * 48, 4: b"\xcd" * 48}}
    for registers, allowed, refusals in (
        ({"ImageSha384": image}, in_enclave, (in_instance, other, None)),
        ({"PCR0": image, "PCR4": boot}, in_enclave, (in_instance, other, None)),
        ({"NitroTPMPCR4": boot}, in_instance, (in_enclave, other, None)),
        ({"NitroTPMPCR4": boot, "PCR4": boot}, None, (in_enclave, in_instance)),
    ):
        key_id = kms.create_key(Policy=attested_only(**registers))["KeyMetadata"]["KeyId"]
        blob = kms.encrypt(KeyId=key_id, Plaintext=b"attested")["CiphertextBlob"]
        for call, arguments in (
            (kms.decrypt, {"CiphertextBlob": blob}),
            (kms.generate_data_key, {"KeyId": key_id, "KeySpec": "AES_256"}),
            (kms.generate_data_key_pair, {"KeyId": key_id, "KeyPairSpec": "ECC_NIST_P256"}),
        ):
            for document in refusals:
                sent = {} if document is None else recipient(here, **document)
                assert refusal(call, **arguments, **sent).type == "AccessDeniedException", (registers, document)
            if allowed is not None:
                assert call(**arguments, **recipient(here, **allowed))["CiphertextForRecipient"]


def test_random_octets_are_for_the_environment_that_a_policy_names(server: Server, here: Enclave) -> None:
    condition = {"StringEquals": {"kms:RecipientAttestation:PCR0": "ab" * 48}}
    allow = {"Effect": "Allow", "Action": "kms:GenerateRandom", "Resource": "*", "Condition": condition}
    kms = server.kms_of(server.person("attested", allow))
    document = recipient(here, pcrs={0: b"\xab" * 48})
    assert kms.generate_random(NumberOfBytes=8, **document)["CiphertextForRecipient"]
    for sent in ({}, recipient(here), recipient(here, pcrs=..., nitrotpm_pcrs={0: b"\xab" * 48})):
        assert refusal(kms.generate_random, NumberOfBytes=8, **sent).type == "AccessDeniedException"


def test_an_instance_with_a_nitrotpm_is_answered_like_an_enclave(kms: Any, key: dict[str, Any], here: Enclave) -> None:
    document = here.tpm_document(timestamp=int(time.time() * 1000))
    sent = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document}
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"for the instance")["CiphertextBlob"]
    answer = kms.decrypt(CiphertextBlob=blob, Recipient=sent)
    assert opened(answer["CiphertextForRecipient"], here.rsa_key) == b"for the instance"


def test_a_recipient_changes_nothing_of_the_other_checks(kms: Any, key: dict[str, Any], here: Enclave) -> None:
    wish = {"KeyId": key["KeyId"], "KeySpec": "AES_256"}
    assert refusal(kms.generate_data_key, DryRun=True, **wish, **recipient(here)).type == "DryRunOperationException"
    refused = refusal(kms.decrypt, CiphertextBlob=b"x", **recipient(here))
    assert refused == ("InvalidCiphertextException", "", 400)


def test_without_a_configured_root_the_refusal_says_how_to_configure_one(new_server: Make, here: Enclave) -> None:
    kms = new_server().start().kms()
    refused = refusal(kms.generate_random, NumberOfBytes=8, **recipient(here))
    assert refused.type == "ValidationException"
    assert "nitroRoot in the server's settings" in refused.message


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_root_that_cannot_be_read_stops_the_start(new_server: Make, tmp_path: Any, content: bytes | None) -> None:
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_bytes(content)
    assert "StartupRefused: nitroRoot: " in new_server(nitro_root=str(path)).refuse_to_start()
