"""The check of a new key policy, shared by CreateKey, ReplicateKey and PutKeyPolicy.

Source of the rules: the AWS KMS API reference of these operations; KMS Developer Guide, "Default key policy" (the
lock-out safety check).
"""

from __future__ import annotations

from controlplane.api.services import Services
from controlplane.domain import policy
from controlplane.errors import InvalidPolicy, LimitExceeded
from controlplane.schema.keys import PolicySource
from controlplane.schema.meta import Key
from controlplane.usage.perform import Request


def check_policy(
    at: Services, asked: Request, key: Key | None, document: str | None, *, bypass: bool | None
) -> PolicySource | None:
    """The policy as given, if one is. Raises unless it parses and, without the bypass, leaves the caller able to change
    it.

    ``key`` is the one that gets the policy, if it is there already.
    """
    if document is None:
        return None
    if len(document) > policy.MAX_POLICY_CHARACTERS:
        raise LimitExceeded(f"The policy is longer than {policy.MAX_POLICY_CHARACTERS} characters.")
    policy.parse_policy(document)
    if not bypass and at.usage.locks_out(asked, key, document):
        raise InvalidPolicy("The new key policy will not allow you to update the key policy in the future.")
    return PolicySource(document=document)


def bypass_condition(bypass: bool | None) -> dict[str, str | tuple[str, ...]]:
    """The condition key of an operation that has the check."""
    return {"kms:BypassPolicyLockoutSafetyCheck": "true" if bypass else "false"}
