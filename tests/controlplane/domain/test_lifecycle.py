"""The one table of key states and operations, held against AWS's own table, transcribed here in another form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import botocore.session
import pytest

from controlplane.domain import lifecycle
from controlplane.domain.schedule import deletion_request
from controlplane.errors import Disabled, InvalidState
from controlplane.schema.keys import DesiredKey, KeyState, KeyStatus, MaterialState, MaterialStatus, Origin
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key, Metadata

ARN = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

# AWS KMS Developer Guide, "Key states of AWS KMS keys" (awsdocs/aws-kms-developer-guide, doc_source/key-state.md), with
# the operations that came later filled in from the API reference; that of DeleteImportedKeyMaterial says that a key in
# PendingDeletion stays in it, so it succeeds there. The marks:
#   ok  succeeds             ?   depends on the kind of key, or on which of two keys: not the state's business
#   1   is disabled          2   is pending deletion        4   is not pending deletion
#   5   is pending import    11  is unavailable             -   cannot occur
# Where the guide says "?", or a refusal because of the kind ([6], [7], [9]), the gate may allow or refuse.
AWS = """
operation                            Enabled  Disabled  PendingImport  PendingDeletion  Unavailable
CancelKeyDeletion                    4        4         4              ok               4
CreateAlias                          ok       ok        ok             2                ok
CreateGrant                          ok       1         5              2                ok
Decapsulate                          ok       1         5              2                11
Decrypt                              ok       1         5              2                11
DeleteAlias                          ok       ok        ok             ok               ok
DeleteImportedKeyMaterial            ?        ?         ok             ok               ?
DeriveSharedSecret                   ok       1         5              2                -
DescribeKey                          ok       ok        ok             ok               ok
DisableKey                           ok       ok        5              2                ok
DisableKeyRotation                   ?        1         ?              2                ?
EnableKey                            ok       ok        5              2                ok
EnableKeyRotation                    ?        1         ?              2                ?
Encapsulate                          ok       1         5              2                11
Encrypt                              ok       1         5              2                11
GenerateDataKey                      ok       1         5              2                11
GenerateDataKeyPair                  ok       1         5              2                11
GenerateDataKeyPairWithoutPlaintext  ok       1         5              2                11
GenerateDataKeyWithoutPlaintext      ok       1         5              2                11
GenerateMac                          ok       1         5              2                -
GetKeyLastUsage                      ok       ok        ok             ok               ok
GetKeyPolicy                         ok       ok        ok             ok               ok
GetKeyRotationStatus                 ?        ?         ?              ?                ?
GetParametersForImport               ?        ?         ok             2                ?
GetPublicKey                         ok       1         -              2                -
ImportKeyMaterial                    ?        ?         ok             2                ?
ListAliases                          ok       ok        ok             ok               ok
ListGrants                           ok       ok        ok             ok               ok
ListKeyPolicies                      ok       ok        ok             ok               ok
ListKeyRotations                     ok       ok        ok             ok               ok
ListResourceTags                     ok       ok        ok             ok               ok
ListRetirableGrants                  ok       ok        ok             ok               ok
PutKeyPolicy                         ok       ok        ok             ok               ok
ReEncrypt                            ok       1         5              2                11
ReplicateKey                         ok       1         5              2                -
RetireGrant                          ok       ok        ok             ok               ok
RevokeGrant                          ok       ok        ok             ok               ok
RotateKeyOnDemand                    ok       1         ?              2                ?
ScheduleKeyDeletion                  ok       ok        ok             2                ok
Sign                                 ok       1         -              2                -
TagResource                          ok       ok        ok             2                ok
UntagResource                        ok       ok        ok             2                ok
UpdateAlias                          ok       ok        ok             ?                ok
UpdateKeyDescription                 ok       ok        ok             2                ok
UpdatePrimaryRegion                  ok       1         5              2                -
Verify                               ok       1         -              2                -
VerifyMac                            ok       1         5              2                -
"""
MARKS = {
    "1": (Disabled, f"{ARN} is disabled."),
    "2": (InvalidState, f"{ARN} is pending deletion."),
    "4": (InvalidState, f"{ARN} is not pending deletion."),
    "5": (InvalidState, f"{ARN} is pending import."),
    "11": (InvalidState, f"{ARN} is unavailable."),
}
KEYLESS = {
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "CreateKey",
    "DeleteCustomKeyStore",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "GenerateRandom",
    "ListKeys",
    "UpdateCustomKeyStore",
}
"""Operations that act on no existing key."""


def cells() -> list[tuple[str, KeyState, str]]:
    header, *rows = (line.split() for line in AWS.strip().splitlines())
    states = [KeyState(name) for name in header[1:]]
    return [(row[0], state, mark) for row in rows for state, mark in zip(states, row[1:], strict=True)]


CELLS = cells()


def test_every_operation_of_the_kms_api_on_a_key_has_a_row_and_no_other_has() -> None:
    api = set(botocore.session.get_session().get_service_model("kms").operation_names)
    assert set(lifecycle.OPERATIONS) == api - KEYLESS
    assert len(lifecycle.OPERATIONS) == 47
    assert {operation for operation, _, _ in CELLS} == set(lifecycle.OPERATIONS)


@pytest.mark.parametrize("operation", sorted(lifecycle.OPERATIONS))
def test_every_row_has_every_state(operation: str) -> None:
    assert set(lifecycle.OPERATIONS[operation]) == set(KeyState)


@pytest.mark.parametrize(("operation", "state", "mark"), CELLS, ids=lambda value: str(value))
def test_the_gate_says_what_awss_table_says(operation: str, state: KeyState, mark: str) -> None:
    refused = lifecycle.refusal(operation, state, ARN)
    if mark == "ok":
        assert refused is None
    elif mark in MARKS:
        kind, message = MARKS[mark]
        assert refused is not None
        assert (type(refused), refused.message) == (kind, message)


@pytest.mark.parametrize("operation", sorted(lifecycle.OPERATIONS))
def test_a_replica_that_waits_for_its_deletion_is_as_closed_as_one_that_is_pending(operation: str) -> None:
    row = lifecycle.OPERATIONS[operation]
    assert row[KeyState.PENDING_REPLICA_DELETION] is row[KeyState.PENDING_DELETION]


@pytest.mark.parametrize("operation", sorted(lifecycle.USES))
def test_a_cryptographic_operation_is_allowed_in_no_state_but_enabled_and_updating(operation: str) -> None:
    allowed = {state for state in KeyState if lifecycle.refusal(operation, state, ARN) is None}
    assert allowed == {KeyState.ENABLED, KeyState.UPDATING}


def test_uses_are_the_cryptographic_operations() -> None:
    prefixes = ("Decapsulate", "Decrypt", "Derive", "Encapsulate", "Encrypt", "Generate", "ReEncrypt", "Sign", "Verify")
    assert {name for name in lifecycle.OPERATIONS if name.startswith(prefixes)} == lifecycle.USES


@pytest.mark.parametrize("state", KeyState)
def test_an_operation_without_a_row_is_refused_in_every_state(state: KeyState) -> None:
    assert isinstance(lifecycle.refusal("MeltKey", state, ARN), InvalidState)
    with pytest.raises(InvalidState):
        lifecycle.gate("encrypt", state, ARN)


def test_the_gate_returns_or_raises_the_refusal() -> None:
    lifecycle.gate("Encrypt", KeyState.ENABLED, ARN)
    with pytest.raises(Disabled, match=r"is disabled\.$"):
        lifecycle.gate("Encrypt", KeyState.DISABLED, ARN)


# ---- the state itself ------------------------------------------------------------------------------------------------


def key(*, origin: Origin, enabled: bool = True, material: bool = True, deletion: bool = False) -> Key:
    materials = (
        (MaterialStatus(material_id="00", name="keystead:u:00", state=MaterialState.CURRENT, created_at=NOW),)
        if material
        else ()
    )
    return Key(
        metadata=Metadata(
            name="k",
            uid="u",
            generation=1,
            resource_version=1,
            created_at=NOW,
            deletion=deletion_request(NOW, 7, "somebody") if deletion else None,
        ),
        spec=DesiredKey(origin=origin, enabled=enabled),
        status=KeyStatus(key_id="u", arn=ARN, created_at=NOW, materials=materials),
    )


@pytest.mark.parametrize("connection", ConnectionState)
@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("material", [True, False])
def test_a_key_whose_deletion_is_asked_for_is_pending_deletion_whatever_else_holds(
    connection: ConnectionState, origin: Origin, enabled: bool, material: bool
) -> None:
    pending = key(origin=origin, enabled=enabled, material=material, deletion=True)
    assert lifecycle.key_state(pending, connection) is KeyState.PENDING_DELETION


@pytest.mark.parametrize("connection", ConnectionState)
@pytest.mark.parametrize("origin", Origin)
def test_a_key_in_a_custom_store_is_available_only_while_the_store_is_connected(
    connection: ConnectionState, origin: Origin
) -> None:
    custom = origin in (Origin.AWS_CLOUDHSM, Origin.EXTERNAL_KEY_STORE)
    for enabled, at_best in ((True, KeyState.ENABLED), (False, KeyState.DISABLED)):
        state = lifecycle.key_state(key(origin=origin, enabled=enabled), connection)
        assert state is (KeyState.UNAVAILABLE if custom and connection is not ConnectionState.CONNECTED else at_best)


@pytest.mark.parametrize("origin", Origin)
def test_a_key_without_material_is_creating_or_waits_for_its_import(origin: Origin) -> None:
    expected = KeyState.PENDING_IMPORT if origin is Origin.EXTERNAL else KeyState.CREATING
    assert lifecycle.key_state(key(origin=origin, material=False), ConnectionState.CONNECTED) is expected


def test_the_state_of_a_deletion_does_not_depend_on_whether_it_is_due() -> None:
    overdue = key(origin=Origin.AWS_KMS, deletion=True)
    assert overdue.metadata.deletion is not None
    assert overdue.metadata.deletion.due_at == NOW + timedelta(days=7)
    assert lifecycle.key_state(overdue, ConnectionState.CONNECTED) is KeyState.PENDING_DELETION
