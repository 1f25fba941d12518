"""The terraform command line with the real AWS provider: ``examples/terraform``, looked at over the KMS API on its way.

The provider comes from a filesystem mirror whose directory is in ``KEYSTEAD_TERRAFORM_MIRROR``; ``.ci/run`` looks for
one. Where there is none, or no terraform, the tests are skipped and say so.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.harness import ACCOUNT, OTHER_REGION, REGION, ROOT, eventually, refusal

MIRROR = os.environ.get("KEYSTEAD_TERRAFORM_MIRROR", "")

pytestmark = [
    pytest.mark.skipif(
        not MIRROR or shutil.which("terraform") is None,
        reason="NOT TESTED: needs terraform, and KEYSTEAD_TERRAFORM_MIRROR with a mirror of the AWS provider",
    ),
    pytest.mark.timeout(900),
]


def _demo() -> Any:
    """``examples/terraform/demo.py``; the examples are no package."""
    spec = importlib.util.spec_from_file_location("terraform_demo", ROOT / "examples/terraform/demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


demo = _demo()


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in [name for name in os.environ if name.startswith(("AWS_", "KEYSTEAD_DEV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOGC", "400")  # a quarter less work for the provider, which starts a dozen times
    with demo.running(tmp_path) as example:
        yield example


def client(example: Any, region: str = REGION) -> Any:
    administrator = example.administrator
    return boto3.client(
        "kms",
        region_name=region,
        endpoint_url=example.url,
        aws_access_key_id=administrator["accessKeyId"],
        aws_secret_access_key=administrator["secretAccessKey"],
    )


def test_the_example_is_applied_changed_in_place_and_destroyed_by_a_role(example: Any) -> None:
    kms, elsewhere = client(example), client(example, OTHER_REGION)
    steps = demo.walk(example)
    next(steps)
    assert refusal(client_of_the_pipeline(example).create_key).type == "AccessDeniedException"

    next(steps)
    made = example.outputs
    key = kms.describe_key(KeyId=made["data"])["KeyMetadata"]
    assert (key["Description"], key["KeyState"], key["Arn"]) == (
        "Encrypts the data keys of the payments database",
        "Enabled",
        made["data_by_alias"],
    )
    assert kms.get_key_rotation_status(KeyId=made["data"])["RotationPeriodInDays"] == 365
    blob, context = base64.b64decode(made["sealed"]), {"table": "cards"}
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"a secret"
    assert elsewhere.describe_key(KeyId=made["replica"])["KeyMetadata"]["Description"] == "Orders, in Europe"
    imported = kms.describe_key(KeyId=made["imported"])["KeyMetadata"]
    assert (imported["Origin"], imported["KeyState"], imported["ValidTo"]) == ("EXTERNAL", "Enabled", expiry(example))
    replicated = elsewhere.describe_key(KeyId=made["imported_replica"])["KeyMetadata"]
    assert (replicated["Origin"], replicated["KeyState"], replicated["ValidTo"]) == (
        "EXTERNAL",
        "Enabled",
        expiry(example),
    )
    load_pem_public_key(made["signing_pem"].encode())
    kinds = {
        name: (found["KeySpec"], found["KeyUsage"])
        for name in ("releases", "mailbox", "handshake", "cookies")
        for found in [kms.describe_key(KeyId=made[name])["KeyMetadata"]]
    }
    assert kinds == {
        "releases": ("RSA_2048", "SIGN_VERIFY"),
        "mailbox": ("RSA_2048", "ENCRYPT_DECRYPT"),
        "handshake": ("ECC_NIST_P384", "KEY_AGREEMENT"),
        "cookies": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    }
    (grant,) = kms.list_grants(KeyId=made["data"])["Grants"]
    assert grant["Constraints"] == {"EncryptionContextEquals": context}
    in_hsm = kms.describe_key(KeyId=made["in_hsm"])["KeyMetadata"]
    assert (in_hsm["Origin"], in_hsm["CustomKeyStoreId"]) == ("AWS_CLOUDHSM", made["key_store"])
    sealed = kms.encrypt(KeyId=made["in_hsm"], Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    outside = kms.describe_key(KeyId=made["outside"])["KeyMetadata"]
    assert (outside["Origin"], outside["CustomKeyStoreId"], outside["XksKeyConfiguration"]) == (
        "EXTERNAL_KEY_STORE",
        made["external_key_store"],
        {"Id": "payments-2026"},
    )
    twice = patiently(lambda: kms.encrypt(KeyId=made["outside"], Plaintext=b"x"))["CiphertextBlob"]
    assert store_of(kms, "payments bank")["XksProxyConfiguration"]["AccessKeyId"] == demo.CREDENTIAL
    # As README says: the provider cannot change a credential, and is told to leave it alone.
    given = example.manager.credential(demo.NEXT_CREDENTIAL)
    kms.update_custom_key_store(
        CustomKeyStoreId=made["external_key_store"],
        XksProxyAuthenticationCredential={
            "AccessKeyId": given["proxy_access_key_id"],
            "RawSecretAccessKey": given["proxy_secret"],
        },
    )
    made_by = example.keystead("audit", "query", "--operation", "CreateKey", "--decision", "allowed")["items"]
    assert {entry["record"]["principal"] for entry in made_by} == {
        f"arn:aws:sts::{ACCOUNT}:assumed-role/terraform/terraform"
    }

    next(steps)
    assert {**example.outputs, "sealed": "", "data_by_alias": ""} == {**made, "sealed": "", "data_by_alias": ""}
    assert kms.describe_key(KeyId=made["imported"])["KeyMetadata"]["ValidTo"] == expiry(example)
    assert kms.describe_key(KeyId="alias/core/data")["KeyMetadata"]["Description"] == "Encrypts more than it did"
    assert kms.get_key_rotation_status(KeyId=made["data"])["RotationPeriodInDays"] == 180
    assert kms.list_resource_tags(KeyId=made["data"])["Tags"] == [{"TagKey": "team", "TagValue": "core"}]
    assert store_of(kms, "core HSM")["ConnectionState"] == "CONNECTED"
    proxied = store_of(kms, "core bank")
    assert (proxied["CustomKeyStoreId"], proxied["ConnectionState"]) == (made["external_key_store"], "CONNECTED")
    assert proxied["XksProxyConfiguration"] == {
        "Connectivity": "PUBLIC_ENDPOINT",
        "AccessKeyId": demo.NEXT_CREDENTIAL,
        "UriEndpoint": f"https://{demo.PROXY_HOST}",
        "UriPath": "/bank/kms/xks/v1",
    }
    assert patiently(lambda: kms.decrypt(CiphertextBlob=twice))["Plaintext"] == b"x"

    next(steps)
    assert example.terraform("state", "list").stdout == ""
    assert kms.describe_key(KeyId=made["data"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert kms.list_aliases()["Aliases"] == []
    left = {store["CustomKeyStoreId"] for store in kms.describe_custom_key_stores()["CustomKeyStores"]}
    assert left == {made["key_store"], made["external_key_store"]}, "as README says: they still have keys"


def store_of(kms: Any, name: str) -> Any:
    (found,) = kms.describe_custom_key_stores(CustomKeyStoreName=name)["CustomKeyStores"]
    return found


def patiently(call: Callable[[], Any]) -> Any:
    """What a call answers that an external key store may have no time for on a busy machine."""

    def answered() -> Any:
        try:
            return call()
        except ClientError as error:
            if "in time" not in str(error):
                raise
            return None

    return eventually(answered, "the proxy answers in time")


def client_of_the_pipeline(example: Any) -> Any:
    """With the access key that Terraform is given: without the role it may do nothing."""
    names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    credentials = {option: example.environment[name] for option, name in names.items()}
    return boto3.client("kms", region_name=REGION, endpoint_url=example.url, **credentials)


def expiry(example: Any) -> datetime:
    return datetime.fromisoformat(example.variables["material_expires"])
