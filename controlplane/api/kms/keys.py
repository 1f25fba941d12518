"""CreateKey, DescribeKey, ListKeys, EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion.

Source of the rules: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from controlplane.access.caller import Caller
from controlplane.access.context import Conditions, of_spec, of_tags
from controlplane.api.kms import external_keys
from controlplane.api.kms.lockout import bypass_condition, check_policy
from controlplane.api.kms.shapes import keys as shapes
from controlplane.api.kms.shapes.base import Tag
from controlplane.api.kms.shapes.enums import (
    ExpirationModelType,
    KeyLastUsageTrackingOperation,
    KeyManagerType,
    MultiRegionKeyType,
    ResourceOwnerType,
)
from controlplane.api.services import Services
from controlplane.audit.cloudtrail import event_id
from controlplane.domain import capabilities, imports
from controlplane.domain.materials import is_replica
from controlplane.domain.names import custom_key_store_id, key_arn
from controlplane.errors import (
    ClusterUnsuitable,
    InvalidInput,
    InvalidKeyStoreState,
    InvalidMarker,
    InvalidTags,
    KeyStoreNotFound,
    LimitExceeded,
    NotFound,
    Unsupported,
)
from controlplane.keystores.declared import cluster_id_of
from controlplane.schema.keys import DesiredKey, KeySpec, KeyState, KeyUsage, Origin
from controlplane.schema.keystores import STANDARD, ConnectionState
from controlplane.schema.meta import Key, KeyStore
from controlplane.store import facts, keys, keystores, objects
from controlplane.store.catalog import KeyRecord
from controlplane.usage.last_uses import USES_TRACKED_SINCE
from controlplane.usage.perform import Request
from plugins.sdk import call_info
from plugins.sdk.vocabulary import KEY_SPECS

MAX_TAGS = 50
DEFAULT_WINDOW_DAYS = 30
KEYS_IN_A_PAGE = 100
TAGS_IN_A_PAGE = 50

ALGORITHM_MEMBER: Mapping[KeyUsage, str] = {
    KeyUsage.ENCRYPT_DECRYPT: "encryption_algorithms",
    KeyUsage.SIGN_VERIFY: "signing_algorithms",
    KeyUsage.KEY_AGREEMENT: "key_agreement_algorithms",
    KeyUsage.GENERATE_VERIFY_MAC: "mac_algorithms",
    KeyUsage.ENCAPSULATE_DECAPSULATE: "encapsulation_algorithms",
}


async def create_key(at: Services, caller: Caller, request: shapes.CreateKeyRequest) -> shapes.CreateKeyResponse:
    asked = Request(caller, "CreateKey", conditions=_conditions(request))

    async def work() -> Key:
        if request.tags:
            require_tagging(at, asked)
        desired = _desired(at, asked, request)
        if desired.xks_key_id is not None:
            await external_keys.check_usable(at, desired.key_store, desired.xks_key_id)
        now, account, info = at.clock.now(), at.settings.account, call_info()
        created = await at.database.write(
            lambda tx: keys.create(tx, desired=desired, account=account, now=now, asked=info)
        )
        return await at.created(created.metadata.uid, caller.principal)

    key = await at.usage.on_account(asked, work)
    return shapes.CreateKeyResponse(key_metadata=metadata_of(at, settled(at, caller.region, key.status.key_id)))


async def describe_key(at: Services, caller: Caller, request: shapes.DescribeKeyRequest) -> shapes.DescribeKeyResponse:
    async def work(record: KeyRecord) -> shapes.KeyMetadata:
        return metadata_of(at, record)

    asked = Request(caller, "DescribeKey", grant_tokens=request.grant_tokens or ())
    return shapes.DescribeKeyResponse(key_metadata=await at.usage.on_key(asked, request.key_id, work))


async def get_key_last_usage(
    at: Services, caller: Caller, request: shapes.GetKeyLastUsageRequest
) -> shapes.GetKeyLastUsageResponse:
    async def work(record: KeyRecord) -> shapes.GetKeyLastUsageResponse:
        use = at.usage.last_uses.get(record.key.metadata.uid)
        since = at.database.read(lambda tx: facts.get(tx, USES_TRACKED_SINCE))
        assert since is not None
        data = None
        if use is not None:
            data = shapes.KeyLastUsageData(
                operation=KeyLastUsageTrackingOperation(use.operation),
                timestamp=round(use.at, 3),
                cloud_trail_event_id=None if use.seq is None else event_id(use.request_id, use.chain or "", use.seq),
                kms_request_id=use.request_id,
            )
        return shapes.GetKeyLastUsageResponse(
            key_id=record.arn,
            key_last_usage=data,
            tracking_start_date=seconds(datetime.fromisoformat(since)),
            key_creation_date=seconds(record.key.metadata.created_at),
        )

    return await at.usage.on_key(Request(caller, "GetKeyLastUsage"), not_alias(request.key_id), work)


async def list_keys(at: Services, caller: Caller, request: shapes.ListKeysRequest) -> shapes.ListKeysResponse:
    async def work() -> shapes.ListKeysResponse:
        after, limit = read_marker(request.marker), request.limit or KEYS_IN_A_PAGE
        if request.resource_owners is not None and ResourceOwnerType.SELF not in request.resource_owners:
            return shapes.ListKeysResponse(keys=[], truncated=False)  # no other account shares keys with this one
        found = await at.database.scan(lambda tx: objects.key_ids(tx, caller.region, after, limit + 1))
        page = found[:limit]
        more = len(found) > limit
        entries = [
            shapes.KeyListEntry(key_id=key_id, key_arn=key_arn(caller.region, at.settings.account, key_id))
            for key_id in page
        ]
        return shapes.ListKeysResponse(
            keys=entries, truncated=more, next_marker=write_marker(page[-1]) if more else None
        )

    return await at.usage.on_account(Request(caller, "ListKeys"), work)


async def enable_key(at: Services, caller: Caller, request: shapes.EnableKeyRequest) -> None:
    await _switch(at, caller, request.key_id, "EnableKey", enabled=True)


async def disable_key(at: Services, caller: Caller, request: shapes.DisableKeyRequest) -> None:
    await _switch(at, caller, request.key_id, "DisableKey", enabled=False)


async def update_key_description(at: Services, caller: Caller, request: shapes.UpdateKeyDescriptionRequest) -> None:
    async def work(record: KeyRecord) -> None:
        uid, now = record.key.metadata.uid, at.clock.now()
        await at.database.write(
            lambda tx: keys.change(tx, uid, now, by=caller.principal, description=request.description)
        )

    await at.usage.on_key(Request(caller, "UpdateKeyDescription"), not_alias(request.key_id), work)


async def schedule_key_deletion(
    at: Services, caller: Caller, request: shapes.ScheduleKeyDeletionRequest
) -> shapes.ScheduleKeyDeletionResponse:
    async def work(record: KeyRecord) -> shapes.ScheduleKeyDeletionResponse:
        uid, now = record.key.metadata.uid, at.clock.now()
        key = await at.database.write(
            lambda tx: keys.schedule_deletion(tx, uid, window_days=window, by=caller.principal, now=now)
        )
        assert key.metadata.deletion is not None
        return shapes.ScheduleKeyDeletionResponse(
            key_id=record.arn,
            deletion_date=seconds_if(key.metadata.deletion.due_at),
            key_state=at.usage.state_of(key),
            pending_window_in_days=window,
        )

    window = DEFAULT_WINDOW_DAYS if request.pending_window_in_days is None else request.pending_window_in_days
    asked = Request(
        caller, "ScheduleKeyDeletion", conditions={"kms:ScheduleKeyDeletionPendingWindowInDays": str(window)}
    )
    return await at.usage.on_key(asked, not_alias(request.key_id), work)


async def cancel_key_deletion(
    at: Services, caller: Caller, request: shapes.CancelKeyDeletionRequest
) -> shapes.CancelKeyDeletionResponse:
    async def work(record: KeyRecord) -> shapes.CancelKeyDeletionResponse:
        uid, now = record.key.metadata.uid, at.clock.now()
        await at.database.write(lambda tx: keys.cancel_deletion(tx, uid, by=caller.principal, now=now))
        return shapes.CancelKeyDeletionResponse(key_id=record.arn)

    return await at.usage.on_key(Request(caller, "CancelKeyDeletion"), not_alias(request.key_id), work)


# ---- shared by handlers ----------------------------------------------------------------------------------------------


def metadata_of(at: Services, record: KeyRecord) -> shapes.KeyMetadata:
    """KeyMetadata of a key, as DescribeKey shows it."""
    key, spec = record.key, record.key.spec
    assert spec.key_usage is not None
    assert spec.origin is not None
    state = at.usage.state(record)
    current = key.status.current
    store = at.catalog.key_store(spec.key_store)
    symmetric = spec.key_spec is KeySpec.SYMMETRIC_DEFAULT and spec.origin in (Origin.AWS_KMS, Origin.EXTERNAL)
    metadata = shapes.KeyMetadata(
        aws_account_id=at.settings.account,
        key_id=key.status.key_id,
        arn=key.status.arn,
        creation_date=seconds(key.metadata.created_at),
        enabled=state is KeyState.ENABLED,
        description=spec.description,
        key_usage=spec.key_usage,
        key_state=state,
        origin=spec.origin,
        key_manager=KeyManagerType.CUSTOMER,
        customer_master_key_spec=spec.key_spec,
        key_spec=spec.key_spec,
        multi_region=spec.multi_region,
        deletion_date=seconds_if(key.metadata.deletion.due_at) if key.metadata.deletion else None,
        custom_key_store_id=_custom_key_store_id(store),
        cloud_hsm_cluster_id=cluster_id_of(store) if store and spec.origin is Origin.AWS_CLOUDHSM else None,
        current_key_material_id=current.material_id if current and symmetric else None,
    )
    if spec.origin is Origin.EXTERNAL and any(each.present for each in key.status.materials):
        valid_to = imports.earliest_expiry(key.status)
        metadata.expiration_model = expiration_model(valid_to)
        metadata.valid_to = seconds_if(valid_to)
    offered = capabilities.algorithms(spec.key_spec, spec.key_usage)
    setattr(metadata, ALGORITHM_MEMBER[spec.key_usage], list(offered))
    if key.metadata.deletion is not None and state is KeyState.PENDING_REPLICA_DELETION:
        metadata.pending_deletion_window_in_days = key.metadata.deletion.window_days
    if spec.multi_region:
        metadata.multi_region_configuration = _multi_region(at, key)
    if spec.xks_key_id is not None:
        metadata.xks_key_configuration = shapes.XksKeyConfigurationType(id=spec.xks_key_id)
    return metadata


def _multi_region(at: Services, key: Key) -> shapes.MultiRegionConfiguration:
    related = at.database.read(lambda tx: objects.related_keys(tx, key.status.key_id))
    told = {
        other.spec.region or "": shapes.MultiRegionKey(arn=other.status.arn, region=other.spec.region or "")
        for other in related
    }
    primary = key.status.primary_region or ""
    return shapes.MultiRegionConfiguration(
        multi_region_key_type=MultiRegionKeyType.REPLICA if is_replica(key) else MultiRegionKeyType.PRIMARY,
        primary_key=told.pop(primary),
        replica_keys=list(told.values()),
    )


def expiration_model(valid_to: datetime | None) -> ExpirationModelType:
    """What the KMS API calls material that expires then, or never."""
    if valid_to is None:
        return ExpirationModelType.KEY_MATERIAL_DOES_NOT_EXPIRE
    return ExpirationModelType.KEY_MATERIAL_EXPIRES


def seconds(moment: datetime) -> float:
    """A time as the JSON protocol writes it: seconds since the epoch, to the millisecond."""
    return round(moment.timestamp(), 3)


def seconds_if(moment: datetime | None) -> float | None:
    """The same, if there is one."""
    return None if moment is None else seconds(moment)


def write_marker(last: str) -> str:
    """An opaque page marker: it names the last item, so pages survive inserts and removals."""
    return base64.urlsafe_b64encode(f"1:{last}".encode()).decode()


def read_marker(marker: str | None, valid: Callable[[str], bool] = bool) -> str:
    """What :func:`write_marker` wrote, or the empty string for no marker. Raises :class:`InvalidMarker`.

    ``valid`` tells whether the operation could have written it.
    """
    if marker is None:
        return ""
    try:
        version, _, last = base64.b64decode(marker, altchars=b"-_", validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        version, last = "", ""
    if version != "1" or not valid(last):
        raise InvalidMarker("The marker is not one that this operation returned; begin without Marker.")
    return last


def not_alias(key_id: str) -> str:
    """Operations on the key itself take a key id or key ARN only."""
    if key_id.startswith("alias/") or ":alias/" in key_id:
        raise InvalidInput(f"Invalid keyId {key_id}: this operation takes a key ID or key ARN, not an alias.")
    return key_id


def custom_key_store(at: Services, store_id: str) -> KeyStore:
    """The key store that a CustomKeyStoreId names. Raises :class:`KeyStoreNotFound`."""
    for store in at.database.read(lambda tx: list(keystores.custom(tx))):
        if custom_key_store_id(store.metadata.uid) == store_id:
            return store
    raise KeyStoreNotFound(f"Custom key store {store_id} does not exist.")


def check_tag_key(tag_key: str) -> None:
    """Keys with this prefix are AWS's own: nobody sets, changes or removes them (Tagging AWS Resources User Guide)."""
    if tag_key.lower().startswith("aws:"):
        raise InvalidTags("aws: prefixed tag key names are not allowed for external use.")


