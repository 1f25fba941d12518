"""Sign, Verify, GetPublicKey, GenerateMac, VerifyMac.

Source: the AWS KMS API reference of each operation. A signature or MAC that does not verify is an exception, never an
answer that says false.
"""

from __future__ import annotations

from controlplane.access.caller import Caller
from controlplane.api.kms.keys import ALGORITHM_MEMBER
from controlplane.api.kms.requests import MAC, SIGNING, use
from controlplane.api.kms.shapes import crypto as shapes
from controlplane.api.services import Services
from controlplane.domain import capabilities
from controlplane.schema.keys import Algorithm, MessageType
from controlplane.store.catalog import KeyRecord
from controlplane.usage import operations


async def sign(at: Services, caller: Caller, request: shapes.SignRequest) -> shapes.SignResponse:
    algorithm, message_type = Algorithm(request.signing_algorithm), request.message_type or MessageType.RAW

    async def work(record: KeyRecord) -> shapes.SignResponse:
        signature = await operations.sign(
            at.calls, record, algorithm, message_type, request.message, dry_run=bool(request.dry_run)
        )
        return shapes.SignResponse(key_id=record.arn, signature=signature, signing_algorithm=request.signing_algorithm)

    what = use(caller, "Sign", request.grant_tokens, SIGNING[algorithm, message_type])
    return await at.usage.on_key(what, request.key_id, work)


async def verify(at: Services, caller: Caller, request: shapes.VerifyRequest) -> shapes.VerifyResponse:
    algorithm, message_type = Algorithm(request.signing_algorithm), request.message_type or MessageType.RAW

    async def work(record: KeyRecord) -> shapes.VerifyResponse:
        await operations.verify(at.calls, record, algorithm, message_type, request.message, request.signature)
        operations.stop_if_dry(bool(request.dry_run))
        return shapes.VerifyResponse(
            key_id=record.arn, signature_valid=True, signing_algorithm=request.signing_algorithm
        )

    what = use(caller, "Verify", request.grant_tokens, SIGNING[algorithm, message_type])
    return await at.usage.on_key(what, request.key_id, work)


async def get_public_key(
    at: Services, caller: Caller, request: shapes.GetPublicKeyRequest
) -> shapes.GetPublicKeyResponse:
    async def work(record: KeyRecord) -> shapes.GetPublicKeyResponse:
        spec = record.key.spec
        assert spec.key_usage is not None
        answer = shapes.GetPublicKeyResponse(
            key_id=record.arn,
            public_key=operations.public_key(record),
            customer_master_key_spec=spec.key_spec,
            key_spec=spec.key_spec,
            key_usage=spec.key_usage,
        )
        setattr(answer, ALGORITHM_MEMBER[spec.key_usage], list(capabilities.algorithms(spec.key_spec, spec.key_usage)))
        return answer

    return await at.usage.on_key(use(caller, "GetPublicKey", request.grant_tokens), request.key_id, work)


async def generate_mac(at: Services, caller: Caller, request: shapes.GenerateMacRequest) -> shapes.GenerateMacResponse:
    algorithm = Algorithm(request.mac_algorithm)

    async def work(record: KeyRecord) -> shapes.GenerateMacResponse:
        mac = await operations.generate_mac(at.calls, record, algorithm, request.message, dry_run=bool(request.dry_run))
        return shapes.GenerateMacResponse(mac=mac, mac_algorithm=request.mac_algorithm, key_id=record.arn)

    what = use(caller, "GenerateMac", request.grant_tokens, MAC[algorithm])
    return await at.usage.on_key(what, request.key_id, work)


async def verify_mac(at: Services, caller: Caller, request: shapes.VerifyMacRequest) -> shapes.VerifyMacResponse:
    algorithm = Algorithm(request.mac_algorithm)

    async def work(record: KeyRecord) -> shapes.VerifyMacResponse:
        await operations.verify_mac(at.calls, record, algorithm, request.message, request.mac)
        operations.stop_if_dry(bool(request.dry_run))
        return shapes.VerifyMacResponse(key_id=record.arn, mac_valid=True, mac_algorithm=request.mac_algorithm)

    what = use(caller, "VerifyMac", request.grant_tokens, MAC[algorithm])
    return await at.usage.on_key(what, request.key_id, work)
