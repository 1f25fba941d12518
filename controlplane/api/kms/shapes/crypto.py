"""Shapes of cryptographic operations, as in the KMS service model. Used by its handlers."""

from __future__ import annotations

from controlplane.api.kms.shapes.base import (
    BackingKeyIdType,
    CiphertextType,
    CustomKeyStoreIdType,
    GrantTokenList,
    KeyIdType,
    NumberOfBytesType,
    PlaintextType,
    PublicKeyType,
    RecipientInfo,
    Shape,
)
from controlplane.api.kms.shapes.enums import (
    DataKeyPairSpec,
    DataKeySpec,
    DryRunModifierType,
    EncapsulationAlgorithmSpec,
    EncryptionAlgorithmSpec,
    KeyAgreementAlgorithmSpec,
    MacAlgorithmSpec,
    SigningAlgorithmSpec,
)
from controlplane.schema.keys import KeySpec, KeyUsage, MessageType, Origin


class DecapsulateRequest(Shape, kw_only=True):
    key_id: KeyIdType
    shared_secret_ciphertext_blob: CiphertextType
    encapsulation_algorithm: EncapsulationAlgorithmSpec
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None


class DecapsulateResponse(Shape, kw_only=True):
    key_id: KeyIdType
    shared_secret: PlaintextType
    encapsulation_algorithm: EncapsulationAlgorithmSpec


class DecryptRequest(Shape, kw_only=True):
    ciphertext_blob: CiphertextType | None = None
    encryption_context: dict[str, str] | None = None
    grant_tokens: GrantTokenList | None = None
    key_id: KeyIdType | None = None
    encryption_algorithm: EncryptionAlgorithmSpec | None = None
    recipient: RecipientInfo | None = None
    dry_run: bool | None = None
    dry_run_modifiers: list[DryRunModifierType] | None = None


class DecryptResponse(Shape, kw_only=True):
    key_id: KeyIdType
    plaintext: PlaintextType | None = None
    encryption_algorithm: EncryptionAlgorithmSpec
    ciphertext_for_recipient: CiphertextType | None = None
    key_material_id: BackingKeyIdType | None = None


class DeriveSharedSecretRequest(Shape, kw_only=True):
    key_id: KeyIdType
    key_agreement_algorithm: KeyAgreementAlgorithmSpec
    public_key: PublicKeyType
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None
    recipient: RecipientInfo | None = None


class DeriveSharedSecretResponse(Shape, kw_only=True):
    key_id: KeyIdType
    shared_secret: PlaintextType | None = None
    ciphertext_for_recipient: CiphertextType | None = None
    key_agreement_algorithm: KeyAgreementAlgorithmSpec
    key_origin: Origin


class EncapsulateRequest(Shape, kw_only=True):
    key_id: KeyIdType
    encapsulation_algorithm: EncapsulationAlgorithmSpec
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None


class EncapsulateResponse(Shape, kw_only=True):
    key_id: KeyIdType
    shared_secret: PlaintextType
    shared_secret_ciphertext_blob: CiphertextType
    encapsulation_algorithm: EncapsulationAlgorithmSpec


class EncryptRequest(Shape, kw_only=True):
    key_id: KeyIdType
    plaintext: PlaintextType
    encryption_context: dict[str, str] | None = None
    grant_tokens: GrantTokenList | None = None
    encryption_algorithm: EncryptionAlgorithmSpec | None = None
    dry_run: bool | None = None


class EncryptResponse(Shape, kw_only=True):
    ciphertext_blob: CiphertextType
    key_id: KeyIdType
    encryption_algorithm: EncryptionAlgorithmSpec


class GenerateDataKeyRequest(Shape, kw_only=True):
    key_id: KeyIdType
    encryption_context: dict[str, str] | None = None
    number_of_bytes: NumberOfBytesType | None = None
    key_spec: DataKeySpec | None = None
    grant_tokens: GrantTokenList | None = None
    recipient: RecipientInfo | None = None
    dry_run: bool | None = None


class GenerateDataKeyResponse(Shape, kw_only=True):
    ciphertext_blob: CiphertextType
    plaintext: PlaintextType | None = None
    key_id: KeyIdType
    ciphertext_for_recipient: CiphertextType | None = None
    key_material_id: BackingKeyIdType | None = None


class GenerateDataKeyPairRequest(Shape, kw_only=True):
    encryption_context: dict[str, str] | None = None
    key_id: KeyIdType
    key_pair_spec: DataKeyPairSpec
    grant_tokens: GrantTokenList | None = None
    recipient: RecipientInfo | None = None
    dry_run: bool | None = None


class GenerateDataKeyPairResponse(Shape, kw_only=True):
    private_key_ciphertext_blob: CiphertextType
    private_key_plaintext: PlaintextType | None = None
    public_key: PublicKeyType
    key_id: KeyIdType
    key_pair_spec: DataKeyPairSpec
    ciphertext_for_recipient: CiphertextType | None = None
    key_material_id: BackingKeyIdType | None = None


