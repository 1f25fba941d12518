"""The memory key store: the reference for plugin authors, and the store whose faults tests can script.

Called by the host's tests, the demonstrations of failure and the conformance suite. It keeps the contract of
:mod:`plugins.sdk.contract` to the letter with custody ``device``, and it protects nothing: **keys rest in clear**, in
this process or in the JSON file that plays the device. It works in the calling thread, because a scripted crash
between two lines must be between these two lines.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from plugins.memory.device import FileDevice, ProcessDevice, Slot
from plugins.memory.faults import Answer, Effect, Fault, FaultScript
from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Capabilities,
    CredentialsRefused,
    Custody,
    GcmCiphertext,
    Health,
    InvalidCiphertext,
    InvalidRequest,
    InvalidSignature,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    Material,
    MaterialDamaged,
    MaterialNotFound,
    MaterialRef,
    Options,
    PluginContext,
    Unavailable,
    Unsupported,
)

_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_SPECS = (KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_256)


class MemoryOptions(Options, frozen=True):
    """``device`` is a file that plays the device; without it the device lives in this process, by store name.

    ``pin`` must equal ``expectedPin`` if that is given. ``faults`` go wrong in the instance that has these options.
    """

    device: str | None = None
    pin: str | None = None
    expected_pin: str | None = None
    faults: tuple[Fault, ...] = ()

    def __repr__(self) -> str:
        return f"MemoryOptions(device={self.device!r}, faults={self.faults!r})"


CAPABILITIES: Final = Capabilities(
    custody=Custody.DEVICE,
    key_specs={spec: frozenset(KEY_SPECS[spec].algorithms) for spec in _KEY_SPECS},
    lists_material=True,
    adoption=True,
    rotation=True,
    gcm=True,
)
"""What every store of this type can do."""


class MemoryKeyStore(KeyStorePlugin):
    """AES-256-GCM and HMAC-SHA-256 with keys that rest in clear. For tests only."""

    options_type = MemoryOptions
    _devices: ClassVar[dict[str, ProcessDevice]] = {}
    _scripts: ClassVar[dict[str, FaultScript]] = {}

    def __init__(self, options: Options, context: PluginContext) -> None:
        super().__init__(options, context)
        assert isinstance(options, MemoryOptions)
        self._settings = options
        self._script = FaultScript(options.faults)
        self._scripts[context.store_name] = self._script
        self._opened = False

    @classmethod
    def script(cls, store_name: str, call: str, effect: Effect | str, at: int = 0) -> None:
        """Let the newest instance of that store suffer ``effect`` at its ``at``-th ``call`` from now."""
        cls._scripts[store_name].add(call, Effect(effect), at)

    @classmethod
    def reset(cls) -> None:
        """Throw away the devices and scripts of this process."""
        cls._devices.clear()
        cls._scripts.clear()

    # ---- the store itself ------------------------------------------------------------------------------------------

    async def provision(self) -> None:
        return await self._script.run("provision", lambda: None)

    async def open(self) -> Capabilities:
        return await self._script.run("open", self._open)

    def _open(self) -> Capabilities:
        if self._settings.expected_pin is not None and self._settings.pin != self._settings.expected_pin:
            raise CredentialsRefused("pin: the memory store was not given the PIN it expects", reason="PinIncorrect")
        self._device.read()
        self._opened = True
        return CAPABILITIES

    async def close(self) -> None:
        self._opened = False

    async def probe(self) -> Health:
        return await self._run("probe", lambda: Health(healthy=True, detail=f"{len(self._device.read())} materials"))

    # ---- material: its life ----------------------------------------------------------------------------------------

    async def observe(self, ref: MaterialRef) -> Material | None:
        return await self._run("observe", lambda: self._observe(ref))

    def _observe(self, ref: MaterialRef) -> Material | None:
        slot = self._device.read().get(ref.name)
        return None if slot is None else _material(slot, ref)

    async def create(self, ref: MaterialRef) -> Material:
        return await self._run("create", lambda: self._create(ref))

    def _create(self, ref: MaterialRef) -> Material:
        if ref.key_spec not in _KEY_SPECS:
            raise Unsupported(f"the memory key store does not offer {ref.key_spec}")
        with self._device.change() as slots:
            if ref.name not in slots:
                secret = os.urandom(KEY_SPECS[ref.key_spec].bits // 8)
                slots[ref.name] = Slot(ref.key_spec, secret, external_id=f"slot-{os.urandom(8).hex()}")
            return _material(slots[ref.name], ref)

    async def destroy(self, ref: MaterialRef) -> None:
        await self._run("destroy", lambda: self._destroy(ref))

    def _destroy(self, ref: MaterialRef) -> None:
        with self._device.change() as slots:
            slots.pop(ref.name, None)

    async def list_material(self) -> list[str]:
        return await self._run("list_material", lambda: sorted(self._device.read()))

    async def adopt(self, name: str, ref: MaterialRef) -> Material:
        return await self._run("adopt", lambda: self._adopt(name, ref))

    def _adopt(self, name: str, ref: MaterialRef) -> Material:
        with self._device.change() as slots:
            if ref.name not in slots:
                slot = slots.get(name)
                if slot is None:
                    raise MaterialNotFound(f"the memory key store holds nothing named {name}")
                if slot.key_spec is not ref.key_spec:
                    raise Unsupported(f"{name} is of key spec {slot.key_spec}, not {ref.key_spec}")
                slots[ref.name] = slots.pop(name)
            return _material(slots[ref.name], ref)

    # ---- material: its use -----------------------------------------------------------------------------------------

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        def act() -> bytes:
            cipher = AESGCM(self._secret(ref, KeyUsage.ENCRYPT_DECRYPT, algorithm))
            nonce = os.urandom(_NONCE_BYTES)
            return nonce + cipher.encrypt(nonce, plaintext, aad)

        return await self._run("encrypt", act)

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        def act() -> bytes:
            cipher = AESGCM(self._secret(ref, KeyUsage.ENCRYPT_DECRYPT, algorithm))
            try:
                return cipher.decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], aad)
            except (InvalidTag, ValueError):
                raise InvalidCiphertext("the ciphertext does not decrypt under this key material") from None

        return await self._run("decrypt", act)

    async def encrypt_gcm(self, ref: MaterialRef, plaintext: bytes, aad: bytes) -> GcmCiphertext:
        def act() -> GcmCiphertext:
            cipher = AESGCM(self._secret(ref, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT))
            iv = os.urandom(_NONCE_BYTES)
            box = cipher.encrypt(iv, plaintext, aad)
            return GcmCiphertext(iv, box[:-_TAG_BYTES], box[-_TAG_BYTES:])

        return await self._run("encrypt_gcm", act)

    async def decrypt_gcm(self, ref: MaterialRef, sealed: GcmCiphertext, aad: bytes) -> bytes:
        def act() -> bytes:
            cipher = AESGCM(self._secret(ref, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT))
            if len(sealed.iv) != _NONCE_BYTES or len(sealed.tag) != _TAG_BYTES:
                raise InvalidCiphertext("the ciphertext does not decrypt under this key material")
            try:
                return cipher.decrypt(sealed.iv, sealed.ciphertext + sealed.tag, aad)
            except InvalidTag:
                raise InvalidCiphertext("the ciphertext does not decrypt under this key material") from None

        return await self._run("decrypt_gcm", act)

    async def generate_mac(self, ref: MaterialRef, algorithm: Algorithm, message: bytes) -> bytes:
        def act() -> bytes:
            return hmac.digest(self._secret(ref, KeyUsage.GENERATE_VERIFY_MAC, algorithm), message, "sha256")

        return await self._run("generate_mac", act)

    async def verify_mac(self, ref: MaterialRef, algorithm: Algorithm, message: bytes, mac: bytes) -> None:
        def act() -> None:
            secret = self._secret(ref, KeyUsage.GENERATE_VERIFY_MAC, algorithm)
            if not hmac.compare_digest(hmac.digest(secret, message, "sha256"), mac):
                raise InvalidSignature("the MAC does not verify")

        await self._run("verify_mac", act)

    async def random(self, length: int) -> bytes:
        return await self._run("random", lambda: os.urandom(length))

    # ---- within ----------------------------------------------------------------------------------------------------

    @property
    def _device(self) -> FileDevice | ProcessDevice:
        if self._settings.device is not None:
            return FileDevice(Path(self._settings.device))
        return self._devices.setdefault(self.context.store_name, ProcessDevice())

    async def _run(self, call: str, act: Callable[[], Answer]) -> Answer:
        if not self._opened:
            raise Unavailable(f"key store {self.context.store_name!r} is not open")
        return await self._script.run(call, act)

    def _secret(self, ref: MaterialRef, usage: KeyUsage, algorithm: Algorithm) -> bytes:
        if algorithm not in KEY_SPECS[ref.key_spec].algorithms.get(usage, ()):
            raise InvalidRequest(f"a key of spec {ref.key_spec} does not offer {algorithm} for {usage}")
        slot = self._device.read().get(ref.name)
        if slot is None:
            raise MaterialNotFound(f"the memory key store has no material named {ref.name}")
        _material(slot, ref)
        return slot.secret


def _material(slot: Slot, ref: MaterialRef) -> Material:
    """What is in the slot, for exactly the spec that the host asks about."""
    if slot.key_spec is not ref.key_spec:
        raise MaterialDamaged(f"material {ref.name} in the memory key store is {slot.key_spec}, not {ref.key_spec}")
    return Material(external_id=slot.external_id)
