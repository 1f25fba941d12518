"""Encrypt, Decrypt, ReEncrypt.

Source: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from controlplane.access.caller import Caller
from controlplane.api.kms.recipients import answered, attested, with_attestation
from controlplane.api.kms.requests import ENCRYPTION, context_for, use
from controlplane.api.kms.shapes import crypto as shapes
from controlplane.api.kms.shapes.enums import DryRunModifierType, EncryptionAlgorithmSpec
from controlplane.api.services import Services
from controlplane.errors import InvalidCiphertext, InvalidInput
from controlplane.schema.keys import Algorithm, KeyUsage
from controlplane.store.catalog import KeyRecord
from controlplane.usage import envelope, operations

_DEFAULT = EncryptionAlgorithmSpec.SYMMETRIC_DEFAULT


async def encrypt(at: Services, caller: Caller, request: shapes.EncryptRequest) -> shapes.EncryptResponse:
    spec = request.encryption_algorithm or _DEFAULT
    algorithm = Algorithm(spec)
    context = context_for(request.encryption_context, algorithm)

    async def work(record: KeyRecord) -> shapes.EncryptResponse:
        blob = await operations.encrypt(
            at.calls, record, request.plaintext, algorithm, context, dry_run=bool(request.dry_run)
        )
        return shapes.EncryptResponse(ciphertext_blob=blob, key_id=record.arn, encryption_algorithm=spec)

    what = use(caller, "Encrypt", request.grant_tokens, ENCRYPTION[algorithm], context)
    return await at.usage.on_key(what, request.key_id, work)


async def decrypt(at: Services, caller: Caller, request: shapes.DecryptRequest) -> shapes.DecryptResponse:
    spec = request.encryption_algorithm or _DEFAULT
    algorithm = Algorithm(spec)
    blob = _blob(request.ciphertext_blob, request.dry_run, request.dry_run_modifiers)
    context = context_for(request.encryption_context, algorithm)
    attestation = await attested(at, request.recipient)

    async def work(record: KeyRecord) -> shapes.DecryptResponse:
        if blob is None:
            operations.check(record, KeyUsage.ENCRYPT_DECRYPT, algorithm, "Decrypt")
            raise operations.dry_run_passed()
        plaintext, material_id = await operations.decrypt(at.calls, record, blob, algorithm, context)
        operations.stop_if_dry(bool(request.dry_run))
        shown, sealed = answered(plaintext, attestation)
        return shapes.DecryptResponse(
            key_id=record.arn,
            plaintext=shown,
            encryption_algorithm=spec,
            ciphertext_for_recipient=sealed,
            key_material_id=material_id if sealed is None else None,
        )

    conditions = with_attestation(ENCRYPTION[algorithm], attestation)
    what = use(caller, "Decrypt", request.grant_tokens, conditions, context)
    return await at.usage.on_key(what, request.key_id or _named_by(at, caller, blob, algorithm, "KeyId"), work)


async def re_encrypt(at: Services, caller: Caller, request: shapes.ReEncryptRequest) -> shapes.ReEncryptResponse:
    source_spec = request.source_encryption_algorithm or _DEFAULT
    destination_spec = request.destination_encryption_algorithm or _DEFAULT
    source_algorithm, algorithm = Algorithm(source_spec), Algorithm(destination_spec)
    blob = _blob(request.ciphertext_blob, request.dry_run, request.dry_run_modifiers)
    source_context = context_for(request.source_encryption_context, source_algorithm, "SourceEncryptionContext")
    context = context_for(request.destination_encryption_context, algorithm, "DestinationEncryptionContext")

    async def work(source: KeyRecord, destination: KeyRecord) -> shapes.ReEncryptResponse:
        operations.check(destination, KeyUsage.ENCRYPT_DECRYPT, algorithm, "ReEncrypt")
        if blob is None:
            operations.check(source, KeyUsage.ENCRYPT_DECRYPT, source_algorithm, "ReEncrypt")
            raise operations.dry_run_passed()
        plaintext, material_id = await operations.decrypt(
            at.calls, source, blob, source_algorithm, source_context, operation="ReEncrypt"
        )
        made = await operations.encrypt(
            at.calls,
            destination,
            plaintext,
            algorithm,
            context,
            operation="ReEncrypt",
            dry_run=bool(request.dry_run),
        )
        symmetric = algorithm is Algorithm.SYMMETRIC_DEFAULT
        return shapes.ReEncryptResponse(
            ciphertext_blob=made,
            source_key_id=source.arn,
            key_id=destination.arn,
            source_encryption_algorithm=source_spec,
            destination_encryption_algorithm=destination_spec,
            source_key_material_id=material_id,
            destination_key_material_id=operations.current(destination).material_id if symmetric else None,
        )

    tokens = request.grant_tokens
    return await at.usage.on_two_keys(
        use(caller, "ReEncrypt", tokens, ENCRYPTION[source_algorithm], source_context, "kms:ReEncryptFrom"),
        request.source_key_id or _named_by(at, caller, blob, source_algorithm, "SourceKeyId"),
        use(caller, "ReEncrypt", tokens, ENCRYPTION[algorithm], context, "kms:ReEncryptTo"),
        request.destination_key_id,
        work,
    )


def _blob(blob: bytes | None, dry_run: bool | None, modifiers: Collection[DryRunModifierType] | None) -> bytes | None:
    """The ciphertext to look at; None in a dry run that asks not to."""
    if dry_run and modifiers and DryRunModifierType.IGNORE_CIPHERTEXT in modifiers:
        return None
    if blob is None:
        raise InvalidInput(
            "CiphertextBlob is required, except when DryRun is true and DryRunModifiers holds IGNORE_CIPHERTEXT."
        )
    return blob


def _named_by(
    at: Services, caller: Caller, blob: bytes | None, algorithm: Algorithm, member: str
) -> Callable[[], KeyRecord]:
    """Finds the key that a symmetric blob names."""

    def find() -> KeyRecord:
        if blob is None:
            raise InvalidInput(f"{member} is required when DryRunModifiers holds IGNORE_CIPHERTEXT.")
        if algorithm is not Algorithm.SYMMETRIC_DEFAULT:
            raise InvalidInput(
                f"{member} is required to decrypt a ciphertext that was encrypted under an asymmetric KMS key."
            )
        record = at.catalog.key(caller.region, envelope.take_apart(blob).key_id)
        if record is None:
            # The key is not here (any more), or octets of the blob were changed: the same answer for both.
            raise InvalidCiphertext("")
        return record

    return find
