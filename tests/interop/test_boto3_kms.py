"""The KMS door as boto3 sees it: what each operation answers, field by field, and how it refuses."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness import ACCOUNT, OTHER_REGION, REGION, Server, document, eventually, refusal

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


@pytest.fixture(scope="session")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


@pytest.fixture
def key(kms: Any) -> dict[str, Any]:
    """Metadata of a symmetric key of the test's own."""
    return kms.create_key(Description="of one test")["KeyMetadata"]


@pytest.fixture
def alias(kms: Any, key: dict[str, Any]) -> str:
    name = f"alias/test-{uuid.uuid4()}"
    kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    return name


@pytest.fixture
def forms(key: dict[str, Any], alias: str) -> dict[str, str]:
    """The four forms of a KeyId."""
    return {
        "key id": key["KeyId"],
        "key ARN": key["Arn"],
        "alias name": alias,
        "alias ARN": f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}",
    }


def members(answer: dict[str, Any]) -> set[str]:
    """Members of an answer, without what botocore adds."""
    return answer.keys() - {"ResponseMetadata"}


def pages(call: Any, item: str, **arguments: Any) -> Iterator[list[dict[str, Any]]]:
    """Pages of a list operation, followed by hand as Terraform does."""
    marker: dict[str, str] = {}
    while True:
        answer = call(**arguments, **marker)
        yield answer[item]
        assert answer["Truncated"] is ("NextMarker" in answer)
        if not answer["Truncated"]:
            return
        marker = {"Marker": answer["NextMarker"]}


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


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_list_keys_lists_the_keys_of_the_owners_that_are_asked_for(kms: Any) -> None:
    """No other account shares keys with this one."""
    mine, others = "SELF", "OTHER_ACCOUNTS_VIA_RAM"
    made = kms.create_key()["KeyMetadata"]["KeyId"]
    for owners, found in (([mine], True), ([mine, others], True), ([others, mine], True), ([others], False)):
        listed = kms.list_keys(ResourceOwners=owners, Limit=1000)
        assert bool(listed["Keys"]) is found
        assert (made in {each["KeyId"] for each in listed["Keys"]}) is found or listed["Truncated"]


def test_list_keys_pages_through_every_key_once(kms: Any) -> None:
    made = {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(7)}
    listed = [each for page in pages(kms.list_keys, "Keys", Limit=3) for each in page]
    ids = [each["KeyId"] for each in listed]
    assert len(ids) == len(set(ids))
    assert made <= set(ids)
    assert all(
        each == {"KeyId": i, "KeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{i}"}
        for each, i in zip(listed, ids, strict=True)
    )
    assert all(len(page) == 3 for page in list(pages(kms.list_keys, "Keys", Limit=3))[:-1])


def test_pages_of_keys_survive_inserts_between_them(kms: Any) -> None:
    before = {each["KeyId"] for page in pages(kms.list_keys, "Keys") for each in page}
    before |= {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(5)}
    seen: list[str] = []
    for page in pages(kms.list_keys, "Keys", Limit=2):
        seen += [each["KeyId"] for each in page]
        if len(seen) < 20:
            kms.create_key()
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_pages_of_aliases_survive_inserts_and_deletes_between_them(kms: Any, key: dict[str, Any]) -> None:
    prefix = f"alias/page-{uuid.uuid4()}"
    for index in range(8):
        kms.create_alias(AliasName=f"{prefix}-{index}", TargetKeyId=key["KeyId"])
    seen: list[str] = []
    for number, page in enumerate(pages(kms.list_aliases, "Aliases", KeyId=key["KeyId"], Limit=3)):
        seen += [each["AliasName"] for each in page]
        if number == 0:
            kms.delete_alias(AliasName=f"{prefix}-2")  # the one that the marker names
            kms.delete_alias(AliasName=f"{prefix}-4")
            kms.create_alias(AliasName=f"{prefix}-0a", TargetKeyId=key["KeyId"])
    assert seen == [f"{prefix}-{index}" for index in (0, 1, 2, 3, 5, 6, 7)]


