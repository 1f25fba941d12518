"""Audit records in the shape of AWS CloudTrail events, so that tools that read those read ours.

Who calls it: ``keystead audit export``; GetKeyLastUsage names events by their ids. Source: AWS CloudTrail User Guide,
"CloudTrail record contents", and AWS KMS Developer Guide, "Logging AWS KMS API calls" (the events of each operation).
What CloudTrail has no member for (the rule that decided, the latency, the place in the journal) is in
``additionalEventData``, which it leaves to the service.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from controlplane.audit.records import AuditEntry, AuditRecord

EVENT_VERSION: Final = "1.11"
_NAMESPACE: Final = uuid.UUID("5f0c6e1e-6f35-5f6c-9b1b-0d3c1b0a7e52")
_READING: Final = (
    "Decapsulate", "Decrypt", "Derive", "Describe", "Encapsulate", "Encrypt", "GenerateDataKey", "GenerateMac",
    "GenerateRandom", "Get", "List", "MakePlan", "ReEncrypt", "Search", "Sign", "Stream", "Verify",
)  # fmt: skip
"""Beginnings of operations that change nothing; cryptographic ones count as such in CloudTrail."""

_INTERNAL: Final = "KMSInternalException"
_ERROR_CODES: Final[Mapping[str, str]] = {
    "AccessDenied": "AccessDenied",
    "Blocked": "KMSInvalidStateException",
    "ClusterInUse": "CloudHsmClusterInUseException",
    "ClusterNotActive": "CloudHsmClusterNotActiveException",
    "ClusterNotFound": "CloudHsmClusterNotFoundException",
    "ClusterNotRelated": "CloudHsmClusterNotRelatedException",
    "ClusterUnsuitable": "CloudHsmClusterInvalidConfigurationException",
    "DeadlineExceeded": "DependencyTimeoutException",
    "DryRunPassed": "DryRunOperationException",
    "InvalidInput": "ValidationException",
    "ExternalKeyInUse": "XksKeyAlreadyInUseException",
    "InvalidKeyStoreState": "CustomKeyStoreInvalidStateException",
    "InvalidMac": "KMSInvalidMacException",
    "InvalidPolicy": "MalformedPolicyDocumentException",
    "InvalidSignature": "KMSInvalidSignatureException",
    "InvalidState": "KMSInvalidStateException",
    "InvalidTags": "TagException",
    "KeyStoreHasKeys": "CustomKeyStoreHasCMKsException",
    "KeyStoreNameInUse": "CustomKeyStoreNameInUseException",
    "KeyStoreNotFound": "CustomKeyStoreNotFoundException",
    "KeyStoreUnavailable": "KeyUnavailableException",
    "OwnedElsewhere": "ConflictException",
    "PreconditionFailed": "ConflictException",
    "ProxyEndpointInUse": "XksProxyUriEndpointInUseException",
    "ProxyServiceInUse": "XksProxyVpcEndpointServiceInUseException",
    "ProxyServiceNotFound": "XksProxyVpcEndpointServiceNotFoundException",
    "ProxyServiceUnsuitable": "XksProxyVpcEndpointServiceInvalidConfigurationException",
    "ProxyUnsuitable": "XksProxyInvalidConfigurationException",
    "ProxyUriInUse": "XksProxyUriInUseException",
    "StalePlan": "ConflictException",
    "Unauthenticated": "AccessDenied",
    "Unsupported": "UnsupportedOperationException",
    **dict.fromkeys(
        (
            "AuditUnavailable",
            "Fatal",
            "InternalError",
            "KeyStoreFailure",
            "KeyStoreOutcomeUnknown",
            "StartupRefused",
            "StoreDamaged",
            "StoreUnavailable",
        ),
        _INTERNAL,
    ),
}
"""Our codes that AWS calls otherwise; for all others it is ours with ``Exception`` behind it."""


def error_code(code: str) -> str:
    """One of our codes in AWS's words, as the KMS door answers it."""
    return _ERROR_CODES.get(code, f"{code}Exception")


def event_id(request_id: str, chain: str, seq: int) -> str:
    """The id of the event of one record: the same whenever it is asked for."""
    return str(uuid.uuid5(_NAMESPACE, f"{request_id}/{chain}/{seq}"))


def event(entry: AuditEntry) -> dict[str, Any]:
    """One record as a CloudTrail event."""
    record = entry.record
    account = _account(record)
    kms = not record.action.startswith("keystead:")
    by_server = record.principal.startswith("keystead:")
    shown: dict[str, Any] = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": _identity(record, account),
        "eventTime": record.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "kms.amazonaws.com" if kms else "keystead",
        "eventName": record.operation,
        "awsRegion": record.region,
        "sourceIPAddress": record.source,
        "userAgent": "keystead" if by_server else None,
        "requestParameters": _parameters(record),
        "responseElements": None,
        "additionalEventData": {
            "decision": record.decision,
            "reason": record.reason,
            "action": record.action,
            "latencyMicroseconds": record.latency_us,
            "chain": entry.chain,
            "sequence": entry.seq,
            **(record.details or {}),
        },
        "requestID": record.request_id,
        "eventID": event_id(record.request_id, entry.chain, entry.seq),
        "readOnly": record.operation.startswith(_READING),
        "resources": _resources(record, account),
        "eventType": "AwsServiceEvent" if by_server else "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    }
    if record.error is not None:
        shown["errorCode"] = error_code(record.error) if kms else record.error
        shown["errorMessage"] = record.reason
    return shown


def _account(record: AuditRecord) -> str | None:
    """That of the principal; what the server does by itself happens in the account of the resource."""
    for arn in (record.principal, record.resource or ""):
        if arn.startswith("arn:"):
            return arn.split(":", 5)[4]
    return None


def _identity(record: AuditRecord, account: str | None) -> dict[str, Any]:
    """Who: a user or role of ours has an ARN of IAM's form."""
    if record.principal.startswith("keystead:"):
        return {"type": "AWSService", "accountId": account, "invokedBy": record.principal}
    _, _, resource = record.principal.partition(f"::{account}:")
    kind, _, name = resource.partition("/")
    identity = {
        "type": {"user": "IAMUser", "role": "Role"}.get(kind, "Unknown"),
        "principalId": name or record.principal,
        "arn": record.principal,
        "accountId": account,
    }
    return {**identity, "userName": name} if name else identity


def _parameters(record: AuditRecord) -> dict[str, Any] | None:
    parameters: dict[str, Any] = {}
    if record.resource not in (None, "*"):
        parameters["keyId" if not record.action.startswith("keystead:") else "resource"] = record.resource
    if record.encryption_context:
        parameters["encryptionContext"] = record.encryption_context
    return parameters or None


def _resources(record: AuditRecord, account: str | None) -> list[dict[str, str | None]]:
    if record.resource is None or not record.resource.startswith("arn:aws:kms:"):
        return []
    return [{"accountId": account, "type": "AWS::KMS::Key", "ARN": record.resource}]
