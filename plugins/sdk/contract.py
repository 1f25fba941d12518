"""The contract between Keystead and a key store plugin, version 1.

A plugin is a class that extends :class:`KeyStorePlugin` and is named by an entry point of the group
``keystead.keystores``; the entry point's name is the ``type`` that key store documents carry. The host makes one
instance for each key store document and process, calls ``open`` once, then any method from one event loop, many calls
at a time, and ``close`` at the end. After an error from ``open`` the instance is thrown away.

What the host promises: it calls only what :class:`~plugins.sdk.types.Capabilities` declares; it opens an attempt in
its journal before ``create`` and ``destroy``; every call has a deadline and is cancelled at it; it passes the same
:class:`~plugins.sdk.types.MaterialRef` for the same material for ever.

What a plugin promises: it raises only :mod:`plugins.sdk.errors` on purpose (anything else counts as
``OutcomeUnknown`` for calls that change the store); plaintext key material never leaves it; ``create`` and ``destroy``
are idempotent on ``ref.name``; ``observe`` changes nothing; a method that would block the event loop for more than a
millisecond or so runs elsewhere (``asyncio.to_thread``, a worker process).
"""

# ruff: noqa: ARG002, B027  (defaults refuse or do nothing on purpose; their parameters are the contract)
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from plugins.sdk.errors import Unsupported
from plugins.sdk.external import ExternalKey
from plugins.sdk.options import Options
from plugins.sdk.secret import SecretBytes
from plugins.sdk.types import (
    Capabilities,
    GcmCiphertext,
    Health,
    Imported,
    ImportTarget,
    KeyPair,
    Material,
    MaterialRef,
    PluginContext,
    WrappingKey,
)
from plugins.sdk.vocabulary import Algorithm, KeySpec, MessageType, WrappingAlgorithm, WrappingSpec

CONTRACT_VERSION = 1
"""The host refuses a plugin whose ``contract`` is newer than this, and says so."""


