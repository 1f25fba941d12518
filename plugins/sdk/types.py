"""What crosses the plugin boundary, as immutable structs.

Who uses it: plugins and ``controlplane.keystores``. Guarantee: nothing here holds plaintext key material; a key token
is opaque to everyone but the plugin that made it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from plugins.sdk.secret import SecretBytes
from plugins.sdk.vocabulary import Algorithm, KeySpec, KeyUsage


class Custody(StrEnum):
    """Where material rests."""

    TOKEN = "token"  # noqa: S105
    """The plugin hands out a key token, the host stores it durably and shows it again with every call."""
    DEVICE = "device"
    """The material stays in a device and is found there by the name that the host chose."""


class MaterialRef(msgspec.Struct, frozen=True, gc=False):
    """Names one piece of key material, before, while and after it exists.

    ``name`` is chosen by the host before the first call (``keystead:<key uid>:<material id>``) and is unique for ever,
    so observing by it answers "did it happen?". ``token`` is what :class:`Material` returned, for custody ``token``.
    ``external_id`` names the key outside that the material stands for (capability ``external_keys``).
    """

    name: str
    key_arn: str
    material_id: str
    key_spec: KeySpec
    token: bytes | None = None
    external_id: str | None = None


class Material(msgspec.Struct, frozen=True):
    """What a store says about material that exists.

    ``public_key`` is an X.509 SubjectPublicKeyInfo in DER, for key pairs. ``external_id`` is the store's own identifier
    (an object handle's CKA_ID, an external key id), for people and for adoption.
    """

    token: bytes | None = None
    public_key: bytes | None = None
    external_id: str | None = None


class ImportTarget(msgspec.Struct, frozen=True):
    """The KMS key that someone else's material is for.

    ``key_id`` is shared by the keys of a multi-Region key in all Regions, ``key_arn`` is not.
    """

    key_arn: str
    key_id: str
    key_spec: KeySpec


class WrappingKey(msgspec.Struct, frozen=True):
    """A fresh key pair to wrap material with: the public half as SubjectPublicKeyInfo in DER.

    ``sealed`` is the private half, encrypted by the store and bound to the target, spec and algorithm it was made for;
    the host keeps it until the import token expires and can do nothing else with it.
    """

    public_key: bytes
    sealed: bytes


class Imported(msgspec.Struct, frozen=True):
    """Material that came from outside. ``material_id`` is 64 hexadecimal digits that the store computed from the key id
    and the material with a secret of its own: the same material under the same key id always gets the same one, and
    nobody can find the material from it. It proves "the same material" when the material itself is gone.
    """

    material_id: str
    material: Material


class Capabilities(msgspec.Struct, frozen=True):
    """What an open store can do. The conformance suite tests each declared line; the host offers nothing else."""

    custody: Custody
    key_specs: dict[KeySpec, frozenset[KeyUsage]]
    """Material that can be generated, and its possible usages."""
    absent_algorithms: frozenset[Algorithm] = frozenset()
    """What the KMS API offers for these key specs and this store does not; asked for, it answers ``Unsupported``."""
    find_by_name: bool = True
    """``observe`` finds material by name alone. Without it an unknown outcome waits for a person."""
    lists_material: bool = False
    """``list_material`` names everything in the store that carries a name of ours or is unmanaged: what the host does
    not know is reported, and never touched."""
    adoption: bool = False
    """``adopt`` takes over material that others made in the store. Needs ``lists_material``."""
    rotation: bool = False
    """A KMS key may have several materials over time."""
    replication: bool = False
    """``replicate`` works: keys of this store can be multi-Region keys."""
    data_key_pairs: frozenset[KeySpec] = frozenset()
    """Specs for which ``generate_key_pair`` works."""
    random: bool = True
    imports: frozenset[KeySpec] = frozenset()
    """Specs for which ``wrapping_key`` and ``import_material`` work. For custody ``token`` only."""
    gcm: bool = False
    """``encrypt_gcm`` and ``decrypt_gcm`` work for SYMMETRIC_DEFAULT material: an XKS proxy can expose it."""
    external_keys: bool = False
    """Material stands for a key outside: ``create`` needs ``ref.external_id``, and ``find_external`` works."""


class GcmCiphertext(msgspec.Struct, frozen=True):
    """AES-256-GCM in its parts: ``iv`` is 12 or 16 octets, ``ciphertext`` as long as the plaintext, ``tag`` 16."""

    iv: bytes
    ciphertext: bytes
    tag: bytes


class HealthLevel(StrEnum):
    """How a store is as a whole."""

    ACTIVE = "ACTIVE"
    DEGRADED = "DEGRADED"
    """It serves, and something is wrong."""
    UNAVAILABLE = "UNAVAILABLE"


class Latency(msgspec.Struct, frozen=True):
    """How long recent requests to a store took, in seconds, and after how many it gives up on one."""

    p50: float
    p99: float
    limit: float


class Member(msgspec.Struct, frozen=True):
    """One device of a store: whether it does its work now, and a sentence if it does not."""

    name: str
    active: bool
    detail: str = ""


class Health(msgspec.Struct, frozen=True):
    """Answer of a probe that really used the store. ``detail`` is one sentence for people.

    A store over several devices names them in ``members``; ``synchronised`` says whether a key that one of them makes
    appears in the others by itself (None: there is one device only, or it is not known yet).
    """

    healthy: bool
    detail: str = ""
    members: tuple[Member, ...] = ()
    synchronised: bool | None = None
    missing_to_create: int = 0
    """So many more members have to be active before material can be made."""
    level: HealthLevel | None = None
    """None: ``healthy`` says it all."""
    certificate_expires_at: float | None = None
    """Seconds since the epoch: until when the store's server is believed by its certificate."""
    latency: Latency | None = None


class KeyPair(msgspec.Struct, frozen=True):
    """A fresh data key pair: the private half as a secret, the public half as SubjectPublicKeyInfo in DER."""

    private_key: SecretBytes
    """PKCS#8 in DER."""
    public_key: bytes


class PluginState(Protocol):
    """Small durable blobs that the host keeps for a plugin (wrapped domain keys, a device's serial number).

    Values are opaque to the host and must be safe to copy and back up: encrypt what is secret. A write is durable when
    it returns. Other processes may write too, hence compare-and-set.
    """

    async def get(self, name: str) -> bytes | None:
        """The value, or None."""

    async def names(self) -> list[str]:
        """All names, sorted."""

    async def put(self, name: str, value: bytes, *, expect: bytes | None) -> bool:
        """Write ``value`` if the present value is ``expect`` (None: absent). False, and nothing written, otherwise."""


class Clock(Protocol):
    """Seconds since the epoch, injected so that tests own time."""

    def __call__(self) -> float: ...


class InnerStore(Protocol):
    """The standard key store of the server, for stores that put a layer of their own around what it makes.

    Its methods are those of the contract, for SYMMETRIC_DEFAULT material, and raise the SDK's errors.
    """

    async def observe(self, ref: MaterialRef) -> Material | None: ...

    async def create(self, ref: MaterialRef) -> Material: ...

    async def destroy(self, ref: MaterialRef) -> None: ...

    def forget(self, ref: MaterialRef) -> None: ...

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes: ...

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes: ...

    async def random(self, length: int) -> bytes: ...


class PluginContext(msgspec.Struct, frozen=True):
    """What the host gives a plugin instance.

    ``secret`` answers a secret that was given to the host for this store, by its name: see ``KeptSecretSource``.
    ``inner`` is absent for the standard key store itself.
    """

    store_name: str
    state: PluginState
    now: Clock
    secret: Callable[[str], Awaitable[SecretBytes]] | None = None
    inner: InnerStore | None = None
