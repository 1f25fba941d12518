"""STS as boto3 sees it: who am I, sessions of roles and of users, and what a session may and may not."""

from __future__ import annotations

import json
import re
import uuid
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.harness import ACCOUNT, OTHER_REGION, Answer, Person, Server, document, refusal

ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
INVALID = "The security token included in the request is invalid."
KMS = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
ASSUME = {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}


def policy(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trusts(*principals: str, action: Any = "sts:AssumeRole", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": action, **more}


def role(server: Server, *trust: Mapping[str, Any], may: Mapping[str, Any] | None = KMS, **spec: Any) -> str:
    """Declare a role; its ARN."""
    name = f"r-{uuid.uuid4()}"
    policies = {"policies": {"own": {"document": policy(may)}}} if may else {}
    declared = document("Principal", name, type="role", trustPolicy={"document": policy(*trust)}, **policies, **spec)
    server.ok("PUT", f"/v1/principals/{name}", declared)
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def somebody(server: Server, *statements: Mapping[str, Any], **spec: Any) -> Person:
    return server.person(f"p-{uuid.uuid4()}", *statements, **spec)


def assume(server: Server, person: Person, arn: str, name: str = "session", **more: Any) -> Any:
    return server.sts_of(person).assume_role(RoleArn=arn, RoleSessionName=name, **more)


@pytest.fixture
def person(shared_server: Server) -> Person:
    return somebody(shared_server)


# ---- GetCallerIdentity -----------------------------------------------------------------------------------------------


def test_everybody_may_ask_who_they_are(shared_server: Server, person: Person) -> None:
    identity = shared_server.sts_of(person).get_caller_identity()
    assert identity.keys() == {"UserId", "Account", "Arn", "ResponseMetadata"}
    assert (identity["Arn"], identity["Account"]) == (person.arn, ACCOUNT)
    assert re.fullmatch("AIDA[A-Z2-7]{17}", identity["UserId"])
    denied = somebody(shared_server, {"Effect": "Deny", "Action": "*", "Resource": "*"})
    assert shared_server.sts_of(denied).get_caller_identity()["Arn"] == denied.arn
    assert shared_server.sts().get_caller_identity()["Arn"] == ADMIN


def test_the_unique_id_of_a_name_that_comes_back_is_another(shared_server: Server, person: Person) -> None:
    first = shared_server.sts_of(person).get_caller_identity()["UserId"]
    shared_server.ok("DELETE", f"/v1/principals/{person.name}")
    again = shared_server.person(person.name)
    assert shared_server.sts_of(again).get_caller_identity()["UserId"] != first


def test_a_region_that_the_server_does_not_have_is_fine_for_sts(shared_server: Server) -> None:
    assert shared_server.sts("ap-southeast-4").get_caller_identity()["Arn"] == ADMIN
    assert shared_server.sts(OTHER_REGION).get_caller_identity()["Arn"] == ADMIN


def signed(server: Server, body: bytes = b"", *, method: str = "POST", query: str = "", **more: Any) -> Answer:
    """A request signed by botocore whose content need not be anything that boto3 would send."""
    path = f"/?{query}" if query else "/"
    headers = server.signed(None, body, path=path, **{"service": "sts", "headers": FORM, "method": method, **more})
    return server.http(method, path, body if method == "POST" else None, headers)


def form(**parameters: str) -> bytes:
    return urlencode({"Version": "2011-06-15", **parameters}).encode()


def error(answer: Answer) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "text/xml"
    tree = ET.fromstring(answer.body)
    space = "{https://sts.amazonaws.com/doc/2011-06-15/}"
    assert tree.tag == f"{space}ErrorResponse"
    assert tree.findtext(f"{space}RequestId") == answer.headers["x-amzn-requestid"]
    code = tree.findtext(f"{space}Error/{space}Code")
    message = tree.findtext(f"{space}Error/{space}Message")
    assert tree.findtext(f"{space}Error/{space}Type") == "Sender"
    assert code is not None
    return answer.status, code, message or ""


def test_get_and_post_answer_the_same(shared_server: Server) -> None:
    query = form(Action="GetCallerIdentity").decode()
    for answer in (signed(shared_server, query.encode()), signed(shared_server, method="GET", query=query)):
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/xml"
        assert f"<Arn>{ADMIN}</Arn>" in answer.body.decode()
        assert uuid.UUID(answer.headers["x-amzn-requestid"])
        assert answer.headers["date"]


@pytest.mark.parametrize(
    ("operation", "members", "status"), [("ListKeys", {}, 200), ("DescribeKey", {"KeyId": "none"}, 400)]
)
def test_an_answer_of_the_kms_door_carries_its_crc(
    shared_server: Server, operation: str, members: dict[str, object], status: int
) -> None:
    answer = shared_server.call(operation, members)
    assert answer.status == status
    assert int(answer.headers["x-amz-crc32"]) == zlib.crc32(answer.body)


def test_every_answer_of_every_door_is_dated(shared_server: Server) -> None:
    """Clients set their clocks by it before they sign again."""
    body = form(Action="GetCallerIdentity")
    old = datetime.now(UTC) - timedelta(hours=2)
    answers = [
        signed(shared_server, body),
        signed(shared_server, body, at=old),
        shared_server.call("ListKeys"),
        shared_server.http("POST", "/", b"{}", shared_server.signed("ListKeys", b"{}", at=old)),
        shared_server.http("POST", "/", b"{}"),
        shared_server.http("POST", "/", b"a" * 1_100_000),
        shared_server.rest("GET", "/v1/keys", token=None),
        shared_server.http("GET", "/nothing"),
    ]
    assert [answer.status for answer in answers] == [200, 403, 200, 400, 400, 413, 401, 404]
    for answer in answers:
        assert abs(parsedate_to_datetime(answer.headers["date"]) - datetime.now(UTC)) < timedelta(minutes=1)


# ---- refusals as STS words them --------------------------------------------------------------------------------------


def test_a_signature_is_judged_as_sts_judges_it(shared_server: Server) -> None:
    body = form(Action="GetCallerIdentity")
    now = datetime.now(UTC)
    assert error(shared_server.http("POST", "/", body, FORM))[:2] == (403, "MissingAuthenticationToken")
    assert error(signed(shared_server, body, secret="wrong"))[:2] == (403, "SignatureDoesNotMatch")
    assert error(signed(shared_server, body, access_key_id="AKIAIOSFODNN7EXAMPLE")) == (
        403,
        "InvalidClientTokenId",
        INVALID,
    )
    status, code, message = error(signed(shared_server, body, at=now - timedelta(minutes=16)))
    assert (status, code) == (403, "SignatureDoesNotMatch")
    assert message.startswith("Signature expired: ")
    status, code, message = error(signed(shared_server, body, at=now + timedelta(minutes=16)))
    assert message.startswith("Signature not yet current: ")
    garbled = {**FORM, "authorization": "AWS4-HMAC-SHA256 Credential=a", "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
    assert error(shared_server.http("POST", "/", body, garbled))[:2] == (400, "IncompleteSignature")


def test_a_presigned_request_is_refused_clearly(shared_server: Server) -> None:
    url = shared_server.sts().generate_presigned_url("get_caller_identity")
    answer = shared_server.http("GET", url.removeprefix(shared_server.url))
    status, code, message = error(answer)
    assert (status, code) == (400, "IncompleteSignature")
    assert "Presigned requests" in message
    assert "sign with the Authorization header" in message


def test_a_signature_for_one_service_opens_its_own_door_alone(shared_server: Server) -> None:
    body = form(Action="GetCallerIdentity")
    answer = signed(shared_server, body, service="kms")
    assert answer.json()["__type"] == "UnknownOperationException", "what is signed for KMS comes to its door"
    answer = shared_server.http("POST", "/", b"{}", shared_server.signed("ListKeys", b"{}", service="sts"))
    assert error(answer)[:2] == (400, "InvalidAction")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "InvalidAction"),
        (b"Version=2011-06-15", 400, "InvalidAction"),
        (b"Action=GetCallerIdentity", 400, "InvalidAction"),
        (form(Action="GetFederationToken"), 400, "InvalidAction"),
        (form(Action="<script>&"), 400, "InvalidAction"),
        (form(Action="GetCallerIdentity") + b"&Action=AssumeRole", 400, "ValidationError"),
        (b"\xff\xfe", 400, "ValidationError"),
        (b"a=%ff&" + form(Action="GetCallerIdentity"), 400, "ValidationError"),
        (b"&".join(b"a%d=b" % number for number in range(400)), 400, "ValidationError"),
        (form(Action="AssumeRole"), 400, "ValidationError"),
        (form(Action="AssumeRole", RoleArn="\x00", RoleSessionName="ab"), 400, "ValidationError"),
        (form(Action="AssumeRole", RoleArn=ROOT, RoleSessionName="ab"), 400, "ValidationError"),
        (form(Action="GetSessionToken", DurationSeconds="-1"), 400, "ValidationError"),
        (form(Action="GetSessionToken", DurationSeconds="9" * 5000), 400, "ValidationError"),
    ],
)
def test_what_cannot_be_read_is_refused_and_never_a_failure(
    shared_server: Server, body: bytes, status: int, code: str
) -> None:
    assert error(signed(shared_server, body))[:2] == (status, code)


