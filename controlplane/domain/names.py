"""ARNs, key identifiers and external names.

Source: AWS KMS Developer Guide, "Key identifiers (KeyId)": a key is named by key id, key ARN, alias name or alias ARN.
"""

from __future__ import annotations

import re
import uuid

import msgspec

from controlplane.errors import InvalidArn

MATERIAL_NAME_PREFIX = "keystead:"
SYSTEM_NAME_PREFIX = "keystead:system:"
"""Of material that the server has for itself: no key names it, and it is no leftover."""

_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]*):([0-9]{0,12}):(key|alias)/(.+)")
_KEY_ID = re.compile(r"mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class KeyReference(msgspec.Struct, frozen=True):
    """What a caller wrote as KeyId: exactly one of ``key_id`` and ``alias`` (without prefix), and where."""

    region: str
    account: str
    key_id: str | None = None
    alias: str | None = None
    full: bool = False
    """Whether the caller wrote an ARN."""


def key_arn(region: str, account: str, key_id: str) -> str:
    """ARN of a KMS key."""
    return f"arn:aws:kms:{region}:{account}:key/{key_id}"


def alias_arn(region: str, account: str, alias: str) -> str:
    """ARN of an alias; ``alias`` is without its ``alias/`` prefix."""
    return f"arn:aws:kms:{region}:{account}:alias/{alias}"


def principal_arn(account: str, principal_type: str, name: str) -> str:
    """ARN of a declared user or role."""
    return f"arn:aws:iam::{account}:{principal_type}/{name}"


def session_arn(account: str, role: str, session: str) -> str:
    """ARN of a session of a role."""
    return f"arn:aws:sts::{account}:assumed-role/{role}/{session}"


def account_root(account: str) -> str:
    """The ARN that stands for a whole account in policies."""
    return f"arn:aws:iam::{account}:root"


def parse_key_reference(text: str, region: str, account: str) -> KeyReference:
    """Read a KeyId as a door of ``region`` and ``account`` received it.

    Raises :class:`InvalidArn` for something that begins like an ARN and is none. Any other text is a key id, which may
    not exist.
    """
    if text.startswith("alias/"):
        return KeyReference(region, account, alias=text[6:])
    if text.startswith("arn:"):
        match = _ARN.fullmatch(text)
        if match is None:
            raise InvalidArn(f"Invalid arn {text}")
        arn_region, arn_account, what, rest = match.groups()
        if what == "alias":
            return KeyReference(arn_region, arn_account, alias=rest, full=True)
        return KeyReference(arn_region, arn_account, key_id=rest, full=True)
    return KeyReference(region, account, key_id=text)


def is_key_id(text: str) -> bool:
    """Whether the text has the form of a key id (it may still name no key)."""
    return _KEY_ID.fullmatch(text) is not None


def new_key_id(uid: str, *, multi_region: bool) -> str:
    """Key id of a new key: its uid, or ``mrk-`` and 32 hex digits for a multi-Region key."""
    return f"mrk-{uuid.uuid4().hex}" if multi_region else uid


def import_name(uid: str) -> str:
    """External name of material that is imported now; material that is imported again gets another one.

    A name is never reused, because the name of destroyed material stays closed in every process.
    """
    return f"{MATERIAL_NAME_PREFIX}{uid}:{uuid.uuid4().hex}"


def material_name(uid: str, material_id: str) -> str:
    """External name of a material, chosen before it exists; ``uid`` is that of the key object."""
    return f"{MATERIAL_NAME_PREFIX}{uid}:{material_id}"


def custom_key_store_id(uid: str) -> str:
    """The CustomKeyStoreId of a key store: ``cks-`` and 17 hexadecimal digits of its uid."""
    return f"cks-{uid.replace('-', '')[:17]}"
