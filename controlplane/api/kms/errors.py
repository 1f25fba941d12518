"""The one map from the control plane's errors to AWS exceptions, and from decoding errors to AWS's validation messages.

Source: the exceptions and their HTTP status codes in the KMS service model; the common errors of JSON 1.1 services.
"""

from __future__ import annotations

import ast
import re

import msgspec

from controlplane import errors
from controlplane.api.kms import external_keys
from controlplane.api.kms.shapes.base import model_pattern
from controlplane.domain import lifecycle

_MAP: tuple[tuple[type[errors.KeysteadError], str, int], ...] = (
    (errors.KeyStoreNameInUse, "CustomKeyStoreNameInUseException", 400),
    (errors.KeyStoreHasKeys, "CustomKeyStoreHasCMKsException", 400),
    (errors.ClusterNotFound, "CloudHsmClusterNotFoundException", 400),
    (errors.ClusterInUse, "CloudHsmClusterInUseException", 400),
    (errors.ClusterNotActive, "CloudHsmClusterNotActiveException", 400),
    (errors.ClusterNotRelated, "CloudHsmClusterNotRelatedException", 400),
    (errors.ClusterUnsuitable, "CloudHsmClusterInvalidConfigurationException", 400),
    (errors.IncorrectTrustAnchor, "IncorrectTrustAnchorException", 400),
    (errors.ExternalKeyInUse, "XksKeyAlreadyInUseException", 400),
    (errors.ProxyUriInUse, "XksProxyUriInUseException", 400),
    (errors.ProxyEndpointInUse, "XksProxyUriEndpointInUseException", 400),
    (errors.ProxyServiceInUse, "XksProxyVpcEndpointServiceInUseException", 400),
    (errors.ProxyServiceNotFound, "XksProxyVpcEndpointServiceNotFoundException", 400),
    (errors.ProxyServiceUnsuitable, "XksProxyVpcEndpointServiceInvalidConfigurationException", 400),
    (errors.ProxyUnsuitable, "XksProxyInvalidConfigurationException", 400),
    (errors.InvalidArn, "InvalidArnException", 400),
    (errors.InvalidAliasName, "InvalidAliasNameException", 400),
    (errors.InvalidMarker, "InvalidMarkerException", 400),
    (errors.InvalidTags, "TagException", 400),
    (errors.InvalidPolicy, "MalformedPolicyDocumentException", 400),
    (errors.InvalidGrantId, "InvalidGrantIdException", 400),
    (errors.InvalidGrantToken, "InvalidGrantTokenException", 400),
    (errors.InvalidKeyUsage, "InvalidKeyUsageException", 400),
    (errors.InvalidCiphertext, "InvalidCiphertextException", 400),
    (errors.IncorrectKey, "IncorrectKeyException", 400),
    (errors.IncorrectKeyMaterial, "IncorrectKeyMaterialException", 400),
    (errors.InvalidImportToken, "InvalidImportTokenException", 400),
    (errors.ExpiredImportToken, "ExpiredImportTokenException", 400),
    (errors.InvalidSignature, "KMSInvalidSignatureException", 400),
    (errors.InvalidMac, "KMSInvalidMacException", 400),
    (errors.UnknownOperation, "UnknownOperationException", 400),
    (errors.InvalidInput, "ValidationException", 400),
    (errors.KeyStoreNotFound, "CustomKeyStoreNotFoundException", 400),
    (errors.NotFound, "NotFoundException", 400),
    (errors.AlreadyExists, "AlreadyExistsException", 400),
    (errors.Conflict, "ConflictException", 400),
    (errors.Blocked, "KMSInvalidStateException", 400),
    (errors.Disabled, "DisabledException", 400),
    (errors.InvalidKeyStoreState, "CustomKeyStoreInvalidStateException", 400),
    (errors.InvalidState, "KMSInvalidStateException", 400),
    (errors.AccessDenied, "AccessDeniedException", 400),
    (errors.LimitExceeded, "LimitExceededException", 400),
    (errors.DryRunPassed, "DryRunOperationException", 400),
    (errors.Unsupported, "UnsupportedOperationException", 400),
    (errors.KeyStoreUnavailable, "KeyUnavailableException", 500),
    (errors.KeyStoreFailure, "KMSInternalException", 500),
    (errors.DeadlineExceeded, "DependencyTimeoutException", 503),
    (errors.KeysteadError, "KMSInternalException", 500),
)
"""First match wins: a class stands before its base."""

