"""Shapes of grants, as in the KMS service model. Used by its handlers."""

from __future__ import annotations

from controlplane.api.kms.shapes.base import (
    GrantConstraintSourceArnType,
    GrantIdType,
    GrantNameType,
    GrantTokenList,
    GrantTokenType,
    KeyIdType,
    LimitType,
    MarkerType,
    PrincipalIdType,
    ServicePrincipalType,
    Shape,
)
from controlplane.schema.grants import GrantOperation


class GrantConstraints(Shape, kw_only=True):
    encryption_context_subset: dict[str, str] | None = None
    encryption_context_equals: dict[str, str] | None = None
    source_arn: GrantConstraintSourceArnType | None = None


class CreateGrantRequest(Shape, kw_only=True):
    key_id: KeyIdType
    grantee_principal: PrincipalIdType | None = None
    retiring_principal: PrincipalIdType | None = None
    operations: list[GrantOperation]
    constraints: GrantConstraints | None = None
    grant_tokens: GrantTokenList | None = None
    name: GrantNameType | None = None
    dry_run: bool | None = None
    grantee_service_principal: ServicePrincipalType | None = None
    retiring_service_principal: ServicePrincipalType | None = None


class CreateGrantResponse(Shape, kw_only=True):
    grant_token: GrantTokenType
    grant_id: GrantIdType


class ListGrantsRequest(Shape, kw_only=True):
    limit: LimitType | None = None
    marker: MarkerType | None = None
    key_id: KeyIdType
    grant_id: GrantIdType | None = None
    grantee_principal: PrincipalIdType | None = None
    grantee_service_principal: ServicePrincipalType | None = None


class GrantListEntry(Shape, kw_only=True):
    key_id: KeyIdType
    grant_id: GrantIdType
    name: GrantNameType | None = None
    creation_date: float
    grantee_principal: PrincipalIdType | None = None
    retiring_principal: PrincipalIdType | None = None
    issuing_account: PrincipalIdType
    operations: list[GrantOperation]
    constraints: GrantConstraints | None = None
    grantee_service_principal: ServicePrincipalType | None = None
    retiring_service_principal: ServicePrincipalType | None = None


class ListGrantsResponse(Shape, kw_only=True):
    grants: list[GrantListEntry]
    next_marker: MarkerType | None = None
    truncated: bool


class ListRetirableGrantsRequest(Shape, kw_only=True):
    limit: LimitType | None = None
    marker: MarkerType | None = None
    retiring_principal: PrincipalIdType | None = None
    retiring_service_principal: ServicePrincipalType | None = None


class RetireGrantRequest(Shape, kw_only=True):
    grant_token: GrantTokenType | None = None
    key_id: KeyIdType | None = None
    grant_id: GrantIdType | None = None
    dry_run: bool | None = None


class RevokeGrantRequest(Shape, kw_only=True):
    key_id: KeyIdType
    grant_id: GrantIdType
    dry_run: bool | None = None
