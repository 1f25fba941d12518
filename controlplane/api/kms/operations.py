"""The one table of the KMS door: operation name to its decoder and handler.

A new operation is a line here, its shapes, and a handler. Decoders are compiled once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from controlplane.access.caller import Caller
from controlplane.api.kms import (
    agreement,
    aliases,
    custom_key_stores,
    data_keys,
    encryption,
    grants,
    imports,
    keys,
    multiregion,
    policies,
    rotation,
    signing,
    tags,
)
from controlplane.api.kms.shapes import aliases as alias_shapes
from controlplane.api.kms.shapes import crypto as crypto_shapes
from controlplane.api.kms.shapes import custom_key_stores as store_shapes
from controlplane.api.kms.shapes import grants as grant_shapes
from controlplane.api.kms.shapes import keys as key_shapes
from controlplane.api.kms.shapes import materials as material_shapes
from controlplane.api.kms.shapes import policies as policy_shapes
from controlplane.api.kms.shapes.base import Shape
from controlplane.api.kms.validation import refusal
from controlplane.api.services import Services

Handler = Callable[[Services, Caller, Any], Awaitable[Shape | None]]


class Operation(msgspec.Struct, frozen=True):
    """How one operation is decoded and handled."""

    name: str
    request: type[Shape]
    handle: Handler
    decode: Callable[[bytes], Any]

    def read(self, body: bytes) -> Any:
        """The request in a body. Raises :class:`InvalidInput` with every constraint that it breaks."""
        try:
            return self.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise refusal(self.request, body) from None


def _operation(name: str, request: type[Shape], handle: Handler) -> Operation:
    return Operation(name, request, handle, msgspec.json.Decoder(request).decode)


OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        _operation("CancelKeyDeletion", key_shapes.CancelKeyDeletionRequest, keys.cancel_key_deletion),
        _operation(
            "ConnectCustomKeyStore",
            store_shapes.ConnectCustomKeyStoreRequest,
            custom_key_stores.connect_custom_key_store,
        ),
        _operation("CreateAlias", alias_shapes.CreateAliasRequest, aliases.create_alias),
        _operation(
            "CreateCustomKeyStore", store_shapes.CreateCustomKeyStoreRequest, custom_key_stores.create_custom_key_store
        ),
        _operation("CreateGrant", grant_shapes.CreateGrantRequest, grants.create_grant),
        _operation("CreateKey", key_shapes.CreateKeyRequest, keys.create_key),
        _operation("Decapsulate", crypto_shapes.DecapsulateRequest, agreement.decapsulate),
        _operation("Decrypt", crypto_shapes.DecryptRequest, encryption.decrypt),
        _operation("DeleteAlias", alias_shapes.DeleteAliasRequest, aliases.delete_alias),
        _operation(
            "DeleteCustomKeyStore", store_shapes.DeleteCustomKeyStoreRequest, custom_key_stores.delete_custom_key_store
        ),
        _operation("DeriveSharedSecret", crypto_shapes.DeriveSharedSecretRequest, agreement.derive_shared_secret),
        _operation(
            "DeleteImportedKeyMaterial",
            material_shapes.DeleteImportedKeyMaterialRequest,
            imports.delete_imported_key_material,
        ),
        _operation(
            "GetParametersForImport", material_shapes.GetParametersForImportRequest, imports.get_parameters_for_import
        ),
        _operation("ImportKeyMaterial", material_shapes.ImportKeyMaterialRequest, imports.import_key_material),
        _operation(
            "DescribeCustomKeyStores",
            store_shapes.DescribeCustomKeyStoresRequest,
            custom_key_stores.describe_custom_key_stores,
        ),
        _operation("DescribeKey", key_shapes.DescribeKeyRequest, keys.describe_key),
        _operation("DisableKey", key_shapes.DisableKeyRequest, keys.disable_key),
        _operation("DisableKeyRotation", material_shapes.DisableKeyRotationRequest, rotation.disable_key_rotation),
        _operation(
            "DisconnectCustomKeyStore",
            store_shapes.DisconnectCustomKeyStoreRequest,
            custom_key_stores.disconnect_custom_key_store,
        ),
        _operation("EnableKey", key_shapes.EnableKeyRequest, keys.enable_key),
        _operation("EnableKeyRotation", material_shapes.EnableKeyRotationRequest, rotation.enable_key_rotation),
        _operation("Encapsulate", crypto_shapes.EncapsulateRequest, agreement.encapsulate),
        _operation("Encrypt", crypto_shapes.EncryptRequest, encryption.encrypt),
        _operation("GenerateDataKey", crypto_shapes.GenerateDataKeyRequest, data_keys.generate_data_key),
        _operation("GenerateDataKeyPair", crypto_shapes.GenerateDataKeyPairRequest, data_keys.generate_data_key_pair),
        _operation(
            "GenerateDataKeyPairWithoutPlaintext",
            crypto_shapes.GenerateDataKeyPairWithoutPlaintextRequest,
            data_keys.generate_data_key_pair_without_plaintext,
        ),
        _operation(
            "GenerateDataKeyWithoutPlaintext",
            crypto_shapes.GenerateDataKeyWithoutPlaintextRequest,
            data_keys.generate_data_key_without_plaintext,
        ),
        _operation("GenerateMac", crypto_shapes.GenerateMacRequest, signing.generate_mac),
        _operation("GenerateRandom", crypto_shapes.GenerateRandomRequest, data_keys.generate_random),
        _operation("GetKeyLastUsage", key_shapes.GetKeyLastUsageRequest, keys.get_key_last_usage),
        _operation("GetKeyPolicy", policy_shapes.GetKeyPolicyRequest, policies.get_key_policy),
        _operation(
            "GetKeyRotationStatus", material_shapes.GetKeyRotationStatusRequest, rotation.get_key_rotation_status
        ),
        _operation("GetPublicKey", crypto_shapes.GetPublicKeyRequest, signing.get_public_key),
        _operation("ListAliases", alias_shapes.ListAliasesRequest, aliases.list_aliases),
        _operation("ListGrants", grant_shapes.ListGrantsRequest, grants.list_grants),
        _operation("ListKeyPolicies", policy_shapes.ListKeyPoliciesRequest, policies.list_key_policies),
        _operation("ListKeyRotations", material_shapes.ListKeyRotationsRequest, rotation.list_key_rotations),
        _operation("ListKeys", key_shapes.ListKeysRequest, keys.list_keys),
        _operation("ListResourceTags", key_shapes.ListResourceTagsRequest, tags.list_resource_tags),
        _operation("ListRetirableGrants", grant_shapes.ListRetirableGrantsRequest, grants.list_retirable_grants),
        _operation("PutKeyPolicy", policy_shapes.PutKeyPolicyRequest, policies.put_key_policy),
        _operation("ReEncrypt", crypto_shapes.ReEncryptRequest, encryption.re_encrypt),
        _operation("ReplicateKey", key_shapes.ReplicateKeyRequest, multiregion.replicate_key),
        _operation("RetireGrant", grant_shapes.RetireGrantRequest, grants.retire_grant),
        _operation("RevokeGrant", grant_shapes.RevokeGrantRequest, grants.revoke_grant),
        _operation("RotateKeyOnDemand", material_shapes.RotateKeyOnDemandRequest, rotation.rotate_key_on_demand),
        _operation("ScheduleKeyDeletion", key_shapes.ScheduleKeyDeletionRequest, keys.schedule_key_deletion),
        _operation("Sign", crypto_shapes.SignRequest, signing.sign),
        _operation("TagResource", key_shapes.TagResourceRequest, tags.tag_resource),
        _operation("UntagResource", key_shapes.UntagResourceRequest, tags.untag_resource),
        _operation("UpdateAlias", alias_shapes.UpdateAliasRequest, aliases.update_alias),
        _operation(
            "UpdateCustomKeyStore", store_shapes.UpdateCustomKeyStoreRequest, custom_key_stores.update_custom_key_store
        ),
        _operation("UpdateKeyDescription", key_shapes.UpdateKeyDescriptionRequest, keys.update_key_description),
        _operation("UpdatePrimaryRegion", key_shapes.UpdatePrimaryRegionRequest, multiregion.update_primary_region),
        _operation("Verify", crypto_shapes.VerifyRequest, signing.verify),
        _operation("VerifyMac", crypto_shapes.VerifyMacRequest, signing.verify_mac),
    )
}
