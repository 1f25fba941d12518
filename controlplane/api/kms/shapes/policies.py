"""Shapes of key policies, as in the KMS service model. Used by their handlers."""

from __future__ import annotations

from controlplane.api.kms.shapes.base import KeyIdType, LimitType, MarkerType, PolicyNameType, PolicyType, Shape


class GetKeyPolicyRequest(Shape, kw_only=True):
    key_id: KeyIdType
    policy_name: PolicyNameType | None = None


class GetKeyPolicyResponse(Shape, kw_only=True):
    policy: PolicyType
    policy_name: PolicyNameType


class PutKeyPolicyRequest(Shape, kw_only=True):
    key_id: KeyIdType
    policy_name: PolicyNameType | None = None
    policy: PolicyType
    bypass_policy_lockout_safety_check: bool | None = None


class ListKeyPoliciesRequest(Shape, kw_only=True):
    key_id: KeyIdType
    limit: LimitType | None = None
    marker: MarkerType | None = None


class ListKeyPoliciesResponse(Shape, kw_only=True):
    policy_names: list[PolicyNameType]
    next_marker: MarkerType | None = None
    truncated: bool
