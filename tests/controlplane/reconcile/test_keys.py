"""One key from declaration to destruction, against a device that fails in every way it can."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest

from controlplane.errors import Conflict, NotFound
from controlplane.planning import management
from controlplane.reconcile.external import External
from controlplane.schema.conditions import Reason
from controlplane.schema.keys import KeySpec, KeyUsage, Management, Origin
from controlplane.schema.keystores import STANDARD
from controlplane.store import keys
from controlplane.store.attempts import Finding
from plugins.memory import MemoryKeyStore
from plugins.memory.device import FileDevice
from plugins.memory.faults import LEAKED_SECRET
from plugins.sdk import Capabilities
from tests.controlplane.reconcile.settling import DAY, FALSE, SECOND, TRUE, UNKNOWN, assert_settled, said
from tests.controlplane.reconcile.world import HSM, World

# ---- making ----------------------------------------------------------------------------------------------------------


async def test_a_declared_key_gets_one_material_under_a_name_chosen_before(world: World) -> None:
    assert world.in_device() == set()
    await world.look()
    key = world.key()
    assert key.status.current is not None
    material = key.status.current
    assert material.name == f"keystead:{key.metadata.uid}:{material.material_id}"
    assert len(bytes.fromhex(material.material_id)) == 32
    assert world.in_device() == {material.name}
    assert world.attempts() == [("create", "succeeded")]
    assert world.ready().status is TRUE
    await assert_settled(world)


async def test_the_attempt_is_durable_before_the_device_is_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, set[str]]] = []
    real = MemoryKeyStore.create

    async def create(self: MemoryKeyStore, ref: object) -> object:
        seen.append((world.open_attempts(), world.in_status()))
        return await real(self, cast("object", ref))  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryKeyStore, "create", create)
    await world.look()
    assert seen == [(1, set())]


async def test_a_lost_answer_is_resolved_by_observing_and_no_second_material_is_made(world: World) -> None:
    world.fault("create", "lost-answer")
    verdict = await world.look()
    assert verdict is not None
    assert verdict.retry
    assert said(world) == (UNKNOWN, Reason.CREATE_OUTCOME_UNKNOWN)
    assert world.open_attempts() == 1
    made = world.in_device()
    assert len(made) == 1
    await world.look()
    assert world.in_device() == made == world.in_status()
    assert world.attempts() == [("create", "succeeded")]
    await assert_settled(world)


async def test_a_lost_request_is_found_out_and_made_anew_under_another_name(world: World) -> None:
    world.fault("create", "lost-request")
    await world.look()
    assert said(world) == (UNKNOWN, Reason.CREATE_OUTCOME_UNKNOWN)
    assert world.in_device() == set()
    await world.look()
    assert world.attempts() == [("create", "refused"), ("create", "succeeded")]
    assert len(world.in_device()) == 1
    await assert_settled(world)


async def test_an_unknown_outcome_stays_open_while_nobody_can_look(world: World) -> None:
    world.fault("create", "lost-answer")
    world.fault("observe", "unavailable")
    await world.look()
    await world.look()
    assert said(world) == (UNKNOWN, Reason.CREATE_OUTCOME_UNKNOWN)
    assert world.open_attempts() == 1
    await world.look()
    assert len(world.in_device()) == 1
    await assert_settled(world)


async def test_a_store_that_cannot_be_searched_waits_for_a_person(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fault("create", "lost-answer")
    await world.look()
    connection = world.connections.get(HSM)
    assert isinstance(connection.capabilities, Capabilities)
    connection.capabilities = msgspec.structs.replace(connection.capabilities, find_by_name=False)
    verdict = await world.look()
    assert verdict is not None
    assert not verdict.retry
    assert "a person has to say" in world.synced().message
    assert world.open_attempts() == 1
    assert len(world.in_device()) == 1, "nothing is made a second time"


@pytest.mark.parametrize(
    ("effect", "reason"), [("refuse", Reason.CREATE_REFUSED), ("unavailable", Reason.STORE_UNREACHABLE)]
)
async def test_what_certainly_did_not_happen_is_told_and_tried_again(world: World, effect: str, reason: Reason) -> None:
    world.fault("create", effect)
    verdict = await world.look()
    assert verdict is not None
    assert verdict.retry
    assert said(world) == (FALSE, reason)
    assert (world.in_device(), world.open_attempts()) == (set(), 0)
    await world.look()
    await assert_settled(world)


async def test_a_store_that_sheds_load_is_unreachable_and_has_not_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.sdk import Unavailable

    async def create(self: MemoryKeyStore, ref: object) -> object:
        raise Unavailable("no session is free", reason="SessionsExhausted")

    monkeypatch.setattr(MemoryKeyStore, "create", create)
    await world.look()
    assert said(world) == (FALSE, Reason.STORE_UNREACHABLE)


async def test_an_error_that_no_contract_knows_may_have_happened_and_its_text_is_nowhere(world: World) -> None:
    world.fault("create", "error")
    await world.look()
    assert said(world) == (UNKNOWN, Reason.CREATE_OUTCOME_UNKNOWN)
    for path in world.directory.rglob("*"):
        if path.is_file():
            assert LEAKED_SECRET.encode() not in path.read_bytes()
    await world.look()
    await assert_settled(world)


async def test_a_key_that_the_store_does_not_offer_says_so_and_changes_nothing(world: World) -> None:
    await world.add_key("rsa", key_spec=KeySpec.RSA_2048, key_usage=KeyUsage.SIGN_VERIFY)
    await world.look("rsa")
    assert said(world, "rsa") == (FALSE, Reason.CREATE_REFUSED)
    assert "RSA_2048" in world.synced("rsa").message
    assert world.in_device() == set()


async def test_a_key_of_origin_external_waits_for_its_import(software: World) -> None:
    await software.add_key("mine", STANDARD, origin=Origin.EXTERNAL)
    await software.look("mine")
    assert said(software, "mine") == (TRUE, Reason.UP_TO_DATE)
    assert software.ready("mine").reason is Reason.PENDING_IMPORT
    assert software.attempts() == []


@pytest.mark.parametrize("happened", [False, True])
async def test_a_process_that_dies_in_the_middle_of_making_leaves_no_orphan(
    world: World, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    real = MemoryKeyStore.create
    entered = asyncio.Event()

    async def create(self: MemoryKeyStore, ref: object) -> object:
        if happened:
            await real(self, ref)  # type: ignore[arg-type]
        entered.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(MemoryKeyStore, "create", create)
    dying = asyncio.ensure_future(world.look())
    await entered.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert world.open_attempts() == 1
    monkeypatch.undo()
    await world.restart()
    await world.look()
    assert len(world.in_device()) == 1
    assert world.in_device() == world.in_status()
    await assert_settled(world)


async def test_a_process_that_lost_the_lease_makes_nothing(world: World) -> None:
    world.lease.epoch -= 1
    await world.look()
    assert said(world) == (FALSE, Reason.RECONCILE_ERROR)
    assert "another process took over" in world.synced().message
    assert world.in_device() == set()


# ---- looking ---------------------------------------------------------------------------------------------------------


async def test_material_that_is_lost_is_reported_and_never_made_again(world: World) -> None:
    await world.look()
    lost = world.in_device().pop()
    with FileDevice(world.device).change() as slots:
        kept = slots.pop(lost)
    for _ in range(3):
        await world.look()
        assert said(world) == (FALSE, Reason.MATERIAL_LOST)
        assert "could not decrypt" in world.synced().message
        assert world.in_device() == set()
    assert world.attempts() == [("create", "succeeded")]
    await world.restart()
    await world.look()
    assert world.in_device() == set()
    with FileDevice(world.device).change() as slots:
        slots[lost] = kept
    await world.look()
    await assert_settled(world)


async def test_material_of_another_kind_under_its_name_is_damage(world: World) -> None:
    await world.look()
    with FileDevice(world.device).change() as slots:
        for name, slot in slots.items():
            slots[name] = msgspec.structs.replace(slot, key_spec=KeySpec.HMAC_256)
    await world.look()
    assert said(world) == (FALSE, Reason.MATERIAL_DAMAGED)


@pytest.mark.parametrize("effect", ["unavailable", "lost-request", "error", "refuse"])
async def test_a_look_that_fails_changes_nothing_and_is_repeated(world: World, effect: str) -> None:
    await world.look()
    made = world.in_device()
    world.fault("observe", effect)
    verdict = await world.look()
    assert verdict is not None
    assert verdict.retry
    assert said(world) == (FALSE, Reason.STORE_UNREACHABLE)
    assert world.in_device() == made
    await world.look()
    await assert_settled(world)


async def test_a_change_of_the_spec_is_observed_in_one_pass(world: World) -> None:
    await world.look()
    await world.change("k", enabled=False, description="new")
    await world.look()
    assert world.ready().reason is Reason.DISABLED
    assert world.synced().observed_generation == 2
    await assert_settled(world)


async def test_the_time_of_a_condition_is_that_of_its_last_change(world: World) -> None:
    started = world.clock.now()
    await world.look()
    world.clock.advance(DAY)
    await world.change("k", description="new")
    await world.look()
    assert world.synced().last_transition == started
    world.fault("observe", "unavailable")
    await world.look()
    assert world.synced().last_transition == started + DAY


async def test_a_paused_key_is_left_alone_until_it_is_not(world: World) -> None:
    await world.change("k", management=Management.PAUSED)
    await world.look()
    assert said(world) == (FALSE, Reason.PAUSED)
    assert (world.in_device(), world.attempts()) == (set(), [])
    due = await world.schedule()
    world.clock.advance(due - world.clock.now() + DAY)
    await world.look()
    assert world.find() is not None, "paused means that nothing is destroyed either"
    assert said(world) == (FALSE, Reason.PAUSED)


async def test_a_key_that_is_not_there_is_no_work(world: World) -> None:
    assert await world.keys.reconcile("nobody") is None


# ---- the store comes and goes ----------------------------------------------------------------------------------------


async def test_a_key_waits_for_its_store_and_goes_on_when_it_is_back(world: World) -> None:
    await world.look()
    await world.change_store(HSM, connected=False)
    await world.connect()
    verdict = await world.look()
    assert verdict is not None
    assert verdict.retry
    assert said(world) == (FALSE, Reason.STORE_UNREACHABLE)
    assert world.ready().reason is Reason.UNAVAILABLE
    await world.change_store(HSM, connected=True)
    await world.connect()
    await world.look()
    assert world.ready().reason is Reason.ENABLED
    await assert_settled(world)


async def test_a_key_whose_store_was_never_connected_is_creating_and_says_why(world: World) -> None:
    await world.restart(connect=False)
    await world.look()
    assert said(world) == (FALSE, Reason.STORE_UNREACHABLE)
    assert world.attempts() == []


# ---- custody token ---------------------------------------------------------------------------------------------------


async def test_the_standard_store_makes_a_token_and_status_and_token_come_together(software: World) -> None:
    await software.look()
    assert software.tokens() == software.in_status()
    assert len(software.tokens()) == 1
    await assert_settled(software)


@pytest.mark.parametrize("moment", ["before the answer", "before it is recorded"])
async def test_a_token_that_was_never_recorded_is_nowhere_and_is_made_anew(
    software: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    entered = asyncio.Event()

    async def never(*arguments: object) -> None:
        entered.set()
        await asyncio.Event().wait()

    if moment == "before the answer":
        monkeypatch.setattr(type(software.connections.get(STANDARD).plugin), "create", never)
    else:
        monkeypatch.setattr(External, "_adopt", never)
    dying = asyncio.ensure_future(software.look())
    await entered.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert (software.open_attempts(), software.tokens(), software.in_status()) == (1, set(), set())
    monkeypatch.undo()
    await software.restart()
    await software.look()
    assert software.attempts() == [("create", "refused"), ("create", "succeeded")]
    assert software.tokens() == software.in_status()
    await assert_settled(software)


async def test_destroying_a_key_of_the_standard_store_leaves_no_token(software: World) -> None:
    await software.look()
    due = await software.schedule()
    software.clock.advance(due - software.clock.now() - SECOND)
    await software.look()
    assert len(software.tokens()) == 1
    software.clock.advance(SECOND)
    await software.look()
    assert (software.find(), software.tokens()) == (None, set())


async def test_a_token_that_disappeared_is_lost_material_and_is_not_made_again(software: World) -> None:
    await software.look()
    await software.database.write(lambda tx: tx.execute("DELETE FROM tokens"))
    for _ in range(2):
        await software.look()
        assert said(software) == (FALSE, Reason.MATERIAL_LOST)
        assert software.tokens() == set()


async def test_a_damaged_token_is_damaged_material_and_does_not_keep_its_key_for_ever(software: World) -> None:
    await software.look()
    await software.database.write(lambda tx: tx.execute("UPDATE tokens SET token = x'00'"))
    await software.look()
    assert said(software) == (FALSE, Reason.MATERIAL_DAMAGED)
    due = await software.schedule()
    software.clock.advance(due - software.clock.now())
    await software.look()
    assert (software.find(), software.tokens()) == (None, set())


async def test_two_passes_at_once_make_one_material(world: World) -> None:
    """The queue never does this; if something did, the journal's one open attempt stops the second."""
    await asyncio.gather(world.look(), world.look())
    await world.look()
    assert len(world.in_device()) == 1
    assert world.in_device() == world.in_status()