@pytest.mark.parametrize("marker", ["x", "MTo=", "AAAA", "\u00fc", "MjpmdXR1cmU="])
def test_a_marker_that_was_never_given_out_is_refused(kms: Any, key: dict[str, Any], marker: str) -> None:
    for call, more in (
        (kms.list_keys, {}),
        (kms.list_aliases, {}),
        (kms.list_resource_tags, {"KeyId": key["KeyId"]}),
    ):
        refused = refusal(call, Marker=marker, **more)
        assert (refused.type, refused.status) == ("InvalidMarkerException", 400)


@pytest.mark.parametrize("limit", [0, 1001, -1])
def test_a_limit_out_of_range_is_a_validation_error(shared_server: Server, limit: int) -> None:
    answer = shared_server.call("ListKeys", {"Limit": limit})
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
    assert answer.json()["message"].startswith("1 validation error detected: Value")
    assert "at 'limit' failed to satisfy constraint: Member must have value " in answer.json()["message"]


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


# ---- aliases ---------------------------------------------------------------------------------------------------------


def test_an_alias_is_listed_with_every_member_and_is_gone_when_deleted(
    kms: Any, key: dict[str, Any], alias: str
) -> None:
    listed = kms.list_aliases(KeyId=key["KeyId"])
    assert members(listed) == {"Aliases", "Truncated"}
    (entry,) = listed["Aliases"]
    assert entry.keys() == {"AliasName", "AliasArn", "TargetKeyId", "CreationDate", "LastUpdatedDate"}
    assert entry["AliasName"] == alias
    assert entry["AliasArn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"
    assert entry["TargetKeyId"] == key["KeyId"]
    assert entry["CreationDate"] == entry["LastUpdatedDate"]
    assert entry in [each for page in pages(kms.list_aliases, "Aliases", Limit=100) for each in page]
    assert members(kms.delete_alias(AliasName=alias)) == set()
    assert kms.list_aliases(KeyId=key["KeyId"])["Aliases"] == []
    refused = refusal(kms.delete_alias, AliasName=alias)
    assert refused == ("NotFoundException", f"Alias {entry['AliasArn']} is not found.", 400)
    assert refusal(kms.encrypt, KeyId=alias, Plaintext=b"x").type == "NotFoundException"


def test_an_alias_names_one_key(kms: Any, key: dict[str, Any], alias: str) -> None:
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"
    for target in (key["KeyId"], other):
        refused = refusal(kms.create_alias, AliasName=alias, TargetKeyId=target)
        assert refused == ("AlreadyExistsException", f"An alias with the name {arn} already exists", 400)
    kms.delete_alias(AliasName=alias)
    kms.create_alias(AliasName=alias, TargetKeyId=other)
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == other


@pytest.mark.parametrize("name", ["payments", "alias/aws/mine", "alias/", "alias/b\u00e4d", "alias/a b", "x" * 257])
def test_a_bad_alias_name_is_refused(shared_server: Server, key: dict[str, Any], name: str) -> None:
    answer = shared_server.call("CreateAlias", {"AliasName": name, "TargetKeyId": key["KeyId"]})
    assert answer.status == 400
    assert answer.json()["__type"] in ("ValidationException", "InvalidAliasNameException", "NotAuthorizedException")


def test_an_alias_does_not_name_an_alias(kms: Any, alias: str) -> None:
    refused = refusal(kms.create_alias, AliasName=f"{alias}-2", TargetKeyId=alias)
    assert refused == ("ValidationException", "Aliases must refer to keys. Not aliases", 400)


def test_a_key_has_at_most_fifty_aliases(shared_server: Server, kms: Any, key: dict[str, Any]) -> None:
    prefix = f"alias/many-{uuid.uuid4()}"
    for index in range(50):
        kms.create_alias(AliasName=f"{prefix}-{index}", TargetKeyId=key["KeyId"])
    refused = refusal(kms.create_alias, AliasName=f"{prefix}-50", TargetKeyId=key["KeyId"])
    assert (refused.type, refused.status) == ("LimitExceededException", 400)


# ---- Encrypt, Decrypt ------------------------------------------------------------------------------------------------


def test_encrypt_and_decrypt_answer_every_member(kms: Any, key: dict[str, Any]) -> None:
    encrypted = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")
    assert members(encrypted) == {"CiphertextBlob", "KeyId", "EncryptionAlgorithm"}
    assert (encrypted["KeyId"], encrypted["EncryptionAlgorithm"]) == (key["Arn"], "SYMMETRIC_DEFAULT")
    assert b"hello" not in encrypted["CiphertextBlob"]
    decrypted = kms.decrypt(CiphertextBlob=encrypted["CiphertextBlob"])
    assert members(decrypted) == {"Plaintext", "KeyId", "EncryptionAlgorithm", "KeyMaterialId"}
    assert (decrypted["Plaintext"], decrypted["KeyId"]) == (b"hello", key["Arn"])
    assert decrypted["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert decrypted["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    assert kms.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")["CiphertextBlob"] != encrypted["CiphertextBlob"]


@pytest.mark.parametrize("size", [1, 4095, 4096])
def test_up_to_4096_octets_come_back_as_they_went(kms: Any, key: dict[str, Any], size: int) -> None:
    plaintext = bytes(index % 256 for index in range(size))
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=plaintext)["CiphertextBlob"]
    assert len(blob) <= 6144, "AWS's limit for Decrypt"
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == plaintext


@pytest.mark.parametrize(
    ("size", "constraint"), [(0, "greater than or equal to 1"), (4097, "less than or equal to 4096")]
)
def test_a_plaintext_out_of_bounds_is_a_validation_error(
    shared_server: Server, key: dict[str, Any], size: int, constraint: str
) -> None:
    import base64

    text = base64.b64encode(b"x" * size).decode()
    answer = shared_server.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": text})
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
    assert (
        f"at 'plaintext' failed to satisfy constraint: Member must have length {constraint}" in answer.json()["message"]
    )
    assert text not in answer.body.decode() or not text, "a plaintext is not for error messages"


CONTEXT = {"tenant": "a", "purpose": "\u00fcml\u00e4ut \U0001f511", "empty": ""}


def test_the_encryption_context_is_a_set_of_pairs_whose_order_says_nothing(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    backwards = dict(reversed(CONTEXT.items()))
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=backwards)["Plaintext"] == b"x"


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"tenant": "a"},
        {**CONTEXT, "tenant": "b"},
        {**CONTEXT, "more": "x"},
        {**CONTEXT, "Tenant": "a"},
        {**CONTEXT, "purpose": "u\u0308ml\u00e4ut \U0001f511"},
        {"tenanta": "", **{name: value for name, value in CONTEXT.items() if name != "tenant"}},
        {value: name for name, value in CONTEXT.items() if value},
    ],
    ids=["missing", "part", "other value", "more", "other case", "other normal form", "moved border", "swapped"],
)
def test_another_encryption_context_is_refused_without_a_word(
    kms: Any, key: dict[str, Any], context: dict[str, str]
) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    refused = refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=context)
    assert (refused.type, refused.message, refused.status) == ("InvalidCiphertextException", "", 400)


