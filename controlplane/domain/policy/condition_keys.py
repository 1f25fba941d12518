"""The condition keys that this door knows, with their types.

Who calls it: the builder of a request's context (``access``), tests that hold it against this table, documentation.
The evaluator does not: a policy may name any key, as AWS allows; a key that no request has is absent.

Names are matched without regard to case. A name that ends with ``*`` stands for a family (``aws:PrincipalTag/team``).
``multivalued`` keys come as tuples of strings, all others as one string: ``"true"`` or ``"false"``, a decimal number,
an ISO 8601 time or seconds since 1970, an address.

Sources: Service Authorization Reference, "Condition keys for AWS Key Management Service"; KMS Developer Guide, "AWS KMS
condition keys"; IAM User Guide, "AWS global condition context keys".
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class KeyType(StrEnum):
    """Which family of operators a key is made for."""

    STRING = "String"
    ARN = "ARN"
    BOOL = "Bool"
    NUMERIC = "Numeric"
    DATE = "Date"
    IP_ADDRESS = "IPAddress"


class ConditionKey(msgspec.Struct, frozen=True):
    """One key, or a family of keys if the name ends with ``*``."""

    name: str
    type: KeyType = KeyType.STRING
    multivalued: bool = False


_KEYS = (
    # ---- kms: of the request ----
    ConditionKey("kms:BypassPolicyLockoutSafetyCheck", KeyType.BOOL),
    ConditionKey("kms:CallerAccount"),
    ConditionKey("kms:DataKeyPairSpec"),
    ConditionKey("kms:EncryptionAlgorithm"),
    ConditionKey("kms:EncryptionContext:*"),
    ConditionKey("kms:EncryptionContextKeys", multivalued=True),
    ConditionKey("kms:ExpirationModel"),
    ConditionKey("kms:GrantConstraintSourceArn", KeyType.ARN),
    ConditionKey("kms:GrantConstraintType"),
    ConditionKey("kms:GrantIsForAWSResource", KeyType.BOOL),
    ConditionKey("kms:GrantOperations", multivalued=True),
    ConditionKey("kms:GranteePrincipal"),
    ConditionKey("kms:GranteeServicePrincipal"),
    ConditionKey("kms:KeyAgreementAlgorithm"),
    ConditionKey("kms:MacAlgorithm"),
    ConditionKey("kms:MessageType"),
    ConditionKey("kms:PolicyName"),
    ConditionKey("kms:PrimaryRegion"),
    ConditionKey("kms:ReEncryptOnSameKey", KeyType.BOOL),
    ConditionKey("kms:RecipientAttestation:ImageSha384"),
    ConditionKey("kms:RecipientAttestation:NitroTPMPCR*"),
    ConditionKey("kms:RecipientAttestation:PCR*"),
    ConditionKey("kms:ReplicaRegion"),
    ConditionKey("kms:RequestAlias"),
    ConditionKey("kms:RetiringPrincipal"),
    ConditionKey("kms:RetiringServicePrincipal"),
    ConditionKey("kms:RotationPeriodInDays", KeyType.NUMERIC),
    ConditionKey("kms:ScheduleKeyDeletionPendingWindowInDays", KeyType.NUMERIC),
    ConditionKey("kms:SigningAlgorithm"),
    ConditionKey("kms:ValidTo", KeyType.DATE),
    ConditionKey("kms:ViaService"),
    ConditionKey("kms:WrappingAlgorithm"),
    ConditionKey("kms:WrappingKeySpec"),
    # ---- kms: of the key that is created or used ----
    ConditionKey("kms:CustomerMasterKeySpec"),
    ConditionKey("kms:CustomerMasterKeyUsage"),
    ConditionKey("kms:KeyOrigin"),
    ConditionKey("kms:KeySpec"),
    ConditionKey("kms:KeyUsage"),
    ConditionKey("kms:MultiRegion", KeyType.BOOL),
    ConditionKey("kms:MultiRegionKeyType"),
    ConditionKey("kms:ResourceAliases", multivalued=True),
    ConditionKey("kms:TrailingDaysWithoutKeyUsage", KeyType.NUMERIC),
    # ---- aws: of the principal ----
    ConditionKey("aws:PrincipalAccount"),
    ConditionKey("aws:PrincipalArn", KeyType.ARN),
    ConditionKey("aws:PrincipalIsAWSService", KeyType.BOOL),
    ConditionKey("aws:PrincipalTag/*"),
    ConditionKey("aws:PrincipalType"),
    ConditionKey("aws:userid"),
    ConditionKey("aws:username"),
    # ---- aws: of the session ----
    ConditionKey("aws:FederatedProvider"),
    ConditionKey("aws:MultiFactorAuthAge", KeyType.NUMERIC),
    ConditionKey("aws:MultiFactorAuthPresent", KeyType.BOOL),
    ConditionKey("aws:SourceIdentity"),
    ConditionKey("aws:TokenIssueTime", KeyType.DATE),
    # ---- sts: of a request for a session ----
    ConditionKey("sts:ExternalId"),
    ConditionKey("sts:RoleSessionName"),
    ConditionKey("sts:SourceIdentity"),
    # ---- aws: of the network ----
    ConditionKey("aws:SourceIp", KeyType.IP_ADDRESS),
    ConditionKey("aws:SourceVpc"),
    ConditionKey("aws:SourceVpce"),
    ConditionKey("aws:VpcSourceIp", KeyType.IP_ADDRESS),
    # ---- aws: of the resource ----
    ConditionKey("aws:ResourceAccount"),
    ConditionKey("aws:ResourceTag/*"),
    # ---- aws: of the request ----
    ConditionKey("aws:CalledVia", multivalued=True),
    ConditionKey("aws:CalledViaFirst"),
    ConditionKey("aws:CalledViaLast"),
    ConditionKey("aws:CurrentTime", KeyType.DATE),
    ConditionKey("aws:EpochTime", KeyType.DATE),
    ConditionKey("aws:Referer"),
    ConditionKey("aws:RequestTag/*"),
    ConditionKey("aws:RequestedRegion"),
    ConditionKey("aws:SecureTransport", KeyType.BOOL),
    ConditionKey("aws:SourceAccount"),
    ConditionKey("aws:SourceArn", KeyType.ARN),
    ConditionKey("aws:TagKeys", multivalued=True),
    ConditionKey("aws:UserAgent"),
    ConditionKey("aws:ViaAWSService", KeyType.BOOL),
)

CONDITION_KEYS: dict[str, ConditionKey] = {key.name: key for key in _KEYS}
"""By name as the documentation spells it."""

_FOLDED = {key.name.lower(): key for key in _KEYS if not key.name.endswith("*")}
_FAMILIES = tuple((key.name[:-1].lower(), key) for key in _KEYS if key.name.endswith("*"))


def condition_key(name: str) -> ConditionKey | None:
    """What is known about a key, or None; ``AWS:principaltag/Team`` finds ``aws:PrincipalTag/*``."""
    folded = name.lower()
    known = _FOLDED.get(folded)
    if known is not None:
        return known
    return next((key for prefix, key in _FAMILIES if folded.startswith(prefix) and len(folded) > len(prefix)), None)
