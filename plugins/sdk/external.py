"""External keys: keys that exist outside of Keystead, behind a proxy, and what such a proxy may fail with.

Who uses it: plugins of external key stores raise SDK errors with a :class:`ProxyFault` as their reason; the host's
doors map it to the exceptions of their API.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

_NUMBER: Final = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)\Z")


def is_numbered(host: str) -> bool:
    """Whether a host is an IPv4 address, in any form that resolvers take (``127.1``, ``0x7f``), and no domain name.

    The proxy's server has to be a domain name (XKS specification, "API operations"), whose last label is no number.
    """
    return _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]) is not None


class ExternalKey(msgspec.Struct, frozen=True):
    """What the manager of an external key says of it. The words are the manager's, not checked."""

    key_spec: str
    usages: frozenset[str]
    enabled: bool


class ProxyFault(StrEnum):
    """Why an external key store did not do its work; the rows of the XKS specification's table of failures."""

    INVALID_RESPONSE = "XksInvalidResponse"
    """Not the answer of a proxy: no JSON, missing or wrong fields, a wrong integrity value, an error that none has."""
    INVALID_STATE = "XksInvalidState"
    """The external key is disabled."""
    INVALID_CIPHERTEXT = "XksInvalidCiphertext"
    """The proxy refuses to decrypt."""
    WRONG_PLAINTEXT = "XksWrongPlaintext"
    """The proxy decrypted to something else than what was encrypted."""
    INVALID_KEY_USAGE = "XksInvalidKeyUsage"
    AUTHENTICATION_FAILED = "XksAuthenticationFailed"
    ACCESS_DENIED = "XksAccessDenied"
    KEY_NOT_FOUND = "XksKeyNotFound"
    INVALID_URI_PATH = "XksInvalidUriPath"
    UNSUPPORTED_OPERATION = "XksUnsupportedOperation"
    DEPENDENCY_TIMEOUT = "XksDependencyTimeout"
    THROTTLED = "XksThrottled"
    INTERNAL = "XksInternal"
    UNREACHABLE = "XksUnreachable"
    """No TCP connection, or it broke."""
    MANAGERS_UNAVAILABLE = "XksManagersUnavailable"
    """The proxy answers, and says that no external key manager behind it can be used."""
    TLS_FAILED = "XksTlsFailed"
    TIMED_OUT = "XksTimedOut"
    UNFIT_KEY = "XksUnfitKey"
    """The external key is not AES-256, not for encryption and decryption, or not enabled: no KMS key can be made."""