def test_a_context_where_none_was_is_refused(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "b"}).type == "InvalidCiphertextException"
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={})["Plaintext"] == b"x"


def test_a_blob_decrypts_under_its_own_key_only(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    other = kms.create_key()["KeyMetadata"]
    refused = refusal(kms.decrypt, CiphertextBlob=blob, KeyId=other["KeyId"])
    assert refused.type == "IncorrectKeyException"
    assert refused.message == "The key ID in the request does not identify a CMK that can perform this operation."


@pytest.mark.parametrize(
    "blob", [b"x", b"KS\x01\x00", b"\x00" * 200, b"KS\x01\x00" + b"\x00" * 100, b"KS\x02" + b"\x00" * 90]
)
def test_octets_that_were_never_a_blob_are_an_invalid_ciphertext(kms: Any, key: dict[str, Any], blob: bytes) -> None:
    assert refusal(kms.decrypt, CiphertextBlob=blob) == ("InvalidCiphertextException", "", 400)
    with_key = refusal(kms.decrypt, CiphertextBlob=blob, KeyId=key["KeyId"])
    assert with_key.type in ("InvalidCiphertextException", "IncorrectKeyException")


def test_a_key_is_used_for_what_it_is_for(kms: Any) -> None:
    signing = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    refused = refusal(kms.encrypt, KeyId=signing["KeyId"], Plaintext=b"x")
    message = f"{signing['Arn']} key usage is SIGN_VERIFY which is not valid for Encrypt."
    assert refused == ("InvalidKeyUsageException", message, 400)
    refused = refusal(kms.generate_data_key, KeyId=signing["KeyId"], KeySpec="AES_256")
    assert refused.type == "InvalidKeyUsageException"


def test_rsa_keys_encrypt_with_oaep_and_have_no_context(kms: Any) -> None:
    key = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    for algorithm in RSA_ENCRYPT:
        encrypted = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionAlgorithm=algorithm)
        assert (encrypted["EncryptionAlgorithm"], len(encrypted["CiphertextBlob"])) == (algorithm, 256)
        more = {"CiphertextBlob": encrypted["CiphertextBlob"], "EncryptionAlgorithm": algorithm}
        decrypted = kms.decrypt(KeyId=key["KeyId"], **more)
        assert (decrypted["Plaintext"], decrypted["EncryptionAlgorithm"]) == (b"x", algorithm)
        assert refusal(kms.decrypt, **more).type == "ValidationException", "no KeyId"
        refused = refusal(kms.decrypt, KeyId=key["KeyId"], EncryptionContext={"a": "b"}, **more)
        assert refused.type == "ValidationException"
    wrong = {**more, "EncryptionAlgorithm": RSA_ENCRYPT[0]}
    assert refusal(kms.decrypt, KeyId=key["KeyId"], **wrong).type == "InvalidCiphertextException"
    refused = refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    assert refused.type == "InvalidKeyUsageException", "SYMMETRIC_DEFAULT is the default, and not for RSA"
    too_long = refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x" * 215, EncryptionAlgorithm=RSA_ENCRYPT[0])
    assert (too_long.type, too_long.status) == ("ValidationException", 400)


