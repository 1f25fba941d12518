"""Encrypt, Decrypt, GenerateDataKey, GenerateRandom: the hot path.

Source: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

from controlplane.access.caller import Caller
from controlplane.api.kms.shapes import crypto as shapes
from controlplane.api.kms.shapes.base import RecipientInfo
from controlplane.api.kms.shapes.enums import DataKeySpec, EncryptionAlgorithmSpec
from controlplane.api.services import Services
from controlplane.errors import (
    DryRunPassed,
    IncorrectKey,
    InvalidCiphertext,
    InvalidInput,
    KeyStoreNotFound,
    Unsupported,
)
from controlplane.schema.keys import Algorithm
from controlplane.schema.keystores import STANDARD
from controlplane.store.catalog import KeyRecord
from controlplane.usage import envelope, operations
from controlplane.usage.perform import Request

DATA_KEY_BYTES = {DataKeySpec.AES_256: 32, DataKeySpec.AES_128: 16}
MAX_CONTEXT_CHARACTERS = 8192


async def encrypt(at: Services, caller: Caller, request: shapes.EncryptRequest) -> shapes.EncryptResponse:
    spec = request.encryption_algorithm or EncryptionAlgorithmSpec.SYMMETRIC_DEFAULT
    algorithm = Algorithm(spec)
    context = _context(request.encryption_context, algorithm)

    async def work(record: KeyRecord) -> shapes.EncryptResponse:
        blob = await operations.encrypt(at.calls, record, request.plaintext, algorithm, context)
        _stop_if_dry(request.dry_run)
        return shapes.EncryptResponse(ciphertext_blob=blob, key_id=record.arn, encryption_algorithm=spec)

    return await at.usage.on_key(Request(caller, "Encrypt", context), request.key_id, work)


async def decrypt(at: Services, caller: Caller, request: shapes.DecryptRequest) -> shapes.DecryptResponse:
    blob = request.ciphertext_blob
    if blob is None:
        raise InvalidInput("CiphertextBlob must be specified.")
    _no_recipient(request.recipient)
    spec = request.encryption_algorithm or EncryptionAlgorithmSpec.SYMMETRIC_DEFAULT
    algorithm = Algorithm(spec)
    context = _context(request.encryption_context, algorithm)
    symmetric = algorithm is Algorithm.SYMMETRIC_DEFAULT

    def named_by_blob() -> KeyRecord:
        if not symmetric:
            raise InvalidInput(
                "KeyId is required to decrypt a ciphertext that was encrypted under an asymmetric KMS key."
            )
        record = at.catalog.key(caller.region, envelope.take_apart(blob).key_id)
        if record is None:
            # The key is not here (any more), or octets of the blob were changed: the same answer for both.
            raise InvalidCiphertext("")
        return record

    async def work(record: KeyRecord) -> shapes.DecryptResponse:
        if symmetric and envelope.take_apart(blob).key_id != record.key.status.key_id:
            raise IncorrectKey("The key ID in the request does not identify a CMK that can perform this operation.")
        plaintext, material_id = await operations.decrypt(at.calls, record, blob, algorithm, context)
        _stop_if_dry(request.dry_run)
        return shapes.DecryptResponse(
            key_id=record.arn,
            plaintext=plaintext,
            encryption_algorithm=spec,
            key_material_id=material_id,
        )

    return await at.usage.on_key(Request(caller, "Decrypt", context), request.key_id or named_by_blob, work)


async def generate_data_key(
    at: Services, caller: Caller, request: shapes.GenerateDataKeyRequest
) -> shapes.GenerateDataKeyResponse:
    _no_recipient(request.recipient)
    length = _data_key_length(request)
    context = _context(request.encryption_context, Algorithm.SYMMETRIC_DEFAULT)

    async def work(record: KeyRecord) -> shapes.GenerateDataKeyResponse:
        plaintext, blob = await operations.data_key(at.calls, record, length, context)
        _stop_if_dry(request.dry_run)
        return shapes.GenerateDataKeyResponse(
            ciphertext_blob=blob,
            plaintext=plaintext,
            key_id=record.arn,
            key_material_id=operations.current(record).material_id,
        )

    return await at.usage.on_key(Request(caller, "GenerateDataKey", context), request.key_id, work)


async def generate_random(
    at: Services, caller: Caller, request: shapes.GenerateRandomRequest
) -> shapes.GenerateRandomResponse:
    _no_recipient(request.recipient)
    length = request.number_of_bytes
    if length is None:
        raise InvalidInput("NumberOfBytes must be specified.")
    if request.custom_key_store_id is not None:
        raise KeyStoreNotFound(f"Custom key store {request.custom_key_store_id} does not exist.")

    async def work() -> shapes.GenerateRandomResponse:
        return shapes.GenerateRandomResponse(plaintext=await at.calls.random(STANDARD, length))

    return await at.usage.on_account(Request(caller, "GenerateRandom"), work)


def _context(context: dict[str, str] | None, algorithm: Algorithm) -> dict[str, str] | None:
    """The encryption context. Asymmetric algorithms have none; its size is bounded as in AWS."""
    if not context:
        return None
    if algorithm is not Algorithm.SYMMETRIC_DEFAULT:
        raise InvalidInput("EncryptionContext is valid only with the SYMMETRIC_DEFAULT algorithm.")
    if sum(len(name) + len(value) for name, value in context.items()) > MAX_CONTEXT_CHARACTERS:
        raise InvalidInput(f"EncryptionContext is longer than {MAX_CONTEXT_CHARACTERS} characters.")
    return context


def _data_key_length(request: shapes.GenerateDataKeyRequest) -> int:
    if (request.number_of_bytes is None) == (request.key_spec is None):
        raise InvalidInput("Please specify either number of bytes or key spec.")
    if request.key_spec is not None:
        return DATA_KEY_BYTES[request.key_spec]
    assert request.number_of_bytes is not None
    return request.number_of_bytes


def _no_recipient(recipient: RecipientInfo | None) -> None:
    if recipient is not None:
        raise Unsupported("Recipient (AWS Nitro Enclaves) is not supported by this version of Keystead.")


def _stop_if_dry(dry_run: bool | None) -> None:
    """The answer of a dry run leaves nothing behind; what was computed is dropped."""
    if dry_run:
        raise DryRunPassed("The request would have succeeded, but the DryRun option is set.")
