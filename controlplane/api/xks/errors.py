"""The one map from the control plane's errors to the XKS error names, and how a refusal looks on the wire.

Source: specification, "Error codes": names, HTTP codes, the APIs that answer each, and that a message has fewer than
512 characters, all printable ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from controlplane import errors

STATUS: Final[Mapping[str, int]] = {
    "ValidationException": 400,
    "InvalidStateException": 400,
    "InvalidCiphertextException": 400,
    "InvalidKeyUsageException": 400,
    "AuthenticationFailedException": 401,
    "AccessDeniedException": 403,
    "KeyNotFoundException": 404,
    "InvalidUriPathException": 404,
    "ThrottlingException": 429,
    "UnsupportedOperationException": 501,
    "DependencyTimeoutException": 503,
    "InternalException": 500,
}
"""Every error name of the specification and its HTTP code."""


class Api(StrEnum):
    """The APIs, by what their path ends in."""

    METADATA = "metadata"
    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    HEALTH = "health"


_OF_KEYS: Final = frozenset(Api) - {Api.HEALTH}

APIS: Final[Mapping[str, frozenset[Api]]] = {
    **dict.fromkeys(STATUS, frozenset(Api)),
    **dict.fromkeys(("ValidationException", "AccessDeniedException", "KeyNotFoundException"), _OF_KEYS),
    "InvalidCiphertextException": frozenset({Api.DECRYPT}),
    "InvalidKeyUsageException": frozenset({Api.ENCRYPT, Api.DECRYPT}),
}
"""The APIs that may answer each error: the last column of the table."""

MAX_MESSAGE: Final = 511


class InvalidUriPath(errors.KeysteadError):
    """The path belongs to no proxy, or names no API of it."""

    code = "InvalidUriPath"


class Refusal(msgspec.Struct, frozen=True):
    """One error as it goes over the wire."""

    name: str
    message: str

    @property
    def status(self) -> int:
        return STATUS[self.name]

    def body(self) -> bytes:
        told = {"errorName": self.name}
        if self.message:
            told["errorMessage"] = self.message
        return msgspec.json.encode(told)


_OWN: Final = "The proxy could not carry out the request; its log has the details under request id {}."

_TOLD: tuple[tuple[type[Exception], str], ...] = (
    (InvalidUriPath, "InvalidUriPathException"),
    (errors.Unauthenticated, "AuthenticationFailedException"),
    (errors.InvalidKeyUsage, "InvalidKeyUsageException"),
    (errors.InvalidInput, "ValidationException"),
    (errors.InvalidState, "InvalidStateException"),
    (errors.LimitExceeded, "ThrottlingException"),
    (errors.Unsupported, "UnsupportedOperationException"),
)
"""Errors whose own message is for the caller. First match wins: a class stands before its base."""


def refusal_of(error: Exception, request_id: str, api: Api | None = None) -> Refusal:
    """What an error is in the words of the specification; ``api`` is None as long as the request has named none.

    An error that the table does not have for the API is the generic one, and its message still says what is wrong: a
    body of GetHealthStatus that is none, for which there is no ValidationException.

    Which rule denied, which key store failed and how, is the operator's to know: it is in the audit record, and the
    answer goes into the log of another account.
    """
    refusal = _refusal(error, request_id)
    if api is None or api in APIS[refusal.name]:
        return refusal
    return Refusal("InternalException", refusal.message)


def _refusal(error: Exception, request_id: str) -> Refusal:
    if isinstance(error, errors.InvalidCiphertext):
        return Refusal(
            "InvalidCiphertextException",
            "The ciphertext, initialization vector, authentication tag, metadata or additional data is not right.",
        )
    if isinstance(error, errors.AccessDenied):
        return Refusal("AccessDeniedException", "Neither the key nor the proxy allows this by what the request says.")
    if isinstance(error, errors.NotFound):
        return Refusal("KeyNotFoundException", "The proxy has no external key of that id.")
    for kind, name in _TOLD:
        if isinstance(error, kind):
            assert isinstance(error, errors.KeysteadError)
            return Refusal(name, printable(error.message))
    if isinstance(error, errors.KeyStoreUnavailable) and error.reason == "Deadline":
        return Refusal("DependencyTimeoutException", "The key store of this key did not answer in time.")
    return Refusal("InternalException", _OWN.format(request_id))


def printable(message: str) -> str:
    """Printable ASCII, shorter than 512 characters."""
    return "".join(character if " " <= character <= "~" else "?" for character in message[:MAX_MESSAGE])
