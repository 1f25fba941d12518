"""GenerateDataKey, GenerateDataKeyPair, both without plaintext, and GenerateRandom.

Source: the AWS KMS API reference of each operation.
"""

from __future__ import annotations

from typing import Final

from controlplane.access.caller import Caller
from controlplane.api.kms.keys import custom_key_store
from controlplane.api.kms.recipients import answered, attested, with_attestation
from controlplane.api.kms.requests import ENCRYPTION, Conditions, context_for, use
from controlplane.api.kms.shapes import crypto as shapes
from controlplane.api.kms.shapes.enums import DataKeyPairSpec, DataKeySpec
from controlplane.api.services import Services
from controlplane.domain import capabilities
from controlplane.domain.attestation import Attestation
from controlplane.errors import InvalidInput, InvalidKeyStoreState, Unsupported
from controlplane.schema.keys import Algorithm, KeySpec, Origin
from controlplane.schema.keystores import STANDARD, ConnectionState
from controlplane.store.catalog import KeyRecord
from controlplane.usage import operations
from plugins.sdk import KeyPair

DATA_KEY_BYTES: Final = {DataKeySpec.AES_256: 32, DataKeySpec.AES_128: 16}

_SYMMETRIC = Algorithm.SYMMETRIC_DEFAULT
_OF_PAIRS: Final[dict[DataKeyPairSpec, Conditions]] = {
    spec: {**ENCRYPTION[_SYMMETRIC], "kms:DataKeyPairSpec": spec.value} for spec in DataKeyPairSpec
}


async def generate_data_key(
    at: Services, caller: Caller, request: shapes.GenerateDataKeyRequest
) -> shapes.GenerateDataKeyResponse:
    attestation = await attested(at, request.recipient)
    record, plaintext, blob = await _data_key(at, caller, "GenerateDataKey", request, attestation)
    shown, sealed = answered(plaintext, attestation)
    return shapes.GenerateDataKeyResponse(
        ciphertext_blob=blob,
        plaintext=shown,
        key_id=record.arn,
        ciphertext_for_recipient=sealed,
        key_material_id=operations.current(record).material_id if sealed is None else None,
    )


async def generate_data_key_without_plaintext(
    at: Services, caller: Caller, request: shapes.GenerateDataKeyWithoutPlaintextRequest
) -> shapes.GenerateDataKeyWithoutPlaintextResponse:
    record, _, blob = await _data_key(at, caller, "GenerateDataKeyWithoutPlaintext", request)
    return shapes.GenerateDataKeyWithoutPlaintextResponse(
        ciphertext_blob=blob, key_id=record.arn, key_material_id=operations.current(record).material_id
    )


async def generate_data_key_pair(
    at: Services, caller: Caller, request: shapes.GenerateDataKeyPairRequest
) -> shapes.GenerateDataKeyPairResponse:
    attestation = await attested(at, request.recipient)
    record, pair, blob = await _data_key_pair(at, caller, "GenerateDataKeyPair", request, attestation)
    shown, sealed = answered(pair.private_key.expose(), attestation)
    return shapes.GenerateDataKeyPairResponse(
        private_key_ciphertext_blob=blob,
        private_key_plaintext=shown,
        ciphertext_for_recipient=sealed,
        public_key=pair.public_key,
        key_id=record.arn,
        key_pair_spec=request.key_pair_spec,
        key_material_id=operations.current(record).material_id,
    )


async def generate_data_key_pair_without_plaintext(
    at: Services, caller: Caller, request: shapes.GenerateDataKeyPairWithoutPlaintextRequest
) -> shapes.GenerateDataKeyPairWithoutPlaintextResponse:
    record, pair, blob = await _data_key_pair(at, caller, "GenerateDataKeyPairWithoutPlaintext", request)
    return shapes.GenerateDataKeyPairWithoutPlaintextResponse(
        private_key_ciphertext_blob=blob,
        public_key=pair.public_key,
        key_id=record.arn,
        key_pair_spec=request.key_pair_spec,
        key_material_id=operations.current(record).material_id,
    )


