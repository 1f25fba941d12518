"""Shapes of keys, their metadata and tags, as in the KMS service model. Used by its handlers."""

from __future__ import annotations

import msgspec

from controlplane.api.kms.shapes.base import (
    ArnType,
    BackingKeyIdType,
    CloudHsmClusterIdType,
    CustomKeyStoreIdType,
    DescriptionType,
    GrantTokenList,
    KeyIdType,
    LimitType,
    MarkerType,
    PendingWindowInDaysType,
    PolicyType,
    RegionType,
    ResourceOwnersList,
    Shape,
    Tag,
    TagKeyType,
    XksKeyIdType,
)
from controlplane.api.kms.shapes.enums import (
    CustomerMasterKeySpec,
    EncapsulationAlgorithmSpec,
    EncryptionAlgorithmSpec,
    ExpirationModelType,
    KeyAgreementAlgorithmSpec,
    KeyLastUsageTrackingOperation,
    KeyManagerType,
    MacAlgorithmSpec,
    MultiRegionKeyType,
    SigningAlgorithmSpec,
)
from controlplane.schema.keys import KeySpec, KeyState, KeyUsage, Origin


class CreateKeyRequest(Shape, kw_only=True):
    policy: PolicyType | None = None
    description: DescriptionType | None = None
    key_usage: KeyUsage | None = None
    customer_master_key_spec: CustomerMasterKeySpec | None = None
    key_spec: KeySpec | None = None
    origin: Origin | None = None
    custom_key_store_id: CustomKeyStoreIdType | None = None
    bypass_policy_lockout_safety_check: bool | None = None
    tags: list[Tag] | None = None
    multi_region: bool | None = None
    xks_key_id: XksKeyIdType | None = None


class MultiRegionKey(Shape, kw_only=True):
    arn: ArnType
    region: RegionType


class MultiRegionConfiguration(Shape, kw_only=True):
    multi_region_key_type: MultiRegionKeyType
    primary_key: MultiRegionKey
    replica_keys: list[MultiRegionKey]


class XksKeyConfigurationType(Shape, kw_only=True):
    id: XksKeyIdType


class KeyMetadata(Shape, kw_only=True):
    aws_account_id: str = msgspec.field(name="AWSAccountId")
    key_id: KeyIdType
    arn: ArnType
    creation_date: float
    enabled: bool
    description: DescriptionType
    key_usage: KeyUsage
    key_state: KeyState
    deletion_date: float | None = None
    valid_to: float | None = None
    origin: Origin
    custom_key_store_id: CustomKeyStoreIdType | None = None
    cloud_hsm_cluster_id: CloudHsmClusterIdType | None = None
    expiration_model: ExpirationModelType | None = None
    key_manager: KeyManagerType
    customer_master_key_spec: KeySpec
    key_spec: KeySpec
    encryption_algorithms: list[EncryptionAlgorithmSpec] | None = None
    signing_algorithms: list[SigningAlgorithmSpec] | None = None
    key_agreement_algorithms: list[KeyAgreementAlgorithmSpec] | None = None
    encapsulation_algorithms: list[EncapsulationAlgorithmSpec] | None = None
    multi_region: bool
    multi_region_configuration: MultiRegionConfiguration | None = None
    pending_deletion_window_in_days: PendingWindowInDaysType | None = None
    mac_algorithms: list[MacAlgorithmSpec] | None = None
    xks_key_configuration: XksKeyConfigurationType | None = None
    current_key_material_id: BackingKeyIdType | None = None


class CreateKeyResponse(Shape, kw_only=True):
    key_metadata: KeyMetadata


class DescribeKeyRequest(Shape, kw_only=True):
    key_id: KeyIdType
    grant_tokens: GrantTokenList | None = None


class DescribeKeyResponse(Shape, kw_only=True):
    key_metadata: KeyMetadata


class ListKeysRequest(Shape, kw_only=True):
    limit: LimitType | None = None
    marker: MarkerType | None = None
    resource_owners: ResourceOwnersList | None = None


class KeyListEntry(Shape, kw_only=True):
    key_id: KeyIdType
    key_arn: ArnType


class ListKeysResponse(Shape, kw_only=True):
    keys: list[KeyListEntry]
    next_marker: MarkerType | None = None
    truncated: bool


class EnableKeyRequest(Shape, kw_only=True):
    key_id: KeyIdType


class DisableKeyRequest(Shape, kw_only=True):
    key_id: KeyIdType


class ScheduleKeyDeletionRequest(Shape, kw_only=True):
    key_id: KeyIdType
    pending_window_in_days: PendingWindowInDaysType | None = None


class ScheduleKeyDeletionResponse(Shape, kw_only=True):
    key_id: KeyIdType
    deletion_date: float | None = None
    key_state: KeyState
    pending_window_in_days: PendingWindowInDaysType


class CancelKeyDeletionRequest(Shape, kw_only=True):
    key_id: KeyIdType


class CancelKeyDeletionResponse(Shape, kw_only=True):
    key_id: KeyIdType


class UpdateKeyDescriptionRequest(Shape, kw_only=True):
    key_id: KeyIdType
    description: DescriptionType


class GetKeyLastUsageRequest(Shape, kw_only=True):
    key_id: KeyIdType


class KeyLastUsageData(Shape, kw_only=True):
    operation: KeyLastUsageTrackingOperation
    timestamp: float
    cloud_trail_event_id: str | None = None
    kms_request_id: str


class GetKeyLastUsageResponse(Shape, kw_only=True):
    key_id: KeyIdType
    key_last_usage: KeyLastUsageData | None = None
    tracking_start_date: float
    key_creation_date: float


class ReplicateKeyRequest(Shape, kw_only=True):
    key_id: KeyIdType
    replica_region: RegionType
    policy: PolicyType | None = None
    bypass_policy_lockout_safety_check: bool | None = None
    description: DescriptionType | None = None
    tags: list[Tag] | None = None


class ReplicateKeyResponse(Shape, kw_only=True):
    replica_key_metadata: KeyMetadata
    replica_policy: PolicyType
    replica_tags: list[Tag]


class UpdatePrimaryRegionRequest(Shape, kw_only=True):
    key_id: KeyIdType
    primary_region: RegionType


class TagResourceRequest(Shape, kw_only=True):
    key_id: KeyIdType
    tags: list[Tag]


class UntagResourceRequest(Shape, kw_only=True):
    key_id: KeyIdType
    tag_keys: list[TagKeyType]


class ListResourceTagsRequest(Shape, kw_only=True):
    key_id: KeyIdType
    limit: LimitType | None = None
    marker: MarkerType | None = None


class ListResourceTagsResponse(Shape, kw_only=True):
    tags: list[Tag]
    next_marker: MarkerType | None = None
    truncated: bool
