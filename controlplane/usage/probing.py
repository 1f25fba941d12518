"""A probe of a key store: health, then the life of a few materials of its own, on the store as it is in use.

Who calls it: the reconciliation API; the reconciler, before it disconnects a store. It tries the promises of the plugin
contract that are safe on a live store; the conformance suite (``keystead plugin check``) tries all of them on one that
holds nothing. Guarantees: no material but the probe's own is used, observed or destroyed; in a device each is written
down before it is made, so what a crash leaves is destroyed by the next probe or before the store is disconnected; one
probe at a time on a store, over all processes; it ends within :data:`PROBE_SECONDS` and what destroying takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from controlplane.clock import Clock
from controlplane.domain.names import SYSTEM_NAME_PREFIX, key_arn
from controlplane.errors import (
    Conflict,
    InvalidCiphertext,
    InvalidInput,
    InvalidSignature,
    InvalidState,
    KeysteadError,
)
from controlplane.keystores.calls import Calls
from controlplane.schema.meta import KeyStore
from controlplane.schema.probes import ProbeCheck, ProbeOutcome, ProbeReport, ProbeStep
from controlplane.store import facts
from controlplane.store.database import Database, Tx
from plugins.sdk import Algorithm, Capabilities, Custody, KeySpec, Material, MaterialRef, MessageType

PROBED: Final = (KeySpec.SYMMETRIC_DEFAULT, KeySpec.ECC_NIST_P256, KeySpec.HMAC_256)
"""One of each way of use, quick to make in every device."""
PROBE_SECONDS: Final = 45.0
ARRIVAL_SECONDS: Final = 5.0
RUNNING_SECONDS: Final = 180.0
"""A probe that began longer ago has ended, or was cut off."""

_FACT: Final = "probe:{}"
_CONTEXT: Final = b"keystead probe"


class _Mark(msgspec.Struct, frozen=True):
    """That a probe is under way, and what may be in the store because of it: ``SPEC MATERIAL_ID``."""

    at: float
    materials: tuple[str, ...]


_MARK: Final = msgspec.json.Decoder(_Mark)


class _NotAsPromised(Exception):
    """The store answered, and not what it should have."""


class Probes:
    """Probes of the key stores of one server. Everything it has to remember is in the database."""

    def __init__(self, database: Database, calls: Calls, clock: Clock) -> None:
        self._database = database
        self._calls = calls
        self._clock = clock

    async def run(self, store: KeyStore, *, region: str, account: str, external_key: str | None) -> ProbeReport:
        """Try the store. Raises :class:`InvalidState` if it is not declared connected, :class:`KeyStoreUnavailable` if
        it is not connected, :class:`Conflict` while it is being probed. What fails on the way stands in the report."""
        name, uid = store.metadata.name, store.metadata.uid
        if not store.spec.connected:
            raise InvalidState(f"key store {name} is declared disconnected: connect it first")
        connection = await self._calls.connections.arrival(name, ARRIVAL_SECONDS)
        can = connection.capabilities
        assert can is not None, "an open connection has said what it can"
        if external_key is not None and not can.external_keys:
            raise InvalidInput(f"key store {name} has no external keys: leave externalKey out")
        refs = [
            MaterialRef(
                name=_name(spec, material_id),
                key_arn=key_arn(region, account, str(uuid.uuid4())),
                material_id=material_id,
                key_spec=spec,
                external_id=external_key,
            )
            for spec in PROBED
            if spec in can.key_specs and (external_key is not None or not can.external_keys)
            for material_id in (secrets.token_hex(32),)
        ]
        at = self._clock.now()
        before = await self._database.write(lambda tx: _begin(tx, name, uid, at.timestamp(), refs))
        probe = _Probe(self._calls, name, can)
        try:
            await self._destroy(name, can, before)
            before = ()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS):
                    await probe.run(refs)
        finally:
            left = await probe.clear()
            kept = [f"{ref.key_spec} {ref.material_id}" for ref in left if can.custody is Custody.DEVICE]
            await self._database.write(lambda tx: _end(tx, uid, (*before, *kept)))
        return ProbeReport(
            key_store=name,
            at=at,
            passed=all(step.outcome is not ProbeOutcome.FAILED for step in probe.steps),
            steps=tuple(probe.steps),
        )

    async def clear(self, store: str, uid: str) -> None:
        """Destroy what a probe left in a store that is open. Raises what keeps it from that."""
        mark = self._database.read(lambda tx: _held(tx, uid))
        connection = self._calls.connections.find(store)
        if mark is None or connection is None or connection.capabilities is None:
            return
        await self._destroy(store, connection.capabilities, mark.materials)
        if not _running(mark, self._clock.time()):
            await self._database.write(lambda tx: _end(tx, uid, ()))

    async def _destroy(self, store: str, can: Capabilities, materials: tuple[str, ...]) -> None:
        if can.custody is not Custody.DEVICE:
            return  # a token that was handed to nobody who kept it opens nothing
        for each in materials:
            spec, _, material_id = each.partition(" ")
            name = _name(KeySpec(spec), material_id)
            await self._calls.destroy(store, MaterialRef(name, name, material_id, KeySpec(spec)))


class _Probe:
    """One probe: the steps so far, and the material that is in the store."""

    def __init__(self, calls: Calls, store: str, can: Capabilities) -> None:
        self._calls = calls
        self._store = store
        self._can = can
        self._there: list[MaterialRef] = []
        self.steps: list[ProbeStep] = []

    async def run(self, refs: list[MaterialRef]) -> None:
        if not await self._step(ProbeCheck.HEALTH, None, self._health):
            return
        if self._can.random:
            await self._step(ProbeCheck.RANDOM, None, self._random)
        for ref in refs:
            await self._life(ref)
        if self._can.external_keys and not refs:
            self._leave_out("name an external key that may be used for it: --external-key ID, externalKey in the API")
        elif not refs:
            self._leave_out("the store makes none of the material that a probe uses")

    async def clear(self) -> list[MaterialRef]:
        """Destroy what is still there; what could not be."""
        left = []
        for ref in self._there:
            try:
                await self._calls.destroy(self._store, ref)
            except KeysteadError:
                left.append(ref)
        return left

    async def _life(self, ref: MaterialRef) -> None:
        spec = ref.key_spec
        made: list[MaterialRef] = []

        async def create() -> str:
            self._there.append(ref)
            material = await self._calls.create(self._store, ref)
            made.append(msgspec.structs.replace(ref, token=material.token))
            self._there[self._there.index(ref)] = made[0]
            await self._found(made[0], material)
            return ""

        if not self._can.external_keys:
            await self._step(ProbeCheck.ABSENT, spec, lambda: self._absent(ref))
        if not await self._step(ProbeCheck.CREATE, spec, create) and not made:
            return
        proof: list[tuple[bytes, bytes]] = []
        if await self._step(ProbeCheck.USE, spec, lambda: self._use(made[0], proof)):
            await self._step(ProbeCheck.REFUSE, spec, lambda: self._refuse(made[0], *proof[0]))
        await self._step(ProbeCheck.DESTROY, spec, lambda: self._destroyed(made[0]))

    # ---- checks ----------------------------------------------------------------------------------------------------

    async def _health(self) -> str:
        health = await self._calls.probe(self._calls.connections.get(self._store))
        if not health.healthy:
            raise _NotAsPromised(health.detail or "it says that it is not healthy")
        return health.detail

    async def _random(self) -> str:
        first, second = await self._calls.random(self._store, 32), await self._calls.random(self._store, 32)
        if len(first) != 32 or len(second) != 32:
            raise _NotAsPromised(f"asked for 32 octets it made {len(first)} and {len(second)}")
        if first == second:
            raise _NotAsPromised("it made the same 32 octets twice")
        return ""

    async def _absent(self, ref: MaterialRef) -> str:
        if await self._calls.observe(self._store, ref) is not None:
            raise _NotAsPromised("it finds material under a name that nobody used")
        return ""

    async def _found(self, ref: MaterialRef, made: Material) -> None:
        if await self._calls.observe(self._store, ref) != made:
            raise _NotAsPromised("what was made is not found as it was made")
        if await self._calls.create(self._store, ref) != made:
            raise _NotAsPromised("making it again made something else")

    async def _use(self, ref: MaterialRef, proof: list[tuple[bytes, bytes]]) -> str:
        message, calls, store = secrets.token_bytes(32), self._calls, self._store
        match ref.key_spec:
            case KeySpec.ECC_NIST_P256:
                made = await calls.sign(store, ref, Algorithm.ECDSA_SHA_256, MessageType.RAW, message)
                await calls.verify(store, ref, Algorithm.ECDSA_SHA_256, MessageType.RAW, message, made)
            case KeySpec.HMAC_256:
                made = await calls.generate_mac(store, ref, Algorithm.HMAC_SHA_256, message)
                await calls.verify_mac(store, ref, Algorithm.HMAC_SHA_256, message, made)
            case _:
                made = await calls.encrypt(store, ref, Algorithm.SYMMETRIC_DEFAULT, message, _CONTEXT)
                if await calls.decrypt(store, ref, Algorithm.SYMMETRIC_DEFAULT, made, _CONTEXT) != message:
                    raise _NotAsPromised("it decrypts to something else than was encrypted")
        proof.append((message, made))
        return ""

    async def _refuse(self, ref: MaterialRef, message: bytes, made: bytes) -> str:
        changed, calls, store = bytes([*made[:-1], made[-1] ^ 1]), self._calls, self._store
        wrong: list[Callable[[], Awaitable[object]]]
        match ref.key_spec:
            case KeySpec.ECC_NIST_P256:
                other = message[::-1] + b"!"
                wrong = [partial(calls.verify, store, ref, Algorithm.ECDSA_SHA_256, MessageType.RAW, other, made)]
            case KeySpec.HMAC_256:
                wrong = [partial(calls.verify_mac, store, ref, Algorithm.HMAC_SHA_256, message, changed)]
            case _:
                wrong = [
                    partial(calls.decrypt, store, ref, Algorithm.SYMMETRIC_DEFAULT, changed, _CONTEXT),
                    partial(calls.decrypt, store, ref, Algorithm.SYMMETRIC_DEFAULT, made, b"another"),
                ]
        for attempt in wrong:
            try:
                await attempt()
            except (InvalidCiphertext, InvalidSignature):
                continue
            raise _NotAsPromised("what was changed is taken for right")
        return ""

    async def _destroyed(self, ref: MaterialRef) -> str:
        await self._calls.destroy(self._store, ref)
        self._there.remove(ref)
        if not self._can.external_keys and await self._calls.observe(self._store, ref) is not None:
            raise _NotAsPromised("it is still there after it was destroyed")
        return ""

    # ---- telling ---------------------------------------------------------------------------------------------------

    async def _step(self, check: ProbeCheck, spec: KeySpec | None, work: Callable[[], Awaitable[str]]) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome, message = ProbeOutcome.PASSED, ""
        try:
            message = await work()
        except _NotAsPromised as error:
            outcome, message = ProbeOutcome.FAILED, str(error)
        except KeysteadError as error:
            outcome, message = ProbeOutcome.FAILED, error.message or f"it was refused: {error.code}"
        except asyncio.CancelledError:
            message = f"it was not done within the {PROBE_SECONDS:g} seconds of a probe"
            self._tell(check, ProbeOutcome.FAILED, message, spec, loop.time() - began)
            raise
        self._tell(check, outcome, message, spec, loop.time() - began)
        return outcome is ProbeOutcome.PASSED

    def _tell(
        self, check: ProbeCheck, outcome: ProbeOutcome, message: str, spec: KeySpec | None, seconds: float
    ) -> None:
        self.steps.append(ProbeStep(check, outcome, message, spec, round(seconds * 1000)))

    def _leave_out(self, why: str) -> None:
        for check in (ProbeCheck.CREATE, ProbeCheck.USE, ProbeCheck.REFUSE, ProbeCheck.DESTROY):
            self.steps.append(ProbeStep(check, ProbeOutcome.LEFT_OUT, why))


# ---- what is written down --------------------------------------------------------------------------------------------


def _name(spec: KeySpec, material_id: str) -> str:
    return f"{SYSTEM_NAME_PREFIX}probe:{spec.value}:{material_id}"


def _held(tx: Tx, uid: str) -> _Mark | None:
    held = facts.get(tx, _FACT.format(uid))
    return None if held is None else _MARK.decode(held)


def _running(mark: _Mark, now: float) -> bool:
    return mark.at > 0 and 0 <= now - mark.at < RUNNING_SECONDS


def _begin(tx: Tx, name: str, uid: str, now: float, refs: list[MaterialRef]) -> tuple[str, ...]:
    """Note that a probe is under way with this material; what another one may have left."""
    mark = _held(tx, uid)
    if mark is not None and _running(mark, now):
        raise Conflict(f"key store {name} is being probed already; wait until that has ended")
    left = mark.materials if mark is not None else ()
    materials = (*left, *(f"{ref.key_spec.value} {ref.material_id}" for ref in refs))
    _put(tx, uid, _Mark(now, materials))
    return left


def _end(tx: Tx, uid: str, left: tuple[str, ...]) -> None:
    if left:
        _put(tx, uid, _Mark(0, left))
    else:
        facts.forget(tx, _FACT.format(uid))


def _put(tx: Tx, uid: str, mark: _Mark) -> None:
    name = _FACT.format(uid)
    facts.forget(tx, name)
    facts.put_once(tx, name, msgspec.json.encode(mark).decode())
