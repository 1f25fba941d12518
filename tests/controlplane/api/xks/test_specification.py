"""The proxy against the specification (AWS KMS External Key Store Proxy API 1.0.3), MUST by MUST and SHOULD by SHOULD.

Each name begins with the section that it is about.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.api.xks.errors import STATUS
from controlplane.usage import externalkeys
from plugins.sdk import GcmCiphertext
from tests.xksclient import ALICE, HOST, KMS_KEY, XksClient, b64, metadata, refused
from tests.xksproxied import SECRET, Proxied

# ---- API content type ------------------------------------------------------------------------------------------------

SUITES = (
    ("TLSv1_3", "TLS_AES_256_GCM_SHA384"),
    ("TLSv1_3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("TLSv1_2", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLSv1_2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
)


def test_api_content_type_every_answer_is_json(client: XksClient) -> None:
    answers = [
        client.encrypt("payments"),
        client.get_metadata("payments"),
        client.health(),
        client.encrypt("nobody"),
        client.send("GET", client.path + "/health"),
        client.send("POST", "/none"),
    ]
    assert [answer.headers["content-type"] for answer in answers] == ["application/json"] * len(answers)
    assert all(isinstance(answer.json(), dict) for answer in answers)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-amz-json-1.1", ""])
def test_api_content_type_a_request_that_is_not_json_is_refused(client: XksClient, content_type: str) -> None:
    body = {"plaintext": "", "encryptionAlgorithm": "AES_GCM", **metadata()}
    answer = client.post("/keys/payments/encrypt", body, **{"content-type": content_type})
    assert refused(answer) == (400, "ValidationException")
    told = client.post("/keys/payments/encrypt", body, **{"content-type": "application/JSON; charset=utf-8"})
    assert told.status == 200


def test_api_content_type_http_1_1_with_keep_alive(client: XksClient) -> None:
    import http.client

    connection = http.client.HTTPSConnection(HOST, client.port, timeout=30, context=client.context())
    try:
        ports = set()
        for _ in range(3):
            body = json.dumps(metadata("CreateKey")).encode()
            path = client.path + "/keys/payments/metadata"
            connection.request("POST", path, body, client.headers("POST", path, body))
            response = connection.getresponse()
            assert (response.status, response.version) == (200, 11)
            response.read()
            ports.add(connection.sock.getsockname())
        assert len(ports) == 1
    finally:
        connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_api_content_type_tls_1_2_or_later(client: XksClient, version: ssl.TLSVersion) -> None:
    context = client.context()
    context.minimum_version = context.maximum_version = version
    body = json.dumps(metadata("CreateKey")).encode()
    path = client.path + "/keys/payments/metadata"
    assert client.send("POST", path, body, client.headers("POST", path, body), context).status == 200


def test_api_content_type_nothing_before_tls_1_2(client: XksClient) -> None:
    context = client.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        client.send("POST", client.path + "/health", b"", {}, context)


@pytest.mark.parametrize("suite", [name for version, name in SUITES if version == "TLSv1_2" and "RSA-" in name])
def test_api_content_type_a_named_cipher_suite_of_tls_1_2(client: XksClient, suite: str) -> None:
    context = client.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite if "ECDSA" in suite else suite.replace("RSA", "ECDSA"))
    plain = socket.create_connection((HOST, client.port), 10)
    with context.wrap_socket(plain, server_hostname=HOST) as secured:
        chosen = secured.cipher()
    assert chosen is not None
    assert chosen[0] in {name for _, name in SUITES}


def test_api_content_type_weak_suites_are_not_offered(client: XksClient) -> None:
    context = client.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-GCM-SHA384:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError), socket.create_connection((HOST, client.port), 10) as plain:
        context.wrap_socket(plain, server_hostname=HOST)


def test_api_content_type_plain_http_is_not_answered(client: XksClient) -> None:
    with socket.create_connection((HOST, client.port), 10) as plain:
        plain.sendall(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


# ---- API operations --------------------------------------------------------------------------------------------------


def test_api_operations_arns_of_2048_characters(client: XksClient) -> None:
    arn = "arn:aws:iam::123456789012:user/" + "a" * (2048 - 31)
    key = "arn:aws:kms:us-east-2:123456789012:key/" + "b" * (2048 - 39)
    assert (len(arn), len(key)) == (2048, 2048)
    sealed = client.encrypt("payments", **metadata(awsPrincipalArn=arn, kmsKeyArn=key))
    assert sealed.status == 200
    opened = client.decrypt("payments", sealed.json(), **metadata("Decrypt", awsPrincipalArn=arn, kmsKeyArn=key))
    assert opened.status == 200


@pytest.mark.parametrize(
    "rest", ["/keys/payments/metadata", "/keys/payments/encrypt", "/keys/payments/decrypt", "/health"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_api_operations_get_is_405_method_not_allowed(client: XksClient, rest: str, method: str) -> None:
    answer = client.send(method, client.path + rest)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    signed = client.send(method, client.path + rest, b"", client.headers(method, client.path + rest, b""))
    assert signed.status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/kms/xks/v1/health",
        "/bank/other/kms/xks/v1/health",
        "/bank//kms/xks/v1/health",
        "/bank/kms/xks/v2/health",
        "/bank/kms/xks/v1",
        "/bank/kms/xks/v1/",
        "/bank/kms/xks/v1/health/",
        "/bank/kms/xks/v1/keys/payments",
        "/bank/kms/xks/v1/keys/payments/sign",
        "/bank/kms/xks/v1/keys/payments/encrypt/",
        "/bank/kms/xks/v1/keys//encrypt",
        "/BANK/kms/xks/v1/health",
        "/",
    ],
)
def test_api_operations_a_path_that_is_not_valid_is_invalid_uri_path(client: XksClient, path: str) -> None:
    body = json.dumps(metadata()).encode()
    answer = client.send("POST", path, body, client.headers("POST", path, body))
    if path.endswith("/keys//encrypt"):
        assert refused(answer) == (400, "ValidationException")
    else:
        assert refused(answer) == (404, "InvalidUriPathException")


def test_api_operations_a_query_belongs_to_no_api(client: XksClient) -> None:
    body = json.dumps(metadata()).encode()
    path = client.path + "/health"
    answer = client.send("POST", path + "?a=b", body, client.headers("POST", path + "?a=b", body))
    assert refused(answer) == (404, "InvalidUriPathException")


def test_api_operations_a_uri_has_at_most_256_characters(client: XksClient) -> None:
    body = json.dumps(metadata("CreateKey")).encode()
    room = 256 - len(f"{client.path}/keys//metadata")
    for length in (min(room, 128), 250):
        path = f"{client.path}/keys/{'k' * length}/metadata"
        answer = client.send("POST", path, body, client.headers("POST", path, body))
        assert refused(answer) == (
            (404, "KeyNotFoundException") if len(path) <= 256 else (404, "InvalidUriPathException")
        )


@pytest.mark.parametrize("key", ["a" * 129, "a b", "a%20b", "a~b", "ä", "a:b"])
def test_api_operations_an_external_key_id_has_128_characters_of_the_named_set(client: XksClient, key: str) -> None:
    path = f"{client.path}/keys/{key.encode().hex() if key == 'ä' else key.replace(' ', '+')}/metadata"
    path = path.replace(key.encode().hex(), "%C3%A4") if key == "ä" else path
    body = json.dumps(metadata("CreateKey")).encode()
    answer = client.send("POST", path, body, client.headers("POST", path, body))
    assert refused(answer) == (400, "ValidationException")


def test_api_operations_every_character_of_the_named_set_names_a_key(proxied: Proxied) -> None:
    names = ["ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789-._", "k" * 128, "...", "-", "_"]
    proxied.spec["keys"] = {name: {"key": "payments"} for name in names}
    proxied.put()
    client = proxied.client()
    assert [client.get_metadata(name).status for name in names] == [200] * len(names)


# ---- requestMetadata, in every API -----------------------------------------------------------------------------------

REQUIRED = {
    "metadata": ("awsPrincipalArn", "kmsOperation", "kmsRequestId"),
    "encrypt": ("awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"),
    "decrypt": ("awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"),
}


def bodies(client: XksClient) -> dict[str, dict[str, Any]]:
    sealed = client.encrypt("payments").json()
    return {
        "metadata": {},
        "encrypt": {"plaintext": b64(b"x"), "encryptionAlgorithm": "AES_GCM"},
        "decrypt": {"encryptionAlgorithm": "AES_GCM", **sealed},
    }


@pytest.mark.parametrize("api", REQUIRED)
def test_request_metadata_what_is_required_is_required_and_the_rest_is_not(client: XksClient, api: str) -> None:
    body = bodies(client)[api]
    told = metadata(api.capitalize())["requestMetadata"]
    least = {name: told[name] for name in REQUIRED[api]}
    assert client.post(f"/keys/payments/{api}", {**body, "requestMetadata": least}).status == 200
    for name in REQUIRED[api]:
        for wrong in ({k: v for k, v in least.items() if k != name}, {**least, name: None}, {**least, name: 1}):
            answer = client.post(f"/keys/payments/{api}", {**body, "requestMetadata": wrong})
            assert refused(answer) == (400, "ValidationException"), (name, wrong)
    assert refused(client.post(f"/keys/payments/{api}", body)) == (400, "ValidationException")


@pytest.mark.parametrize("api", REQUIRED)
def test_request_metadata_an_operation_that_is_not_known_is_not_refused(client: XksClient, api: str) -> None:
    body = {**bodies(client)[api], **metadata("BulkEncrypt")}
    assert client.post(f"/keys/payments/{api}", body).status == 200
    assert client.health(kmsOperation="SomethingNew").status == 200


@pytest.mark.parametrize("request_id", ["", "x", "not a uuid", "ä\u2028", "r" * 5000])
def test_request_metadata_the_request_id_is_an_opaque_string(client: XksClient, request_id: str) -> None:
    for api, body in bodies(client).items():
        assert client.post(f"/keys/payments/{api}", {**body, **metadata(kmsRequestId=request_id)}).status == 200
    assert client.health(kmsRequestId=request_id).status == 200


def test_request_metadata_nothing_in_it_is_validated(client: XksClient) -> None:
    told = metadata(awsPrincipalArn="AWS Internal", kmsKeyArn="no arn", kmsViaService="", awsSourceVpc="?")
    assert client.encrypt("payments", **told).status == 200


def test_appendix_b_fields_that_are_not_known_are_let_through(client: XksClient) -> None:
    told = metadata(SourceIdentity="Alice", kmsRecipientAttestationPCR0="00", tags={"a": [1]})
    sealed = client.encrypt("payments", anything={"new": 1}, **told)
    assert sealed.status == 200
    assert client.decrypt("payments", sealed.json(), another=None, **told).status == 200


# ---- GetKeyMetadata --------------------------------------------------------------------------------------------------


def test_get_key_metadata_says_spec_usage_and_status(client: XksClient) -> None:
    answer = client.get_metadata("payments")
    assert answer.status == 200
    assert answer.json() == {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}


def test_get_key_metadata_says_that_a_key_is_disabled(client: XksClient) -> None:
    assert client.get_metadata("disabled").json()["keyStatus"] == "DISABLED"


def test_get_key_metadata_says_what_a_key_is_exposed_for(client: XksClient) -> None:
    assert client.get_metadata("decrypt-only").json()["keyUsage"] == ["DECRYPT"]
    assert client.get_metadata("encrypt-only").json()["keyUsage"] == ["ENCRYPT"]


def test_get_key_metadata_of_a_key_that_is_not_there(client: XksClient) -> None:
    assert refused(client.get_metadata("nobody")) == (404, "KeyNotFoundException")


# ---- Encrypt ---------------------------------------------------------------------------------------------------------


def parts(answer: Any) -> tuple[bytes, ...]:
    told = answer.json()
    names = ("ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata")
    return tuple(base64.b64decode(told[name], validate=True) for name in names)


@pytest.mark.parametrize("length", [0, 1, 12, 16, 4096, 4300, 8192])
def test_encrypt_plaintext_of_4300_bytes_and_ciphertext_as_long_as_it(client: XksClient, length: int) -> None:
    plaintext = os.urandom(length)
    sealed = client.encrypt("payments", plaintext)
    assert sealed.status == 200
    ciphertext, iv, tag, told = parts(sealed)
    assert len(ciphertext) == length
    assert len(iv) in (12, 16)
    assert len(tag) == 16
    assert 1 <= len(told) <= 20
    assert client.decrypt("payments", sealed.json()).json() == {"plaintext": b64(plaintext)}


def test_encrypt_values_beyond_what_is_supported_are_unsupported_operation(client: XksClient) -> None:
    assert refused(client.encrypt("payments", bytes(8193))) == (501, "UnsupportedOperationException")
    assert refused(client.encrypt("payments", aad=bytes(8193))) == (501, "UnsupportedOperationException")
    huge = client.post("/keys/payments/encrypt", b'{"a":"' + b"a" * 200_000 + b'"}')
    assert refused(huge) == (501, "UnsupportedOperationException")


def test_encrypt_additional_authenticated_data_of_8192_bytes(client: XksClient) -> None:
    aad = os.urandom(8192)
    sealed = client.encrypt("payments", os.urandom(4300), aad)
    assert sealed.status == 200
    assert client.decrypt("payments", sealed.json(), aad).status == 200
    assert refused(client.decrypt("payments", sealed.json(), aad[:-1] + b"?")) == (400, "InvalidCiphertextException")
    assert refused(client.decrypt("payments", sealed.json())) == (400, "InvalidCiphertextException")


@pytest.mark.parametrize("algorithm", ["AES_CBC", "aes_gcm", "", None, 1])
def test_encrypt_the_algorithm_must_be_aes_gcm(client: XksClient, algorithm: Any) -> None:
    assert refused(client.encrypt("payments", encryptionAlgorithm=algorithm)) == (400, "ValidationException")
    sealed = client.encrypt("payments").json()
    assert refused(client.decrypt("payments", sealed, encryptionAlgorithm=algorithm)) == (400, "ValidationException")


@pytest.mark.parametrize("text", ["aGk", "aG k=", "a-_k", "aGk=\n", "=", "ä", 1, None, ["aGk="]])
@pytest.mark.parametrize("field", ["plaintext", "additionalAuthenticatedData"])
def test_encrypt_binary_fields_are_standard_base64(client: XksClient, field: str, text: Any) -> None:
    assert refused(client.encrypt("payments", **{field: text})) == (400, "ValidationException")


def test_encrypt_without_plaintext_is_a_validation_exception(client: XksClient) -> None:
    answer = client.post("/keys/payments/encrypt", {"encryptionAlgorithm": "AES_GCM", **metadata()})
    assert refused(answer) == (400, "ValidationException")


def test_encrypt_optional_fields_are_absent_when_they_were_not_asked_for(client: XksClient) -> None:
    names = {"ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"}
    assert set(client.encrypt("payments").json()) == names
    asked = client.encrypt("payments", ciphertextDataIntegrityValueAlgorithm="SHA_256")
    assert set(asked.json()) == names | {"ciphertextDataIntegrityValue"}


@pytest.mark.parametrize("algorithm", ["SHA_512", "sha_256", ""])
def test_encrypt_the_integrity_algorithm_must_be_sha_256(client: XksClient, algorithm: str) -> None:
    answer = client.encrypt("payments", ciphertextDataIntegrityValueAlgorithm=algorithm)
    assert refused(answer) == (400, "ValidationException")


@pytest.mark.parametrize("aad", [None, b"", b"project=nile,department=marketing"])
def test_encrypt_the_integrity_value_is_the_hash_of_appendix_c(client: XksClient, aad: bytes | None) -> None:
    answer = client.encrypt("payments", aad=aad, ciphertextDataIntegrityValueAlgorithm="SHA_256")
    ciphertext, iv, tag, told = parts(answer)
    digest = hashlib.sha256((aad or b"") + told + iv + ciphertext + tag).digest()
    assert answer.json()["ciphertextDataIntegrityValue"] == b64(digest)


def test_encrypt_the_metadata_cannot_pass_for_additional_data(client: XksClient) -> None:
    """ "to avoid unintended successful decrypts": the lengths are part of what is authenticated."""
    sealed = client.encrypt("payments").json()
    told = base64.b64decode(sealed["ciphertextMetadata"])
    moved = {name: value for name, value in sealed.items() if name != "ciphertextMetadata"}
    assert refused(client.decrypt("payments", moved, told)) == (400, "InvalidCiphertextException")


def test_encrypt_the_associated_data_is_the_length_prefixed_one() -> None:
    assert externalkeys.associated_data(b"", b"") == b"\0\0\0"
    assert externalkeys.associated_data(b"ab", b"") == b"\0\2ab\0"
    assert externalkeys.associated_data(b"", b"cd") == b"\0\0\2cd"
    assert externalkeys.associated_data(b"a" * 8192, b"m" * 20) == b"\x20\x00" + b"a" * 8192 + b"\x14" + b"m" * 20


def test_encrypt_the_same_twice_is_never_the_same(client: XksClient) -> None:
    made = [parts(client.encrypt("payments")) for _ in range(20)]
    assert len({iv for _, iv, _, _ in made}) == 20
    assert len({ciphertext for ciphertext, _, _, _ in made}) == 20


# ---- Appendix C ------------------------------------------------------------------------------------------------------


def test_appendix_c_the_published_example() -> None:
    aad, told = b"project=nile,department=marketing", base64.b64decode("a2V5X3ZlcnNpb249MQ==")
    sealed = GcmCiphertext(
        base64.b64decode("HMrlRw85cAJUd5Ax"),
        base64.b64decode("ghxkK1txeDNn3q8Y"),
        base64.b64decode("vBxN2ncH1oEkR8WVXpmyYQ=="),
    )
    assert b64(externalkeys.integrity_value(aad, told, sealed)) == "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc="


# ---- Decrypt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"])
def test_decrypt_a_part_that_was_changed_or_left_out_is_invalid_ciphertext(client: XksClient, field: str) -> None:
    sealed = client.encrypt("payments", aad=b"a").json()
    value = base64.b64decode(sealed[field])
    changed = [
        bytes((octet ^ 1 if at == index else octet) for at, octet in enumerate(value)) for index in (0, len(value) - 1)
    ]
    for wrong in (*changed, value[:-1], value[1:], b""):
        answer = client.decrypt("payments", {**sealed, field: b64(wrong)}, b"a")
        assert refused(answer) == (400, "InvalidCiphertextException"), wrong
    left_out = {name: value for name, value in sealed.items() if name != field}
    assert refused(client.decrypt("payments", left_out, b"a")) == (400, "InvalidCiphertextException")


@pytest.mark.parametrize(("field", "length"), [("initializationVector", 13), ("authenticationTag", 12)])
def test_decrypt_lengths_of_iv_and_tag(client: XksClient, field: str, length: int) -> None:
    sealed = client.encrypt("payments").json()
    answer = client.decrypt("payments", {**sealed, field: b64(bytes(length))})
    assert refused(answer) == (400, "InvalidCiphertextException")


def test_decrypt_metadata_of_more_than_20_bytes_is_refused(client: XksClient) -> None:
    sealed = client.encrypt("payments").json()
    answer = client.decrypt("payments", {**sealed, "ciphertextMetadata": b64(bytes(21))})
    assert refused(answer) == (400, "ValidationException")


def test_decrypt_a_ciphertext_opens_under_its_own_key_only(proxied: Proxied) -> None:
    proxied.server.apply("more", [document_key("other")])
    proxied.spec["keys"]["other"] = {"key": "other"}
    proxied.put()
    client = proxied.client()
    sealed = client.encrypt("payments").json()
    assert refused(client.decrypt("other", sealed)) == (400, "InvalidCiphertextException")


def test_decrypt_what_was_encrypted_before_the_external_key_rotated(proxied: Proxied) -> None:
    """The metadata names the material: rotation keeps old ciphertext readable and new ciphertext is under the new."""
    client, kms = proxied.client(), proxied.server.kms()
    before = client.encrypt("payments", b"before").json()
    key_id = proxied.server.ok("GET", "/v1/keys/payments")["status"]["keyId"]
    kms.rotate_key_on_demand(KeyId=key_id)
    rotated(proxied, 2)
    after = client.encrypt("payments", b"after").json()
    assert after["ciphertextMetadata"] != before["ciphertextMetadata"]
    assert client.decrypt("payments", before).json() == {"plaintext": b64(b"before")}
    assert client.decrypt("payments", after).json() == {"plaintext": b64(b"after")}


def test_decrypt_never_opens_what_the_kms_door_encrypted_nor_the_other_way(proxied: Proxied) -> None:
    client, kms = proxied.client(), proxied.server.kms()
    key_id = proxied.server.ok("GET", "/v1/keys/payments")["status"]["keyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"Hello World!")["CiphertextBlob"]
    body = blob[52:]
    sealed = client.encrypt("payments").json()
    for iv in (body[1:17], body[17:29]):
        answer = client.decrypt(
            "payments",
            {
                **sealed,
                "initializationVector": b64(iv),
                "ciphertext": b64(body[29:-16]),
                "authenticationTag": b64(body[-16:]),
            },
        )
        assert refused(answer) == (400, "InvalidCiphertextException")


# ---- GetHealthStatus -------------------------------------------------------------------------------------------------


def test_get_health_status_says_all_that_is_required(client: XksClient) -> None:
    answer = client.health()
    assert answer.status == 200
    told = answer.json()
    assert set(told) == {"xksProxyFleetSize", "xksProxyVendor", "xksProxyModel", "ekmVendor", "ekmFleetDetails"}
    assert isinstance(told["xksProxyFleetSize"], int)
    assert told["xksProxyFleetSize"] > 0
    assert 1 <= len(told["ekmFleetDetails"]) <= 10
    for member in told["ekmFleetDetails"]:
        assert set(member) == {"id", "model", "healthStatus"}
        assert member["healthStatus"] in ("ACTIVE", "DEGRADED", "UNAVAILABLE")
    assert "0.1.0" in told["xksProxyModel"], "product name and version"


@pytest.mark.parametrize(
    "body", [{}, {"requestMetadata": {}}, {"requestMetadata": {"kmsOperation": "x"}}, [], None, b"{"]
)
def test_get_health_status_needs_request_id_and_operation(client: XksClient, body: Any) -> None:
    assert refused(client.post("/health", body)) == (400, "ValidationException")


def test_get_health_status_uses_a_test_key_and_no_key_of_anybody(shared: Proxied, client: XksClient) -> None:
    before = audit(shared)
    assert client.health().status == 200
    new = audit(shared)[len(before) :]
    assert [record["operation"] for record in new if record.get("details", {}).get("door") == "xks"] == [
        "GetHealthStatus"
    ]


# ---- Error codes -----------------------------------------------------------------------------------------------------


def test_error_codes_names_and_codes_are_those_of_the_table() -> None:
    assert dict(STATUS) == {
        "ValidationException": 400,
        "InvalidStateException": 400,
        "InvalidCiphertextException": 400,
        "InvalidKeyUsageException": 400,
        "AuthenticationFailedException": 401,
        "AccessDeniedException": 403,
        "KeyNotFoundException": 404,
        "InvalidUriPathException": 404,
        "ThrottlingException": 429,
        "UnsupportedOperationException": 501,
        "DependencyTimeoutException": 503,
        "InternalException": 500,
    }


def test_error_codes_a_disabled_key_is_in_an_invalid_state(client: XksClient) -> None:
    assert refused(client.encrypt("disabled")) == (400, "InvalidStateException")
    sealed = client.encrypt("payments").json()
    assert refused(client.decrypt("disabled", sealed)) == (400, "InvalidStateException")


def test_error_codes_a_key_that_is_not_for_it_is_an_invalid_key_usage(client: XksClient) -> None:
    assert refused(client.encrypt("decrypt-only")) == (400, "InvalidKeyUsageException")
    sealed = client.encrypt("encrypt-only")
    assert sealed.status == 200
    assert refused(client.decrypt("encrypt-only", sealed.json())) == (400, "InvalidKeyUsageException")
    assert client.decrypt("decrypt-only", sealed.json()).status == 200
    asked = client.encrypt("encrypt-only", ciphertextDataIntegrityValueAlgorithm="SHA_256")
    assert refused(asked) == (400, "InvalidKeyUsageException"), "nobody may prove it by decrypting"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff", b"[" * 5000, b'{"requestMetadata":1}']
)
@pytest.mark.parametrize("api", ["metadata", "encrypt", "decrypt"])
def test_error_codes_a_body_that_is_not_the_request_is_a_validation_exception(
    client: XksClient, api: str, body: bytes
) -> None:
    assert refused(client.post(f"/keys/payments/{api}", body)) == (400, "ValidationException")


def test_error_codes_messages_are_short_printable_ascii_whatever_was_sent(client: XksClient) -> None:
    for key in ("ü" * 300, "\x1b[31m", "x" * 1000):
        answer = client.encrypt("payments", **{key: 1}, plaintext={key: key})
        assert refused(answer) == (400, "ValidationException")


# ---- Authentication --------------------------------------------------------------------------------------------------


def test_authentication_an_unsigned_request_is_refused(client: XksClient) -> None:
    body = json.dumps(metadata()).encode()
    answer = client.send("POST", client.path + "/health", body, {"content-type": "application/json"})
    assert refused(answer) == (401, "AuthenticationFailedException")


@pytest.mark.parametrize(
    "wrong", [{"access_key_id": "X" * 20}, {"secret": SECRET[:-1]}, {"service": "kms"}, {"access_key_id": ""}]
)
def test_authentication_a_wrong_signature_is_refused(shared: Proxied, wrong: dict[str, str]) -> None:
    answer = shared.client(**wrong).health()
    assert refused(answer) == (401, "AuthenticationFailedException")
    assert SECRET not in answer.body.decode()


def test_authentication_the_payload_is_covered_by_the_signature(client: XksClient) -> None:
    body = json.dumps(metadata("KmsHealthCheck")).encode()
    path = client.path + "/health"
    headers = client.headers("POST", path, body)
    assert client.send("POST", path, body, headers).status == 200
    assert refused(client.send("POST", path, body + b" ", headers)) == (401, "AuthenticationFailedException")
    other = client.path + "/keys/payments/metadata"
    assert refused(client.send("POST", other, body, headers)) == (401, "AuthenticationFailedException")


@pytest.mark.parametrize("minutes", [6, -6])
def test_appendix_a_a_request_more_than_five_minutes_off_fails_authentication(client: XksClient, minutes: int) -> None:
    body = {"requestMetadata": metadata("KmsHealthCheck")["requestMetadata"]}
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    assert refused(client.post("/health", body, at=at)) == (401, "AuthenticationFailedException")
    near = datetime.now(UTC) + timedelta(minutes=4 if minutes > 0 else -4)
    assert client.post("/health", body, at=near).status == 200


def test_appendix_a_host_and_date_are_what_is_signed(client: XksClient) -> None:
    path, body = client.path + "/health", json.dumps(metadata()).encode()
    signed = client.headers("POST", path, body)
    assert "SignedHeaders=host;x-amz-date" in signed["Authorization"]
    assert client.send("POST", path, body, signed).status == 200


# ---- Logging ---------------------------------------------------------------------------------------------------------


def audit(proxied: Proxied) -> list[dict[str, Any]]:
    """All records of the audit journal, in order."""
    files = sorted((proxied.server.directory / "audit").glob("chain-*/segment-*.jsonl"))
    return [json.loads(line)["record"] for file in files for line in file.read_bytes().split(b"\n") if line]


def test_logging_request_metadata_time_result_and_error_of_each_request(shared: Proxied, client: XksClient) -> None:
    mark = f"mark-{time.time_ns()}"
    client.encrypt("payments", **metadata(kmsRequestId=mark, kmsViaService="ebs.us-east-2.amazonaws.com"))
    client.encrypt("disabled", **metadata(kmsRequestId=mark))
    found = [
        record
        for record in audit(shared)
        if record.get("details", {}).get("requestMetadata", {}).get("kmsRequestId") == mark
    ]
    succeeded, failed = found
    assert succeeded["decision"] == "allowed"
    assert succeeded["latencyUs"] > 0
    assert succeeded["details"] == {
        "door": "xks",
        "xksProxy": "bank",
        "externalKeyId": "payments",
        "rule": "the proxy has no rules",
        "requestMetadata": {
            "awsPrincipalArn": ALICE,
            "kmsKeyArn": KMS_KEY,
            "kmsOperation": "Encrypt",
            "kmsRequestId": mark,
            "kmsViaService": "ebs.us-east-2.amazonaws.com",
        },
    }
    assert succeeded["principal"] == "arn:aws:iam::000000000000:role/xks-proxy/bank"
    assert succeeded["source"] == "127.0.0.1"
    assert (failed["decision"], failed["error"]) == ("failed", "Disabled")


def test_logging_health_checks_are_logged_with_their_request_id(shared: Proxied, client: XksClient) -> None:
    mark = f"mark-{time.time_ns()}"
    assert client.health(kmsRequestId=mark).status == 200
    assert any(
        record["details"].get("requestMetadata", {}).get("kmsRequestId") == mark
        for record in audit(shared)
        if record.get("operation") == "GetHealthStatus"
    )


def test_logging_no_plaintext_and_no_secret_is_in_any_log_file_or_database(proxied: Proxied) -> None:
    marker = b"PLAINTEXT-THAT-MUST-NOT-LEAK-" + os.urandom(8).hex().encode()
    client = proxied.client()
    for body in (
        {"plaintext": b64(marker)},
        {"plaintext": b64(marker), "encryptionAlgorithm": "X"},
        {"plaintext": [b64(marker)]},
        {"plaintext": b64(marker), "ciphertextDataIntegrityValueAlgorithm": "SHA_256"},
        {"additionalAuthenticatedData": b64(marker)},
    ):
        answer = client.encrypt("payments", **body)
        if answer.status == 200:
            client.decrypt("payments", answer.json())
    client.encrypt("disabled", marker)
    proxied.client(secret=SECRET[:-1] + "x").encrypt("payments", marker)
    proxied.server.stop()
    secrets = [marker, base64.b64encode(marker)[:-4], SECRET.encode(), SECRET[:-1].encode()]
    files = [path for path in proxied.server.directory.rglob("*") if path.is_file()]
    assert len(files) > 3
    for content in (*(path.read_bytes() for path in files), proxied.server.log().encode()):
        assert not any(secret in content for secret in secrets)


# ---- Load balancer health checks -------------------------------------------------------------------------------------


def test_load_balancer_health_checks_get_ping_is_200(client: XksClient) -> None:
    assert client.send("GET", "/ping").status == 200
    assert client.send("HEAD", "/ping").status == 200


def document_key(name: str) -> dict[str, Any]:
    return {"apiVersion": "keystead/v1", "kind": "Key", "metadata": {"name": name}, "spec": {}}


def rotated(proxied: Proxied, materials: int) -> None:
    from tests.harness import eventually

    eventually(
        lambda: len(proxied.server.ok("GET", "/v1/keys/payments")["status"]["materials"]) == materials, "it has rotated"
    )
