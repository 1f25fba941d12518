"""DeriveSharedSecret, Encapsulate, Decapsulate: secrets that two parties share.

Source: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

from controlplane.access.caller import Caller
from controlplane.api.kms.recipients import answered, attested, with_attestation
from controlplane.api.kms.requests import AGREEMENT, use
from controlplane.api.kms.shapes import crypto as shapes
from controlplane.api.services import Services
from controlplane.store.catalog import KeyRecord
from controlplane.usage import operations


async def derive_shared_secret(
    at: Services, caller: Caller, request: shapes.DeriveSharedSecretRequest
) -> shapes.DeriveSharedSecretResponse:
    attestation = await attested(at, request.recipient)

    async def work(record: KeyRecord) -> shapes.DeriveSharedSecretResponse:
        origin = record.key.spec.origin
        assert origin is not None
        secret = await operations.agree(at.calls, record, request.public_key)
        operations.stop_if_dry(bool(request.dry_run))
        shown, sealed = answered(secret.expose(), attestation)
        return shapes.DeriveSharedSecretResponse(
            key_id=record.arn,
            shared_secret=shown,
            ciphertext_for_recipient=sealed,
            key_agreement_algorithm=request.key_agreement_algorithm,
            key_origin=origin,
        )

    what = use(caller, "DeriveSharedSecret", request.grant_tokens, with_attestation(AGREEMENT, attestation))
    return await at.usage.on_key(what, request.key_id, work)


async def encapsulate(at: Services, caller: Caller, request: shapes.EncapsulateRequest) -> shapes.EncapsulateResponse:
    async def work(record: KeyRecord) -> shapes.EncapsulateResponse:
        blob, secret = await operations.encapsulate(at.calls, record, dry_run=bool(request.dry_run))
        return shapes.EncapsulateResponse(
            key_id=record.arn,
            shared_secret=secret.expose(),
            shared_secret_ciphertext_blob=blob,
            encapsulation_algorithm=request.encapsulation_algorithm,
        )

    return await at.usage.on_key(use(caller, "Encapsulate", request.grant_tokens), request.key_id, work)


async def decapsulate(at: Services, caller: Caller, request: shapes.DecapsulateRequest) -> shapes.DecapsulateResponse:
    async def work(record: KeyRecord) -> shapes.DecapsulateResponse:
        secret = await operations.decapsulate(at.calls, record, request.shared_secret_ciphertext_blob)
        operations.stop_if_dry(bool(request.dry_run))
        return shapes.DecapsulateResponse(
            key_id=record.arn,
            shared_secret=secret.expose(),
            encapsulation_algorithm=request.encapsulation_algorithm,
        )

    return await at.usage.on_key(use(caller, "Decapsulate", request.grant_tokens), request.key_id, work)
