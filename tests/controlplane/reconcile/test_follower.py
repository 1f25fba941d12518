"""A process that does not lead: its own connections, after the leader's and with its declarations, and no status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.clock import ManualClock
from controlplane.errors import KeyStoreUnavailable
from controlplane.reconcile.follower import Follower
from controlplane.schema.meta import XksProxy
from controlplane.schema.xksproxies import XksServing
from controlplane.store.changes import ChangeSignal
from plugins.memory import MemoryKeyStore
from plugins.sdk import Algorithm, KeySpec, MaterialRef
from tests.controlplane.reconcile.test_keystores import remove
from tests.controlplane.reconcile.world import HSM, World


async def until(condition: Callable[[], Any], what: str) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    assert condition(), what


class Proxies:
    """Where nothing is served."""

    async def serve(self, proxy: XksProxy) -> XksServing:
        raise AssertionError(proxy)

    async def withdraw(self, uid: str) -> None:
        raise AssertionError(uid)


@pytest.fixture
async def second(bare: World, tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """Another process on the same disk, following."""
    second = World(tmp_path, clock)
    await second.start(lease=False)
    signal = ChangeSignal(second.database)
    signal.start()
    follower = Follower(second.database, second.calls, signal, second.options_of, Proxies())
    task = asyncio.create_task(follower.run())
    yield second
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await signal.stop()
    await second.stop()


def opened(world: World) -> bool:
    return world.connections.names() == [HSM]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every opening of a memory store from now on."""
    calls: list[str] = []
    really = MemoryKeyStore.open

    async def open_(self: MemoryKeyStore) -> Any:
        calls.append(self.context.store_name)
        return await really(self)

    monkeypatch.setattr(MemoryKeyStore, "open", open_)
    return calls


async def test_a_follower_opens_what_the_leader_connected_and_writes_nothing(bare: World, second: World) -> None:
    await bare.add_store()
    await bare.connect()
    version = bare.version()
    await until(lambda: opened(second), "the follower is connected, too")
    assert second.connections.get(HSM) is not bare.connections.get(HSM)
    assert bare.version() == version


async def test_a_follower_does_not_try_what_the_leader_has_not_connected(
    bare: World, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    await bare.add_store(pin="1", expectedPin="2")
    await bare.connect()
    await bare.add_store("hsm-b")
    await bare.connect("hsm-b")
    await until(lambda: second.connections.names() == ["hsm-b"], "the follower has looked")
    assert calls == [HSM, "hsm-b", "hsm-b"], "the wrong PIN was tried once, by the leader"


async def test_a_follower_closes_what_is_declared_as_not_connected_or_gone(bare: World, second: World) -> None:
    await bare.add_store()
    await bare.connect()
    await until(lambda: opened(second), "connected")
    await bare.change_store(HSM, connected=False)
    await until(lambda: not second.connections.names(), "closed as soon as it is declared, before the leader's pass")
    await bare.connect()
    await bare.change_store(HSM, connected=True)
    await bare.connect()
    await until(lambda: opened(second), "connected again")
    await remove(bare)
    await bare.connect()
    await until(lambda: not second.connections.names(), "gone")


async def test_other_options_mean_another_connection_of_the_follower_too(bare: World, second: World) -> None:
    await bare.add_store()
    await bare.connect()
    await until(lambda: opened(second), "connected")
    before = second.connections.get(HSM)
    await bare.change_store(HSM, memory={"device": str(bare.directory / "other.json")})
    await bare.connect()
    await until(lambda: opened(second) and second.connections.get(HSM) is not before, "connected to the other device")


async def test_a_use_waits_for_the_connection_that_is_about_to_open(bare: World, second: World) -> None:
    await bare.add_store()
    await bare.connect()
    ref = MaterialRef("keystead:u:m", "arn", "m", KeySpec.SYMMETRIC_DEFAULT)
    await bare.calls.create(HSM, ref)
    assert not second.connections.names(), "nobody has given the follower time to look"
    blob = await second.calls.encrypt(HSM, ref, Algorithm.SYMMETRIC_DEFAULT, b"x", b"")
    assert await bare.calls.decrypt(HSM, ref, Algorithm.SYMMETRIC_DEFAULT, blob, b"") == b"x"


async def test_a_use_does_not_wait_for_a_store_that_does_not_open(
    bare: World, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bare.add_store()
    await bare.connect()
    bare.device.unlink(missing_ok=True)
    bare.device.write_text("this is no device")
    ref = MaterialRef("keystead:u:m", "arn", "m", KeySpec.SYMMETRIC_DEFAULT)
    with pytest.raises(KeyStoreUnavailable, match="is not connected: "):
        await second.calls.encrypt(HSM, ref, Algorithm.SYMMETRIC_DEFAULT, b"x", b"")
    began = asyncio.get_running_loop().time()
    with pytest.raises(KeyStoreUnavailable, match="is not connected: "):
        await second.calls.encrypt(HSM, ref, Algorithm.SYMMETRIC_DEFAULT, b"x", b"")
    assert asyncio.get_running_loop().time() - began < 1
