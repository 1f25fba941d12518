"""GetKeyLastUsage as boto3 sees it: which operations count, and what is told of the last one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from botocore import xform_name

from controlplane.audit import cloudtrail
from controlplane.audit.records import AuditEntry
from tests.harness import Server, refusal


def last(kms: Any, key_id: str) -> dict[str, Any]:
    used: dict[str, Any] = kms.get_key_last_usage(KeyId=key_id)["KeyLastUsage"]
    return used


def event_of(server: Server, request_id: str, arn: str) -> dict[str, Any]:
    """The CloudTrail event of a request on a key, from the audit journal."""
    found = server.ok("GET", f"/v1/audit?requestId={request_id}")["items"]
    events = [cloudtrail.event(msgspec.convert(each, AuditEntry)) for each in found]
    (event,) = [each for each in events if arn in {resource["ARN"] for resource in each["resources"] or ()}]
    return event


def test_every_cryptographic_operation_is_the_last_use_of_its_key_with_its_event(
    shared_server: Server, kms: Any
) -> None:
    def new(spec: str, usage: str) -> dict[str, Any]:
        made: dict[str, Any] = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
        return made

    data, other = new("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), new("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    signing, mac = new("ECC_NIST_P256", "SIGN_VERIFY"), new("HMAC_256", "GENERATE_VERIFY_MAC")
    agreed = new("ECC_NIST_P256", "KEY_AGREEMENT")
    kem = shared_server.call("CreateKey", {"KeySpec": "ML_KEM_768", "KeyUsage": "ENCAPSULATE_DECAPSULATE"}).json()[
        "KeyMetadata"
    ]
    peer = kms.get_public_key(KeyId=agreed["KeyId"])["PublicKey"]
    pair = {"KeyId": data["KeyId"], "KeyPairSpec": "ECC_NIST_P256"}
    signed = {"KeyId": signing["KeyId"], "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    tagged = {"KeyId": mac["KeyId"], "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}
    sealed = {"KeyId": kem["KeyId"], "EncapsulationAlgorithm": "ML_KEM"}
    blob = kms.encrypt(KeyId=data["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    shared = kms.encapsulate(**sealed)["SharedSecretCiphertextBlob"]
    uses = {
        "Encrypt": (data, {"KeyId": data["KeyId"], "Plaintext": b"x"}),
        "Decrypt": (data, {"CiphertextBlob": blob}),
        "GenerateDataKey": (data, {"KeyId": data["KeyId"], "KeySpec": "AES_256"}),
        "GenerateDataKeyWithoutPlaintext": (data, {"KeyId": data["KeyId"], "KeySpec": "AES_256"}),
        "GenerateDataKeyPair": (data, pair),
        "GenerateDataKeyPairWithoutPlaintext": (data, pair),
        "ReEncrypt": (data, {"CiphertextBlob": blob, "DestinationKeyId": other["KeyId"]}),
        "Sign": (signing, signed),
        "Verify": (signing, {**signed, "Signature": kms.sign(**signed)["Signature"]}),
        "GenerateMac": (mac, tagged),
        "VerifyMac": (mac, {**tagged, "Mac": kms.generate_mac(**tagged)["Mac"]}),
        "DeriveSharedSecret": (
            agreed,
            {"KeyId": agreed["KeyId"], "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer},
        ),
        "Encapsulate": (kem, sealed),
        "Decapsulate": (kem, {**sealed, "SharedSecretCiphertextBlob": shared}),
    }
    assert uses.keys() == set(kms.meta.service_model.shape_for("KeyLastUsageTrackingOperation").enum)
    for name, (key, request) in uses.items():
        request_id = getattr(kms, xform_name(name))(**request)["ResponseMetadata"]["RequestId"]
        for used in (key, other) if name == "ReEncrypt" else (key,):
            told = last(kms, used["KeyId"])
            assert (told["Operation"], told["KmsRequestId"]) == (name, request_id)
            event = event_of(shared_server, request_id, used["Arn"])
            assert (told["CloudTrailEventId"], event["eventName"]) == (event["eventID"], name)


def test_looking_at_a_key_and_managing_it_is_no_use_of_it(kms: Any) -> None:
    key_id = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.describe_key(KeyId=key_id)
    kms.get_public_key(KeyId=key_id)
    kms.disable_key(KeyId=key_id)
    kms.enable_key(KeyId=key_id)
    same = {"KeyId": key_id, "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    assert refusal(kms.sign, **same, DryRun=True).type == "DryRunOperationException"
    assert "KeyLastUsage" not in kms.get_key_last_usage(KeyId=key_id)


def test_the_last_use_of_a_key_is_told_with_operation_time_and_request(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    unused = kms.get_key_last_usage(KeyId=key)
    assert "KeyLastUsage" not in unused
    assert unused["TrackingStartDate"] <= unused["KeyCreationDate"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]["Operation"] == "Encrypt"
    answer = kms.decrypt(CiphertextBlob=blob)
    used = kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]
    assert used["Operation"] == "Decrypt"
    assert used["KmsRequestId"] == answer["ResponseMetadata"]["RequestId"]
    assert abs(used["Timestamp"] - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_refused_use_is_no_use_and_a_use_survives_a_restart(private_server: Server) -> None:
    kms = private_server.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    refusal(kms.decrypt, CiphertextBlob=b"KS nothing", KeyId=key)
    assert "KeyLastUsage" not in kms.get_key_last_usage(KeyId=key)
    kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    before = last(kms, key)
    private_server.stop()
    private_server.start()
    used = last(private_server.kms(), key)
    assert used["Operation"] == "GenerateDataKey"
    assert used == before
