"""The only caller of plugins: deadlines, outcomes, the breaker, and no word of what a plugin did not mean to say."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane import errors
from controlplane.clock import ManualClock
from controlplane.keystores import connections as module
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Breaker, BreakerState, Connection, Connections
from plugins import sdk
from plugins.memory import MemoryKeyStore
from plugins.memory.faults import LEAKED_SECRET
from plugins.sdk import Algorithm, KeySpec, KeyStorePlugin, MaterialRef, MessageType
from plugins.sdk.conformance import MemoryState

STORE = "hsm-a"
REF = MaterialRef("keystead:u:1", "arn:aws:kms:us-east-1:000000000000:key/u", "1", KeySpec.SYMMETRIC_DEFAULT)


class Raising(KeyStorePlugin):
    """Every method raises what it is told to; the calls that no real plugin of ours offers go through here."""

    error: Exception = sdk.Unavailable("not yet")

    async def open(self) -> sdk.Capabilities:
        raise self.error

    async def close(self) -> None:
        raise self.error

    async def _fail(self, *arguments: object) -> Any:
        raise self.error

    probe = provision = maintain = observe = create = destroy = _fail
    encrypt = decrypt = sign = verify = generate_mac = verify_mac = agree = encapsulate = decapsulate = _fail
    random = generate_key_pair = encrypt_gcm = decrypt_gcm = _fail

    def forget(self, ref: MaterialRef) -> None:
        raise self.error


CHANGES: dict[str, Callable[[Calls], Awaitable[Any]]] = {
    "create": lambda calls: calls.create(STORE, REF),
    "destroy": lambda calls: calls.destroy(STORE, REF),
}
USES: dict[str, Callable[[Calls], Awaitable[Any]]] = {
    "observe": lambda calls: calls.observe(STORE, REF),
    "encrypt": lambda calls: calls.encrypt(STORE, REF, Algorithm.SYMMETRIC_DEFAULT, b"", b""),
    "decrypt": lambda calls: calls.decrypt(STORE, REF, Algorithm.SYMMETRIC_DEFAULT, b"", b""),
    "encrypt_gcm": lambda calls: calls.encrypt_gcm(STORE, REF, b"", b""),
    "decrypt_gcm": lambda calls: calls.decrypt_gcm(STORE, REF, sdk.GcmCiphertext(b"", b"", b""), b""),
    "sign": lambda calls: calls.sign(STORE, REF, Algorithm.ECDSA_SHA_256, MessageType.RAW, b""),
    "verify": lambda calls: calls.verify(STORE, REF, Algorithm.ECDSA_SHA_256, MessageType.RAW, b"", b""),
    "generate_mac": lambda calls: calls.generate_mac(STORE, REF, Algorithm.HMAC_SHA_256, b""),
    "verify_mac": lambda calls: calls.verify_mac(STORE, REF, Algorithm.HMAC_SHA_256, b"", b""),
    "agree": lambda calls: calls.agree(STORE, REF, b""),
    "encapsulate": lambda calls: calls.encapsulate(STORE, REF),
    "decapsulate": lambda calls: calls.decapsulate(STORE, REF, b""),
    "random": lambda calls: calls.random(STORE, 1),
    "generate_key_pair": lambda calls: calls.generate_key_pair(STORE, KeySpec.RSA_2048),
}
CALLS = CHANGES | USES


@pytest.fixture
async def calls(clock: ManualClock) -> AsyncIterator[Calls]:
    """With an open memory store named ``STORE`` and deadlines that are over at once."""
    MemoryKeyStore.reset()
    calls = Calls(Connections(lambda name: MemoryState(), clock), use_seconds=0.01, change_seconds=0.01)
    connection = calls.connections.prepare(STORE, "memory", {})
    await calls.open(connection)
    calls.connections.install(connection)
    yield calls
    MemoryKeyStore.reset()


def raising(calls: Calls, error: Exception) -> Connection:
    """Put a plugin in place that raises ``error``."""
    found = calls.connections.get(STORE)
    plugin = Raising(sdk.Options(), found.plugin.context)
    plugin.error = error
    connection = Connection(STORE, plugin, {}, asyncio.get_running_loop().time)
    calls.connections.install(connection)
    return connection


# ---- outcomes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CHANGES)
async def test_a_change_that_does_not_answer_in_time_may_have_happened(calls: Calls, call: str) -> None:
    MemoryKeyStore.script(STORE, call, "hang")
    with pytest.raises(errors.KeyStoreOutcomeUnknown, match=f"hsm-a did not answer {call} within") as caught:
        await CHANGES[call](calls)
    assert caught.value.reason == "Deadline"


@pytest.mark.parametrize("call", ["observe", "encrypt", "random"])
async def test_a_use_that_does_not_answer_in_time_is_unavailable(calls: Calls, call: str) -> None:
    MemoryKeyStore.script(STORE, call, "hang")
    with pytest.raises(errors.KeyStoreUnavailable, match=f"hsm-a did not answer {call} within"):
        await USES[call](calls)


async def test_a_store_that_hangs_costs_the_others_nothing(calls: Calls) -> None:
    other = calls.connections.prepare("hsm-b", "memory", {})
    await calls.open(other)
    calls.connections.install(other)
    MemoryKeyStore.script(STORE, "random", "hang")
    hung, fine = await asyncio.gather(calls.random(STORE, 8), calls.random("hsm-b", 8), return_exceptions=True)
    assert isinstance(hung, errors.KeyStoreUnavailable)
    assert isinstance(fine, bytes)


MEANT: list[tuple[Exception, type[errors.KeysteadError], str | None]] = [
    (sdk.InvalidCiphertext("no"), errors.InvalidCiphertext, None),
    (sdk.IncorrectMaterial("too short"), errors.IncorrectKeyMaterial, None),
    (sdk.InvalidSignature("no"), errors.InvalidSignature, None),
    (sdk.InvalidRequest("too long"), errors.InvalidInput, None),
    (sdk.Unsupported("no"), errors.Unsupported, None),
    (sdk.Unavailable("busy"), errors.KeyStoreUnavailable, "Unavailable"),
    (sdk.Unavailable("busy", reason="SessionsExhausted"), errors.KeyStoreUnavailable, "SessionsExhausted"),
    (sdk.OutcomeUnknown("lost"), errors.KeyStoreOutcomeUnknown, "OutcomeUnknown"),
    (sdk.MaterialNotFound("gone"), errors.KeyStoreFailure, "MaterialNotFound"),
    (sdk.MaterialDamaged("bad"), errors.KeyStoreFailure, "MaterialDamaged"),
    (sdk.MaterialDamaged("bad", reason="DomainKeyUnknown"), errors.KeyStoreFailure, "MaterialDamaged"),
    (sdk.CredentialsRefused("no", reason="PinLocked"), errors.KeyStoreFailure, "CredentialsRefused"),
    (sdk.Misconfigured("no"), errors.KeyStoreFailure, "Misconfigured"),
    (sdk.Refused("no", reason="Quota"), errors.KeyStoreFailure, "Quota"),
    (sdk.KeyStoreError("no"), errors.KeyStoreFailure, "KeyStoreError"),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("raised", "expected", "reason"), MEANT, ids=lambda value: getattr(value, "reason", None))
async def test_what_a_plugin_means_becomes_one_error_of_ours(
    calls: Calls, call: str, raised: Exception, expected: type[errors.KeysteadError], reason: str | None
) -> None:
    raising(calls, raised)
    with pytest.raises(errors.KeysteadError) as caught:
        await CALLS[call](calls)
    assert type(caught.value) is expected
    assert getattr(caught.value, "reason", None) == reason


def test_every_error_of_the_sdk_is_tried_above() -> None:
    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__() if sub.__module__ == kind.__module__))

    assert {type(raised) for raised, _, _ in MEANT} == below(sdk.KeyStoreError)


# ---- what nobody meant to say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
async def test_the_text_of_an_unclassified_error_is_nowhere(calls: Calls, call: str) -> None:
    secret = RuntimeError(f"pin={LEAKED_SECRET}")
    secret.__cause__ = ValueError(LEAKED_SECRET)
    raising(calls, secret)
    with capture_logs() as logs, pytest.raises(errors.KeyStoreFailure) as caught:
        await CALLS[call](calls)
    assert LEAKED_SECRET not in "".join(traceback.format_exception(caught.value))
    assert LEAKED_SECRET not in repr(logs)
    assert [(entry["call"], entry["error"]) for entry in logs] == [(call, "RuntimeError")]
    expected = errors.KeyStoreOutcomeUnknown if call in CHANGES else errors.KeyStoreFailure
    assert (type(caught.value), caught.value.reason) == (expected, "Unclassified")


async def test_opening_closing_probing_and_forgetting_are_as_discreet(calls: Calls) -> None:
    connection = raising(calls, RuntimeError(LEAKED_SECRET))
    with capture_logs() as logs:
        for call in (calls.open, calls.probe, calls.maintain, calls.provision):
            with pytest.raises(errors.KeyStoreFailure) as caught:
                await call(connection)
            assert LEAKED_SECRET not in "".join(traceback.format_exception(caught.value))
        await calls.close(connection)
        calls.forget(STORE, REF)
    assert LEAKED_SECRET not in repr(logs)


def test_forgetting_in_a_store_that_is_not_open_is_nothing(clock: ManualClock) -> None:
    Calls(Connections(lambda name: MemoryState(), clock)).forget("absent", REF)


# ---- connections -----------------------------------------------------------------------------------------------------


async def test_a_store_that_is_not_connected_is_unavailable(calls: Calls) -> None:
    with pytest.raises(errors.KeyStoreUnavailable, match="is not connected") as caught:
        await calls.random("absent", 1)
    assert caught.value.reason == "Disconnected"
    taken = calls.connections.take(STORE)
    assert taken is not None
    with pytest.raises(errors.KeyStoreUnavailable):
        await calls.random(STORE, 1)
    assert calls.connections.take(STORE) is None
    assert calls.connections.names() == []


async def test_a_store_that_does_not_open_is_closed_again(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    async def close(self: KeyStorePlugin) -> None:
        closed.append(self.context.store_name)

    monkeypatch.setattr(MemoryKeyStore, "close", close)
    connection = calls.connections.prepare("hsm-c", "memory", {"pin": "1", "expectedPin": "2"})
    with pytest.raises(errors.KeyStoreFailure) as caught:
        await calls.open(connection)
    assert (caught.value.reason, closed) == ("CredentialsRefused", ["hsm-c"])
    connection = calls.connections.prepare("hsm-d", "memory", {"faults": [{"call": "open", "effect": "hang"}]})
    opening = asyncio.ensure_future(calls.open(connection))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert closed == ["hsm-c", "hsm-d"], "what was cut off while it opened may hold a session or a process"


# ---- the breaker -----------------------------------------------------------------------------------------------------


class Steady:
    """The loop's monotonic clock, for a breaker."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_the_breaker_opens_after_five_failures_looks_once_and_closes() -> None:
    now = Steady()
    breaker = Breaker(now)
    for _ in range(module.FAILURES_TO_OPEN - 1):
        breaker.admit(STORE)
        breaker.failed()
    assert breaker.state is BreakerState.CLOSED
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(errors.KeyStoreUnavailable, match="failed 5 times in a row") as caught:
        breaker.admit(STORE)
    assert caught.value.reason == "CircuitOpen"
    now.time += module.OPEN_SECONDS
    breaker.admit(STORE)
    assert breaker.state is BreakerState.HALF_OPEN
    with pytest.raises(errors.KeyStoreUnavailable):
        breaker.admit(STORE)
    breaker.failed()
    with pytest.raises(errors.KeyStoreUnavailable):
        breaker.admit(STORE)
    now.time += module.OPEN_SECONDS
    breaker.admit(STORE)
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    breaker.failed()
    assert breaker.state is BreakerState.CLOSED, "success starts the count anew"