def check_tags(tags: Sequence[Tag]) -> dict[str, str]:
    """Tags as a mapping. Raises :class:`InvalidTags` or :class:`LimitExceeded` as AWS does."""
    result: dict[str, str] = {}
    for tag in tags:
        if tag.tag_key in result:
            raise InvalidTags(f"Duplicate tag keys: {tag.tag_key}")
        check_tag_key(tag.tag_key)
        result[tag.tag_key] = tag.tag_value
    if len(result) > MAX_TAGS:
        raise LimitExceeded(f"A key has at most {MAX_TAGS} tags.")
    return result


def require_tagging(at: Services, asked: Request) -> None:
    """Tags of a key that is to be need a permission of their own, from identity policies: there is no key policy yet.

    Raises :class:`AccessDenied`. ``asked`` is the CreateKey, whose condition keys name the tags.
    """
    at.usage.require(msgspec.structs.replace(asked, operation="TagResource"))


# ---- inside ----------------------------------------------------------------------------------------------------------


async def _switch(at: Services, caller: Caller, key_id: str, operation: str, *, enabled: bool) -> None:
    async def work(record: KeyRecord) -> None:
        uid, now = record.key.metadata.uid, at.clock.now()
        await at.database.write(lambda tx: keys.change(tx, uid, now, by=caller.principal, enabled=enabled))

    await at.usage.on_key(Request(caller, operation), not_alias(key_id), work)


