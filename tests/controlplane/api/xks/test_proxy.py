"""What an operator does to a proxy while it runs, and what its clients notice."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.controlplane.api.xks.test_specification_logging import audit
from tests.harness import Answer, document, eventually, in_time
from tests.xksclient import ALICE, HOST, XksClient, metadata, refused
from tests.xksproxied import ACCESS_KEY_ID, SECRET, Proxied

SECOND_ID, SECOND = "SECONDCREDENTIAL2345", "Another5ecret0fTheTests/AlsoNotToBeFound+91ccQ="
THIRD = "Third5ecret0fTheTests/AlsoNotToBeFound+0a1bQ=="
EVIL = "arn:aws:iam::999999999999:user/Mallory"


# ---- SigV4 credentials rotation --------------------------------------------------------------------------------------


def test_sigv4_credentials_rotation_two_credentials_at_once_changed_without_an_interruption(proxied: Proxied) -> None:
    old, new = proxied.client(), proxied.client(SECOND_ID, SECOND)
    port = proxied.port
    assert (old.health().status, new.health().status) == (200, 401)
    first = proxied.spec["credentials"][0]
    second = {"accessKeyId": SECOND_ID, "secret": proxied.files.secret("second", SECOND)}
    proxied.spec["credentials"] = [first, second]
    proxied.server.ok("PUT", "/v1/xksproxies/bank", document("XksProxy", "bank", **proxied.spec))
    assert (old.health().status, new.health().status) == (200, 200), "with the next request"
    proxied.spec["credentials"] = [second]
    proxied.server.ok("PUT", "/v1/xksproxies/bank", document("XksProxy", "bank", **proxied.spec))
    assert (old.health().status, new.health().status) == (401, 200), "with the next request"
    assert proxied.port == port


def test_sigv4_credentials_rotation_the_content_of_a_secrets_file_changes(proxied: Proxied) -> None:
    proxied.files.secret("secret", THIRD)
    client = proxied.client(secret=THIRD)
    proxied.spec["fleetSize"] = 2  # any pass of the reconciler reads the files again
    proxied.put()
    assert client.health().status == 200
    assert refused(proxied.client().health()) == (401, "AuthenticationFailedException")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("short", "it must have 43 to 64 characters"),
        ("x" * 65, "it must have 43 to 64 characters"),
        ("not the Base64 alphabet, and long enough for it!!", "it must have 43 to 64 characters"),
        (None, "does not exist"),
    ],
)
def test_a_secret_that_cannot_be_used_is_told_and_leaves_the_others_working(
    proxied: Proxied, content: str | None, told: str
) -> None:
    source = proxied.files.secret("second", content) if content else {"fromFile": str(proxied.files.directory / "no")}
    proxied.spec["credentials"].append({"accessKeyId": SECOND_ID, "secret": source})
    proxied.put()
    synced = proxied.condition("Synced")
    assert (synced["status"], synced["reason"]) == ("False", "Misconfigured")
    assert told in synced["message"]
    assert content is None or content not in json.dumps(proxied.show())
    assert proxied.client().health().status == 200
    assert refused(proxied.client(SECOND_ID, content or "x").health()) == (401, "AuthenticationFailedException")


def test_a_secret_that_others_may_read_is_not_used(proxied: Proxied) -> None:
    (proxied.files.directory / "secret").chmod(0o644)
    proxied.spec["fleetSize"] = 2
    proxied.put()
    assert "so other users may read it" in proxied.condition("Synced")["message"]
    assert refused(proxied.client().health()) == (401, "AuthenticationFailedException")


# ---- Authorization ---------------------------------------------------------------------------------------------------


def test_authorization_an_external_key_usable_only_by_specific_callers(proxied: Proxied) -> None:
    proxied.spec["rules"] = [
        {"name": "alice", "principals": [ALICE], "externalKeys": ["payments"]},
        {"name": "never-by-hand", "effect": "deny", "operations": ["Decrypt"], "viaServices": ["s3.*"]},
    ]
    proxied.put()
    client = proxied.client()
    sealed = client.encrypt("payments")
    assert sealed.status == 200
    assert refused(client.encrypt("payments", **metadata(awsPrincipalArn=EVIL))) == (403, "AccessDeniedException")
    assert refused(client.encrypt("encrypt-only")) == (403, "AccessDeniedException")
    assert refused(client.get_metadata("payments", awsPrincipalArn=EVIL)) == (403, "AccessDeniedException")
    via = metadata("Decrypt", kmsViaService="s3.us-east-2.amazonaws.com")
    denied = client.decrypt("payments", sealed.json(), **via)
    assert refused(denied) == (403, "AccessDeniedException")
    assert "never-by-hand" not in denied.body.decode(), "the rules are the operator's"
    assert client.decrypt("payments", sealed.json()).status == 200


def test_authorization_health_is_excluded_from_it(proxied: Proxied) -> None:
    proxied.spec["rules"] = [{"name": "nobody", "effect": "deny"}]
    proxied.put()
    client = proxied.client()
    assert refused(client.encrypt("payments")) == (403, "AccessDeniedException")
    assert client.health().status == 200


def test_authorization_the_deciding_rule_and_the_request_are_in_the_log(proxied: Proxied) -> None:
    proxied.spec["rules"] = [
        {"name": "alice", "principals": [ALICE]},
        {"name": "evil", "effect": "deny", "principals": ["*9999*"]},
    ]
    proxied.put()
    client = proxied.client()
    client.encrypt("payments")
    client.encrypt("payments", **metadata(awsPrincipalArn=EVIL))
    client.encrypt("payments", **metadata(awsPrincipalArn="arn:aws:iam::1:user/Bob"))
    found = [record for record in audit(proxied) if record.get("details", {}).get("door") == "xks"][-3:]
    assert [(record["decision"], record["details"]["rule"]) for record in found] == [
        ("allowed", "allowed by rule alice of the proxy"),
        ("denied", "denied by rule evil of the proxy"),
        ("denied", "no rule of the proxy allows it"),
    ]
    assert [record["reason"] for record in found[1:]] == [record["details"]["rule"] for record in found[1:]]
    assert found[1]["details"]["requestMetadata"]["awsPrincipalArn"] == EVIL


def test_authorization_the_keys_own_policy_decides_too(proxied: Proxied) -> None:
    """One authoriser: a key policy that denies the proxy's principal denies it here as at every door."""
    statement = {
        "Effect": "Deny",
        "Principal": {"AWS": "arn:aws:iam::000000000000:role/xks-proxy/bank"},
        "Action": "kms:Decrypt",
        "Resource": "*",
    }
    allow = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow, statement]})
    client = proxied.client()
    sealed = client.encrypt("payments").json()
    assert client.decrypt("payments", sealed).status == 200
    proxied.server.ok("PUT", "/v1/keys/payments", document("Key", "payments", policy={"document": policy}))
    assert client.encrypt("payments").status == 200
    assert refused(client.decrypt("payments", sealed)) == (403, "AccessDeniedException")


