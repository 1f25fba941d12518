"""The end of a key: not a second before it is due, whole, audited, and never past a cancellation."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.errors import InvalidState
from controlplane.reconcile.external import External
from controlplane.schema.conditions import Reason
from plugins.memory import MemoryKeyStore
from tests.controlplane.reconcile.settling import DAY, FALSE, SECOND, UNKNOWN, assert_settled, said
from tests.controlplane.reconcile.world import HSM, World

# ---- leaving ---------------------------------------------------------------------------------------------------------


async def test_nothing_is_destroyed_a_second_before_it_is_due_and_everything_at_once_then(world: World) -> None:
    await world.look()
    made = world.in_device()
    due = await world.schedule(days=7)
    world.clock.advance(due - world.clock.now() - SECOND)
    await world.look()
    assert world.due() == due
    assert world.in_device() == made
    assert world.ready().reason is Reason.PENDING_DELETION
    world.clock.advance(SECOND)
    verdict = await world.look()
    assert verdict is not None
    assert verdict.gone
    assert (world.find(), world.in_device(), world.open_attempts()) == (None, set(), 0)
    assert world.attempts()[-1] == ("destroy", "succeeded")


async def test_a_pass_over_a_key_that_waits_for_its_deletion_writes_nothing(world: World) -> None:
    await world.look()
    await world.schedule()
    await world.look()
    version = world.version()
    world.clock.advance(DAY)
    await world.look()
    assert world.version() == version


async def test_a_deletion_that_fell_due_while_the_process_was_down_is_carried_out(world: World) -> None:
    await world.look()
    due = await world.schedule()
    world.clock.advance(due - world.clock.now() + 30 * DAY)
    await world.restart()
    await world.look()
    assert (world.find(), world.in_device()) == (None, set())


async def test_a_deletion_is_audited(world: World) -> None:
    await world.look()
    arn = world.key().status.arn
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())
    await world.look()
    written = b"".join(path.read_bytes() for path in world.directory.glob("audit/**/*.jsonl"))
    assert arn.encode() in written
    assert b'"operation":"DeleteKey"' in written
    assert b"scheduled by me" in written


@pytest.mark.parametrize("before", [timedelta(microseconds=1), SECOND, 7 * DAY])
async def test_a_cancellation_in_the_last_moment_wins(world: World, before: timedelta) -> None:
    await world.look()
    made = world.in_device()
    due = await world.schedule(days=7)
    world.clock.advance(due - world.clock.now() - before)
    await world.cancel()
    world.clock.advance(30 * DAY)
    await world.look()
    assert world.in_device() == made
    assert world.ready().reason is Reason.DISABLED
    await assert_settled(world)


async def test_a_cancellation_that_comes_between_the_look_and_the_deed_wins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for just in time, written just after the pass began: it was answered, so the material stays."""
    await world.look()
    made = world.in_device()
    due = await world.schedule()
    just_before = due - timedelta(microseconds=1)
    world.clock.advance(due - world.clock.now())
    real = External.resolve

    async def resolve(self: External, key: object) -> object:
        await world.cancel(now=just_before)
        return await real(self, key)  # type: ignore[arg-type]

    monkeypatch.setattr(External, "resolve", resolve)
    verdict = await world.look()
    monkeypatch.undo()
    assert verdict is not None
    assert not verdict.gone
    assert verdict.retry
    assert world.in_device() == made
    await world.look()
    await assert_settled(world)


async def test_a_cancellation_that_comes_after_the_deed_began_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.look()
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())
    real = MemoryKeyStore.destroy

    async def destroy(self: MemoryKeyStore, ref: object) -> None:
        with pytest.raises(InvalidState, match="is being destroyed"):
            await world.cancel(now=due - SECOND)
        await real(self, ref)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryKeyStore, "destroy", destroy)
    await world.look()
    assert (world.find(), world.in_device()) == (None, set())


async def test_a_key_without_material_that_is_cancelled_in_the_last_moment_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())
    real = world.audit.append

    async def append(record: object) -> object:
        await world.cancel(now=due - SECOND)
        return await real(record)  # type: ignore[arg-type]

    monkeypatch.setattr(world.audit, "append", append)
    verdict = await world.look()
    assert verdict is not None
    assert not verdict.gone
    assert world.key().metadata.deletion is None


async def test_a_clock_that_jumps_back_destroys_nothing_and_one_that_comes_forward_again_does(world: World) -> None:
    await world.look()
    made = world.in_device()
    due = await world.schedule()
    for jump in (-365 * DAY, -3650 * DAY):
        world.clock.advance(jump)
        await world.look()
        assert world.in_device() == made
    world.clock.advance(due - world.clock.now())
    await world.look()
    assert world.find() is None


async def test_a_key_leaves_after_its_store_has_let_go_and_not_before(world: World) -> None:
    await world.look()
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())
    for effect, status in (("unavailable", FALSE), ("refuse", FALSE), ("lost-request", UNKNOWN), ("error", UNKNOWN)):
        world.fault("destroy", effect)
        verdict = await world.look()
        assert verdict is not None
        assert verdict.retry
        assert said(world) == (status, Reason.DESTROY_FAILED)
        assert len(world.in_device()) == 1
        assert world.open_attempts() == 0
    world.fault("destroy", "lost-answer")
    await world.look()
    assert world.find() is not None
    assert world.in_device() == set()
    world.fault("observe", "unavailable")
    await world.look()
    assert world.find() is not None, "the object leaves only after its store was seen without the material"
    await world.look()
    assert world.find() is None


async def test_a_store_that_says_yes_and_keeps_the_material_keeps_the_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.look()
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())

    async def destroy(self: MemoryKeyStore, ref: object) -> None:
        """Say yes and do nothing."""

    monkeypatch.setattr(MemoryKeyStore, "destroy", destroy)
    await world.look()
    assert said(world) == (FALSE, Reason.DESTROY_FAILED)
    assert "still has" in world.synced().message


async def test_a_deletion_waits_for_a_store_that_is_not_connected(world: World) -> None:
    await world.look()
    due = await world.schedule()
    await world.change_store(HSM, connected=False)
    await world.connect()
    world.clock.advance(due - world.clock.now())
    await world.look()
    assert said(world) == (FALSE, Reason.STORE_UNREACHABLE)
    assert len(world.in_device()) == 1


async def test_a_key_that_is_deleted_while_its_making_is_unknown_leaves_no_orphan(world: World) -> None:
    world.fault("create", "lost-answer")
    await world.look()
    assert len(world.in_device()) == 1
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())
    await world.look()
    assert (world.find(), world.in_device(), world.open_attempts()) == (None, set(), 0)


async def test_an_unknown_making_is_found_out_while_the_key_waits_for_its_deletion(world: World) -> None:
    world.fault("create", "lost-answer")
    await world.look()
    await world.schedule()
    await world.look()
    assert world.in_device() == world.in_status()
    assert world.open_attempts() == 0
    await world.cancel()
    await world.look()
    await assert_settled(world)


async def test_an_audit_journal_that_cannot_be_written_keeps_the_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from controlplane.errors import AuditUnavailable

    await world.look()
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())

    async def append(record: object) -> None:
        raise AuditUnavailable("disk full")

    monkeypatch.setattr(world.audit, "append", append)
    verdict = await world.look()
    assert verdict is not None
    assert verdict.retry
    assert world.find() is not None
    monkeypatch.undo()
    await world.look()
    assert world.find() is None
