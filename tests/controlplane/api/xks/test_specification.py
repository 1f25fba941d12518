"""The proxy against the specification (AWS KMS External Key Store Proxy API 1.0.3): the four APIs and their errors.

Each name begins with the section that it is about.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

import msgspec
import pytest

from controlplane import __version__, errors
from controlplane.api.xks import wire
from controlplane.api.xks.errors import STATUS, Api, InvalidUriPath, refusal_of
from controlplane.schema.xksproxies import DesiredXksProxy
from controlplane.usage import externalkeys
from plugins.sdk import GcmCiphertext
from tests.controlplane.api.xks.test_specification_logging import audit
from tests.harness import document, eventually
from tests.xksclient import XksClient, b64, metadata, refused
from tests.xksproxied import Proxied

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


def test_get_key_metadata_has_at_most_ten_usages_whatever_was_declared(proxied: Proxied) -> None:
    proxied.spec["keys"]["payments"] = {"key": "payments", "usages": [*["ENCRYPT"] * 11, "DECRYPT"]}
    proxied.put()
    assert proxied.client().get_metadata("payments").json()["keyUsage"] == ["ENCRYPT", "DECRYPT"]


def test_get_key_metadata_says_aes_256_of_no_other_key_for_none_can_be_exposed(proxied: Proxied) -> None:
    proxied.server.apply("more", [document("Key", "signing", keySpec="RSA_2048", keyUsage="SIGN_VERIFY")])
    keys = {**proxied.spec["keys"], "signing": {"key": "signing"}}
    wanted = document("XksProxy", "bank", **{**proxied.spec, "keys": keys})
    answer = proxied.server.rest("PUT", "/v1/xksproxies/bank", wanted)
    assert answer.status == 422
    assert "exposes SYMMETRIC_DEFAULT keys only" in answer.body.decode()
    assert refused(proxied.client().get_metadata("signing")) == (404, "KeyNotFoundException")


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


def test_encrypt_the_metadata_says_how_the_associated_data_was_made(client: XksClient) -> None:
    """Its first octet does, so that another way can be told from this one; no way is tried that it does not name."""
    sealed = client.encrypt("payments").json()
    told = base64.b64decode(sealed["ciphertextMetadata"])
    assert told[0] == 1
    for other in (0, 2, 255):
        answer = client.decrypt("payments", {**sealed, "ciphertextMetadata": b64(bytes((other,)) + told[1:])})
        assert refused(answer) == (400, "InvalidCiphertextException")


@pytest.mark.parametrize("api", ["encrypt", "decrypt"])
def test_encrypt_and_decrypt_need_the_name_of_the_algorithm(client: XksClient, api: str) -> None:
    body = bodies(client)[api]
    del body["encryptionAlgorithm"]
    answer = client.post(f"/keys/payments/{api}", {**body, **metadata()})
    assert refused(answer) == (400, "ValidationException")


def test_encrypt_without_additional_data_is_encrypt_with_none_of_it(client: XksClient) -> None:
    """A length of zero stands for what is not there."""
    absent, empty = client.encrypt("payments").json(), client.encrypt("payments", aad=b"").json()
    assert client.decrypt("payments", absent, b"").status == 200
    assert client.decrypt("payments", empty).status == 200


# ---- Appendix C ------------------------------------------------------------------------------------------------------


def test_appendix_c_the_published_example() -> None:
    aad, told = b"project=nile,department=marketing", base64.b64decode("a2V5X3ZlcnNpb249MQ==")
    sealed = GcmCiphertext(
        base64.b64decode("HMrlRw85cAJUd5Ax"),
        base64.b64decode("ghxkK1txeDNn3q8Y"),
        base64.b64decode("vBxN2ncH1oEkR8WVXpmyYQ=="),
    )
    assert b64(externalkeys.integrity_value(aad, told, sealed)) == "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc="


@pytest.mark.parametrize(("aad", "told"), [(b"", b""), (b"aad", b""), (b"", b"told")])
def test_appendix_c_what_is_absent_is_the_empty_string(aad: bytes, told: bytes) -> None:
    sealed = GcmCiphertext(b"i" * 12, b"ciphertext", b"t" * 16)
    digest = hashlib.sha256(aad + told + b"i" * 12 + b"ciphertext" + b"t" * 16).digest()
    assert externalkeys.integrity_value(aad, told, sealed) == digest


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


@pytest.mark.parametrize("length", [12, 16])
def test_decrypt_takes_an_iv_of_12_or_16_bytes(length: int) -> None:
    told = {
        **metadata("Decrypt"),
        "encryptionAlgorithm": "AES_GCM",
        "ciphertext": b64(b"c"),
        "initializationVector": b64(bytes(length)),
        "authenticationTag": b64(bytes(16)),
    }
    assert msgspec.convert(told, wire.DecryptRequest).sealed() == GcmCiphertext(bytes(length), b"c", bytes(16))


def test_decrypt_ciphertext_of_4300_bytes_with_8192_of_additional_data_and_plaintext_as_long(
    client: XksClient,
) -> None:
    plaintext, aad = os.urandom(4300), os.urandom(8192)
    sealed = client.encrypt("payments", plaintext, aad).json()
    assert (len(sealed["ciphertext"]), len(b64(aad))) == (5736, 10924)
    opened = client.decrypt("payments", sealed, aad)
    assert (opened.status, opened.json()) == (200, {"plaintext": b64(plaintext)})


@pytest.mark.parametrize("text", ["aGk", "a-_k", "aGk=\n", 1])
@pytest.mark.parametrize(
    "field",
    [
        "ciphertext",
        "ciphertextMetadata",
        "initializationVector",
        "authenticationTag",
        "additionalAuthenticatedData",
    ],
)
def test_decrypt_binary_fields_are_standard_base64(client: XksClient, field: str, text: Any) -> None:
    sealed = client.encrypt("payments").json()
    answer = client.decrypt("payments", sealed, **{field: text})
    assert refused(answer) == (400, "ValidationException")


def test_decrypt_metadata_of_more_than_20_bytes_is_refused(client: XksClient) -> None:
    sealed = client.encrypt("payments").json()
    answer = client.decrypt("payments", {**sealed, "ciphertextMetadata": b64(bytes(21))})
    assert refused(answer) == (400, "ValidationException")


def test_decrypt_a_ciphertext_opens_under_its_own_key_only(proxied: Proxied) -> None:
    proxied.server.apply("more", [document("Key", "other")])
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


def test_get_health_status_names_both_vendors_and_each_model_with_its_version(client: XksClient) -> None:
    told = client.health().json()
    assert told["xksProxyVendor"]
    assert told["ekmVendor"]
    for member in told["ekmFleetDetails"]:
        assert __version__ in member["model"]
        assert len(member["model"]) > len(__version__)
        assert member["id"]


def test_get_health_status_a_fleet_has_at_least_one_proxy() -> None:
    proxy = {"tls": {"certificate": "c", "key": "k"}, "credentials": []}
    assert msgspec.convert(proxy, DesiredXksProxy).fleet_size == 1
    for size in (0, -1, 1.5):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**proxy, "fleetSize": size}, DesiredXksProxy)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "requestMetadata"),
        ({"requestMetadata": {}}, "kmsOperation"),
        ({"requestMetadata": {"kmsOperation": "x"}}, "kmsRequestId"),
        ([], "object"),
        (None, "object"),
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 5000, "object"),
    ],
)
def test_error_codes_get_health_status_has_no_validation_exception_and_says_what_is_missing(
    client: XksClient, body: Any, told: str
) -> None:
    answer = client.post("/health", body)
    assert refused(answer) == (500, "InternalException")
    assert told in answer.json()["errorMessage"]


def test_error_codes_get_health_status_of_another_content_type_is_no_validation_exception(client: XksClient) -> None:
    body = b'{"requestMetadata": {"kmsOperation": "x", "kmsRequestId": "x"}}'
    assert refused(client.post("/health", body, **{"content-type": "text/plain"})) == (500, "InternalException")


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


ALL = {"metadata", "encrypt", "decrypt", "health"}
OF_KEYS = ALL - {"health"}
TABLE = {
    "ValidationException": OF_KEYS,
    "InvalidStateException": ALL,
    "InvalidCiphertextException": {"decrypt"},
    "InvalidKeyUsageException": {"decrypt", "encrypt"},
    "AuthenticationFailedException": ALL,
    "AccessDeniedException": OF_KEYS,
    "KeyNotFoundException": OF_KEYS,
    "InvalidUriPathException": ALL,
    "ThrottlingException": ALL,
    "UnsupportedOperationException": ALL,
    "DependencyTimeoutException": ALL,
    "InternalException": ALL,
}
"""The last column: the APIs that may answer each."""


@pytest.mark.parametrize("api", Api)
def test_error_codes_no_api_answers_an_error_that_the_table_does_not_have_for_it(api: Api) -> None:
    kinds = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.KeysteadError)
    ]
    kinds.remove(errors.InvalidSpec)  # an InvalidInput that is made of problems
    answered = {refusal_of(kind("x"), "id", api).name for kind in (*kinds, InvalidUriPath, ValueError)}
    answered.add(refusal_of(errors.KeyStoreUnavailable("x", reason="Deadline"), "id", api).name)
    assert answered == {name for name, apis in TABLE.items() if api in apis}


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


def rotated(proxied: Proxied, materials: int) -> None:
    eventually(
        lambda: len(proxied.server.ok("GET", "/v1/keys/payments")["status"]["materials"]) == materials, "it has rotated"
    )
