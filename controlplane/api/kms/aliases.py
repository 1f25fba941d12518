"""CreateAlias, UpdateAlias, DeleteAlias, ListAliases. A change needs its permission on the alias and on the keys.

Source of the rules: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

import re
from typing import cast

from controlplane.access.caller import Caller
from controlplane.api.kms.keys import read_marker, write_marker
from controlplane.api.kms.shapes import aliases as shapes
from controlplane.api.services import Services
from controlplane.domain.names import alias_arn
from controlplane.errors import AlreadyExists, InvalidAliasName, InvalidInput, LimitExceeded, NotFound
from controlplane.schema.base import ALIAS_PATTERN
from controlplane.schema.meta import Key
from controlplane.store import keys, objects
from controlplane.store.catalog import KeyRecord
from controlplane.store.database import Tx
from controlplane.usage.perform import Request
from plugins.sdk.vocabulary import KEY_SPECS, Family

MAX_ALIASES = 50
ALIASES_IN_A_PAGE = 50
MOST_ALIASES_IN_A_PAGE = 100
"""The reference says that Limit is 1 to 100, the model 1 to 1000, and clients send 1000: a page may hold fewer."""
PREFIX = "alias/"
RESERVED = "aws/"

_ALIAS = re.compile(ALIAS_PATTERN)


async def create_alias(at: Services, caller: Caller, request: shapes.CreateAliasRequest) -> None:
    name = _bare(request.alias_name)
    _not_an_alias(request.target_key_id)
    asked = Request(caller, "CreateAlias")

    async def work(record: KeyRecord) -> None:
        uid, now = record.key.metadata.uid, at.clock.now()
        at.usage.require(asked, resource=alias_arn(caller.region, at.settings.account, name))

        def write(tx: Tx) -> None:
            if objects.find_alias(tx, caller.region, name) is not None:
                arn = alias_arn(caller.region, at.settings.account, name)
                raise AlreadyExists(f"An alias with the name {arn} already exists")
            key = cast(Key, objects.require(tx, uid))
            _check_room(key)
            keys.change(tx, uid, now, by=caller.principal, aliases=(*key.spec.aliases, name))

        await at.database.write(write)

    await at.usage.on_key(asked, request.target_key_id, work)


async def update_alias(at: Services, caller: Caller, request: shapes.UpdateAliasRequest) -> None:
    name = _bare(request.alias_name)
    _not_an_alias(request.target_key_id)
    asked = Request(caller, "UpdateAlias")

    async def work(record: KeyRecord) -> None:
        former = at.usage.resolve(caller, PREFIX + name)
        at.usage.require(asked, resource=alias_arn(caller.region, at.settings.account, name))
        at.usage.require(asked, former)
        _check_alike(former.key, record.key)
        now = at.clock.now()

        def write(tx: Tx) -> None:
            row = objects.find_alias(tx, caller.region, name)
            if row is None:
                raise NotFound(f"Alias {alias_arn(caller.region, at.settings.account, name)} is not found.")
            objects.move_alias(tx, caller.region, name, record.key.metadata.uid, now)
            held = cast(Key, objects.require(tx, row.uid))
            keys.change(
                tx,
                row.uid,
                now,
                by=caller.principal,
                aliases=tuple(alias for alias in held.spec.aliases if alias != name),
            )
            target = cast(Key, objects.require(tx, record.key.metadata.uid))
            _check_room(target)
            keys.change(tx, target.metadata.uid, now, by=caller.principal, aliases=(*target.spec.aliases, name))

        await at.database.write(write)

    await at.usage.on_key(asked, request.target_key_id, work)


async def delete_alias(at: Services, caller: Caller, request: shapes.DeleteAliasRequest) -> None:
    name = _bare(request.alias_name)
    asked = Request(caller, "DeleteAlias")

    async def work(record: KeyRecord) -> None:
        uid, now = record.key.metadata.uid, at.clock.now()
        at.usage.require(asked, resource=alias_arn(caller.region, at.settings.account, name))

        def write(tx: Tx) -> None:
            key = cast(Key, objects.require(tx, uid))
            if name not in key.spec.aliases:
                arn = alias_arn(caller.region, at.settings.account, name)
                raise NotFound(f"Alias {arn} is not found.")
            keys.change(
                tx, uid, now, by=caller.principal, aliases=tuple(alias for alias in key.spec.aliases if alias != name)
            )

        await at.database.write(write)

    await at.usage.on_key(asked, PREFIX + name, work)


async def list_aliases(at: Services, caller: Caller, request: shapes.ListAliasesRequest) -> shapes.ListAliasesResponse:
    account = at.settings.account

    async def work() -> shapes.ListAliasesResponse:
        key_id = request.key_id
        uid = None if key_id is None else at.usage.resolve(caller, key_id).key.metadata.uid
        after = read_marker(request.marker)
        limit = min(request.limit or ALIASES_IN_A_PAGE, MOST_ALIASES_IN_A_PAGE)
        rows = await at.database.scan(
            lambda tx: objects.list_aliases(tx, caller.region, uid=uid, after=after, limit=limit + 1)
        )
        page, more = rows[:limit], len(rows) > limit
        entries = [
            shapes.AliasListEntry(
                alias_name=PREFIX + row.name,
                alias_arn=alias_arn(caller.region, account, row.name),
                target_key_id=target,
                creation_date=round(row.created_at, 3),
                last_updated_date=round(row.updated_at, 3),
            )
            for row, target in page
        ]
        return shapes.ListAliasesResponse(
            aliases=entries, truncated=more, next_marker=write_marker(page[-1][0].name) if more else None
        )

    # Also of one key: "AWS KMS permissions" has it among the operations that identity policies alone decide about.
    return await at.usage.on_account(Request(caller, "ListAliases"), work)


def _not_an_alias(key_id: str) -> None:
    if key_id.startswith(PREFIX) or ":alias/" in key_id:
        raise InvalidInput("Aliases must refer to keys. Not aliases")


def _check_room(key: Key) -> None:
    """The words are AWS's (seen in scylladb/scylla-cluster-tests issue 7611)."""
    if (number := len(key.spec.aliases)) >= MAX_ALIASES:
        raise LimitExceeded(
            f"Aliases per key quota for this account in this region is {MAX_ALIASES}, current usage is {number}."
        )


def _check_alike(former: Key, new: Key) -> None:
    """An alias stays with one type of key and one usage, so that code that uses it goes on working."""
    before, after = KEY_SPECS[former.spec.key_spec], KEY_SPECS[new.spec.key_spec]
    same_type = (before.symmetric, before.family is Family.HMAC) == (after.symmetric, after.family is Family.HMAC)
    if not same_type or former.spec.key_usage is not new.spec.key_usage:
        raise InvalidInput(
            "The current and the new key of an alias must be of the same type and have the same key usage: "
            f"{former.status.arn} is {former.spec.key_spec} for {former.spec.key_usage}, "
            f"{new.status.arn} is {new.spec.key_spec} for {new.spec.key_usage}."
        )


def _bare(alias_name: str) -> str:
    """An alias without its prefix. Raises :class:`InvalidAliasName` for what cannot be one."""
    if not alias_name.startswith(PREFIX):
        raise InvalidInput('Alias must start with the prefix "alias/".')
    name = alias_name.removeprefix(PREFIX)
    if name.startswith(RESERVED):
        raise InvalidAliasName(f"Alias names that begin with {PREFIX}{RESERVED} are reserved.")
    if not _ALIAS.match(name):
        # AWS's words, seen in hashicorp/terraform-provider-aws issue 12891.
        raise InvalidInput(f"{alias_name} contains invalid characters for an alias")
    return name
