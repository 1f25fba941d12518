"""Secrets that came over an API for one key store (a KeyStorePassword), kept sealed for that store alone.

Who calls it: the custom key store operations of the KMS API to seal; ``keystores.connections`` to open, when the plugin
asks. Guarantee: a sealed secret opens for the uid of the key store and the name that it was sealed for.
"""

from __future__ import annotations

from controlplane.access.sealing import Purpose, Sealer
from controlplane.errors import KeysteadError
from controlplane.schema.meta import Kind
from controlplane.store import keystores, objects
from controlplane.store.database import Database
from plugins.sdk import Misconfigured, SecretBytes, Unavailable


class KeyStoreSecrets:
    """Seals and opens the secrets of key stores."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def seal(self, uid: str, name: str, secret: SecretBytes) -> bytes:
        """A secret as the database keeps it."""
        return await self._sealer.seal(Purpose.KEY_STORE, _subject(uid, name), secret)

    async def reveal(self, store: str, name: str) -> SecretBytes:
        """A secret of the key store of that name. Raises the SDK's errors, because a plugin is who asks."""
        found = self._database.read(lambda tx: objects.get_named(tx, Kind.KEY_STORE, store))
        uid = found.metadata.uid if found is not None else ""
        sealed = self._database.read(lambda tx: keystores.find_secret(tx, uid, name))
        if sealed is None:
            raise Misconfigured(f"fromStore: no secret {name} was given to this server for key store {store}")
        try:
            secret = await self._sealer.unseal(Purpose.KEY_STORE, _subject(uid, name), sealed)
        except KeysteadError as error:
            raise Unavailable(f"the secret {name} does not open now: {error.message}") from None
        if secret is None:
            raise Misconfigured(f"fromStore: the secret {name} of key store {store} is damaged; give it again")
        return secret


def _subject(uid: str, name: str) -> str:
    return f"{uid}/{name}"
