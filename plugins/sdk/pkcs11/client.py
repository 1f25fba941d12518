"""One PKCS#11 token as a plugin uses it: typed calls into its worker pool. Called by plugins, from one event loop.

Guarantees: those of :class:`~plugins.sdk.workers.WorkerPool`; calls that change the token are never repeated blindly.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec

from plugins.sdk.pkcs11.options import WELL_KNOWN_VARIABLES, TokenOptions
from plugins.sdk.secret import SecretBytes
from plugins.sdk.workers import Limits, WorkerPool

TARGET: Final = "plugins.sdk.pkcs11.token:Token"
_IDENTIFIER_BYTES: Final = 16


class TokenFacts(msgspec.Struct, frozen=True):
    """Which token was opened, in its own words."""

    label: str
    serial: str
    manufacturer: str
    model: str


class KeyFacts(msgspec.Struct, frozen=True):
    """What a token says of one secret key. ``id`` is CKA_ID in hex, ``bits`` the length of its value."""

    id: str
    type: str
    bits: int
    sensitive: bool
    extractable: bool
    encrypt: bool
    decrypt: bool


class KeyName(msgspec.Struct, frozen=True, array_like=True):
    """A secret key on the token: its label (empty if it is no text), CKA_ID in hex, and a word on its kind."""

    label: str
    id: str
    kind: str


class TokenPool:
    """The token that ``options`` name, opened with ``pin`` in some worker processes.

    ``use_seconds`` and ``change_seconds`` bound one call in the token; ``repeat`` is that of ``WorkerPool.call``.
    """

    def __init__(
        self,
        name: str,
        options: TokenOptions,
        pin: SecretBytes,
        *,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        use_seconds: float = 2.0,
        change_seconds: float = 20.0,
        repeat: bool = True,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._use_seconds = use_seconds
        self._change_seconds = change_seconds
        self._repeat = repeat
        known = {variable: os.environ[variable] for variable in WELL_KNOWN_VARIABLES if variable in os.environ}
        self.workers = WorkerPool(
            name,
            TARGET,
            {"options": _plain(options), "pin": pin},
            limits=limits,
            environment={**known, **options.environment},
            changed=changed,
        )

    def __repr__(self) -> str:
        return f"<TokenPool {self.name!r}: {self.workers.ready} workers>"

    @property
    def ready(self) -> bool:
        """Whether calls find a worker now."""
        return self.workers.ready > 0

    async def open(self) -> TokenFacts:
        """Start the workers. Raises ``Misconfigured``, ``CredentialsRefused`` or ``Unavailable``, with its reason."""
        return msgspec.convert(await self.workers.open(), TokenFacts)

    async def close(self) -> None:
        """End the workers. Never raises."""
        await self.workers.close()

    # ---- keys --------------------------------------------------------------------------------------------------------

    async def find(self, label: str) -> KeyFacts | None:
        """The key of that label, or None if the token is there and has none."""
        found = await self._use("find", label)
        return None if found is None else msgspec.convert(found, KeyFacts)

    async def create(self, label: str) -> KeyFacts:
        """Generate an AES-256 key that never leaves the token; the one of that label if there is one."""
        identifier = hashlib.sha256(label.encode()).digest()[:_IDENTIFIER_BYTES]
        made = await self.workers.call("create", label, identifier, seconds=self._change_seconds, changes=True)
        return msgspec.convert(made, KeyFacts)

    async def destroy(self, label: str) -> bool:
        """Destroy the key of that label for ever; whether there was one."""
        return bool(await self.workers.call("destroy", label, seconds=self._change_seconds, changes=True))

    async def names(self) -> list[KeyName]:
        """Every secret key on the token, whoever made it."""
        return msgspec.convert(await self.workers.call("names", seconds=self._change_seconds), list[KeyName])

    async def adopt(self, present: KeyName, label: str) -> KeyFacts:
        """Give a key that others made a label of ours, and see to it that it can no longer leave the token."""
        made = await self.workers.call(
            "adopt", present.label, present.id, label, seconds=self._change_seconds, changes=True
        )
        return msgspec.convert(made, KeyFacts)

    async def _use(self, method: str, *arguments: Any) -> Any:
        return await self.workers.call(method, *arguments, seconds=self._use_seconds, repeat=self._repeat)

    # ---- use ---------------------------------------------------------------------------------------------------------

    async def encrypt(self, label: str, plaintext: bytes, aad: bytes) -> bytes:
        """AES-256-GCM in the token: a format octet, the IV, ciphertext and tag."""
        sealed: bytes = await self._use("encrypt", label, plaintext, aad)
        return sealed

    async def decrypt(self, label: str, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext, or ``InvalidCiphertext``."""
        plaintext: bytes = await self._use("decrypt", label, sealed, aad)
        return plaintext

    async def random(self, length: int) -> bytes:
        """Octets of the token's random generator."""
        octets: bytes = await self._use("random", length)
        return octets

    async def probe(self, label: str | None = None) -> None:
        """Use the token, and a key if one is given. Raises if it is not as it should be."""
        await self._use("probe", label)


def _plain(options: TokenOptions) -> Any:
    """What a worker needs of them, whatever the plugin's own options add."""
    return msgspec.to_builtins(
        TokenOptions(**{name: getattr(options, name) for name in TokenOptions.__struct_fields__})
    )
