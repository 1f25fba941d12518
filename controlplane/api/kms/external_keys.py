"""What AWS answers when an external key store does not do its work: by failure and by operation.

Who calls it: ``errors`` for every operation that uses a key, and the handlers of CreateKey and of custom key stores.
Source: XKS specification, "Error codes", the table of KMS exceptions, and the exceptions of each operation in the KMS
service model. The sentences are ours; where clients are known to look for words, those words are in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from plugins.sdk import ProxyFault


class _Row(msgspec.Struct, frozen=True):
    """``store``: of CreateCustomKeyStore and UpdateCustomKeyStore; ``key``: of CreateKey; ``code``: of a connection."""

    message: str
    store: str
    key: str = "CustomKeyStoreInvalidStateException"
    code: str = "XKS_PROXY_INVALID_RESPONSE"


USE: Final = "KMSInvalidStateException"
"""Of every operation that uses a key."""

_RETRY = "Try again; if it stays so, tell the administrator of the external key store proxy."

FAILURES: Final[Mapping[ProxyFault, _Row]] = {
    ProxyFault.INVALID_RESPONSE: _Row(
        f"The answer of the external key store proxy cannot be interpreted. {_RETRY}",
        "XksProxyInvalidResponseException",
    ),
    ProxyFault.INVALID_STATE: _Row(
        "The external key of this KMS key is not enabled in its external key manager. Enable it there, then try again.",
        "XksProxyInvalidResponseException",
        "XksKeyInvalidConfigurationException",
    ),
    ProxyFault.INVALID_CIPHERTEXT: _Row(
        "The external key store proxy rejected the request: the ciphertext or the encryption context is corrupted, "
        "missing, or not the one that was encrypted with.",
        "XksProxyInvalidResponseException",
    ),
    ProxyFault.WRONG_PLAINTEXT: _Row(
        "What the external key store proxy decrypted is not what was encrypted: the ciphertext or the encryption "
        "context is corrupted, missing, or not the one that was encrypted with.",
        "XksProxyInvalidResponseException",
    ),
    ProxyFault.INVALID_KEY_USAGE: _Row(
        "The external key of this KMS key is not for this operation. Allow the operation in its external key manager, "
        "then try again.",
        "XksProxyInvalidResponseException",
        "XksKeyInvalidConfigurationException",
    ),
    ProxyFault.AUTHENTICATION_FAILED: _Row(
        "The external key store proxy could not authenticate the request. See that the proxy has the authentication "
        "credential of this key store, and that both clocks are right.",
        "XksProxyIncorrectAuthenticationCredentialException",
        code="INVALID_CREDENTIALS",
    ),
    ProxyFault.ACCESS_DENIED: _Row(
        "The external key store proxy denied access to the operation. See that it allows the operation to the caller "
        "and for the external key.",
        "XksProxyInvalidResponseException",
        USE,
        "XKS_PROXY_ACCESS_DENIED",
    ),
    ProxyFault.KEY_NOT_FOUND: _Row(
        "The external key of this KMS key is not in its external key manager. If its id is wrong, make a new KMS key "
        "with the right one.",
        "XksProxyInvalidResponseException",
        "XksKeyNotFoundException",
    ),
    ProxyFault.INVALID_URI_PATH: _Row(
        "The external key store proxy rejected the request because of its URI path. Correct the URI path of the key "
        "store.",
        "XksProxyInvalidConfigurationException",
        code="XKS_PROXY_INVALID_CONFIGURATION",
    ),
    ProxyFault.UNSUPPORTED_OPERATION: _Row(
        f"The external key store proxy does not support the operation. {_RETRY}",
        "XksProxyInvalidResponseException",
        "XksKeyInvalidResponseException",
    ),
    ProxyFault.DEPENDENCY_TIMEOUT: _Row(
        f"The external key manager did not answer the external key store proxy in the time allotted. {_RETRY}",
        "XksProxyUriUnreachableException",
        code="XKS_PROXY_TIMED_OUT",
    ),
    ProxyFault.THROTTLED: _Row(
        "The external key store proxy rejected the request due to a very high request rate. Make fewer calls that use "
        "KMS keys of this key store.",
        "XksProxyUriUnreachableException",
        code="XKS_PROXY_NOT_REACHABLE",
    ),
    ProxyFault.INTERNAL: _Row(
        "The external key store proxy cannot communicate with its external key manager. See that the manager is there "
        "and the proxy configured for it.",
        "XksProxyInvalidResponseException",
    ),
    ProxyFault.UNREACHABLE: _Row(
        "The external key store proxy cannot be reached. If it stays so, see that the proxy runs, is on the network, "
        "and that its endpoint URI in the key store is right.",
        "XksProxyUriUnreachableException",
        code="XKS_PROXY_NOT_REACHABLE",
    ),
    ProxyFault.TLS_FAILED: _Row(
        "A TLS connection to the external key store proxy cannot be made. See its TLS configuration and its "
        "certificate.",
        "XksProxyUriUnreachableException",
        code="XKS_PROXY_INVALID_TLS_CONFIGURATION",
    ),
    ProxyFault.TIMED_OUT: _Row(
        f"The request was rejected because the external key store proxy did not respond in time. {_RETRY}",
        "XksProxyUriUnreachableException",
        code="XKS_PROXY_TIMED_OUT",
    ),
    ProxyFault.UNFIT_KEY: _Row(
        "The external key is not an enabled 256-bit AES key that encrypts and decrypts, so no KMS key can be made for "
        "it.",
        "XksProxyInvalidResponseException",
        "XksKeyInvalidConfigurationException",
    ),
}


def failure(cause: str) -> _Row | None:
    """The row of a cause, or None if it is none of an external key store."""
    return FAILURES.get(ProxyFault(cause)) if cause in _KNOWN else None


_KNOWN: Final = frozenset(ProxyFault)