async def generate_random(
    at: Services, caller: Caller, request: shapes.GenerateRandomRequest
) -> shapes.GenerateRandomResponse:
    length = request.number_of_bytes
    if length is None:
        raise InvalidInput("NumberOfBytes is required.")
    attestation = await attested(at, request.recipient)

    async def work() -> shapes.GenerateRandomResponse:
        store = _random_source(at, request.custom_key_store_id)
        shown, sealed = answered(await at.calls.random(store, length), attestation)
        return shapes.GenerateRandomResponse(plaintext=shown, ciphertext_for_recipient=sealed)

    what = use(caller, "GenerateRandom", None, with_attestation(None, attestation))
    return await at.usage.on_account(what, work)


# ---- inside ----------------------------------------------------------------------------------------------------------


def _random_source(at: Services, custom_key_store_id: str | None) -> str:
    """The name of the key store whose generator is asked for."""
    if custom_key_store_id is None:
        return STANDARD
    store = custom_key_store(at, custom_key_store_id)
    if Origin.EXTERNAL_KEY_STORE in capabilities.rules_for(store.spec.type).origins:
        raise Unsupported("GenerateRandom does not support external key stores.")
    if store.status.connection is not ConnectionState.CONNECTED:
        raise InvalidKeyStoreState(
            f"Custom key store {custom_key_store_id} is {store.status.connection}: connect it to generate random bytes."
        )
    return store.metadata.name


async def _data_key(
    at: Services,
    caller: Caller,
    operation: str,
    request: shapes.GenerateDataKeyRequest | shapes.GenerateDataKeyWithoutPlaintextRequest,
    attestation: Attestation | None = None,
) -> tuple[KeyRecord, bytes, bytes]:
    """The key, a fresh data key, and its ciphertext."""
    if (request.number_of_bytes is None) == (request.key_spec is None):
        raise InvalidInput("Please specify either number of bytes or key spec.")
    length = DATA_KEY_BYTES[request.key_spec] if request.key_spec is not None else request.number_of_bytes
    assert length is not None
    context = context_for(request.encryption_context, _SYMMETRIC)

    async def work(record: KeyRecord) -> tuple[KeyRecord, bytes, bytes]:
        plaintext, blob = await operations.data_key(
            at.calls, record, length, context, operation=operation, dry_run=bool(request.dry_run)
        )
        return record, plaintext, blob

    conditions = with_attestation(ENCRYPTION[_SYMMETRIC], attestation)
    what = use(caller, operation, request.grant_tokens, conditions, context)
    return await at.usage.on_key(what, request.key_id, work)


async def _data_key_pair(
    at: Services,
    caller: Caller,
    operation: str,
    request: shapes.GenerateDataKeyPairRequest | shapes.GenerateDataKeyPairWithoutPlaintextRequest,
    attestation: Attestation | None = None,
) -> tuple[KeyRecord, KeyPair, bytes]:
    """The key, a fresh key pair, and the ciphertext of its private key."""
    pair_spec = KeySpec(request.key_pair_spec)
    context = context_for(request.encryption_context, _SYMMETRIC)

    async def work(record: KeyRecord) -> tuple[KeyRecord, KeyPair, bytes]:
        if pair_spec is KeySpec.SM2:
            raise Unsupported("SM2 key specs are available in China Regions only.")
        pair, blob = await operations.data_key_pair(
            at.calls, record, pair_spec, context, operation=operation, dry_run=bool(request.dry_run)
        )
        return record, pair, blob

    conditions = with_attestation(_OF_PAIRS[request.key_pair_spec], attestation)
    what = use(caller, operation, request.grant_tokens, conditions, context)
    return await at.usage.on_key(what, request.key_id, work)
