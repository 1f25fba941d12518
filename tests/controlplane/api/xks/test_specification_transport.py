"""The proxy against the specification (AWS KMS External Key Store Proxy API 1.0.3): TLS, HTTP, paths and signatures.

Each name begins with the section that it is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from controlplane.api.xks import listeners, tls
from controlplane.api.xks.door import XksDoor
from controlplane.api.xks.served import read_secret
from controlplane.audit.journal import AuditJournal
from controlplane.clock import ManualClock
from controlplane.errors import InvalidInput
from controlplane.schema.xksproxies import DesiredXksProxy, XksCredential, XksTls
from controlplane.usage.perform import Usage
from controlplane.usage.strangers import Strangers
from tests.harness import document
from tests.xksclient import HOST, ProxyFiles, Signer, XksClient, metadata, refused
from tests.xksproxied import SECRET, Proxied

PROXY = {"tls": {"certificate": "c", "key": "k"}, "credentials": []}
"""The least that a proxy declares."""

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


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str | None, str]:
    """Version and suite that both agree on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_hostname=HOST)
    left = [here, there]
    for _ in range(10):
        for side in list(left):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
                left.remove(side)
    chosen = here.cipher()
    assert left == []
    assert chosen is not None
    return here.version(), chosen[0]


@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
def test_api_content_type_the_named_cipher_suites_are_offered_and_agreed_on(tmp_path: Path, kind: str) -> None:
    files = ProxyFiles(tmp_path)
    files.issue(key_type=trustme.KeyType[kind])
    context = tls.load(XksTls(certificate=str(files.certificate), key=str(files.key))).context
    assert {name for _, name in SUITES} <= {suite["name"] for suite in context.get_ciphers()}
    client = ssl.create_default_context()
    files.ca.configure_trust(client)
    assert handshake(context, client) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"ECDHE-{kind}-AES256-GCM-SHA384")
    assert handshake(context, client) == ("TLSv1.2", f"ECDHE-{kind}-AES256-GCM-SHA384")


def test_api_content_type_a_client_that_speaks_http_2_too_falls_back_to_http_1_1(client: XksClient) -> None:
    import http.client

    context = client.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = http.client.HTTPSConnection(HOST, client.port, timeout=30, context=context)
    try:
        body = json.dumps(metadata("CreateKey")).encode()
        path = client.path + "/keys/payments/metadata"
        connection.request("POST", path, body, client.headers("POST", path, body))
        response = connection.getresponse()
        assert connection.sock.selected_alpn_protocol() in (None, "http/1.1")  # type: ignore[attr-defined]
        assert (response.status, response.version) == (200, 11)
        response.read()
    finally:
        connection.close()


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
    assert client.get_metadata("payments", awsPrincipalArn=arn, kmsKeyArn=key).status == 200


@pytest.mark.parametrize(
    "rest", ["/keys/payments/metadata", "/keys/payments/encrypt", "/keys/payments/decrypt", "/health"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_api_operations_get_is_405_method_not_allowed(client: XksClient, rest: str, method: str) -> None:
    answer = client.send(method, client.path + rest)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    signed = client.send(method, client.path + rest, b"", client.headers(method, client.path + rest, b""))
    assert signed.status == 405
    if method != "HEAD":  # whose answer has no body
        assert refused(signed) == (405, "UnsupportedOperationException"), "a name that the table has for every API"


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


def test_api_operations_an_external_key_id_names_one_key_whatever_its_case(proxied: Proxied) -> None:
    proxied.server.apply("more", [document("Key", "other")])
    proxied.spec["keys"]["PAYMENTS"] = {"key": "other"}
    proxied.put()
    client = proxied.client()
    sealed = client.encrypt("payments").json()
    assert client.decrypt("payments", sealed).status == 200
    assert refused(client.decrypt("PAYMENTS", sealed)) == (400, "InvalidCiphertextException")
    assert refused(client.decrypt("Payments", sealed)) == (404, "KeyNotFoundException")


def test_api_operations_a_uri_path_is_at_most_128_characters_of_the_named_set() -> None:
    room = 128 - len("/kms/xks/v1")
    for prefix in ("", "/a", "/aZ09-_/b", "/" + "a" * (room - 1)):
        assert len(msgspec.convert({**PROXY, "pathPrefix": prefix}, DesiredXksProxy).uri_path) <= 128
    for prefix in ("/" + "a" * room, "/a.b", "/a b", "/a%20", "/ä", "/a?", "/a~", "a", "/a\n"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**PROXY, "pathPrefix": prefix}, DesiredXksProxy)


def test_error_codes_requests_that_are_begun_and_not_ended_keep_nobody_out(client: XksClient) -> None:
    """Nobody has authenticated by then: whoever reaches the port could do it."""
    head = f"POST {client.path}/health HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{"
    context = client.context()
    with contextlib.ExitStack() as begun:
        for _ in range(listeners.MAX_RUNNING + 10):
            plain = begun.enter_context(socket.create_connection((HOST, client.port), timeout=30))
            slow = begun.enter_context(context.wrap_socket(plain, server_hostname=HOST))
            slow.sendall(head.encode())
        assert client.health().status == 200


async def test_error_codes_a_body_that_does_not_arrive_is_given_up_and_its_connection_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: ManualClock
) -> None:
    monkeypatch.setattr(listeners, "RECEIVE_SECONDS", 0.01)
    journal = AuditJournal(tmp_path, sync=False)
    journal.open()
    port, said = object.__new__(listeners._Port), []
    port._running, port._door = 0, object.__new__(XksDoor)
    port._door._usage = object.__new__(Usage)
    port._door._usage.strangers = Strangers(journal, clock)

    async def receive() -> dict[str, Any]:
        if said:
            raise AssertionError("nothing is read after the answer")
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await port._app({"type": "http", "headers": []}, receive, send)
    assert journal.head.seq == 1, "it is in the audit journal"
    await journal.close()
    assert said[0]["status"] == 429
    assert (b"connection", b"close") in said[0]["headers"]
    assert b"did not arrive in time" in said[1]["body"]


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


