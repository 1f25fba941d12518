"""The one authoriser: may this caller do this action on this key?

Who calls it: ``usage.perform``, for every operation of every door. Guarantee: nothing else in the control plane decides
about permissions; the answer carries its reason for the audit record.

Order, as in AWS KMS: an explicit deny in any policy ends it; the key policy; identity policies where the key policy
lets the account decide; a grant. A session's own policy limits all of them (stricter than AWS, which lets a key policy
that names the session pass by it). To retire a grant is the grant's to allow first, then an identity policy's (KMS
Developer Guide, "Retiring and revoking grants").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from controlplane.access import context
from controlplane.access.caller import Caller
from controlplane.clock import Clock
from controlplane.domain import grants
from controlplane.domain.names import account_root
from controlplane.domain.policy import Because, Decision, default_key_policy, evaluate, locks_out, own_arns
from controlplane.schema.grants import Grant, GrantOperation
from controlplane.schema.meta import Key, Principal


class Request(msgspec.Struct):
    """One operation of one caller. ``context`` is the encryption context, for the audit record and for policies."""

    caller: Caller
    operation: str
    context: Mapping[str, str] | None = None
    action: str = ""
    """``kms:`` and the operation, unless another permission decides."""
    grant_tokens: Sequence[str] = ()
    """What the caller gave to have a grant used that is too new to be seen everywhere."""
    conditions: Mapping[str, str | tuple[str, ...]] | None = None
    """Condition keys that only this operation has (``kms:EncryptionAlgorithm``), for policies."""
    grant: Grant | None = None
    """The grant that is to be made or retired."""
    key_id: str = ""
    """What the caller wrote to name the key; ``usage.perform`` notes it."""
    details: Mapping[str, Any] | None = None
    """What only this door knows of the request, for the audit record."""

    @property
    def permission(self) -> str:
        """The action that policies and grants speak of."""
        return self.action or f"kms:{self.operation}"


def key_policy(key: Key, account: str) -> str:
    """The policy of a key, byte for byte as it was put; the default policy if none was."""
    policy = key.spec.policy
    return policy.document if policy is not None and policy.document is not None else default_key_policy(account)


WITHOUT_PERMISSION: Final = frozenset({"sts:GetCallerIdentity", "sts:GetSessionToken"})
"""What every caller may do, whatever policies say (AWS STS API reference, of both operations)."""

GrantsOf = Callable[[str, str], Sequence[Grant]]
"""The grants of a key (by uid) to one principal (an ARN)."""


class Authoriser:
    """Decides."""

    def __init__(self, grants_of: GrantsOf, clock: Clock) -> None:
        self._grants_of = grants_of
        self._clock = clock

    def decide(self, request: Request, key: Key | None, resource: str = "*") -> Decision:
        """Whether the caller may. Without a key, identity policies alone decide about ``resource``."""
        identity = request.caller.identity
        action = request.permission
        if action in WITHOUT_PERMISSION:
            return Decision(True, "it needs no permission")
        document = key_policy(key, identity.account) if key is not None else None
        decision = self._evaluate(request, action, key, resource, document, identity.policies)
        if key is not None and not decision.explicit:
            operation = grants.OPERATIONS.get(action)
            if operation is GrantOperation.RETIREGRANT:
                decision = self._retirement(request, key)
            elif not decision.allowed and operation is not None:
                decision = self._by_grant(request, key, operation) or decision
        if identity.session_policy is not None:
            return self._within_session(decision, request, key, resource)
        return decision

    def decide_role(self, request: Request, role: Principal) -> Decision:
        """Whether the caller may do what a role's trust policy is about: to assume it.

        It decides as a key policy does about a key. A role without a trust policy is nobody's to assume.
        """
        identity, trust = request.caller.identity, role.spec.trust_policy
        if trust is None or trust.document is None:
            return Decision(False, "the role has no trust policy", because=Because.NOT_BY_RESOURCE)
        decision = evaluate(
            principal=identity.arn,
            account=identity.account,
            action=request.permission,
            resource=role.status.arn,
            key_policy=trust.document,
            identity_policies=identity.policies,
            context=lambda: self._context(request, None),
            trust=True,
        )
        return self._within_session(decision, request, None, role.status.arn)

    def locks_out(self, request: Request, key: Key | None, document: str) -> bool:
        """Whether the caller could not change a key's policy again once it is ``document``."""
        identity = request.caller.identity
        return locks_out(
            document,
            principal=identity.arn,
            account=identity.account,
            identity_policies=identity.policies,
            context=lambda: self._context(request, key),
            resource=key.status.arn if key is not None else "*",
        )

    def _within_session(self, decision: Decision, request: Request, key: Key | None, resource: str) -> Decision:
        """The decision, unless the session's own policy does not allow the same."""
        limit = request.caller.identity.session_policy
        if limit is None or not decision.allowed:
            return decision
        own = self._evaluate(request, request.permission, key, resource, None, (limit,))
        if own.allowed:
            return decision
        because = Because.DENIED_BY_SESSION if own.explicit else Because.NOT_BY_SESSION
        return Decision(False, f"the policy of the session does not allow it: {own.reason}", own.explicit, because)

    def _by_grant(self, request: Request, key: Key, operation: GrantOperation) -> Decision | None:
        """Whether a grant allows it. One to the account lets identity policies decide, as a key policy can."""
        names, uid = own_arns(request.caller.principal), key.metadata.uid
        for name in names:
            for grant in self._grants_of(uid, name):
                if grants.allows(grant, names, operation, request.context, request.grant):
                    return Decision(True, f"allowed by grant {grant.grant_id}")
        root = account_root(request.caller.account)
        for grant in self._grants_of(uid, root):
            if grants.allows(grant, {root}, operation, request.context, request.grant):
                decision = self._by_identity(request, key)
                if decision.allowed:
                    return Decision(True, f"{decision.reason}, to which grant {grant.grant_id} leaves it")
        return None

    def _retirement(self, request: Request, key: Key) -> Decision:
        grant = request.grant
        if grant is not None and grants.may_retire(grant, own_arns(request.caller.principal)):
            return Decision(True, f"grant {grant.grant_id} lets the caller retire it")
        return self._by_identity(request, key)

    def _by_identity(self, request: Request, key: Key) -> Decision:
        """What the identity policies say by themselves."""
        return self._evaluate(request, request.permission, key, "*", None, request.caller.identity.policies)

    def _evaluate(
        self,
        request: Request,
        action: str,
        key: Key | None,
        resource: str,
        document: str | None,
        policies: tuple[str, ...],
    ) -> Decision:
        identity = request.caller.identity
        return evaluate(
            principal=identity.arn,
            account=identity.account,
            action=action,
            resource=key.status.arn if key is not None else resource,
            key_policy=document,
            identity_policies=policies,
            context=lambda: self._context(request, key),
        )

    def _context(self, request: Request, key: Key | None) -> context.Conditions:
        return context.of_request(
            request.caller,
            key,
            self._clock.time(),
            key_id=request.key_id,
            encryption_context=request.context,
            more=request.conditions,
        )