def settled(at: Services, region: str, key_id: str) -> KeyRecord:
    """The record of a key that was just made."""
    at.catalog.refresh()
    record = at.catalog.key(region, key_id)
    if record is None:
        raise NotFound(f"Key '{key_arn(region, at.settings.account, key_id)}' does not exist")
    return record


def _conditions(request: shapes.CreateKeyRequest) -> Conditions:
    """Condition keys of the key that is to be, and of its tags."""
    kind = {"kms:MultiRegionKeyType": MultiRegionKeyType.PRIMARY.value} if request.multi_region else {}
    return {
        **of_spec(
            _key_spec(request),
            request.key_usage or KeyUsage.ENCRYPT_DECRYPT,
            request.origin or Origin.AWS_KMS,
            multi_region=bool(request.multi_region),
        ),
        **kind,
        **bypass_condition(request.bypass_policy_lockout_safety_check),
        **(of_tags({tag.tag_key: tag.tag_value for tag in request.tags}) if request.tags else {}),
    }


def _desired(at: Services, asked: Request, request: shapes.CreateKeyRequest) -> DesiredKey:
    """What CreateKey declares, complete. Messages follow AWS's."""
    if request.key_spec is not None and request.customer_master_key_spec is not None:
        raise InvalidInput(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
            "CustomerMasterKeySpec is deprecated."
        )
    key_spec = _key_spec(request)
    if request.key_usage is None and key_spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise InvalidInput("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
    if (request.xks_key_id is not None) is not (request.origin is Origin.EXTERNAL_KEY_STORE):
        raise InvalidInput(
            f"XksKeyId is required for an Origin of {Origin.EXTERNAL_KEY_STORE}, and valid with no other Origin."
        )
    usage = request.key_usage or KeyUsage.ENCRYPT_DECRYPT
    if key_spec is KeySpec.SM2:
        raise Unsupported("SM2 key specs are available in China Regions only.")
    if usage not in KEY_SPECS[key_spec].algorithms:
        raise InvalidInput(f"KeyUsage {usage} is not compatible with KeySpec {key_spec}")
    store = _store(at, request)
    policy = check_policy(at, asked, None, request.policy, bypass=request.bypass_policy_lockout_safety_check)
    desired = DesiredKey(
        key_store=store.metadata.name,
        region=asked.caller.region,
        key_spec=key_spec,
        key_usage=usage,
        origin=request.origin,
        description=request.description or "",
        multi_region=bool(request.multi_region),
        tags=check_tags(request.tags or ()),
        policy=policy,
        xks_key_id=request.xks_key_id,
    )
    completed, misfits = capabilities.complete(desired, store.spec.type, store.status.key_specs or None)
    if misfits:
        raise Unsupported("; ".join(misfit.message for misfit in misfits))
    return completed


def _key_spec(request: shapes.CreateKeyRequest) -> KeySpec:
    """The key spec that is asked for, under its name or the one it had before."""
    return request.key_spec or KeySpec(request.customer_master_key_spec or KeySpec.SYMMETRIC_DEFAULT)


def _store(at: Services, request: shapes.CreateKeyRequest) -> KeyStore:
    if request.custom_key_store_id is None:
        if request.origin in (Origin.AWS_CLOUDHSM, Origin.EXTERNAL_KEY_STORE):
            raise InvalidInput(f"Origin {request.origin} needs a CustomKeyStoreId.")
        found = at.catalog.key_store(STANDARD)
        assert found is not None
        return found
    store = custom_key_store(at, request.custom_key_store_id)
    if store.status.connection is not ConnectionState.CONNECTED:
        raise InvalidKeyStoreState(
            f"Custom key store {request.custom_key_store_id} is {store.status.connection}: connect it to create keys."
        )
    if store.status.missing_to_create:
        raise ClusterUnsuitable(
            f"The cluster of custom key store {request.custom_key_store_id} needs more active HSMs "
            f"({store.status.missing_to_create}) before keys can be created in it."
        )
    return store


def _custom_key_store_id(store: KeyStore | None) -> str | None:
    """The id of a custom key store; none for the standard store."""
    return None if store is None or store.spec.type == STANDARD else custom_key_store_id(store.metadata.uid)
