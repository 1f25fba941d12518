"""EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, ListKeyRotations, RotateKeyOnDemand.

Source of the rules: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

from controlplane.access.caller import Caller
from controlplane.api.kms.keys import expiration_model, not_alias, read_marker, seconds, seconds_if, write_marker
from controlplane.api.kms.shapes import materials as shapes
from controlplane.api.kms.shapes.enums import ImportState, IncludeKeyMaterial, KeyMaterialState, RotationType
from controlplane.api.services import Services
from controlplane.domain.materials import is_replica
from controlplane.schema.keys import MaterialState, MaterialStatus, Origin, RotationSpec
from controlplane.schema.meta import Key
from controlplane.store import keys
from controlplane.store.catalog import KeyRecord
from controlplane.usage.perform import Request

DEFAULT_PERIOD_DAYS = 365
ROTATIONS_IN_A_PAGE = 100


async def enable_key_rotation(at: Services, caller: Caller, request: shapes.EnableKeyRotationRequest) -> None:
    days = DEFAULT_PERIOD_DAYS if request.rotation_period_in_days is None else request.rotation_period_in_days
    # Sent for the default, too, or leaving the member out would go round a policy that limits it.
    asked = Request(caller, "EnableKeyRotation", conditions={"kms:RotationPeriodInDays": str(days)})

    async def work(record: KeyRecord) -> None:
        keys.check_rotates_itself(record.key, automatic=True)
        uid, now = record.key.metadata.uid, at.clock.now()
        rotation = RotationSpec(enabled=True, period_days=days)
        await at.database.write(lambda tx: keys.change(tx, uid, now, by=caller.principal, rotation=rotation))

    await at.usage.on_key(asked, not_alias(request.key_id), work)


async def disable_key_rotation(at: Services, caller: Caller, request: shapes.DisableKeyRotationRequest) -> None:
    async def work(record: KeyRecord) -> None:
        keys.check_rotates_itself(record.key, automatic=True)
        uid, now = record.key.metadata.uid, at.clock.now()
        period = record.key.spec.rotation.period_days
        rotation = RotationSpec(enabled=False, period_days=period)
        await at.database.write(lambda tx: keys.change(tx, uid, now, by=caller.principal, rotation=rotation))

    await at.usage.on_key(Request(caller, "DisableKeyRotation"), not_alias(request.key_id), work)


async def get_key_rotation_status(
    at: Services, caller: Caller, request: shapes.GetKeyRotationStatusRequest
) -> shapes.GetKeyRotationStatusResponse:
    async def work(record: KeyRecord) -> shapes.GetKeyRotationStatusResponse:
        key = record.key
        # Asked for any key of origin AWS_KMS, AWS answers that it does not rotate; Terraform relies on it.
        if key.spec.origin is not Origin.AWS_KMS:
            keys.check_rotates(key)
        wanted = _wanted(at, key)
        # Pending deletion stops rotation; what was set holds again when the deletion is cancelled.
        enabled = wanted.enabled and key.metadata.deletion is None
        return shapes.GetKeyRotationStatusResponse(
            key_id=record.arn,
            key_rotation_enabled=enabled,
            rotation_period_in_days=wanted.period_days if enabled else None,
            next_rotation_date=seconds_if(key.status.rotation.next_at) if enabled else None,
            on_demand_rotation_start_date=seconds_if(key.status.rotation.requested_at),
        )

    return await at.usage.on_key(Request(caller, "GetKeyRotationStatus"), not_alias(request.key_id), work)


async def rotate_key_on_demand(
    at: Services, caller: Caller, request: shapes.RotateKeyOnDemandRequest
) -> shapes.RotateKeyOnDemandResponse:
    async def work(record: KeyRecord) -> shapes.RotateKeyOnDemandResponse:
        uid, now = record.key.metadata.uid, at.clock.now()
        await at.database.write(lambda tx: keys.request_rotation(tx, uid, now))
        return shapes.RotateKeyOnDemandResponse(key_id=record.arn)

    return await at.usage.on_key(Request(caller, "RotateKeyOnDemand"), not_alias(request.key_id), work)


async def list_key_rotations(
    at: Services, caller: Caller, request: shapes.ListKeyRotationsRequest
) -> shapes.ListKeyRotationsResponse:
    async def work(record: KeyRecord) -> shapes.ListKeyRotationsResponse:
        keys.check_rotates(record.key)
        # Materials are only ever appended, so a position is a marker that survives rotations.
        begin, limit = int(read_marker(request.marker, str.isdigit) or "0"), request.limit or ROTATIONS_IN_A_PAGE
        everything = request.include_key_material is IncludeKeyMaterial.ALL_KEY_MATERIAL
        shown = [each for each in record.key.status.materials if everything or each.rotated_at is not None]
        page, more = shown[begin : begin + limit], len(shown) > begin + limit
        return shapes.ListKeyRotationsResponse(
            rotations=[_entry(record, each) for each in page],
            truncated=more,
            next_marker=write_marker(str(begin + limit)) if more else None,
        )

    return await at.usage.on_key(Request(caller, "ListKeyRotations"), not_alias(request.key_id), work)


# ---- inside ----------------------------------------------------------------------------------------------------------


def _entry(record: KeyRecord, present: MaterialStatus) -> shapes.RotationsListEntry:
    imported = present.imported
    entry = shapes.RotationsListEntry(
        key_id=record.key.status.key_id,
        key_material_id=present.material_id,
        key_material_state=_STATES[present.state],
        rotation_date=None if present.rotated_at is None else seconds(present.rotated_at),
        rotation_type=None if present.rotation_type is None else RotationType(present.rotation_type.value),
    )
    if imported is not None:
        entry.import_state = ImportState(imported.state.value)
        entry.key_material_description = imported.description or None
        if present.present:
            entry.expiration_model = expiration_model(imported.valid_to)
            entry.valid_to = seconds_if(imported.valid_to)
    return entry


_STATES: dict[MaterialState, KeyMaterialState] = {state: KeyMaterialState(state.value) for state in MaterialState}


def _wanted(at: Services, key: Key) -> RotationSpec:
    """The rotation settings that hold for a key: those of its primary key, if it is a replica."""
    if not is_replica(key) or key.status.primary_region is None:
        return key.spec.rotation
    primary = at.catalog.key(key.status.primary_region, key.status.key_id)
    return primary.key.spec.rotation if primary is not None else key.spec.rotation
