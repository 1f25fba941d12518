"""Secrets at rest and in strangers' hands: sealed by a system material of the standard key store.

Who calls it: ``authentication``, ``credentials`` and ``server`` for secret access keys, ``grant_tokens`` and
``sessions`` for tokens. Guarantee: what was sealed opens only for the purpose and the subject (an access key id) it was
sealed for, and only unchanged.
"""

from __future__ import annotations

import secrets
from enum import Enum

from controlplane.errors import InvalidCiphertext, KeysteadError, StartupRefused
from controlplane.keystores.calls import Calls
from controlplane.schema.keystores import STANDARD
from controlplane.store import facts, material
from controlplane.store.database import Database, Tx
from plugins.sdk import Algorithm, KeySpec, MaterialRef, SecretBytes

_FACT = "credentials-material"
_SUBJECT = "keystead:system:credentials"


class Purpose(Enum):
    """What is sealed; a label in its associated data, so that nothing passes for something else."""

    ACCESS_KEY = b"keystead/access-key/v1"
    GRANT_TOKEN = b"keystead/grant-token/v1"
    SESSION = b"keystead/session/v1"
    KEY_STORE = b"keystead/key-store-secret/v1"


class Sealer:
    """Seals and opens."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self._database = database
        self._calls = calls
        self._ref: MaterialRef | None = None

    async def open(self) -> None:
        """Load the system material, or make it on the first start.

        Raises :class:`StartupRefused` if it does not open.
        """
        material_id = self._database.read(lambda tx: facts.get(tx, _FACT))
        if material_id is None:
            material_id = await self._make(secrets.token_hex(32))
        ref = self._named(material_id)
        token = self._database.read(lambda tx: material.get_token(tx, ref.name))
        self._ref = self._named(material_id, token)
        try:
            await self._calls.observe(STANDARD, self._ref)
        except KeysteadError as error:
            raise StartupRefused(f"the material that protects access keys does not open: {error.message}") from None

    async def seal(self, purpose: Purpose, subject: str, secret: SecretBytes) -> bytes:
        """Seal ``secret`` for ``subject``."""
        assert self._ref is not None
        return await self._calls.encrypt(
            STANDARD, self._ref, Algorithm.SYMMETRIC_DEFAULT, secret.expose(), _binding(purpose, subject)
        )

    async def unseal(self, purpose: Purpose, subject: str, sealed: bytes) -> SecretBytes | None:
        """What was sealed; None if this was not, or for something else, or is changed.

        Raises :class:`controlplane.errors.KeyStoreFailure` if the key store cannot say.
        """
        assert self._ref is not None
        binding = _binding(purpose, subject)
        try:
            opened = await self._calls.decrypt(STANDARD, self._ref, Algorithm.SYMMETRIC_DEFAULT, sealed, binding)
        except InvalidCiphertext:
            return None
        return SecretBytes(opened)

    async def _make(self, material_id: str) -> str:
        ref = self._named(material_id)
        made = await self._calls.create(STANDARD, ref)

        def record(tx: Tx) -> str:
            held = facts.put_once(tx, _FACT, material_id)  # another process may have been first: its material holds
            if held == material_id and made.token is not None:
                material.put_token(tx, name=ref.name, uid="system", token=made.token)
            return held

        return await self._database.write(record)

    @staticmethod
    def _named(material_id: str, token: bytes | None = None) -> MaterialRef:
        return MaterialRef(f"{_SUBJECT}:{material_id}", _SUBJECT, material_id, KeySpec.SYMMETRIC_DEFAULT, token)


def _binding(purpose: Purpose, subject: str) -> bytes:
    return purpose.value + b"\x00" + subject.encode()
