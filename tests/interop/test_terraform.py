"""The terraform command line with the real AWS provider: apply, an empty second plan, change, an empty plan, destroy.

The provider comes from a filesystem mirror whose directory is in ``KEYSTEAD_TERRAFORM_MIRROR``; ``.ci/run`` looks for
one. Where there is none, or no terraform, the tests are skipped and say so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.harness import ACCESS_KEY_ID, OTHER_REGION, SECRET, Server

MIRROR = os.environ.get("KEYSTEAD_TERRAFORM_MIRROR", "")
CONFIGURATION = Path(__file__).parent / "terraform"
SECONDS = 300

pytestmark = [
    pytest.mark.skipif(
        not MIRROR or shutil.which("terraform") is None,
        reason="NOT TESTED: needs terraform, and KEYSTEAD_TERRAFORM_MIRROR with a mirror of the AWS provider",
    ),
    pytest.mark.timeout(900),
]


class Terraform:
    """One working directory. Variables are those of the last ``apply``."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        settings = directory / "terraform.rc"
        settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{MIRROR}"\n  }}\n}}\n')
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self.environment = {
            **kept,
            "HOME": str(directory),
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.variables = {"endpoint": server.url}

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.directory,
            env={**self.environment, **{f"TF_VAR_{name}": value for name, value in self.variables.items()}},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode in codes, f"terraform {arguments}\n{done.stdout[-6000:]}\n{done.stderr[-4000:]}"
        return done

    def apply(self, **variables: str) -> dict[str, Any]:
        """Apply, and hold that a plan after it is empty. The outputs."""
        self.variables |= variables
        self.run("apply", "-auto-approve", "-no-color", "-input=false")
        plan = self.run("plan", "-detailed-exitcode", "-no-color", "-input=false", codes=(0, 2))
        assert plan.returncode == 0, f"the plan after an apply is not empty:\n{plan.stdout}"
        told = json.loads(self.run("output", "-json").stdout)
        return {name: each["value"] for name, each in told.items()}

    def addresses(self) -> list[str]:
        return self.run("state", "list").stdout.split()


@pytest.fixture
def terraform(private_server: Server, tmp_path: Path) -> Terraform:
    directory = tmp_path / "work"
    directory.mkdir()
    for file in CONFIGURATION.glob("*.tf"):
        shutil.copy(file, directory)
    made = Terraform(directory, private_server)
    made.run("init", "-no-color", "-input=false")
    return made


def test_keys_of_every_kind_are_applied_changed_and_destroyed(terraform: Terraform, private_server: Server) -> None:
    kms, elsewhere = private_server.kms(), private_server.kms(region=OTHER_REGION)
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    told = terraform.apply(
        material=base64.b64encode(os.urandom(32)).decode(), valid_to=expiry.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    key = kms.describe_key(KeyId=told["key"])["KeyMetadata"]
    assert (key["Description"], key["KeyState"], key["Arn"]) == ("one", "Enabled", told["by_alias"])
    assert kms.get_key_rotation_status(KeyId=told["key"])["RotationPeriodInDays"] == 100
    blob = base64.b64decode(told["sealed"])
    context = {"purpose": "test"}
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"a secret"
    assert elsewhere.describe_key(KeyId=told["replica"])["KeyMetadata"]["Description"] == "replica"
    imported = kms.describe_key(KeyId=told["imported"])["KeyMetadata"]
    assert (imported["Origin"], imported["KeyState"], imported["ValidTo"]) == ("EXTERNAL", "Enabled", expiry)
    load_pem_public_key(told["pem"].encode())
    (grant,) = kms.list_grants(KeyId=told["key"])["Grants"]
    assert grant["Constraints"] == {"EncryptionContextEquals": context}

    later = expiry + timedelta(days=1)
    changed = terraform.apply(
        description="two",
        team="core",
        days="200",
        who="somebody",
        valid_to=later.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    assert kms.describe_key(KeyId=told["imported"])["KeyMetadata"]["ValidTo"] == later
    assert changed["key"] == told["key"], "changed in place"
    assert kms.describe_key(KeyId="alias/terraform/core")["KeyMetadata"]["Description"] == "two"
    assert kms.get_key_rotation_status(KeyId=told["key"])["RotationPeriodInDays"] == 200
    assert kms.list_resource_tags(KeyId=told["key"])["Tags"] == [{"TagKey": "team", "TagValue": "core"}]

    terraform.run("destroy", "-auto-approve", "-no-color", "-input=false")
    assert terraform.addresses() == []
    assert kms.describe_key(KeyId=told["key"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert kms.list_aliases()["Aliases"] == []
