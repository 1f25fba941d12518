"""Health of the key stores behind a proxy: really used, never older than a minute, one bad store among good ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.xks.health import MAX_AGE, Checked, Health, told
from controlplane.clock import ManualClock
from controlplane.schema.keystores import STANDARD
from controlplane.schema.xksproxies import XksHealth, XksKeyManager
from controlplane.store.catalog import Catalog
from controlplane.usage import externalkeys
from controlplane.usage.testkeys import TestKeys
from plugins.memory import MemoryKeyStore
from tests.controlplane.reconcile.world import HSM, REGION, World


class Watch:
    """A stop watch that the test owns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def fresh_devices() -> Iterator[None]:
    MemoryKeyStore.reset()
    yield
    MemoryKeyStore.reset()


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> World:
    world = World(tmp_path, clock)
    await world.start()
    await world.add_store()
    await world.add_store(STANDARD, STANDARD)
    await world.connect()
    return world


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def catalog(world: World) -> Catalog:
    return Catalog(world.database)


@pytest.fixture
def health(world: World, catalog: Catalog, watch: Watch) -> Health:
    return Health(catalog, TestKeys(world.database, world.calls), watch)


async def look(health: Health, store: str = HSM) -> Checked:
    (checked,) = await health.of([store])
    return checked


async def test_a_store_that_encrypts_and_decrypts_is_active(health: Health) -> None:
    for store in (HSM, STANDARD):
        assert (await look(health, store)).manager.health is XksHealth.ACTIVE


@pytest.mark.parametrize("call", ["encrypt_gcm", "decrypt_gcm"])
@pytest.mark.parametrize("effect", ["unavailable", "refuse", "error", "lost-answer"])
async def test_get_health_status_is_deep_a_store_that_does_not_is_unavailable(
    world: World, health: Health, call: str, effect: str
) -> None:
    world.fault(call, effect)
    checked = await look(health)
    assert checked.manager.health is XksHealth.UNAVAILABLE
    assert checked.manager.detail
    assert not checked.late


async def test_a_store_that_hangs_is_late_and_keeps_nobody_waiting(world: World, health: Health, watch: Watch) -> None:
    await look(health)
    world.fault("encrypt_gcm", "hang")
    watch.now += MAX_AGE + 1
    checked = await look(health)
    assert checked.manager.health is XksHealth.UNAVAILABLE
    assert checked.late


async def test_a_bad_store_does_not_make_a_good_one_bad(world: World, health: Health) -> None:
    world.fault("encrypt_gcm", "unavailable")
    looks = await health.of([HSM, STANDARD])
    assert [each.manager.health for each in looks] == [XksHealth.UNAVAILABLE, XksHealth.ACTIVE]


async def test_get_health_status_is_never_older_than_a_minute(world: World, health: Health, watch: Watch) -> None:
    assert MAX_AGE < 60
    first = await look(health)
    world.fault("encrypt_gcm", "unavailable")
    watch.now += MAX_AGE
    assert await look(health) is first
    watch.now += 0.1
    assert (await look(health)).manager.health is XksHealth.UNAVAILABLE


async def test_a_store_that_was_disconnected_is_unavailable_at_once(
    world: World, catalog: Catalog, health: Health
) -> None:
    assert (await look(health)).manager.health is XksHealth.ACTIVE
    await world.change_store(HSM, connected=False)
    await world.connect(HSM)
    catalog.refresh()
    checked = await look(health)
    assert (checked.manager.health, checked.declared_off) == (XksHealth.UNAVAILABLE, True)
    await world.change_store(HSM, connected=True)
    await world.connect(HSM)
    catalog.refresh()
    assert (await look(health)).manager.health is XksHealth.ACTIVE


async def test_a_store_that_connects_after_it_was_looked_at_is_looked_at_anew(
    world: World, catalog: Catalog, health: Health
) -> None:
    await world.add_store("late")
    catalog.refresh()
    checked = await look(health, "late")
    assert (checked.manager.health, checked.declared_off) == (XksHealth.UNAVAILABLE, False)
    await world.connect("late")
    catalog.refresh()
    assert (await look(health, "late")).manager.health is XksHealth.ACTIVE


async def test_a_store_that_is_not_there_is_unavailable(health: Health) -> None:
    assert (await look(health, "none")).manager.health is XksHealth.UNAVAILABLE


async def test_get_health_status_has_a_test_key_in_each_store(world: World, catalog: Catalog, watch: Watch) -> None:
    for _ in range(2):
        health = Health(catalog, TestKeys(world.database, world.calls), watch)
        await health.renew([HSM, STANDARD])
        await health.renew([HSM, STANDARD])
    assert len(world.in_device()) == 1
    assert len([name for name in world.tokens() if name.startswith("keystead:system:health")]) == 1


async def test_a_test_key_that_somebody_removed_is_made_again(world: World, health: Health) -> None:
    await look(health)
    world.device.unlink()
    assert (await health.renew([HSM]))[0].manager.health is XksHealth.ACTIVE


async def test_a_store_that_is_disconnected_keeps_no_test_material_and_gets_one_with_the_next_connection(
    world: World, health: Health, watch: Watch
) -> None:
    before = world.in_device()
    assert (await look(health)).manager.health is XksHealth.ACTIVE
    assert len(world.in_device() - before) == 1
    await world.change_store(HSM, connected=False)
    await world.connect()
    assert world.in_device() == before
    await world.change_store(HSM, connected=True)
    await world.connect()
    (checked,) = await health.renew([HSM])
    assert checked.manager.health is XksHealth.ACTIVE
    assert len(world.in_device() - before) == 1


A, D, U = XksHealth.ACTIVE, XksHealth.DEGRADED, XksHealth.UNAVAILABLE


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], []),
        ([A, U, D], [U, D, A]),
        ([A] * 12, [A] * 10),
        ([U] * 12, [U] * 10),
        ([*[U] * 12, A], [*[U] * 9, A]),
        ([*[A] * 3, *[U] * 9], [*[U] * 9, A]),
        ([*[U] * 10, D, A], [*[U] * 9, D]),
    ],
)
def test_get_health_status_tells_of_ten_key_managers_and_of_one_that_serves_if_any_does(
    levels: list[XksHealth], expected: list[XksHealth]
) -> None:
    looks = [Checked(XksKeyManager(str(at), "m", level), 0.0) for at, level in enumerate(levels)]
    shown = told(looks)
    assert [look.manager.health for look in shown] == expected
    assert len({look.manager.id for look in shown}) == len(shown)


async def test_appendix_c_the_integrity_value_is_computed_before_the_decryption_that_proves_it(
    world: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit that flips in between is then found by whoever checks the value."""
    made = await world.add_key()
    await world.look()
    catalog.refresh()
    record = catalog.key(REGION, made.status.key_id)
    assert record is not None
    order: list[str] = []
    value, decrypt = externalkeys.integrity_value, world.calls.decrypt_gcm

    def valued(*arguments: Any) -> bytes:
        order.append("value")
        return value(*arguments)

    async def decrypted(*arguments: Any, **more: Any) -> bytes:
        order.append("decrypt")
        return await decrypt(*arguments, **more)

    monkeypatch.setattr(externalkeys, "integrity_value", valued)
    monkeypatch.setattr(world.calls, "decrypt_gcm", decrypted)
    told_of = await externalkeys.encrypt(world.calls, record, b"plaintext", b"aad", proven=True, seconds=30)
    assert order == ["value", "decrypt"]
    assert told_of.integrity == value(b"aad", told_of.metadata, told_of.sealed)
