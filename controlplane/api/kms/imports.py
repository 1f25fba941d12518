"""GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial.

Source of the rules: the AWS KMS API reference of each operation. Nothing here sees material: what comes in is wrapped,
and goes on as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from controlplane.access.caller import Caller
from controlplane.api.kms.keys import not_alias, seconds
from controlplane.api.kms.shapes import materials as shapes
from controlplane.api.kms.shapes.enums import AlgorithmSpec, ExpirationModelType, WrappingKeySpec
from controlplane.api.services import Services
from controlplane.domain.imports import MAX_VALIDITY, Asked
from controlplane.errors import InvalidInput, Unsupported
from controlplane.schema.imports import ImportType, WrappingAlgorithm, WrappingSpec
from controlplane.store.catalog import KeyRecord
from controlplane.usage.imports import import_request, parameters_request
from controlplane.usage.perform import Request

_LAST_MOMENT: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


async def get_parameters_for_import(
    at: Services, caller: Caller, request: shapes.GetParametersForImportRequest
) -> shapes.GetParametersForImportResponse:
    async def work(record: KeyRecord) -> shapes.GetParametersForImportResponse:
        spec, algorithm = _wrapping(request)
        issued = await at.imports.issue(record, spec, algorithm, caller.principal)
        return shapes.GetParametersForImportResponse(
            key_id=record.arn,
            import_token=issued.token,
            public_key=issued.public_key,
            parameters_valid_to=seconds(issued.valid_to),
        )

    asked = parameters_request(caller, request.wrapping_key_spec, request.wrapping_algorithm)
    return await at.usage.on_key(asked, not_alias(request.key_id), work)


async def import_key_material(
    at: Services, caller: Caller, request: shapes.ImportKeyMaterialRequest
) -> shapes.ImportKeyMaterialResponse:
    valid_to = _valid_to(request)

    async def work(record: KeyRecord) -> shapes.ImportKeyMaterialResponse:
        accepted = await at.imports.accept(
            record,
            request.import_token,
            request.encrypted_key_material,
            Asked(
                valid_to=valid_to,
                import_type=None if request.import_type is None else ImportType(request.import_type.value),
                material_id=request.key_material_id,
                description=request.key_material_description,
            ),
            caller.principal,
        )
        return shapes.ImportKeyMaterialResponse(key_id=record.arn, key_material_id=accepted.material_id)

    return await at.usage.on_key(import_request(caller, valid_to), not_alias(request.key_id), work)


async def delete_imported_key_material(
    at: Services, caller: Caller, request: shapes.DeleteImportedKeyMaterialRequest
) -> shapes.DeleteImportedKeyMaterialResponse:
    async def work(record: KeyRecord) -> shapes.DeleteImportedKeyMaterialResponse:
        material_id = await at.imports.delete(record, request.key_material_id, caller.principal)
        return shapes.DeleteImportedKeyMaterialResponse(key_id=record.arn, key_material_id=material_id)

    return await at.usage.on_key(Request(caller, "DeleteImportedKeyMaterial"), not_alias(request.key_id), work)


# ---- inside ----------------------------------------------------------------------------------------------------------


def _wrapping(request: shapes.GetParametersForImportRequest) -> tuple[WrappingSpec, WrappingAlgorithm]:
    if WrappingKeySpec.SM2 is request.wrapping_key_spec or AlgorithmSpec.SM2PKE is request.wrapping_algorithm:
        raise Unsupported("SM2 wrapping keys are available in China Regions only.")
    if request.wrapping_algorithm is AlgorithmSpec.RSAES_PKCS1_V1_5:
        raise Unsupported("Wrapping algorithm RSAES_PKCS1_V1_5 is not supported; use RSAES_OAEP_SHA_256.")
    return WrappingSpec(request.wrapping_key_spec.value), WrappingAlgorithm(request.wrapping_algorithm.value)


def _valid_to(request: shapes.ImportKeyMaterialRequest) -> datetime | None:
    """The expiry that was asked for, to the second. How far away it may lie is a rule of imports in every door."""
    model = request.expiration_model or ExpirationModelType.KEY_MATERIAL_EXPIRES
    if model is ExpirationModelType.KEY_MATERIAL_DOES_NOT_EXPIRE:
        if request.valid_to is not None:
            raise InvalidInput("ValidTo cannot be specified if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
        return None
    if request.valid_to is None:
        raise InvalidInput("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    if not -_LAST_MOMENT < request.valid_to < _LAST_MOMENT:
        raise InvalidInput(f"ValidTo must be at most {MAX_VALIDITY.days} days in the future.")
    return datetime.fromtimestamp(max(int(request.valid_to), 0), UTC)