def test_a_body_without_end_is_not_read(shared_server: Server) -> None:
    body = b"a=" + b"b" * 1_100_000
    answer = shared_server.http("POST", "/", body, FORM)
    assert answer.status == 413


# ---- AssumeRole ------------------------------------------------------------------------------------------------------


def test_a_session_is_its_role(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn))
    before = datetime.now(UTC)
    answer = assume(shared_server, person, arn, "monday")
    assert answer.keys() == {"Credentials", "AssumedRoleUser", "ResponseMetadata"}
    credentials = answer["Credentials"]
    assert re.fullmatch("ASIA[A-Z2-7]{16}", credentials["AccessKeyId"])
    lifetime = credentials["Expiration"] - before
    assert timedelta(seconds=3_595) <= lifetime <= timedelta(seconds=3_605)
    name = arn.rpartition("/")[2]
    session_arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/monday"
    assert answer["AssumedRoleUser"]["Arn"] == session_arn
    assert re.fullmatch("AROA[A-Z2-7]{17}:monday", answer["AssumedRoleUser"]["AssumedRoleId"])
    sts = shared_server.sts(
        access_key_id=credentials["AccessKeyId"],
        secret=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    identity = sts.get_caller_identity()
    assert identity["Arn"] == session_arn
    assert identity["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    kms = shared_server.kms_as(credentials)
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.decrypt(CiphertextBlob=kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"])["Plaintext"] == b"x"


def test_who_is_not_trusted_does_not_assume_a_role(shared_server: Server, person: Person) -> None:
    other = somebody(shared_server, ASSUME)
    cases = {
        role(shared_server, trusts(other.arn)): "another is trusted",
        role(shared_server, trusts(ROOT)): "the account is, and no identity policy allows it",
        role(shared_server, trusts(person.arn), {**trusts(person.arn), "Effect": "Deny"}): "denied",
        role(shared_server, trusts(person.arn, action="sts:TagSession")): "another action",
        f"arn:aws:iam::{ACCOUNT}:role/nobody": "there is no such role",
        f"arn:aws:iam::{ACCOUNT}:role/{person.name}": "it is a user",
        "arn:aws:iam::999999999999:role/r": "another account",
    }
    for arn, why in cases.items():
        refused = refusal(shared_server.sts_of(person).assume_role, RoleArn=arn, RoleSessionName="s1")
        assert refused.type == "AccessDenied", why
        assert refused.status == 403
        begins = f"User: {person.arn} is not authorized to perform: sts:AssumeRole on resource: {arn} "
        assert refused.message.startswith(begins)


def test_the_account_in_a_trust_policy_leaves_it_to_identity_policies(shared_server: Server) -> None:
    arn = role(shared_server, trusts(ROOT))
    allowed = somebody(shared_server, {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn})
    assume(shared_server, allowed, arn)
    other = somebody(shared_server, {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn + "-other"})
    assert refusal(shared_server.sts_of(other).assume_role, RoleArn=arn, RoleSessionName="s1").type == "AccessDenied"


def test_a_role_without_trust_policy_is_nobodys(shared_server: Server) -> None:
    name = f"r-{uuid.uuid4()}"
    shared_server.ok("PUT", f"/v1/principals/{name}", document("Principal", name, type="role"))
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    assert refusal(shared_server.sts().assume_role, RoleArn=arn, RoleSessionName="s1").type == "AccessDenied"


def test_a_trust_policy_sees_the_external_id_and_the_name_of_the_session(shared_server: Server, person: Person) -> None:
    condition = {"StringEquals": {"sts:ExternalId": "secret-of-us"}, "StringLike": {"sts:RoleSessionName": "ci-*"}}
    arn = role(shared_server, trusts(person.arn, Condition=condition))
    assume(shared_server, person, arn, "ci-1", ExternalId="secret-of-us")
    for name, more in (("ci-1", {}), ("ci-1", {"ExternalId": "other"}), ("me", {"ExternalId": "secret-of-us"})):
        call = shared_server.sts_of(person).assume_role
        assert refusal(call, RoleArn=arn, RoleSessionName=name, **more).type == "AccessDenied"


def test_durations_are_held_to_the_role(shared_server: Server, person: Person) -> None:
    short, long = (
        role(shared_server, trusts(person.arn)),
        role(shared_server, trusts(person.arn), maxSessionSeconds=43_200),
    )
    call = shared_server.sts_of(person).assume_role
    for arn, seconds, says in (
        (short, 3_601, "exceeds the MaxSessionDuration"),
        (long, 43_201, "less than or equal to 43200"),
    ):
        refused = refusal(call, RoleArn=arn, RoleSessionName="s1", DurationSeconds=seconds)
        assert refused.type == "ValidationError"
        assert says in refused.message
    body = form(Action="AssumeRole", RoleArn=short, RoleSessionName="s1", DurationSeconds="899")
    credentials = {"access_key_id": person.access_key_id, "secret": person.secret}
    assert "greater than or equal to 900" in error(signed(shared_server, body, **credentials))[2]
    answer = call(RoleArn=long, RoleSessionName="s1", DurationSeconds=43_200)
    assert answer["Credentials"]["Expiration"] > datetime.now(UTC) + timedelta(hours=11)


def test_a_session_of_a_session_lasts_an_hour(shared_server: Server, person: Person) -> None:
    first = role(shared_server, trusts(person.arn), may=ASSUME)
    second = role(shared_server, trusts(first), maxSessionSeconds=43_200)
    key = assume(shared_server, person, first)["Credentials"]
    sts = shared_server.sts(
        access_key_id=key["AccessKeyId"], secret=key["SecretAccessKey"], aws_session_token=key["SessionToken"]
    )
    refused = refusal(sts.assume_role, RoleArn=second, RoleSessionName="s2", DurationSeconds=7_200)
    assert "role chaining" in refused.message
    chained = sts.assume_role(RoleArn=second, RoleSessionName="s2")
    assert chained["Credentials"]["Expiration"] < datetime.now(UTC) + timedelta(seconds=3_605)
    shared_server.kms_as(chained["Credentials"]).list_keys()


def test_a_session_policy_only_takes_away(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn))
    only = policy({"Effect": "Allow", "Action": ["kms:ListKeys", "keystead:*", "sts:*"], "Resource": "*"})
    kms = shared_server.kms_as(assume(shared_server, person, arn, Policy=only)["Credentials"])
    kms.list_keys()
    assert refusal(kms.create_key).type == "AccessDeniedException"
    # not even a key policy that names the role, or a grant, gives back what it took
    admin = shared_server.kms()
    text = policy(
        {"Effect": "Allow", "Principal": {"AWS": [ROOT, arn]}, "Action": "kms:*", "Resource": "*"},
    )
    key_id = admin.create_key(Policy=text)["KeyMetadata"]["KeyId"]
    admin.create_grant(KeyId=key_id, GranteePrincipal=arn, Operations=["Encrypt"])
    assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"
    whole = shared_server.kms_as(assume(shared_server, person, arn)["Credentials"])
    whole.encrypt(KeyId=key_id, Plaintext=b"x")
    refused = refusal(
        shared_server.sts_of(person).assume_role, RoleArn=arn, RoleSessionName="s1", Policy='{"Statement":[]}'
    )
    assert refused.type == "MalformedPolicyDocument"


def test_session_tags_come_over_those_of_the_role(shared_server: Server, person: Person) -> None:
    may = {**KMS, "Condition": {"StringEquals": {"aws:PrincipalTag/team": "blue", "aws:PrincipalTag/stage": "dev"}}}
    trust = trusts(person.arn, action=["sts:AssumeRole", "sts:TagSession"])
    arn = role(shared_server, trust, may=may, tags={"team": "red", "stage": "dev"})
    untagged = shared_server.kms_as(assume(shared_server, person, arn)["Credentials"])
    assert refusal(untagged.list_keys).type == "AccessDeniedException"
    tags = [{"Key": "team", "Value": "blue"}]
    shared_server.kms_as(assume(shared_server, person, arn, Tags=tags)["Credentials"]).list_keys()
    not_taggable = role(shared_server, trusts(person.arn), may=may)
    refused = refusal(shared_server.sts_of(person).assume_role, RoleArn=not_taggable, RoleSessionName="s1", Tags=tags)
    assert refused.type == "AccessDenied"
    assert "sts:TagSession" in refused.message


def test_tags_that_cannot_be_are_refused(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn, action=["sts:AssumeRole", "sts:TagSession"]))
    call = shared_server.sts_of(person).assume_role
    twice = [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]
    assert "case insensitive" in refusal(call, RoleArn=arn, RoleSessionName="s1", Tags=twice).message
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(51)]
    assert refusal(call, RoleArn=arn, RoleSessionName="s1", Tags=many).type == "ValidationError"
    large = [{"Key": f"{number:0128}", "Value": "v" * 256} for number in range(50)]
    assert refusal(call, RoleArn=arn, RoleSessionName="s1", Tags=large).type == "PackedPolicyTooLarge"


