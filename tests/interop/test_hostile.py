"""The KMS door against clients that mean harm: a documented error or nothing, and no secret where it is not to be."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import ACCESS_KEY_ID, SECRET, TOKEN, Answer, Server, document, refusal
from tests.interop.keyring import Keyring

OPERATIONS = (
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateKey",
    "Decapsulate",
    "Decrypt",
    "DeleteAlias",
    "DeriveSharedSecret",
    "DescribeKey",
    "DisableKey",
    "EnableKey",
    "Encapsulate",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GenerateRandom",
    "GetKeyPolicy",
    "GetPublicKey",
    "ListAliases",
    "ListKeys",
    "ListResourceTags",
    "ReEncrypt",
    "ScheduleKeyDeletion",
    "Sign",
    "Verify",
    "VerifyMac",
)
COMMON = {
    "AccessDeniedException",
    "InvalidArnException",
    "SerializationException",
    "UnsupportedOperationException",
    "ValidationException",
}
"""Errors of every operation, beside those that the service model lists for it."""

fuzz = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@functools.cache
def model() -> Any:
    return botocore.session.get_session().get_service_model("kms")


@functools.cache
def documented(operation: str) -> set[str]:
    return COMMON | {shape.name for shape in model().operation_model(operation).error_shapes}


def assert_answered_or_refused(answer: Answer, operation: str) -> None:
    """200, or 400 with an error that the API reference has for this operation; shaped as AWS shapes it."""
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-requestid"]
    if answer.status == 200:
        return
    assert answer.status == 400, (operation, answer)
    kind = answer.json()["__type"]
    assert answer.headers["x-amzn-errortype"] == kind
    assert kind in documented(operation), (operation, answer.body)


@pytest.fixture(scope="session")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


@pytest.fixture(scope="session")
def requests(shared_server: Server, keyring: Keyring) -> dict[str, dict[str, Any]]:
    """A well-formed request of every operation. The keys are nobody else's."""
    kms = shared_server.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    doomed = kms.create_key()["KeyMetadata"]["KeyId"]
    alias = f"alias/hostile-{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    blob = base64.b64encode(kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]).decode()
    on_key = {"KeyId": key_id}
    signs = {"KeyId": keyring.id("ECC_NIST_P256"), "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}
    macs = {"KeyId": keyring.id("HMAC_256"), "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256"}
    shares = {"KeyId": keyring.id("ML_KEM_768"), "EncapsulationAlgorithm": "ML_KEM"}
    agrees = {"KeyId": keyring.id("ECC_NIST_P256", "KEY_AGREEMENT"), "KeyAgreementAlgorithm": "ECDH"}
    peer = base64.b64encode(keyring.public_key("ECC_NIST_P256")).decode()
    return {
        "CancelKeyDeletion": {"KeyId": doomed},
        "CreateAlias": {"AliasName": f"{alias}-new", "TargetKeyId": key_id},
        "CreateKey": {},
        "Decrypt": {"CiphertextBlob": blob, **on_key},
        "DeleteAlias": {"AliasName": f"{alias}-none"},
        "DescribeKey": on_key,
        "Decapsulate": {"SharedSecretCiphertextBlob": base64.b64encode(b"x" * 1088).decode(), **shares},
        "DeriveSharedSecret": {"PublicKey": peer, **agrees},
        "Encapsulate": shares,
        "GenerateDataKeyPair": {"KeyPairSpec": "ECC_NIST_P256", **on_key},
        "GenerateDataKeyPairWithoutPlaintext": {"KeyPairSpec": "ECC_NIST_P256", **on_key},
        "GenerateDataKeyWithoutPlaintext": {"KeySpec": "AES_128", **on_key},
        "GenerateMac": macs,
        "GetPublicKey": {"KeyId": signs["KeyId"]},
        "ReEncrypt": {"CiphertextBlob": blob, "DestinationKeyId": key_id},
        "Sign": signs,
        "Verify": {"Signature": "eA==", **signs},
        "VerifyMac": {"Mac": "eA==", **macs},
        "DisableKey": {"KeyId": doomed},
        "EnableKey": {"KeyId": doomed},
        "Encrypt": {"Plaintext": "eA==", "EncryptionContext": {"a": "b"}, **on_key},
        "GenerateDataKey": {"KeySpec": "AES_256", **on_key},
        "GenerateRandom": {"NumberOfBytes": 8},
        "GetKeyPolicy": {"PolicyName": "default", **on_key},
        "ListAliases": {"Limit": 1},
        "ListKeys": {"Limit": 1},
        "ListResourceTags": on_key,
        "ScheduleKeyDeletion": {"KeyId": doomed, "PendingWindowInDays": 7},
    }


# ---- bodies ----------------------------------------------------------------------------------------------------------

JUNK = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e308",
    "1e999",
    "1" * 400,
    "NaN",
    "-Infinity",
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\r\\nX-Evil: 1"',
    '"\u202e\U0001f511"',
    json.dumps("x" * 10_000),
    '"=A=="',
    '"eA="',
    '"eA==\\n"',
    "[]",
    "[[]]",
    "[null]",
    "{}",
    '{"a": {"b": 1}}',
    '{"\\u0000": ""}',
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_member_of_any_wrong_kind_is_a_documented_error(
    shared_server: Server, requests: dict[str, dict[str, Any]], operation: str
) -> None:
    for member in model().operation_model(operation).input_shape.members:
        for junk in JUNK:
            rest = {name: value for name, value in requests[operation].items() if name != member}
            body = json.dumps({**rest, member: "@"}).replace('"@"', junk).encode("utf-8")
            answer = shared_server.call(operation, body)
            assert_answered_or_refused(answer, operation)
            assert "x-evil" not in answer.headers


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_body_cut_off_anywhere_is_a_serialization_error(
    shared_server: Server, requests: dict[str, dict[str, Any]], operation: str
) -> None:
    body = json.dumps({**requests[operation], "Unknown": [1, "\u00fc"]}, ensure_ascii=False).encode()
    for end in range(1, len(body), max(1, len(body) // 24)):
        answer = shared_server.call(operation, body[:end])
        assert (answer.status, answer.json()["__type"]) == (400, "SerializationException"), body[:end]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@fuzz
@given(data=st.data())
def test_whatever_json_comes_the_answer_is_documented(
    shared_server: Server, requests: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    operation = data.draw(st.sampled_from(OPERATIONS))
    members = sorted(model().operation_model(operation).input_shape.members)
    body = requests[operation] | data.draw(st.dictionaries(st.sampled_from(members) | st.text(max_size=8), values))
    assert_answered_or_refused(shared_server.call(operation, json.dumps(body)), operation)


@fuzz
@given(body=st.binary(max_size=200), operation=st.sampled_from(OPERATIONS))
def test_whatever_octets_come_the_answer_is_documented(shared_server: Server, body: bytes, operation: str) -> None:
    assert_answered_or_refused(shared_server.call(operation, body), operation)


@pytest.mark.parametrize("where", ["", '{"KeyId":', '{"Unknown":', '{"EncryptionContext":{"a":'])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_nesting_is_refused(shared_server: Server, where: str, bracket: str) -> None:
    answer = shared_server.call("Encrypt", where + bracket * 100_000)
    assert (answer.status, answer.json()["__type"]) == (400, "SerializationException")


def test_of_a_member_that_stands_twice_one_counts_for_everything(
    shared_server: Server, kms: Any, requests: dict[str, dict[str, Any]]
) -> None:
    first, second = (kms.create_key()["KeyMetadata"] for _ in range(2))
    kms.disable_key(KeyId=first["KeyId"])
    body = f'{{"KeyId":"{first["KeyId"]}","KeyId":"{second["KeyId"]}","Plaintext":"eA=="}}'
    answer = shared_server.call("Encrypt", body)
    if answer.status == 200:
        assert answer.json()["KeyId"] == second["Arn"]
        blob = base64.b64decode(answer.json()["CiphertextBlob"])
        assert kms.decrypt(CiphertextBlob=blob)["KeyId"] == second["Arn"]
    else:
        assert_answered_or_refused(answer, "Encrypt")


def test_a_body_of_one_mebibyte_is_read_and_one_octet_more_is_not(shared_server: Server) -> None:
    frame = len(b'{"Unknown":""}')
    fits = b'{"Unknown":"' + b"a" * (1_048_576 - frame) + b'"}'
    assert shared_server.call("ListKeys", fits).status == 200
    answer = shared_server.call("ListKeys", fits + b" ")
    assert (answer.status, answer.json()["__type"]) == (413, "RequestEntityTooLargeException")
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"


def test_a_body_without_end_in_chunks_is_cut_off(shared_server: Server) -> None:
    headers = [*shared_server.signed("ListKeys", b""), ("transfer-encoding", "chunked")]

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b"10000\r\n" + b"a" * 65_536 + b"\r\n"
        yield b"0\r\n\r\n"

    answer = shared_server.http("POST", "/", chunks(), headers)
    assert (answer.status, answer.json()["__type"]) == (413, "RequestEntityTooLargeException")


def test_a_small_body_in_chunks_is_served(shared_server: Server) -> None:
    headers = [
        (name, value) for name, value in shared_server.signed("ListKeys", b"{}") if name.lower() != "content-length"
    ]
    parts = iter([b"1\r\n{\r\n", b"1\r\n}\r\n", b"0\r\n\r\n"])
    assert shared_server.http("POST", "/", parts, [*headers, ("transfer-encoding", "chunked")]).status == 200


# ---- ciphertexts -----------------------------------------------------------------------------------------------------


def decrypted(server: Server, blob: bytes, **more: Any) -> Answer:
    return server.call("Decrypt", {"CiphertextBlob": base64.b64encode(blob).decode(), **more})


def assert_no_plaintext(answer: Answer) -> None:
    assert answer.status == 400, "an octet of the blob was changed and it decrypted"
    assert answer.json()["__type"] in ("InvalidCiphertextException", "IncorrectKeyException")
    assert not answer.json().get("message", "").startswith("Key"), "nor does the answer say which keys exist"


def test_a_blob_with_any_octet_changed_is_refused(shared_server: Server, kms: Any) -> None:
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    context = {"a": "b"}
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"attack at dawn", EncryptionContext=context)["CiphertextBlob"]
    assert decrypted(shared_server, blob, EncryptionContext=context).status == 200
    for place in range(len(blob)):
        for mask in (0x01, 0x80, 0xFF):
            changed = blob[:place] + bytes([blob[place] ^ mask]) + blob[place + 1 :]
            assert_no_plaintext(decrypted(shared_server, changed, EncryptionContext=context))
        changed = blob[:place] + bytes([blob[place] ^ 0x10]) + blob[place + 1 :]
        assert_no_plaintext(decrypted(shared_server, changed, EncryptionContext=context, KeyId=key_id))


def test_a_blob_cut_or_lengthened_anywhere_is_refused(shared_server: Server, kms: Any) -> None:
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"attack at dawn")["CiphertextBlob"]
    for end in range(1, len(blob)):
        assert_no_plaintext(decrypted(shared_server, blob[:end]))
        assert_no_plaintext(decrypted(shared_server, blob[end:]))
    for extra in (b"\x00", b"\xff" * 16, blob):
        assert_no_plaintext(decrypted(shared_server, blob + extra))


def test_parts_of_two_blobs_do_not_make_a_third(shared_server: Server, kms: Any) -> None:
    ids = [kms.create_key(MultiRegion=multi)["KeyMetadata"]["KeyId"] for multi in (False, False, True)]
    blobs = [kms.encrypt(KeyId=key_id, Plaintext=b"attack at dawn")["CiphertextBlob"] for key_id in ids]
    blobs.append(kms.encrypt(KeyId=ids[0], Plaintext=b"retreat at ten")["CiphertextBlob"])
    cuts = (4, 20, 52, 64, 80)  # magic, key id, material id, nonce, a piece of the ciphertext
    for one in blobs:
        for other in blobs:
            if one is other:
                continue
            for start in (0, *cuts):
                for end in (*(cut for cut in cuts if cut > start), len(one)):
                    mixed = one[:start] + other[start:end] + one[end:]
                    if mixed not in blobs:
                        assert_no_plaintext(decrypted(shared_server, mixed))
                        assert_no_plaintext(decrypted(shared_server, mixed, KeyId=ids[0]))


def test_an_rsa_ciphertext_with_an_octet_changed_is_refused(shared_server: Server, kms: Any) -> None:
    key_id = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    more = {"KeyId": key_id, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    blob = kms.encrypt(Plaintext=b"attack at dawn", **more)["CiphertextBlob"]
    for place in range(0, len(blob), 16):
        changed = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        assert_no_plaintext(decrypted(shared_server, changed, **more))
    for broken in (b"x", blob[:-1], blob + b"\x00", b"\xff" * 256, b"\x00" * 256):
        assert_no_plaintext(decrypted(shared_server, broken, **more))


# ---- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{}", b"", b"[" * 50_000, b"\xff"])
@pytest.mark.parametrize("operation", ["ListKeys", "Nope", "Encrypt"])
def test_nothing_is_said_to_the_unsigned(shared_server: Server, operation: str, body: bytes) -> None:
    answer = shared_server.http("POST", "/", body, {"x-amz-target": f"TrentService.{operation}"})
    assert (answer.status, answer.json()["__type"]) == (400, "MissingAuthenticationTokenException")


def test_what_was_changed_after_signing_is_refused(shared_server: Server) -> None:
    headers = dict(shared_server.signed("ListKeys", b"{}"))
    changed = [
        (b'{"Limit":1}', {}),
        (b"{}", {"X-Amz-Target": "TrentService.CreateKey", "x-amz-target": None}),
        (b"{}", {"X-Amz-Security-Token": "x"}),
        (b"{}", {"X-Amz-Evil": "x"}),
        (b"{}", {"Host": "evil.example", "host": None}),
        (b"{}", {"Authorization": headers["Authorization"][:-1] + "0"}),
        (b"{}", {"Authorization": headers["Authorization"].replace("us-east-1", "eu-central-1")}),
        (b"{}", {"Authorization": "Bearer " + TOKEN}),
    ]
    for body, other in changed:
        given = [(name, value) for name, value in {**headers, **other}.items() if value is not None]
        answer = shared_server.http("POST", "/", body, given)
        if other.get("Authorization", "").endswith("0") and headers["Authorization"].endswith("0"):
            continue
        assert answer.status == 400, (other, answer)
        assert answer.json()["__type"] in (
            "InvalidSignatureException",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ), other


@pytest.mark.parametrize("path", ["/x", "//", "/%2F", "/.", "/v1", "/v1/", "/schema/../", "/kms"])
def test_no_other_path_is_the_kms_door(shared_server: Server, path: str) -> None:
    answer = shared_server.call("ListKeys", path=path)
    assert answer.status in (400, 401, 404, 405)
    assert b"KeyArn" not in answer.body


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_no_other_method_is_the_kms_door(shared_server: Server, method: str) -> None:
    assert shared_server.http(method, "/", b"{}", shared_server.signed("ListKeys", b"{}")).status in (404, 405)


def test_a_presigned_request_is_refused(shared_server: Server) -> None:
    answer = shared_server.call("ListKeys", path="/?X-Amz-Signature=0&X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert (answer.status, answer.json()["__type"]) == (400, "IncompleteSignatureException")


def test_line_breaks_in_values_make_no_headers(shared_server: Server) -> None:
    evil = "x\r\nX-Evil: 1\r\n\r\n<html>"
    for operation, body in (
        ("DescribeKey", {"KeyId": evil}),
        ("DescribeKey", {"KeyId": f"alias/{evil}"}),
        ("DescribeKey", {"KeyId": f"arn:{evil}"}),
        ("ListKeys", {"Marker": evil}),
        ("GenerateDataKey", {"KeyId": evil, "KeySpec": evil}),
        ("CreateKey", {"CustomKeyStoreId": evil}),
    ):
        answer = shared_server.call(operation, body)
        assert answer.status == 400
        assert "x-evil" not in answer.headers
        assert answer.json()["__type"] in documented(operation), operation


def raw(server: Server, request: bytes) -> bytes:
    """What comes back for exactly these octets, until the server hangs up or says no more for a moment."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        received = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        return received


def head(server: Server, body: bytes, *more: str, line: str = "POST / HTTP/1.1") -> bytes:
    lines = [line, *(f"{name}: {value}" for name, value in server.signed("ListKeys", body)), *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["content-length: 2", "content-length: 40"], b"{}"),
        (["content-length: 40", "content-length: 2"], b"{}"),
        (["content-length: 2, 40"], b"{}"),
        (["content-length: -1"], b"{}"),
        (["content-length: +2"], b"{}"),
        (["content-length: 0x2"], b"{}"),
        (["content-length: 99999999999999999999999"], b"{}"),
        (["content-length: 2", "transfer-encoding: chunked"], b"2\r\n{}\r\n0\r\n\r\n"),
        (["transfer-encoding: chunked", "content-length: 2"], b"2\r\n{}\r\n0\r\n\r\n"),
        (["transfer-encoding: chunked, identity"], b"2\r\n{}\r\n0\r\n\r\n"),
        (["transfer-encoding: xchunked"], b"2\r\n{}\r\n0\r\n\r\n"),
        (["transfer-encoding: chunked"], b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        (["transfer-encoding: chunked"], b"-2\r\n{}\r\n0\r\n\r\n"),
        (["content-length : 2"], b"{}"),
        ([" folded: x", "content-length: 2"], b"{}"),
        (["x-large: " + "a" * 200_000, "content-length: 2"], b"{}"),
        (["\x00: x", "content-length: 2"], b"{}"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_whose_end_is_in_doubt_is_one_request_or_none(
    shared_server: Server, headers: list[str], body: bytes
) -> None:
    smuggled = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    received = raw(shared_server, head(shared_server, b"{}", *headers) + body + smuggled)
    first = received.split(b"\r\n", 1)[0]
    assert first.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")) or not received, received[:300]
    assert b" 50" not in first
    assert shared_server.call("ListKeys").status == 200


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 500,
        os.urandom(500),
    ],
    ids=["TLS", "HTTP/0.9", "HTTP/2", "blank", "noise"],
)
def test_octets_that_are_no_http_harm_nobody(shared_server: Server, octets: bytes) -> None:
    assert b"HTTP/1.1 5" not in raw(shared_server, octets)
    assert shared_server.call("ListKeys").status == 200


def test_half_requests_do_not_hold_up_others(shared_server: Server, kms: Any) -> None:
    """Slowloris: 100 connections that begin a request, half of them in the body, and never end it."""
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    with contextlib.ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", shared_server.port), timeout=10))
            request = head(shared_server, b"{}", "content-length: 1000")
            connection.sendall(request + b"{" if number % 2 else request[: 20 + number])
        for _ in range(20):
            blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
            assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert kms.encrypt(KeyId=key_id, Plaintext=b"x")


def test_a_client_that_hangs_up_in_the_middle_harms_nobody(shared_server: Server) -> None:
    for end in range(1, 400, 23):
        with socket.create_connection(("127.0.0.1", shared_server.port), timeout=10) as connection:
            connection.sendall((head(shared_server, b"{}", "content-length: 2") + b"{}")[:end])
    assert shared_server.call("ListKeys").status == 200


# ---- secrets ---------------------------------------------------------------------------------------------------------


def appearances(secret: bytes) -> set[bytes]:
    """A secret as it could stand in a file: as it is, in hex, in base64 at each alignment."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for offset in range(3):
        # Within other octets the first and last characters depend on what stands beside.
        inner = base64.b64encode(b"\x00" * offset + secret)[4 if offset else 0 :]
        inner = inner.rstrip(b"=")[: -2 if len(inner) > 8 else None]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def leaks(directory: Path, log: bytes, secrets: dict[str, bytes], allowed: dict[str, str]) -> list[str]:
    """Where a secret stands that should not."""
    contents = {"log": log}
    contents |= {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    return [
        f"{name} in {place}"
        for name, secret in secrets.items()
        for place, content in contents.items()
        if allowed.get(name) != place and any(form in content for form in appearances(secret))
    ]


def test_the_search_for_leaks_finds_leaks(tmp_path: Path) -> None:
    secret = os.urandom(32)
    for form in (secret, secret.hex().encode(), b'{"a":"' + base64.b64encode(b"ab" + secret + b"c") + b'"}'):
        (tmp_path / "file").write_bytes(b"some" + form + b"more")
        assert leaks(tmp_path, b"", {"secret": secret}, {}) == ["secret in file"]
    assert leaks(tmp_path, secret, {"secret": secret}, {"secret": "file"}) == ["secret in log"]


def test_no_secret_is_in_the_log_or_the_data_directory(new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server().start()
    kms = server.kms()
    key_id = kms.create_key(Description="searched")["KeyMetadata"]["KeyId"]
    rsa = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    secrets = {"dev secret": SECRET.encode(), "bearer token": TOKEN.encode()}

    plaintext = secrets["plaintext"] = os.urandom(32)
    text = secrets["text"] = f"attack at dawn {uuid.uuid4()}".encode()
    blob = kms.encrypt(KeyId=key_id, Plaintext=plaintext)["CiphertextBlob"]
    kms.decrypt(CiphertextBlob=blob)
    kms.encrypt(KeyId=key_id, Plaintext=text, EncryptionContext={"public": "context"})
    oaep = {"KeyId": rsa, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    kms.decrypt(CiphertextBlob=kms.encrypt(Plaintext=plaintext, **oaep)["CiphertextBlob"], **oaep)
    secrets["data key"] = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")["Plaintext"]
    secrets["random"] = kms.generate_random(NumberOfBytes=64)["Plaintext"]

    # Refusals and mistakes are where secrets slip into words.
    encoded = base64.b64encode(plaintext).decode()
    refusal(kms.encrypt, KeyId=rsa, Plaintext=plaintext)
    refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext={"wrong": "context"})
    for body in (
        {"KeyId": key_id, "Plaintext": [encoded]},
        {"KeyId": key_id, "Plaintext": {"a": text.decode()}},
        {"KeyId": key_id, "Plaintext": text.decode()},
        {"KeyId": key_id, "Plaintext": encoded, "DryRun": "x"},
        {"KeyId": 1, "Plaintext": encoded},
    ):
        answer = server.call("Encrypt", body)
        assert answer.status == 400
        assert not any(form in answer.body for form in appearances(plaintext) | appearances(text))
    server.call("Encrypt", json.dumps({"KeyId": key_id, "Plaintext": encoded})[:-3])
    wrong = secrets["wrong secret"] = b"a-secret-that-does-not-fit-4d1a"
    refusal(server.kms(secret=wrong.decode()).list_keys)
    stray = secrets["stray token"] = b"a-token-that-nobody-knows-77aa"
    server.rest("GET", "/v1/keys", token=stray.decode())
    server.rest("GET", "/v1/keys", headers={"authorization": f"Basic {stray.decode()}"})
    server.rest("PUT", "/v1/keys/a", text, headers={"content-type": "application/json"})
    pin = secrets["pin"] = b"hunter2-the-pin-of-a-key-store"
    device = str(tmp_path / "device.json")
    answer = server.rest(
        "PUT",
        "/v1/keystores/m",
        document("KeyStore", "m", type="memory", memory={"device": device, "pim": pin.decode()}),
    )
    assert pin not in server.log().encode()
    assert answer.status in (200, 400, 422)
    del secrets["pin"]  # a document holds its own options; what matters is that the log does not
    server.kill()

    # Also what a crash leaves: the write-ahead log and the audit journal.
    root_key = (server.directory / "root.key").read_bytes().split()[1]
    secrets["root key"] = base64.b64decode(root_key)
    found = leaks(server.directory, server.log().encode(), secrets, {"root key": "root.key"})
    assert found == []
    assert ACCESS_KEY_ID not in server.log()
