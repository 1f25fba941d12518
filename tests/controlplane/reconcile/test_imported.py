"""Imported material over time: it ends when it should, comes back when its owner wants, rotates, and is shared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from controlplane.domain.imports import EXPIRES_SOON, Asked, steps
from controlplane.errors import (
    ExpiredImportToken,
    IncorrectKeyMaterial,
    InvalidCiphertext,
    InvalidInput,
    InvalidState,
    LimitExceeded,
    Unsupported,
)
from controlplane.schema.conditions import Reason
from controlplane.schema.events import EventReason
from controlplane.schema.imports import StepName, StepState
from controlplane.schema.keys import (
    DeletionSpec,
    DesiredKey,
    ExpirySpec,
    ImportState,
    KeySpec,
    KeyState,
    KeyUsage,
    Management,
    MaterialEnd,
    MaterialState,
    Origin,
)
from controlplane.store import events, imports, keys
from plugins.sdk.conformance.imports import wrap
from tests.controlplane.reconcile.bringing import ALGORITHM, NEW, Owner, secret
from tests.controlplane.reconcile.world import ACCOUNT, World

DAY = timedelta(days=1)
ELSEWHERE = "eu-central-1"
CURRENT, OLD, NEXT = MaterialState.CURRENT, MaterialState.NON_CURRENT, MaterialState.PENDING_ROTATION
ARRIVING = MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION
HERE, GONE = ImportState.IMPORTED, ImportState.PENDING_IMPORT


@pytest.fixture
async def owner(software: World) -> AsyncIterator[Owner]:
    """The owner of a key ``mine`` without material."""
    owner = Owner(software)
    await owner.key()
    yield owner


def in_days(owner: Owner, days: float) -> datetime:
    return owner.world.clock.now() + timedelta(days=days)


def told(owner: Owner, name: str = "mine") -> list[EventReason]:
    uid = owner.world.key(name).metadata.uid
    return [event.reason for event in owner.world.read(lambda tx: events.page(tx, uid=uid)).items]


def shown(owner: Owner, name: str = "mine") -> list[tuple[MaterialState, ImportState]]:
    return [(each.state, each.imported.state) for each in owner.materials(name)]


# ---- expiry ----------------------------------------------------------------------------------------------------------


async def test_material_lives_until_its_time_and_not_a_second_longer(owner: Owner) -> None:
    until = in_days(owner, 30)
    await owner.bring(secret(), valid_to=until)
    assert owner.world.due("mine") == until - EXPIRES_SOON
    owner.world.clock.advance(until - owner.world.clock.now() - timedelta(seconds=1))
    await owner.world.look("mine")
    assert owner.world.due("mine") == until
    assert owner.state() is KeyState.ENABLED
    owner.world.clock.advance(1)
    await owner.world.look("mine")
    assert owner.state() is KeyState.PENDING_IMPORT
    assert owner.tokens() == []
    assert owner.world.ready("mine").reason is Reason.PENDING_IMPORT
    (gone,) = owner.materials()
    assert (gone.imported.end, gone.imported.ended_at) == (MaterialEnd.EXPIRED, until)


async def test_what_expired_while_nobody_ran_ends_with_the_first_pass(owner: Owner) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 30))
    await owner.world.stop()
    owner.world.clock.advance(40 * DAY)
    await owner.world.start()
    await owner.world.connect()
    assert owner.state() is KeyState.ENABLED
    await owner.world.look("mine")
    assert owner.state() is KeyState.PENDING_IMPORT
    assert owner.tokens() == []


async def test_a_clock_that_jumps_back_ends_nothing_and_delays_nothing(owner: Owner) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 30))
    owner.world.clock.advance(-400 * DAY)
    await owner.world.restart()
    await owner.world.look("mine")
    assert owner.state() is KeyState.ENABLED
    owner.world.clock.advance(400 * DAY + 30 * DAY)
    await owner.world.look("mine")
    assert owner.state() is KeyState.PENDING_IMPORT


async def test_a_clock_that_jumps_back_brings_nothing_back(owner: Owner) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 30))
    owner.world.clock.advance(31 * DAY)
    await owner.world.look("mine")
    owner.world.clock.advance(-31 * DAY)
    await owner.world.look("mine")
    assert owner.state() is KeyState.PENDING_IMPORT
    assert owner.tokens() == []


async def test_people_hear_of_an_expiry_a_week_ahead_and_once(owner: Owner) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 30))
    owner.world.clock.advance(23 * DAY - timedelta(seconds=1))
    await owner.world.look("mine")
    assert EventReason.MATERIAL_EXPIRES_SOON not in told(owner)
    for _ in range(3):
        owner.world.clock.advance(1 * DAY)
        await owner.world.look("mine")
    assert told(owner).count(EventReason.MATERIAL_EXPIRES_SOON) == 1
    owner.world.clock.advance(7 * DAY)
    await owner.world.look("mine")
    assert told(owner)[-1] is EventReason.MATERIAL_EXPIRED


async def test_the_end_of_material_has_an_audit_record_before_it_comes(owner: Owner) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 1))
    owner.world.clock.advance(2 * DAY)
    await owner.world.look("mine")
    records = b"".join(path.read_bytes() for path in (owner.world.directory / "audit").rglob("*") if path.is_file())
    assert b"DeleteExpiredKeyMaterial" in records
    assert owner.materials()[0].material_id.encode() in records


async def test_without_its_audit_record_nothing_ends(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 1))
    owner.world.clock.advance(2 * DAY)

    async def full_disk(*_: object) -> None:
        raise InvalidState("no space left")

    monkeypatch.setattr(owner.world.audit, "append", full_disk)
    verdict = await owner.world.look("mine")
    assert verdict is not None
    assert verdict.retry
    assert owner.tokens() != []


@pytest.mark.parametrize("how", ["paused", "pending deletion"])
async def test_material_ends_at_its_time_whatever_else_its_key_waits_for(owner: Owner, how: str) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 3))
    if how == "paused":
        await owner.world.change("mine", management=Management.PAUSED)
    else:
        await owner.world.schedule("mine", 30)
    assert owner.world.due("mine") is not None
    owner.world.clock.advance(3 * DAY)
    await owner.world.look("mine")
    assert owner.tokens() == []


async def test_the_expiry_that_a_key_declares_bounds_every_import(owner: Owner) -> None:
    await owner.key("days", expiry=ExpirySpec(valid_days=90))
    await owner.key("moment", expiry=ExpirySpec(valid_to=in_days(owner, 10)))
    for name, limit in (("days", 90.0), ("moment", 10.0)):
        for asked in (None, in_days(owner, 300)):
            accepted = await owner.bring(secret_of(name), name, valid_to=asked)
            assert accepted.valid_to == in_days(owner, limit)
        accepted = await owner.bring(secret_of(name), name, valid_to=in_days(owner, 5))
        assert accepted.valid_to == in_days(owner, 5)
    owner.world.clock.advance(11 * DAY)
    with pytest.raises(InvalidInput, match="declare a later one"):
        await owner.bring(secret_of("moment"), "moment")


def secret_of(name: str) -> bytes:
    return name.encode().ljust(32, b".")


async def test_a_changed_declaration_holds_from_the_next_import_on(owner: Owner) -> None:
    mine = secret()
    await owner.bring(mine)
    await owner.world.change("mine", expiry=ExpirySpec(valid_days=1))
    owner.world.clock.advance(10 * DAY)
    await owner.world.look("mine")
    assert owner.state() is KeyState.ENABLED
    assert (await owner.bring(mine)).valid_to == in_days(owner, 1)


# ---- the same material again -----------------------------------------------------------------------------------------


async def test_the_same_material_makes_a_key_whole_again_and_old_ciphertexts_readable(owner: Owner) -> None:
    mine = secret()
    first = await owner.bring(mine, valid_to=in_days(owner, 1), description="from the safe")
    blob = await owner.encrypt(b"before")
    owner.world.clock.advance(2 * DAY)
    await owner.world.look("mine")
    for wrong in (secret(), mine[:-1] + b"\0"):
        with pytest.raises(IncorrectKeyMaterial):
            await owner.bring(wrong)
    assert owner.state() is KeyState.PENDING_IMPORT
    await owner.world.restart()
    again = await owner.bring(mine)
    assert again.material_id == first.material_id
    await owner.world.look("mine")
    assert owner.state() is KeyState.ENABLED
    assert await owner.decrypt(blob) == b"before"
    assert owner.materials()[0].imported.description == "from the safe"


async def test_importing_what_is_there_changes_its_expiry_and_leaves_one_token(owner: Owner) -> None:
    mine = secret()
    await owner.bring(mine, valid_to=in_days(owner, 10))
    before = owner.tokens()
    blob = await owner.encrypt(b"before")
    await owner.bring(mine, valid_to=in_days(owner, 100))
    assert len(owner.tokens()) == 1
    assert owner.tokens() != before
    assert owner.world.tokens() & set(before) == set(), "the replaced token is gone"
    assert await owner.decrypt(blob) == b"before"
    owner.world.clock.advance(50 * DAY)
    await owner.world.look("mine")
    assert owner.state() is KeyState.ENABLED


async def test_a_refused_import_leaves_the_key_as_it_was(owner: Owner) -> None:
    await owner.bring(secret())
    before = owner.world.key("mine")
    issued = owner.issued["mine"]
    with pytest.raises(IncorrectKeyMaterial):
        await owner.bring(secret())
    with pytest.raises(IncorrectKeyMaterial):
        await owner.bring(b"too short")
    with pytest.raises(InvalidCiphertext):
        await owner.imports.accept(owner.record(), issued.token, b"junk", Asked(), "me")
    assert owner.world.key("mine") == before
    assert told(owner)[-1] is EventReason.IMPORT_REFUSED
    (past,) = owner.world.read(lambda tx: imports.past(tx, before.metadata.uid))
    assert past.refusal is not None
    assert past.imported_at is not None


# ---- parameters ------------------------------------------------------------------------------------------------------


async def test_parameters_serve_for_a_day_and_their_wrapping_key_does_not_outlive_them(owner: Owner) -> None:
    mine = secret()
    issued = await owner.parameters()
    owner.world.clock.advance(DAY - timedelta(seconds=1))
    await owner.bring(mine)
    owner.world.clock.advance(1)
    encrypted = wrap(issued.public_key, ALGORITHM, mine)
    with pytest.raises(ExpiredImportToken):
        await owner.imports.accept(owner.record(), issued.token, encrypted, Asked(), "me")
    assert owner.sealed(issued) is not None
    await owner.parameters()  # asking for new ones clears what has expired
    assert owner.sealed(issued) is None
    with pytest.raises(ExpiredImportToken):
        await owner.imports.accept(owner.record(), issued.token, encrypted, Asked(), "me")


async def test_a_key_has_a_bounded_number_of_parameters(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MAX_OPEN", 2)
    monkeypatch.setattr(imports, "MAX_KEPT", 1)
    for _ in range(2):
        await owner.parameters()
    with pytest.raises(LimitExceeded):
        await owner.parameters()
    owner.world.clock.advance(DAY)
    await owner.parameters()
    uid = owner.world.key("mine").metadata.uid
    kept = owner.world.read(lambda tx: tx.execute("SELECT count(*) FROM imports WHERE uid = ?", (uid,)).fetchone()[0])
    assert kept == 2, "the one that is valid, and one that was"


async def test_what_is_kept_of_a_token_does_not_import(owner: Owner) -> None:
    issued = await owner.parameters()
    rows = owner.world.read(lambda tx: [tuple(row) for row in tx.execute("SELECT * FROM imports")])
    assert not any(issued.token in value for row in rows for value in row if isinstance(value, bytes))


# ---- deletion --------------------------------------------------------------------------------------------------------


async def test_deleting_material_is_told_and_needs_no_reconciler(owner: Owner) -> None:
    first = await owner.bring(secret())
    assert await owner.delete() == first.material_id
    assert owner.state() is KeyState.PENDING_IMPORT
    assert owner.tokens() == []
    assert told(owner)[-1] is EventReason.MATERIAL_DELETED
    assert await owner.delete() is None


async def test_a_key_without_its_material_is_destroyed_at_the_end_of_its_window(owner: Owner) -> None:
    await owner.bring(secret())
    await owner.delete()
    due = await owner.world.schedule("mine", 7)
    owner.world.clock.advance(due - owner.world.clock.now())
    await owner.world.look("mine")
    assert owner.world.find("mine") is None
    assert owner.world.read(lambda tx: tx.execute("SELECT count(*) FROM imports").fetchone()[0]) == 0


async def test_a_cancelled_deletion_leaves_imported_material_where_it_was(owner: Owner) -> None:
    await owner.bring(secret())
    blob = await owner.encrypt(b"kept")
    await owner.world.schedule("mine", 7)
    await owner.world.cancel("mine")
    assert owner.state() is KeyState.DISABLED
    await owner.world.change("mine", enabled=True)
    assert await owner.decrypt(blob) == b"kept"


async def test_expiry_does_not_count_as_the_beginning_of_destruction(owner: Owner) -> None:
    await owner.bring(secret(), valid_to=in_days(owner, 1))
    await owner.world.schedule("mine", 30)
    owner.world.clock.advance(2 * DAY)
    await owner.world.look("mine")
    await owner.world.cancel("mine")
    assert owner.state() is KeyState.PENDING_IMPORT


# ---- rotation --------------------------------------------------------------------------------------------------------


async def rotate(owner: Owner, name: str = "mine") -> None:
    uid, now = owner.world.key(name).metadata.uid, owner.world.clock.now()
    await owner.world.database.write(lambda tx: keys.request_rotation(tx, uid, now))
    await owner.world.look(name)


async def test_the_next_material_waits_for_its_rotation_and_the_old_one_still_decrypts(owner: Owner) -> None:
    one, two = secret(), secret()
    await owner.bring(one)
    old = await owner.encrypt(b"old")
    with pytest.raises(IncorrectKeyMaterial):
        await owner.bring(two)  # without a word it would have to be the first one again
    second = await owner.bring(two, kind=NEW, description="second")
    assert shown(owner) == [(CURRENT, HERE), (NEXT, HERE)]
    assert (await owner.encrypt(b"x"))[20:52].hex() != second.material_id
    await rotate(owner)
    assert shown(owner) == [(OLD, HERE), (CURRENT, HERE)]
    new = await owner.encrypt(b"new")
    assert new[20:52].hex() == second.material_id
    assert await owner.decrypt(old) == b"old"
    assert await owner.decrypt(new) == b"new"


async def test_a_rotation_needs_the_next_material_first(owner: Owner) -> None:
    await owner.bring(secret())
    with pytest.raises(InvalidState, match="import new key material first"):
        await rotate(owner)


async def test_only_one_material_waits_and_one_that_is_known_is_not_new(owner: Owner) -> None:
    one, two = secret(), secret()
    await owner.bring(one)
    await owner.bring(two, kind=NEW)
    with pytest.raises(InvalidState, match="pending rotation"):
        await owner.bring(secret(), kind=NEW)
    with pytest.raises(IncorrectKeyMaterial, match="already associated"):
        await owner.bring(one, kind=NEW)


async def test_material_that_was_never_in_use_can_go_for_good(owner: Owner) -> None:
    one, two = secret(), secret()
    await owner.bring(one)
    second = await owner.bring(two, kind=NEW)
    await owner.delete(material_id=second.material_id)
    assert shown(owner) == [(CURRENT, HERE)]
    assert owner.state() is KeyState.ENABLED
    await owner.bring(secret(), kind=NEW)


async def test_material_that_waits_and_expires_is_forgotten_and_the_key_stays_usable(owner: Owner) -> None:
    await owner.bring(secret())
    await owner.bring(secret(), kind=NEW, valid_to=in_days(owner, 1))
    owner.world.clock.advance(2 * DAY)
    await owner.world.look("mine")
    assert shown(owner) == [(CURRENT, HERE)]
    assert owner.state() is KeyState.ENABLED


async def test_a_key_is_usable_only_with_every_material_that_ever_encrypted(owner: Owner) -> None:
    one, two = secret(), secret()
    first = await owner.bring(one, valid_to=in_days(owner, 5))
    old = await owner.encrypt(b"old")
    await owner.bring(two, kind=NEW)
    await rotate(owner)
    owner.world.clock.advance(6 * DAY)
    await owner.world.look("mine")
    assert shown(owner) == [(OLD, GONE), (CURRENT, HERE)]
    assert owner.state() is KeyState.PENDING_IMPORT
    with pytest.raises(IncorrectKeyMaterial):
        await owner.bring(two, material_id=first.material_id)
    await owner.bring(one, material_id=first.material_id)
    assert owner.state() is KeyState.ENABLED
    assert await owner.decrypt(old) == b"old"


async def test_words_that_contradict_each_other_are_refused(owner: Owner) -> None:
    mine = secret()
    with pytest.raises(InvalidInput, match="NEW_KEY_MATERIAL"):
        await owner.bring(mine, kind=NEW, material_id="ab" * 32)
    first = await owner.bring(mine)
    with pytest.raises(IncorrectKeyMaterial):
        await owner.bring(mine, material_id="ab" * 32)
    await owner.bring(mine, material_id=first.material_id, description="again")
    assert owner.materials()[0].imported.description == "again"


@pytest.mark.parametrize("spec", [KeySpec.HMAC_256, KeySpec.ECC_NIST_P256])
async def test_keys_that_do_not_rotate_have_one_material_for_life(software: World, spec: KeySpec) -> None:
    owner = Owner(software)
    usage = KeyUsage.GENERATE_VERIFY_MAC if spec is KeySpec.HMAC_256 else KeyUsage.SIGN_VERIFY
    await owner.key(key_spec=spec, key_usage=usage)
    with pytest.raises(Unsupported):
        await owner.bring(secret(), kind=NEW)


# ---- keys in several Regions -----------------------------------------------------------------------------------------


@pytest.fixture
async def regions(software: World) -> Owner:
    """A multi-Region key ``mine`` with one replica, ``theirs``, both without material."""
    owner = Owner(software)
    await owner.key(multi_region=True)
    await add_replica(owner)
    return owner


async def add_replica(owner: Owner, name: str = "theirs", region: str = ELSEWHERE) -> None:
    now = owner.world.clock.now()
    desired = DesiredKey(
        region=region,
        key_usage=KeyUsage.ENCRYPT_DECRYPT,
        origin=Origin.EXTERNAL,
        multi_region=True,
        replica_of="mine",
        deletion=DeletionSpec(window_days=7),
    )
    await owner.world.database.write(lambda tx: keys.create(tx, desired=desired, account=ACCOUNT, now=now, name=name))


async def test_a_replica_takes_its_primarys_material_and_no_other(regions: Owner) -> None:
    mine = secret()
    with pytest.raises(IncorrectKeyMaterial):
        await regions.bring(mine, "theirs")  # the primary has none yet
    first = await regions.bring(mine)
    assert regions.state("theirs") is KeyState.PENDING_IMPORT
    assert shown(regions, "theirs") == [(CURRENT, GONE)], "it shows what it waits for"
    with pytest.raises(IncorrectKeyMaterial):
        await regions.bring(secret(), "theirs")
    with pytest.raises(Unsupported):
        await regions.bring(secret(), "theirs", kind=NEW)
    second = await regions.bring(mine, "theirs")
    assert second.material_id == first.material_id
    assert regions.state("theirs") is KeyState.ENABLED
    assert await regions.decrypt(await regions.encrypt(b"shared"), "theirs") == b"shared"


async def test_new_material_is_rotated_to_once_every_replica_has_it(regions: Owner) -> None:
    one, two = secret(), secret()
    for name in ("mine", "theirs"):
        await regions.bring(one, name)
    old = await regions.encrypt(b"old", "theirs")
    await regions.bring(two, kind=NEW)
    assert shown(regions) == [(CURRENT, HERE), (ARRIVING, HERE)]
    with pytest.raises(InvalidState):
        await rotate(regions)
    await regions.bring(two, "theirs")
    assert shown(regions) == shown(regions, "theirs") == [(CURRENT, HERE), (NEXT, HERE)]
    await rotate(regions)
    assert shown(regions) == shown(regions, "theirs") == [(OLD, HERE), (CURRENT, HERE)]
    new = await regions.encrypt(b"new")
    assert await regions.decrypt(new, "theirs") == b"new"
    assert await regions.decrypt(old) == b"old"


async def test_material_that_the_primary_gives_up_before_its_rotation_leaves_the_replicas(regions: Owner) -> None:
    one, two = secret(), secret()
    for name in ("mine", "theirs"):
        await regions.bring(one, name)
    second = await regions.bring(two, kind=NEW)
    await regions.bring(two, "theirs")
    await regions.delete(material_id=second.material_id)
    assert shown(regions) == shown(regions, "theirs") == [(CURRENT, HERE)]
    assert len(regions.tokens("theirs")) == 1
    assert len(regions.world.tokens()) == 2


async def test_material_that_a_replica_loses_is_its_own_matter(regions: Owner) -> None:
    mine = secret()
    for name in ("mine", "theirs"):
        await regions.bring(mine, name)
    await regions.delete("theirs")
    assert regions.state("theirs") is KeyState.PENDING_IMPORT
    assert regions.state("mine") is KeyState.ENABLED
    await regions.bring(mine, "theirs")
    assert regions.state("theirs") is KeyState.ENABLED


async def test_a_replica_made_later_waits_for_every_material(regions: Owner) -> None:
    one, two = secret(), secret()
    for name in ("mine", "theirs"):
        await regions.bring(one, name)
    old = await regions.encrypt(b"old")
    await regions.bring(two, kind=NEW)
    await regions.bring(two, "theirs")
    await rotate(regions)
    await add_replica(regions, "late", "ap-south-1")
    assert shown(regions, "late") == [(OLD, GONE), (CURRENT, GONE)]
    await regions.bring(two, "late")
    assert regions.state("late") is KeyState.PENDING_IMPORT
    await regions.bring(one, "late")
    assert regions.state("late") is KeyState.ENABLED
    assert await regions.decrypt(old, "late") == b"old"


# ---- the import as one can see it ------------------------------------------------------------------------------------


async def test_the_steps_of_an_import_are_told_with_their_times(owner: Owner) -> None:
    clock = owner.world.clock

    def now() -> list[tuple[StepName, StepState]]:
        return [(each.step, each.state) for each in steps(owner.world.key("mine").status, clock.now())]

    done, waiting, ahead = StepState.DONE, StepState.WAITING, StepState.AHEAD
    assert now() == []
    issued_at = clock.now()
    await owner.parameters()
    assert now() == [
        (StepName.PARAMETERS_ISSUED, done),
        (StepName.WRAPPED, waiting),
        (StepName.UPLOADED, ahead),
        (StepName.IMPORTED, ahead),
    ]
    clock.advance(2 * DAY)
    assert [state for _, state in now()] == [done, StepState.LAPSED, StepState.LAPSED, StepState.LAPSED]
    await owner.parameters()
    clock.advance(60)
    await owner.bring(secret(), valid_to=in_days(owner, 30))
    assert now()[3:] == [(StepName.IMPORTED, done), (StepName.EXPIRING, waiting), (StepName.EXPIRED, ahead)]
    told = steps(owner.world.key("mine").status, clock.now())
    assert told[0].at == issued_at + 2 * DAY
    assert told[2].at == told[3].at == clock.now()
    assert told[5].at == in_days(owner, 30)
    clock.advance(25 * DAY)
    assert now()[4:] == [(StepName.EXPIRING, done), (StepName.EXPIRED, ahead)]
    clock.advance(6 * DAY)
    await owner.world.look("mine")
    assert now()[4:] == [(StepName.EXPIRED, done)]
