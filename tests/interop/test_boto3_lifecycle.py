"""The KMS door as boto3 sees it: rotation, multi-Region keys, aliases that move, tags, descriptions, last usage."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness import ACCOUNT, OTHER_REGION, REGION, Server, eventually, refusal
from tests.interop.answers import pages


@pytest.fixture(scope="session")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


@pytest.fixture(scope="session")
def elsewhere(shared_server: Server) -> Any:
    return shared_server.kms(region=OTHER_REGION)


@pytest.fixture
def key(kms: Any) -> str:
    return kms.create_key(Description="of one test")["KeyMetadata"]["KeyId"]


@pytest.fixture
def multi(kms: Any) -> str:
    return kms.create_key(MultiRegion=True, Description="primary")["KeyMetadata"]["KeyId"]


def rotations(kms: Any, key: str, **wanted: Any) -> list[dict[str, Any]]:
    return kms.list_key_rotations(KeyId=key, **wanted)["Rotations"]


def rotate(kms: Any, key: str) -> None:
    """Rotate on demand and wait until the new material is current."""
    before = len(rotations(kms, key))
    assert kms.rotate_key_on_demand(KeyId=key)["KeyId"].endswith(key)
    eventually(lambda: len(rotations(kms, key)) > before, "the rotation is complete")


# ---- rotation --------------------------------------------------------------------------------------------------------


def test_rotation_is_off_until_it_is_enabled_and_tells_its_next_date(kms: Any, key: str) -> None:
    status = kms.get_key_rotation_status(KeyId=key)
    assert status["KeyRotationEnabled"] is False
    assert "NextRotationDate" not in status
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 90)
    left = status["NextRotationDate"] - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    kms.disable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False


def test_rotation_is_enabled_for_a_year_if_no_period_is_given(kms: Any, key: str) -> None:
    kms.enable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 365


@pytest.mark.parametrize("days", [89, 2561])
def test_a_rotation_period_outside_90_to_2560_days_is_refused(shared_server: Server, key: str, days: int) -> None:
    answer = shared_server.call("EnableKeyRotation", {"KeyId": key, "RotationPeriodInDays": days})
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationException")


def test_new_material_encrypts_and_every_older_one_decrypts(kms: Any, key: str) -> None:
    blobs = []
    for number in range(4):
        answer = kms.encrypt(KeyId=key, Plaintext=b"%d" % number)
        blobs.append((answer["CiphertextBlob"], kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]))
        rotate(kms, key)
    assert len({material for _, material in blobs}) == 4
    for number, (blob, material) in enumerate(blobs):
        answer = kms.decrypt(CiphertextBlob=blob)
        assert (answer["Plaintext"], answer["KeyMaterialId"]) == (b"%d" % number, material)


def test_rotations_are_listed_with_material_ids_dates_and_types(kms: Any, key: str) -> None:
    first = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert rotations(kms, key) == []
    rotate(kms, key)
    (done,) = rotations(kms, key)
    assert done["KeyId"] == key
    assert done["RotationType"] == "ON_DEMAND"
    assert abs(done["RotationDate"] - datetime.now(UTC)) < timedelta(minutes=5)
    every = rotations(kms, key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert [(each["KeyMaterialId"], each["KeyMaterialState"]) for each in every] == [
        (first, "NON_CURRENT"),
        (done["KeyMaterialId"], "CURRENT"),
    ]
    assert "RotationDate" not in every[0]


def test_a_key_is_rotated_on_demand_25_times_and_pages_of_rotations_survive_the_last(kms: Any, key: str) -> None:
    for _ in range(24):
        rotate(kms, key)
    seen: list[str] = []
    every = {"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
    for number, page in enumerate(pages(kms.list_key_rotations, "Rotations", Limit=10, **every)):
        seen += [each["KeyMaterialId"] for each in page]
        if number == 0:
            rotate(kms, key)
    assert len(seen) == len(set(seen)) == 26
    assert seen[-1] == kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert refusal(kms.list_key_rotations, KeyId=key, Marker="bm9uZQ==").type == "InvalidMarkerException"
    refused = refusal(kms.rotate_key_on_demand, KeyId=key)
    assert (refused.type, refused.status) == ("LimitExceededException", 400)
    assert refused.message.startswith("The on-demand rotations limit has been reached for the given keyId.")
    kms.enable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True, "the automatic one is not counted"


@pytest.mark.parametrize(
    "wish",
    [{"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}, {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}],
)
def test_keys_that_do_not_rotate_say_so_and_refuse_to(kms: Any, wish: dict[str, str]) -> None:
    key = kms.create_key(**wish)["KeyMetadata"]["KeyId"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    for operation in (
        kms.enable_key_rotation,
        kms.disable_key_rotation,
        kms.rotate_key_on_demand,
        kms.list_key_rotations,
    ):
        assert refusal(operation, KeyId=key).type == "UnsupportedOperationException"


def test_a_disabled_key_is_not_rotated_and_a_pending_one_says_that_it_rotates_no_more(kms: Any, key: str) -> None:
    kms.enable_key_rotation(KeyId=key)
    kms.disable_key(KeyId=key)
    assert refusal(kms.rotate_key_on_demand, KeyId=key).type == "DisabledException"
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert refusal(kms.rotate_key_on_demand, KeyId=key).type == "KMSInvalidStateException"
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    kms.cancel_key_deletion(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True


def test_rotated_material_decrypts_after_a_restart(private_server: Server) -> None:
    kms = private_server.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    old = kms.encrypt(KeyId=key, Plaintext=b"before")["CiphertextBlob"]
    rotate(kms, key)
    new = kms.encrypt(KeyId=key, Plaintext=b"after")["CiphertextBlob"]
    private_server.kill()
    private_server.start()
    kms = private_server.kms()
    assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"before"
    assert kms.decrypt(CiphertextBlob=new)["Plaintext"] == b"after"


# ---- multi-Region keys -----------------------------------------------------------------------------------------------


def test_a_replica_is_interoperable_with_its_primary(kms: Any, elsewhere: Any, multi: str) -> None:
    made = kms.replicate_key(
        KeyId=multi, ReplicaRegion=OTHER_REGION, Description="replica", Tags=[{"TagKey": "a", "TagValue": "b"}]
    )
    metadata = made["ReplicaKeyMetadata"]
    arn = f"arn:aws:kms:{OTHER_REGION}:{ACCOUNT}:key/{multi}"
    assert (metadata["Arn"], metadata["KeyId"], metadata["Description"]) == (arn, multi, "replica")
    assert metadata["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "REPLICA",
        "PrimaryKey": {"Arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{multi}", "Region": REGION},
        "ReplicaKeys": [{"Arn": arn, "Region": OTHER_REGION}],
    }
    assert made["ReplicaTags"] == [{"TagKey": "a", "TagValue": "b"}]
    assert made["ReplicaPolicy"] == elsewhere.get_key_policy(KeyId=multi)["Policy"]
    told = kms.describe_key(KeyId=multi)["KeyMetadata"]["MultiRegionConfiguration"]
    assert told["MultiRegionKeyType"] == "PRIMARY"
    assert told["ReplicaKeys"] == [{"Arn": arn, "Region": OTHER_REGION}]
    eventually(lambda: elsewhere.describe_key(KeyId=multi)["KeyMetadata"]["KeyState"] == "Enabled", "it is enabled")
    blob = kms.encrypt(KeyId=multi, Plaintext=b"here", EncryptionContext={"a": "b"})["CiphertextBlob"]
    there = elsewhere.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})
    assert (there["Plaintext"], there["KeyId"]) == (b"here", arn)
    back = elsewhere.encrypt(KeyId=multi, Plaintext=b"there")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=back)["Plaintext"] == b"there"


def test_a_rotation_of_the_primary_reaches_the_replica(kms: Any, elsewhere: Any, multi: str) -> None:
    kms.replicate_key(KeyId=multi, ReplicaRegion=OTHER_REGION)
    old = elsewhere.encrypt(KeyId=multi, Plaintext=b"old")["CiphertextBlob"]
    assert refusal(elsewhere.rotate_key_on_demand, KeyId=multi).type == "UnsupportedOperationException"
    rotate(kms, multi)
    ours = kms.describe_key(KeyId=multi)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert elsewhere.describe_key(KeyId=multi)["KeyMetadata"]["CurrentKeyMaterialId"] == ours
    assert rotations(elsewhere, multi)[0]["KeyMaterialId"] == ours
    new = kms.encrypt(KeyId=multi, Plaintext=b"new")["CiphertextBlob"]
    assert elsewhere.decrypt(CiphertextBlob=new)["Plaintext"] == b"new"
    assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
    kms.enable_key_rotation(KeyId=multi, RotationPeriodInDays=100)
    assert elsewhere.get_key_rotation_status(KeyId=multi)["RotationPeriodInDays"] == 100


def test_what_cannot_be_replicated_is_refused(kms: Any, elsewhere: Any, key: str, multi: str) -> None:
    def replicate(client: Any, key: str, region: str) -> str:
        return refusal(client.replicate_key, KeyId=key, ReplicaRegion=region).type

    assert replicate(kms, key, OTHER_REGION) == "UnsupportedOperationException"
    assert replicate(kms, multi, "ap-south-1") == "UnsupportedOperationException"
    assert replicate(kms, multi, REGION) == "AlreadyExistsException"
    kms.replicate_key(KeyId=multi, ReplicaRegion=OTHER_REGION)
    assert replicate(kms, multi, OTHER_REGION) == "AlreadyExistsException"
    assert replicate(elsewhere, multi, REGION) == "UnsupportedOperationException"
    kms.disable_key(KeyId=multi)
    assert replicate(kms, multi, OTHER_REGION) == "DisabledException"


def test_a_replica_has_a_policy_of_its_own_and_its_maker_is_not_locked_out_by_accident(
    kms: Any, elsewhere: Any, multi: str
) -> None:
    def policy(principal: str) -> str:
        statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=3)

    there = {"KeyId": multi, "ReplicaRegion": OTHER_REGION}
    locking = policy(f"arn:aws:iam::{ACCOUNT}:user/somebody")
    told = "The new key policy will not allow you to update the key policy in the future."
    for more in ({}, {"BypassPolicyLockoutSafetyCheck": False}):
        refused = refusal(kms.replicate_key, **there, Policy=locking, **more)
        assert refused == ("MalformedPolicyDocumentException", told, 400)
    assert refusal(kms.replicate_key, **there, Policy="{}").type == "MalformedPolicyDocumentException"
    assert refusal(elsewhere.describe_key, KeyId=multi).type == "NotFoundException", "none was made"
    mine = policy(f"arn:aws:iam::{ACCOUNT}:root")
    assert kms.replicate_key(**there, Policy=mine)["ReplicaPolicy"] == mine
    assert elsewhere.get_key_policy(KeyId=multi)["Policy"] == mine != kms.get_key_policy(KeyId=multi)["Policy"]
    other = kms.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    kms.replicate_key(**{**there, "KeyId": other}, Policy=locking, BypassPolicyLockoutSafetyCheck=True)
    assert refusal(elsewhere.get_key_policy, KeyId=other).type == "AccessDeniedException"
    assert kms.get_key_policy(KeyId=other)["PolicyName"] == "default"


def test_tags_of_a_replica_need_a_permission_of_their_own(
    shared_server: Server, kms: Any, elsewhere: Any, multi: str
) -> None:
    may = [{"Effect": "Allow", "Action": ["kms:ReplicateKey", "kms:CreateKey"], "Resource": "*"}]
    person = shared_server.kms_of(shared_server.person(f"p-{uuid.uuid4()}", *may))
    there = {"KeyId": multi, "ReplicaRegion": OTHER_REGION}
    refused = refusal(person.replicate_key, **there, Tags=[{"TagKey": "a", "TagValue": "b"}])
    assert refused.type == "AccessDeniedException"
    assert "is not authorized to perform: kms:TagResource" in refused.message
    assert refusal(elsewhere.describe_key, KeyId=multi).type == "NotFoundException", "none was made"
    assert person.replicate_key(**there)["ReplicaTags"] == []


def test_the_primary_moves_to_the_replicas_region(kms: Any, elsewhere: Any, multi: str) -> None:
    assert refusal(kms.update_primary_region, KeyId=multi, PrimaryRegion=OTHER_REGION).type == "NotFoundException"
    kms.replicate_key(KeyId=multi, ReplicaRegion=OTHER_REGION)
    kms.update_primary_region(KeyId=multi, PrimaryRegion=OTHER_REGION)
    here = kms.describe_key(KeyId=multi)["KeyMetadata"]["MultiRegionConfiguration"]
    there = elsewhere.describe_key(KeyId=multi)["KeyMetadata"]["MultiRegionConfiguration"]
    assert (here["MultiRegionKeyType"], there["MultiRegionKeyType"]) == ("REPLICA", "PRIMARY")
    assert here["PrimaryKey"] == there["PrimaryKey"]
    assert there["PrimaryKey"]["Region"] == OTHER_REGION
    rotate(elsewhere, multi)
    assert refusal(kms.update_primary_region, KeyId=multi, PrimaryRegion=REGION).type == "UnsupportedOperationException"


def test_a_primary_with_replicas_waits_for_them_before_its_window_begins(kms: Any, elsewhere: Any, multi: str) -> None:
    kms.replicate_key(KeyId=multi, ReplicaRegion=OTHER_REGION)
    answer = kms.schedule_key_deletion(KeyId=multi, PendingWindowInDays=7)
    assert answer["KeyState"] == "PendingReplicaDeletion"
    assert "DeletionDate" not in answer
    metadata = kms.describe_key(KeyId=multi)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["PendingDeletionWindowInDays"]) == ("PendingReplicaDeletion", 7)
    assert refusal(kms.encrypt, KeyId=multi, Plaintext=b"x").type == "KMSInvalidStateException"
    assert elsewhere.encrypt(KeyId=multi, Plaintext=b"x")["CiphertextBlob"]
    kms.cancel_key_deletion(KeyId=multi)
    assert kms.describe_key(KeyId=multi)["KeyMetadata"]["KeyState"] == "Disabled"


# ---- aliases, tags, descriptions -------------------------------------------------------------------------------------


def test_an_alias_moves_to_another_key_and_keeps_its_creation_date(kms: Any, key: str) -> None:
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    name = f"alias/test-{uuid.uuid4()}"
    kms.create_alias(AliasName=name, TargetKeyId=key)
    (before,) = kms.list_aliases(KeyId=key)["Aliases"]
    kms.update_alias(AliasName=name, TargetKeyId=other)
    assert kms.list_aliases(KeyId=key)["Aliases"] == []
    (after,) = kms.list_aliases(KeyId=other)["Aliases"]
    assert after["CreationDate"] == before["CreationDate"]
    assert after["LastUpdatedDate"] >= before["LastUpdatedDate"]
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == other


def test_an_alias_does_not_move_to_a_key_of_another_type_or_usage(kms: Any, key: str) -> None:
    name = f"alias/test-{uuid.uuid4()}"
    kms.create_alias(AliasName=name, TargetKeyId=key)
    for wish in ({"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},):
        other = kms.create_key(**wish)["KeyMetadata"]["KeyId"]
        assert refusal(kms.update_alias, AliasName=name, TargetKeyId=other).type == "ValidationException"
    assert refusal(kms.update_alias, AliasName="alias/none", TargetKeyId=key).type == "NotFoundException"
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == key


def test_tags_are_added_replaced_and_removed(kms: Any, key: str) -> None:
    def tags() -> dict[str, str]:
        return {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key)["Tags"]}

    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "b", "TagValue": "2"}])
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "b", "TagValue": "3"}])
    assert tags() == {"a": "1", "b": "3"}
    kms.untag_resource(KeyId=key, TagKeys=["a", "never-there"])
    assert tags() == {"b": "3"}
    many = [{"TagKey": f"t{number}", "TagValue": ""} for number in range(50)]
    assert refusal(kms.tag_resource, KeyId=key, Tags=many).type == "LimitExceededException"
    assert tags() == {"b": "3"}
    reserved = [{"TagKey": "aws:mine", "TagValue": ""}]
    assert refusal(kms.tag_resource, KeyId=key, Tags=reserved).type == "TagException"


def test_a_description_changes(kms: Any, key: str) -> None:
    kms.update_key_description(KeyId=key, Description="another")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "another"
    kms.update_key_description(KeyId=key, Description="")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == ""