# ---- kill switches ---------------------------------------------------------------------------------------------------


def test_a_disabled_external_key_is_refused_with_the_next_request_and_restored_with_it(proxied: Proxied) -> None:
    client = proxied.client()
    sealed = client.encrypt("payments").json()
    proxied.server.ok("POST", "/v1/keys/payments/actions/disable")
    assert refused(client.decrypt("payments", sealed)) == (400, "InvalidStateException")
    assert client.get_metadata("payments").json()["keyStatus"] == "DISABLED"
    proxied.server.ok("POST", "/v1/keys/payments/actions/enable")
    assert client.decrypt("payments", sealed).status == 200


def test_a_disabled_proxy_refuses_every_api(proxied: Proxied) -> None:
    client = proxied.client()
    sealed = client.encrypt("payments").json()
    proxied.spec["enabled"] = False
    proxied.put()
    answers = [
        client.encrypt("payments"),
        client.decrypt("payments", sealed),
        client.get_metadata("payments"),
        client.health(),
    ]
    assert [refused(answer) for answer in answers] == [(400, "InvalidStateException")] * 4
    assert (proxied.condition("Ready")["status"], proxied.condition("Ready")["reason"]) == ("False", "Disabled")
    proxied.spec["enabled"] = True
    proxied.put()
    assert client.decrypt("payments", sealed).status == 200


