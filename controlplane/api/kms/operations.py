"""The one table of the KMS door: operation name to its decoder and handler.

A new operation is a line here, its shapes, and a handler. Decoders are compiled once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from controlplane.access.caller import Caller
from controlplane.api.kms import aliases, crypto, keys, shapes
from controlplane.api.services import Services

Handler = Callable[[Services, Caller, Any], Awaitable[shapes.Shape | None]]


class Operation(msgspec.Struct, frozen=True):
    """How one operation is decoded and handled."""

    name: str
    request: type[shapes.Shape]
    handle: Handler
    decode: Callable[[bytes], Any]


def _operation(name: str, request: type[shapes.Shape], handle: Handler) -> Operation:
    return Operation(name, request, handle, msgspec.json.Decoder(request).decode)


OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        _operation("CancelKeyDeletion", shapes.KeyIdRequest, keys.cancel_key_deletion),
        _operation("CreateAlias", shapes.CreateAliasRequest, aliases.create_alias),
        _operation("CreateKey", shapes.CreateKeyRequest, keys.create_key),
        _operation("Decrypt", shapes.DecryptRequest, crypto.decrypt),
        _operation("DeleteAlias", shapes.DeleteAliasRequest, aliases.delete_alias),
        _operation("DescribeKey", shapes.DescribeKeyRequest, keys.describe_key),
        _operation("DisableKey", shapes.KeyIdRequest, keys.disable_key),
        _operation("EnableKey", shapes.KeyIdRequest, keys.enable_key),
        _operation("Encrypt", shapes.EncryptRequest, crypto.encrypt),
        _operation("GenerateDataKey", shapes.GenerateDataKeyRequest, crypto.generate_data_key),
        _operation("GenerateRandom", shapes.GenerateRandomRequest, crypto.generate_random),
        _operation("GetKeyPolicy", shapes.GetKeyPolicyRequest, keys.get_key_policy),
        _operation("ListAliases", shapes.ListAliasesRequest, aliases.list_aliases),
        _operation("ListKeys", shapes.ListKeysRequest, keys.list_keys),
        _operation("ListResourceTags", shapes.ListResourceTagsRequest, keys.list_resource_tags),
        _operation("ScheduleKeyDeletion", shapes.ScheduleKeyDeletionRequest, keys.schedule_key_deletion),
    )
}
