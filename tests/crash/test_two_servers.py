"""Two server processes on one directory: one leads, both serve; a new one leads when the leader dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.audit.verifying import verify
from tests.crash.looking import (
    Make,
    all_keys,
    assert_no_orphan,
    usable,
)
from tests.harness import Server, document, eventually, refusal


@pytest.fixture
def two(new_server: Make, tmp_path: Path) -> tuple[Server, Server]:
    """A leader and a second process on the same data."""
    leader = new_server().start()
    eventually(lambda: "reconciler leads" in leader.log(), "the first one leads")
    second = new_server().start()
    assert "reconciler leads" not in second.log()
    return leader, second


def test_two_servers_on_one_directory_read_each_others_writes(two: tuple[Server, Server]) -> None:
    leader, second = two
    for one, other in ((leader, second), (second, leader)):
        here, there = one.kms(), other.kms()
        for _ in range(5):
            metadata = here.create_key()["KeyMetadata"]
            assert there.describe_key(KeyId=metadata["KeyId"])["KeyMetadata"] == metadata
            blob = there.encrypt(KeyId=metadata["KeyId"], Plaintext=b"x")["CiphertextBlob"]
            here.disable_key(KeyId=metadata["KeyId"])
            assert refusal(there.decrypt, CiphertextBlob=blob).type == "DisabledException"
            there.enable_key(KeyId=metadata["KeyId"])
            assert here.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_new_leader_takes_over_when_the_leader_dies(two: tuple[Server, Server], tmp_path: Path) -> None:
    leader, second = two
    before = second.kms().create_key()["KeyMetadata"]["KeyId"]
    leader.kill()
    kms = second.kms()
    made = kms.create_key()["KeyMetadata"]
    assert made["KeyState"] == "Enabled"
    assert "reconciler leads" in second.log()
    assert kms.encrypt(KeyId=before, Plaintext=b"x")
    leader.start()
    assert leader.kms().describe_key(KeyId=made["KeyId"])["KeyMetadata"] == made
    leader.stop()
    assert_no_orphan(second, tmp_path / "none")


def test_two_servers_keep_journals_that_both_verify(two: tuple[Server, Server]) -> None:
    for server in two:
        server.kms().create_key()
    for server in two:
        server.stop()
    result = verify(two[0].directory / "audit")
    assert result.ok
    assert len(result.heads) == 2


def test_a_key_on_a_device_works_through_the_server_that_does_not_lead(
    two: tuple[Server, Server], tmp_path: Path
) -> None:
    leader, second = two
    device = tmp_path / "device.json"
    leader.apply(
        "set",
        [
            document("KeyStore", "device", type="memory", memory={"device": str(device)}),
            document("Key", "k", keyStore="device"),
        ],
    )
    keys = all_keys(leader)
    usable(leader, keys)
    second.kms().encrypt(KeyId=keys["k"]["status"]["keyId"], Plaintext=b"x")
