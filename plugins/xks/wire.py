"""What crosses between us and a proxy: requests, answers, errors, and what an answer has to be like.

Who calls it: ``client``. Guarantees: unknown fields are let through, everything else is held against the
specification before anybody uses it; what is refused is told as a :class:`~plugins.sdk.external.ProxyFault` and in our
words, never in the proxy's: it may say anything, the plaintext included.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final, NoReturn, TypeVar

import msgspec

from plugins.sdk import (
    CredentialsRefused,
    InvalidCiphertext,
    KeyStoreError,
    MaterialNotFound,
    Misconfigured,
    Refused,
    Unavailable,
)
from plugins.sdk.external import ProxyFault

MAX_ANSWER: Final = 65_536
MAX_METADATA: Final = 20
NOT_OURS: Final = "the ciphertext does not decrypt under this external key with this encryption context"
"""The same words whichever half refuses."""
_HEALTH: Final = frozenset({"ACTIVE", "DEGRADED", "UNAVAILABLE"})
_STATUS: Final = frozenset({"ENABLED", "DISABLED"})

A = TypeVar("A")


class _Message(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class RequestMetadata(_Message, frozen=True):
    """Who asked KMS for what. What is not known is left out."""

    kms_operation: str
    kms_request_id: str
    aws_principal_arn: str | None = None
    kms_key_arn: str | None = None
    kms_via_service: str | None = None
    aws_source_vpc: str | None = None
    aws_source_vpce: str | None = None


class PlainRequest(_Message, frozen=True):
    """GetKeyMetadata and GetHealthStatus."""

    request_metadata: RequestMetadata


class EncryptRequest(_Message, frozen=True):
    request_metadata: RequestMetadata
    plaintext: bytes
    additional_authenticated_data: bytes
    encryption_algorithm: str = msgspec.field(default_factory=lambda: "AES_GCM")
    ciphertext_data_integrity_value_algorithm: str = msgspec.field(default_factory=lambda: "SHA_256")


class DecryptRequest(_Message, frozen=True):
    request_metadata: RequestMetadata
    ciphertext: bytes
    initialization_vector: bytes
    authentication_tag: bytes
    additional_authenticated_data: bytes
    ciphertext_metadata: bytes | None = None
    encryption_algorithm: str = msgspec.field(default_factory=lambda: "AES_GCM")


class KeyMetadata(_Message, frozen=True):
    key_spec: str
    key_usage: list[str]
    key_status: str


class Encrypted(_Message, frozen=True):
    ciphertext: bytes
    initialization_vector: bytes
    authentication_tag: bytes
    ciphertext_data_integrity_value: bytes
    ciphertext_metadata: bytes | None = None


class Decrypted(_Message, frozen=True):
    plaintext: bytes


class FleetMember(_Message, frozen=True):
    id: str
    model: str
    health_status: str


class HealthStatus(_Message, frozen=True):
    xks_proxy_fleet_size: int
    xks_proxy_vendor: str
    xks_proxy_model: str
    ekm_vendor: str
    ekm_fleet_details: list[FleetMember]


class _ProxyError(_Message, frozen=True):
    error_name: str


# ---- errors ----------------------------------------------------------------------------------------------------------

_SENTENCES: Final[Mapping[ProxyFault, str]] = {
    ProxyFault.INVALID_RESPONSE: "the proxy answered something that the specification does not allow",
    ProxyFault.INVALID_STATE: "the external key or its manager is disabled; enable it there",
    ProxyFault.INVALID_CIPHERTEXT: NOT_OURS,
    ProxyFault.WRONG_PLAINTEXT: NOT_OURS,
    ProxyFault.INVALID_KEY_USAGE: "the external key is not for this operation; allow it in the external key manager",
    ProxyFault.AUTHENTICATION_FAILED: "the proxy does not accept the credential; see that it knows it and that both "
    "clocks are right",
    ProxyFault.ACCESS_DENIED: "the proxy denies the operation; allow it there",
    ProxyFault.KEY_NOT_FOUND: "the external key manager has no key of that id",
    ProxyFault.INVALID_URI_PATH: "the proxy knows no URI path like the one of this key store; correct uriPath",
    ProxyFault.UNSUPPORTED_OPERATION: "the proxy does not support the operation",
    ProxyFault.DEPENDENCY_TIMEOUT: "the external key manager did not answer the proxy in time",
    ProxyFault.THROTTLED: "the proxy refuses because of too many requests; send fewer",
    ProxyFault.INTERNAL: "the proxy cannot reach its external key manager",
    ProxyFault.UNREACHABLE: "no connection to the proxy; see that it runs, and that uriEndpoint is right",
    ProxyFault.MANAGERS_UNAVAILABLE: "the proxy says that no external key manager behind it can be used",
    ProxyFault.TLS_FAILED: "no TLS connection to the proxy; see its certificate, and the authority that is trusted",
    ProxyFault.TIMED_OUT: "the proxy did not answer in time",
    ProxyFault.UNFIT_KEY: "the external key is not an enabled AES_256 key for ENCRYPT and DECRYPT",
}

_CLASSES: Final[Mapping[ProxyFault, type[KeyStoreError]]] = {
    ProxyFault.INVALID_STATE: Refused,
    ProxyFault.INVALID_CIPHERTEXT: InvalidCiphertext,
    ProxyFault.WRONG_PLAINTEXT: InvalidCiphertext,
    ProxyFault.INVALID_KEY_USAGE: Refused,
    ProxyFault.AUTHENTICATION_FAILED: CredentialsRefused,
    ProxyFault.ACCESS_DENIED: Refused,
    ProxyFault.KEY_NOT_FOUND: MaterialNotFound,
    ProxyFault.INVALID_URI_PATH: Misconfigured,
    ProxyFault.UNSUPPORTED_OPERATION: Refused,
    ProxyFault.UNFIT_KEY: Refused,
}
"""Everything else is ``Unavailable``: the proxy as a whole is not well, and the host's circuit breaker counts it."""