def test_a_source_identity_stays_with_every_session_after_it(shared_server: Server, person: Person) -> None:
    both = ["sts:AssumeRole", "sts:SetSourceIdentity"]
    first = role(shared_server, trusts(person.arn, action=both), may=ASSUME)
    may = {**KMS, "Condition": {"StringEquals": {"aws:SourceIdentity": "alice"}}}
    second = role(shared_server, trusts(first, action=both), may=may)
    key = assume(shared_server, person, first, SourceIdentity="alice")["Credentials"]
    sts = shared_server.sts(
        access_key_id=key["AccessKeyId"], secret=key["SecretAccessKey"], aws_session_token=key["SessionToken"]
    )
    answer = sts.assume_role(RoleArn=second, RoleSessionName="s2")
    assert answer["SourceIdentity"] == "alice"
    shared_server.kms_as(answer["Credentials"]).list_keys()
    refused = refusal(sts.assume_role, RoleArn=second, RoleSessionName="s2", SourceIdentity="mallory")
    assert refused.type == "AccessDenied"


def test_what_is_not_supported_is_refused_and_not_ignored(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn))
    for more in (
        {"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]},
        {"TransitiveTagKeys": ["a"]},
        {"SerialNumber": "arn:aws:iam::1:mfa/x", "TokenCode": "123456"},
    ):
        refused = refusal(shared_server.sts_of(person).assume_role, RoleArn=arn, RoleSessionName="s1", **more)
        assert refused.type == "ValidationError"
        assert "is not supported" in refused.message


# ---- what a session is not -------------------------------------------------------------------------------------------


def test_a_session_named_like_another_principal_is_not_that_one(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn), may=None)
    admin = shared_server.kms()
    victim = somebody(shared_server, KMS)
    text = policy(
        {"Effect": "Allow", "Principal": {"AWS": ADMIN}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": victim.arn}, "Action": "kms:Encrypt", "Resource": "*"},
    )
    key_id = admin.create_key(Policy=text)["KeyMetadata"]["KeyId"]
    admin.create_grant(KeyId=key_id, GranteePrincipal=victim.arn, Operations=["Decrypt"])
    for name in (victim.name, "admin", "root", "user@admin"):
        kms = shared_server.kms_as(assume(shared_server, person, arn, name)["Credentials"])
        assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"
        assert refusal(kms.describe_key, KeyId=key_id).type == "AccessDeniedException"
    call = shared_server.sts_of(person).assume_role
    for name in ("a/b", "a:b", "*", "a b", "ädmin", "x", "y" * 65):
        with pytest.raises(Exception, match=r"ValidationError|Invalid length"):
            call(RoleArn=arn, RoleSessionName=name)


def test_a_token_is_good_for_its_own_access_key_unchanged_alone(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn))
    one, two = (assume(shared_server, person, arn)["Credentials"] for _ in range(2))
    shared_server.kms_as(one).list_keys()
    token = one["SessionToken"]
    middle = len(token) // 2
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    wanted = ("UnrecognizedClientException", INVALID, 400)
    for wrong in (
        {**one, "SessionToken": two["SessionToken"]},
        {**one, "SessionToken": changed},
        {**one, "SessionToken": "AAAA"},
        {**one, "SessionToken": token + "AAAA"},
    ):
        assert refusal(shared_server.kms_as(wrong).list_keys) == wanted
    assert (
        refusal(shared_server.kms(access_key_id=one["AccessKeyId"], secret=one["SecretAccessKey"]).list_keys) == wanted
    )
    with_token = {"access_key_id": person.access_key_id, "secret": person.secret, "aws_session_token": token}
    assert refusal(shared_server.kms(**with_token).list_keys) == wanted, "a lasting key goes without a token"
    shared_server.kms_as(one).list_keys()


