"""HSM clusters as a plugin: the contract in, :mod:`plugins.pkcs11.cluster` behind it. Called by the host.

Guarantees: those of :mod:`plugins.sdk.contract`. Custody is ``device``: keys are generated in the HSM as AES-256,
sensitive and not extractable, under the name that the host chose as their label; they are used there with AES-GCM, with
an IV that comes out of the HSM, and never leave it. The module lives in worker processes; what it does to them is not
done to this one.

An HSM key encrypts under random 96-bit IVs, so it should not encrypt more than 2^32 messages (NIST SP 800-38D, 8.3):
unlike the standard store, an HSM derives no key per message.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Final

from plugins.pkcs11.cluster import Cluster
from plugins.pkcs11.members import ClusterMember
from plugins.pkcs11.options import Pkcs11Options
from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Capabilities,
    Custody,
    GcmCiphertext,
    Health,
    InvalidCiphertext,
    InvalidRequest,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    Material,
    MaterialNotFound,
    MaterialRef,
    Options,
    PluginContext,
    Unavailable,
    Unsupported,
)
from plugins.sdk.pkcs11 import KeyFacts, KeyName, TokenPool
from plugins.sdk.pkcs11.names import is_reserved
from plugins.sdk.workers import Limits

_FORMAT: Final = b"\x01"
_IV: Final = 12
_TAG: Final = 16
_PARTS_LABEL: Final = b"keystead/gcm-in-parts/v1\x00"
"""In the associated data of ``encrypt_gcm``, so that its parts cannot be put together as a blob of ``encrypt``."""
_CREATE_SECONDS: Final = 12.0
"""Of the workers' beginning: below the host's deadline for opening."""


CAPABILITIES: Final = Capabilities(
    custody=Custody.DEVICE,
    key_specs={KeySpec.SYMMETRIC_DEFAULT: frozenset({KeyUsage.ENCRYPT_DECRYPT})},
    lists_material=True,
    adoption=True,
    gcm=True,
)
"""What every store of this type can do."""


class Pkcs11KeyStore(KeyStorePlugin):
    """Keys that live in one or several PKCS#11 tokens."""

    options_type = Pkcs11Options

    def __init__(self, options: Options, context: PluginContext) -> None:
        super().__init__(options, context)
        assert isinstance(options, Pkcs11Options)
        self._settings = options
        self._open: Cluster | None = None

    def __repr__(self) -> str:
        return f"<Pkcs11KeyStore {self.context.store_name!r}>"

    # ---- the store itself ------------------------------------------------------------------------------------------

    async def open(self) -> Capabilities:
        cluster = await self._cluster_of(self._settings)
        await cluster.open()
        self._open = cluster
        return CAPABILITIES

    async def close(self) -> None:
        cluster, self._open = self._open, None
        if cluster is not None:
            await cluster.close()

    async def probe(self) -> Health:
        return await self._cluster.probe()

    # ---- material: its life ----------------------------------------------------------------------------------------

    async def observe(self, ref: MaterialRef) -> Material | None:
        found = await self._cluster.find(ref.name)
        return None if found is None else _material(found)

    async def create(self, ref: MaterialRef) -> Material:
        _check_spec(ref)
        return _material(await self._cluster.create(ref.name))

    async def destroy(self, ref: MaterialRef) -> None:
        await self._cluster.destroy(ref.name)

    async def list_material(self) -> list[str]:
        return sorted(_shown(await self._cluster.names()))

    async def adopt(self, name: str, ref: MaterialRef) -> Material:
        _check_spec(ref)
        done = await self._cluster.find(ref.name)
        if done is not None:
            return _material(done)
        present = _shown(await self._cluster.names()).get(name)
        if present is None:
            raise MaterialNotFound(f"there is no key {name!r} in this HSM to take over")
        return _material(await self._cluster.adopt(present, ref.name))

    # ---- material: its use -----------------------------------------------------------------------------------------

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        _check_use(ref, algorithm)
        return await self._cluster.use(ref.name, lambda token: token.encrypt(ref.name, plaintext, aad))

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        _check_use(ref, algorithm)
        return await self._cluster.use(ref.name, lambda token: token.decrypt(ref.name, ciphertext, aad))

    async def encrypt_gcm(self, ref: MaterialRef, plaintext: bytes, aad: bytes) -> GcmCiphertext:
        sealed = await self.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, plaintext, _PARTS_LABEL + aad)
        return GcmCiphertext(iv=sealed[1 : 1 + _IV], ciphertext=sealed[1 + _IV : -_TAG], tag=sealed[-_TAG:])

    async def decrypt_gcm(self, ref: MaterialRef, sealed: GcmCiphertext, aad: bytes) -> bytes:
        if len(sealed.iv) != _IV or len(sealed.tag) != _TAG:
            raise InvalidCiphertext("the ciphertext does not decrypt under this key material")
        whole = _FORMAT + sealed.iv + sealed.ciphertext + sealed.tag
        return await self.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, whole, _PARTS_LABEL + aad)

    async def random(self, length: int) -> bytes:
        return await self._cluster.random(length)

    # ---- within ----------------------------------------------------------------------------------------------------

    @property
    def _cluster(self) -> Cluster:
        if self._open is None:
            raise Unavailable(f"key store {self.context.store_name!r} is not open")
        return self._open

    async def _cluster_of(self, options: Pkcs11Options) -> Cluster:
        tokens = options.tokens()
        limits = Limits(workers=options.workers, queue=options.queue, start=_CREATE_SECONDS)
        members = []
        for name, token, source in tokens:
            make = partial(
                TokenPool,
                self.context.store_name if len(tokens) == 1 else f"{self.context.store_name}, member {name}",
                token,
                await source.reveal("pin", self.context),
                limits=limits,
                use_seconds=options.use_seconds,
                change_seconds=options.change_seconds,
                repeat=len(tokens) == 1,  # with several, the next one is the repetition
            )
            members.append(ClusterMember(name, make))
        return Cluster(
            members,
            minimum=options.minimum_members,
            needed_to_create=options.needed_to_create,
            synchronise_seconds=options.synchronise_seconds,
        )


def _material(facts: KeyFacts) -> Material:
    return Material(external_id=facts.id)


def _check_spec(ref: MaterialRef) -> None:
    if ref.key_spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise Unsupported(f"an HSM cluster makes SYMMETRIC_DEFAULT keys only, not {ref.key_spec}")


def _check_use(ref: MaterialRef, algorithm: Algorithm) -> None:
    _check_spec(ref)
    if algorithm not in KEY_SPECS[ref.key_spec].algorithms[KeyUsage.ENCRYPT_DECRYPT]:
        raise InvalidRequest(f"a key of spec {ref.key_spec} does not offer {algorithm}")


def _shown(names: list[KeyName]) -> dict[str, KeyName]:
    """Every key by a name of its own: its label, with its CKA_ID where a label is missing or stands twice."""
    names = [name for name in names if not is_reserved(name.label)]
    often = Counter(name.label for name in names)
    return {
        name.label if name.label and often[name.label] == 1 else f"{name.label or '(no label)'} [{name.id}]": name
        for name in names
    }
