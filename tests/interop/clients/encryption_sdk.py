"""The AWS Encryption SDK against a server whose URL is the first argument; the others are key ARNs. Prints JSON."""

import json
import sys

import aws_encryption_sdk
import botocore.session
from aws_encryption_sdk import CommitmentPolicy, StrictAwsKmsMasterKeyProvider


class Session(botocore.session.Session):
    """Every client of this session talks to the server under test."""

    def create_client(self, *args, **kwargs):
        return super().create_client(*args, **{**kwargs, "endpoint_url": sys.argv[1]})


def provider(*arns):
    return StrictAwsKmsMasterKeyProvider(key_ids=list(arns), botocore_session=Session())


first, second = sys.argv[2:4]
client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
plaintext = b"a message" * 1000
message, header = client.encrypt(
    source=plaintext, key_provider=provider(first, second), encryption_context={"purpose": "test"}
)
told = {"keys": len(header.encrypted_data_keys)}
for name, arn in (("first", first), ("second", second)):
    opened, header = client.decrypt(source=message, key_provider=provider(arn))
    told[name] = opened == plaintext and header.encryption_context["purpose"] == "test"
try:
    client.decrypt(source=message[:-1] + bytes([message[-1] ^ 1]), key_provider=provider(first))
    told["damaged"] = "accepted"
except Exception as error:
    told["damaged"] = type(error).__name__
print(json.dumps(told))
