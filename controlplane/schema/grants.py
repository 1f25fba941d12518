"""Grants: permissions on one KMS key for one principal, made and taken back over the KMS API.

Source: the AWS KMS API reference, ``CreateGrant``, ``GrantConstraints`` and ``GrantListEntry``.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from controlplane.schema.base import Frozen


class GrantOperation(StrEnum):
    """What a grant can allow. Values and order as in the model."""

    DECRYPT = "Decrypt"
    ENCRYPT = "Encrypt"
    GENERATEDATAKEY = "GenerateDataKey"
    GENERATEDATAKEYWITHOUTPLAINTEXT = "GenerateDataKeyWithoutPlaintext"
    REENCRYPTFROM = "ReEncryptFrom"
    REENCRYPTTO = "ReEncryptTo"
    SIGN = "Sign"
    VERIFY = "Verify"
    GETPUBLICKEY = "GetPublicKey"
    CREATEGRANT = "CreateGrant"
    RETIREGRANT = "RetireGrant"
    DESCRIBEKEY = "DescribeKey"
    GENERATEDATAKEYPAIR = "GenerateDataKeyPair"
    GENERATEDATAKEYPAIRWITHOUTPLAINTEXT = "GenerateDataKeyPairWithoutPlaintext"
    GENERATEMAC = "GenerateMac"
    VERIFYMAC = "VerifyMac"
    DERIVESHAREDSECRET = "DeriveSharedSecret"
    ENCAPSULATE = "Encapsulate"
    DECAPSULATE = "Decapsulate"


class GrantConstraints(Frozen):
    """When a grant holds. ``source_arn``: only for a request that is made on behalf of that resource."""

    encryption_context_equals: dict[str, str] | None = None
    encryption_context_subset: dict[str, str] | None = None
    source_arn: str | None = None


class Grant(Frozen):
    """One grant. Of the grantee's two members exactly one is given, of the retiring principal's at most one."""

    grant_id: str
    key_arn: str
    created_at: datetime
    issuing_account: str
    """ARN of the root of the account that made it."""
    operations: tuple[GrantOperation, ...]
    name: str | None = None
    grantee_principal: str | None = None
    grantee_service_principal: str | None = None
    retiring_principal: str | None = None
    retiring_service_principal: str | None = None
    constraints: GrantConstraints | None = None
