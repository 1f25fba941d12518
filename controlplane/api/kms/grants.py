"""CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant.

Source of the rules: the AWS KMS API reference of each operation. Which grants may be made and what they allow stands in
``domain.grants``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from controlplane.access.caller import Caller
from controlplane.access.context import Conditions, of_encryption_context
from controlplane.api.kms.keys import not_alias, read_marker, seconds, write_marker
from controlplane.api.kms.shapes import grants as shapes
from controlplane.api.services import Services
from controlplane.domain.grants import check
from controlplane.domain.names import account_root
from controlplane.domain.policy import is_principal
from controlplane.errors import DryRunPassed, InvalidArn, InvalidGrantId, InvalidInput, InvalidMarker, NotFound
from controlplane.schema.grants import Grant, GrantConstraints
from controlplane.store import grants
from controlplane.store.catalog import KeyRecord
from controlplane.usage.perform import Request

GRANTS_IN_A_PAGE = 50
MOST_GRANTS_IN_A_PAGE = 100

_GRANT_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


async def create_grant(at: Services, caller: Caller, request: shapes.CreateGrantRequest) -> shapes.CreateGrantResponse:
    draft = _drafted(at, caller, request)
    asked = Request(
        caller,
        "CreateGrant",
        grant_tokens=request.grant_tokens or (),
        conditions=_conditions(draft),
        grant=draft,
    )

    async def work(record: KeyRecord) -> shapes.CreateGrantResponse:
        spec, region = record.key.spec, record.key.spec.region
        assert spec.key_usage is not None
        assert region is not None
        check(draft, spec.key_spec, spec.key_usage)
        _stop_if_dry(request.dry_run)
        wanted = msgspec.structs.replace(draft, key_arn=record.arn)
        uid = record.key.metadata.uid
        grant = await at.database.write(lambda tx: grants.add(tx, uid=uid, region=region, grant=wanted))
        asked.details = {"grantId": grant.grant_id, "granteePrincipal": grant.grantee_principal}
        return shapes.CreateGrantResponse(grant_token=await at.grant_tokens.issue(grant), grant_id=grant.grant_id)

    return await at.usage.on_key(asked, not_alias(request.key_id), work)


async def list_grants(at: Services, caller: Caller, request: shapes.ListGrantsRequest) -> shapes.ListGrantsResponse:
    if request.grantee_principal is not None and request.grantee_service_principal is not None:
        raise InvalidInput("You can specify either GranteePrincipal or GranteeServicePrincipal, but not both.")
    if request.grant_id is not None:
        _check_id(request.grant_id)
    grantee = request.grantee_principal or request.grantee_service_principal

    async def work(record: KeyRecord) -> shapes.ListGrantsResponse:
        uid, after, limit = record.key.metadata.uid, _after(request.marker), _limit(request.limit)
        found = await at.database.scan(
            lambda tx: grants.page_of_key(
                tx, uid, after=after, limit=limit + 1, grantee=grantee, grant_id=request.grant_id
            )
        )
        return _page(found, limit)

    asked = Request(caller, "ListGrants", conditions={"kms:GrantIsForAWSResource": "false"})
    return await at.usage.on_key(asked, not_alias(request.key_id), work)


async def list_retirable_grants(
    at: Services, caller: Caller, request: shapes.ListRetirableGrantsRequest
) -> shapes.ListGrantsResponse:
    principal, service = request.retiring_principal, request.retiring_service_principal
    if (principal is None) == (service is None):
        raise InvalidInput("You must specify either RetiringPrincipal or RetiringServicePrincipal, but not both.")
    if principal is not None and not is_principal(principal):
        raise InvalidArn(f"ARN does not refer to a valid principal: {principal}")

    async def work() -> shapes.ListGrantsResponse:
        after, limit = _after(request.marker), _limit(request.limit)
        found = await at.database.scan(
            lambda tx: grants.page_retirable(
                tx, caller.region, after=after, limit=limit + 1, principal=principal, service=service
            )
        )
        return _page(found, limit)

    # The API reference: "The authorized resource in ListRetirableGrants calls is the retiring principal".
    return await at.usage.on_account(Request(caller, "ListRetirableGrants"), work, principal or service or "*")


async def retire_grant(at: Services, caller: Caller, request: shapes.RetireGrantRequest) -> None:
    by_id = request.key_id is not None and request.grant_id is not None
    by_token = request.grant_token is not None
    if by_id == by_token or (by_token and (request.key_id is not None or request.grant_id is not None)):
        raise InvalidInput("You must specify either a GrantToken, or a KeyId and a GrantId.")
    if request.grant_token is not None:
        named = await at.grant_tokens.open(request.grant_token)
        key_id, grant_id = named.key_arn, named.grant_id
    else:
        assert request.key_id is not None
        assert request.grant_id is not None
        key_id, grant_id = not_alias(request.key_id), _check_id(request.grant_id)
    asked = Request(caller, "RetireGrant", details={"grantId": grant_id})

    def find() -> KeyRecord:
        """The grant says who may retire it, so it is read before the authoriser is asked."""
        record = at.usage.resolve(caller, key_id)
        uid = record.key.metadata.uid
        asked.grant = at.database.read(lambda tx: grants.get(tx, uid, grant_id))
        if asked.grant is not None:
            asked.conditions = _of_constraint(asked.grant)
        return record

    await at.usage.on_key(asked, find, _removal(at, grant_id, request.dry_run))


async def revoke_grant(at: Services, caller: Caller, request: shapes.RevokeGrantRequest) -> None:
    grant_id = _check_id(request.grant_id)
    conditions: Conditions = {"kms:GrantIsForAWSResource": "false"}
    asked = Request(caller, "RevokeGrant", conditions=conditions, details={"grantId": grant_id})
    await at.usage.on_key(asked, not_alias(request.key_id), _removal(at, grant_id, request.dry_run))


# ---- inside ----------------------------------------------------------------------------------------------------------


def _removal(at: Services, grant_id: str, dry_run: bool | None) -> Callable[[KeyRecord], Awaitable[None]]:
    """The work of both operations that take a grant away; they differ in who may."""

    async def work(record: KeyRecord) -> None:
        uid = record.key.metadata.uid
        missing = NotFound(f"Grant ID {grant_id} is not found for key {record.arn}.")
        if dry_run:
            if at.database.read(lambda tx: grants.get(tx, uid, grant_id)) is None:
                raise missing
            _stop_if_dry(dry_run)
        if not await at.database.write(lambda tx: grants.remove(tx, uid, grant_id)):
            raise missing

    return work


def _drafted(at: Services, caller: Caller, request: shapes.CreateGrantRequest) -> Grant:
    """The grant that is asked for. Its key's ARN is filled in once the key is found."""
    given = request.constraints
    constraints = None
    if given is not None:
        equals, subset = given.encryption_context_equals, given.encryption_context_subset
        constraints = GrantConstraints(
            # The AWS SDK for Go, and Terraform with it, sends the one that is not meant as an empty mapping.
            encryption_context_equals=None if subset and not equals else equals,
            encryption_context_subset=None if equals and not subset else subset,
            source_arn=given.source_arn,
        )
    return Grant(
        grant_id=secrets.token_hex(32),
        key_arn="",
        created_at=at.clock.now(),
        issuing_account=account_root(caller.account),
        operations=tuple(dict.fromkeys(request.operations)),
        name=request.name,
        grantee_principal=request.grantee_principal,
        grantee_service_principal=request.grantee_service_principal,
        retiring_principal=request.retiring_principal,
        retiring_service_principal=request.retiring_service_principal,
        constraints=constraints if constraints != GrantConstraints() else None,
    )