_ELSEWHERE: tuple[tuple[str, frozenset[str], str], ...] = (
    ("InvalidArnException", lifecycle.USES | {"CreateAlias", "UpdateAlias"}, "NotFoundException"),
    ("InvalidAliasNameException", frozenset({"DeleteAlias", "UpdateAlias"}), "NotFoundException"),
    ("InvalidMarkerException", frozenset({"ListKeyPolicies"}), "ValidationException"),
    ("KMSInvalidStateException", frozenset({"GenerateRandom", "CreateKey"}), "CustomKeyStoreInvalidStateException"),
)
"""Exceptions that some operations do not have in the service model, and what they answer in their place: a client that
knows the model could not read the other."""

_UNAUTHENTICATED = {
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "UnrecognizedClient": "UnrecognizedClientException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "InvalidSignature": "InvalidSignatureException",
    "ExpiredToken": "ExpiredTokenException",
}

_INTERNAL = "The request was rejected because an internal exception occurred. The request can be retried."


class AwsException(msgspec.Struct, frozen=True):
    """An AWS exception as it goes over the wire."""

    type: str
    message: str
    status: int


def exception_of(error: Exception, operation: str = "") -> AwsException:
    """What an error of an operation is in AWS's words. The unexpected is KMSInternalException without detail."""
    if isinstance(error, errors.Unauthenticated):
        kind = _UNAUTHENTICATED.get(error.kind, "MissingAuthenticationTokenException")
        return AwsException(kind, error.message, 400)
    if isinstance(error, msgspec.ValidationError):
        return _validation(str(error))
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return AwsException("SerializationException", "The request body is not valid JSON.", 400)
    if isinstance(error, errors.StoreUnavailable | errors.Fatal):
        return AwsException("KMSInternalException", _INTERNAL, 500)
    if isinstance(error, errors.KeysteadError) and (row := external_keys.failure(error.cause)) is not None:
        return AwsException(row.exception(operation), row.message, 400)
    if isinstance(error, errors.KeyStoreFailure) and error.custom:
        # So AWS answers, whatever keeps it from a key store that the user owns.
        return AwsException(_known("KMSInvalidStateException", operation), error.message, 400)
    for kind_of, name, status in _MAP:
        if isinstance(error, kind_of):
            return AwsException(_known(name, operation), error.message, status)
    return AwsException("KMSInternalException", _INTERNAL, 500)


def _known(name: str, operation: str) -> str:
    return next((other for theirs, where, other in _ELSEWHERE if theirs == name and operation in where), name)


_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>\w+)`")
_NULL = re.compile(r"^Expected `[^`]+`, got `null`")
_CONSTRAINTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"^Expected `(?:str|bytes|array)` of length >= (\d+)"),
        "Member must have length greater than or equal to {}",
    ),
    (
        re.compile(r"^Expected `(?:str|bytes|array)` of length <= (\d+)"),
        "Member must have length less than or equal to {}",
    ),
    (re.compile(r"^Expected `int` >= (\d+)"), "Member must have value greater than or equal to {}"),
    (re.compile(r"^Expected `int` <= (\d+)"), "Member must have value less than or equal to {}"),
    (
        re.compile(r"^Expected `str` matching regex (.+?)(?: - at|$)"),
        "Member must satisfy regular expression pattern: {}",
    ),
    (re.compile(r"^Invalid enum value (.+?)(?: - at|$)"), "Member must satisfy enum value set"),
)


def _validation(message: str) -> AwsException:
    """A constraint of the model is a ValidationException, a wrong JSON type a SerializationException, as AWS says."""
    at = _AT.search(message)
    path = at["path"] if at else ""
    missing = _MISSING.match(message)
    if missing:
        name = f"{path}.{missing['name']}" if path else missing["name"]
        return _constraint(name, "Value null", "Member must not be null")
    if _NULL.match(message):
        return _constraint(path, "Value null", "Member must not be null")
    for pattern, text in _CONSTRAINTS:
        match = pattern.match(message)
        if match:
            limits = [_as_in_the_model(limit) for limit in match.groups()]
            return _constraint(path, "Value", text.format(*limits))
    return AwsException("SerializationException", f"The member {path or 'of the request'} has the wrong type.", 400)


def _as_in_the_model(limit: str) -> str:
    """A limit of a msgspec message: a number, or the repr of a pattern."""
    return model_pattern(ast.literal_eval(limit)) if limit[:1] in "'\"" else limit


def _constraint(path: str, value: str, text: str) -> AwsException:
    """The first letter of a member is lower case in these messages."""
    member = ".".join(part[:1].lower() + part[1:] for part in path.split("."))
    message = f"1 validation error detected: {value} at '{member}' failed to satisfy constraint: {text}"
    return AwsException("ValidationException", message, 400)
