"""Probes of key stores: they tell what is wrong, leave nothing, touch nothing of anybody's, and run one at a time."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.errors import Conflict, InvalidInput, InvalidState
from controlplane.schema.keystores import STANDARD
from controlplane.schema.probes import ProbeCheck, ProbeOutcome, ProbeReport
from controlplane.usage.probing import RUNNING_SECONDS, Probes
from plugins.memory import MemoryKeyStore
from plugins.sdk import Material, MaterialRef
from tests.controlplane.reconcile.world import ACCOUNT, HSM, REGION, World


async def probe(world: World, store: str = HSM, external_key: str | None = None) -> ProbeReport:
    probes = Probes(world.database, world.calls, world.clock)
    return await probes.run(world.store(store), region=REGION, account=ACCOUNT, external_key=external_key)


def failed(report: ProbeReport) -> dict[ProbeCheck, str]:
    return {step.check: step.message for step in report.steps if step.outcome is ProbeOutcome.FAILED}


async def test_a_store_in_use_is_tried_and_holds_afterwards_what_it_held_before(world: World) -> None:
    await world.look()
    before = await world.calls.list_material(HSM)
    assert len(before) == 1
    report = await probe(world)
    assert failed(report) == {}
    assert report.passed
    assert {step.check for step in report.steps} >= set(ProbeCheck) - {ProbeCheck.RANDOM}
    assert await world.calls.list_material(HSM) == before


async def test_the_standard_store_passes_with_every_way_of_use(software: World) -> None:
    report = await probe(software, STANDARD)
    assert failed(report) == {}
    specs = [step.key_spec for step in report.steps if step.check is ProbeCheck.REFUSE]
    assert specs == ["SYMMETRIC_DEFAULT", "ECC_NIST_P256", "HMAC_256"]


async def test_what_a_store_takes_for_right_and_should_not_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def believes(self: object, *_: object) -> None:
        return None

    monkeypatch.setattr(MemoryKeyStore, "verify_mac", believes)
    report = await probe(world)
    assert not report.passed
    assert failed(report) == {ProbeCheck.REFUSE: "what was changed is taken for right"}
    assert await world.calls.list_material(HSM) == []


async def test_a_store_that_loses_what_it_made_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def finds_nothing(self: object, ref: MaterialRef) -> Material | None:
        return None

    monkeypatch.setattr(MemoryKeyStore, "observe", finds_nothing)
    assert failed(await probe(world)) == {ProbeCheck.CREATE: "what was made is not found as it was made"}
    assert await world.calls.list_material(HSM) == []


@pytest.mark.parametrize("ends", ["the next probe", "the end of the connection"])
async def test_what_a_crash_left_is_destroyed_by(world: World, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    made = asyncio.Event()
    create = MemoryKeyStore.create

    async def create_and_hang(self: MemoryKeyStore, ref: MaterialRef) -> Material:
        await create(self, ref)
        made.set()
        await asyncio.Event().wait()
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(MemoryKeyStore, "create", create_and_hang)
        patch.setattr("controlplane.usage.probing._Probe.clear", _crashed)  # it has no time to tidy up
        task = asyncio.create_task(probe(world))
        await made.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(await world.calls.list_material(HSM)) == 1
    if ends == "the next probe":
        world.clock.advance(RUNNING_SECONDS + 1)
        assert (await probe(world)).passed
    else:
        await Probes(world.database, world.calls, world.clock).clear(HSM, world.store().metadata.uid)
    assert await world.calls.list_material(HSM) == []


async def _crashed(self: object) -> list[MaterialRef]:
    raise asyncio.CancelledError


async def test_a_store_is_probed_once_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, goes_on = asyncio.Event(), asyncio.Event()
    looks = MemoryKeyStore.probe

    async def slow(self: MemoryKeyStore) -> object:
        asked.set()
        await goes_on.wait()
        return await looks(self)

    monkeypatch.setattr(MemoryKeyStore, "probe", slow)
    first = asyncio.create_task(probe(world))
    await asked.wait()
    with pytest.raises(Conflict, match="is being probed already"):
        await probe(world)
    goes_on.set()
    assert (await first).passed
    assert (await probe(world)).passed


async def test_a_store_that_is_not_declared_connected_or_has_no_external_keys_says_so(world: World) -> None:
    with pytest.raises(InvalidInput, match="has no external keys"):
        await probe(world, external_key="a")
    await world.change_store(HSM, connected=False)
    with pytest.raises(InvalidState, match="is declared disconnected: connect it first"):
        await probe(world)
