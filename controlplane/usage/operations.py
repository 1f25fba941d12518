"""The crypto operations on a resolved, authorised and gated key. Each is a few lines over ``keystores.calls``.

Who calls it: doors, as the work of ``perform``. Guarantees: a key is used for its usage, with an algorithm of its spec
and an input that the algorithm takes, or nothing happens. A dry run (``dry_run``) is refused with
:class:`~controlplane.errors.DryRunPassed` where the real request would succeed: what verifies an input runs and its
result is dropped, what makes something new does not run.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.domain.capabilities import algorithms
from controlplane.domain.limits import check_message, check_plaintext
from controlplane.errors import (
    DryRunPassed,
    IncorrectKey,
    InvalidCiphertext,
    InvalidKeyUsage,
    InvalidMac,
    InvalidSignature,
    KeyStoreFailure,
    Unsupported,
)
from controlplane.keystores.calls import Calls
from controlplane.schema.keys import Algorithm, KeySpec, KeyUsage, MessageType, Origin
from controlplane.store.catalog import KeyRecord
from controlplane.usage import envelope
from plugins.sdk import KeyPair, MaterialRef, SecretBytes

Context = Mapping[str, str] | None

# ---- what fits -------------------------------------------------------------------------------------------------------


def check(record: KeyRecord, usage: KeyUsage, algorithm: Algorithm, operation: str) -> None:
    """Raise :class:`InvalidKeyUsage` unless the key is for this and its spec has the algorithm."""
    spec = record.key.spec
    if spec.key_usage is not usage:
        raise InvalidKeyUsage(f"{record.arn} key usage is {spec.key_usage} which is not valid for {operation}.")
    if algorithm not in algorithms(spec.key_spec, usage):
        raise InvalidKeyUsage(f"Algorithm {algorithm} is incompatible with key spec {spec.key_spec}.")


def current(record: KeyRecord) -> MaterialRef:
    """The material that encrypts and signs now."""
    if record.current is None:
        raise _damaged(record, "its current material")
    return record.current


def stop_if_dry(dry_run: bool) -> None:
    """The end of a dry run that found nothing wrong."""
    if dry_run:
        raise dry_run_passed()


def dry_run_passed() -> DryRunPassed:
    return DryRunPassed("The request would have succeeded, but the DryRun option is set.")


def _damaged(record: KeyRecord, which: str) -> KeyStoreFailure:
    return KeyStoreFailure(
        f"{record.arn}: the key token of {which} is damaged; restore it from a copy or a backup",
        reason="MaterialDamaged",
    )


def _ready(
    calls: Calls, record: KeyRecord, usage: KeyUsage, algorithm: Algorithm, operation: str
) -> tuple[str, MaterialRef]:
    """The key store and the current material, for an asymmetric or MAC key."""
    check(record, usage, algorithm, operation)
    store = record.key.spec.key_store
    calls.check_offered(store, algorithm)
    return store, current(record)


# ---- encryption ------------------------------------------------------------------------------------------------------


async def encrypt(
    calls: Calls,
    record: KeyRecord,
    plaintext: bytes,
    algorithm: Algorithm,
    context: Context,
    *,
    operation: str = "Encrypt",
    dry_run: bool = False,
) -> bytes:
    """A ciphertext blob: our envelope for a symmetric key, plain RSAES-OAEP octets for an RSA key."""
    check(record, KeyUsage.ENCRYPT_DECRYPT, algorithm, operation)
    spec, store, ref = record.key.spec.key_spec, record.key.spec.key_store, current(record)
    if spec is KeySpec.SYMMETRIC_DEFAULT:
        stop_if_dry(dry_run)
        head = envelope.header(record.key.status.key_id, ref.material_id)
        return head + await calls.encrypt(store, ref, algorithm, plaintext, envelope.associated_data(head, context))
    check_plaintext(spec, algorithm, len(plaintext))
    calls.check_offered(store, algorithm)
    stop_if_dry(dry_run)
    return await calls.encrypt(store, ref, algorithm, plaintext, b"")


async def decrypt(
    calls: Calls,
    record: KeyRecord,
    blob: bytes,
    algorithm: Algorithm,
    context: Context,
    *,
    operation: str = "Decrypt",
) -> tuple[bytes, str | None]:
    """The plaintext, and for a symmetric key the id of the material that decrypted it: the one that the blob names.

    Raises :class:`IncorrectKey` for a blob of another key, :class:`InvalidCiphertext` for anything else that is not
    exactly what was encrypted.
    """
    if algorithm is not Algorithm.SYMMETRIC_DEFAULT:
        check(record, KeyUsage.ENCRYPT_DECRYPT, algorithm, operation)
        store = record.key.spec.key_store
        calls.check_offered(store, algorithm)
        return await calls.decrypt(store, current(record), algorithm, blob, b""), None
    opened = envelope.take_apart(blob)
    if opened.key_id != record.key.status.key_id:
        raise IncorrectKey("The key ID in the request does not identify a CMK that can perform this operation.")
    check(record, KeyUsage.ENCRYPT_DECRYPT, algorithm, operation)
    ref = record.refs.get(opened.material_id)
    if ref is None:
        if opened.material_id in record.damaged:
            raise _damaged(record, f"material {opened.material_id}")
        raise InvalidCiphertext("")
    aad = envelope.associated_data(opened.header, context)
    return await calls.decrypt(record.key.spec.key_store, ref, algorithm, opened.body, aad), opened.material_id


# ---- data keys -------------------------------------------------------------------------------------------------------


async def data_key(
    calls: Calls, record: KeyRecord, length: int, context: Context, *, operation: str, dry_run: bool = False
) -> tuple[bytes, bytes]:
    """A fresh data key of ``length`` octets: in plaintext, and encrypted under the key."""
    check(record, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT, operation)
    current(record)
    stop_if_dry(dry_run)
    plaintext = await calls.random(record.key.spec.key_store, length)
    blob = await encrypt(calls, record, plaintext, Algorithm.SYMMETRIC_DEFAULT, context, operation=operation)
    return plaintext, blob


async def data_key_pair(
    calls: Calls, record: KeyRecord, pair_spec: KeySpec, context: Context, *, operation: str, dry_run: bool = False
) -> tuple[KeyPair, bytes]:
    """A fresh key pair that no store keeps, and its private key encrypted under the key.

    Raises :class:`Unsupported` for a key in a custom key store and for a spec that the store does not generate.
    """
    check(record, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT, operation)
    store, origin = record.key.spec.key_store, record.key.spec.origin
    if origin not in (Origin.AWS_KMS, Origin.EXTERNAL):
        raise Unsupported(f"{record.arn} origin is {origin} which is not valid for this operation.")
    current(record)
    calls.check_data_key_pair(store, pair_spec)
    stop_if_dry(dry_run)
    pair = await calls.generate_key_pair(store, pair_spec)
    private = pair.private_key.expose()
    return pair, await encrypt(calls, record, private, Algorithm.SYMMETRIC_DEFAULT, context, operation=operation)


# ---- signatures ------------------------------------------------------------------------------------------------------


async def sign(
    calls: Calls,
    record: KeyRecord,
    algorithm: Algorithm,
    message_type: MessageType,
    message: bytes,
    *,
    dry_run: bool = False,
) -> bytes:
    store, ref = _ready(calls, record, KeyUsage.SIGN_VERIFY, algorithm, "Sign")
    check_message(algorithm, message_type, len(message))
    stop_if_dry(dry_run)
    return await calls.sign(store, ref, algorithm, message_type, message)


async def verify(
    calls: Calls, record: KeyRecord, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes
) -> None:
    """Returns if the signature is right; raises :class:`InvalidSignature` otherwise."""
    store, ref = _ready(calls, record, KeyUsage.SIGN_VERIFY, algorithm, "Verify")
    check_message(algorithm, message_type, len(message))
    await calls.verify(store, ref, algorithm, message_type, message, signature)


def public_key(record: KeyRecord) -> bytes:
    """SubjectPublicKeyInfo in DER. Raises :class:`Unsupported` for a key that has no public half."""
    material = record.key.status.current
    if material is None or material.public_key is None:
        raise Unsupported(f"{record.arn} key spec is {record.key.spec.key_spec} which is not valid for GetPublicKey.")
    return material.public_key


# ---- message authentication codes ------------------------------------------------------------------------------------


async def generate_mac(
    calls: Calls, record: KeyRecord, algorithm: Algorithm, message: bytes, *, dry_run: bool = False
) -> bytes:
    store, ref = _ready(calls, record, KeyUsage.GENERATE_VERIFY_MAC, algorithm, "GenerateMac")
    stop_if_dry(dry_run)
    return await calls.generate_mac(store, ref, algorithm, message)


async def verify_mac(calls: Calls, record: KeyRecord, algorithm: Algorithm, message: bytes, mac: bytes) -> None:
    """Returns if the MAC is right; raises :class:`InvalidMac` otherwise."""
    store, ref = _ready(calls, record, KeyUsage.GENERATE_VERIFY_MAC, algorithm, "VerifyMac")
    try:
        await calls.verify_mac(store, ref, algorithm, message, mac)
    except InvalidSignature:
        raise InvalidMac("") from None


# ---- shared secrets --------------------------------------------------------------------------------------------------


async def agree(calls: Calls, record: KeyRecord, peer_public_key: bytes) -> SecretBytes:
    """The ECDH shared secret with the holder of ``peer_public_key`` (SubjectPublicKeyInfo in DER, same curve)."""
    store, ref = _ready(calls, record, KeyUsage.KEY_AGREEMENT, Algorithm.ECDH, "DeriveSharedSecret")
    return await calls.agree(store, ref, peer_public_key)


async def encapsulate(calls: Calls, record: KeyRecord, *, dry_run: bool = False) -> tuple[bytes, SecretBytes]:
    """ML-KEM: ciphertext and shared secret."""
    store, ref = _ready(calls, record, KeyUsage.ENCAPSULATE_DECAPSULATE, Algorithm.ML_KEM, "Encapsulate")
    stop_if_dry(dry_run)
    return await calls.encapsulate(store, ref)


async def decapsulate(calls: Calls, record: KeyRecord, ciphertext: bytes) -> SecretBytes:
    """ML-KEM: the shared secret of a ciphertext, which for a forged one is nobody's (FIPS 203, implicit rejection)."""
    store, ref = _ready(calls, record, KeyUsage.ENCAPSULATE_DECAPSULATE, Algorithm.ML_KEM, "Decapsulate")
    return await calls.decapsulate(store, ref, ciphertext)
