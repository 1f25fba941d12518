"""What a proxy can do to a KMS, really done by a scripted one, as the KMS's clients hear it: AWS's exception each time.

What the plugin makes of each failure is in ``tests/plugins/test_xks_faults.py``; here is what follows for each
operation, for the store as a whole, and for the other key stores.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.harness import Refused, Server, eventually, in_time, refusal
from tests.interop.test_custom_key_stores import described, until
from tests.interop.xks.test_custom_key_stores import External, of_scripted
from tests.xksclient import HOST, b64
from tests.xksproxy import ScriptedProxy

SECOND_HOST = "second.example"
LONG = 30.0
"""So many seconds a slow proxy takes: no call that waits for it ends before."""
ServerMaker = Callable[..., Server]
Change = Callable[[dict[str, Any]], Any]


class Front:
    """A KMS with an external key store on the scripted proxy, which is told to go wrong."""

    def __init__(self, server: Server, proxy: ScriptedProxy, external: External) -> None:
        self.kms = server.kms()
        self.proxy = proxy
        self.external = external
        proxy.keys.add("another")
        self.store = external.connected(self.kms)
        self.key = external.make_key(self.kms, self.store)["KeyId"]
        self.blob = self.encrypt()

    def encrypt(self) -> bytes:
        return bytes(self.kms.encrypt(KeyId=self.key, Plaintext=b"x")["CiphertextBlob"])

    def break_with(self, change: Change) -> None:
        for api in ("health", "metadata", "encrypt", "decrypt"):
            self.proxy.script[api] = change

    def uses(self) -> dict[str, Callable[[], Any]]:
        return {
            "Encrypt": self.encrypt,
            "Decrypt": lambda: self.kms.decrypt(CiphertextBlob=self.blob),
            "GenerateDataKey": lambda: self.kms.generate_data_key(KeyId=self.key, KeySpec="AES_256"),
        }

    def create_key(self) -> Any:
        return self.external.make_key(self.kms, self.store, XksKeyId="another")

    def create_store(self) -> Any:
        asked = self.external.request(CustomKeyStoreName="second", XksProxyUriEndpoint=f"https://{SECOND_HOST}")
        return self.kms.create_custom_key_store(**asked)

    def update_store(self) -> Any:
        return self.kms.update_custom_key_store(
            CustomKeyStoreId=self.store, XksProxyAuthenticationCredential=self.external.credential
        )

    def works(self) -> bool:
        try:
            return self.kms.decrypt(CiphertextBlob=self.encrypt())["Plaintext"] == b"x"
        except self.kms.exceptions.KMSInvalidStateException:
            return False

    def exact(self, operation: str, call: Callable[[], Any]) -> Refused:
        """What the call is refused with; it has to be an exception that the service model has for the operation."""
        told = refusal(call)
        known = {shape.name for shape in self.kms.meta.service_model.operation_model(operation).error_shapes}
        assert told.type in known, (operation, told)
        assert told.status == 400
        return told


def front_of(new_server: ServerMaker, proxy: ScriptedProxy, directory: Path, **settings: Any) -> Front:
    proxy.hang_up()
    proxy.listen(proxy.ca.issue_cert(HOST, SECOND_HOST))
    external = of_scripted(proxy, directory)
    connections = dict.fromkeys((HOST, SECOND_HOST), external.connection)
    return Front(new_server("front", xks_connections=connections, **settings).start(), proxy, external)


@pytest.fixture
def front(new_server: ServerMaker, scripted: ScriptedProxy, tmp_path: Path) -> Front:
    return front_of(new_server, scripted, tmp_path)


def error(status: int, name: str) -> Change:
    return lambda _: (status, json.dumps({"errorName": name, "errorMessage": "said the proxy"}).encode())


STATE = "CustomKeyStoreInvalidStateException"
RESPONSE = "XksProxyInvalidResponseException"
UNREACHABLE = "XksProxyUriUnreachableException"
CREDENTIAL = "XksProxyIncorrectAuthenticationCredentialException"
CONFIGURATION = "XksProxyInvalidConfigurationException"
UNFIT = "XksKeyInvalidConfigurationException"

TABLE: dict[str, tuple[Change, str, str, str]] = {
    "reset": (lambda _: "reset", "cannot be reached", STATE, UNREACHABLE),
    "truncated JSON": (lambda answer: json.dumps(answer).encode()[:-3], "cannot be interpreted", STATE, RESPONSE),
    "500 without a name": (lambda _: (500, b"<html>"), "cannot be interpreted", STATE, RESPONSE),
    "ValidationException": (error(400, "ValidationException"), "cannot be interpreted", STATE, RESPONSE),
    "InvalidStateException": (error(400, "InvalidStateException"), "is not enabled", UNFIT, RESPONSE),
    "InvalidKeyUsageException": (error(400, "InvalidKeyUsageException"), "is not for this operation", UNFIT, RESPONSE),
    "AuthenticationFailedException": (
        error(401, "AuthenticationFailedException"),
        "could not authenticate",
        STATE,
        CREDENTIAL,
    ),
    "AccessDeniedException": (error(403, "AccessDeniedException"), "denied access", STATE, RESPONSE),
    "KeyNotFoundException": (error(404, "KeyNotFoundException"), "is not in its", "XksKeyNotFoundException", RESPONSE),
    "InvalidUriPathException": (error(404, "InvalidUriPathException"), "URI path", STATE, CONFIGURATION),
    "429": (error(429, "ThrottlingException"), "very high request rate", STATE, UNREACHABLE),
    "500": (error(500, "InternalException"), "cannot communicate with its external", STATE, RESPONSE),
    "501": (error(501, "UnsupportedOperationException"), "does not support the operation", STATE, RESPONSE),
    "503": (error(503, "DependencyTimeoutException"), "in the time allotted", STATE, UNREACHABLE),
}
"""The specification's table: what happens, words of the message, the exception of CreateKey, and that of
CreateCustomKeyStore and UpdateCustomKeyStore. A use of a key is refused with KMSInvalidStateException each time."""


def test_error_codes_every_row_of_the_table_is_the_exception_of_each_operation(front: Front) -> None:
    for fault, (change, words, of_create_key, of_stores) in TABLE.items():
        front.break_with(change)
        for operation, call in front.uses().items():
            told = front.exact(operation, call)
            assert (told.type, words in told.message) == ("KMSInvalidStateException", True), (fault, operation, told)
            assert "said the proxy" not in told.message
        assert front.exact("CreateKey", front.create_key).type == of_create_key, fault
        assert front.exact("CreateCustomKeyStore", front.create_store).type == of_stores, fault
        assert front.exact("UpdateCustomKeyStore", front.update_store).type == of_stores, fault
        front.proxy.script.clear()
        eventually(front.works, f"after {fault} it goes on when the proxy does")
    assert len(front.kms.describe_custom_key_stores()["CustomKeyStores"]) == 1
    assert len(front.kms.list_keys()["Keys"]) == 1


def test_encrypt_answers_that_are_wrong_in_a_detail_are_never_taken(front: Front) -> None:
    changes: dict[str, Change] = {
        "wrong tag": lambda answer: {**answer, "authenticationTag": b64(bytes(16))},
        "wrong integrity value": lambda answer: {**answer, "ciphertextDataIntegrityValue": b64(bytes(32))},
        "metadata of 21 bytes": lambda answer: {**answer, "ciphertextMetadata": b64(bytes(21))},
    }
    for fault, change in changes.items():
        front.proxy.script["encrypt"] = change
        for operation in ("Encrypt", "GenerateDataKey"):
            told = front.exact(operation, front.uses()[operation])
            assert (told.type, "cannot be interpreted" in told.message) == ("KMSInvalidStateException", True), fault
        front.proxy.script.clear()
        eventually(front.works, f"after {fault} it goes on when the proxy does")
    front.proxy.script["decrypt"] = lambda _: {"plaintext": b64(bytes(46))}
    assert "is not what was encrypted" in front.exact("Decrypt", front.uses()["Decrypt"]).message


def test_fields_that_nobody_knows_change_nothing(front: Front) -> None:
    front.break_with(lambda answer: {**answer, "somethingNew": {"a": [1]}})
    assert front.works()
    front.create_store()
    front.update_store()


def test_authentication_certificates_and_clocks_that_are_wrong(front: Front) -> None:
    ca = front.proxy.ca
    certificates = {
        "of another authority": trustme.CA().issue_cert(HOST, SECOND_HOST),
        "for another host": ca.issue_cert("elsewhere.example"),
        "expired": ca.issue_cert(HOST, SECOND_HOST, not_after=datetime.now(UTC) - timedelta(days=1)),
    }
    for fault, certificate in certificates.items():
        front.proxy.hang_up()
        front.proxy.listen(certificate)
        for operation, call in front.uses().items():
            told = front.exact(operation, call)
            assert (told.type, "TLS" in told.message) == ("KMSInvalidStateException", True), (fault, operation, told)
        assert front.exact("CreateKey", front.create_key).type == STATE
        assert front.exact("CreateCustomKeyStore", front.create_store).type == UNREACHABLE
    front.proxy.hang_up()
    front.proxy.listen(ca.issue_cert(HOST, SECOND_HOST))
    eventually(front.works, "it goes on with a certificate that is right")
    for minutes in (6, -6):
        front.proxy.clock_offset = timedelta(minutes=minutes)
        assert "both clocks" in front.exact("Encrypt", front.encrypt).message
        assert front.exact("CreateCustomKeyStore", front.create_store).type == CREDENTIAL
        front.proxy.clock_offset = timedelta()
        eventually(front.works, "it goes on with a clock that is right")


def test_kms_considerations_a_slow_proxy_is_given_up_by_every_operation(
    new_server: ServerMaker, scripted: ScriptedProxy, tmp_path: Path
) -> None:
    front = front_of(new_server, scripted, tmp_path, xks_patience=8)
    front.break_with(lambda _: LONG)
    for operation, call, exception in (
        ("Encrypt", front.encrypt, "KMSInvalidStateException"),
        ("CreateKey", front.create_key, STATE),
        ("CreateCustomKeyStore", front.create_store, UNREACHABLE),
    ):
        began = time.monotonic()
        told = front.exact(operation, call)
        assert (told.type, "did not respond in time" in told.message) == (exception, True), (operation, told)
        assert time.monotonic() - began < LONG * 0.8


CODES: dict[str, tuple[Change, str]] = {
    "reset": (lambda _: "reset", "XKS_PROXY_NOT_REACHABLE"),
    "no JSON": (lambda _: b"<html>", "XKS_PROXY_INVALID_RESPONSE"),
    "401": (error(401, "AuthenticationFailedException"), "INVALID_CREDENTIALS"),
    "403": (error(403, "AccessDeniedException"), "XKS_PROXY_ACCESS_DENIED"),
    "404": (error(404, "InvalidUriPathException"), "XKS_PROXY_INVALID_CONFIGURATION"),
    "503": (error(503, "DependencyTimeoutException"), "XKS_PROXY_TIMED_OUT"),
}


def test_a_connection_that_fails_says_why_in_its_error_code(front: Front) -> None:
    kms, store = front.kms, front.store

    def disconnect() -> None:
        kms.disconnect_custom_key_store(CustomKeyStoreId=store)
        until(kms, store, "DISCONNECTED")

    disconnect()
    for fault, (change, code) in CODES.items():
        front.proxy.script["health"] = change
        kms.connect_custom_key_store(CustomKeyStoreId=store)
        assert until(kms, store, "FAILED")["ConnectionErrorCode"] == code, fault
        assert refusal(front.encrypt).type == "KMSInvalidStateException"
        assert refusal(kms.connect_custom_key_store, CustomKeyStoreId=store).type == STATE
        disconnect()
        assert "ConnectionErrorCode" not in described(kms, store)
    front.proxy.script.clear()
    front.proxy.hang_up()
    front.proxy.listen(trustme.CA().issue_cert(HOST))
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    assert until(kms, store, "FAILED")["ConnectionErrorCode"] == "XKS_PROXY_INVALID_TLS_CONFIGURATION"
    front.proxy.hang_up()
    front.proxy.listen(front.proxy.ca.issue_cert(HOST))
    disconnect()
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    assert front.works()


def test_error_codes_a_name_that_does_not_resolve_is_a_proxy_that_cannot_be_reached(
    new_server: ServerMaker, scripted: ScriptedProxy, tmp_path: Path
) -> None:
    names = tmp_path / "names"
    names.write_text("proxy.test 127.0.0.1")
    external = of_scripted(scripted, tmp_path)
    external.connection["address"] = "proxy.test"
    connections = dict.fromkeys((HOST, SECOND_HOST), external.connection)
    made = new_server("front", xks_connections=connections, names_in=str(names))
    front = Front(made.start(), scripted, external)
    kms, store = front.kms, front.store

    names.write_text("")
    scripted.hang_up()
    scripted.listen()
    for operation, call in front.uses().items():
        told = front.exact(operation, call)
        assert (told.type, "cannot be reached" in told.message) == ("KMSInvalidStateException", True), told
    for operation, call, exception in (
        ("CreateKey", front.create_key, STATE),
        ("CreateCustomKeyStore", front.create_store, UNREACHABLE),
        ("UpdateCustomKeyStore", front.update_store, UNREACHABLE),
    ):
        told = front.exact(operation, call)
        assert (told.type, "cannot be reached" in told.message) == (exception, True), told
    assert len(kms.describe_custom_key_stores()["CustomKeyStores"]) == 1

    names.write_text("proxy.test 127.0.0.1")
    eventually(front.works, "it goes on once the name resolves again")
    assert described(kms, store)["ConnectionState"] == "CONNECTED"
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "DISCONNECTED")
    names.write_text("")
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    assert until(kms, store, "FAILED")["ConnectionErrorCode"] == "XKS_PROXY_NOT_REACHABLE"
    assert front.exact("Encrypt", front.encrypt).type == "KMSInvalidStateException"


# ---- the breaker -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[ScriptedProxy]:
    proxy = ScriptedProxy()
    proxy.hang_up()
    proxy.listen(proxy.ca.issue_cert("sound.example"))
    yield proxy
    proxy.close()


@pytest.mark.parametrize("fault", ["500", "reset", "truncated JSON"])
def test_the_breaker_opens_within_5_failures_costs_nobody_else_and_closes_after_recovery(
    fault: str, new_server: ServerMaker, scripted: ScriptedProxy, sound: ScriptedProxy, tmp_path: Path
) -> None:
    (tmp_path / "sound").mkdir()
    bad, good = of_scripted(scripted, tmp_path), of_scripted(sound, tmp_path / "sound")
    server = new_server("front", xks_connections={HOST: bad.connection, "sound.example": good.connection}).start()
    front = Front(server, scripted, bad)
    kms = front.kms
    there = {"CustomKeyStoreName": "sound", "XksProxyUriEndpoint": "https://sound.example"}
    others = [kms.create_key()["KeyMetadata"]["KeyId"], good.make_key(kms, good.connected(kms, **there))["KeyId"]]

    change, words, *_ = TABLE[fault]
    front.break_with(change)
    before, began = scripted.counts["encrypt"], time.monotonic()
    for _ in range(30):
        told = front.exact("Encrypt", front.encrypt)
        assert (told.type, words in told.message) == ("KMSInvalidStateException", True), "while it is open, too"
        for key in others:
            kms.encrypt(KeyId=key, Plaintext=b"x")
    tries = 2 if fault == "reset" else 1  # a connection that breaks may have been a stale one: it is tried once more
    asked, looks = (scripted.counts["encrypt"] - before) / tries, time.monotonic() - began
    assert asked <= 5 + looks + 1, "after 5 failures the proxy is asked once a second at most"

    front.proxy.script.clear()
    recovered = time.monotonic()
    eventually(front.works, "it closes after recovery", seconds=30)
    assert in_time(recovered, 5)
    for _ in range(10):
        front.encrypt()
