"""The crypto operations on a resolved, authorised and gated key. Each is a few lines over ``keystores.calls``.

Who calls it: doors, as the work of ``perform``. Usage and algorithm are checked here against the capability table.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.domain.capabilities import algorithms
from controlplane.errors import InvalidCiphertext, InvalidKeyUsage, KeyStoreFailure
from controlplane.keystores.calls import Calls
from controlplane.schema.keys import Algorithm, KeySpec, KeyUsage
from controlplane.store.catalog import KeyRecord
from controlplane.usage import envelope
from plugins.sdk import MaterialRef

Context = Mapping[str, str] | None


def check_usage(record: KeyRecord, usage: KeyUsage, operation: str) -> None:
    """Raise :class:`InvalidKeyUsage` unless the key is for this."""
    if record.key.spec.key_usage is not usage:
        raise InvalidKeyUsage(
            f"{record.arn} key usage is {record.key.spec.key_usage} which is not valid for {operation}."
        )


def check_algorithm(record: KeyRecord, usage: KeyUsage, algorithm: Algorithm) -> None:
    """Raise :class:`InvalidKeyUsage` unless the key's spec has the algorithm."""
    if algorithm not in algorithms(record.key.spec.key_spec, usage):
        raise InvalidKeyUsage(f"Algorithm {algorithm} and key spec {record.key.spec.key_spec} are incompatible.")


async def encrypt(
    calls: Calls,
    record: KeyRecord,
    plaintext: bytes,
    algorithm: Algorithm,
    context: Context,
    operation: str = "Encrypt",
) -> bytes:
    """A ciphertext blob: our envelope for a symmetric key, plain RSAES-OAEP octets for an RSA key."""
    check_usage(record, KeyUsage.ENCRYPT_DECRYPT, operation)
    check_algorithm(record, KeyUsage.ENCRYPT_DECRYPT, algorithm)
    ref = current(record)
    store = record.key.spec.key_store
    if record.key.spec.key_spec is not KeySpec.SYMMETRIC_DEFAULT:
        return await calls.encrypt(store, ref, algorithm, plaintext, b"")
    head = envelope.header(record.key.status.key_id, ref.material_id)
    return head + await calls.encrypt(store, ref, algorithm, plaintext, envelope.associated_data(head, context))


async def decrypt(
    calls: Calls, record: KeyRecord, blob: bytes, algorithm: Algorithm, context: Context
) -> tuple[bytes, str | None]:
    """The plaintext, and for a symmetric key the id of the material that decrypted it."""
    check_usage(record, KeyUsage.ENCRYPT_DECRYPT, "Decrypt")
    check_algorithm(record, KeyUsage.ENCRYPT_DECRYPT, algorithm)
    store = record.key.spec.key_store
    if record.key.spec.key_spec is not KeySpec.SYMMETRIC_DEFAULT:
        return await calls.decrypt(store, current(record), algorithm, blob, b""), None
    opened = envelope.take_apart(blob)
    ref = record.refs.get(opened.material_id)
    if ref is None or opened.key_id != record.key.status.key_id:
        raise InvalidCiphertext("")
    aad = envelope.associated_data(opened.header, context)
    return await calls.decrypt(store, ref, algorithm, opened.body, aad), opened.material_id


async def data_key(calls: Calls, record: KeyRecord, length: int, context: Context) -> tuple[bytes, bytes]:
    """A fresh data key of ``length`` octets: in plaintext, and encrypted under the key."""
    check_usage(record, KeyUsage.ENCRYPT_DECRYPT, "GenerateDataKey")
    check_algorithm(record, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT)
    plaintext = await calls.random(record.key.spec.key_store, length)
    return plaintext, await encrypt(calls, record, plaintext, Algorithm.SYMMETRIC_DEFAULT, context, "GenerateDataKey")


def current(record: KeyRecord) -> MaterialRef:
    """The material that encrypts and signs now."""
    if record.current is None:
        raise KeyStoreFailure(
            f"{record.arn}: the key token of its current material is damaged; restore it from a copy or a backup",
            reason="MaterialDamaged",
        )
    return record.current
