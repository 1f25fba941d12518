"""Keys as boto3 sees them: made, described, switched off, deleted, field by field, and how each is refused."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness import ACCOUNT, OTHER_REGION, REGION, Server, document, eventually, refusal
from tests.interop.answers import members, pages

METADATA = {
    "AWSAccountId",
    "KeyId",
    "Arn",
    "CreationDate",
    "Enabled",
    "Description",
    "KeyUsage",
    "KeyState",
    "Origin",
    "KeyManager",
    "CustomerMasterKeySpec",
    "KeySpec",
    "MultiRegion",
}
"""Members of KeyMetadata that every key has."""

RSA_ENCRYPT = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
RSA_SIGN = [f"RSASSA_{padding}_SHA_{bits}" for padding in ("PKCS1_V1_5", "PSS") for bits in (256, 384, 512)]

KEY_SPECS = [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", ["SYMMETRIC_DEFAULT"]),
    ("RSA_2048", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", RSA_ENCRYPT),
    ("RSA_2048", "SIGN_VERIFY", "SigningAlgorithms", RSA_SIGN),
    ("RSA_3072", "SIGN_VERIFY", "SigningAlgorithms", RSA_SIGN),
    ("RSA_4096", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", RSA_ENCRYPT),
    ("ECC_NIST_P256", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
    ("ECC_NIST_P256", "KEY_AGREEMENT", "KeyAgreementAlgorithms", ["ECDH"]),
    ("ECC_NIST_P384", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_384"]),
    ("ECC_NIST_P521", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_512"]),
    ("ECC_SECG_P256K1", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SigningAlgorithms", ["ED25519_SHA_512", "ED25519_PH_SHA_512"]),
    ("HMAC_224", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_224"]),
    ("HMAC_256", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_256"]),
    ("HMAC_384", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_384"]),
    ("HMAC_512", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_512"]),
    ("ML_DSA_44", "SIGN_VERIFY", "SigningAlgorithms", ["ML_DSA_SHAKE_256"]),
    ("ML_DSA_65", "SIGN_VERIFY", "SigningAlgorithms", ["ML_DSA_SHAKE_256"]),
    ("ML_DSA_87", "SIGN_VERIFY", "SigningAlgorithms", ["ML_DSA_SHAKE_256"]),
]
# boto3 refuses the ML-KEM specs that its model does not know; test_hostile sends what boto3 would not.


# ---- CreateKey, DescribeKey ------------------------------------------------------------------------------------------


def test_create_key_answers_complete_metadata_and_describe_key_the_same(kms: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    created = kms.create_key(Description="d", Tags=[{"TagKey": "team", "TagValue": "t"}])
    metadata = created["KeyMetadata"]
    assert members(created) == {"KeyMetadata"}
    assert metadata.keys() == METADATA | {"EncryptionAlgorithms", "CurrentKeyMaterialId"}
    assert uuid.UUID(metadata["KeyId"]).version == 4
    assert metadata["Arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{metadata['KeyId']}"
    assert metadata["AWSAccountId"] == ACCOUNT
    assert before <= metadata["CreationDate"] <= datetime.now(UTC) + timedelta(seconds=1)
    assert re.fullmatch("[a-f0-9]{64}", metadata["CurrentKeyMaterialId"])
    expected = {
        "Enabled": True,
        "Description": "d",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled",
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "MultiRegion": False,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
    }
    assert {name: metadata[name] for name in expected} == expected
    assert kms.describe_key(KeyId=metadata["KeyId"])["KeyMetadata"] == metadata


@pytest.mark.parametrize(("spec", "usage", "member", "algorithms"), KEY_SPECS, ids=lambda value: str(value)[:22])
def test_every_key_spec_is_made_with_the_algorithms_of_the_reference(
    kms: Any, spec: str, usage: str, member: str, algorithms: list[str]
) -> None:
    metadata = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    symmetric = {"CurrentKeyMaterialId"} if spec == "SYMMETRIC_DEFAULT" else set()
    assert metadata.keys() == METADATA | {member} | symmetric
    assert metadata[member] == algorithms
    assert (metadata["KeySpec"], metadata["CustomerMasterKeySpec"], metadata["KeyUsage"]) == (spec, spec, usage)
    assert metadata["KeyState"] == "Enabled"


@pytest.mark.parametrize("spec", ["ML_KEM_768", "ML_KEM_1024"])
def test_ml_kem_keys_are_made_for_clients_whose_model_knows_them(shared_server: Server, spec: str) -> None:
    answer = shared_server.call("CreateKey", {"KeySpec": spec, "KeyUsage": "ENCAPSULATE_DECAPSULATE"})
    assert answer.status == 200, answer.body
    assert answer.json()["KeyMetadata"]["KeySpec"] == spec
    assert answer.json()["KeyMetadata"]["KeyUsage"] == "ENCAPSULATE_DECAPSULATE"


@pytest.mark.parametrize(("spec", "usage"), [("SM2", "SIGN_VERIFY"), ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE")])
def test_a_key_spec_that_is_not_offered_is_an_unsupported_operation(
    shared_server: Server, spec: str, usage: str
) -> None:
    answer = shared_server.call("CreateKey", {"KeySpec": spec, "KeyUsage": usage})
    assert (answer.status, answer.json()["__type"]) == (400, "UnsupportedOperationException")


def test_a_refused_create_key_leaves_no_key(kms: Any, shared_server: Server) -> None:
    before = {each["KeyId"] for page in pages(kms.list_keys, "Keys") for each in page}
    shared_server.call("CreateKey", {"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"})
    refusal(kms.create_key, KeySpec="RSA_2048", KeyUsage="GENERATE_VERIFY_MAC")
    refusal(kms.create_key, Policy="{")
    assert {each["KeyId"] for page in pages(kms.list_keys, "Keys") for each in page} == before


def test_a_key_usage_that_does_not_fit_the_spec_is_refused(kms: Any) -> None:
    refused = refusal(kms.create_key, KeySpec="RSA_2048", KeyUsage="GENERATE_VERIFY_MAC")
    assert refused == (
        "ValidationException",
        "KeyUsage GENERATE_VERIFY_MAC is not compatible with KeySpec RSA_2048",
        400,
    )


def test_an_asymmetric_key_without_usage_is_refused(kms: Any) -> None:
    refused = refusal(kms.create_key, KeySpec="RSA_2048")
    assert refused.type == "ValidationException"
    assert "You must specify a KeyUsage value" in refused.message


def test_the_deprecated_member_still_names_the_key_spec_but_not_both(kms: Any) -> None:
    metadata = kms.create_key(CustomerMasterKeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    assert metadata["KeySpec"] == "HMAC_256"
    refused = refusal(kms.create_key, CustomerMasterKeySpec="SYMMETRIC_DEFAULT", KeySpec="SYMMETRIC_DEFAULT")
    assert refused.type == "ValidationException"
    assert "You cannot specify KeySpec and CustomerMasterKeySpec in the same request" in refused.message


def test_a_key_for_imported_material_waits_for_it(kms: Any) -> None:
    metadata = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Enabled"], metadata["Origin"]) == ("PendingImport", False, "EXTERNAL")
    assert "CurrentKeyMaterialId" not in metadata
    refused = refusal(kms.encrypt, KeyId=metadata["KeyId"], Plaintext=b"x")
    assert refused == ("KMSInvalidStateException", f"{metadata['Arn']} is pending import.", 400)


def test_a_multi_region_key_is_a_primary_with_an_mrk_id(kms: Any) -> None:
    metadata = kms.create_key(MultiRegion=True)["KeyMetadata"]
    assert re.fullmatch("mrk-[0-9a-f]{32}", metadata["KeyId"])
    assert metadata["MultiRegion"] is True
    assert metadata["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "PRIMARY",
        "PrimaryKey": {"Arn": metadata["Arn"], "Region": REGION},
        "ReplicaKeys": [],
    }
    blob = kms.encrypt(KeyId=metadata["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_key_in_a_custom_key_store_that_is_not_there_is_refused(kms: Any) -> None:
    refused = refusal(kms.create_key, Origin="AWS_CLOUDHSM", CustomKeyStoreId="cks-00000000000000000")
    assert (refused.type, refused.status) == ("CustomKeyStoreNotFoundException", 400)


def test_every_form_of_key_id_describes_the_same_key(kms: Any, key: dict[str, Any], forms: dict[str, str]) -> None:
    for form, name in forms.items():
        assert kms.describe_key(KeyId=name)["KeyMetadata"] == key, form


def test_every_form_of_key_id_encrypts_and_decrypts(kms: Any, key: dict[str, Any], forms: dict[str, str]) -> None:
    for form, name in forms.items():
        blob = kms.encrypt(KeyId=name, Plaintext=form.encode())
        assert blob["KeyId"] == key["Arn"]
        for other in forms.values():
            assert kms.decrypt(CiphertextBlob=blob["CiphertextBlob"], KeyId=other)["Plaintext"] == form.encode()
        assert len(kms.generate_data_key(KeyId=name, KeySpec="AES_128")["Plaintext"]) == 16


UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("key_id", "kind", "message"),
    [
        (UNKNOWN, "NotFoundException", f"Key 'arn:aws:kms:{REGION}:{ACCOUNT}:key/{UNKNOWN}' does not exist"),
        (
            f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{UNKNOWN}",
            "NotFoundException",
            f"Key 'arn:aws:kms:{REGION}:{ACCOUNT}:key/{UNKNOWN}' does not exist",
        ),
        ("alias/none", "NotFoundException", f"Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/none is not found."),
        (
            f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/none",
            "NotFoundException",
            f"Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/none is not found.",
        ),
        (f"arn:aws:kms:{OTHER_REGION}:{ACCOUNT}:key/{UNKNOWN}", "NotFoundException", f"Invalid arn {OTHER_REGION}"),
        ("no-key-id", "NotFoundException", "Invalid keyId 'no-key-id'"),
        ("arn:aws:s3:::bucket", "InvalidArnException", "Invalid arn arn:aws:s3:::bucket"),
    ],
)
def test_a_key_that_is_not_there_is_told_as_aws_tells_it(kms: Any, key_id: str, kind: str, message: str) -> None:
    assert refusal(kms.describe_key, KeyId=key_id) == (kind, message, 400)
    # The cryptographic operations do not have InvalidArnException in the service model.
    assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x") == ("NotFoundException", message, 400)


def test_a_key_of_another_account_is_not_found(kms: Any, key: dict[str, Any]) -> None:
    stranger = key["Arn"].replace(ACCOUNT, "111111111111")
    assert refusal(kms.describe_key, KeyId=stranger).type == "NotFoundException"


def test_regions_do_not_see_each_others_keys_and_aliases(shared_server: Server, kms: Any, alias: str) -> None:
    elsewhere = shared_server.kms(region=OTHER_REGION)
    key_id = elsewhere.create_key()["KeyMetadata"]["KeyId"]
    assert refusal(kms.describe_key, KeyId=key_id).type == "NotFoundException"
    assert refusal(elsewhere.describe_key, KeyId=alias).type == "NotFoundException"
    elsewhere.create_alias(AliasName=alias, TargetKeyId=key_id)
    assert elsewhere.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == key_id
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] != key_id


# ---- EnableKey, DisableKey -------------------------------------------------------------------------------------------


def test_a_disabled_key_stops_at_once_and_an_enabled_one_works_at_once(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    for _ in range(5):
        assert members(kms.disable_key(KeyId=key["KeyId"])) == set()
        for call, arguments in (
            (kms.encrypt, {"KeyId": key["KeyId"], "Plaintext": b"x"}),
            (kms.decrypt, {"CiphertextBlob": blob}),
            (kms.generate_data_key, {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
        ):
            assert refusal(call, **arguments) == ("DisabledException", f"{key['Arn']} is disabled.", 400)
        disabled = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        assert (disabled["KeyState"], disabled["Enabled"]) == ("Disabled", False)
        assert members(kms.enable_key(KeyId=key["Arn"])) == set()
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key


def test_operations_on_the_key_itself_take_no_alias(kms: Any, alias: str) -> None:
    for call in (kms.enable_key, kms.disable_key, kms.schedule_key_deletion, kms.cancel_key_deletion):
        refused = refusal(call, KeyId=alias)
        assert refused.type in ("ValidationException", "InvalidArnException", "NotFoundException"), call
        assert refused.status == 400


# ---- ScheduleKeyDeletion, CancelKeyDeletion --------------------------------------------------------------------------


@pytest.mark.parametrize("days", [7, 30, None])
def test_scheduling_deletion_tells_when_and_the_key_stops(kms: Any, key: dict[str, Any], days: int | None) -> None:
    window = {} if days is None else {"PendingWindowInDays": days}
    answer = kms.schedule_key_deletion(KeyId=key["KeyId"], **window)
    assert members(answer) == {"KeyId", "DeletionDate", "KeyState", "PendingWindowInDays"}
    assert (answer["KeyId"], answer["KeyState"]) == (key["Arn"], "PendingDeletion")
    assert answer["PendingWindowInDays"] == (days or 30)
    due = datetime.now(UTC) + timedelta(days=days or 30)
    assert abs(answer["DeletionDate"] - due) < timedelta(minutes=1)
    metadata = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert metadata["DeletionDate"] == answer["DeletionDate"]
    assert (metadata["KeyState"], metadata["Enabled"]) == ("PendingDeletion", False)


@pytest.mark.parametrize("days", [1, 6, 31, 365])
def test_a_window_outside_7_to_30_days_is_refused(kms: Any, key: dict[str, Any], days: int) -> None:
    refused = refusal(kms.schedule_key_deletion, KeyId=key["KeyId"], PendingWindowInDays=days)
    assert (refused.type, refused.status) == ("ValidationException", 400)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_cancelling_deletion_leaves_the_key_disabled_and_whole(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    answer = kms.cancel_key_deletion(KeyId=key["KeyId"])
    assert (members(answer), answer["KeyId"]) == ({"KeyId"}, key["Arn"])
    metadata = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert (metadata["KeyState"], "DeletionDate" in metadata) == ("Disabled", False)
    kms.enable_key(KeyId=key["KeyId"])
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_cancelling_the_deletion_of_a_live_key_is_an_invalid_state(kms: Any, key: dict[str, Any]) -> None:
    refused = refusal(kms.cancel_key_deletion, KeyId=key["KeyId"])
    assert refused == ("KMSInvalidStateException", f"{key['Arn']} is not pending deletion.", 400)


def test_a_key_that_is_pending_deletion_refuses_all_but_looking_and_cancelling(
    kms: Any, key: dict[str, Any], alias: str
) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    key_id = {"KeyId": key["KeyId"]}
    for call, arguments in (
        (kms.schedule_key_deletion, key_id),
        (kms.enable_key, key_id),
        (kms.disable_key, key_id),
        (kms.encrypt, {**key_id, "Plaintext": b"x"}),
        (kms.encrypt, {"KeyId": alias, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {**key_id, "KeySpec": "AES_256"}),
        (kms.create_alias, {"AliasName": f"{alias}-2", "TargetKeyId": key["KeyId"]}),
    ):
        refused = refusal(call, **arguments)
        assert refused == ("KMSInvalidStateException", f"{key['Arn']} is pending deletion.", 400), call
    kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")
    kms.list_resource_tags(**key_id)
    kms.list_aliases(**key_id)
    kms.delete_alias(AliasName=alias)


def test_refused_uses_of_a_key_that_is_pending_deletion_are_counted(
    shared_server: Server, kms: Any, key: dict[str, Any]
) -> None:
    path = f"/v1/keys/{key['KeyId']}/refused-uses"
    assert shared_server.ok("GET", path) == []
    kms.disable_key(KeyId=key["KeyId"])
    refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    assert shared_server.ok("GET", path) == [], "a disabled key is not about to be lost"
    kms.enable_key(KeyId=key["KeyId"])
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    for _ in range(3):
        refusal(kms.decrypt, CiphertextBlob=blob)
    refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    refusal(kms.enable_key, KeyId=key["KeyId"])
    uses = {use["operation"]: use for use in shared_server.ok("GET", path)}
    assert {name: use["count"] for name, use in uses.items()} == {"Decrypt": 3, "Encrypt": 1}
    assert uses["Decrypt"]["principal"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    assert uses["Decrypt"]["lastAt"]
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    assert shared_server.ok("GET", path) == []


# ---- declared keys are the same keys ---------------------------------------------------------------------------------


def test_a_declared_key_is_used_like_any_other(shared_server: Server, kms: Any) -> None:
    name = f"declared-{uuid.uuid4()}"
    shared_server.apply(name, [document("Key", name, aliases=[name], tags={"team": "a"}, description="d")])
    metadata = kms.describe_key(KeyId=f"alias/{name}")["KeyMetadata"]
    assert (metadata["Description"], metadata["KeyState"]) == ("d", "Enabled")
    assert kms.list_resource_tags(KeyId=metadata["KeyId"])["Tags"] == [{"TagKey": "team", "TagValue": "a"}]
    blob = kms.encrypt(KeyId=f"alias/{name}", Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    shared_server.apply(name, [])
    eventually(
        lambda: kms.describe_key(KeyId=metadata["KeyId"])["KeyMetadata"]["KeyState"] == "PendingDeletion",
        "removed from the file is scheduled for deletion",
    )