def test_a_grant_token_is_no_session_token_and_the_other_way_round(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn))
    session = assume(shared_server, person, arn)["Credentials"]
    kms = shared_server.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    made = kms.create_grant(KeyId=key_id, GranteePrincipal=arn, Operations=["Encrypt"])
    assert refusal(shared_server.kms_as({**session, "SessionToken": made["GrantToken"]}).list_keys).type == (
        "UnrecognizedClientException"
    )
    assert refusal(kms.retire_grant, GrantToken=session["SessionToken"]).type == "InvalidGrantTokenException"


def test_a_session_goes_with_its_role_and_has_the_policies_of_now(shared_server: Server, person: Person) -> None:
    arn = role(shared_server, trusts(person.arn))
    name = arn.rpartition("/")[2]
    kms = shared_server.kms_as(assume(shared_server, person, arn)["Credentials"])
    kms.list_keys()
    narrower = document("Principal", name, type="role", trustPolicy={"document": policy(trusts(person.arn))})
    shared_server.ok("PUT", f"/v1/principals/{name}", narrower)
    assert refusal(kms.list_keys).type == "AccessDeniedException"
    shared_server.ok("PUT", f"/v1/principals/{name}", document("Principal", name, type="role", administrator=True))
    kms.list_keys()
    shared_server.ok("DELETE", f"/v1/principals/{name}")
    assert refusal(kms.list_keys).type == "UnrecognizedClientException"
    shared_server.ok("PUT", f"/v1/principals/{name}", document("Principal", name, type="role", administrator=True))
    assert refusal(kms.list_keys).type == "UnrecognizedClientException"


