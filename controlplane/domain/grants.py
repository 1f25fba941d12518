"""Rules of grants: which ones may be made, and what one allows.

Who calls it: the KMS door checks a new grant with :func:`check`; ``access.authorise`` asks :func:`allows` and
:func:`may_retire`. Pure. Guarantees: a grant allows only operations that it lists, to its grantee, under its
constraints; a grant made through another grant is never wider than that.

Sources: KMS Developer Guide, "Grants in AWS KMS" (grant operations, using grant constraints, granting CreateGrant
permission, retiring and revoking grants); the AWS KMS API reference, ``CreateGrant``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Final

from controlplane.domain.policy import is_principal
from controlplane.errors import InvalidArn, InvalidInput
from controlplane.schema.grants import Grant, GrantConstraints, GrantOperation
from controlplane.schema.keys import KeySpec, KeyUsage

MAX_GRANTS: Final = 50_000
"""Grants of one key (Developer Guide, "Resource quotas")."""
MAX_CONTEXT_PAIRS: Final = 8
MAX_CONTEXT_VALUE: Final = 384

Op = GrantOperation

_ANY_KEY = frozenset({Op.CREATEGRANT, Op.RETIREGRANT, Op.DESCRIBEKEY})
_PUBLIC = frozenset({Op.GETPUBLICKEY})
_CONTEXT = frozenset(
    {
        Op.DECRYPT,
        Op.ENCRYPT,
        Op.GENERATEDATAKEY,
        Op.GENERATEDATAKEYWITHOUTPLAINTEXT,
        Op.GENERATEDATAKEYPAIR,
        Op.GENERATEDATAKEYPAIRWITHOUTPLAINTEXT,
        Op.REENCRYPTFROM,
        Op.REENCRYPTTO,
    }
)
"""Operations with an encryption context; all of a symmetric encryption key."""
_OF_ASYMMETRIC: Mapping[KeyUsage, frozenset[Op]] = {
    KeyUsage.ENCRYPT_DECRYPT: frozenset({Op.DECRYPT, Op.ENCRYPT, Op.REENCRYPTFROM, Op.REENCRYPTTO}) | _PUBLIC,
    KeyUsage.SIGN_VERIFY: frozenset({Op.SIGN, Op.VERIFY}) | _PUBLIC,
    KeyUsage.KEY_AGREEMENT: frozenset({Op.DERIVESHAREDSECRET}) | _PUBLIC,
    KeyUsage.GENERATE_VERIFY_MAC: frozenset({Op.GENERATEMAC, Op.VERIFYMAC}),
    KeyUsage.ENCAPSULATE_DECAPSULATE: frozenset({Op.ENCAPSULATE, Op.DECAPSULATE}) | _PUBLIC,
}
OPERATIONS: Final[Mapping[str, Op]] = {f"kms:{operation}": operation for operation in Op}
"""By the permission that the operation asks for."""

_SERVICE = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+){2,}", re.ASCII)


def operations_of(key_spec: KeySpec, usage: KeyUsage) -> frozenset[Op]:
    """What a grant on such a key can allow."""
    if key_spec is KeySpec.SYMMETRIC_DEFAULT:
        return _ANY_KEY | _CONTEXT
    return _ANY_KEY | _OF_ASYMMETRIC[usage]


def check(grant: Grant, key_spec: KeySpec, usage: KeyUsage) -> None:
    """Whether such a grant can be made on such a key.

    Raises :class:`InvalidArn` for a principal that is none, and :class:`InvalidInput`.
    """
    if (grant.grantee_principal is None) == (grant.grantee_service_principal is None):
        raise InvalidInput("You must specify either GranteePrincipal or GranteeServicePrincipal, but not both.")
    if grant.retiring_principal is not None and grant.retiring_service_principal is not None:
        raise InvalidInput("You can specify either RetiringPrincipal or RetiringServicePrincipal, but not both.")
    for principal in (grant.grantee_principal, grant.retiring_principal):
        if principal is not None and not is_principal(principal) and not _SERVICE.fullmatch(principal):
            raise InvalidArn(f"ARN does not refer to a valid principal: {principal}")
    constraints = grant.constraints or GrantConstraints()
    if grant.grantee_service_principal is not None:
        if constraints.source_arn is None:
            raise InvalidInput("A grant with a GranteeServicePrincipal must have a SourceArn constraint.")
        if grant.retiring_principal is None and grant.retiring_service_principal is None:
            raise InvalidInput(
                "A grant with a GranteeServicePrincipal must have a RetiringPrincipal or a RetiringServicePrincipal."
            )
    if not grant.operations:
        raise InvalidInput("Operations must name at least one operation.")
    possible = operations_of(key_spec, usage)
    unfit = [operation for operation in grant.operations if operation not in possible]
    if unfit:
        raise InvalidInput(
            f"Operations {', '.join(unfit)} cannot be granted on a key with KeySpec {key_spec} and KeyUsage {usage}; "
            f"these can: {', '.join(operation for operation in Op if operation in possible)}."
        )
    _check_context(constraints, key_spec)


def _check_context(constraints: GrantConstraints, key_spec: KeySpec) -> None:
    given = {
        "EncryptionContextEquals": constraints.encryption_context_equals,
        "EncryptionContextSubset": constraints.encryption_context_subset,
    }
    present = {name: pairs for name, pairs in given.items() if pairs is not None}
    if len(present) > 1:
        raise InvalidInput("You can specify either EncryptionContextEquals or EncryptionContextSubset, but not both.")
    for name, pairs in present.items():
        if key_spec is not KeySpec.SYMMETRIC_DEFAULT:
            raise InvalidInput(f"{name} needs a symmetric encryption key: operations of this one have no context.")
        if not 0 < len(pairs) <= MAX_CONTEXT_PAIRS:
            raise InvalidInput(f"{name} has 1 to {MAX_CONTEXT_PAIRS} pairs.")
        if any(len(value) > MAX_CONTEXT_VALUE for value in pairs.values()):
            raise InvalidInput(f"A value in {name} has at most {MAX_CONTEXT_VALUE} characters.")


# ---- what a grant allows ---------------------------------------------------------------------------------------------


def allows(
    grant: Grant,
    names: Set[str],
    operation: GrantOperation,
    context: Mapping[str, str] | None,
    child: Grant | None = None,
) -> bool:
    """Whether it lets a caller with these ARNs do the operation with this encryption context.

    ``child`` is the grant that a CreateGrant is to make. To retire a grant is :func:`may_retire`.
    """
    if grant.grantee_principal not in names or operation not in grant.operations or operation is Op.RETIREGRANT:
        return False
    constraints = grant.constraints or GrantConstraints()
    if constraints.source_arn is not None:
        return False  # no request of this door is made on behalf of a resource
    if operation is Op.CREATEGRANT:
        return child is not None and covers(grant, child)
    if operation not in _CONTEXT:
        return True
    given = context or {}
    equals, subset = constraints.encryption_context_equals, constraints.encryption_context_subset
    return (equals is None or given == equals) and (subset is None or subset.items() <= given.items())


def covers(parent: Grant, child: Grant) -> bool:
    """Whether ``child`` allows nothing that ``parent`` does not: fewer operations, at least as strict constraints."""
    if not set(child.operations) <= set(parent.operations):
        return False
    outer, inner = parent.constraints or GrantConstraints(), child.constraints or GrantConstraints()
    if outer.source_arn is not None and inner.source_arn != outer.source_arn:
        return False
    if outer.encryption_context_equals is not None:
        return inner.encryption_context_equals == outer.encryption_context_equals
    if outer.encryption_context_subset is None:
        return True
    held = inner.encryption_context_equals or inner.encryption_context_subset or {}
    return outer.encryption_context_subset.items() <= held.items()


def may_retire(grant: Grant, names: Set[str]) -> bool:
    """Whether the grant itself lets a caller with these ARNs retire it."""
    if grant.retiring_principal in names:
        return True
    return grant.grantee_principal in names and Op.RETIREGRANT in grant.operations
