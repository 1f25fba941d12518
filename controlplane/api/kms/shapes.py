"""Structures of the AWS KMS API, spelled as in its service model; limits as in the model's constraints.

Who uses it: the KMS door. Guarantee: members that are absent are left out of answers; members that this door does not
know are ignored in requests, as AWS does. Blobs are base64 in JSON and ``bytes`` here; times are seconds since the
epoch.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from controlplane.schema.keys import Algorithm, KeySpec, KeyState, KeyUsage, Origin

KeyId = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
AliasName = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[a-zA-Z0-9:/_-]+$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Marker = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Plaintext = Annotated[bytes, msgspec.Meta(min_length=1, max_length=4096)]
Ciphertext = Annotated[bytes, msgspec.Meta(min_length=1, max_length=6144)]
GrantTokens = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]], msgspec.Meta(max_length=10)]
Context = dict[str, str]
NumberOfBytes = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Policy = Annotated[str, msgspec.Meta(min_length=1, max_length=131_072)]


class Shape(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    """Base: PascalCase members, absent ones left out."""


class Tag(Shape):
    tag_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    tag_value: Annotated[str, msgspec.Meta(max_length=256)]


class Recipient(Shape):
    key_encryption_algorithm: str | None = None
    attestation_document: Annotated[bytes, msgspec.Meta(min_length=1, max_length=262_144)] | None = None


class MultiRegionKey(Shape):
    arn: str
    region: str


class MultiRegionConfiguration(Shape):
    multi_region_key_type: str
    primary_key: MultiRegionKey
    replica_keys: list[MultiRegionKey]


class KeyMetadata(Shape):
    aws_account_id: str = msgspec.field(name="AWSAccountId")
    key_id: str
    arn: str
    creation_date: float
    enabled: bool
    description: str
    key_usage: KeyUsage
    key_state: KeyState
    origin: Origin
    key_manager: str
    customer_master_key_spec: KeySpec
    key_spec: KeySpec
    multi_region: bool
    deletion_date: float | None = None
    custom_key_store_id: str | None = None
    encryption_algorithms: list[Algorithm] | None = None
    signing_algorithms: list[Algorithm] | None = None
    key_agreement_algorithms: list[Algorithm] | None = None
    mac_algorithms: list[Algorithm] | None = None
    encapsulation_algorithms: list[Algorithm] | None = None
    multi_region_configuration: MultiRegionConfiguration | None = None
    current_key_material_id: str | None = None


class CreateKeyRequest(Shape):
    policy: Policy | None = None
    description: Annotated[str, msgspec.Meta(max_length=8192)] = ""
    key_usage: KeyUsage | None = None
    customer_master_key_spec: KeySpec | None = None
    key_spec: KeySpec | None = None
    origin: Origin | None = None
    custom_key_store_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    bypass_policy_lockout_safety_check: bool = False
    tags: list[Tag] = []
    multi_region: bool | None = None
    xks_key_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class KeyMetadataResponse(Shape):
    key_metadata: KeyMetadata


class DescribeKeyRequest(Shape):
    key_id: KeyId
    grant_tokens: GrantTokens = []


class KeyIdRequest(Shape):
    """EnableKey, DisableKey, CancelKeyDeletion."""

    key_id: KeyId


class KeyIdResponse(Shape):
    key_id: str


class ListKeysRequest(Shape):
    limit: Limit = 100
    marker: Marker | None = None


class KeyListEntry(Shape):
    key_id: str
    key_arn: str


class ListKeysResponse(Shape):
    keys: list[KeyListEntry]
    truncated: bool
    next_marker: str | None = None


class ScheduleKeyDeletionRequest(Shape):
    key_id: KeyId
    pending_window_in_days: Annotated[int, msgspec.Meta(ge=1, le=365)] | None = None


class ScheduleKeyDeletionResponse(Shape):
    key_id: str
    deletion_date: float
    key_state: KeyState
    pending_window_in_days: int


class CreateAliasRequest(Shape):
    alias_name: AliasName
    target_key_id: KeyId


class DeleteAliasRequest(Shape):
    alias_name: AliasName


class ListAliasesRequest(Shape):
    key_id: KeyId | None = None
    limit: Limit = 50
    marker: Marker | None = None


class AliasListEntry(Shape):
    alias_name: str
    alias_arn: str
    target_key_id: str
    creation_date: float
    last_updated_date: float


class ListAliasesResponse(Shape):
    aliases: list[AliasListEntry]
    truncated: bool
    next_marker: str | None = None


class ListResourceTagsRequest(Shape):
    key_id: KeyId
    limit: Limit = 50
    marker: Marker | None = None


class ListResourceTagsResponse(Shape):
    tags: list[Tag]
    truncated: bool
    next_marker: str | None = None


class GetKeyPolicyRequest(Shape):
    key_id: KeyId
    policy_name: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^\w+$")] = "default"


class GetKeyPolicyResponse(Shape):
    policy: str
    policy_name: str = msgspec.field(default_factory=lambda: "default")


class EncryptRequest(Shape):
    key_id: KeyId
    plaintext: Plaintext
    encryption_context: Context | None = None
    grant_tokens: GrantTokens = []
    encryption_algorithm: Algorithm = Algorithm.SYMMETRIC_DEFAULT
    dry_run: bool | None = None


class EncryptResponse(Shape, omit_defaults=False):
    ciphertext_blob: bytes
    key_id: str
    encryption_algorithm: Algorithm


class DecryptRequest(Shape):
    ciphertext_blob: Ciphertext
    encryption_context: Context | None = None
    grant_tokens: GrantTokens = []
    key_id: KeyId | None = None
    encryption_algorithm: Algorithm = Algorithm.SYMMETRIC_DEFAULT
    recipient: Recipient | None = None
    dry_run: bool | None = None


class DecryptResponse(Shape):
    key_id: str
    plaintext: bytes
    encryption_algorithm: Algorithm
    key_material_id: str | None = None


class GenerateDataKeyRequest(Shape):
    key_id: KeyId
    encryption_context: Context | None = None
    number_of_bytes: NumberOfBytes | None = None
    key_spec: str | None = None
    grant_tokens: GrantTokens = []
    recipient: Recipient | None = None
    dry_run: bool | None = None


class GenerateDataKeyResponse(Shape):
    ciphertext_blob: bytes
    plaintext: bytes
    key_id: str
    key_material_id: str | None = None


class GenerateRandomRequest(Shape):
    number_of_bytes: NumberOfBytes | None = None
    custom_key_store_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    recipient: Recipient | None = None


class GenerateRandomResponse(Shape):
    plaintext: bytes