@pytest.mark.parametrize("unsigned", ["host", "x-amz-date"])
def test_appendix_a_neither_host_nor_date_may_be_left_unsigned(client: XksClient, unsigned: str) -> None:
    """Signed with the right secret, and not over all that has to be: then anybody could change the rest."""
    path, body = client.path + "/health", json.dumps(metadata("KmsHealthCheck")).encode()
    request = AWSRequest("POST", f"https://{HOST}:{client.port}{path}", data=body)
    request.headers["host"] = f"{HOST}:{client.port}"
    signer = Partial(Credentials(client.access_key_id, client.secret), client.service, "us-east-2")
    for left_out, expected in (("", 200), (unsigned, 401)):
        signer.left_out = left_out
        signer.sign_at(request, datetime.now(UTC))
        headers = {**dict(request.headers.items()), "content-type": "application/json"}
        assert client.send("POST", path, body, headers).status == expected
        del request.headers["Authorization"]


class Partial(Signer):
    """A signature that does not cover one of the headers."""

    left_out = ""

    def headers_to_sign(self, request: AWSRequest) -> Any:
        covered = super().headers_to_sign(request)
        del covered[self.left_out]
        return covered


def test_appendix_a_access_key_ids_have_20_to_30_characters_of_the_named_set() -> None:
    secret = {"fromEnv": "X"}
    for good in ("A" * 20, "Z" * 30, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "23456723456723456723"):
        msgspec.convert({"accessKeyId": good, "secret": secret}, XksCredential)
    for bad in ("A" * 19, "A" * 31, "a" * 20, "A" * 19 + "1", "A" * 19 + "0", "A" * 19 + "8", "A" * 19 + "-", ""):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"accessKeyId": bad, "secret": secret}, XksCredential)


def test_appendix_a_secrets_have_256_bits_in_the_named_characters(tmp_path: Path) -> None:
    files = ProxyFiles(tmp_path)

    def read(value: str) -> bytes:
        declared = {"accessKeyId": "A" * 20, "secret": files.secret("secret", value)}
        return read_secret(msgspec.convert(declared, XksCredential), tmp_path).expose()

    for good in ("a" * 43, "Az09/+=" * 9, "b" * 64):
        assert read(good) == good.encode()
    for bad in ("a" * 42, "a" * 65, "a" * 42 + "-", "a" * 42 + "_", "a" * 42 + " a", "a" * 42 + "ä"):
        with pytest.raises(InvalidInput, match="43 to 64 characters") as caught:
            read(bad)
        assert bad not in caught.value.message


def test_appendix_a_an_access_key_id_stands_for_one_secret(shared: Proxied) -> None:
    twice = [*shared.spec["credentials"], *shared.spec["credentials"]]
    wanted = document("XksProxy", "bank", **{**shared.spec, "credentials": twice})
    answer = shared.server.rest("PUT", "/v1/xksproxies/bank", wanted)
    assert answer.status in (400, 422)
    assert "stands twice" in answer.body.decode()


# ---- Load balancer health checks -------------------------------------------------------------------------------------


def test_load_balancer_health_checks_get_ping_is_200(client: XksClient) -> None:
    assert client.send("GET", "/ping").status == 200
    assert client.send("HEAD", "/ping").status == 200
