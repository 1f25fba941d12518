"""The key hierarchy of the standard store: the root record and the domain keys. Called by ``plugin`` only.

In the plugin's state: ``root`` says which provider holds the root key and carries a check value, and
``domain/<number>`` holds one domain key each, wrapped by the root key. The highest number is active and wraps new
material; the others stay, because tokens under them are opened for ever. While the root key is being moved
(``migration``) a domain record carries its key twice: for the present root record and for the next one.

Guarantees: a root key that is not this store's is recognised before anything is decrypted or written; a store that has
records never gets a new root key; of several processes that make or rotate at once, one wins and all use the winner's
(the number is the compare-and-set); a clock that jumps back rotates nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from plugins.sdk import Clock, CredentialsRefused, MaterialDamaged, Misconfigured, PluginState, Unavailable
from plugins.software.rootkey import Argon2Parameters, RootCipher, RootKey
from plugins.software.sealing import SealBroken, bind, seal, unseal

ROOT_RECORD = "root"
DOMAIN_PREFIX = "domain/"
DOMAIN_KEY_BYTES = 32
ID_BYTES = 16
SECONDS_PER_DAY = 86_400
_FIRST = 1
_FORMAT = 1
_CHECK_LABEL = b"keystead root key check"
_CHECK_VALUE = b"this root key opens this store"
_DOMAIN_LABEL = b"keystead domain key"
_IDENTITY_LABEL = b"keystead imported material identity\x00"


class _Versioned(msgspec.Struct, frozen=True):
    """What every format has, so that a newer one is told from a damaged one."""

    format: int


class RootRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``root`` record. ``id`` is random and bound into every domain record, so stores cannot be mixed."""

    format: int
    id: bytes
    provider: str
    argon2id: Argon2Parameters | None
    check: bytes = b""

    def binding(self) -> bytes:
        """Everything but the check value itself: a changed parameter is noticed, not used."""
        parameters = msgspec.json.encode(self.argon2id)
        return bind(_CHECK_LABEL, self.format.to_bytes(2, "big"), self.id, self.provider.encode(), parameters)


class NextWrapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same key for the root record that is about to take over."""

    root_id: bytes
    wrapped: bytes


class DomainRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A ``domain/<number>`` record. ``created`` is in seconds since the epoch."""

    format: int
    id: bytes
    created: int
    wrapped: bytes
    next: NextWrapping | None = None

    def wrapped_for(self, root_id: bytes) -> bytes:
        """The box that the root key of that record opens."""
        if self.next is not None and self.next.root_id == root_id:
            return self.next.wrapped
        return self.wrapped

    def binding(self, root_id: bytes, number: int) -> bytes:
        integers = (self.format, number, self.created)
        return bind(_DOMAIN_LABEL, root_id, self.id, *(value.to_bytes(8, "big") for value in integers))


class DomainKey:
    """An opened domain key. The cipher holds the key; nothing here prints it."""

    __slots__ = ("cipher", "created", "id", "number")

    def __init__(self, number: int, record: DomainRecord, cipher: AESGCM) -> None:
        self.number = number
        self.id = record.id
        self.created = record.created
        self.cipher = cipher

    def __repr__(self) -> str:
        return f"<DomainKey {self.number}>"


