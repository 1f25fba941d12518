"""Connection as desired state: opened, kept, explained, closed; and a PIN that was refused is not tried to death."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane import metrics
from controlplane.errors import KeyStoreNotFound
from controlplane.reconcile.keystores import PROBE_SECONDS
from controlplane.schema.conditions import ConditionStatus, ConditionType, Reason, find_condition
from controlplane.schema.events import EventReason
from controlplane.schema.keys import KeySpec, KeyUsage
from controlplane.schema.keystores import ConnectionState, LatencyStatus
from controlplane.schema.meta import DeletionRequest, Kind
from controlplane.schema.principals import DesiredPrincipal
from controlplane.store import events, objects
from plugins.memory import MemoryKeyStore
from plugins.memory.faults import LEAKED_SECRET
from plugins.sdk import Health, HealthLevel, Latency
from tests.controlplane.reconcile.world import HSM, World
from tests.controlplane.store.samples import add_principal
from tests.hsm import SoftToken, pin_file
from tests.shim import Shim


def condition(world: World, kind: ConditionType, name: str = HSM) -> tuple[ConditionStatus, Reason]:
    found = find_condition(world.store(name).status.conditions, kind)
    assert found is not None
    return found.status, found.reason


def write(path: Path, text: str) -> None:
    path.write_text(text)


def put_in_place(path: Path, of: str) -> None:
    Path(of).replace(path)


async def remove(world: World, name: str = HSM) -> None:
    store, now = world.store(name), world.clock.now()
    request = DeletionRequest(requested_at=now, due_at=now, window_days=0, requested_by="me")
    await world.database.write(lambda tx: objects.replace(tx, store.metadata.uid, now=now, deletion=request))


async def test_a_declared_store_is_connected_and_says_what_it_offers(bare: World) -> None:
    await bare.add_store()
    verdict = await bare.connect()
    assert verdict is not None
    assert verdict.after is not None
    store = bare.store()
    assert store.status.connection is ConnectionState.CONNECTED
    assert store.status.key_specs == {
        KeySpec.HMAC_256: (KeyUsage.GENERATE_VERIFY_MAC,),
        KeySpec.SYMMETRIC_DEFAULT: (KeyUsage.ENCRYPT_DECRYPT,),
    }
    for kind in (ConditionType.CONNECTED, ConditionType.SYNCED, ConditionType.READY):
        assert condition(bare, kind)[0] is ConditionStatus.TRUE
    assert bare.connections.names() == [HSM]


async def test_a_second_pass_over_a_connected_store_writes_nothing_and_opens_nothing(world: World) -> None:
    connection, version = world.connections.get(HSM), world.version()
    await world.connect()
    assert world.connections.get(HSM) is connection
    assert world.version() == version


async def test_a_store_is_disconnected_and_connected_as_declared(world: World) -> None:
    await world.change_store(HSM, connected=False)
    await world.connect()
    assert world.connections.names() == []
    assert world.store().status.connection is ConnectionState.DISCONNECTED
    assert condition(world, ConditionType.CONNECTED) == (ConditionStatus.FALSE, Reason.DISCONNECTED)
    assert condition(world, ConditionType.SYNCED) == (ConditionStatus.TRUE, Reason.UP_TO_DATE)
    version = world.version()
    await world.connect()
    assert world.version() == version
    await world.change_store(HSM, connected=True)
    await world.connect()
    assert world.store().status.connection is ConnectionState.CONNECTED


async def test_other_options_mean_another_connection(world: World) -> None:
    before = world.connections.get(HSM)
    await world.change_store(HSM, memory={"device": str(world.directory / "other.json")})
    await world.connect()
    assert world.connections.get(HSM) is not before


@pytest.mark.parametrize(
    ("options", "reason", "retry"),
    [
        ({"pin": "1", "expectedPin": "2"}, Reason.CREDENTIALS_REFUSED, False),
        ({"pni": "1"}, Reason.MISCONFIGURED, True),
        ({"faults": [{"call": "open", "effect": "unavailable"}]}, Reason.STORE_UNREACHABLE, True),
        ({"faults": [{"call": "open", "effect": "error"}]}, Reason.STORE_UNREACHABLE, True),
    ],
)
async def test_a_store_that_does_not_open_says_why_and_refused_credentials_are_not_tried_again(
    bare: World, options: dict[str, Any], reason: Reason, retry: bool
) -> None:
    """An HSM locks its token after a few wrong PINs: only a change, a restart or a person makes us try another time."""
    await bare.add_store(**options)
    verdict = await bare.connect()
    assert verdict is not None
    assert (verdict.reason, verdict.retry, verdict.after) == (reason, retry, None if retry else PROBE_SECONDS)
    assert bare.connections.names() == []
    assert bare.store().status.connection is ConnectionState.FAILED
    assert condition(bare, ConditionType.SYNCED) == (ConditionStatus.FALSE, reason)
    assert LEAKED_SECRET not in repr(bare.store().status)
    if "pin" in options:
        await bare.change_store(HSM, memory={"device": str(bare.device), "pin": "2", "expectedPin": "2"})
        await bare.connect()
        assert bare.store().status.connection is ConnectionState.CONNECTED


async def test_refused_credentials_are_tried_once_until_their_file_is_replaced_or_written_anew(
    bare: World, tmp_path: Path
) -> None:
    token = SoftToken(tmp_path / "hsm")
    shim = Shim(token)
    pin = Path(pin_file(tmp_path, "wrong")["fromFile"])
    options = {**shim.options(), "pin": {"fromFile": str(pin)}, "workers": 1}
    await bare.add_store(store_type="pkcs11", **options)
    for _ in range(3):
        verdict = await bare.connect()
        assert verdict is not None
        assert (verdict.reason, verdict.after) == (Reason.CREDENTIALS_REFUSED, PROBE_SECONDS)
    assert shim.wrong_pins == 1
    write(pin, "wrong too")
    for _ in range(3):
        await bare.connect()
    assert shim.wrong_pins == 2
    put_in_place(pin, pin_file(tmp_path)["fromFile"])
    await bare.connect()
    assert bare.store().status.connection is ConnectionState.CONNECTED
    assert shim.wrong_pins == 2
    shim.close()


async def test_an_unknown_type_is_told_and_costs_the_others_nothing(world: World) -> None:
    await world.add_store("strange", "no-such-type")
    await world.connect()
    assert "there is no key store plugin for type no-such-type" in world.store("strange").status.conditions[0].message
    assert world.store().status.connection is ConnectionState.CONNECTED


async def test_a_store_that_fails_its_probe_stays_connected_and_unready_until_it_recovers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = world.store().status.key_specs
    world.fault("probe", "unavailable")
    verdict = await world.connect()
    assert verdict is not None
    assert verdict.retry
    assert condition(world, ConditionType.READY) == (ConditionStatus.FALSE, Reason.STORE_UNREACHABLE)
    assert world.store().status.key_specs == specs, "what was last observed is kept"
    assert world.connections.names() == [HSM]
    await world.connect()
    assert condition(world, ConditionType.READY) == (ConditionStatus.TRUE, Reason.CONNECTED)

    async def probe(self: MemoryKeyStore) -> Health:
        return Health(healthy=False, detail="battery low")

    monkeypatch.setattr(MemoryKeyStore, "probe", probe)
    await world.connect()
    assert condition(world, ConditionType.READY) == (ConditionStatus.FALSE, Reason.UNHEALTHY)
    assert condition(world, ConditionType.CONNECTED)[0] is ConditionStatus.TRUE


async def test_what_a_look_finds_is_in_the_metrics_and_its_changes_are_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [
        Health(healthy=True, level=HealthLevel.DEGRADED, detail="hsm-2 is DEGRADED"),
        Health(healthy=False, level=HealthLevel.UNAVAILABLE, detail="none serves"),
        Health(
            healthy=True,
            level=HealthLevel.ACTIVE,
            detail="2 active",
            certificate_expires_at=world.clock.now().timestamp() + 12.5 * 86_400,
            latency=Latency(0.004, 0.21, 0.25),
        ),
    ]

    async def probe(self: MemoryKeyStore) -> Health:
        return looks[0]

    monkeypatch.setattr(MemoryKeyStore, "probe", probe)
    for number in (1, 0, 2):
        await world.connect()
        version = world.version()
        await world.connect()
        assert world.version() == version, "a look that finds the same writes nothing"
        assert f'keystead_key_store_health{{key_store="{HSM}",type="memory"}} {number:.1f}' in told()
        looks = looks[1:] or looks
    assert f'keystead_key_store_certificate_days{{key_store="{HSM}"}} 12.5' in told()
    assert f'keystead_key_store_latency_seconds{{key_store="{HSM}",quantile="0.99"}} 0.21' in told()
    status = world.store().status
    assert (status.certificate_days, status.latency) == (12, LatencyStatus(p50=5, p99=250, limit=250))
    recorded = world.database.read(lambda tx: events.page(tx, uid=world.store().metadata.uid)).items
    reasons = [event.reason for event in recorded]
    for reason in ("StoreDegraded", "StoreFailed", "StoreRecovered", "StoreSlow", "CertificateExpiresSoon"):
        assert reasons.count(EventReason(reason)) == 1, reason
    await world.change_store(HSM, connected=False)
    await world.connect()
    assert f'keystead_key_store_health{{key_store="{HSM}",type="memory"}} NaN' in told()


def told() -> str:
    return metrics.exposition().decode()


async def test_a_removed_store_is_closed_and_gone(bare: World) -> None:
    await bare.add_store()
    await bare.connect()
    await remove(bare)
    assert await bare.connect() is None
    assert bare.connections.names() == []
    assert bare.all(Kind.KEY_STORE) == []


async def test_a_store_with_keys_stays_and_stays_connected_so_that_they_can_leave_through_it(world: World) -> None:
    await world.look()
    await remove(world)
    await world.restart()
    verdict = await world.connect()
    assert verdict is not None
    assert verdict.retry
    assert "delete them first" in verdict.message
    due = await world.schedule()
    world.clock.advance(due - world.clock.now())
    await world.look()
    assert (world.find(), world.in_device()) == (None, set())
    assert await world.connect() is None
    assert world.all(Kind.KEY_STORE) == []


async def test_no_key_is_made_in_a_store_that_leaves_or_has_left(bare: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await bare.add_store()
    await bare.connect()
    await remove(bare)
    real = bare.calls.close

    async def close(connection: Any) -> None:
        await real(connection)
        with pytest.raises(KeyStoreNotFound, match="hsm-a is not there any more"):
            await bare.add_key()

    monkeypatch.setattr(bare.calls, "close", close)
    assert await bare.connect() is None
    with pytest.raises(KeyStoreNotFound):
        await bare.add_key()
    assert (bare.all(Kind.KEY_STORE), bare.all(Kind.KEY)) == ([], [])


async def test_a_store_that_is_not_there_is_no_work(bare: World) -> None:
    assert await bare.key_stores.reconcile("nobody") is None


async def test_a_principal_is_in_force_after_one_pass_and_a_second_writes_nothing(bare: World) -> None:
    person = await bare.database.write(lambda tx: add_principal(tx, "p"))
    uid = person.metadata.uid
    assert await bare.principals.reconcile("nobody") is None
    await bare.principals.reconcile(uid)
    version = bare.version()
    await bare.principals.reconcile(uid)
    assert bare.version() == version
    spec = DesiredPrincipal(description="new")
    await bare.database.write(lambda tx: objects.replace(tx, uid, now=bare.clock.now(), spec=spec))
    await bare.principals.reconcile(uid)
    (found,) = bare.all(Kind.PRINCIPAL)
    assert found.status.observed_generation == 2
    assert {each.observed_generation for each in found.status.conditions} == {2}
