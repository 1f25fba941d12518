"""Requests and answers of the four APIs, and what a path means.

Source: specification, "API operations". Unknown fields are let through everywhere: Appendix B announces new ones.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from controlplane.api.xks.errors import Api, InvalidUriPath
from controlplane.errors import InvalidCiphertext, InvalidInput, Unsupported
from controlplane.schema.base import EXTERNAL_KEY_ID_PATTERN
from controlplane.schema.xksproxies import URI_SUFFIX, XksHealth, XksUsage
from plugins.sdk import GcmCiphertext

MAX_URI: Final = 256
MAX_PLAINTEXT: Final = 8192
"""The specification asks for 4,300 at least."""
MAX_AAD: Final = 8192
MAX_METADATA: Final = 20
MAX_BODY: Final = 131_072
IV_LENGTHS: Final = (12, 16)
TAG_LENGTH: Final = 16
AES_GCM: Final = "AES_GCM"
SHA_256: Final = "SHA_256"


class _Message(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class RequestMetadata(_Message, frozen=True):
    """What a request says of itself: for the log and for the rules, not checked in any way."""

    kms_operation: str
    kms_request_id: str
    aws_principal_arn: str | None = None
    kms_key_arn: str | None = None
    kms_via_service: str | None = None
    aws_source_vpc: str | None = None
    aws_source_vpce: str | None = None

    def facts(self, external_key_id: str) -> dict[str, str | None]:
        """By the names that rules are about."""
        return {
            "awsPrincipalArn": self.aws_principal_arn,
            "kmsKeyArn": self.kms_key_arn,
            "kmsOperation": self.kms_operation,
            "kmsViaService": self.kms_via_service,
            "awsSourceVpc": self.aws_source_vpc,
            "awsSourceVpce": self.aws_source_vpce,
            "externalKeyId": external_key_id,
        }


class HealthRequest(_Message, frozen=True):
    request_metadata: RequestMetadata


class MetadataRequest(_Message, frozen=True):
    request_metadata: RequestMetadata

    def check(self) -> None:
        _required(self.request_metadata, key=False)


class EncryptRequest(_Message, frozen=True):
    request_metadata: RequestMetadata
    plaintext: bytes
    encryption_algorithm: str
    additional_authenticated_data: bytes = b""
    ciphertext_data_integrity_value_algorithm: str | None = None

    def check(self) -> None:
        """Raise what is wrong beyond types."""
        _required(self.request_metadata)
        _algorithm(self.encryption_algorithm)
        _at_most(self.plaintext, MAX_PLAINTEXT, "plaintext")
        _at_most(self.additional_authenticated_data, MAX_AAD, "additionalAuthenticatedData")
        if self.ciphertext_data_integrity_value_algorithm not in (None, SHA_256):
            raise InvalidInput("ciphertextDataIntegrityValueAlgorithm must be SHA_256.")


class DecryptRequest(_Message, frozen=True):
    request_metadata: RequestMetadata
    encryption_algorithm: str
    ciphertext: bytes | None = None
    initialization_vector: bytes | None = None
    authentication_tag: bytes | None = None
    ciphertext_metadata: bytes = b""
    additional_authenticated_data: bytes = b""

    def check(self) -> None:
        """Raise what is wrong beyond types."""
        _required(self.request_metadata)
        _algorithm(self.encryption_algorithm)
        _at_most(self.ciphertext or b"", MAX_PLAINTEXT, "ciphertext")
        _at_most(self.additional_authenticated_data, MAX_AAD, "additionalAuthenticatedData")
        if len(self.ciphertext_metadata) > MAX_METADATA:
            raise InvalidInput(f"ciphertextMetadata must have at most {MAX_METADATA} bytes.")

    def sealed(self) -> GcmCiphertext:
        """The parts. Raises :class:`InvalidCiphertext` if one is missing or of a length that it cannot have."""
        iv, tag = self.initialization_vector, self.authentication_tag
        if self.ciphertext is None or iv is None or tag is None:
            raise InvalidCiphertext("")
        if len(iv) not in IV_LENGTHS or len(tag) != TAG_LENGTH:
            raise InvalidCiphertext("")
        return GcmCiphertext(iv, self.ciphertext, tag)


class MetadataAnswer(_Message, frozen=True):
    key_spec: str
    key_usage: tuple[XksUsage, ...]
    key_status: str


class EncryptAnswer(_Message, frozen=True):
    ciphertext: bytes
    initialization_vector: bytes
    authentication_tag: bytes
    ciphertext_metadata: bytes
    ciphertext_data_integrity_value: bytes | None = None


class DecryptAnswer(_Message, frozen=True):
    plaintext: bytes


class FleetMember(_Message, frozen=True):
    id: str
    model: str
    health_status: XksHealth


class HealthAnswer(_Message, frozen=True):
    xks_proxy_fleet_size: int
    xks_proxy_vendor: str
    xks_proxy_model: str
    ekm_vendor: str
    ekm_fleet_details: tuple[FleetMember, ...]


AnyAnswer = MetadataAnswer | EncryptAnswer | DecryptAnswer | HealthAnswer


# ---- paths -----------------------------------------------------------------------------------------------------------

_SUFFIX: Final = URI_SUFFIX.encode() + b"/"
_EXTERNAL_KEY_ID: Final = re.compile(EXTERNAL_KEY_ID_PATTERN)


def prefix_of(raw_path: bytes) -> tuple[str, bytes] | None:
    """The path prefix of a proxy and what follows ``/kms/xks/v1/``; None for a path of another form."""
    at = raw_path.rfind(_SUFFIX)
    return (raw_path[:at].decode("latin-1"), raw_path[at + len(_SUFFIX) :]) if at >= 0 else None


def api_of(rest: bytes) -> tuple[Api, str]:
    """The API that the rest of a path names, and the external key id (empty for health).

    Raises :class:`InvalidUriPath`, or :class:`InvalidInput` for an id that none can have.
    """
    parts = rest.split(b"/")
    if parts == [b"health"]:
        return Api.HEALTH, ""
    if len(parts) != 3 or parts[0] != b"keys" or parts[2] not in (b"metadata", b"encrypt", b"decrypt"):
        raise InvalidUriPath("Below /kms/xks/v1 there are health and keys/ID/metadata, /encrypt and /decrypt.")
    external_key_id = parts[1].decode("latin-1")
    if _EXTERNAL_KEY_ID.search(external_key_id) is None:
        raise InvalidInput("An external key id has 1 to 128 letters, digits, hyphens, periods and underscores.")
    return Api(parts[2].decode()), external_key_id


# ---- checks ----------------------------------------------------------------------------------------------------------


def _required(metadata: RequestMetadata, *, key: bool = True) -> None:
    if metadata.aws_principal_arn is None:
        raise InvalidInput("requestMetadata.awsPrincipalArn is missing.")
    if key and metadata.kms_key_arn is None:
        raise InvalidInput("requestMetadata.kmsKeyArn is missing.")


def _algorithm(name: str) -> None:
    if name != AES_GCM:
        raise InvalidInput("encryptionAlgorithm must be AES_GCM.")


def _at_most(value: bytes, limit: int, name: str) -> None:
    if len(value) > limit:
        raise Unsupported(f"{name} has more than {limit} bytes.")
