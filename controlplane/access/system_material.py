"""Material of the server's own, kept by the standard key store: made on the first start, the same in every process.

Who calls it: ``sealing`` for what seals secrets, ``checkpointing`` for what signs the audit journal's checkpoints.
Guarantee: of several processes that start at once, one makes it and all use it; it never leaves the key store.
"""

from __future__ import annotations

import secrets

from controlplane.errors import KeysteadError, StartupRefused
from controlplane.keystores.calls import Calls
from controlplane.schema.keystores import STANDARD
from controlplane.store import facts, material
from controlplane.store.database import Database, Tx
from plugins.sdk import KeySpec, Material, MaterialRef


class SystemMaterial:
    """One material. ``fact`` is under which name the database knows its id, ``subject`` what it is bound to."""

    def __init__(self, database: Database, calls: Calls, *, fact: str, subject: str, spec: KeySpec) -> None:
        self._database = database
        self._calls = calls
        self._fact = fact
        self._subject = subject
        self._spec = spec
        self._ref: MaterialRef | None = None

    @property
    def ref(self) -> MaterialRef:
        """How plugins know it, once it is open."""
        assert self._ref is not None
        return self._ref

    async def open(self, purpose: str) -> Material:
        """Load it, or make it on the first start. Raises :class:`StartupRefused` if it does not open."""
        material_id = self._database.read(lambda tx: facts.get(tx, self._fact))
        try:
            if material_id is None:
                material_id = await self._make(secrets.token_hex(32))
            named = self._named(material_id)
            token = self._database.read(lambda tx: material.get_token(tx, named.name))
            self._ref = self._named(material_id, token)
            found = await self._calls.observe(STANDARD, self._ref)
        except KeysteadError as error:
            raise StartupRefused(f"the material that {purpose} does not open: {error.message}") from None
        if found is None:
            raise StartupRefused(f"the material that {purpose} is missing; restore it from a backup")
        return found

    async def _make(self, material_id: str) -> str:
        ref = self._named(material_id)
        made = await self._calls.create(STANDARD, ref)

        def record(tx: Tx) -> str:
            held = facts.put_once(
                tx, self._fact, material_id
            )  # another process may have been first: its material holds
            if held == material_id and made.token is not None:
                material.put_token(tx, name=ref.name, uid=material.SYSTEM, token=made.token)
            return held

        return await self._database.write(record)

    def _named(self, material_id: str, token: bytes | None = None) -> MaterialRef:
        return MaterialRef(f"{self._subject}:{material_id}", self._subject, material_id, self._spec, token)
