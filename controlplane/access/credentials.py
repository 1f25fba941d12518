"""Issues credentials: access keys for signed requests, bearer tokens for the reconciliation API.

Who calls it: the reconciliation API, and the composition root for a new server's administrator. Guarantees: a secret is
answered once and stored sealed (access keys) or as a digest (tokens); only users have credentials of their own, a role
is assumed; a principal that is being removed gets none.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final

from controlplane.access.sealing import Purpose, Sealer
from controlplane.errors import InvalidInput, NotFound
from controlplane.schema.credentials import IssuedAccessKey, IssuedToken, TokenRequest
from controlplane.schema.meta import Kind, Principal
from controlplane.schema.principals import PrincipalType
from controlplane.store import credentials, objects
from controlplane.store.database import Database, Tx
from plugins.sdk import SecretBytes

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ACCESS_KEY: Final = "AKIA"
"""How ids of lasting access keys begin (IAM User Guide, "IAM identifiers")."""
SESSION_KEY: Final = "ASIA"
"""How ids of temporary ones begin."""


class Credentials:
    """Issues for principals that exist."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def issue_access_key(self, principal: str, now: datetime) -> IssuedAccessKey:
        """A new access key of a user, by name.

        Raises :class:`NotFound`, :class:`InvalidInput` for a role, :class:`LimitExceeded`.
        """
        access_key_id, secret = new_access_key_id(ACCESS_KEY), new_secret()
        sealed = await self._sealer.seal(Purpose.ACCESS_KEY, access_key_id, SecretBytes(secret.encode()))

        def write(tx: Tx) -> None:
            uid = _user(tx, principal)
            credentials.add_access_key(tx, access_key_id=access_key_id, uid=uid, sealed_secret=sealed, now=now)

        await self._database.write(write)
        return IssuedAccessKey(access_key_id=access_key_id, secret_access_key=secret, created_at=now)

    async def issue_token(self, principal: str, asked: TokenRequest, now: datetime) -> IssuedToken:
        """A new bearer token of a user, by name. Raises as :meth:`issue_access_key`."""
        token, token_id = secrets.token_urlsafe(32), secrets.token_hex(8)
        until = None if asked.expires_in_days is None else now + timedelta(days=asked.expires_in_days)

        def write(tx: Tx) -> None:
            credentials.add_token(
                tx,
                token=token,
                token_id=token_id,
                uid=_user(tx, principal),
                now=now,
                description=asked.description,
                expires_at=until,
            )

        await self._database.write(write)
        return IssuedToken(token_id=token_id, token=token, created_at=now, expires_at=until)


def new_access_key_id(prefix: str) -> str:
    """Twenty characters, the first four of them ``prefix``."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(16))


def new_secret() -> str:
    """A secret access key: forty characters, 240 random bits."""
    return secrets.token_urlsafe(30)


def _user(tx: Tx, name: str) -> str:
    found = objects.get_named(tx, Kind.PRINCIPAL, name)
    if not isinstance(found, Principal) or found.metadata.deletion is not None:
        raise NotFound(f"there is no Principal {name}")
    if found.spec.type is not PrincipalType.USER:
        raise InvalidInput(f"{name} is a role: it has no credentials of its own, users assume it")
    return found.metadata.uid
