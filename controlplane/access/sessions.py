"""Temporary credentials: an access key whose secret and circumstances stand, sealed, in its session token.

Who calls it: the STS door issues, ``authentication`` opens. Guarantees: nothing is stored, so sessions cost nothing and
any process opens them; a token opens for the access key that it was issued with, unchanged, and for nothing else; a
session never outlives its principal, because that is looked up by uid with every request, with the policies and tags
that it has then.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec

from controlplane.access.credentials import SESSION_KEY, new_access_key_id, new_secret
from controlplane.access.sealing import Purpose, Sealer
from plugins.sdk import SecretBytes

MAX_PACKED: Final = 6_144
"""Octets of a session before it is sealed: a token is a header, and servers and proxies limit those."""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What a session token holds. Times are in seconds since the epoch.

    ``name`` is the session's of a role, and empty for a session of a user as itself. The policy limits, the tags come
    over the principal's own.
    """

    uid: str
    name: str
    secret: bytes
    issued_at: float
    expires_at: float
    policy: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    source_identity: str | None = None

    def __repr__(self) -> str:
        return f"Session({self.uid}, {self.name!r})"


class Issued(msgspec.Struct, frozen=True):
    """New temporary credentials."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Issued({self.access_key_id})"


class Sessions:
    """Issues and opens session tokens."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def issue(self, session: Session) -> Issued | None:
        """Credentials for a session; its secret is chosen here. None if it holds too much for a token."""
        access_key_id, secret = new_access_key_id(SESSION_KEY), new_secret()
        packed = msgspec.msgpack.encode(msgspec.structs.replace(session, secret=secret.encode()))
        if len(packed) > MAX_PACKED:
            return None
        sealed = await self._sealer.seal(Purpose.SESSION, access_key_id, SecretBytes(packed))
        return Issued(access_key_id, secret, base64.b64encode(sealed).decode(), session.expires_at)

    async def open(self, access_key_id: str, token: bytes) -> Session | None:
        """The session of a token, or None if it is none of this access key. Whether it has ended is not asked here."""
        try:
            sealed = base64.b64decode(token, validate=True)
        except (binascii.Error, ValueError):
            return None
        opened = await self._sealer.unseal(Purpose.SESSION, access_key_id, sealed) if sealed else None
        return None if opened is None else msgspec.msgpack.decode(opened.expose(), type=Session)


def is_temporary(access_key_id: str) -> bool:
    """Whether an access key id is one of a session."""
    return access_key_id.startswith(SESSION_KEY)