async def test_a_schedule_and_a_cancellation_race_and_one_order_holds(world: World) -> None:
    await world.look()
    uid, now = world.key().metadata.uid, world.clock.now()
    outcomes = await asyncio.gather(
        world.schedule(),
        world.cancel(),
        world.database.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="me", now=now)),
        return_exceptions=True,
    )
    assert not any(isinstance(outcome, Conflict) for outcome in outcomes)
    assert world.key().metadata.deletion is not None


@pytest.mark.parametrize("finding", list(Finding))
async def test_a_person_says_what_became_of_a_call_that_nobody_can_find_out(world: World, finding: Finding) -> None:
    made = finding is Finding.ADOPT
    world.fault("create", "lost-answer" if made else "lost-request")
    await world.look()
    connection = world.connections.get(HSM)
    assert isinstance(connection.capabilities, Capabilities)
    connection.capabilities = msgspec.structs.replace(connection.capabilities, find_by_name=False)
    await world.look()
    assert f"keystead resolve {world.key().metadata.name} --adopt or --abandon" in world.synced().message
    uid, now = world.key().metadata.uid, world.clock.now()
    await world.database.write(lambda tx: management.resolve(tx, uid, finding, by="me", now=now))
    before = world.in_device()
    await world.look()
    assert world.open_attempts() == 0
    assert (world.in_device() == before) is made
    assert world.in_device() == world.in_status()
    with pytest.raises(Conflict, match="nothing to resolve"):
        await world.database.write(lambda tx: management.resolve(tx, uid, finding, by="me", now=now))


async def test_nothing_is_made_for_a_key_that_was_forgotten_meanwhile(world: World) -> None:
    key = world.key()
    await world.database.write(lambda tx: management.forget(tx, key.metadata.uid, by="me", now=world.clock.now()))
    assert world.find() is None
    external = External(world.database, world.calls, world.clock, world.lease)
    with pytest.raises(NotFound):
        await external.create(key)
    assert (world.in_device(), world.open_attempts()) == (set(), 0)
