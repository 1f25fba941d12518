"""ReplicateKey and UpdatePrimaryRegion, and what DescribeKey tells of multi-Region keys.

Source of the rules: the AWS KMS API reference of each operation; KMS Developer Guide, "Multi-Region keys".
"""

from __future__ import annotations

import msgspec

from controlplane.access.authorise import key_policy
from controlplane.access.caller import Caller
from controlplane.access.context import of_spec, of_tags
from controlplane.api.kms.keys import check_tags, metadata_of, not_alias, require_tagging, settled
from controlplane.api.kms.lockout import bypass_condition, check_policy
from controlplane.api.kms.shapes import keys as shapes
from controlplane.api.kms.shapes.base import Tag
from controlplane.api.kms.shapes.enums import MultiRegionKeyType
from controlplane.api.services import Services
from controlplane.domain.capabilities import complete_replica
from controlplane.domain.materials import is_replica
from controlplane.errors import NotFound, Unsupported
from controlplane.schema.keys import DesiredKey
from controlplane.store import keys
from controlplane.store.catalog import KeyRecord
from controlplane.usage.perform import Request


async def replicate_key(
    at: Services, caller: Caller, request: shapes.ReplicateKeyRequest
) -> shapes.ReplicateKeyResponse:
    region, bypass = request.replica_region, request.bypass_policy_lockout_safety_check
    there = msgspec.structs.replace(caller, region=region)
    asked = Request(
        caller,
        "ReplicateKey",
        conditions={"kms:ReplicaRegion": region, **bypass_condition(bypass)},
    )

    async def work(record: KeyRecord) -> shapes.ReplicateKeyResponse:
        _check_primary(record)
        _check_region(at, region)
        tags = check_tags(request.tags or ())
        policy = check_policy(at, asked, None, request.policy, bypass=bypass)
        wanted = DesiredKey(
            key_store=record.key.spec.key_store,
            region=region,
            description=request.description or "",
            tags=tags,
            policy=policy,
            replica_of=record.key.metadata.name,
        )
        desired, misfits = complete_replica(wanted, record.key.spec)
        assert not misfits
        made = await _create(at, there, desired)
        return shapes.ReplicateKeyResponse(
            replica_key_metadata=metadata_of(at, made),
            replica_policy=key_policy(made.key, at.settings.account),
            replica_tags=[Tag(tag_key=name, tag_value=value) for name, value in sorted(tags.items())],
        )

    return await at.usage.on_key(asked, not_alias(request.key_id), work)


async def _create(at: Services, there: Caller, desired: DesiredKey) -> KeyRecord:
    """The replica, made and observed: a CreateKey in its Region, authorised and audited as one."""

    async def work() -> KeyRecord:
        if desired.tags:
            require_tagging(at, asked)
        now, account = at.clock.now(), at.settings.account
        created = await at.database.write(lambda tx: keys.create(tx, desired=desired, account=account, now=now))
        key = await at.created(created.metadata.uid, there.principal)
        return settled(at, there.region, key.status.key_id)

    assert desired.key_usage is not None
    assert desired.origin is not None
    conditions = {
        **of_spec(desired.key_spec, desired.key_usage, desired.origin, multi_region=True),
        "kms:MultiRegionKeyType": MultiRegionKeyType.REPLICA.value,
        **(of_tags(desired.tags) if desired.tags else {}),
    }
    asked = Request(there, "CreateKey", conditions=conditions)
    return await at.usage.on_account(asked, work)


async def update_primary_region(at: Services, caller: Caller, request: shapes.UpdatePrimaryRegionRequest) -> None:
    region = request.primary_region
    conditions = {"kms:PrimaryRegion": region}

    async def work(record: KeyRecord) -> None:
        _check_primary(record)
        _check_region(at, region)
        if region == record.key.spec.region:
            raise Unsupported(f"{record.arn} is the primary key already.")
        chosen = at.catalog.key(region, record.key.status.key_id)
        if chosen is None:
            raise NotFound(f"{record.arn} has no replica key in {region}.")

        async def move(_: KeyRecord) -> None:
            uid, now = record.key.metadata.uid, at.clock.now()
            await at.database.write(lambda tx: keys.move_primary(tx, uid, region, now))

        there = msgspec.structs.replace(caller, region=region)
        await at.usage.on_key(Request(there, "UpdatePrimaryRegion", conditions=conditions), lambda: chosen, move)

    await at.usage.on_key(
        Request(caller, "UpdatePrimaryRegion", conditions=conditions), not_alias(request.key_id), work
    )


def _check_primary(record: KeyRecord) -> None:
    if not record.key.spec.multi_region:
        raise Unsupported(f"{record.arn} is not a multi-Region key.")
    if is_replica(record.key):
        raise Unsupported(f"{record.arn} is a multi-Region replica key, not the primary key.")


def _check_region(at: Services, region: str) -> None:
    if region not in at.settings.regions:
        raise Unsupported(f"This server has no Region {region}; it has {', '.join(at.settings.regions)}.")
