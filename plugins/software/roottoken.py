"""A root key that is in an HSM and never leaves it: wrapping and unwrapping happen there. Called like ``rootkey``.

Guarantees: the key is made in the token, sensitive and not extractable; one that is there already is never replaced;
a token without it is told apart from a token that is not there.
"""

from __future__ import annotations

from typing import Final

from plugins.sdk import (
    CredentialsRefused,
    InvalidCiphertext,
    MaterialNotFound,
    Misconfigured,
    PluginContext,
    Unavailable,
)
from plugins.sdk.pkcs11 import TokenPool
from plugins.sdk.pkcs11.names import ROOT_KEY_PREFIX
from plugins.sdk.workers import Limits, WorkerFault
from plugins.software.options import FileRootKey, RootKeyOptions, TokenRootKey
from plugins.software.rootkey import Argon2Parameters, RootKey, RootKeyFile, RootKeyPassphrase
from plugins.software.sealing import SealBroken

_LIMITS: Final = Limits(workers=1)
"""A root key works when domain keys are opened or made: a few times in the life of a process."""


class TokenCipher:
    """The root key in the token, through its worker."""

    def __init__(self, pool: TokenPool, label: str) -> None:
        self._pool = pool
        self._label = label

    async def seal(self, plaintext: bytes, binding: bytes) -> bytes:
        return await self._pool.encrypt(self._label, plaintext, binding)

    async def unseal(self, box: bytes, binding: bytes) -> bytes:
        try:
            return await self._pool.decrypt(self._label, box, binding)
        except InvalidCiphertext:
            raise SealBroken from None
        except MaterialNotFound:
            raise CredentialsRefused(
                f"the HSM has no key {self._label} any more, and this store cannot be opened without it: restore it "
                "from the HSM's own backup",
                reason="RootKeyMissing",
            ) from None


class RootKeyToken:
    """A root key in a PKCS#11 token."""

    provider = "pkcs11"

    def __init__(self, options: TokenRootKey, context: PluginContext) -> None:
        self._options = options
        self._context = context
        self._label = ROOT_KEY_PREFIX + options.key
        self._pool: TokenPool | None = None
        self.whereabouts = f"root key {self._label} in {options.whereabouts}"

    async def provision(self) -> None:
        """Make the key. Raises ``Misconfigured`` if there is one of that name."""
        pool = await self._opened()
        if await pool.find(self._label) is not None:
            raise Misconfigured(
                f"rootKey.key: {self.whereabouts} exists already and is never replaced: it may be the only way to open "
                "a store; choose another name"
            )
        await pool.create(self._label)

    def fresh_parameters(self) -> None:
        return None

    async def present(self) -> bool:
        return await (await self._opened()).find(self._label) is not None

    async def cipher(self, parameters: Argon2Parameters | None) -> TokenCipher:  # noqa: ARG002
        return TokenCipher(await self._opened(), self._label)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _opened(self) -> TokenPool:
        if self._pool is not None:
            return self._pool
        options = self._options
        options.check()
        if options.pin is None:
            raise Misconfigured("rootKey.pin: say where the user's PIN is: fromFile or fromEnv")
        pool = TokenPool(
            "the root key's token",
            options,
            options.pin.read("rootKey.pin"),
            limits=_LIMITS,
            use_seconds=options.seconds,
            change_seconds=options.seconds,
        )
        try:
            await pool.open()
        except WorkerFault as fault:
            raise Unavailable(f"the module of {options.whereabouts} failed: {fault}") from None
        self._pool = pool
        return pool


def root_key(options: RootKeyOptions, context: PluginContext) -> RootKey:
    """The provider that the options name."""
    if isinstance(options, TokenRootKey):
        return RootKeyToken(options, context)
    return RootKeyFile(options) if isinstance(options, FileRootKey) else RootKeyPassphrase(options)
