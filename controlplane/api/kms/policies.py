"""PutKeyPolicy, GetKeyPolicy, ListKeyPolicies. A policy is kept and answered byte for byte.

Source of the rules: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

from controlplane.access.authorise import key_policy
from controlplane.access.caller import Caller
from controlplane.api.kms.keys import not_alias, read_marker, write_marker
from controlplane.api.kms.lockout import bypass_condition, check_policy
from controlplane.api.kms.shapes import policies as shapes
from controlplane.api.services import Services
from controlplane.errors import InvalidInput, NotFound
from controlplane.store import keys
from controlplane.store.catalog import KeyRecord
from controlplane.usage.perform import Request

DEFAULT = "default"
RAM = "AWS_RAM"
POLICIES_IN_A_PAGE = 100


async def put_key_policy(at: Services, caller: Caller, request: shapes.PutKeyPolicyRequest) -> None:
    bypass = request.bypass_policy_lockout_safety_check
    asked = _asked(caller, "PutKeyPolicy", request.policy_name)
    asked.conditions = {**(asked.conditions or {}), **bypass_condition(bypass)}

    async def work(record: KeyRecord) -> None:
        if request.policy_name == RAM:
            raise InvalidInput("The AWS_RAM policy can only be managed by the RAM service.")
        _check_name(request.policy_name)
        source = check_policy(at, asked, record.key, request.policy, bypass=bypass)
        uid, now = record.key.metadata.uid, at.clock.now()
        await at.database.write(lambda tx: keys.change(tx, uid, now, by=caller.principal, policy=source))

    await at.usage.on_key(asked, not_alias(request.key_id), work)


async def get_key_policy(
    at: Services, caller: Caller, request: shapes.GetKeyPolicyRequest
) -> shapes.GetKeyPolicyResponse:
    async def work(record: KeyRecord) -> shapes.GetKeyPolicyResponse:
        _check_name(request.policy_name)
        return shapes.GetKeyPolicyResponse(policy=key_policy(record.key, at.settings.account), policy_name=DEFAULT)

    return await at.usage.on_key(_asked(caller, "GetKeyPolicy", request.policy_name), not_alias(request.key_id), work)


async def list_key_policies(
    at: Services, caller: Caller, request: shapes.ListKeyPoliciesRequest
) -> shapes.ListKeyPoliciesResponse:
    async def work(_: KeyRecord) -> shapes.ListKeyPoliciesResponse:
        after, limit = read_marker(request.marker), request.limit or POLICIES_IN_A_PAGE
        rest = [name for name in (DEFAULT,) if name > after]
        page, more = rest[:limit], len(rest) > limit
        return shapes.ListKeyPoliciesResponse(
            policy_names=page, truncated=more, next_marker=write_marker(page[-1]) if more else None
        )

    return await at.usage.on_key(Request(caller, "ListKeyPolicies"), not_alias(request.key_id), work)


def _asked(caller: Caller, operation: str, policy_name: str | None) -> Request:
    return Request(caller, operation, conditions={"kms:PolicyName": policy_name or DEFAULT})


def _check_name(policy_name: str | None) -> None:
    if policy_name not in (None, DEFAULT):
        raise NotFound(f"No such policy exists: {policy_name}; the only policy of a key is {DEFAULT}.")
