"""The standard key store as a plugin: contract in, the other modules of this package behind it. Called by the host.

Guarantees: those of :mod:`plugins.sdk.contract`. Custody is ``token``: this store keeps no material, so destroying it
means that the host deletes every copy of the token; here it is evicted, and its name never opens again in this
process. Material in plaintext lives in the cache's key objects and nowhere else.
"""

from __future__ import annotations

import asyncio
import os

from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Capabilities,
    Custody,
    GcmCiphertext,
    Health,
    Imported,
    ImportTarget,
    InvalidRequest,
    KeyPair,
    KeySpec,
    KeyStoreError,
    KeyStorePlugin,
    KeyUsage,
    Material,
    MaterialNotFound,
    MaterialRef,
    MessageType,
    Misconfigured,
    Options,
    PluginContext,
    SecretBytes,
    Unavailable,
    Unsupported,
    WrappingAlgorithm,
    WrappingKey,
    WrappingSpec,
)
from plugins.software import importing, keymaking, migration
from plugins.software.cache import MaterialCache
from plugins.software.domainkeys import DOMAIN_PREFIX, ROOT_RECORD, DomainKeys
from plugins.software.material import OpenMaterial
from plugins.software.options import SoftwareOptions
from plugins.software.roottoken import root_key
from plugins.software.sealing import bind
from plugins.software.tokens import domain_id_of, open_token, seal_token

_OFFERED = frozenset(
    (spec, usage, algorithm)
    for spec, facts in KEY_SPECS.items()
    for usage, algorithms in facts.algorithms.items()
    for algorithm in algorithms
)
"""What the KMS API offers: one set lookup on the hot path instead of three."""


def capabilities() -> Capabilities:
    """What every standard store can do, as far as the library offers it. Takes a moment, because it is tried out."""
    return Capabilities(
        custody=Custody.TOKEN,
        key_specs=keymaking.offered(),
        absent_algorithms=frozenset({Algorithm.ED25519_PH_SHA_512}),
        rotation=True,
        replication=True,
        data_key_pairs=keymaking.data_key_pair_specs(),
        gcm=True,
        imports=frozenset(keymaking.offered()),
    )