def test_a_key_that_is_exposed_no_more_is_not_found_with_the_next_request(proxied: Proxied) -> None:
    client = proxied.client()
    keys = dict(proxied.spec["keys"])
    proxied.spec["keys"] = {name: keys[name] for name in ("disabled",)}
    proxied.server.ok("PUT", "/v1/xksproxies/bank", document("XksProxy", "bank", **proxied.spec))
    assert refused(client.encrypt("payments")) == (404, "KeyNotFoundException")


def test_a_key_pending_deletion_is_in_an_invalid_state_and_its_uses_are_counted(proxied: Proxied) -> None:
    client = proxied.client()
    proxied.server.ok("POST", "/v1/keys/payments/actions/schedule-deletion", {"windowDays": 7})
    assert refused(client.encrypt("payments")) == (400, "InvalidStateException")
    (use,) = proxied.server.ok("GET", "/v1/keys/payments/refused-uses")
    assert (use["operation"], use["principal"]) == ("Encrypt", "arn:aws:iam::000000000000:role/xks-proxy/bank")


# ---- quotas ----------------------------------------------------------------------------------------------------------


def test_api_operations_a_quota_of_the_path_prefix_is_a_throttling_exception(proxied: Proxied) -> None:
    proxied.spec["quota"] = {"requestsPerSecond": 1, "burst": 3}
    proxied.put()
    client = proxied.client()
    assert [answer.status for answer in in_a_row(client, 3)] == [200] * 3
    assert refused(throttled(client)) == (429, "ThrottlingException")
    told = [record for record in audit(proxied) if record.get("error") == "LimitExceeded"]
    assert {record["principal"] for record in told} == {"arn:aws:iam::000000000000:role/xks-proxy/bank"}
    assert client.send("GET", "/nobody/kms/xks/v1/health").status == 404
    assert audit(proxied)[-1]["reason"] == "No proxy has this URI path."
    stranger = proxied.client(secret=SECRET[:-1])
    assert refused(stranger.health()) == (401, "AuthenticationFailedException"), "strangers do not use it up"
    eventually(lambda: client.health().status == 200, "the quota fills again")


def in_a_row(client: XksClient, count: int) -> list[Answer]:
    """Health checks over one connection: quick, so that a quota of one a second does not fill between them."""
    path, body = client.path + "/health", json.dumps(metadata("KmsHealthCheck")).encode()
    connection = http.client.HTTPSConnection(HOST, client.port, timeout=30, context=client.context())
    answers = []
    with contextlib.closing(connection):
        for _ in range(count):
            connection.request("POST", path, body, client.headers("POST", path, body))
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            answers.append(Answer(response.status, headers, response.read()))
    return answers


def throttled(client: XksClient) -> Answer:
    """The answer to a request beyond the quota."""

    def beyond() -> Answer | None:
        return next((answer for answer in in_a_row(client, 8) if answer.status == 429), None)

    answer: Answer = eventually(beyond, "a request is beyond the quota")
    return answer


def test_api_operations_quotas_of_two_prefixes_are_independent(proxied: Proxied) -> None:
    proxied.spec |= {"quota": {"requestsPerSecond": 1, "burst": 1}, "listen": {"port": free_port()}}
    proxied.put()
    second = {**proxied.spec, "pathPrefix": "/shop"}
    proxied.server.ok("PUT", "/v1/xksproxies/shop", document("XksProxy", "shop", **second))
    bank = proxied.client()
    shop = XksClient(bank.port, proxied.files.ca, "/shop/kms/xks/v1", ACCESS_KEY_ID, SECRET)
    eventually(lambda: shop.send("GET", "/shop/kms/xks/v1/health").status == 405, "the second proxy is served")
    throttled(bank)
    assert shop.health().status == 200


