"""The one authoriser: may this caller do this action on this key?

Who calls it: ``usage.perform``, for every operation of every door. Guarantee: nothing else in the control plane decides
about permissions; the answer carries its reason for the audit record.
"""

from __future__ import annotations

from controlplane.access.caller import Caller
from controlplane.domain.policy import Decision, default_key_policy, evaluate
from controlplane.schema.meta import Key


def key_policy(key: Key, account: str) -> str:
    """The policy of a key, byte for byte as it was put; the default policy if none was."""
    policy = key.spec.policy
    return policy.document if policy is not None and policy.document is not None else default_key_policy(account)


def authorise(caller: Caller, action: str, key: Key | None, resource: str = "*") -> Decision:
    """Decide. ``action`` is like ``kms:Encrypt``; without a key, identity policies alone decide about ``resource``."""
    return evaluate(
        principal=caller.principal,
        account=caller.account,
        action=action,
        resource=key.status.arn if key is not None else resource,
        key_policy=key_policy(key, caller.account) if key is not None else None,
        identity_policies=caller.identity_policies,
    )
