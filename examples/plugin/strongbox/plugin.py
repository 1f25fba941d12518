"""The contract of Keystead over a strongbox. Entry point ``strongbox``.

Custody is ``device``: keys stay in the file and are found there by the name that the host chose. Plaintext keys are in
this process's memory while the store is open, as the file's passphrase is; who can read that memory has both. A key
encrypts 2^32 messages at most (NIST SP 800-38D, 8.3, random IVs).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from plugins.sdk import (
    Algorithm,
    Capabilities,
    Custody,
    Health,
    InvalidCiphertext,
    InvalidRequest,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    Material,
    MaterialNotFound,
    MaterialRef,
    Options,
    PluginContext,
    SecretBytes,
    SecretSource,
    Unavailable,
    Unsupported,
)
from strongbox.file import NONCE_BYTES, Box

T = TypeVar("T")


class StrongboxOptions(Options, frozen=True):
    """What a key store document says."""

    path: str
    passphrase: SecretSource


CAPABILITIES = Capabilities(
    custody=Custody.DEVICE,
    key_specs={KeySpec.SYMMETRIC_DEFAULT: frozenset({KeyUsage.ENCRYPT_DECRYPT})},
    lists_material=True,
    rotation=True,
)


class StrongboxKeyStore(KeyStorePlugin):
    """One strongbox."""

    options_type = StrongboxOptions

    def __init__(self, options: Options, context: PluginContext) -> None:
        super().__init__(options, context)
        assert isinstance(options, StrongboxOptions)
        self._settings = options
        self._box: Box | None = None

    # ---- the store itself --------------------------------------------------------------------------------------------

    async def provision(self) -> None:
        await asyncio.to_thread(self._new_box().make)

    async def open(self) -> Capabilities:
        box = self._new_box()
        await asyncio.to_thread(box.open)
        self._box = box
        return CAPABILITIES

    async def close(self) -> None:
        self._box = None

    async def probe(self) -> Health:
        keys = await self._with(lambda box: box.keys())
        return Health(healthy=True, detail=f"{len(keys)} keys")

    # ---- material: its life ------------------------------------------------------------------------------------------

    async def observe(self, ref: MaterialRef) -> Material | None:
        keys = await self._with(lambda box: box.keys())
        return Material() if ref.name in keys else None

    async def create(self, ref: MaterialRef) -> Material:
        if ref.key_spec not in CAPABILITIES.key_specs:
            raise Unsupported(f"a strongbox has no {ref.key_spec} keys")

        def create(box: Box) -> Material:
            with box.change() as keys:
                keys.setdefault(ref.name, SecretBytes(AESGCM.generate_key(256)))
            return Material()

        return await self._with(create)

    async def destroy(self, ref: MaterialRef) -> None:
        def destroy(box: Box) -> None:
            with box.change() as keys:
                keys.pop(ref.name, None)

        await self._with(destroy)

    async def list_material(self) -> list[str]:
        return sorted(await self._with(lambda box: box.keys()))

    # ---- material: its use -------------------------------------------------------------------------------------------

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        cipher = await self._cipher(ref, algorithm)
        nonce = os.urandom(NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, plaintext, aad)

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        cipher = await self._cipher(ref, algorithm)
        try:
            return cipher.decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], aad)
        except (InvalidTag, ValueError):  # too short for a nonce, or for a tag
            raise InvalidCiphertext("the ciphertext does not decrypt under this key material") from None

    async def random(self, length: int) -> bytes:
        return os.urandom(length)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _new_box(self) -> Box:
        return Box(Path(self._settings.path), self._settings.passphrase.read("passphrase"))

    async def _with(self, work: Callable[[Box], T]) -> T:
        if self._box is None:
            raise Unavailable(f"key store {self.context.store_name!r} is not open")
        return await asyncio.to_thread(work, self._box)

    async def _cipher(self, ref: MaterialRef, algorithm: Algorithm) -> AESGCM:
        if algorithm is not Algorithm.SYMMETRIC_DEFAULT:
            raise InvalidRequest(f"{algorithm} is not for {ref.key_spec} keys")
        key = (await self._with(lambda box: box.keys())).get(ref.name)
        if key is None:
            raise MaterialNotFound(f"the strongbox has no key {ref.name}")
        return AESGCM(key.expose())