# ---- mutual TLS ------------------------------------------------------------------------------------------------------

SUBJECT = "cks.kms.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_authentication_mutual_tls_ends_the_handshake_unless_authority_and_subject_are_right(
    proxied: Proxied, version: ssl.TLSVersion
) -> None:
    clients, stranger = trustme.CA(), trustme.CA()
    authority = proxied.files.directory / "clients.pem"
    clients.cert_pem.write_to_path(str(authority))
    proxied.spec["tls"] = {**proxied.files.tls, "clients": {"authority": str(authority), "subjectName": SUBJECT}}
    proxied.put()
    client = proxied.client()

    def attempt(certificate: trustme.LeafCert | None) -> int | None:
        context = client.context(certificate)
        context.minimum_version = context.maximum_version = version
        body = json.dumps(metadata("KmsHealthCheck")).encode()
        path = client.path + "/health"
        try:
            return client.send("POST", path, body, client.headers("POST", path, body), context).status
        except (ssl.SSLError, ConnectionError):
            return None

    assert attempt(clients.issue_cert(common_name=SUBJECT)) == 200
    assert attempt(clients.issue_cert("other.example", common_name=SUBJECT)) == 200
    assert attempt(None) is None
    assert attempt(clients.issue_cert(common_name="cks.kms.us-east-1.amazonaws.com")) is None
    assert attempt(clients.issue_cert("*.kms.eu-west-1.amazonaws.com")) is None
    assert attempt(stranger.issue_cert(common_name=SUBJECT)) is None
    assert attempt(proxied.files.ca.issue_cert(common_name=SUBJECT)) is None


def test_authentication_turning_mutual_tls_on_ends_connections_that_were_let_in_without(proxied: Proxied) -> None:
    import http.client

    proxied.spec["listen"] = {"port": free_port()}
    proxied.put()
    client = proxied.client()
    connection = http.client.HTTPSConnection(HOST, client.port, timeout=10, context=client.context())
    connection.connect()
    authority = proxied.files.directory / "clients.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    proxied.spec["tls"] = {**proxied.files.tls, "clients": {"authority": str(authority), "subjectName": SUBJECT}}
    proxied.put()
    connection.auto_open = 0
    with pytest.raises((http.client.HTTPException, ConnectionError, ssl.SSLError)):
        connection.request("GET", "/ping")
        connection.getresponse()
    connection.close()


# ---- certificates ----------------------------------------------------------------------------------------------------


def test_a_renewed_certificate_is_taken_without_a_restart(proxied: Proxied) -> None:
    def serial() -> str:
        client = proxied.client()
        with client.context().wrap_socket(
            socket.create_connection((HOST, client.port), 10), server_hostname=HOST
        ) as it:
            certificate = it.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])

    before, port = serial(), proxied.port
    proxied.files.issue()
    proxied.spec["fleetSize"] = 2
    proxied.put()
    assert serial() != before
    assert proxied.port == port


def test_relative_file_names_are_below_the_data_directory(proxied: Proxied) -> None:
    """Wherever the server was started: its working directory is nobody's business."""
    below = proxied.server.directory / "xks"
    shutil.copytree(proxied.files.directory, below)
    tls = {name: f"xks/{Path(path).name}" for name, path in proxied.files.tls.items()}
    credentials = [{"accessKeyId": ACCESS_KEY_ID, "secret": {"fromFile": "xks/secret"}}]
    proxied.declare(tls=tls, credentials=credentials)
    assert proxied.condition("Synced")["status"] == "True"
    assert proxied.client().encrypt("payments").status == 200
    told = proxied.server.ok("GET", "/v1/xksproxies/bank/configuration")
    assert told["XksProxyAuthenticationCredential"]["RawSecretAccessKey"] == SECRET
    proxied.declare(tls={**tls, "certificate": "proxy.crt"}, credentials=credentials)
    assert str(proxied.server.directory / "proxy.crt") in proxied.condition("Synced")["message"]