class SoftwareKeyStore(KeyStorePlugin):
    """Software keys under a root key, a hierarchy of domain keys and AES-256-GCM key tokens."""

    options_type = SoftwareOptions

    def __init__(self, options: Options, context: PluginContext) -> None:
        super().__init__(options, context)
        assert isinstance(options, SoftwareOptions)
        self._settings = options
        self._root_key = root_key(options.root_key, context)
        self._domains: DomainKeys | None = None
        self._cache = MaterialCache(options.cache_size)
        # Names are unique for ever, so this grows by one short string per destroyed material and never needs pruning.
        self._destroyed: set[str] = set()
        self._forgettings = 0

    def __repr__(self) -> str:
        return f"<SoftwareKeyStore {self.context.store_name!r}>"

    # ---- the store itself ------------------------------------------------------------------------------------------

    async def provision(self) -> None:
        """Make the root key of a new store. Raises ``Misconfigured`` if there is one, or records that need one."""
        names = await self.context.state.names()
        if any(name == ROOT_RECORD or name.startswith(DOMAIN_PREFIX) for name in names):
            raise Misconfigured(f"key store {self.context.store_name!r} has a root key already; nothing was changed")
        await self._root_key.provision()

    async def migrate(self) -> list[str]:
        """Move the store from ``previousRootKey`` to ``rootKey``."""
        if self._settings.previous_root_key is None:
            raise Misconfigured("previousRootKey: say where the root key came from until now, as rootKey says it")
        previous = root_key(self._settings.previous_root_key, self.context)
        try:
            return await migration.move(self.context.state, previous, self._root_key)
        finally:
            await previous.close()
            await self._root_key.close()

    async def open(self) -> Capabilities:
        self._domains = await DomainKeys.open(self.context.state, self._root_key, self.context.now)
        return await asyncio.to_thread(capabilities)

    async def close(self) -> None:
        self._domains = None
        self._forgettings += 1
        self._cache.clear()
        await self._root_key.close()

    async def probe(self) -> Health:
        try:
            problem = await self._hierarchy.check()
        except KeyStoreError as error:
            problem = error.message
        return Health(healthy=problem is None, detail=problem or "the root key opens this store")

    async def maintain(self) -> list[str]:
        days = self._settings.domain_key_rotation_days
        made = await self._hierarchy.rotate_if_older_than(days)
        if made is None:
            return []
        return [f"Domain key {made.number} is active: the one before had served {days} days. Old tokens still open."]

    # ---- material: its life ----------------------------------------------------------------------------------------

    async def observe(self, ref: MaterialRef) -> Material | None:
        if ref.token is None or ref.name in self._destroyed:
            return None
        _, public_key = await self._unwrap(ref, ref.token)
        return Material(token=ref.token, public_key=public_key)

    async def create(self, ref: MaterialRef) -> Material:
        if ref.name in self._destroyed:
            raise MaterialNotFound(f"material {ref.material_id} of {ref.key_arn} was destroyed; its name is not reused")
        if ref.token is not None:
            _, public_key = await self._unwrap(ref, ref.token)
            return Material(token=ref.token, public_key=public_key)
        domain = self._hierarchy.active
        secret, public_key = await self._generate(ref.key_spec)
        return Material(token=seal_token(domain, ref, secret, public_key), public_key=public_key)

    async def replicate(self, source: MaterialRef, target: MaterialRef) -> Material:
        if target.name in self._destroyed:
            raise MaterialNotFound(f"material {target.material_id} of {target.key_arn} was destroyed")
        if target.token is not None:
            _, public_key = await self._unwrap(target, target.token)
            return Material(token=target.token, public_key=public_key)
        if (source.material_id, source.key_spec) != (target.material_id, target.key_spec):
            raise InvalidRequest("a replica has the material id and the key spec of what it replicates")
        if source.token is None or source.name in self._destroyed:
            raise MaterialNotFound(f"the standard key store has no material {source.material_id} of {source.key_arn}")
        secret, public_key = await self._unwrap(source, source.token)
        return Material(token=seal_token(self._hierarchy.active, target, secret, public_key), public_key=public_key)

    async def destroy(self, ref: MaterialRef) -> None:
        self._destroyed.add(ref.name)
        self.forget(ref)

    def forget(self, ref: MaterialRef) -> None:
        self._forgettings += 1
        self._cache.forget(ref)

    # ---- material: from outside ------------------------------------------------------------------------------------

    async def wrapping_key(self, target: ImportTarget, spec: WrappingSpec, algorithm: WrappingAlgorithm) -> WrappingKey:
        return await asyncio.to_thread(importing.make_wrapping_key, self._hierarchy.active, target, spec, algorithm)

    async def import_material(
        self, target: ImportTarget, spec: WrappingSpec, algorithm: WrappingAlgorithm, sealed: bytes, encrypted: bytes
    ) -> Imported:
        if target.key_spec not in keymaking.offered():
            raise Unsupported(f"the standard key store does not import {target.key_spec} keys")
        hierarchy = self._hierarchy
        made_under = importing.domain_id_of(sealed)
        domain = hierarchy.loaded(made_under) or await hierarchy.find(made_under)
        raw = await asyncio.to_thread(importing.unwrap, domain, target, spec, algorithm, sealed, encrypted)
        secret, public_key = await asyncio.to_thread(importing.check, target.key_spec, raw)
        # A key pair is told by its public half: there are several encodings of one private key, and one of that.
        identity = bind(target.key_id.encode(), target.key_spec.encode(), public_key or secret)
        material_id = hierarchy.identify(identity)
        ref = MaterialRef("", target.key_arn, material_id, target.key_spec)
        token = seal_token(hierarchy.active, ref, secret, public_key)
        return Imported(material_id=material_id, material=Material(token=token, public_key=public_key))

    # ---- material: its use -----------------------------------------------------------------------------------------

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        material = await self._use(ref, KeyUsage.ENCRYPT_DECRYPT, algorithm)
        return material.encrypt(algorithm, plaintext, aad)

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        material = await self._use(ref, KeyUsage.ENCRYPT_DECRYPT, algorithm)
        if material.slow:
            return await asyncio.to_thread(material.decrypt, algorithm, ciphertext, aad)
        return material.decrypt(algorithm, ciphertext, aad)

    async def encrypt_gcm(self, ref: MaterialRef, plaintext: bytes, aad: bytes) -> GcmCiphertext:
        material = await self._use(ref, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT)
        return material.encrypt_gcm(plaintext, aad)

    async def decrypt_gcm(self, ref: MaterialRef, sealed: GcmCiphertext, aad: bytes) -> bytes:
        material = await self._use(ref, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT)
        return material.decrypt_gcm(sealed, aad)

    async def sign(self, ref: MaterialRef, algorithm: Algorithm, message_type: MessageType, message: bytes) -> bytes:
        material = await self._use(ref, KeyUsage.SIGN_VERIFY, algorithm)
        if material.slow:
            return await asyncio.to_thread(material.sign, algorithm, message_type, message)
        return material.sign(algorithm, message_type, message)

    async def verify(
        self, ref: MaterialRef, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes
    ) -> None:
        material = await self._use(ref, KeyUsage.SIGN_VERIFY, algorithm)
        material.verify(algorithm, message_type, message, signature)

    async def generate_mac(self, ref: MaterialRef, algorithm: Algorithm, message: bytes) -> bytes:
        return (await self._use(ref, KeyUsage.GENERATE_VERIFY_MAC, algorithm)).mac(message)

    async def verify_mac(self, ref: MaterialRef, algorithm: Algorithm, message: bytes, mac: bytes) -> None:
        (await self._use(ref, KeyUsage.GENERATE_VERIFY_MAC, algorithm)).verify_mac(message, mac)

    async def agree(self, ref: MaterialRef, peer_public_key: bytes) -> SecretBytes:
        return (await self._use(ref, KeyUsage.KEY_AGREEMENT, Algorithm.ECDH)).agree(peer_public_key)

    async def encapsulate(self, ref: MaterialRef) -> tuple[bytes, SecretBytes]:
        return (await self._use(ref, KeyUsage.ENCAPSULATE_DECAPSULATE, Algorithm.ML_KEM)).encapsulate()

    async def decapsulate(self, ref: MaterialRef, ciphertext: bytes) -> SecretBytes:
        return (await self._use(ref, KeyUsage.ENCAPSULATE_DECAPSULATE, Algorithm.ML_KEM)).decapsulate(ciphertext)

    # ---- randomness ------------------------------------------------------------------------------------------------

    async def random(self, length: int) -> bytes:
        return os.urandom(length)

    async def generate_key_pair(self, key_spec: KeySpec) -> KeyPair:
        if key_spec not in keymaking.data_key_pair_specs():
            raise Unsupported(f"the standard key store does not generate data key pairs of {key_spec}")
        secret, public_key = await self._generate(key_spec)
        assert public_key is not None
        return KeyPair(private_key=SecretBytes(secret), public_key=public_key)

    # ---- within ----------------------------------------------------------------------------------------------------

    @property
    def _hierarchy(self) -> DomainKeys:
        if self._domains is None:
            raise Unavailable(f"key store {self.context.store_name!r} is not open")
        return self._domains

    async def _use(self, ref: MaterialRef, usage: KeyUsage, algorithm: Algorithm) -> OpenMaterial:
        """The opened material of ``ref``, for an algorithm that its key spec offers for this usage."""
        if (ref.key_spec, usage, algorithm) not in _OFFERED:
            raise InvalidRequest(f"a key of spec {ref.key_spec} does not offer {algorithm} for {usage}")
        material = self._cache.get(ref)
        if material is not None:
            return material
        if ref.token is None or ref.name in self._destroyed:
            raise MaterialNotFound(f"the standard key store has no material {ref.material_id} of {ref.key_arn}")
        before = self._forgettings
        secret, _ = await self._unwrap(ref, ref.token)
        material = keymaking.load(ref.key_spec, secret)
        # Unwrapping may wait for a domain key. What was forgotten meanwhile must not come back into the cache.
        if before == self._forgettings:
            self._cache.put(ref, material)
        return material

    async def _unwrap(self, ref: MaterialRef, token: bytes) -> tuple[bytes, bytes | None]:
        domain_id = domain_id_of(token)
        hierarchy = self._hierarchy
        domain = hierarchy.loaded(domain_id) or await hierarchy.find(domain_id)
        return open_token(domain, ref, token)

    async def _generate(self, spec: KeySpec) -> tuple[bytes, bytes | None]:
        if KEY_SPECS[spec].symmetric:
            return keymaking.generate(spec)
        return await asyncio.to_thread(keymaking.generate, spec)
