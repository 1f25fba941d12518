"""TagResource, UntagResource, ListResourceTags. Source of the rules: the AWS KMS API reference of each operation."""

from __future__ import annotations

from typing import cast

from controlplane.access.caller import Caller
from controlplane.access.context import of_tag_keys, of_tags
from controlplane.api.kms.keys import TAGS_IN_A_PAGE, check_tag_key, check_tags, not_alias, read_marker, write_marker
from controlplane.api.kms.shapes import keys as shapes
from controlplane.api.kms.shapes.base import Tag
from controlplane.api.services import Services
from controlplane.errors import LimitExceeded
from controlplane.schema.documents import MAX_TAGS
from controlplane.schema.meta import Key
from controlplane.store import keys, objects
from controlplane.store.catalog import KeyRecord
from controlplane.store.database import Tx
from controlplane.usage.perform import Request


async def tag_resource(at: Services, caller: Caller, request: shapes.TagResourceRequest) -> None:
    new = check_tags(request.tags)
    conditions = of_tags(new)

    async def work(record: KeyRecord) -> None:
        def write(tx: Tx) -> None:
            key = cast(Key, objects.require(tx, record.key.metadata.uid))
            tags = {**key.spec.tags, **new}
            if len(tags) > MAX_TAGS:
                raise LimitExceeded(f"A key has at most {MAX_TAGS} tags.")
            keys.change(tx, key.metadata.uid, at.clock.now(), by=caller.principal, tags=tags)

        await at.database.write(write)

    await at.usage.on_key(Request(caller, "TagResource", conditions=conditions), not_alias(request.key_id), work)


async def untag_resource(at: Services, caller: Caller, request: shapes.UntagResourceRequest) -> None:
    gone = set(request.tag_keys)
    for tag_key in gone:
        check_tag_key(tag_key)

    async def work(record: KeyRecord) -> None:
        def write(tx: Tx) -> None:
            key = cast(Key, objects.require(tx, record.key.metadata.uid))
            tags = {name: value for name, value in key.spec.tags.items() if name not in gone}
            keys.change(tx, key.metadata.uid, at.clock.now(), by=caller.principal, tags=tags)

        await at.database.write(write)

    conditions = of_tag_keys(request.tag_keys)
    await at.usage.on_key(Request(caller, "UntagResource", conditions=conditions), not_alias(request.key_id), work)


async def list_resource_tags(
    at: Services, caller: Caller, request: shapes.ListResourceTagsRequest
) -> shapes.ListResourceTagsResponse:
    async def work(record: KeyRecord) -> shapes.ListResourceTagsResponse:
        after, limit = read_marker(request.marker), min(request.limit or TAGS_IN_A_PAGE, TAGS_IN_A_PAGE)
        rest = [(name, value) for name, value in sorted(record.key.spec.tags.items()) if name > after or not after]
        page, more = rest[:limit], len(rest) > limit
        return shapes.ListResourceTagsResponse(
            tags=[Tag(tag_key=name, tag_value=value) for name, value in page],
            truncated=more,
            next_marker=write_marker(page[-1][0]) if more else None,
        )

    return await at.usage.on_key(Request(caller, "ListResourceTags"), not_alias(request.key_id), work)
