"""A material of its own in each key store, with which health checks really encrypt and decrypt.

Who calls it: the XKS proxy's health, so that no check shows up as use of somebody's key; the reconciler, before it
disconnects a key store, so that no device keeps a test material for ever. Guarantees: at most one test material per key
store over all processes and restarts: its name is recorded before it is made, and making it is idempotent on the name.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from controlplane.errors import InvalidCiphertext, KeyStoreFailure, KeyStoreUnavailable
from controlplane.keystores.calls import Calls
from controlplane.store import facts, material
from controlplane.store.database import Database, Tx
from plugins.sdk import KeySpec, MaterialRef

_SUBJECT: Final = "keystead:system:health"
_FACT: Final = "health-material:{}"


class TestKeys:
    """Test materials by the uid of their key store, opened once and kept."""

    __test__ = False  # no test class of pytest's

    def __init__(self, database: Database, calls: Calls) -> None:
        self._database = database
        self._calls = calls
        self._refs: dict[str, MaterialRef] = {}

    async def check(self, store: str, uid: str, *, seconds: float) -> float:
        """Encrypt and decrypt in the key store; how long both took, in seconds. Raises what is wrong with it."""
        held = self._refs.get(uid)
        if held is not None:
            try:
                return await self._check(store, uid, held, seconds)
            except KeyStoreFailure as error:
                if error.reason != "MaterialNotFound":
                    raise
                # Another process disconnected the store and took the material along.
        return await self._check(store, uid, await self._ready(store, uid), seconds)

    async def remove(self, store: str, uid: str) -> None:
        """Destroy the test material of a key store that is open, if there is one. Raises what keeps it from that."""
        fact = _FACT.format(uid)
        material_id = self._database.read(lambda tx: facts.get(tx, fact))
        if material_id is None:
            return
        await self._calls.destroy(store, self._reference(uid, material_id))

        def forget(tx: Tx) -> None:
            facts.forget(tx, fact)
            material.delete_token(tx, _name(material_id))

        await self._database.write(forget)

    async def _check(self, store: str, uid: str, ref: MaterialRef, seconds: float) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        message = secrets.token_bytes(32)
        try:
            sealed = await self._calls.encrypt_gcm(store, ref, message, _SUBJECT.encode(), seconds=seconds)
            left = max(began + seconds - loop.time(), 0.001)
            opened = await self._calls.decrypt_gcm(store, ref, sealed, _SUBJECT.encode(), seconds=left)
        except InvalidCiphertext:
            opened = b""
        except KeyStoreUnavailable:
            raise
        except KeyStoreFailure:
            self._refs.pop(uid, None)  # it may have been removed from the device: made again with the next check
            raise
        if opened != message:
            raise KeyStoreFailure(f"key store {store} does not decrypt what it encrypted", reason="NotProven")
        return loop.time() - began

    async def _ready(self, store: str, uid: str) -> MaterialRef:
        fact = _FACT.format(uid)
        proposed = secrets.token_hex(32)
        material_id = await self._database.write(lambda tx: facts.put_once(tx, fact, proposed))
        ref, name = self._reference(uid, material_id), _name(material_id)
        if ref.token is None:
            made = await self._calls.create(store, ref)
            if made.token is not None:
                token = await self._database.write(lambda tx: _keep(tx, name, made.token))
                ref = MaterialRef(name, ref.key_arn, material_id, ref.key_spec, token)
        self._refs[uid] = ref
        return ref

    def _reference(self, uid: str, material_id: str) -> MaterialRef:
        name = _name(material_id)
        token = self._database.read(lambda tx: material.get_token(tx, name))
        return MaterialRef(name, f"{_SUBJECT}:{uid}", material_id, KeySpec.SYMMETRIC_DEFAULT, token)


def _name(material_id: str) -> str:
    return f"{_SUBJECT}:{material_id}"


def _keep(tx: Tx, name: str, token: bytes | None) -> bytes:
    """The token that was first; another process may have made one meanwhile, and that one holds."""
    held = material.get_token(tx, name)
    if held is not None:
        return held
    assert token is not None
    material.put_token(tx, name=name, uid="system", token=token)
    return token