def test_a_certificate_that_went_bad_leaves_the_old_one_in_use_and_is_told(proxied: Proxied) -> None:
    proxied.files.certificate.write_text("no certificate")
    proxied.spec["fleetSize"] = 2
    proxied.put()
    synced = proxied.condition("Synced")
    assert (synced["status"], synced["reason"]) == ("False", "Misconfigured")
    assert "cannot be used" in synced["message"]
    assert proxied.client().health().status == 200


def test_an_expired_certificate_is_told(proxied: Proxied) -> None:
    from datetime import UTC, datetime, timedelta

    proxied.files.issue(not_after=datetime.now(UTC) - timedelta(days=1))
    proxied.spec["fleetSize"] = 2
    proxied.put()
    ready = proxied.condition("Ready")
    assert (ready["status"], ready["message"]) == ("False", "its certificate has expired: clients refuse it")


# ---- addresses -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_proxy_moves_to_another_port_and_path(proxied: Proxied) -> None:
    before = proxied.client()
    proxied.spec |= {"listen": {"port": free_port()}, "pathPrefix": "/moved/here"}
    proxied.put()
    assert proxied.client().health().status == 200
    with pytest.raises(ConnectionError):
        before.health()


def test_a_proxy_that_is_removed_is_served_no_more(proxied: Proxied) -> None:
    client = proxied.client()
    proxied.server.ok("DELETE", "/v1/xksproxies/bank")

    def gone() -> bool:
        try:
            return refused(client.health()) == (404, "InvalidUriPathException") and False
        except ConnectionError:
            return True

    eventually(gone, "the port is closed")


def test_an_address_that_is_taken_is_told_and_served_when_it_is_free(proxied: Proxied) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = int(holder.getsockname()[1])
        proxied.spec["listen"] = {"port": port}
        proxied.put()
        synced = proxied.condition("Synced")
        assert (synced["status"], synced["reason"]) == ("False", "AddressTaken")
        assert "address" not in proxied.show()["status"]
    eventually(lambda: "address" in proxied.show()["status"], "it listens when the address is free")
    assert proxied.client().health().status == 200


def test_a_second_proxy_with_the_same_path_or_other_tls_is_told_and_does_no_harm(proxied: Proxied) -> None:
    proxied.spec["listen"] = {"port": free_port()}
    proxied.put()
    for name, change in (("twin", {}), ("other", {"pathPrefix": "/other", "tls": {"certificate": "x", "key": "y"}})):
        proxied.server.ok("PUT", f"/v1/xksproxies/{name}", document("XksProxy", name, **{**proxied.spec, **change}))
        shown = eventually(
            lambda name=name: (
                (found := proxied.server.ok("GET", f"/v1/xksproxies/{name}"))["status"].get("conditions") and found
            ),
            "it was looked at",
        )
        assert shown["status"]["conditions"][0]["reason"] == "AddressTaken"
    assert proxied.client().health().status == 200


def test_a_proxy_is_served_again_after_a_restart(proxied: Proxied) -> None:
    sealed = proxied.client().encrypt("payments").json()
    proxied.server.restart()
    eventually(
        lambda: (address := proxied.show()["status"].get("address")) and listens(address),
        "it listens after the restart",
    )
    assert proxied.client().decrypt("payments", sealed).status == 200


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


