"""Who may: key policies and identity policies evaluated to a Decision that carries its reason.

Who calls it: ``access.authorise``, for every request of every door; the KMS door for the lock-out check.

Order, as AWS evaluates:

1. An explicit deny anywhere wins (``explicit``): no grant helps against it. A policy that cannot be read is one.
2. The key policy allows one of the caller's own ARNs, or everyone.
3. The key policy allows the account, and an identity policy of the caller allows. Without a key, step 3 needs no key
   policy.
4. Otherwise denied, not explicitly: the caller of this module may find a grant.

Guarantees: never raises; what cannot be read denies (fail closed); depends on nothing but its arguments.

Speed: a policy text is compiled once. What can be said without the request's context is said once per principals,
action, resource and policies and remembered: a :class:`Decision`, or the few statements that still depend on the
context. Only for those the context is built. Both memories are bounded by the size of what they keep, so distinct
policies cannot fill the machine. They are shared by threads: reads take no lock.

Sources: KMS Developer Guide, "Key policies", "Default key policy" and "Determining access"; IAM User Guide, "Policy
evaluation logic" and "NotPrincipal".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import count
from threading import Lock
from typing import Generic, TypeVar

import msgspec

from controlplane.domain.names import account_root
from controlplane.domain.policy.document import Statement, read_policy
from controlplane.errors import InvalidPolicy

Context = Mapping[str, str | tuple[str, ...]]
"""Condition keys in any case and their values; a tuple for a multivalued key. See ``condition_keys``."""

_SESSION = re.compile(r"arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([^/]+)/", re.ASCII)
_NOBODY: frozenset[str] = frozenset()


class Because(StrEnum):
    """What a caller is told of why it was denied. ``{}`` is the action.

    AWS's words: IAM User Guide, "Troubleshoot access denied error messages".
    """

    UNTOLD = ""
    DENIED_BY_RESOURCE = " with an explicit deny in a resource-based policy"
    DENIED_BY_IDENTITY = " with an explicit deny in an identity-based policy"
    DENIED_BY_SESSION = " with an explicit deny in a session policy"
    NOT_BY_RESOURCE = " because no resource-based policy allows the {} action"
    NOT_BY_IDENTITY = " because no identity-based policy allows the {} action"
    NOT_BY_SESSION = " because no session policy allows the {} action"


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The answer and the statement or lack of one that decided it."""

    allowed: bool
    reason: str
    explicit: bool = False
    """Denied by a statement, or because a policy or the context cannot be read: grants do not help."""
    because: Because = Because.UNTOLD
    """Of a denial: what the caller is told. ``reason`` names statements and is for the audit record."""


def parse_policy(text: str, *, identity: bool = False, trust: bool = False) -> tuple[Statement, ...]:
    """Statements of a key policy, an identity policy or a role's trust policy, compiled.

    Raises :class:`InvalidPolicy` with what is wrong.
    """
    found = _compiled(text, identity, trust)
    if isinstance(found, str):
        raise InvalidPolicy(found)
    return found


