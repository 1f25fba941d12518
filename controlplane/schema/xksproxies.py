"""Kind ``XksProxy``: where Keystead serves keys to an AWS KMS (or another Keystead) as an external key manager.

Sizes and character sets: AWS KMS External Key Store Proxy API Specification 1.0.3, and the KMS API reference of
CreateCustomKeyStore and CreateKey (``XksProxyUriPath``, ``XksProxyAuthenticationCredential``, ``XksKeyId``).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from controlplane.schema.base import ExternalKeyId, Frozen, Name
from controlplane.schema.conditions import Condition
from controlplane.schema.keys import Management
from plugins.sdk.options import SecretSource

URI_SUFFIX: Final = "/kms/xks/v1"
"""What the URI path of version 1 of the specification ends in."""
MAX_URI_PATH: Final = 128

# Python's `$` also matches before a final line feed; see schema.base.
ACCESS_KEY_ID_PATTERN = r"^[A-Z2-7]{20,30}$(?!\n)"
PATH_PREFIX_PATTERN = r"^(/[A-Za-z0-9_-]+)*$(?!\n)"

AccessKeyId = Annotated[
    str, msgspec.Meta(pattern=ACCESS_KEY_ID_PATTERN, description="20 to 30 characters 'A' to 'Z' and '2' to '7'.")
]
PathPrefix = Annotated[
    str,
    msgspec.Meta(
        pattern=PATH_PREFIX_PATTERN,
        max_length=MAX_URI_PATH - len(URI_SUFFIX),
        description="What comes before /kms/xks/v1: '' or '/' and letters, digits, '_', '-', as often as needed.",
    ),
]
Wildcard = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class XksListen(Frozen):
    """Address of the listener. Proxies with the same address share it, told apart by ``pathPrefix``."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8443


class XksClients(Frozen):
    """Mutual TLS: clients need a certificate of this authority with one of these names, or the handshake ends."""

    authority: Annotated[str, msgspec.Meta(min_length=1)]
    """Path of the authority's certificates in PEM, on the server."""
    subject_name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.-]{1,64}$(?!\n)")]
    """The common name, such as ``cks.kms.eu-west-1.amazonaws.com``."""


class XksTls(Frozen):
    """Paths of the certificate chain and its private key in PEM, on the server; relative ones are below its data
    directory, as all files that a declaration names.
    """

    certificate: Annotated[str, msgspec.Meta(min_length=1)]
    key: Annotated[str, msgspec.Meta(min_length=1)]
    clients: XksClients | None = None


class XksCredential(Frozen):
    """One SigV4 credential. The secret is read by the server: 43 to 64 characters of the Base64 alphabet."""

    access_key_id: AccessKeyId
    secret: SecretSource


class XksUsage(StrEnum):
    """What a caller of the proxy may do with a key (``keyUsage`` of GetKeyMetadata)."""

    ENCRYPT = "ENCRYPT"
    DECRYPT = "DECRYPT"


class XksExposure(Frozen):
    """A Key that the proxy exposes. With DECRYPT alone, old data stays readable and nothing new is encrypted."""

    key: Name
    usages: tuple[XksUsage, ...] = (XksUsage.ENCRYPT, XksUsage.DECRYPT)


class XksEffect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class XksRule(Frozen):
    """One authorisation rule over what a request says of itself (``requestMetadata``).

    It is about a request if each list that is not empty has a member that matches; ``*`` and ``?`` are wildcards. A
    field that the request does not have matches nothing.
    """

    name: Name
    effect: XksEffect = XksEffect.ALLOW
    principals: tuple[Wildcard, ...] = ()
    """``awsPrincipalArn``."""
    key_arns: tuple[Wildcard, ...] = ()
    """``kmsKeyArn``; GetKeyMetadata has none."""
    operations: tuple[Wildcard, ...] = ()
    """``kmsOperation``: CreateKey, Encrypt, GenerateDataKey, Decrypt, ReEncrypt."""
    via_services: tuple[Wildcard, ...] = ()
    """``kmsViaService``."""
    source_vpcs: tuple[Wildcard, ...] = ()
    """``awsSourceVpc``."""
    source_vpces: tuple[Wildcard, ...] = ()
    """``awsSourceVpce``."""
    external_keys: tuple[Wildcard, ...] = ()
    """External key ids."""


class XksQuota(Frozen):
    """Requests per second over the path prefix; ``burst`` may come at once. More are answered ThrottlingException."""

    requests_per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class DesiredXksProxy(Frozen):
    """``spec`` of an XksProxy.

    Rules: a rule that denies wins; otherwise one has to allow, unless there are no rules at all. With ``enabled:
    false`` every request is refused: the kill switch for the whole proxy.
    """

    tls: XksTls
    credentials: tuple[XksCredential, ...]
    listen: XksListen = XksListen()
    path_prefix: PathPrefix = ""
    enabled: bool = True
    keys: dict[ExternalKeyId, XksExposure] = msgspec.field(default_factory=dict)
    """What is exposed, by external key id."""
    rules: tuple[XksRule, ...] = ()
    quota: XksQuota | None = None
    fleet_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    """How many proxies stand behind the endpoint, for GetHealthStatus."""
    management: Management = Management.FULL

    @property
    def uri_path(self) -> str:
        """``XksProxyUriPath`` as CreateCustomKeyStore takes it."""
        return self.path_prefix + URI_SUFFIX


class XksHealth(StrEnum):
    """``ekmFleetDetails.healthStatus`` of the specification."""

    ACTIVE = "ACTIVE"
    DEGRADED = "DEGRADED"
    UNAVAILABLE = "UNAVAILABLE"


class XksKeyManager(Frozen):
    """Health of one key store behind the proxy, as GetHealthStatus tells it."""

    id: str
    model: str
    health: XksHealth
    detail: str = ""


class XksAuthenticationCredential(msgspec.Struct, frozen=True, rename="pascal"):
    """Of the file that the AWS console imports. It holds the secret: for the answer to who may have it, only."""

    access_key_id: str
    raw_secret_access_key: str

    def __repr__(self) -> str:
        return f"XksAuthenticationCredential({self.access_key_id})"


class XksConfiguration(msgspec.Struct, frozen=True, rename="pascal"):
    """The file that the AWS console imports (specification, "XKS proxy configuration in AWS KMS console")."""

    xks_proxy_uri_path: str
    xks_proxy_authentication_credential: XksAuthenticationCredential


class XksServing(msgspec.Struct, frozen=True):
    """What the proxy's side tells the reconciler of a proxy that is served. ``problems`` are for people."""

    address: str
    certificate_expires_at: datetime
    key_managers: tuple[XksKeyManager, ...] = ()
    problems: tuple[str, ...] = ()


class XksProxyStatus(Frozen):
    """``status`` of an XksProxy."""

    created_at: datetime
    observed_generation: int = 0
    address: str | None = None
    """Where it listens, ``host:port``; None while it does not."""
    certificate_expires_at: datetime | None = None
    key_managers: tuple[XksKeyManager, ...] = ()
    conditions: tuple[Condition, ...] = ()
