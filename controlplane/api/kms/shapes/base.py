"""What all shapes are made of: the base structure and the scalar types of the KMS service model with their constraints.

Who uses it: the shapes of the KMS door. Guarantees: members that are absent are left out of answers; members that this
door does not know are ignored in requests, as AWS does; null is absent. Blobs are base64 in JSON and ``bytes`` here;
times are seconds since the epoch. Names, lengths and patterns are those of the model (botocore, ``kms/2014-11-01``); a
contract test holds every shape to it.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from controlplane.api.kms.shapes.enums import KeyEncryptionMechanism, ResourceOwnerType

SENSITIVE: Final = "sensitive"
"""The mark of a type whose values are in no message, as in the model."""

_OPEN: Final = r"\A(?a:"
_CLOSE: Final = r")\Z"


def exactly(pattern: str) -> str:
    """A pattern of the model, which AWS matches against the whole value with ASCII classes."""
    return _OPEN + pattern + _CLOSE


def _text(shortest: int, longest: int, pattern: str) -> msgspec.Meta:
    return msgspec.Meta(min_length=shortest or None, max_length=longest, pattern=exactly(pattern))


_sensitive: Final = msgspec.Meta(extra={SENSITIVE: True})


def model_pattern(pattern: str) -> str:
    """The pattern as the model spells it, for messages: the reverse of :func:`exactly`."""
    return pattern.removeprefix(_OPEN).removesuffix(_CLOSE)


class Shape(msgspec.Struct, rename="pascal", omit_defaults=True, gc=False):
    """Base: PascalCase members, absent ones left out. Made for one request, and never part of a cycle."""


AccountIdType = Annotated[str, _text(12, 12, r"[0-9]{12}")]
AliasNameType = Annotated[str, _text(1, 256, r"^[a-zA-Z0-9:/_-]+$")]
ArnType = Annotated[str, msgspec.Meta(min_length=20, max_length=2048)]
BackingKeyIdResponseType = Annotated[str, _text(0, 64, r"^[a-f0-9]+$")]
BackingKeyIdType = Annotated[str, _text(64, 64, r"^[a-f0-9]+$")]
CiphertextType = Annotated[bytes, msgspec.Meta(min_length=1, max_length=6144)]
CloudHsmClusterIdType = Annotated[str, _text(19, 24, r"cluster-[2-7a-zA-Z]{11,16}")]
CustomKeyStoreIdType = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
CustomKeyStoreNameType = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
DescriptionType = Annotated[str, msgspec.Meta(max_length=8192)]
GrantConstraintSourceArnType = Annotated[str, _text(20, 512, r"^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$")]
GrantIdType = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
GrantNameType = Annotated[str, _text(1, 256, r"^[a-zA-Z0-9:/_-]+$")]
GrantTokenType = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
GrantTokenList = Annotated[list[GrantTokenType], msgspec.Meta(max_length=10)]
KeyIdType = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
KeyMaterialDescriptionType = Annotated[str, _text(0, 256, r"^[a-zA-Z0-9:/_\s.-]+$")]
KeyStorePasswordType = Annotated[str, msgspec.Meta(min_length=7, max_length=32), _sensitive]
LimitType = Annotated[int, msgspec.Meta(ge=1, le=1000)]
MarkerType = Annotated[str, _text(1, 1024, r"[\u0020-\u00FF]*")]
NumberOfBytesType = Annotated[int, msgspec.Meta(ge=1, le=1024)]
PendingWindowInDaysType = Annotated[int, msgspec.Meta(ge=1, le=365)]
PlaintextType = Annotated[bytes, msgspec.Meta(min_length=1, max_length=4096), _sensitive]
PolicyNameType = Annotated[str, _text(1, 128, r"[\w]+")]
PolicyType = Annotated[str, _text(1, 131072, r"[\u0009\u000A\u000D\u0020-\u00FF]+")]
PrincipalIdType = Annotated[str, _text(1, 256, r"^[\w+=,.@:/-]+$")]
PublicKeyType = Annotated[bytes, msgspec.Meta(min_length=1, max_length=8192)]
RegionType = Annotated[str, _text(1, 32, r"^([a-z]+-){2,3}\d+$")]
ResourceOwnersList = Annotated[list[ResourceOwnerType], msgspec.Meta(min_length=1, max_length=2)]
RotationPeriodInDaysType = Annotated[int, msgspec.Meta(ge=90, le=2560)]
ServicePrincipalType = Annotated[str, _text(1, 128, r"^([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+$")]
TagKeyType = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
TrustAnchorCertificateType = Annotated[str, msgspec.Meta(min_length=1, max_length=5000)]
XksKeyIdType = Annotated[str, _text(1, 128, r"^[a-zA-Z0-9-_.]+$")]
XksProxyAuthenticationAccessKeyIdType = Annotated[str, _text(20, 30, r"^[A-Z2-7]+$"), _sensitive]
XksProxyAuthenticationRawSecretAccessKeyType = Annotated[str, _text(43, 64, r"^[a-zA-Z0-9\/+=]+$"), _sensitive]
XksProxyUriEndpointType = Annotated[str, _text(10, 128, r"^https://[a-zA-Z0-9.-]+$")]
XksProxyUriPathType = Annotated[str, _text(10, 128, r"^(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})$")]
XksProxyVpcEndpointServiceNameType = Annotated[
    str, _text(20, 64, r"^(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+$")
]


class Tag(Shape, kw_only=True):
    tag_key: TagKeyType
    tag_value: Annotated[str, msgspec.Meta(max_length=256)]


class RecipientInfo(Shape, kw_only=True):
    key_encryption_algorithm: KeyEncryptionMechanism | None = None
    attestation_document: Annotated[bytes, msgspec.Meta(min_length=1, max_length=262_144)] | None = None