def evaluate(
    *,
    principal: str,
    account: str,
    action: str,
    resource: str,
    key_policy: str | None,
    identity_policies: tuple[str, ...],
    principals: frozenset[str] = _NOBODY,
    context: Context | Callable[[], Context] | None = None,
    trust: bool = False,
) -> Decision:
    """Whether ``principal`` (an ARN) may do ``action`` (``kms:Encrypt``) on ``resource`` (a key ARN, or ``*``).

    ``account`` is that of the key and of the caller. ``principals`` are further ARNs that stand for the caller; the
    role of an assumed-role session is added here. ``key_policy`` is None for operations that act on no key: then
    identity policies alone decide. With ``trust`` it is the trust policy of the role ``resource``, which decides the
    same way. ``context`` is called at most once, and only if a statement depends on it; two keys
    that differ only in case become one key with both values.
    """
    policies = _POLICIES.entries.get((key_policy, identity_policies, trust))
    if policies is None:
        policies = _policies(key_policy, identity_policies, trust)
    question = (policies.number, principal, principals, account, action, None if policies.any_resource else resource)
    answer = _ANSWERS.entries.get(question)
    if answer is None:
        answer = _answer(policies, principals, principal, account, action, resource)
        weight = 1 if isinstance(answer, Decision) else policies.weight
        _ANSWERS.put(question, answer, weight + (len(principal) + len(action) + len(resource)) // _OVERHEAD)
    if isinstance(answer, Decision):
        return answer
    try:
        return answer.decide(resource, _fold(context))
    except Exception as error:  # the builder's failure too: a request that cannot be described is not allowed
        return Decision(False, f"the request's context cannot be read ({type(error).__name__}), which denies", True)


def locks_out(
    policy_text: str,
    *,
    principal: str,
    account: str,
    identity_policies: tuple[str, ...],
    principals: frozenset[str] = _NOBODY,
    context: Context | Callable[[], Context] | None = None,
    resource: str = "*",
) -> bool:
    """Whether the caller could not change the key policy again once it is ``policy_text``.

    The lock-out safety check of CreateKey, ReplicateKey and PutKeyPolicy: the caller "must have kms:PutKeyPolicy
    permission", "from an IAM policy or ... in the key policy" (KMS Developer Guide, "Customer managed policies").
    ``resource`` is the key's ARN where there is one, so that identity policies that name keys count.
    """
    return not evaluate(
        principal=principal,
        account=account,
        action="kms:PutKeyPolicy",
        resource=resource,
        key_policy=policy_text,
        identity_policies=identity_policies,
        principals=principals,
        context=context,
    ).allowed


def own_arns(principal: str) -> frozenset[str]:
    """The ARNs that stand for a caller itself: its own, and the role of an assumed-role session."""
    session = _SESSION.match(principal)
    if session is None:
        return frozenset({principal})
    partition, account, role = session.groups()
    return frozenset({principal, f"arn:{partition}:iam::{account}:role/{role}"})


# ---- statements that cover a request ---------------------------------------------------------------------------------


class _Undecided(msgspec.Struct, frozen=True):
    """What depends on the context: the statements that cover principal and action, in order."""

    denials: tuple[tuple[Statement, str], ...]
    direct: tuple[Statement, ...]
    delegations: tuple[Statement, ...]
    identity: tuple[Statement, ...]
    without_key: bool

    def decide(self, resource: str, context: Mapping[str, str | tuple[str, ...]]) -> Decision:
        for statement, policy in self.denials:
            if statement.applies(resource, context):
                return _denied(statement, policy)
        for statement in self.direct:
            if statement.applies(resource, context):
                return _allowed(statement, "the key policy")
        allowing = next((s for s in self.identity if s.applies(resource, context)), None)
        if allowing is None:
            return _UNMENTIONED if self.without_key or self.delegations else _UNMENTIONED_BY_KEY
        if self.without_key or any(s.applies(resource, context) for s in self.delegations):
            return _allowed(allowing, "an identity policy")
        return _NOT_DELEGATED


_UNMENTIONED = Decision(False, "no statement allows it", because=Because.NOT_BY_IDENTITY)
_UNMENTIONED_BY_KEY = Decision(False, "no statement allows it", because=Because.NOT_BY_RESOURCE)
_NOT_DELEGATED = Decision(
    False, "the key policy does not let identity policies of the account decide", because=Because.NOT_BY_RESOURCE
)


def _denied(statement: Statement, policy: str) -> Decision:
    because = Because.DENIED_BY_IDENTITY if statement.principals is None else Because.DENIED_BY_RESOURCE
    return Decision(False, f"denied by statement {statement.label} of {policy}", True, because)


def _allowed(statement: Statement, policy: str) -> Decision:
    return Decision(True, f"allowed by statement {statement.label} of {policy}")


def _answer(
    policies: _Policies, names: frozenset[str], principal: str, account: str, action: str, resource: str
) -> Decision | _Undecided:
    """Everything that can be said without the context."""
    if policies.unreadable is not None:
        return Decision(False, f"a policy does not parse, which denies: {policies.unreadable}", True)
    names |= own_arns(principal)
    root = account_root(account)
    folded = action.lower()

    of_key = [s for s in policies.key if s.covers_action(folded) and s.covers_resource(resource) is not False]
    identity = [s for s in policies.identity if s.covers_action(folded) and s.covers_resource(resource) is not False]
    undecided = _Undecided(
        denials=(
            *((s, "the key policy") for s in of_key if s.deny and _denies(s, principal, names, root)),
            *((s, "an identity policy") for s in identity if s.deny),
        ),
        direct=tuple(s for s in of_key if not s.deny and _names(s, names)),
        delegations=tuple(s for s in of_key if not s.deny and s.principals is not None and root in s.principals.names),
        identity=tuple(s for s in identity if not s.deny),
        without_key=policies.without_key,
    )

    def certain(statement: Statement) -> bool:
        return not statement.conditions and statement.covers_resource(resource) is True

    for statement, policy in undecided.denials:
        if certain(statement):
            return _denied(statement, policy)
    if undecided.denials:
        return undecided
    direct = next(filter(certain, undecided.direct), None)
    if direct is not None:
        return _allowed(direct, "the key policy")
    allowing = next(filter(certain, undecided.identity), None)
    if allowing is not None and (undecided.without_key or any(map(certain, undecided.delegations))):
        return _allowed(allowing, "an identity policy")
    if undecided.direct:
        return undecided
    if not undecided.identity:
        return _UNMENTIONED if undecided.without_key or undecided.delegations else _UNMENTIONED_BY_KEY
    return undecided if undecided.without_key or undecided.delegations else _NOT_DELEGATED


def _names(statement: Statement, names: frozenset[str]) -> bool:
    """Whether a statement names the caller itself."""
    principals = statement.principals
    return principals is not None and (principals.everyone or not names.isdisjoint(principals.names))


def _denies(statement: Statement, principal: str, names: frozenset[str], root: str) -> bool:
    """Whether a Deny is about the caller. To deny an account denies all in it.

    NotPrincipal excepts only who is named exactly: naming the role does not except its sessions, naming the account
    does not except its users (IAM User Guide, "NotPrincipal with Deny").
    """
    principals = statement.principals
    if principals is None:
        return False
    if principals.excepted:
        return not principals.everyone and principal not in principals.names
    return _names(statement, names) or root in principals.names


def _fold(context: Context | Callable[[], Context] | None) -> dict[str, str | tuple[str, ...]]:
    """Keys in lower case. Keys that differ only in case hold all their values, so that none hides another."""
    if context is None:
        return {}
    given: Mapping[str, object] = context() if callable(context) else context
    folded: dict[str, str | tuple[str, ...]] = {}
    for key, value in given.items():
        name = key.lower()
        if name in folded:
            folded[name] = (*_several(folded[name]), *_several(value))
        else:
            folded[name] = value if isinstance(value, str) else _several(value)
    return folded


def _several(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, tuple) and all(isinstance(one, str) for one in value):
        return value
    raise TypeError("a condition key has a string or a tuple of strings")


# ---- memory ----------------------------------------------------------------------------------------------------------

K = TypeVar("K")
V = TypeVar("V")


class _Memory(Generic[K, V]):
    """A cache bounded by weight; the oldest go first. ``entries`` is read without a lock."""

    def __init__(self, limit: int) -> None:
        self.entries: dict[K, V] = {}
        self._weights: dict[K, int] = {}
        self._limit = limit
        self._total = 0
        self._lock = Lock()

    def put(self, key: K, value: V, weight: int) -> None:
        with self._lock:
            if key in self._weights:
                return
            while self._weights and self._total + weight > self._limit:
                oldest = next(iter(self._weights))
                self._total -= self._weights.pop(oldest)
                self.entries.pop(oldest, None)
            self._weights[key] = weight
            self._total += weight
            self.entries[key] = value


class _Policies(msgspec.Struct, frozen=True, eq=False):
    """A key policy and the identity policies that meet it, compiled. ``number`` stands for them in questions."""

    number: int
    key: tuple[Statement, ...]
    identity: tuple[Statement, ...]
    without_key: bool
    unreadable: str | None
    any_resource: bool
    """No statement looks at the resource: one answer serves them all."""
    weight: int


_OVERHEAD = 1_000
"""What an entry weighs besides its policy text, in characters."""
_TEXTS: _Memory[tuple[str, bool, bool], tuple[Statement, ...] | str] = _Memory(32_000_000)
_POLICIES: _Memory[tuple[str | None, tuple[str, ...], bool], _Policies] = _Memory(32_000_000)
_ANSWERS: _Memory[tuple[int, str, frozenset[str], str, str, str | None], Decision | _Undecided] = _Memory(65_536)
_NUMBERS = count()


def _compiled(text: str, identity: bool, trust: bool = False) -> tuple[Statement, ...] | str:
    """The statements of a policy, or what is wrong with it."""
    found = _TEXTS.entries.get((text, identity, trust))
    if found is None:
        try:
            found = read_policy(text, identity=identity, trust=trust)
        except InvalidPolicy as error:
            found = error.message
        _TEXTS.put((text, identity, trust), found, len(text) + _OVERHEAD)
    return found


def _policies(key_policy: str | None, identity_policies: tuple[str, ...], trust: bool) -> _Policies:
    unreadable: str | None = None
    of_key: tuple[Statement, ...] = ()
    identity: list[Statement] = []
    if key_policy is not None:
        found = _compiled(key_policy, False, trust)
        if isinstance(found, str):
            unreadable = found
        else:
            of_key = found
    for text in identity_policies:
        found = _compiled(text, True)
        if isinstance(found, str):
            unreadable = unreadable or found
        else:
            identity += found
    characters = len(key_policy or "") + sum(map(len, identity_policies))
    policies = _Policies(
        number=next(_NUMBERS),
        key=of_key,
        identity=tuple(identity),
        without_key=key_policy is None,
        unreadable=unreadable,
        any_resource=all(statement.any_resource for statement in (*of_key, *identity)),
        weight=1 + characters // _OVERHEAD,
    )
    _POLICIES.put((key_policy, identity_policies, trust), policies, characters + _OVERHEAD)
    return policies
