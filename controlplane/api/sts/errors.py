"""The one map from the control plane's errors to the codes of STS.

Source: AWS STS API reference, "Common errors" and the errors of each operation, with their HTTP status codes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane import errors

_UNAUTHENTICATED: Final = {
    "MissingAuthenticationToken": ("MissingAuthenticationToken", 403),
    "IncompleteSignature": ("IncompleteSignature", 400),
    "UnrecognizedClient": ("InvalidClientTokenId", 403),
    "InvalidClientTokenId": ("InvalidClientTokenId", 403),
    "InvalidSignature": ("SignatureDoesNotMatch", 403),
    "ExpiredToken": ("ExpiredToken", 403),
}
_MAP: Final[tuple[tuple[type[errors.KeysteadError], str, int], ...]] = (
    (errors.InvalidPolicy, "MalformedPolicyDocument", 400),
    (errors.UnknownOperation, "InvalidAction", 400),
    (errors.LimitExceeded, "PackedPolicyTooLarge", 400),
    (errors.InvalidInput, "ValidationError", 400),
    (errors.Unsupported, "ValidationError", 400),
    (errors.AccessDenied, "AccessDenied", 403),
    (errors.StoreUnavailable, "ServiceUnavailable", 503),
    (errors.KeyStoreUnavailable, "ServiceUnavailable", 503),
)
"""First match wins: a class stands before its base."""


class Refusal(msgspec.Struct, frozen=True):
    """An error of STS as it goes over the wire."""

    code: str
    message: str
    status: int

    @property
    def fault(self) -> str:
        return "Sender" if self.status < 500 else "Receiver"


def refusal_of(error: Exception) -> Refusal:
    """What an error is in STS's words. Anything unexpected is InternalFailure without detail."""
    if isinstance(error, errors.Unauthenticated):
        code, status = _UNAUTHENTICATED.get(error.kind, ("MissingAuthenticationToken", 403))
        return Refusal(code, error.message, status)
    for kind, code, status in _MAP:
        if isinstance(error, kind):
            return Refusal(code, error.message, status)
    return Refusal("InternalFailure", "The request failed because of an internal error. It can be retried.", 500)
