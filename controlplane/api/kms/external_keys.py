"""What AWS answers when an external key store does not do its work: by failure and by operation.

Two rows differ from the specification's table: for CreateKey it names KMSInvalidStateException where the proxy denies
access, and an XksKeyInvalidResponseException where it does not support the operation. CreateKey has neither in the
service model, so no client could read them; it answers CustomKeyStoreInvalidStateException as for every other failure
of the proxy.

Who calls it: ``errors`` for every operation that uses a key, and the handlers of CreateKey and of custom key stores.
Source: XKS specification, "Error codes", the table of KMS exceptions, and the exceptions of each operation in the KMS
service model. The sentences are ours; where clients are known to look for words, those words are in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from controlplane.api.kms.shapes.enums import ConnectionErrorCodeType
from controlplane.api.services import Services
from controlplane.errors import ExternalKeyInUse, InvalidInput, KeyStoreFailure
from controlplane.schema.meta import KeyStore, Kind
from controlplane.store import externalkeys, objects
from plugins.sdk import ProxyFault

_Code = ConnectionErrorCodeType


MAX_URI: Final = 256
"""Characters of a whole URI of a proxy (specification, "API operations")."""
USE: Final = "KMSInvalidStateException"
"""Of every operation that uses a key."""


class _Row(msgspec.Struct, frozen=True):
    """``store``: of CreateCustomKeyStore and UpdateCustomKeyStore; ``key``: of CreateKey; ``code``: of a connection."""

    message: str
    store: str
    key: str = "CustomKeyStoreInvalidStateException"
    code: ConnectionErrorCodeType = ConnectionErrorCodeType.XKS_PROXY_INVALID_RESPONSE

    def exception(self, operation: str) -> str:
        """The name of the exception of an operation."""
        if operation in _OF_STORES:
            return self.store
        return self.key if operation == "CreateKey" else USE


_OF_STORES: Final = frozenset({"CreateCustomKeyStore", "UpdateCustomKeyStore"})

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
        code=_Code.INVALID_CREDENTIALS,
    ),
    ProxyFault.ACCESS_DENIED: _Row(
        "The external key store proxy denied access to the operation. See that it allows the operation to the caller "
        "and for the external key.",
        "XksProxyInvalidResponseException",
        code=_Code.XKS_PROXY_ACCESS_DENIED,
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
        code=_Code.XKS_PROXY_INVALID_CONFIGURATION,
    ),
    ProxyFault.UNSUPPORTED_OPERATION: _Row(
        f"The external key store proxy does not support the operation. {_RETRY}",
        "XksProxyInvalidResponseException",
    ),
    ProxyFault.DEPENDENCY_TIMEOUT: _Row(
        f"The external key manager did not answer the external key store proxy in the time allotted. {_RETRY}",
        "XksProxyUriUnreachableException",
        code=_Code.XKS_PROXY_TIMED_OUT,
    ),
    ProxyFault.THROTTLED: _Row(
        "The external key store proxy rejected the request due to a very high request rate. Make fewer calls that use "
        "KMS keys of this key store.",
        "XksProxyUriUnreachableException",
        code=_Code.XKS_PROXY_NOT_REACHABLE,
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
        code=_Code.XKS_PROXY_NOT_REACHABLE,
    ),
    ProxyFault.MANAGERS_UNAVAILABLE: _Row(
        "The external key store proxy reports that every external key manager behind it is unavailable. See that they "
        "run and that the proxy reaches them.",
        "XksProxyUriUnreachableException",
        code=_Code.XKS_PROXY_NOT_REACHABLE,
    ),
    ProxyFault.TLS_FAILED: _Row(
        "A TLS connection to the external key store proxy cannot be made. See its TLS configuration and its "
        "certificate.",
        "XksProxyUriUnreachableException",
        code=_Code.XKS_PROXY_INVALID_TLS_CONFIGURATION,
    ),
    ProxyFault.TIMED_OUT: _Row(
        f"The request was rejected because the external key store proxy did not respond in time. {_RETRY}",
        "XksProxyUriUnreachableException",
        code=_Code.XKS_PROXY_TIMED_OUT,
    ),
    ProxyFault.UNFIT_KEY: _Row(
        "The external key is not an enabled 256-bit AES key that encrypts and decrypts, so no KMS key can be made for "
        "it.",
        "XksProxyInvalidResponseException",
        "XksKeyInvalidConfigurationException",
    ),
}


async def check_usable(at: Services, key_store: str, external_id: str) -> None:
    """See that an external key is there, free and fit to stand for a KMS key. Raises what CreateKey answers if not."""
    if at.database.read(lambda tx: externalkeys.holder(tx, key_store, external_id)) is not None:
        raise ExternalKeyInUse(f"External key {external_id} stands for another KMS key of this key store already.")
    store = at.database.read(lambda tx: objects.get_named(tx, Kind.KEY_STORE, key_store))
    if store is not None:
        check_uri(cast("KeyStore", store).spec.plugin_options(), external_id)
    found = await at.calls.find_external(key_store, external_id)
    if not (found.key_spec == "AES_256" and found.usages >= {"ENCRYPT", "DECRYPT"} and found.enabled):
        error = KeyStoreFailure(f"external key {external_id} is not fit", reason="KeyRefused", custom=True)
        error.cause = ProxyFault.UNFIT_KEY
        raise error


def check_uri(options: Mapping[str, Any], external_id: str) -> None:
    """See that the longest URI of a key keeps to the specification ("API operations"). Raises :class:`InvalidInput`."""
    uri = f"{options.get('uriEndpoint', '')}{options.get('uriPath', '')}/keys/{external_id}/metadata"
    if len(uri) > MAX_URI:
        raise InvalidInput(
            f"The URI of this external key has {len(uri)} characters; at most {MAX_URI} are allowed. Use a shorter "
            "external key id, or a shorter path of the proxy."
        )


def failure(cause: str) -> _Row | None:
    """The row of a cause, or None if it is none of an external key store."""
    return FAILURES.get(ProxyFault(cause)) if cause in _KNOWN else None


_KNOWN: Final = frozenset(ProxyFault)
