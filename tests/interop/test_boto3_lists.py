"""Lists and what hangs on a key, as boto3 sees them: pages, aliases, tags."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.harness import ACCOUNT, REGION, Server, document, refusal
from tests.interop.answers import members, pages

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


def test_pages_of_tags_survive_inserts_and_deletes_between_them(kms: Any) -> None:
    key_id = kms.create_key(Tags=tags(7))["KeyMetadata"]["KeyId"]
    seen: list[str] = []
    for number, page in enumerate(pages(kms.list_resource_tags, "Tags", KeyId=key_id, Limit=3)):
        seen += [each["TagKey"] for each in page]
        if number == 0:
            kms.untag_resource(KeyId=key_id, TagKeys=["k002", "k004"])  # the one that the marker names, and a later one
            more = [{"TagKey": name, "TagValue": ""} for name in ("k000a", "k003a")]
            kms.tag_resource(KeyId=key_id, Tags=more)
    assert seen == ["k000", "k001", "k002", "k003", "k003a", "k005", "k006"]


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


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("payments", "ValidationException", 'Alias must start with the prefix "alias/".'),
        ("alias/aws/mine", "InvalidAliasNameException", "Alias names that begin with alias/aws/ are reserved."),
        ("alias/", "ValidationException", "alias/ contains invalid characters for an alias"),
        ("alias/a:b", "ValidationException", "alias/a:b contains invalid characters for an alias"),
        ("alias/b\u00e4d", "ValidationException", "Member must satisfy regular expression pattern: "),
        ("alias/a b", "ValidationException", "Member must satisfy regular expression pattern: "),
        ("x" * 257, "ValidationException", "Member must have length less than or equal to 256"),
    ],
)
def test_a_bad_alias_name_is_refused(
    shared_server: Server, key: dict[str, Any], name: str, kind: str, says: str
) -> None:
    answer = shared_server.call("CreateAlias", {"AliasName": name, "TargetKeyId": key["KeyId"]})
    assert (answer.status, answer.json()["__type"]) == (400, kind)
    assert says in answer.json()["message"]


def test_aliases_of_a_key_are_listed_by_whom_an_identity_policy_allows(shared_server: Server, kms: Any) -> None:
    """ "AWS KMS permissions": ListAliases is a permission of IAM policies, on all resources. The key has no say."""
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:ListAliases", "Resource": "*"}
    allow = {**statement, "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*"}
    key_id = kms.create_key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow, statement]}))[
        "KeyMetadata"
    ]["KeyId"]
    assert kms.list_aliases(KeyId=key_id)["Aliases"] == []
    unknown = str(uuid.UUID(int=7, version=4))
    for resource, kind in (("*", "NotFoundException"), (f"arn:aws:kms:{REGION}:{ACCOUNT}:key/*", None)):
        may = {"Effect": "Allow", "Action": "kms:ListAliases", "Resource": resource}
        theirs = shared_server.kms_of(shared_server.person(f"p-{uuid.uuid4()}", may))
        assert refusal(theirs.list_aliases, KeyId=unknown).type == (kind or "AccessDeniedException")
        if kind is not None:
            assert theirs.list_aliases(KeyId=key_id)["Aliases"] == []


def test_an_alias_does_not_name_an_alias(kms: Any, alias: str) -> None:
    refused = refusal(kms.create_alias, AliasName=f"{alias}-2", TargetKeyId=alias)
    assert refused == ("ValidationException", "Aliases must refer to keys. Not aliases", 400)


def test_a_key_has_at_most_fifty_aliases(shared_server: Server, kms: Any, key: dict[str, Any]) -> None:
    prefix = f"alias/many-{uuid.uuid4()}"
    for index in range(50):
        kms.create_alias(AliasName=f"{prefix}-{index}", TargetKeyId=key["KeyId"])
    wanted = (
        "LimitExceededException",
        "Aliases per key quota for this account in this region is 50, current usage is 50.",
        400,
    )
    assert refusal(kms.create_alias, AliasName=f"{prefix}-50", TargetKeyId=key["KeyId"]) == wanted
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"{prefix}-50", TargetKeyId=other)
    assert refusal(kms.update_alias, AliasName=f"{prefix}-50", TargetKeyId=key["KeyId"]) == wanted
    (kept,) = kms.list_aliases(KeyId=other)["Aliases"]
    assert (kept["AliasName"], kept["CreationDate"]) == (f"{prefix}-50", kept["LastUpdatedDate"]), "nothing moved"
    assert len(kms.list_aliases(KeyId=key["KeyId"], Limit=1000)["Aliases"]) == 50
    kms.delete_alias(AliasName=f"{prefix}-0")
    kms.update_alias(AliasName=f"{prefix}-50", TargetKeyId=key["KeyId"])


def test_a_page_of_aliases_holds_a_hundred_whatever_is_asked_for(shared_server: Server, kms: Any) -> None:
    """The reference speaks of 1 to 100, the model of 1 to 1000, and clients send 1000 and follow the marker."""
    mine = f"hundred-{uuid.uuid4()}"
    names = [f"{mine}-{index:03}" for index in range(102)]
    keys = [document("Key", f"{mine}-{part}", aliases=names[part * 34 : part * 34 + 34]) for part in range(3)]
    shared_server.apply(mine, keys)
    sizes, seen = [], []
    for page in pages(kms.list_aliases, "Aliases", Limit=1000):
        sizes.append(len(page))
        seen += [each["AliasName"].removeprefix("alias/") for each in page]
    assert sizes[0] == max(sizes) == 100
    assert [name for name in seen if name.startswith(mine)] == names


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
def test_tags_beyond_the_rules_are_refused(
    kms: Any, key: dict[str, Any], given: list[dict[str, str]], kind: str
) -> None:
    for call, more in ((kms.create_key, {}), (kms.tag_resource, {"KeyId": key["KeyId"]})):
        refused = refusal(call, Tags=given, **more)
        assert (refused.type, refused.status) == (kind, 400)
    assert kms.list_resource_tags(KeyId=key["KeyId"])["Tags"] == []


@pytest.mark.parametrize("name", ["aws:mine", "AWS:createdBy", "aws:"])
def test_a_reserved_tag_is_nobodys_to_remove(kms: Any, key: dict[str, Any], name: str) -> None:
    kms.tag_resource(KeyId=key["KeyId"], Tags=tags(1))
    refused = refusal(kms.untag_resource, KeyId=key["KeyId"], TagKeys=["k000", name])
    assert (refused.type, refused.status) == ("TagException", 400)
    assert kms.list_resource_tags(KeyId=key["KeyId"])["Tags"] == tags(1), "none is gone"
    kms.untag_resource(KeyId=key["KeyId"], TagKeys=["k000", "k000", "never there", "not-aws:"])
    assert kms.list_resource_tags(KeyId=key["KeyId"])["Tags"] == []


@pytest.mark.parametrize(
    "tag",
    [{"TagKey": "", "TagValue": ""}, {"TagKey": "k" * 129, "TagValue": ""}, {"TagKey": "k", "TagValue": "v" * 257}],
)
def test_a_tag_out_of_bounds_is_a_validation_error(shared_server: Server, tag: dict[str, str]) -> None:
    answer = shared_server.call("CreateKey", {"Tags": [tag]})
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
    assert "at 'tags" in answer.json()["message"]