class GenerateDataKeyPairWithoutPlaintextRequest(Shape, kw_only=True):
    encryption_context: dict[str, str] | None = None
    key_id: KeyIdType
    key_pair_spec: DataKeyPairSpec
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None


class GenerateDataKeyPairWithoutPlaintextResponse(Shape, kw_only=True):
    private_key_ciphertext_blob: CiphertextType
    public_key: PublicKeyType
    key_id: KeyIdType
    key_pair_spec: DataKeyPairSpec
    key_material_id: BackingKeyIdType | None = None


class GenerateDataKeyWithoutPlaintextRequest(Shape, kw_only=True):
    key_id: KeyIdType
    encryption_context: dict[str, str] | None = None
    key_spec: DataKeySpec | None = None
    number_of_bytes: NumberOfBytesType | None = None
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None


class GenerateDataKeyWithoutPlaintextResponse(Shape, kw_only=True):
    ciphertext_blob: CiphertextType
    key_id: KeyIdType
    key_material_id: BackingKeyIdType | None = None


class GenerateMacRequest(Shape, kw_only=True):
    message: PlaintextType
    key_id: KeyIdType
    mac_algorithm: MacAlgorithmSpec
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None


class GenerateMacResponse(Shape, kw_only=True):
    mac: CiphertextType
    mac_algorithm: MacAlgorithmSpec
    key_id: KeyIdType


class GenerateRandomRequest(Shape, kw_only=True):
    number_of_bytes: NumberOfBytesType | None = None
    custom_key_store_id: CustomKeyStoreIdType | None = None
    recipient: RecipientInfo | None = None


class GenerateRandomResponse(Shape, kw_only=True):
    plaintext: PlaintextType | None = None
    ciphertext_for_recipient: CiphertextType | None = None


class GetPublicKeyRequest(Shape, kw_only=True):
    key_id: KeyIdType
    grant_tokens: GrantTokenList | None = None


class GetPublicKeyResponse(Shape, kw_only=True):
    key_id: KeyIdType
    public_key: PublicKeyType
    customer_master_key_spec: KeySpec
    key_spec: KeySpec
    key_usage: KeyUsage
    encryption_algorithms: list[EncryptionAlgorithmSpec] | None = None
    signing_algorithms: list[SigningAlgorithmSpec] | None = None
    key_agreement_algorithms: list[KeyAgreementAlgorithmSpec] | None = None
    encapsulation_algorithms: list[EncapsulationAlgorithmSpec] | None = None


class ReEncryptRequest(Shape, kw_only=True):
    ciphertext_blob: CiphertextType | None = None
    source_encryption_context: dict[str, str] | None = None
    source_key_id: KeyIdType | None = None
    destination_key_id: KeyIdType
    destination_encryption_context: dict[str, str] | None = None
    source_encryption_algorithm: EncryptionAlgorithmSpec | None = None
    destination_encryption_algorithm: EncryptionAlgorithmSpec | None = None
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None
    dry_run_modifiers: list[DryRunModifierType] | None = None


class ReEncryptResponse(Shape, kw_only=True):
    ciphertext_blob: CiphertextType
    source_key_id: KeyIdType
    key_id: KeyIdType
    source_encryption_algorithm: EncryptionAlgorithmSpec
    destination_encryption_algorithm: EncryptionAlgorithmSpec
    source_key_material_id: BackingKeyIdType | None = None
    destination_key_material_id: BackingKeyIdType | None = None


class SignRequest(Shape, kw_only=True):
    key_id: KeyIdType
    message: PlaintextType
    message_type: MessageType | None = None
    grant_tokens: GrantTokenList | None = None
    signing_algorithm: SigningAlgorithmSpec
    dry_run: bool | None = None


class SignResponse(Shape, kw_only=True):
    key_id: KeyIdType
    signature: CiphertextType
    signing_algorithm: SigningAlgorithmSpec


class VerifyRequest(Shape, kw_only=True):
    key_id: KeyIdType
    message: PlaintextType
    message_type: MessageType | None = None
    signature: CiphertextType
    signing_algorithm: SigningAlgorithmSpec
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None


class VerifyResponse(Shape, kw_only=True):
    key_id: KeyIdType
    signature_valid: bool
    signing_algorithm: SigningAlgorithmSpec


class VerifyMacRequest(Shape, kw_only=True):
    message: PlaintextType
    key_id: KeyIdType
    mac_algorithm: MacAlgorithmSpec
    mac: CiphertextType
    grant_tokens: GrantTokenList | None = None
    dry_run: bool | None = None


class VerifyMacResponse(Shape, kw_only=True):
    key_id: KeyIdType
    mac_valid: bool
    mac_algorithm: MacAlgorithmSpec
