"""Shapes of key material: import and rotation, as in the KMS service model. Used by its handlers."""

from __future__ import annotations

from controlplane.api.kms.shapes.base import (
    BackingKeyIdResponseType,
    BackingKeyIdType,
    CiphertextType,
    KeyIdType,
    KeyMaterialDescriptionType,
    LimitType,
    MarkerType,
    PlaintextType,
    RotationPeriodInDaysType,
    Shape,
)
from controlplane.api.kms.shapes.enums import (
    AlgorithmSpec,
    ExpirationModelType,
    ImportState,
    ImportType,
    IncludeKeyMaterial,
    KeyMaterialState,
    RotationType,
    WrappingKeySpec,
)


class GetParametersForImportRequest(Shape, kw_only=True):
    key_id: KeyIdType
    wrapping_algorithm: AlgorithmSpec
    wrapping_key_spec: WrappingKeySpec


class GetParametersForImportResponse(Shape, kw_only=True):
    key_id: KeyIdType
    import_token: CiphertextType
    public_key: PlaintextType
    parameters_valid_to: float


class ImportKeyMaterialRequest(Shape, kw_only=True):
    key_id: KeyIdType
    import_token: CiphertextType
    encrypted_key_material: CiphertextType
    valid_to: float | None = None
    expiration_model: ExpirationModelType | None = None
    import_type: ImportType | None = None
    key_material_description: KeyMaterialDescriptionType | None = None
    key_material_id: BackingKeyIdType | None = None


class ImportKeyMaterialResponse(Shape, kw_only=True):
    key_id: KeyIdType
    key_material_id: BackingKeyIdType | None = None


class DeleteImportedKeyMaterialRequest(Shape, kw_only=True):
    key_id: KeyIdType
    key_material_id: BackingKeyIdType | None = None


class DeleteImportedKeyMaterialResponse(Shape, kw_only=True):
    key_id: KeyIdType
    key_material_id: BackingKeyIdResponseType | None = None


class EnableKeyRotationRequest(Shape, kw_only=True):
    key_id: KeyIdType
    rotation_period_in_days: RotationPeriodInDaysType | None = None


class DisableKeyRotationRequest(Shape, kw_only=True):
    key_id: KeyIdType


class GetKeyRotationStatusRequest(Shape, kw_only=True):
    key_id: KeyIdType


class GetKeyRotationStatusResponse(Shape, kw_only=True):
    key_rotation_enabled: bool
    key_id: KeyIdType
    rotation_period_in_days: RotationPeriodInDaysType | None = None
    next_rotation_date: float | None = None
    on_demand_rotation_start_date: float | None = None


class RotateKeyOnDemandRequest(Shape, kw_only=True):
    key_id: KeyIdType


class RotateKeyOnDemandResponse(Shape, kw_only=True):
    key_id: KeyIdType


class ListKeyRotationsRequest(Shape, kw_only=True):
    key_id: KeyIdType
    include_key_material: IncludeKeyMaterial | None = None
    limit: LimitType | None = None
    marker: MarkerType | None = None


class RotationsListEntry(Shape, kw_only=True):
    key_id: KeyIdType
    key_material_id: BackingKeyIdType | None = None
    key_material_description: KeyMaterialDescriptionType | None = None
    import_state: ImportState | None = None
    key_material_state: KeyMaterialState | None = None
    expiration_model: ExpirationModelType | None = None
    valid_to: float | None = None
    rotation_date: float | None = None
    rotation_type: RotationType | None = None


class ListKeyRotationsResponse(Shape, kw_only=True):
    rotations: list[RotationsListEntry]
    next_marker: MarkerType | None = None
    truncated: bool
