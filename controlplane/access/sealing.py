"""Secrets at rest and in strangers' hands: sealed by a system material of the standard key store.

Who calls it: ``authentication``, ``credentials`` and ``server`` for secret access keys, ``grant_tokens`` and
``sessions`` for tokens. Guarantee: what was sealed opens only for the purpose and the subject (an access key id) it was
sealed for, and only unchanged.
"""

from __future__ import annotations

from enum import Enum

from controlplane.access.system_material import SystemMaterial
from controlplane.errors import InvalidCiphertext
from controlplane.keystores.calls import Calls
from controlplane.schema.keystores import STANDARD
from controlplane.store.database import Database
from plugins.sdk import Algorithm, KeySpec, SecretBytes

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
        self._calls = calls
        self._material = SystemMaterial(database, calls, fact=_FACT, subject=_SUBJECT, spec=KeySpec.SYMMETRIC_DEFAULT)

    async def open(self) -> None:
        """Load the system material, or make it on the first start.

        Raises :class:`StartupRefused` if it does not open.
        """
        await self._material.open("protects access keys")

    async def seal(self, purpose: Purpose, subject: str, secret: SecretBytes) -> bytes:
        """Seal ``secret`` for ``subject``."""
        return await self._calls.encrypt(
            STANDARD, self._material.ref, Algorithm.SYMMETRIC_DEFAULT, secret.expose(), _binding(purpose, subject)
        )

    async def unseal(self, purpose: Purpose, subject: str, sealed: bytes) -> SecretBytes | None:
        """What was sealed; None if this was not, or for something else, or is changed.

        Raises :class:`controlplane.errors.KeyStoreFailure` if the key store cannot say.
        """
        binding = _binding(purpose, subject)
        try:
            opened = await self._calls.decrypt(
                STANDARD, self._material.ref, Algorithm.SYMMETRIC_DEFAULT, sealed, binding
            )
        except InvalidCiphertext:
            return None
        return SecretBytes(opened)


def _binding(purpose: Purpose, subject: str) -> bytes:
    return purpose.value + b"\x00" + subject.encode()
