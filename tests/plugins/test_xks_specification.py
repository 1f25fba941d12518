"""The KMS side against the specification (AWS KMS External Key Store Proxy API 1.0.3): what it asks, and what it takes.

Each name has the section that it is about. What follows from wrong answers is in ``test_xks_faults``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controlplane.api.kms.external_keys import check_uri
from controlplane.api.kms.shapes.base import XksKeyIdType
from controlplane.errors import InvalidInput
from controlplane.schema.documents import check, parse
from plugins.sdk import KeyStoreError, Misconfigured
from plugins.xks import XksOptions, wire
from tests.harness import document
from tests.plugins.test_xks_faults import KEY, SYMMETRIC, Store
from tests.xksclient import HOST
from tests.xksproxy import ACCESS_KEY_ID, PATH, ScriptedProxy

OPTIONS = {
    "uriEndpoint": f"https://{HOST}",
    "uriPath": PATH,
    "credential": {"accessKeyId": ACCESS_KEY_ID, "secret": {"fromEnv": "X"}},
}


@pytest.fixture
def proxy() -> Iterator[ScriptedProxy]:
    proxy = ScriptedProxy()
    yield proxy
    proxy.close()


@pytest.fixture
async def store(proxy: ScriptedProxy, tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(proxy, tmp_path)
    yield store
    for plugin in store.plugins:
        await plugin.close()


async def use_every_api(store: Store) -> None:
    plugin = await store.open()
    ref = await store.key()
    blob = await plugin.encrypt(ref, SYMMETRIC, b"plaintext", b"aad")
    assert await plugin.decrypt(ref, SYMMETRIC, blob, b"aad") == b"plaintext"


async def test_api_content_type_every_request_is_a_post_of_json_without_a_query(store: Store) -> None:
    await use_every_api(store)
    assert {line for line, _ in store.proxy.requests} == {
        f"POST {PATH}/health HTTP/1.1",
        *(f"POST {PATH}/keys/{KEY}/{api} HTTP/1.1" for api in ("metadata", "encrypt", "decrypt")),
    }
    assert {headers["content-type"] for _, headers in store.proxy.requests} == {"application/json"}


async def test_appendix_a_every_request_signs_host_and_date_for_the_service(store: Store) -> None:
    await use_every_api(store)
    for _, headers in store.proxy.requests:
        assert headers["host"] == f"{HOST}:{store.proxy.port}"
        algorithm, _, rest = headers["authorization"].partition(" ")
        credential, signed, signature = rest.split(", ")
        assert algorithm == "AWS4-HMAC-SHA256"
        assert credential.startswith(f"Credential={ACCESS_KEY_ID}/{headers['x-amz-date'][:8]}/")
        assert credential.endswith("/kms-xks-proxy/aws4_request")
        assert signed == "SignedHeaders=host;x-amz-date"
        assert len(signature) == len("Signature=") + 64


async def test_encrypt_and_decrypt_name_the_algorithms_and_give_back_what_was_answered(store: Store) -> None:
    answers: list[dict[str, Any]] = []
    store.proxy.script["encrypt"] = lambda answer: answers.append(answer) or answer
    await use_every_api(store)
    asked = [told for api, told in store.proxy.heard if api == "encrypt"][-1]
    given = [told for api, told in store.proxy.heard if api == "decrypt"][-1]
    assert asked["encryptionAlgorithm"] == given["encryptionAlgorithm"] == "AES_GCM"
    assert asked["ciphertextDataIntegrityValueAlgorithm"] == "SHA_256"
    assert asked["additionalAuthenticatedData"] == given["additionalAuthenticatedData"]
    names = ("ciphertext", "ciphertextMetadata", "initializationVector", "authenticationTag")
    assert {name: given[name] for name in names} == {name: answers[-1][name] for name in names}


@pytest.mark.parametrize("told", [None, b"", b"m" * 20])
@pytest.mark.parametrize("length", [12, 16])
def test_encrypt_takes_an_iv_of_12_or_16_bytes_and_metadata_of_up_to_20(length: int, told: bytes | None) -> None:
    iv, tag = b"i" * length, b"t" * 16
    value = hashlib.sha256(b"aad" + (told or b"") + iv + b"c" + tag).digest()
    wire.check_encrypted(wire.Encrypted(b"c", iv, tag, value, told), b"p", b"aad")
    with pytest.raises(KeyStoreError):
        wire.check_encrypted(wire.Encrypted(b"c", iv, tag, value[::-1], told), b"p", b"aad")


def test_api_operations_a_uri_path_is_at_most_128_characters_of_the_named_set() -> None:
    end = "/kms/xks/v1"
    for good in (end, "/aZ0-_/b" + end, "/" + "a" * (127 - len(end)) + end):
        assert msgspec.convert({**OPTIONS, "uriPath": good}, XksOptions).uri_path == good
    for bad in ("/" + "a" * (128 - len(end)) + end, "/a.b" + end, "/a b" + end, "/ä" + end, end + "?", "", end + "\n"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**OPTIONS, "uriPath": bad}, XksOptions)


def test_api_operations_a_uri_has_at_most_256_characters() -> None:
    host, path = "https://" + "h" * 82, "/kms/xks/v1"
    options = {"uriEndpoint": host, "uriPath": "/" + "p" * (128 - len(path) - 1) + path}
    room = 256 - len(host) - 128 - len("/keys//metadata")
    check_uri(options, "k" * room)
    with pytest.raises(InvalidInput, match="257 characters; at most 256"):
        check_uri(options, "k" * (room + 1))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1.", "127.1", "2130706433", "0x7f000001", "0X7F.0.0.1", "0177.0.0.01", "0x", "a.1"]
)
def test_api_operations_a_server_is_a_fully_qualified_domain_name_rather_than_an_ip_address(host: str) -> None:
    endpoint = f"https://{host}"
    with pytest.raises(Misconfigured, match="IP address; name the domain"):
        msgspec.convert({**OPTIONS, "uriEndpoint": endpoint}, XksOptions).check()
    stated = document("KeyStore", "bank", type="xks", xks={**OPTIONS, "uriEndpoint": endpoint})
    located, _ = parse(json.dumps(stated), file="bank.json", format="json")
    (problem,) = check(located)
    assert problem.path == "spec.xks.uriEndpoint"
    assert "name the domain" in problem.hint


def test_api_operations_a_server_is_any_domain_name() -> None:
    for host in ("localhost", "proxy.bank.example", "127.0.0.1.bank.example", "0x7f.com", "a.b-1", "xn--p1ai."):
        endpoint = f"https://{host}"
        msgspec.convert({**OPTIONS, "uriEndpoint": endpoint}, XksOptions).check()
        stated = document("KeyStore", "bank", type="xks", xks={**OPTIONS, "uriEndpoint": endpoint})
        located, problems = parse(json.dumps(stated), file="bank.json", format="json")
        assert (len(located), problems, check(located)) == (1, [], [])


def test_authentication_a_proxy_is_reached_by_https_only() -> None:
    for bad in (f"http://{HOST}", HOST, f"HTTPS://{HOST}", "https://", f"https://{HOST}/path", f"https://u@{HOST}"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**OPTIONS, "uriEndpoint": bad}, XksOptions)


def test_api_operations_an_external_key_id_has_128_characters_of_the_named_set() -> None:
    for good in ("a" * 128, "aZ09-._", "-"):
        assert msgspec.convert(good, XksKeyIdType) == good
    for bad in ("", "a" * 129, "a b", "a/b", "a%20", "ä", "a:b", "a~"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, XksKeyIdType)


def test_appendix_a_access_key_ids_have_20_to_30_characters_of_the_named_set() -> None:
    def convert(access_key_id: str) -> str:
        credential = {**OPTIONS["credential"], "accessKeyId": access_key_id}  # type: ignore[dict-item]
        return msgspec.convert({**OPTIONS, "credential": credential}, XksOptions).credential.access_key_id

    for good in ("A" * 20, "7" * 30):
        assert convert(good) == good
    for bad in ("A" * 19, "A" * 31, "a" * 20, "A" * 19 + "1", "A" * 19 + "8"):
        with pytest.raises(msgspec.ValidationError):
            convert(bad)
