"""Grant tokens: what CreateGrant answers beside the grant id, sealed, opaque, good for five minutes.

Who calls it: the KMS door issues them and finds the grant to retire with one; ``usage.perform`` checks those that come
with a request. AWS needs them because a new grant takes minutes to be seen everywhere; here every process sees it with
the next request, so a token of a request adds no permission. It is still checked, because AWS refuses a request with a
token that is none.

Source: KMS Developer Guide, "Grant token" and "Eventual consistency (for grants)".
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from controlplane.access.sealing import Purpose, Sealer
from controlplane.clock import Clock
from controlplane.errors import InvalidGrantToken
from controlplane.schema.grants import Grant
from plugins.sdk import SecretBytes

LIFETIME_SECONDS: Final = 300.0


class Named(msgspec.Struct, frozen=True, array_like=True):
    """What a token names; ``expires_at`` is in seconds since the epoch."""

    key_arn: str
    grant_id: str
    expires_at: float


class GrantTokens:
    """Issues and opens grant tokens."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    async def issue(self, grant: Grant) -> str:
        """A new token for a grant; no two are alike."""
        named = Named(grant.key_arn, grant.grant_id, self._clock.time() + LIFETIME_SECONDS)
        sealed = await self._sealer.seal(Purpose.GRANT_TOKEN, "", SecretBytes(msgspec.msgpack.encode(named)))
        return base64.b64encode(sealed).decode()

    async def open(self, token: str) -> Named:
        """The grant that a token names. Raises :class:`InvalidGrantToken` if it names none any more."""
        named = await self._named(token)
        if self._clock.time() >= named.expires_at:
            raise InvalidGrantToken("The grant token has expired; name the grant by GrantId and KeyId.")
        return named

    async def check(self, token: str) -> None:
        """Raises :class:`InvalidGrantToken` for what this server did not issue.

        An old token is one: its grant is seen everywhere, and clients go on sending it.
        """
        await self._named(token)

    async def _named(self, token: str) -> Named:
        try:
            sealed = base64.b64decode(token, validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        opened = await self._sealer.unseal(Purpose.GRANT_TOKEN, "", sealed) if sealed else None
        if opened is None:
            raise InvalidGrantToken("The grant token is not valid.")
        return msgspec.msgpack.decode(opened.expose(), type=Named)