class DomainKeys:
    """The domain keys of one open store, as far as this process has loaded them. Make one with :meth:`open`."""

    def __init__(self, state: PluginState, now: Clock, root: RootRecord, cipher: RootCipher) -> None:
        self._state = state
        self._now = now
        self._root = root
        self._root_cipher = cipher
        self._by_id: dict[bytes, DomainKey] = {}
        self._by_number: dict[int, DomainKey] = {}
        self._identity: hmac.HMAC | None = None

    @classmethod
    async def open(cls, state: PluginState, root_key: RootKey, now: Clock) -> DomainKeys:
        """Open the store's hierarchy, or make it in a store that has no records at all.

        Raises ``CredentialsRefused``, ``Misconfigured``, or ``MaterialDamaged`` naming the record.
        """
        encoded = await state.get(ROOT_RECORD)
        if encoded is None:
            if any(name.startswith(DOMAIN_PREFIX) for name in await state.names()):
                raise MaterialDamaged(
                    f"the record {ROOT_RECORD!r} of this store is missing while domain keys exist: restore the backup"
                )
            encoded = await _make_root_record(state, root_key)
        record, cipher = await open_root_record(encoded, root_key)
        keys = cls(state, now, record, cipher)
        await keys.refresh()
        if not keys._by_number:
            await keys._add()
        return keys

    @property
    def active(self) -> DomainKey:
        """The domain key that wraps new material."""
        return self._by_number[max(self._by_number)]

    def identify(self, material: bytes) -> str:
        """64 hexadecimal digits that are the same for the same octets for ever, and tell nothing about them.

        HMAC-SHA-256 under a key derived (HKDF-Expand) from the first domain key, which every store has and keeps.
        """
        assert self._identity is not None
        digest = self._identity.copy()
        digest.update(material)
        return digest.finalize().hex()

    def loaded(self, domain_id: bytes) -> DomainKey | None:
        """The domain key of that id, if this process has it in memory."""
        return self._by_id.get(domain_id)

    async def find(self, domain_id: bytes) -> DomainKey:
        """The domain key of that id, from the state if another process made it. Raises ``MaterialDamaged``."""
        if domain_id not in self._by_id:
            await self.refresh()
        try:
            return self._by_id[domain_id]
        except KeyError:
            raise MaterialDamaged(
                f"the key token names domain key {domain_id.hex()}, which this store does not have: "
                "the token is damaged or belongs to another store",
                reason="DomainKeyUnknown",
            ) from None

    async def refresh(self) -> None:
        """Load the domain keys that other processes made. Raises ``MaterialDamaged`` naming the bad record."""
        for name in await self._state.names():
            if not name.startswith(DOMAIN_PREFIX):
                continue
            number = number_in(name)
            if number not in self._by_number and (encoded := await self._state.get(name)) is not None:
                await self._load(name, number, encoded)

    async def rotate_if_older_than(self, days: int) -> DomainKey | None:
        """A new active domain key if the present one has served ``days``; None, and nothing done, otherwise.

        An age below zero (the clock jumped back) is simply not old enough.
        """
        await self.refresh()
        if self._now() - self.active.created < days * SECONDS_PER_DAY:
            return None
        return await self._add()

    async def check(self) -> str | None:
        """Use the hierarchy: read the root record and seal and open a box. What is wrong, or None."""
        encoded = await self._state.get(ROOT_RECORD)
        if encoded is None or decode_root(encoded) != self._root:
            return f"the record {ROOT_RECORD!r} of this store was lost or replaced while it is open"
        try:
            await self._root_cipher.unseal(self._root.check, self._root.binding())
        except SealBroken:
            return "the root key does not open this store any more"
        cipher, binding = self.active.cipher, bind(b"keystead probe")
        try:
            works = unseal(cipher, seal(cipher, _CHECK_VALUE, binding), binding) == _CHECK_VALUE
        except SealBroken:
            works = False
        return None if works else "AES-256-GCM does not decrypt what it encrypted"

    async def _add(self) -> DomainKey | None:
        """Make the next domain key; None if another process made one of that number first (then it is loaded)."""
        number = max(self._by_number, default=_FIRST - 1) + 1
        name = f"{DOMAIN_PREFIX}{number:08d}"
        record = DomainRecord(_FORMAT, os.urandom(ID_BYTES), max(0, int(self._now())), b"")
        key = AESGCM.generate_key(DOMAIN_KEY_BYTES * 8)
        wrapped = await self._root_cipher.seal(key, record.binding(self._root.id, number))
        record = msgspec.structs.replace(record, wrapped=wrapped)
        if await self._state.put(name, msgspec.json.encode(record), expect=None):
            return self._keep(number, record, key)
        await self.refresh()
        if number not in self._by_number:
            raise Unavailable(f"the record {name!r} could neither be written nor read; try again")
        return None

    async def _load(self, name: str, number: int, encoded: bytes) -> None:
        record, key = await open_domain_record(name, encoded, self._root, self._root_cipher)
        self._keep(number, record, key)

    def _keep(self, number: int, record: DomainRecord, secret: bytes) -> DomainKey:
        key = DomainKey(number, record, AESGCM(secret))
        if number == _FIRST:
            derived = HKDFExpand(hashes.SHA256(), 32, _IDENTITY_LABEL).derive(secret)
            self._identity = hmac.HMAC(derived, hashes.SHA256())
        self._by_id[key.id] = key
        self._by_number[key.number] = key
        return key


