"""The one error tree of the control plane. No HTTP in it: each door maps it once (``api/*/errors.py``, ``problems``).

::

    KeysteadError                   code, message
    ├── InvalidInput                the request is wrong; says what would be right
    │   ├── InvalidSpec                a document is wrong: one or more Problems with file, document, line and path
    │   ├── InvalidArn, InvalidAliasName, InvalidMarker, InvalidTags, InvalidPolicy
    │   ├── InvalidGrantId, InvalidGrantToken
    │   ├── UnknownOperation           the door has no operation of this name
    │   ├── Undecodable                a body that is no JSON, or has members of a wrong type
    │   ├── InvalidKeyUsage            the key's usage or algorithms do not allow this
    │   ├── InvalidCiphertext          not made by this key, or changed, or another encryption context
    │   ├── IncorrectKey               the ciphertext names another key than the caller
    │   ├── IncorrectKeyMaterial       imported material is not what the key takes
    │   ├── InvalidImportToken         not an import token of this key
    │   ├── ExpiredImportToken
    │   ├── InvalidSignature           a signature does not verify
    │   └── InvalidMac                 a MAC does not verify
    ├── NotFound
    │   └── KeyStoreNotFound
    ├── AlreadyExists
    │   └── ExternalKeyInUse           the external key stands for another key of the key store already
    ├── Conflict                    the object moved: resource version or owner differs
    │   ├── PreconditionFailed         the request named a version that is not the present one
    │   ├── StalePlan
    │   └── OwnedElsewhere
    ├── Blocked                     a plan or request that would do harm: protected, in use, cannot be made in place
    ├── InvalidState                the key or store is in a state that does not allow this
    │   ├── Disabled
    │   └── InvalidKeyStoreState       a custom key store is not connected
    ├── AccessDenied                authenticated, and not allowed; ``reason`` goes to the audit record only
    ├── Unauthenticated
    ├── LimitExceeded
    ├── DryRunPassed                asked for a dry run, and it would have succeeded
    ├── Unsupported
    ├── KeyStoreFailure             a key store refused, failed or did not answer
    │   ├── KeyStoreUnavailable        nothing happened; try again
    │   └── KeyStoreOutcomeUnknown     may have happened; the reconciler finds out
    ├── DeadlineExceeded            written, not yet observed
    ├── StoreUnavailable            the database cannot write now (full disk, read-only): nothing was changed
    ├── of custom key stores        KeyStoreNameInUse, KeyStoreHasKeys, ClusterNotFound, ClusterInUse,
    │                               ClusterNotActive, ClusterNotRelated, ClusterUnsuitable, IncorrectTrustAnchor,
    │                               ProxyUriInUse, ProxyEndpointInUse, ProxyServiceInUse, ProxyServiceNotFound,
    │                               ProxyServiceUnsuitable, ProxyUnsuitable; each is of a kind above
    └── Fatal                       the process cannot go on
        ├── StartupRefused             the server does not start, and why
        ├── StoreDamaged               the database or a key token fails its checks
        └── AuditUnavailable           the audit record could not be written: the request fails

Messages are sentences for people and never hold key material, plaintext or credentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class KeysteadError(Exception):
    """Base. ``code`` is the stable name that machines match; ``message`` is for people."""

    code: ClassVar[str] = "InternalError"
    cause: str = ""
    """Of what a key store failed with: the plugin's own reason, where a door has words for it (``ProxyFault``)."""
    audited: bool = False
    """Whether the audit journal has the request that this ended."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(KeysteadError):
    code = "InvalidInput"


class Problem(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One thing wrong in a spec file. ``line`` and ``document`` count from 1; ``path`` is like ``spec.keySpec``."""

    message: str
    file: str | None = None
    document: int | None = None
    line: int | None = None
    path: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        where = self.file or ""
        if self.line is not None:
            where += f":{self.line}"
        if self.document is not None:
            where += f": document {self.document}"
        if self.path:
            where += f": {self.path}"
        where = where.removeprefix(": ")
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}; {self.hint}" if self.hint else text


class InvalidSpec(InvalidInput):
    code = "InvalidSpec"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


class InvalidArn(InvalidInput):
    code = "InvalidArn"


class InvalidAliasName(InvalidInput):
    code = "InvalidAliasName"


class InvalidMarker(InvalidInput):
    code = "InvalidMarker"


class InvalidTags(InvalidInput):
    code = "InvalidTags"


class InvalidPolicy(InvalidInput):
    code = "InvalidPolicy"


class InvalidGrantId(InvalidInput):
    code = "InvalidGrantId"


class InvalidGrantToken(InvalidInput):
    code = "InvalidGrantToken"


