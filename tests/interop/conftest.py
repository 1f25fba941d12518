"""The servers of ``tests.harness``, as fixtures, and keys to share."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.harness import ACCOUNT, REGION, Server, new_server, private_server, pytest_runtest_makereport, shared_server
from tests.interop.keyring import Keyring

__all__ = ["new_server", "private_server", "pytest_runtest_makereport", "shared_server"]


@pytest.fixture(scope="session")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


@pytest.fixture(scope="session")
def keyring(shared_server: Server) -> Keyring:
    return Keyring(shared_server)


@pytest.fixture
def key(kms: Any) -> dict[str, Any]:
    """Metadata of a symmetric key of the test's own."""
    return kms.create_key(Description="of one test")["KeyMetadata"]


@pytest.fixture
def alias(kms: Any, key: dict[str, Any]) -> str:
    name = f"alias/test-{uuid.uuid4()}"
    kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    return name


@pytest.fixture
def forms(key: dict[str, Any], alias: str) -> dict[str, str]:
    """The four forms of a KeyId."""
    return {
        "key id": key["KeyId"],
        "key ARN": key["Arn"],
        "alias name": alias,
        "alias ARN": f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}",
    }
