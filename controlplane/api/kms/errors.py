"""The one map from the control plane's errors to AWS exceptions.

Source: the exceptions and their HTTP status codes in the KMS service model; the common errors of JSON 1.1 services.
"""

from __future__ import annotations

import msgspec

from controlplane import errors
from controlplane.api.kms import external_keys
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
    (errors.Undecodable, "SerializationException", 400),
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

_WITHOUT_UNSUPPORTED = lifecycle.USES - {"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
"""Uses of a key whose algorithm a key store may lack (Ed25519ph). Of what the model has there, the nearest is
that of an algorithm that does not go with the key."""

_WITHOUT_TIMEOUT = frozenset(
    {
        *("ConnectCustomKeyStore", "CreateCustomKeyStore", "DeleteCustomKeyStore", "DescribeCustomKeyStores"),
        *("DisconnectCustomKeyStore", "GenerateMac", "ListKeyRotations", "ListResourceTags", "ReplicateKey"),
        *("TagResource", "UntagResource", "UpdateCustomKeyStore", "UpdatePrimaryRegion", "VerifyMac"),
    }
)
_WITH_KEY_UNAVAILABLE = lifecycle.USES | {"GetPublicKey", ""}

_ELSEWHERE: tuple[tuple[str, frozenset[str], str], ...] = (
    ("InvalidArnException", lifecycle.USES | {"CreateAlias", "UpdateAlias"}, "NotFoundException"),
    ("InvalidAliasNameException", frozenset({"DeleteAlias", "UpdateAlias"}), "NotFoundException"),
    ("InvalidMarkerException", frozenset({"ListKeyPolicies"}), "ValidationException"),
    ("InvalidGrantTokenException", frozenset({"DescribeKey"}), "ValidationException"),
    ("DependencyTimeoutException", _WITHOUT_TIMEOUT, "KMSInternalException"),
    ("UnsupportedOperationException", _WITHOUT_UNSUPPORTED, "InvalidKeyUsageException"),
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

_INTERNAL_NAME = "KMSInternalException"
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
    if isinstance(error, errors.StoreUnavailable | errors.Fatal):
        return AwsException("KMSInternalException", _INTERNAL, 500)
    if isinstance(error, errors.KeysteadError) and (row := external_keys.failure(error.cause)) is not None:
        return AwsException(row.exception(operation), row.message, 400)
    if isinstance(error, errors.KeyStoreFailure) and error.custom:
        # So AWS answers, whatever keeps it from a key store that the user owns.
        return AwsException(_known("KMSInvalidStateException", operation), error.message, 400)
    for kind_of, name, status in _MAP:
        if isinstance(error, kind_of):
            known = _known(name, operation)
            return AwsException(known, error.message, 500 if known == _INTERNAL_NAME else status)
    return AwsException("KMSInternalException", _INTERNAL, 500)


def _known(name: str, operation: str) -> str:
    if name == "KeyUnavailableException" and operation not in _WITH_KEY_UNAVAILABLE:
        return _INTERNAL_NAME
    return next((other for theirs, where, other in _ELSEWHERE if theirs == name and operation in where), name)