class UnknownOperation(InvalidInput):
    code = "UnknownOperation"


class Undecodable(InvalidInput):
    code = "Serialization"


class InvalidKeyUsage(InvalidInput):
    code = "InvalidKeyUsage"


class InvalidCiphertext(InvalidInput):
    code = "InvalidCiphertext"


class IncorrectKey(InvalidInput):
    code = "IncorrectKey"


class IncorrectKeyMaterial(InvalidInput):
    code = "IncorrectKeyMaterial"


class InvalidImportToken(InvalidInput):
    code = "InvalidImportToken"


class ExpiredImportToken(InvalidInput):
    code = "ExpiredImportToken"


class InvalidSignature(InvalidInput):
    code = "InvalidSignature"


class InvalidMac(InvalidInput):
    code = "InvalidMac"


class NotFound(KeysteadError):
    code = "NotFound"


class KeyStoreNotFound(NotFound):
    code = "KeyStoreNotFound"


class AlreadyExists(KeysteadError):
    code = "AlreadyExists"


class ExternalKeyInUse(AlreadyExists):
    code = "ExternalKeyInUse"


class Conflict(KeysteadError):
    code = "Conflict"


class PreconditionFailed(Conflict):
    code = "PreconditionFailed"


class StalePlan(Conflict):
    code = "StalePlan"


class OwnedElsewhere(Conflict):
    code = "OwnedElsewhere"


class Blocked(KeysteadError):
    code = "Blocked"


class InvalidState(KeysteadError):
    code = "InvalidState"


class Disabled(InvalidState):
    code = "Disabled"


class InvalidKeyStoreState(InvalidState):
    code = "InvalidKeyStoreState"


class AccessDenied(KeysteadError):
    code = "AccessDenied"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class Unauthenticated(KeysteadError):
    """``kind`` names what was wrong in the words of the SigV4 doors: see ``access.sigv4``."""

    code = "Unauthenticated"

    def __init__(self, message: str, *, kind: str = "Missing") -> None:
        super().__init__(message)
        self.kind = kind


class LimitExceeded(KeysteadError):
    code = "LimitExceeded"


class DryRunPassed(KeysteadError):
    code = "DryRunPassed"


class Unsupported(KeysteadError):
    code = "Unsupported"


class KeyStoreNameInUse(AlreadyExists):
    code = "KeyStoreNameInUse"


class KeyStoreHasKeys(Blocked):
    code = "KeyStoreHasKeys"


class ClusterNotFound(NotFound):
    code = "ClusterNotFound"


class ClusterInUse(AlreadyExists):
    code = "ClusterInUse"


class ClusterNotActive(InvalidState):
    code = "ClusterNotActive"


class ClusterNotRelated(InvalidInput):
    code = "ClusterNotRelated"


class ClusterUnsuitable(InvalidInput):
    code = "ClusterUnsuitable"


class IncorrectTrustAnchor(InvalidInput):
    code = "IncorrectTrustAnchor"


class ProxyUriInUse(AlreadyExists):
    code = "ProxyUriInUse"


class ProxyEndpointInUse(AlreadyExists):
    code = "ProxyEndpointInUse"


class ProxyServiceInUse(AlreadyExists):
    code = "ProxyServiceInUse"


class ProxyServiceNotFound(NotFound):
    code = "ProxyServiceNotFound"


class ProxyServiceUnsuitable(InvalidInput):
    code = "ProxyServiceUnsuitable"


class ProxyUnsuitable(InvalidInput):
    code = "ProxyUnsuitable"


class KeyStoreFailure(KeysteadError):
    """``reason`` is a CamelCase word that says what follows, ``detail`` the plugin's own, which says what it was.

    ``custom`` tells a store that the user owns from the one that every server has.
    """

    code = "KeyStoreFailure"

    def __init__(self, message: str, *, reason: str = "KeyStoreError", detail: str = "", custom: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.detail = detail or reason
        self.custom = custom


class KeyStoreUnavailable(KeyStoreFailure):
    code = "KeyStoreUnavailable"


class KeyStoreOutcomeUnknown(KeyStoreFailure):
    code = "KeyStoreOutcomeUnknown"


class DeadlineExceeded(KeysteadError):
    code = "DeadlineExceeded"


class StoreUnavailable(KeysteadError):
    code = "StoreUnavailable"


class Fatal(KeysteadError):
    code = "Fatal"


class StartupRefused(Fatal):
    code = "StartupRefused"


class StoreDamaged(Fatal):
    code = "StoreDamaged"


class AuditUnavailable(Fatal):
    code = "AuditUnavailable"
