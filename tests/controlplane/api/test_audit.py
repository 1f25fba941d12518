"""Who did what, over the API: every request of every door is found, by every name of its key and its principal."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from controlplane.client import AuditFilter, Client
from tests.controlplane.api.asking import allowing
from tests.harness import ACCOUNT, OTHER_REGION, REGION, TOKEN, Server, document, eventually, refusal


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def name() -> str:
    return f"t-{uuid.uuid4()}"


@pytest.fixture
def key(shared_server: Server) -> Any:
    fresh = name()
    shared_server.apply(fresh, [document("Key", fresh, aliases=[fresh])])
    return shared_server.ok("GET", f"/v1/keys/{fresh}")


def records(server: Server, **query: Any) -> list[Any]:
    """Every record, newest first."""
    found: list[Any] = []
    marker: dict[str, Any] = {}
    while True:
        page = server.ok("GET", f"/v1/audit?{urlencode({**query, **marker}, doseq=True)}")
        found += [item["record"] for item in page["items"]]
        if page["next"] is None:
            return found
        marker = {"marker": page["next"]}


def test_a_request_is_told_whole(shared_server: Server, key: Any) -> None:
    arn = key["status"]["arn"]
    context = {"tenant": "Zoë", "q": '"'}
    before = datetime.now(UTC)
    shared_server.kms().encrypt(KeyId=arn, Plaintext=b"hunter2", EncryptionContext=context)
    (found,) = records(shared_server, key=arn, operation="Encrypt")
    assert uuid.UUID(found.pop("requestId"))
    assert before <= datetime.fromisoformat(found.pop("time")) <= datetime.now(UTC)
    assert 0 < found.pop("latencyUs") < 10**7
    assert found.pop("reason", "") is not None
    assert found == {
        "principal": f"arn:aws:iam::{ACCOUNT}:user/admin",
        "source": "127.0.0.1",
        "operation": "Encrypt",
        "action": "kms:Encrypt",
        "region": REGION,
        "resource": arn,
        "decision": "allowed",
        "encryptionContext": context,
    }


def test_a_key_is_found_by_everything_that_names_it_also_what_was_asked_of_it_over_this_api(
    shared_server: Server, key: Any
) -> None:
    arn, key_id, named = key["status"]["arn"], key["status"]["keyId"], key["metadata"]["name"]
    shared_server.kms().encrypt(KeyId=f"alias/{named}", Plaintext=b"x")
    shared_server.ok("POST", f"/v1/keys/{named}/actions/disable", {})
    refused = refusal(shared_server.kms().encrypt, KeyId=key_id, Plaintext=b"x")
    assert refused.type == "DisabledException"
    for text in (named, key_id, arn, f"alias/{named}", arn.replace(f"key/{key_id}", f"alias/{named}")):
        found = records(shared_server, key=text)
        assert [each["operation"] for each in found][:3] == ["Encrypt", "DisableKey", "Encrypt"], text
        assert (found[0]["decision"], found[0]["error"]) == ("failed", "Disabled")
        assert "GetKey" in {each["operation"] for each in found}
    other = arn.replace(REGION, OTHER_REGION)
    assert records(shared_server, key=other) == []


def test_records_are_found_by_principal_outcome_request_and_time(shared_server: Server, key: Any) -> None:
    arn = key["status"]["arn"]
    shared_server.kms().encrypt(KeyId=arn, Plaintext=b"x")
    refusal(shared_server.kms().decrypt, KeyId=arn, CiphertextBlob=b"x" * 80)
    everything = records(shared_server, key=arn)
    assert records(shared_server, key=arn, principal="admin") == everything
    assert records(shared_server, key=arn, principal=f"arn:aws:iam::{ACCOUNT}:user/admin") == everything
    assert records(shared_server, key=arn, principal="nobody") == []
    (failed,) = records(shared_server, key=arn, decision="failed")
    assert failed["operation"] == "Decrypt"
    assert records(shared_server, key=arn, error=failed["error"]) == [failed]
    assert records(shared_server, requestId=failed["requestId"]) == [failed]
    both = records(shared_server, key=arn, operation=["Encrypt", "Decrypt"])
    assert [each["operation"] for each in both] == ["Decrypt", "Encrypt"]
    at = datetime.fromisoformat(failed["time"])
    assert failed not in records(shared_server, key=arn, until=at.isoformat())
    since = records(shared_server, key=arn, since=at.isoformat())
    assert failed in since
    assert both[1] not in since
    later = (at + timedelta(days=1)).isoformat()
    assert records(shared_server, key=arn, since=later) == []
    oldest = records(shared_server, key=arn, oldestFirst="true", limit=2)
    assert oldest == everything[::-1]


def test_what_a_policy_denies_is_told_with_its_reason(shared_server: Server, key: Any) -> None:
    arn = key["status"]["arn"]
    tag = name()
    answer = shared_server.rest("GET", f"/v1/keys/{tag}")
    assert answer.status == 404
    (found,) = records(shared_server, key=f"Key/{tag}")
    assert (found["operation"], found["decision"], found["error"]) == ("GetKey", "failed", "NotFound")
    assert all(each["decision"] == "allowed" for each in records(shared_server, key=arn))


def test_whoever_cannot_authenticate_is_in_the_journal_of_every_door(shared_server: Server) -> None:
    stranger = "AKIA" + uuid.uuid4().hex[:16].upper()
    assert refusal(shared_server.kms(access_key_id=stranger).list_keys).type == "UnrecognizedClientException"
    assert refusal(shared_server.kms(secret=name()).list_keys).type == "InvalidSignatureException"
    assert refusal(shared_server.sts(access_key_id=stranger).get_caller_identity).status == 403
    path = f"/v1/keys/{name()}"
    assert shared_server.rest("GET", path, token="not-a-token-of-anybody").status == 401
    found = records(shared_server, principal="unauthenticated")
    assert "not-a-token-of-anybody" not in str(found)
    assert {each["error"] for each in found if each["decision"] == "denied"} == {"Unauthenticated"}
    mine = [each for each in found if each["details"].get("accessKeyId") == stranger]
    assert {(each["details"]["door"], each["operation"], each["reason"]) for each in mine} == {
        ("kms", "ListKeys", "UnrecognizedClient"),
        ("sts", "Unknown", "InvalidClientTokenId"),
    }
    assert all(each["source"] == "127.0.0.1" for each in mine)
    assert [each["reason"] for each in found if each["operation"] == f"GET:{path}"] == ["UnrecognizedClient"]
    assert any(each["reason"] == "InvalidSignature" for each in found)


def test_a_request_that_no_operation_takes_is_in_the_journal_once(shared_server: Server, key: Any) -> None:
    for operation, body in (("Encrypt", b"{"), ("EncryptEverything", b"{}"), ("Encrypt", b'{"KeyId": 7}')):
        answer = shared_server.call(operation, body)
        assert answer.status == 400
        (found,) = records(shared_server, requestId=answer.headers["x-amzn-requestid"])
        assert (found["decision"], found["operation"]) == ("failed", "Encrypt" if operation == "Encrypt" else "Unknown")
    arn = key["status"]["arn"]
    answer = shared_server.call("Decrypt", {"KeyId": arn, "CiphertextBlob": "AAAA"})
    assert len(records(shared_server, requestId=answer.headers["x-amzn-requestid"])) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "operation", "error"),
    [
        ("GET", "/v1/keys/k/no/such/route", None, 404, "Unknown", "NotFound"),
        ("GET", "/v1/audit?limit=many", None, 400, "ListAudit", "InvalidInput"),
        ("POST", "/v1/plans", b'{"specSet"', 400, "MakePlan", "InvalidInput"),
        ("POST", "/v1/plans", b'{"specSet": "s", "documents": [{}]}', 422, "MakePlan", "InvalidSpec"),
        ("POST", "/v1/keys/k/actions/disable", b"{}" + b" " * 17_000_000, 413, None, "InvalidInput"),
        ("PATCH", "/v1/plans", b"{}", 405, "Unknown", "InvalidInput"),
    ],
    ids=["no route", "wrong query", "malformed", "wrong document", "too large", "wrong method"],
)
def test_a_request_that_is_refused_ahead_of_its_handler_is_in_the_journal_once(
    shared_server: Server, method: str, path: str, body: bytes | None, status: int, operation: str | None, error: str
) -> None:
    answer = shared_server.rest(method, path, body)
    assert answer.status == status
    (found,) = records(shared_server, requestId=answer.json()["requestId"])
    assert (found["principal"], found["decision"]) == (f"arn:aws:iam::{ACCOUNT}:user/admin", "failed")
    assert (found["operation"] if operation else None, found["error"]) == (operation, error)


def test_what_strangers_ask_that_is_not_there_or_not_read_is_in_the_journal(shared_server: Server) -> None:
    path = f"/v1/{name()}/no/such/route/here"
    answer = shared_server.rest("GET", path, token=None)
    assert answer.status == 404
    (found,) = records(shared_server, requestId=answer.json()["requestId"])
    assert (found["principal"], found["operation"], found["error"]) == ("unauthenticated", f"GET:{path}", "NotFound")
    for headers in ({"x-amz-target": "TrentService.Encrypt"}, {"content-type": "application/x-www-form-urlencoded"}):
        large = shared_server.http("POST", "/", b" " * 1_100_000, headers)
        assert large.status == 413
        (found,) = records(shared_server, requestId=large.headers["x-amzn-requestid"])
        assert (found["principal"], found["error"]) == ("unauthenticated", "InvalidInput")
        assert "larger than" in found["reason"]


def test_the_deletion_of_a_key_is_in_the_journal_and_found_by_its_arn_when_it_is_gone(shared_server: Server) -> None:
    gone = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{uuid.uuid4()}"
    refusal(shared_server.kms().describe_key, KeyId=gone)
    (found,) = records(shared_server, key=gone)
    assert (found["operation"], found["error"]) == ("DescribeKey", "NotFound")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("since=2026-01-01T00:00:00", "InvalidInput"),
        ("since=yesterday", "InvalidInput"),
        ("decision=perhaps", "InvalidInput"),
        ("limit=0", "InvalidInput"),
        ("limit=1001", "InvalidInput"),
        ("marker=x", "InvalidMarker"),
        ("key=arn:aws:kms", "InvalidArn"),
    ],
)
def test_a_query_that_means_nothing_is_refused(shared_server: Server, query: str, code: str) -> None:
    answer = shared_server.rest("GET", f"/v1/audit?{query}")
    assert (answer.status, answer.json()["code"]) == (400, code)


def test_reading_the_journal_is_a_permission_of_its_own(private_server: Server) -> None:
    server = private_server
    who = {"reader": allowing("keystead:Read"), "auditor": allowing("keystead:ReadAudit")}
    server.apply("staff", [document("Principal", each, policies=held) for each, held in who.items()])
    tokens = {each: server.ok("POST", f"/v1/principals/{each}/tokens")["token"] for each in who}
    assert server.rest("GET", "/v1/audit", token=tokens["reader"]).status == 403
    assert server.rest("GET", "/v1/audit", token=tokens["auditor"]).status == 200
    assert server.rest("GET", "/v1/keys", token=tokens["auditor"]).status == 403
    denied = records(server, principal="reader", decision="denied")
    assert [each["operation"] for each in denied] == ["ListAudit"]
    assert denied[0]["reason"]


async def test_the_client_reads_every_page(shared_server: Server, key: Any) -> None:
    arn = key["status"]["arn"]
    for _ in range(5):
        shared_server.kms().describe_key(KeyId=arn)
    wanted = AuditFilter(key=arn, operations=("DescribeKey",), since=datetime.now(UTC) - timedelta(hours=1))
    async with Client(shared_server.url, TOKEN) as client:
        page = await client.audit_page(wanted, limit=2)
        assert len(page.items) == 2
        more = await client.audit_page(wanted, limit=100, marker=page.next)
        newest = [each async for each in client.audit(wanted)]
        oldest = [each async for each in client.audit(wanted, oldest_first=True)]
    assert newest == [*page.items, *more.items]
    assert len(newest) == 5
    assert oldest == newest[::-1]


def test_a_journal_that_is_queried_while_it_grows_shows_every_record_once(shared_server: Server, key: Any) -> None:
    arn = key["status"]["arn"]
    kms = shared_server.kms()
    seen: list[str] = []
    marker = ""
    for _ in range(10):
        kms.encrypt(KeyId=arn, Plaintext=b"x")
    while True:
        page = shared_server.ok("GET", f"/v1/audit?key={arn}&operation=Encrypt&limit=3{marker}")
        kms.encrypt(KeyId=arn, Plaintext=b"y")
        seen += [item["record"]["requestId"] for item in page["items"]]
        if page["next"] is None:
            break
        marker = f"&marker={page['next']}"
    assert len(seen) == len(set(seen)) == 10
    eventually(lambda: len(records(shared_server, key=arn, operation="Encrypt")) > 10, "the later ones are there")