async def open_domain_record(
    name: str, encoded: bytes, root: RootRecord, cipher: RootCipher
) -> tuple[DomainRecord, bytes]:
    """A domain record and its key. Raises ``MaterialDamaged`` naming it."""
    try:
        record = msgspec.json.decode(encoded, type=DomainRecord)
        if record.format != _FORMAT or record.created < 0:
            raise SealBroken
        key = await cipher.unseal(record.wrapped_for(root.id), record.binding(root.id, number_in(name)))
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, SealBroken):
        raise MaterialDamaged(
            f"the record {name!r} of this store is damaged; restore it from a backup", reason="DomainKeyDamaged"
        ) from None
    return record, key


def number_in(name: str) -> int:
    """The number of a domain record. Raises ``MaterialDamaged``."""
    digits = name.removeprefix(DOMAIN_PREFIX)
    if not (digits.isascii() and digits.isdigit()):
        raise MaterialDamaged(f"the record {name!r} of this store is not one of ours; restore the backup")
    return int(digits)


async def fresh_root_record(root_key: RootKey) -> RootRecord:
    """A root record for a root key that is there."""
    draft = RootRecord(_FORMAT, os.urandom(ID_BYTES), root_key.provider, root_key.fresh_parameters())
    cipher = await root_key.cipher(draft.argon2id)
    return msgspec.structs.replace(draft, check=await cipher.seal(_CHECK_VALUE, draft.binding()))


async def _make_root_record(state: PluginState, root_key: RootKey) -> bytes:
    """Write the first root record; the present one if another process won."""
    if not await root_key.present():
        raise Misconfigured(
            f"{root_key.whereabouts} does not exist and this store is new: make the key with 'keystead init', "
            "or put the right path into rootKey.path",
            reason="RootKeyMissing",
        )
    encoded = msgspec.json.encode(await fresh_root_record(root_key))
    if await state.put(ROOT_RECORD, encoded, expect=None):
        return encoded
    winner = await state.get(ROOT_RECORD)
    if winner is None:
        raise Unavailable(f"the record {ROOT_RECORD!r} could neither be written nor read; try again")
    return winner


def decode_root(encoded: bytes) -> RootRecord:
    """A root record. Raises ``MaterialDamaged``, or ``Misconfigured`` for one of a newer version."""
    try:
        version = msgspec.json.decode(encoded, type=_Versioned).format
        if version != _FORMAT:
            raise Misconfigured(
                f"the record {ROOT_RECORD!r} has format {version} and this version of Keystead reads {_FORMAT}: "
                "use the version that wrote it, or a newer one"
            )
        record = msgspec.json.decode(encoded, type=RootRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _root_damaged() from None
    providers: Sequence[tuple[str, bool]] = (("file", False), ("passphrase", True), ("pkcs11", False))
    if (record.provider, record.argon2id is not None) not in providers:
        raise _root_damaged()
    return record


def _root_damaged() -> MaterialDamaged:
    return MaterialDamaged(
        f"the record {ROOT_RECORD!r} of this store is damaged; restore it from a backup", reason="RootRecordDamaged"
    )


async def open_root_record(encoded: bytes, root_key: RootKey) -> tuple[RootRecord, RootCipher]:
    """The root record and its key. Raises ``CredentialsRefused`` for a root key that is not this store's."""
    record = decode_root(encoded)
    if record.provider != root_key.provider:
        raise CredentialsRefused(
            f"this store's root key comes from provider {record.provider!r}, but rootKey.provider says "
            f"{root_key.provider!r}: set it back, or move it with 'keystead migrate-root-key'",
            reason="RootKeyMismatch",
        )
    if not await root_key.present():
        # A fresh key here would look like a repair and lock every existing key away for ever.
        raise CredentialsRefused(
            f"{root_key.whereabouts} is missing, and the keys of this store cannot be opened without it: restore it "
            "from your backup of the root key; a new one is never made for a store that has keys",
            reason="RootKeyMissing",
        )
    cipher = await root_key.cipher(record.argon2id)
    try:
        await cipher.unseal(record.check, record.binding())
    except SealBroken:
        raise CredentialsRefused(
            f"{root_key.whereabouts} is not the root key of this store: restore the one that the store was made with "
            f"(or, if it is that one, the record {ROOT_RECORD!r} from a backup)",
            reason="RootKeyMismatch",
        ) from None
    return record, cipher