def test_five_failures_are_five() -> None:
    assert module.FAILURES_TO_OPEN == 5


async def failing(calls: Calls, times: int, *, effect: str = "unavailable") -> None:
    for _ in range(times):
        MemoryKeyStore.script(STORE, "random", effect)
        with pytest.raises(errors.KeysteadError):
            await calls.random(STORE, 1)


@pytest.mark.parametrize("effect", ["unavailable", "lost-request", "error", "hang"])
async def test_a_store_that_fails_five_times_gets_a_pause_and_is_not_called(calls: Calls, effect: str) -> None:
    await failing(calls, 5, effect=effect)
    called: list[int] = []
    plugin = calls.connections.get(STORE).plugin

    async def random(length: int) -> bytes:
        called.append(length)
        return b""

    plugin.random = random  # type: ignore[method-assign]
    with pytest.raises(errors.KeyStoreUnavailable, match="given a pause"):
        await calls.random(STORE, 1)
    assert called == []


@pytest.mark.parametrize("raised", [raised for raised, _, reason in MEANT if isinstance(raised, sdk.Refused)])
async def test_refusals_do_not_open_the_breaker_and_show_that_the_store_is_alive(
    calls: Calls, raised: Exception
) -> None:
    connection = raising(calls, sdk.Unavailable("x"))
    assert isinstance(connection.plugin, Raising)
    for _ in range(4):
        with pytest.raises(errors.KeyStoreUnavailable):
            await calls.random(STORE, 1)
    connection.plugin.error = raised
    for _ in range(20):
        with pytest.raises(errors.KeysteadError):
            await calls.random(STORE, 1)
    assert connection.breaker.state is BreakerState.CLOSED