def test_sessions_outlive_a_restart(private_server: Server) -> None:
    person = somebody(private_server)
    arn = role(private_server, trusts(person.arn))
    credentials = assume(private_server, person, arn)["Credentials"]
    private_server.kill()
    private_server.start()
    private_server.kms_as(credentials).list_keys()


# ---- GetSessionToken -------------------------------------------------------------------------------------------------


def test_a_user_has_a_session_as_itself(shared_server: Server) -> None:
    person = somebody(shared_server, KMS)
    credentials = shared_server.sts_of(person).get_session_token(DurationSeconds=900)["Credentials"]
    assert credentials["Expiration"] < datetime.now(UTC) + timedelta(seconds=905)
    shared_server.kms_as(credentials).list_keys()
    sts = shared_server.sts(
        access_key_id=credentials["AccessKeyId"],
        secret=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    assert sts.get_caller_identity()["Arn"] == person.arn
    assert refusal(sts.get_session_token).type == "AccessDenied"


def test_a_policy_can_ask_for_a_session(shared_server: Server) -> None:
    only = {**KMS, "Condition": {"Null": {"aws:TokenIssueTime": "false"}}}
    person = somebody(shared_server, only)
    assert refusal(shared_server.kms_of(person).list_keys).type == "AccessDeniedException"
    credentials = shared_server.sts_of(person).get_session_token()["Credentials"]
    shared_server.kms_as(credentials).list_keys()
