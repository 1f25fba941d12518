"""The ``Recipient`` of a request: an attested enclave to whose key the answer is sealed.

Used by the handlers of Decrypt, GenerateDataKey, GenerateDataKeyPair, GenerateRandom and DeriveSharedSecret. With a
recipient the answer holds CiphertextForRecipient and no plaintext.
"""

from __future__ import annotations

from controlplane.api.kms.requests import Conditions
from controlplane.api.kms.shapes.base import RecipientInfo
from controlplane.api.services import Services
from controlplane.domain.attestation import Attestation, attestation_conditions
from controlplane.errors import InvalidInput
from controlplane.usage.recipient import seal_for


async def attested(at: Services, recipient: RecipientInfo | None) -> Attestation | None:
    """What the recipient's document says, or None for a request without one. Raises :class:`InvalidInput`."""
    if recipient is None:
        return None
    if recipient.key_encryption_algorithm is None or recipient.attestation_document is None:
        raise InvalidInput("Recipient needs an AttestationDocument and the KeyEncryptionAlgorithm RSAES_OAEP_SHA_256.")
    return await at.attestations.verified(recipient.attestation_document)


def with_attestation(conditions: Conditions | None, attestation: Attestation | None) -> Conditions | None:
    """The condition keys of a request, with those of its recipient."""
    return conditions if attestation is None else {**(conditions or {}), **attestation_conditions(attestation)}


def answered(plaintext: bytes, attestation: Attestation | None) -> tuple[bytes | None, bytes | None]:
    """Plaintext and CiphertextForRecipient of an answer: exactly one of them is there."""
    return (plaintext, None) if attestation is None else (None, seal_for(attestation.public_key, plaintext))