async def test_a_successful_probe_closes_the_breaker(calls: Calls) -> None:
    await failing(calls, 5)
    connection = calls.connections.get(STORE)
    assert connection.breaker.state is BreakerState.OPEN
    assert (await calls.probe(connection)).healthy
    assert len(await calls.random(STORE, 8)) == 8


async def test_a_caller_that_goes_away_while_the_breaker_looks_does_not_close_the_store_for_ever(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_SECONDS", 0.0)
    await failing(calls, 5)
    calls._use_seconds = 60.0
    MemoryKeyStore.script(STORE, "random", "hang")
    looking = asyncio.ensure_future(calls.random(STORE, 1))
    await asyncio.sleep(0)
    assert calls.connections.get(STORE).breaker.state is BreakerState.HALF_OPEN
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert len(await calls.random(STORE, 8)) == 8


async def test_a_store_is_asked_to_import_only_what_it_declares() -> None:
    """And the refusal is none of the store's failures: the breaker hears nothing of it."""
    connections = Connections(lambda _: MemoryState(), ManualClock())
    connection = Connection(STORE, Raising(sdk.Options(), None), {}, lambda: 0.0)  # type: ignore[arg-type]
    connection.capabilities = sdk.Capabilities(
        custody=sdk.Custody.TOKEN, key_specs={}, imports=frozenset({KeySpec.HMAC_256})
    )
    connections.install(connection)
    calls = Calls(connections)
    target = sdk.ImportTarget("arn", "id", KeySpec.SYMMETRIC_DEFAULT)
    how = (sdk.WrappingSpec.RSA_2048, sdk.WrappingAlgorithm.RSAES_OAEP_SHA_256)
    for call in (
        lambda: calls.wrapping_key(STORE, target, *how),
        lambda: calls.import_material(STORE, target, *how, b"", b""),
    ):
        with pytest.raises(errors.Unsupported, match="SYMMETRIC_DEFAULT"):
            await call()
    assert connection.breaker.state is BreakerState.CLOSED
