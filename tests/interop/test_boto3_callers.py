"""Who calls the KMS door: signatures, clocks and access keys, and what is no operation at all."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.harness import Answer, Person, Server, refusal


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


def test_what_another_process_takes_from_a_principal_is_taken_at_once_and_told_with_a_date(
    new_server: Callable[..., Server],
) -> None:
    """Two servers on one database: one of them changes credentials, the other one is asked."""
    there, here = new_server().start(), new_server().start()

    def answer(person: Person) -> Answer:
        """Of the other server, which has had the credentials in its hands before."""
        return here.call("ListKeys", access_key_id=person.access_key_id, secret=person.secret)

    def assert_unknown(refused: Answer) -> None:
        assert (refused.status, refused.headers["x-amzn-errortype"]) == (400, "UnrecognizedClientException")
        assert refused.json()["message"] == "The security token included in the request is invalid."
        assert abs(parsedate_to_datetime(refused.headers["date"]) - datetime.now(UTC)) < timedelta(minutes=1)

    allow = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    person, other = there.person("ann", allow), there.person("bob", allow)
    assert [answer(each).status for each in (person, other)] == [200, 200]
    key = f"/v1/principals/ann/access-keys/{person.access_key_id}"
    there.ok("PUT", key, {"active": False})
    assert_unknown(answer(person))
    there.ok("PUT", key, {"active": True})
    assert answer(person).status == 200
    there.ok("DELETE", key)
    assert_unknown(answer(person))
    assert there.rest("DELETE", "/v1/principals/bob").status in (200, 202, 204)
    assert_unknown(answer(other))
    stale = here.call("ListKeys", at=datetime.now(UTC) - timedelta(minutes=6))
    assert stale.headers["x-amzn-errortype"] == "InvalidSignatureException"
    assert abs(parsedate_to_datetime(stale.headers["date"]) - datetime.now(UTC)) < timedelta(minutes=1)


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
