"""Options of an external key store. Patterns and lengths: KMS API reference, CreateCustomKeyStore."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from plugins.sdk import KeptSecretSource, Misconfigured, Options
from plugins.sdk.external import is_numbered

BUDGET_MILLISECONDS: Final = 250
"""How long KMS waits for an answer of a proxy, connecting included (specification, "KMS Considerations")."""


class XksCredentialOptions(Options, frozen=True):
    """The SigV4 credential that the proxy knows."""

    access_key_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Z2-7]{20,30}$(?!\n)")]
    secret: KeptSecretSource


class XksClientCertificate(Options, frozen=True):
    """What is shown to a proxy that asks for a certificate: paths of PEM files on the server."""

    certificate: str
    key: str


class XksOptions(Options, frozen=True):
    """``uriEndpoint`` and ``uriPath`` are the proxy's; ``address`` and ``port`` where it really is, if that differs.

    ``authority``: certificates in PEM of whoever issued the proxy's; absent, the system's are trusted. ``region`` is
    the Region that requests about no key are signed for. ``timeoutMilliseconds`` is for all of a request, connecting
    and waiting for a free connection included.
    """

    uri_endpoint: Annotated[str, msgspec.Meta(pattern=r"^https://[a-zA-Z0-9.-]{1,120}$(?!\n)")]
    uri_path: Annotated[str, msgspec.Meta(pattern=r"^(/[a-zA-Z0-9/_-]+)?/kms/xks/v1$(?!\n)", max_length=128)]
    credential: XksCredentialOptions
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 443
    authority: str | None = None
    client: XksClientCertificate | None = None
    region: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$(?!\n)")] = "us-east-1"
    timeout_milliseconds: Annotated[int, msgspec.Meta(ge=10, le=BUDGET_MILLISECONDS)] = BUDGET_MILLISECONDS
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 128

    def check(self) -> None:
        if is_numbered(self.host):
            raise Misconfigured(
                f"uriEndpoint: {self.host} is an IP address; name the domain that the proxy's certificate is for, and "
                "give the address as address"
            )

    @property
    def budget(self) -> float:
        """For one request, in seconds."""
        return self.timeout_milliseconds / 1000

    @property
    def host(self) -> str:
        """The name that the proxy's certificate has to be for."""
        return self.uri_endpoint.removeprefix("https://")

    @property
    def authority_of_url(self) -> str:
        """Host, and port unless it is that of HTTPS: the ``Host`` header."""
        return self.host if self.port == 443 else f"{self.host}:{self.port}"