# ---- GenerateDataKey, GenerateRandom ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "length"),
    [
        ({"KeySpec": "AES_256"}, 32),
        ({"KeySpec": "AES_128"}, 16),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 1024}, 1024),
    ],
)
def test_a_data_key_comes_in_clear_and_encrypted(
    kms: Any, key: dict[str, Any], wish: dict[str, Any], length: int
) -> None:
    context = {"EncryptionContext": {"a": "b"}}
    answer = kms.generate_data_key(KeyId=key["KeyId"], **wish, **context)
    assert members(answer) == {"CiphertextBlob", "Plaintext", "KeyId", "KeyMaterialId"}
    assert (answer["KeyId"], len(answer["Plaintext"])) == (key["Arn"], length)
    assert answer["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    decrypted = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], **context)
    assert decrypted["Plaintext"] == answer["Plaintext"]
    assert kms.generate_data_key(KeyId=key["KeyId"], NumberOfBytes=64)["Plaintext"] != answer["Plaintext"]


@pytest.mark.parametrize("wish", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}])
def test_a_data_key_needs_one_length(kms: Any, key: dict[str, Any], wish: dict[str, Any]) -> None:
    refused = refusal(kms.generate_data_key, KeyId=key["KeyId"], **wish)
    assert refused == ("ValidationException", "Please specify either number of bytes or key spec.", 400)


@pytest.mark.parametrize("wish", [{"NumberOfBytes": 0}, {"NumberOfBytes": 1025}, {"KeySpec": "AES_512"}])
def test_a_data_key_of_an_impossible_length_is_a_validation_error(
    shared_server: Server, key: dict[str, Any], wish: dict[str, Any]
) -> None:
    answer = shared_server.call("GenerateDataKey", {"KeyId": key["KeyId"], **wish})
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")


def test_random_octets_have_the_length_that_was_asked_for(kms: Any) -> None:
    for length in (1, 32, 1024):
        answer = kms.generate_random(NumberOfBytes=length)
        assert members(answer) == {"Plaintext"}
        assert len(answer["Plaintext"]) == length
    assert kms.generate_random(NumberOfBytes=32)["Plaintext"] != kms.generate_random(NumberOfBytes=32)["Plaintext"]
    refused = refusal(kms.generate_random, NumberOfBytes=8, CustomKeyStoreId="cks-00000000000000000")
    assert refused.type == "CustomKeyStoreNotFoundException"


# ---- tags ------------------------------------------------------------------------------------------------------------


