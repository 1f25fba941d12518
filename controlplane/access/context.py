"""The condition keys of one request, for statements that depend on them.

Who calls it: ``access.authorise``, and only when a statement that covers the request has a condition or a variable.
What the keys mean stands in ``domain.policy.condition_keys``; a test holds this module to that table. A key that a
request does not have is absent, as in AWS: what then happens is the operator's to say.

Sources: Service Authorization Reference, "Condition keys for AWS Key Management Service"; IAM User Guide, "AWS global
condition context keys".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from controlplane.access.caller import Caller, CallerType
from controlplane.schema.keys import KeySpec, KeyUsage, Origin
from controlplane.schema.meta import Key

Conditions = dict[str, str | tuple[str, ...]]

ALIAS_PREFIX: Final = "alias/"


def of_request(
    caller: Caller,
    key: Key | None,
    now: float,
    *,
    key_id: str = "",
    encryption_context: Mapping[str, str] | None = None,
    more: Mapping[str, str | tuple[str, ...]] | None = None,
) -> Conditions:
    """All condition keys. ``key_id`` is what the caller wrote to name the key, ``more`` what its operation adds."""
    found = _of_caller(caller)
    found["aws:CurrentTime"] = _moment(int(now))
    found["aws:EpochTime"] = str(int(now))
    found["kms:CallerAccount"] = caller.account
    if key is not None:
        found |= of_key(key)
        alias = _alias(key_id)
        if alias:
            found["kms:RequestAlias"] = alias
    if encryption_context:
        found |= of_encryption_context(encryption_context)
    if more:
        found |= more
    return found


def of_key(key: Key) -> Conditions:
    """What policies know of an existing key."""
    spec = key.spec
    found: Conditions = {
        "aws:ResourceAccount": key.status.arn.split(":")[4],
        "kms:ResourceAliases": tuple(ALIAS_PREFIX + alias for alias in spec.aliases),
    }
    assert spec.key_usage is not None
    assert spec.origin is not None
    found |= of_spec(spec.key_spec, spec.key_usage, spec.origin, multi_region=spec.multi_region)
    if spec.multi_region:
        primary = key.status.primary_region in (None, spec.region)
        found["kms:MultiRegionKeyType"] = "PRIMARY" if primary else "REPLICA"
    found |= {f"aws:ResourceTag/{name}": value for name, value in spec.tags.items()}
    return found


def of_spec(key_spec: KeySpec, usage: KeyUsage, origin: Origin, *, multi_region: bool) -> Conditions:
    """The same of a key that is to be created, too."""
    return {
        "kms:KeySpec": key_spec.value,
        "kms:CustomerMasterKeySpec": key_spec.value,
        "kms:KeyUsage": usage.value,
        "kms:CustomerMasterKeyUsage": usage.value,
        "kms:KeyOrigin": origin.value,
        "kms:MultiRegion": "true" if multi_region else "false",
    }


def of_encryption_context(pairs: Mapping[str, str]) -> Conditions:
    """The keys of an encryption context, or of a grant's constraint on one."""
    found: Conditions = {f"kms:EncryptionContext:{name}": value for name, value in pairs.items()}
    found["kms:EncryptionContextKeys"] = tuple(pairs)
    return found


def of_tags(tags: Mapping[str, str]) -> Conditions:
    """The keys of a request that gives tags."""
    found: Conditions = {f"aws:RequestTag/{name}": value for name, value in tags.items()}
    return found | of_tag_keys(tags)


def of_tag_keys(names: Iterable[str]) -> Conditions:
    """The key of a request that names tags."""
    return {"aws:TagKeys": tuple(names)}


def _of_caller(caller: Caller) -> Conditions:
    identity = caller.identity
    found: Conditions = {
        "aws:PrincipalArn": identity.role_arn or identity.arn,  # the role's, also for a session
        "aws:PrincipalAccount": identity.account,
        "aws:PrincipalIsAWSService": "false",
        "aws:PrincipalType": identity.type,
        "aws:RequestedRegion": caller.region,
        "aws:SecureTransport": "true" if caller.secure else "false",
        "aws:ViaAWSService": "false",
        "aws:userid": identity.user_id,
    }
    if identity.type is CallerType.USER:
        found["aws:username"] = identity.name
    if caller.user_agent:
        found["aws:UserAgent"] = caller.user_agent
    if identity.issued_at is not None:
        found["aws:TokenIssueTime"] = _moment(int(identity.issued_at))
        found["aws:MultiFactorAuthPresent"] = "false"  # present for temporary credentials, absent for others
    if identity.source_identity is not None:
        found["aws:SourceIdentity"] = identity.source_identity
    if _is_address(caller.source):
        found["aws:SourceIp"] = caller.source
    found |= {f"aws:PrincipalTag/{name}": value for name, value in identity.tags.items()}
    return found


def _alias(key_id: str) -> str:
    """``alias/NAME`` if a key was named by an alias or its ARN."""
    if key_id.startswith(ALIAS_PREFIX):
        return key_id
    _, found, name = key_id.partition(f":{ALIAS_PREFIX}")
    return ALIAS_PREFIX + name if found else ""


@lru_cache(maxsize=1024)
def _is_address(source: str) -> bool:
    """A peer on a Unix socket has none."""
    try:
        ipaddress.ip_address(source)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
