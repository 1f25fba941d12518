"""The one table: key state x operation. Every operation of every door passes :func:`gate`; no handler checks states.

Source: AWS KMS Developer Guide, "Key states of AWS KMS keys", the table and its notes; the columns Updating and
PendingReplicaDeletion from the same page and the API reference of UpdatePrimaryRegion. Messages are AWS's.

Some refusals depend on the key's kind, not its state (rotation of an HMAC key, import into a key of origin AWS_KMS);
those are rules of the operation and live with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from controlplane.errors import Disabled, InvalidState, KeysteadError
from controlplane.schema.keys import KeyState, Origin
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key


class Gate(Enum):
    """What the table says of one operation in one state."""

    ALLOWED = "allowed"
    IS_DISABLED = "is disabled."
    PENDING_DELETION = "is pending deletion."
    NOT_PENDING_DELETION = "is not pending deletion."
    PENDING_IMPORT = "is pending import."
    UNAVAILABLE = "is unavailable."
    CREATING = "is creating."
    UPDATING = "is updating."


Row = Mapping[KeyState, Gate]

_STATES = tuple(KeyState)


def _row(**refusals: Gate) -> Row:
    """A row that allows every state but the named ones."""
    row = dict.fromkeys(_STATES, Gate.ALLOWED)
    for name, refusal in refusals.items():
        row[KeyState[name]] = refusal
    return row


_ALWAYS = _row()
_USE = _row(
    DISABLED=Gate.IS_DISABLED,
    PENDING_DELETION=Gate.PENDING_DELETION,
    PENDING_REPLICA_DELETION=Gate.PENDING_DELETION,
    PENDING_IMPORT=Gate.PENDING_IMPORT,
    UNAVAILABLE=Gate.UNAVAILABLE,
    CREATING=Gate.CREATING,
)
_EDIT = _row(
    PENDING_DELETION=Gate.PENDING_DELETION,
    PENDING_REPLICA_DELETION=Gate.PENDING_DELETION,
    CREATING=Gate.CREATING,
)
_SWITCH = _row(
    PENDING_DELETION=Gate.PENDING_DELETION,
    PENDING_REPLICA_DELETION=Gate.PENDING_DELETION,
    PENDING_IMPORT=Gate.PENDING_IMPORT,
    CREATING=Gate.CREATING,
    UPDATING=Gate.UPDATING,
)
_GRANT = _row(
    DISABLED=Gate.IS_DISABLED,
    PENDING_DELETION=Gate.PENDING_DELETION,
    PENDING_REPLICA_DELETION=Gate.PENDING_DELETION,
    PENDING_IMPORT=Gate.PENDING_IMPORT,
    CREATING=Gate.CREATING,
)
_ROTATE = _row(
    DISABLED=Gate.IS_DISABLED,
    PENDING_DELETION=Gate.PENDING_DELETION,
    PENDING_REPLICA_DELETION=Gate.PENDING_DELETION,
    PENDING_IMPORT=Gate.PENDING_IMPORT,
    UNAVAILABLE=Gate.UNAVAILABLE,
    CREATING=Gate.CREATING,
    UPDATING=Gate.UPDATING,
)
_IMPORT = _row(
    PENDING_DELETION=Gate.PENDING_DELETION,
    PENDING_REPLICA_DELETION=Gate.PENDING_DELETION,
    UNAVAILABLE=Gate.UNAVAILABLE,
    CREATING=Gate.CREATING,
)
_SCHEDULE = _row(
    PENDING_DELETION=Gate.PENDING_DELETION,
    PENDING_REPLICA_DELETION=Gate.PENDING_DELETION,
    CREATING=Gate.CREATING,
    UPDATING=Gate.UPDATING,
)
_CANCEL = _row(
    ENABLED=Gate.NOT_PENDING_DELETION,
    DISABLED=Gate.NOT_PENDING_DELETION,
    PENDING_IMPORT=Gate.NOT_PENDING_DELETION,
    UNAVAILABLE=Gate.NOT_PENDING_DELETION,
    CREATING=Gate.NOT_PENDING_DELETION,
    UPDATING=Gate.NOT_PENDING_DELETION,
)

OPERATIONS: Mapping[str, Row] = {
    **dict.fromkeys(
        (
            "Decapsulate",
            "Decrypt",
            "DeriveSharedSecret",
            "Encapsulate",
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext",
            "GenerateDataKeyWithoutPlaintext",
            "GenerateMac",
            "GetPublicKey",
            "ReEncrypt",
            "Sign",
            "Verify",
            "VerifyMac",
        ),
        _USE,
    ),
    **dict.fromkeys(
        (
            "DeleteAlias",
            "DescribeKey",
            "GetKeyLastUsage",
            "GetKeyPolicy",
            "GetKeyRotationStatus",
            "ListAliases",
            "ListGrants",
            "ListKeyPolicies",
            "ListKeyRotations",
            "ListResourceTags",
            "ListRetirableGrants",
            "PutKeyPolicy",
            "RetireGrant",
            "RevokeGrant",
        ),
        _ALWAYS,
    ),
    **dict.fromkeys(("CreateAlias", "TagResource", "UntagResource", "UpdateAlias", "UpdateKeyDescription"), _EDIT),
    **dict.fromkeys(("DisableKey", "EnableKey"), _SWITCH),
    **dict.fromkeys(("DisableKeyRotation", "EnableKeyRotation", "RotateKeyOnDemand"), _ROTATE),
    **dict.fromkeys(("ReplicateKey", "UpdatePrimaryRegion"), _ROTATE),
    **dict.fromkeys(("GetParametersForImport", "ImportKeyMaterial"), _IMPORT),
    "DeleteImportedKeyMaterial": _row(CREATING=Gate.CREATING, UNAVAILABLE=Gate.UNAVAILABLE),
    "CreateGrant": _GRANT,
    "ScheduleKeyDeletion": _SCHEDULE,
    "CancelKeyDeletion": _CANCEL,
}
"""Every operation of the KMS API that acts on an existing key."""

USES: frozenset[str] = frozenset(name for name, row in OPERATIONS.items() if row is _USE) - {"GetPublicKey"}
"""Cryptographic operations: a refusal because of pending deletion is counted and shown."""


def key_state(key: Key, connection: ConnectionState) -> KeyState:
    """The state of a key, from what is desired, what was observed, and the connection of its key store.

    It is derived at every look and stored nowhere, so it cannot be stale: disabling a key works at once.
    """
    if key.metadata.deletion is not None:
        waits = key.metadata.deletion.due_at is None
        return KeyState.PENDING_REPLICA_DELETION if waits else KeyState.PENDING_DELETION
    if key.status.current is None:
        return KeyState.PENDING_IMPORT if key.spec.origin is Origin.EXTERNAL else KeyState.CREATING
    for material in key.status.materials:
        if not material.present:
            return KeyState.PENDING_IMPORT  # every material that ever encrypted has to be here (ImportKeyMaterial)
    if connection is not ConnectionState.CONNECTED and key.spec.origin not in (Origin.AWS_KMS, Origin.EXTERNAL):
        return KeyState.UNAVAILABLE
    return KeyState.ENABLED if key.spec.enabled else KeyState.DISABLED


def refusal(operation: str, state: KeyState, arn: str) -> KeysteadError | None:
    """Why ``operation`` is refused in ``state``, or None. One without a row in the table is refused."""
    row = OPERATIONS.get(operation)
    if row is None:
        return InvalidState(f"{operation} has no row in the table of key states, so it is refused.")
    verdict = row[state]
    if verdict is Gate.ALLOWED:
        return None
    message = f"{arn} {verdict.value}"
    return Disabled(message) if verdict is Gate.IS_DISABLED else InvalidState(message)


def gate(operation: str, state: KeyState, arn: str) -> None:
    """Return if the table allows the operation; raise its refusal otherwise."""
    refused = refusal(operation, state, arn)
    if refused is not None:
        raise refused