def _conditions(grant: Grant) -> Conditions:
    """Condition keys of CreateGrant (Service Authorization Reference); the constraint is its encryption context."""
    found: dict[str, str | None] = {
        "kms:GranteePrincipal": grant.grantee_principal,
        "kms:GranteeServicePrincipal": grant.grantee_service_principal,
        "kms:RetiringPrincipal": grant.retiring_principal,
        "kms:RetiringServicePrincipal": grant.retiring_service_principal,
    }
    conditions: Conditions = {name: value for name, value in found.items() if value is not None}
    conditions["kms:GrantIsForAWSResource"] = "false"
    conditions["kms:GrantOperations"] = tuple(grant.operations)
    if grant.constraints is not None and grant.constraints.source_arn is not None:
        conditions["kms:GrantConstraintSourceArn"] = grant.constraints.source_arn
    return conditions | _of_constraint(grant)


def _of_constraint(grant: Grant) -> Conditions:
    """Those that RetireGrant has of the grant, too."""
    conditions: Conditions = {}
    constraints = grant.constraints
    if constraints is None:
        return conditions
    pairs = constraints.encryption_context_equals or constraints.encryption_context_subset
    if pairs:
        kind = "Equals" if constraints.encryption_context_equals else "Subset"
        conditions["kms:GrantConstraintType"] = f"EncryptionContext{kind}"
        conditions |= of_encryption_context(pairs)
    return conditions


def _page(found: Sequence[grants.Listed], limit: int) -> shapes.ListGrantsResponse:
    page, more = found[:limit], len(found) > limit
    return shapes.ListGrantsResponse(
        grants=[_entry(listed.grant) for listed in page],
        truncated=more,
        next_marker=write_marker(str(page[-1].seq)) if more else None,
    )


def _entry(grant: Grant) -> shapes.GrantListEntry:
    constraints = None
    if grant.constraints is not None:
        constraints = shapes.GrantConstraints(
            encryption_context_subset=grant.constraints.encryption_context_subset,
            encryption_context_equals=grant.constraints.encryption_context_equals,
            source_arn=grant.constraints.source_arn,
        )
    return shapes.GrantListEntry(
        key_id=grant.key_arn,
        grant_id=grant.grant_id,
        name=grant.name,
        creation_date=seconds(grant.created_at),
        grantee_principal=grant.grantee_principal,
        retiring_principal=grant.retiring_principal,
        issuing_account=grant.issuing_account,
        operations=list(grant.operations),
        constraints=constraints,
        grantee_service_principal=grant.grantee_service_principal,
        retiring_service_principal=grant.retiring_service_principal,
    )


def _check_id(grant_id: str) -> str:
    if not _GRANT_ID.fullmatch(grant_id):
        raise InvalidGrantId("A grant ID is 64 hexadecimal digits.")
    return grant_id


def _after(marker: str | None) -> int:
    text = read_marker(marker) or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidMarker("The marker is not one that this operation returned; begin without Marker.")
    return int(text)


def _limit(asked: int | None) -> int:
    return min(asked or GRANTS_IN_A_PAGE, MOST_GRANTS_IN_A_PAGE)


def _stop_if_dry(dry_run: bool | None) -> None:
    if dry_run:
        raise DryRunPassed("The request would have succeeded, but the DryRun option is set.")