# ---- key stores that fail --------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(proxied: Proxied) -> Callable[..., XksClient]:
    """A key ``frail`` in a memory store with scripted faults, exposed beside ``payments``."""

    def make(call: str, effect: str, first: int) -> XksClient:
        faults = [{"call": call, "effect": effect, "at": at} for at in range(first, first + 40)]
        store = document("KeyStore", "mem", type="memory", memory={"faults": faults})
        proxied.server.apply("mem", [store])

        def connected() -> bool:
            return proxied.server.ok("GET", "/v1/keystores/mem").get("status", {}).get("connection") == "CONNECTED"

        eventually(connected, "open")
        proxied.server.apply("mem", [store, document("Key", "frail", keyStore="mem")])
        proxied.spec["keys"]["frail"] = {"key": "frail"}
        proxied.put()
        return proxied.client()

    return make


def test_error_codes_a_store_that_does_not_answer_is_a_dependency_timeout_in_time(
    faulty: Callable[..., XksClient],
) -> None:
    client = faulty("encrypt_gcm", "hang", 1)
    began = time.monotonic()
    assert refused(client.encrypt("frail")) == (503, "DependencyTimeoutException")
    assert in_time(began, 2)
    assert client.encrypt("payments").status == 200, "other key stores are not affected"


@pytest.mark.parametrize("effect", ["unavailable", "refuse", "error", "lost-answer"])
def test_error_codes_a_store_that_fails_is_an_internal_exception_without_detail(
    faulty: Callable[..., XksClient], effect: str
) -> None:
    client = faulty("encrypt_gcm", effect, 1)
    answer = client.encrypt("frail")
    assert refused(answer) == (500, "InternalException")
    assert "hunter2" not in answer.body.decode()
    assert "mem" not in answer.json()["errorMessage"]
    assert client.encrypt("payments").status == 200


def test_encrypt_what_cannot_be_proven_is_not_answered(faulty: Callable[..., XksClient]) -> None:
    client = faulty("decrypt_gcm", "refuse", 1)
    assert client.encrypt("frail").status == 200
    asked = client.encrypt("frail", ciphertextDataIntegrityValueAlgorithm="SHA_256")
    assert refused(asked) == (500, "InternalException")


def test_get_health_status_one_store_of_two_is_unavailable(faulty: Callable[..., XksClient]) -> None:
    told = faulty("encrypt_gcm", "unavailable", 0).health().json()["ekmFleetDetails"]
    assert {member["id"]: member["healthStatus"] for member in told} == {"standard": "ACTIVE", "mem": "UNAVAILABLE"}


def test_get_health_status_no_store_left_is_an_error(proxied: Proxied, faulty: Callable[..., XksClient]) -> None:
    faulty("encrypt_gcm", "unavailable", 0)
    proxied.spec["keys"] = {"frail": {"key": "frail"}}
    proxied.put()
    client = proxied.client()
    assert refused(client.health()) == (500, "InternalException")
    assert (proxied.condition("Ready")["status"], proxied.condition("Ready")["reason"]) == ("False", "Unhealthy")
    store = proxied.server.ok("GET", "/v1/keystores/mem")["spec"]
    proxied.server.ok("PUT", "/v1/keystores/mem", document("KeyStore", "mem", **{**store, "connected": False}))
    eventually(lambda: refused(client.health()) == (400, "InvalidStateException"), "it is declared disconnected")
    assert refused(client.encrypt("frail")) == (400, "InvalidStateException")
    assert client.get_metadata("frail").json()["keyStatus"] == "DISABLED"


def test_every_request_is_counted_in_the_metrics(proxied: Proxied) -> None:
    client = proxied.client()
    client.encrypt("payments")
    client.encrypt("nobody")
    text = proxied.server.rest("GET", "/metrics").body.decode()
    assert 'keystead_xks_proxy_requests_total{api="encrypt",error="",proxy="bank"} 1.0' in text
    assert 'keystead_xks_proxy_requests_total{api="encrypt",error="KeyNotFoundException",proxy="bank"} 1.0' in text
    assert 'keystead_xks_proxy_seconds_count{api="encrypt",proxy="bank"} 2.0' in text