class KeyStorePlugin(ABC):
    """One key store: where key material lives and is used."""

    contract: ClassVar[int] = CONTRACT_VERSION
    options_type: ClassVar[type[Options]] = Options
    """The Struct into which the host converts the options of the key store document."""
    overlaps: ClassVar[bool] = False
    """A second instance may be open beside the first: then changed options take over without an interruption."""

    def __init__(self, options: Options, context: PluginContext) -> None:
        """Keep the arguments; no I/O here."""
        self.options = options
        self.context = context

    # ---- the store itself ------------------------------------------------------------------------------------------

    async def provision(self) -> None:
        """Make what a brand-new store needs (a root key file, a token). Refuse if anything is already there.

        Called by ``keystead init`` and ``keystead dev`` on an empty data directory only, before the first ``open``.
        """

    async def migrate(self) -> list[str]:
        """Carry the store over from what its options say was before to what they say is now; a sentence per thing done.

        Called by a command while no server runs, never after ``open``. Run again after an interruption, it goes on.
        """
        raise Unsupported("this key store has nothing to carry over")

    @abstractmethod
    async def open(self) -> Capabilities:
        """Connect, authenticate, check that this is the store it should be, and say what it can do.

        Raises ``CredentialsRefused``, ``Misconfigured`` or ``Unavailable``; the reason becomes the condition.
        """

    async def close(self) -> None:
        """Release everything. Never raises."""

    @abstractmethod
    async def probe(self) -> Health:
        """Use the store for real (a small encryption, a session) and say how it is. Called every few seconds."""

    async def maintain(self) -> list[str]:
        """Upkeep that falls due now (rotate a domain key). Returns one sentence per thing done, for events."""
        return []

    # ---- material: its life ----------------------------------------------------------------------------------------

    @abstractmethod
    async def observe(self, ref: MaterialRef) -> Material | None:
        """Look, by name (custody ``device``) or into the token (custody ``token``). None: it is not there.

        Changes nothing and caches nothing. Raises ``MaterialDamaged`` if it is there and cannot be opened.
        """

    @abstractmethod
    async def create(self, ref: MaterialRef) -> Material:
        """Generate material of ``ref.key_spec`` under ``ref.name``; the same answer if it already exists there."""

    @abstractmethod
    async def destroy(self, ref: MaterialRef) -> None:
        """Destroy the material for ever and forget it. Succeeds if it is already gone."""

    async def replicate(self, source: MaterialRef, target: MaterialRef) -> Material:
        """Give the material of ``source`` to another key as ``target``, of the same material id (``replication``).

        Both are whole afterwards: destroying one leaves the other. Idempotent on ``target.name``.
        """
        raise Unsupported("this key store does not replicate material")

    def forget(self, ref: MaterialRef) -> None:
        """Drop whatever this process caches of the material. Called in every process when a key stops being usable."""

    async def list_material(self) -> list[str]:
        """Names of all material in the store (capability ``lists_material``)."""
        raise Unsupported("this key store cannot list its material")

    async def adopt(self, name: str, ref: MaterialRef) -> Material:
        """Take over material that :meth:`list_material` names ``name`` as ``ref.name`` (``adoption``).

        It stays the material that it was, and can no longer leave the store. Idempotent on ``ref.name``. Raises
        ``MaterialNotFound`` if there is none of that name, ``Unsupported`` if it is not of ``ref.key_spec``.
        """
        raise Unsupported("this key store does not take over material")

    # ---- material: from outside ------------------------------------------------------------------------------------

    async def wrapping_key(self, target: ImportTarget, spec: WrappingSpec, algorithm: WrappingAlgorithm) -> WrappingKey:
        """A fresh key pair for somebody to wrap material with; the private half never leaves the store in clear."""
        raise Unsupported("this key store does not import material")

    async def import_material(
        self, target: ImportTarget, spec: WrappingSpec, algorithm: WrappingAlgorithm, sealed: bytes, encrypted: bytes
    ) -> Imported:
        """Unwrap ``encrypted`` with what :meth:`wrapping_key` sealed for the same arguments, check it, make a token.

        A symmetric or HMAC key is its octets; a private key is PKCS#8 in DER (RFC 5208, 5958), unencrypted: of RSA with
        65,536 < e < 2^256 (FIPS 186-5), of the very curve or parameter set of the key spec.

        Raises ``InvalidCiphertext`` if it does not unwrap, ``IncorrectMaterial`` if it is not what the key spec asks
        for, ``MaterialDamaged`` if ``sealed`` was made for something else. Nothing is kept of refused material.
        """
        raise Unsupported("this key store does not import material")

    # ---- material: its use -----------------------------------------------------------------------------------------

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        """Ciphertext. For SYMMETRIC_DEFAULT authenticated, with everything decryption needs but ``aad`` inside.

        For RSAES_OAEP_* exactly the modulus length, as every RSA library reads it; ``aad`` is then empty.
        """
        raise Unsupported("this key store does not encrypt")

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        """The plaintext of what ``encrypt`` made with the same ``aad``; ``InvalidCiphertext`` otherwise."""
        raise Unsupported("this key store does not decrypt")

    async def encrypt_gcm(self, ref: MaterialRef, plaintext: bytes, aad: bytes) -> GcmCiphertext:
        """AES-256-GCM (SP 800-38D) under a fresh IV, for SYMMETRIC_DEFAULT material (capability ``gcm``).

        The parts hold everything that decryption needs but ``aad``. They open with ``decrypt_gcm`` only.
        """
        raise Unsupported("this key store does not encrypt with AES-GCM in parts")

    async def decrypt_gcm(self, ref: MaterialRef, sealed: GcmCiphertext, aad: bytes) -> bytes:
        """The plaintext of what ``encrypt_gcm`` made with the same ``aad``; ``InvalidCiphertext`` otherwise."""
        raise Unsupported("this key store does not decrypt AES-GCM in parts")

    async def sign(self, ref: MaterialRef, algorithm: Algorithm, message_type: MessageType, message: bytes) -> bytes:
        """A signature: PKCS#1 or PSS octets, ECDSA in DER, Ed25519 64 octets, ML-DSA octets (FIPS 204).

        ``DIGEST`` means ``message`` is the hash that the algorithm names; ``EXTERNAL_MU`` is FIPS 204's mu, 64 octets.
        """
        raise Unsupported("this key store does not sign")

    async def verify(
        self, ref: MaterialRef, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes
    ) -> None:
        """Returns if the signature is right; raises ``InvalidSignature`` otherwise, for whatever reason it is wrong."""
        raise Unsupported("this key store does not verify")

    async def generate_mac(self, ref: MaterialRef, algorithm: Algorithm, message: bytes) -> bytes:
        """HMAC of the message, full length (RFC 2104)."""
        raise Unsupported("this key store does not generate MACs")

    async def verify_mac(self, ref: MaterialRef, algorithm: Algorithm, message: bytes, mac: bytes) -> None:
        """Returns if the MAC is right, in constant time; raises ``InvalidSignature`` otherwise."""
        raise Unsupported("this key store does not verify MACs")

    async def agree(self, ref: MaterialRef, peer_public_key: bytes) -> SecretBytes:
        """ECDH shared secret (SP 800-56A, x coordinate). The peer's key is SubjectPublicKeyInfo in DER, same curve."""
        raise Unsupported("this key store does not derive shared secrets")

    async def encapsulate(self, ref: MaterialRef) -> tuple[bytes, SecretBytes]:
        """ML-KEM (FIPS 203): ciphertext and 32-octet shared secret."""
        raise Unsupported("this key store does not encapsulate")

    async def decapsulate(self, ref: MaterialRef, ciphertext: bytes) -> SecretBytes:
        """ML-KEM shared secret of a ciphertext; ``InvalidCiphertext`` if its length is wrong."""
        raise Unsupported("this key store does not decapsulate")

    # ---- external keys ---------------------------------------------------------------------------------------------

    async def find_external(self, external_id: str) -> ExternalKey:
        """What the manager of external keys says of one (capability ``external_keys``). Changes nothing.

        Raises ``MaterialNotFound`` if there is none.
        """
        raise Unsupported("this key store has no external keys")

    # ---- randomness ------------------------------------------------------------------------------------------------

    async def random(self, length: int) -> bytes:
        """``length`` octets from the store's random generator; what GenerateRandom and data keys are made of."""
        raise Unsupported("this key store does not generate random bytes")

    async def generate_key_pair(self, key_spec: KeySpec) -> KeyPair:
        """A fresh key pair that the store does not keep, for data key pairs."""
        raise Unsupported("this key store does not generate key pairs")