_NAMES: Final[Mapping[str, ProxyFault]] = {
    "ValidationException": ProxyFault.INVALID_RESPONSE,
    "InvalidStateException": ProxyFault.INVALID_STATE,
    "InvalidCiphertextException": ProxyFault.INVALID_CIPHERTEXT,
    "InvalidKeyUsageException": ProxyFault.INVALID_KEY_USAGE,
    "AuthenticationFailedException": ProxyFault.AUTHENTICATION_FAILED,
    "AccessDeniedException": ProxyFault.ACCESS_DENIED,
    "KeyNotFoundException": ProxyFault.KEY_NOT_FOUND,
    "InvalidUriPathException": ProxyFault.INVALID_URI_PATH,
    "ThrottlingException": ProxyFault.THROTTLED,
    "UnsupportedOperationException": ProxyFault.UNSUPPORTED_OPERATION,
    "DependencyTimeoutException": ProxyFault.DEPENDENCY_TIMEOUT,
    "InternalException": ProxyFault.INTERNAL,
}
"""Error names of the specification. KMS goes by the name, whatever the HTTP code."""


def failure(fault: ProxyFault) -> KeyStoreError:
    """The SDK error of a fault."""
    return _CLASSES.get(fault, Unavailable)(_SENTENCES[fault], reason=fault.value)


def refused(status: int, body: bytes) -> KeyStoreError:  # noqa: ARG001 - the name decides, as in KMS
    """The error that an answer other than 200 is."""
    try:
        name = _decode_error(body).error_name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return failure(ProxyFault.INVALID_RESPONSE)
    return failure(_NAMES.get(name, ProxyFault.INVALID_RESPONSE))


# ---- answers ---------------------------------------------------------------------------------------------------------

_decode_error = msgspec.json.Decoder(_ProxyError).decode
_encode = msgspec.json.Encoder().encode


def encode(request: PlainRequest | EncryptRequest | DecryptRequest) -> bytes:
    return _encode(request)


def decode(body: bytes, answer: type[A]) -> A:
    """An answer of the right form. Raises ``Unavailable`` with INVALID_RESPONSE for any other."""
    try:
        return msgspec.json.decode(body, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _refuse()


def check_encrypted(answer: Encrypted, plaintext: bytes, aad: bytes) -> None:
    """Hold an answer of Encrypt against the specification and its integrity value."""
    told, iv, tag = answer.ciphertext_metadata or b"", answer.initialization_vector, answer.authentication_tag
    fits = (
        len(answer.ciphertext) == len(plaintext)
        and len(iv) in (12, 16)
        and len(tag) == 16
        and len(told) <= MAX_METADATA
    )
    value = hashlib.sha256(b"".join((aad, told, iv, answer.ciphertext, tag))).digest()
    if not fits or not hmac.compare_digest(value, answer.ciphertext_data_integrity_value):
        _refuse()


def check_health(answer: HealthStatus) -> None:
    """Hold an answer of GetHealthStatus against the specification."""
    members = answer.ekm_fleet_details
    if answer.xks_proxy_fleet_size < 1 or not 1 <= len(members) <= 10:
        _refuse()
    if any(member.health_status not in _HEALTH for member in members):
        _refuse()


def check_key(answer: KeyMetadata) -> None:
    """Hold an answer of GetKeyMetadata against the specification."""
    if answer.key_status not in _STATUS or len(answer.key_usage) > 10:
        _refuse()


def _refuse() -> NoReturn:
    raise failure(ProxyFault.INVALID_RESPONSE) from None