def tags(count: int) -> list[dict[str, str]]:
    return [{"TagKey": f"k{index:03}", "TagValue": f"v{index}"} for index in range(count)]


def test_tags_come_back_in_pages(kms: Any) -> None:
    given = [*tags(48), {"TagKey": "empty", "TagValue": ""}, {"TagKey": "\u00fc" * 128, "TagValue": "\U0001f511" * 256}]
    key_id = kms.create_key(Tags=given)["KeyMetadata"]["KeyId"]
    whole = kms.list_resource_tags(KeyId=key_id)
    assert members(whole) == {"Tags", "Truncated"}
    read = [each for page in pages(kms.list_resource_tags, "Tags", KeyId=key_id, Limit=7) for each in page]
    assert sorted(read, key=str) == sorted(given, key=str)
    assert whole["Tags"] == read


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (tags(51), "LimitExceededException"),
        ([*tags(1), *tags(1)], "TagException"),
        ([{"TagKey": "aws:mine", "TagValue": ""}], "TagException"),
    ],
    ids=["51", "twice", "reserved"],
)
def test_tags_beyond_the_rules_are_refused(kms: Any, given: list[dict[str, str]], kind: str) -> None:
    refused = refusal(kms.create_key, Tags=given)
    assert (refused.type, refused.status) == (kind, 400)


@pytest.mark.parametrize(
    "tag",
    [{"TagKey": "", "TagValue": ""}, {"TagKey": "k" * 129, "TagValue": ""}, {"TagKey": "k", "TagValue": "v" * 257}],
)
def test_a_tag_out_of_bounds_is_a_validation_error(shared_server: Server, tag: dict[str, str]) -> None:
    answer = shared_server.call("CreateKey", {"Tags": [tag]})
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
    assert "at 'tags" in answer.json()["message"]


# ---- policy ----------------------------------------------------------------------------------------------------------


def policy(principal: str = f"arn:aws:iam::{ACCOUNT}:root", **more: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*", **more}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(policy()),
        json.dumps(policy(), indent=7) + "\n\t ",
        json.dumps(dict(reversed(policy().items()))),
        json.dumps(policy(Sid="\u00fc \u00bf"), ensure_ascii=False),
        json.dumps(policy(Sid="\u00fc \u2028")),
    ],
    ids=["plain", "spaces", "reordered", "unicode", "escapes"],
)
def test_a_policy_comes_back_byte_for_byte(kms: Any, text: str) -> None:
    key_id = kms.create_key(Policy=text)["KeyMetadata"]["KeyId"]
    answer = kms.get_key_policy(KeyId=key_id, PolicyName="default")
    assert members(answer) == {"Policy", "PolicyName"}
    assert answer["PolicyName"] == "default"
    assert answer["Policy"].encode() == text.encode()
    assert kms.get_key_policy(KeyId=key_id)["Policy"] == text


def test_a_key_without_policy_has_the_default_one(kms: Any, key: dict[str, Any]) -> None:
    found = json.loads(kms.get_key_policy(KeyId=key["Arn"], PolicyName="default")["Policy"])
    (statement,) = found["Statement"]
    assert (found["Version"], found["Id"]) == ("2012-10-17", "key-default-1")
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Allow", "kms:*", "*")


def test_no_policy_but_the_default_one_exists(kms: Any, key: dict[str, Any]) -> None:
    assert refusal(kms.get_key_policy, KeyId=key["KeyId"], PolicyName="other").type == "NotFoundException"


def test_a_policy_that_locks_its_maker_out_needs_the_bypass(kms: Any) -> None:
    text = json.dumps(policy("arn:aws:iam::111111111111:root"))
    refused = refusal(kms.create_key, Policy=text)
    assert refused == (
        "MalformedPolicyDocumentException",
        "The new key policy will not allow you to update the key policy in the future.",
        400,
    )
    key_id = kms.create_key(Policy=text, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    refused = refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x")
    assert (refused.type, refused.status) == ("AccessDeniedException", 400)
    assert refused.message.startswith(
        f"User: arn:aws:iam::{ACCOUNT}:user/admin is not authorized to perform: kms:Encrypt"
    )


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"Statement": 1}', '{"Statement": [{"Effect": "Maybe"}]}'])
def test_a_policy_that_is_none_is_malformed(kms: Any, text: str) -> None:
    assert refusal(kms.create_key, Policy=text).type == "MalformedPolicyDocumentException"


