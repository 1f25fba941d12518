"""What a proxy can do to us, really done by a scripted one: the exact failure each time, never after the budget."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from plugins.sdk import (
    Algorithm,
    CallInfo,
    CredentialsRefused,
    InvalidCiphertext,
    KeptSecretSource,
    KeySpec,
    KeyStoreError,
    MaterialNotFound,
    MaterialRef,
    Misconfigured,
    PluginContext,
    ProxyFault,
    Refused,
    Unavailable,
    reset_call_info,
    set_call_info,
)
from plugins.sdk.conformance import MemoryState
from plugins.software import FileRootKey, SoftwareKeyStore, SoftwareOptions
from plugins.xks import XksKeyStore, XksOptions
from plugins.xks.options import XksClientCertificate, XksCredentialOptions
from tests.harness import eventually
from tests.xksclient import HOST, b64
from tests.xksproxy import ACCESS_KEY_ID, KEY, PATH, SECRET, ScriptedProxy

SYMMETRIC = Algorithm.SYMMETRIC_DEFAULT
ARN = "arn:aws:kms:eu-central-1:000000000000:key/a"
KMS_WAITS = 250
PATIENT = 10_000
"""Milliseconds. Only where the time is what a test is about does it wait as long as KMS: a machine that runs many tests
at once takes longer for what is right, too."""
LONG = 30.0
"""A slow proxy takes so many seconds; a call that ends in a third of that was stopped by its budget."""


@pytest.fixture
def proxy() -> Iterator[ScriptedProxy]:
    proxy = ScriptedProxy()
    yield proxy
    proxy.close()


class Store:
    """An external key store on the scripted proxy."""

    def __init__(self, proxy: ScriptedProxy, directory: Path) -> None:
        self.proxy = proxy
        self.directory = directory
        secret = directory / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        self.options = XksOptions(
            uri_endpoint=f"https://{HOST}",
            uri_path=PATH,
            port=proxy.port,
            authority=proxy.write_ca(directory),
            credential=XksCredentialOptions(
                access_key_id=ACCESS_KEY_ID, secret=KeptSecretSource(from_file=str(secret))
            ),
            timeout_milliseconds=PATIENT,
        )
        self.time: Callable[[], float] = time.time
        self.inner = MemoryState()
        self.plugins: list[XksKeyStore] = []

    async def open(self, **changes: Any) -> XksKeyStore:
        root_key = FileRootKey(path=str(self.directory / "root.key"))
        inner = SoftwareKeyStore(SoftwareOptions(root_key=root_key), PluginContext("standard", self.inner, time.time))
        if not (self.directory / "root.key").exists():
            await inner.provision()
        await inner.open()
        context = PluginContext("external", MemoryState(), lambda: self.time(), inner=inner)
        self.plugin = XksKeyStore(msgspec.structs.replace(self.options, **changes), context)
        self.plugins.append(self.plugin)
        await self.plugin.open()
        return self.plugin

    async def hasten(self) -> XksKeyStore:
        """The same store as one that waits as long as KMS. Opening it takes more than one attempt on a busy machine."""
        for _ in range(100):
            try:
                return await self.open(timeout_milliseconds=KMS_WAITS)
            except Unavailable as late:
                assert late.reason in (ProxyFault.TIMED_OUT, ProxyFault.UNREACHABLE), late
        pytest.fail("the scripted proxy did not answer in time in any of 100 attempts")

    async def key(self) -> MaterialRef:
        ref = MaterialRef("keystead:a:1", ARN, "11" * 32, KeySpec.SYMMETRIC_DEFAULT, external_id=KEY)
        made = await self.plugin.create(ref)
        return msgspec.structs.replace(ref, token=made.token)


@pytest.fixture
async def store(proxy: ScriptedProxy, tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(proxy, tmp_path)
    yield store
    for plugin in store.plugins:
        await plugin.close()


async def failure(call: Any) -> KeyStoreError:
    """What the call fails with, long before a slow proxy answers."""
    with pytest.raises(KeyStoreError) as caught:
        async with asyncio.timeout(LONG / 3 + PATIENT / 1000):
            await call
    return caught.value


def without(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != name}


def error(status: int, name: str) -> Callable[[Any], tuple[int, bytes]]:
    return lambda _: (status, msgspec.json.encode({"errorName": name, "errorMessage": "said the proxy"}))


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], type[KeyStoreError], ProxyFault]] = {
    "reset": (lambda _: "reset", Unavailable, ProxyFault.UNREACHABLE),
    "truncated JSON": (lambda answer: msgspec.json.encode(answer)[:-3], Unavailable, ProxyFault.INVALID_RESPONSE),
    "no JSON": (lambda _: b"<html>", Unavailable, ProxyFault.INVALID_RESPONSE),
    "no object": (lambda _: b"[]", Unavailable, ProxyFault.INVALID_RESPONSE),
    "empty": (lambda _: b"", Unavailable, ProxyFault.INVALID_RESPONSE),
    "endless": (lambda _: b'{"a":"' + b"a" * 1_000_000 + b'"}', Unavailable, ProxyFault.INVALID_RESPONSE),
    "redirect": (lambda _: (302, b""), Unavailable, ProxyFault.INVALID_RESPONSE),
    "429 without a name": (lambda _: (429, b"slow down"), Unavailable, ProxyFault.INVALID_RESPONSE),
    "503 without a name": (lambda _: (503, b"<html>"), Unavailable, ProxyFault.INVALID_RESPONSE),
    "500 without a name": (lambda _: (500, b""), Unavailable, ProxyFault.INVALID_RESPONSE),
    "a name that is none": (error(500, "Oops"), Unavailable, ProxyFault.INVALID_RESPONSE),
    "429": (error(429, "ThrottlingException"), Unavailable, ProxyFault.THROTTLED),
    "503": (error(503, "DependencyTimeoutException"), Unavailable, ProxyFault.DEPENDENCY_TIMEOUT),
    "500": (error(500, "InternalException"), Unavailable, ProxyFault.INTERNAL),
    "501": (error(501, "UnsupportedOperationException"), Refused, ProxyFault.UNSUPPORTED_OPERATION),
    "404 key": (error(404, "KeyNotFoundException"), MaterialNotFound, ProxyFault.KEY_NOT_FOUND),
    "404 path": (error(404, "InvalidUriPathException"), Misconfigured, ProxyFault.INVALID_URI_PATH),
    "403": (error(403, "AccessDeniedException"), Refused, ProxyFault.ACCESS_DENIED),
    "401": (error(401, "AuthenticationFailedException"), CredentialsRefused, ProxyFault.AUTHENTICATION_FAILED),
    "400 state": (error(400, "InvalidStateException"), Refused, ProxyFault.INVALID_STATE),
    "400 usage": (error(400, "InvalidKeyUsageException"), Refused, ProxyFault.INVALID_KEY_USAGE),
    "400 validation": (error(400, "ValidationException"), Unavailable, ProxyFault.INVALID_RESPONSE),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("api", ["health", "metadata", "encrypt", "decrypt"])
async def test_error_codes_every_failure_of_every_api_is_told_exactly_and_in_time(
    store: Store, api: str, fault: str
) -> None:
    plugin = await store.open()
    ref = await store.key()
    blob = await plugin.encrypt(ref, SYMMETRIC, b"plaintext", b"")
    change, kind, reason = FAULTS[fault]
    store.proxy.script[api] = change
    calls: dict[str, Callable[[], Any]] = {
        "health": plugin.probe,
        "metadata": lambda: plugin.find_external(KEY),
        "encrypt": lambda: plugin.encrypt(ref, SYMMETRIC, b"plaintext", b""),
        "decrypt": lambda: plugin.decrypt(ref, SYMMETRIC, blob, b""),
    }
    told = await failure(calls[api]())
    assert (type(told), told.reason) == (kind, reason)
    assert "said the proxy" not in told.message
    store.proxy.script.clear()
    assert await plugin.decrypt(ref, SYMMETRIC, blob, b"") == b"plaintext", "and it goes on when the proxy does"


@pytest.mark.parametrize("api", ["health", "metadata", "encrypt", "decrypt"])
async def test_kms_considerations_a_slow_proxy_costs_the_budget_and_no_more(store: Store, api: str) -> None:
    patient = await store.open()
    ref = await store.key()
    blob = await patient.encrypt(ref, SYMMETRIC, b"plaintext", b"")
    plugin = await store.hasten()
    store.proxy.script[api] = lambda _: LONG
    calls: dict[str, Callable[[], Any]] = {
        "health": plugin.probe,
        "metadata": lambda: plugin.find_external(KEY),
        "encrypt": lambda: plugin.encrypt(ref, SYMMETRIC, b"plaintext", b""),
        "decrypt": lambda: plugin.decrypt(ref, SYMMETRIC, blob, b""),
    }
    began = time.monotonic()
    told = await failure(calls[api]())
    assert (type(told), told.reason) == (Unavailable, ProxyFault.TIMED_OUT)
    assert time.monotonic() - began < LONG / 3
    store.proxy.script.clear()
    assert await patient.decrypt(ref, SYMMETRIC, blob, b"") == b"plaintext", "and it goes on when the proxy does"


def test_kms_considerations_a_budget_is_never_longer_than_kms_waits() -> None:
    """What operators declare; the tests of right answers go around it."""
    options = {"uriEndpoint": f"https://{HOST}", "uriPath": PATH}
    credential = {"credential": {"accessKeyId": ACCESS_KEY_ID, "secret": {"fromEnv": "X"}}}
    assert msgspec.convert({**options, **credential}, XksOptions).budget == KMS_WAITS / 1000
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**options, **credential, "timeoutMilliseconds": KMS_WAITS + 1}, XksOptions)


ENCRYPT_FAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "wrong integrity value": lambda answer: {**answer, "ciphertextDataIntegrityValue": b64(bytes(32))},
    "no integrity value": lambda answer: without(answer, "ciphertextDataIntegrityValue"),
    "wrong tag": lambda answer: {**answer, "authenticationTag": b64(bytes(16))},
    "short tag": lambda answer: {**answer, "authenticationTag": b64(bytes(12))},
    "no tag": lambda answer: without(answer, "authenticationTag"),
    "metadata of 21 bytes": lambda answer: {**answer, "ciphertextMetadata": b64(bytes(21))},
    "IV of 13 bytes": lambda answer: {**answer, "initializationVector": b64(bytes(13))},
    "no Base64": lambda answer: {**answer, "ciphertext": "a-_k"},
    "ciphertext of another length": lambda answer: {**answer, "ciphertext": answer["ciphertext"] + "AAAA"},
}


@pytest.mark.parametrize("fault", ENCRYPT_FAULTS)
async def test_encrypt_an_answer_that_could_not_be_decrypted_is_never_taken(store: Store, fault: str) -> None:
    plugin = await store.open()
    ref = await store.key()
    store.proxy.script["encrypt"] = ENCRYPT_FAULTS[fault]
    told = await failure(plugin.encrypt(ref, SYMMETRIC, b"plaintext", b""))
    assert told.reason == ProxyFault.INVALID_RESPONSE


async def test_encrypt_metadata_of_21_bytes_with_a_right_integrity_value_is_refused(store: Store) -> None:
    import base64
    import hashlib

    plugin = await store.open()
    ref = await store.key()

    def longer(answer: dict[str, Any]) -> dict[str, Any]:
        aad = store.proxy.heard[-1][1]["additionalAuthenticatedData"]
        names = ("initializationVector", "ciphertext", "authenticationTag")
        parts = [aad, b64(bytes(21)), *(answer[name] for name in names)]
        value = hashlib.sha256(b"".join(map(base64.b64decode, parts))).digest()
        return {**answer, "ciphertextMetadata": b64(bytes(21)), "ciphertextDataIntegrityValue": b64(value)}

    store.proxy.script["encrypt"] = longer
    assert (await failure(plugin.encrypt(ref, SYMMETRIC, b"x", b""))).reason == ProxyFault.INVALID_RESPONSE


async def test_fields_that_nobody_knows_are_let_through(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    for api in ("health", "metadata", "encrypt", "decrypt"):
        store.proxy.script[api] = lambda answer: {**answer, "somethingNew": {"a": [1]}}
    assert (await plugin.probe()).healthy
    assert (await plugin.find_external(KEY)).enabled
    blob = await plugin.encrypt(ref, SYMMETRIC, b"plaintext", b"aad")
    assert await plugin.decrypt(ref, SYMMETRIC, blob, b"aad") == b"plaintext"


@pytest.mark.parametrize("plaintext", [b"", b"x" * 5, b"x" * 54])
async def test_decrypt_a_proxy_that_decrypts_to_something_else_is_found_out(store: Store, plaintext: bytes) -> None:
    plugin = await store.open()
    ref = await store.key()
    blob = await plugin.encrypt(ref, SYMMETRIC, b"plaintext", b"")
    store.proxy.script["decrypt"] = lambda _: {"plaintext": b64(plaintext)}
    told = await failure(plugin.decrypt(ref, SYMMETRIC, blob, b""))
    expected = ProxyFault.WRONG_PLAINTEXT if len(plaintext) == 54 else ProxyFault.INVALID_RESPONSE
    assert told.reason == expected


async def test_error_codes_what_the_proxy_does_not_decrypt_is_an_invalid_ciphertext(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    blob = await plugin.encrypt(ref, SYMMETRIC, b"plaintext", b"")
    told = await failure(plugin.decrypt(ref, SYMMETRIC, blob[:-1] + bytes((blob[-1] ^ 1,)), b""))
    assert isinstance(told, InvalidCiphertext)
    assert told.reason == ProxyFault.INVALID_CIPHERTEXT


HEALTH_FAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no fleet": lambda answer: {**answer, "ekmFleetDetails": []},
    "eleven": lambda answer: {**answer, "ekmFleetDetails": answer["ekmFleetDetails"] * 11},
    "size 0": lambda answer: {**answer, "xksProxyFleetSize": 0},
    "size 1.5": lambda answer: {**answer, "xksProxyFleetSize": 1.5},
    "another status": lambda answer: {
        **answer,
        "ekmFleetDetails": [{**answer["ekmFleetDetails"][0], "healthStatus": "FINE"}],
    },
    "no vendor": lambda answer: without(answer, "xksProxyVendor"),
}


@pytest.mark.parametrize("fault", HEALTH_FAULTS)
async def test_get_health_status_an_answer_that_is_none_opens_no_store(store: Store, fault: str) -> None:
    store.proxy.script["health"] = HEALTH_FAULTS[fault]
    assert (await failure(store.open())).reason == ProxyFault.INVALID_RESPONSE


@pytest.mark.parametrize("status", ["DEGRADED", "UNAVAILABLE"])
async def test_get_health_status_tells_which_key_manager_is_not_well_while_another_serves(
    store: Store, status: str
) -> None:
    plugin = await store.open()
    store.proxy.script["health"] = lambda answer: {
        **answer,
        "ekmFleetDetails": [*answer["ekmFleetDetails"], {"id": "hsm-2", "model": "m", "healthStatus": status}],
    }
    health = await plugin.probe()
    assert (health.healthy, health.level) == (True, "DEGRADED")
    assert f"hsm-2 is {status}" in health.detail


async def test_what_a_proxy_calls_its_managers_is_told_short_and_printable(store: Store) -> None:
    plugin = await store.open()
    member = {"id": "\x1b[2J" + "i" * 20_000, "model": "m", "healthStatus": "DEGRADED"}
    store.proxy.script["health"] = lambda answer: {
        **answer,
        "xksProxyModel": "\u202e\n" + "m" * 20_000,
        "ekmFleetDetails": [member],
    }
    health = await plugin.probe()
    told = (health.detail, *(text for each in health.members for text in (each.name, each.detail)))
    assert all(text.isprintable() and len(text) < 300 for text in told)
    assert health.members[0].name.startswith("?[2Jiii")


async def test_get_health_status_without_a_manager_that_serves_opens_no_store(store: Store) -> None:
    plugin = await store.open()
    store.proxy.script["health"] = lambda answer: {
        **answer,
        "ekmFleetDetails": [{**answer["ekmFleetDetails"][0], "healthStatus": "UNAVAILABLE"}],
    }
    health = await plugin.probe()
    assert (health.healthy, health.level) == (False, "UNAVAILABLE")
    assert (await failure(store.open())).reason == ProxyFault.MANAGERS_UNAVAILABLE


async def test_health_has_the_certificate_and_the_latencies(store: Store) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)
    store.proxy.hang_up()
    store.proxy.listen(store.proxy.ca.issue_cert(HOST, not_after=ends))
    health = await (await store.open()).probe()
    assert health.certificate_expires_at == ends.timestamp()
    assert health.latency is not None
    assert 0 < health.latency.p50 <= health.latency.p99 <= health.latency.limit == PATIENT / 1000


METADATA_FAULTS = [
    {"keySpec": "AES_128"},
    {"keyUsage": ["ENCRYPT"]},
    {"keyUsage": ["DECRYPT", "SIGN"]},
    {"keyStatus": "DISABLED"},
]


@pytest.mark.parametrize("change", METADATA_FAULTS)
async def test_get_key_metadata_a_key_that_is_not_fit_makes_no_material(store: Store, change: dict[str, Any]) -> None:
    await store.open()
    store.proxy.key_metadata |= change
    assert (await failure(store.key())).reason == ProxyFault.UNFIT_KEY
    assert store.proxy.counts["encrypt"] == 0


async def test_get_key_metadata_more_usages_than_ours_are_fine_and_more_than_ten_are_not(store: Store) -> None:
    plugin = await store.open()
    store.proxy.key_metadata["keyUsage"] = ["ENCRYPT", "DECRYPT", "DERIVE", "SIGN", "VERIFY", "WRAP", "UNWRAP"]
    assert (await store.key()).token
    store.proxy.key_metadata["keyUsage"] = ["ENCRYPT", "DECRYPT"] * 6
    assert (await failure(plugin.find_external(KEY))).reason == ProxyFault.INVALID_RESPONSE


# ---- TLS, addresses, clocks ------------------------------------------------------------------------------------------


async def certificate_fault(store: Store, certificate: trustme.LeafCert) -> ProxyFault:
    store.proxy.hang_up()
    store.proxy.listen(certificate)
    return ProxyFault((await failure(store.open())).reason)


async def test_authentication_a_certificate_of_another_authority_is_refused(store: Store) -> None:
    assert await certificate_fault(store, trustme.CA().issue_cert(HOST)) is ProxyFault.TLS_FAILED


async def test_authentication_a_certificate_for_another_host_is_refused(store: Store) -> None:
    assert await certificate_fault(store, store.proxy.ca.issue_cert("elsewhere.example")) is ProxyFault.TLS_FAILED


async def test_authentication_an_expired_certificate_is_refused(store: Store) -> None:
    expired = store.proxy.ca.issue_cert(HOST, not_after=datetime.now(UTC) - timedelta(days=1))
    assert await certificate_fault(store, expired) is ProxyFault.TLS_FAILED


async def test_authentication_a_proxy_that_wants_a_certificate_gets_ours_and_without_one_there_is_no_connection(
    store: Store, tmp_path: Path
) -> None:
    clients = trustme.CA()
    store.proxy.hang_up()
    store.proxy.listen(client_ca=clients)
    assert (await failure(store.open())).reason in (ProxyFault.TLS_FAILED, ProxyFault.UNREACHABLE)
    leaf = clients.issue_cert(common_name="cks.kms.eu-central-1.amazonaws.com")
    certificate, key = tmp_path / "client.crt", tmp_path / "client.key"
    leaf.private_key_pem.write_to_path(str(key))
    leaf.cert_chain_pems[0].write_to_path(str(certificate))
    await store.open(client=XksClientCertificate(certificate=str(certificate), key=str(key)))


async def test_files_that_are_no_certificates_are_named(store: Store, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for change in (
        {"authority": str(wrong)},
        {"authority": str(tmp_path / "none.pem")},
        {"client": XksClientCertificate(certificate=str(wrong), key=str(wrong))},
    ):
        with pytest.raises(Misconfigured, match=r"cannot be used"):
            await store.open(**change)


async def test_a_name_that_does_not_resolve_is_unreachable(store: Store) -> None:
    told = await failure(store.open(uri_endpoint="https://no-such-host.invalid"))
    assert told.reason == ProxyFault.UNREACHABLE


async def test_a_name_server_that_hangs_costs_the_budget_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_: Any, **__: Any) -> Any:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)
        raise socket.gaierror("late")

    monkeypatch.setattr("plugins.xks.connecting.socket.getaddrinfo", hang)
    told = await failure(store.open(timeout_milliseconds=KMS_WAITS))
    assert told.reason == ProxyFault.UNREACHABLE, "KMS tells apart what it cannot connect to and what does not answer"
    release.set()


async def test_a_host_that_drops_what_is_sent_to_it_is_unreachable_within_the_budget(store: Store) -> None:
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # nobody accepts them, and when the queue is full the kernel drops what comes next
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        told = await failure(store.open(port=full.getsockname()[1], timeout_milliseconds=KMS_WAITS))
        assert told.reason == ProxyFault.UNREACHABLE


async def test_nothing_listening_is_unreachable(store: Store) -> None:
    store.proxy.hang_up()
    assert (await failure(store.open())).reason == ProxyFault.UNREACHABLE


async def test_a_port_that_accepts_and_says_nothing_costs_the_budget(store: Store) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        told = await failure(store.open(port=mute.getsockname()[1], timeout_milliseconds=KMS_WAITS))
        assert told.reason == ProxyFault.TIMED_OUT


@pytest.mark.parametrize("minutes", [6, -6])
async def test_appendix_a_a_clock_six_minutes_off_fails_authentication(store: Store, minutes: int) -> None:
    store.time = lambda: time.time() + minutes * 60
    assert (await failure(store.open())).reason == ProxyFault.AUTHENTICATION_FAILED
    store.time = time.time
    await store.open()


async def test_authentication_a_wrong_secret_fails(store: Store) -> None:
    store.proxy.credentials[ACCESS_KEY_ID] = SECRET[:-3] + "x=="
    assert (await failure(store.open())).reason == ProxyFault.AUTHENTICATION_FAILED


# ---- connections -----------------------------------------------------------------------------------------------------


async def test_connections_are_kept_and_a_closed_one_is_replaced_without_a_failure(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    for _ in range(5):
        await plugin.encrypt(ref, SYMMETRIC, b"x", b"")
    assert store.proxy.connections == 1
    store.proxy.hang_up()
    store.proxy.listen()
    await plugin.encrypt(ref, SYMMETRIC, b"x", b"")
    assert store.proxy.connections == 2


async def test_a_reset_is_retried_once_and_no_more(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    store.proxy.script["encrypt"] = lambda _: "reset"
    before = store.proxy.counts["encrypt"]
    await failure(plugin.encrypt(ref, SYMMETRIC, b"x", b""))
    assert store.proxy.counts["encrypt"] - before <= 2


async def test_more_requests_than_connections_wait_and_all_end_within_the_budget(store: Store) -> None:
    await store.open()
    ref = await store.key()
    plugin = await store.open(max_connections=2, timeout_milliseconds=3_000)
    store.proxy.script["encrypt"] = lambda _: LONG  # two are sent, two wait for a connection, the others are refused
    before, began = store.proxy.connections, time.monotonic()
    ended = await asyncio.gather(
        *(plugin.encrypt(ref, SYMMETRIC, b"x", b"") for _ in range(20)), return_exceptions=True
    )
    assert time.monotonic() - began < LONG / 3
    reasons = [getattr(each, "reason", "succeeded") for each in ended]
    assert sorted(set(reasons)) == [ProxyFault.THROTTLED, ProxyFault.TIMED_OUT]
    assert reasons.count(ProxyFault.TIMED_OUT) == 4
    assert store.proxy.connections - before <= 4


async def test_closing_lets_running_requests_end(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    store.proxy.script["encrypt"] = lambda _: 0.1
    running = asyncio.ensure_future(plugin.encrypt(ref, SYMMETRIC, b"x", b""))
    await asyncio.to_thread(eventually, lambda: store.proxy.counts["encrypt"], "the proxy has the request")
    await plugin.close()
    assert await running


# ---- requestMetadata -------------------------------------------------------------------------------------------------


async def test_appendix_b_request_metadata_is_complete_and_true(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    info = CallInfo("GenerateDataKey", "arn:aws:iam::000000000000:user/ana", "r-1", "ebs", "vpc-1", "vpce-1")
    token = set_call_info(info)
    try:
        blob = await plugin.encrypt(ref, SYMMETRIC, b"x", b"")
        await plugin.decrypt(ref, SYMMETRIC, blob, b"")
    finally:
        reset_call_info(token)
    expected = {
        "awsPrincipalArn": "arn:aws:iam::000000000000:user/ana",
        "awsSourceVpc": "vpc-1",
        "awsSourceVpce": "vpce-1",
        "kmsKeyArn": ARN,
        "kmsOperation": "GenerateDataKey",
        "kmsRequestId": "r-1",
        "kmsViaService": "ebs",
    }
    assert [told["requestMetadata"] for _, told in store.proxy.heard[-2:]] == [expected, expected]


async def test_what_no_request_caused_says_so(store: Store) -> None:
    plugin = await store.open()
    await store.key()
    await plugin.probe()
    told = {api: body["requestMetadata"] for api, body in store.proxy.heard}
    assert told["metadata"]["awsPrincipalArn"] == "arn:aws:iam::000000000000:root"
    assert told["metadata"]["kmsOperation"] == "CreateKey"
    assert "kmsKeyArn" not in told["metadata"]
    assert set(told["health"]) == {"kmsOperation", "kmsRequestId"}
    assert [body["requestMetadata"]["kmsOperation"] for api, body in store.proxy.heard if api == "health"] == [
        "ConnectCustomKeyStore",
        "KmsHealthCheck",
    ]


async def test_the_proxy_sees_neither_the_plaintext_nor_the_encryption_context(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    await plugin.encrypt(ref, SYMMETRIC, b"the plaintext itself", b"the context itself")
    seen = msgspec.json.encode(store.proxy.heard[-1][1])
    for secret in (b"the plaintext itself", b"the context itself"):
        assert b64(secret)[:-4].encode() not in seen


async def test_api_content_type_tls_1_2_is_the_least(store: Store) -> None:
    from plugins.xks.connecting import tls_context

    assert tls_context(store.options, lambda: None, lambda _: None).minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls_context(store.options, lambda: None, lambda _: None).check_hostname