def test_a_policy_of_more_than_32_kilobytes_is_refused(kms: Any) -> None:
    refused = refusal(kms.create_key, Policy=json.dumps(policy()) + " " * 32_768)
    assert refused.status == 400
    assert refused.type in ("LimitExceededException", "MalformedPolicyDocumentException")


def test_a_policy_element_that_is_not_known_allows_nothing(kms: Any) -> None:
    text = json.dumps(policy(Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}))
    key_id = kms.create_key(Policy=text, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"


# ---- DryRun ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_whether_it_would_work_and_does_nothing(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    calls = (
        (kms.encrypt, {"KeyId": key["KeyId"], "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
    )
    for call, arguments in calls:
        refused = refusal(call, DryRun=True, **arguments)
        assert refused.type == "DryRunOperationException"
        assert refused.message == "The request would have succeeded, but the DryRun option is set."
    kms.disable_key(KeyId=key["KeyId"])
    for call, arguments in calls:
        assert refusal(call, DryRun=True, **arguments).type == "DisabledException"


# ---- who calls -------------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_an_invalid_signature(shared_server: Server) -> None:
    refused = refusal(shared_server.kms(secret="wrong").list_keys)
    assert (refused.type, refused.status) == ("InvalidSignatureException", 400)
    assert refused.message.startswith("The request signature we calculated does not match the signature you provided.")


def test_an_unknown_access_key_is_an_unrecognized_client(shared_server: Server) -> None:
    refused = refusal(shared_server.kms(access_key_id="AKIAUNKNOWN").list_keys)
    assert refused == (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        400,
    )


@pytest.mark.parametrize(("minutes", "words"), [(-6, "Signature expired: "), (6, "Signature not yet current: ")])
def test_a_clock_that_is_off_by_more_than_five_minutes_is_refused(
    shared_server: Server, minutes: int, words: str
) -> None:
    answer = shared_server.call("ListKeys", at=datetime.now(UTC) + timedelta(minutes=minutes))
    assert (answer.status, answer.json()["__type"]) == (400, "InvalidSignatureException")
    assert answer.json()["message"].startswith(words)


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_that_is_off_by_less_works(shared_server: Server, minutes: int) -> None:
    assert shared_server.call("ListKeys", at=datetime.now(UTC) + timedelta(minutes=minutes)).status == 200


def test_a_region_that_is_not_served_and_another_service_are_refused(shared_server: Server) -> None:
    for scope in ({"region": "ap-south-1"}, {"service": "s3"}):
        answer = shared_server.call("ListKeys", **scope)
        assert (answer.status, answer.json()["__type"]) == (400, "InvalidSignatureException")


def test_a_signature_for_sts_does_not_open_the_kms_api(shared_server: Server) -> None:
    answer = shared_server.call("ListKeys", service="sts")  # it is for the STS door, which knows no ListKeys
    assert (answer.status, answer.headers["content-type"]) == (400, "text/xml")
    assert b"<Code>InvalidAction</Code>" in answer.body


@pytest.mark.parametrize("operation", ["Nope", "", "encrypt", "Encrypt ", None])
def test_an_unknown_or_missing_operation_is_told_so(shared_server: Server, operation: str | None) -> None:
    answer = shared_server.call(operation)
    assert (answer.status, answer.json()["__type"]) == (400, "UnknownOperationException")
    assert answer.headers["x-amzn-requestid"]


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"null", b"\xff\xfe", b'{"KeyId": }', b"{}{}"])
def test_a_body_that_is_no_request_is_a_serialization_or_validation_error(shared_server: Server, body: bytes) -> None:
    answer = shared_server.call("DescribeKey", body)
    assert answer.status == 400
    assert answer.json()["__type"] in ("SerializationException", "ValidationException")
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-errortype"] == answer.json()["__type"]


def test_every_answer_has_a_request_id_of_its_own(kms: Any, key: dict[str, Any]) -> None:
    ids = {kms.describe_key(KeyId=key["KeyId"])["ResponseMetadata"]["RequestId"] for _ in range(5)}
    assert len(ids) == 5
    assert all(uuid.UUID(each) for each in ids)


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
