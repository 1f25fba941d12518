"""Keystead's own provider with the terraform command line: ``examples/terraform/provider`` applied, changed, drifted,
imported, refused and destroyed.

``make test`` installs it beside the virtual environment, because its protobuf is not the server's. Without it, or
without terraform, the tests are skipped and say so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ACCOUNT, ROOT, TOKEN, Server, document
from tests.hsm import SoftToken, pin_file
from tests.xksclient import HOST, ProxyFiles
from tests.xksproxied import ACCESS_KEY_ID, SECRET, Proxied

PROGRAMS = ROOT / ".venv" / "provider" / "bin"
EXAMPLE = ROOT / "examples/terraform/provider/example"
SECONDS = 120
BEHIND = ("payments", "disabled")

STORES = """
variable "hsm" { sensitive = true }
variable "xks" { sensitive = true }

resource "keystead_key_store" "hsm" {
  name            = "hsm"
  type            = "pkcs11"
  pkcs11          = jsonencode(jsondecode(var.hsm))
  keep_on_destroy = true
}

resource "keystead_key_store" "partner" {
  name            = "partner"
  type            = "xks"
  xks             = jsonencode(jsondecode(var.xks))
  keep_on_destroy = true
}

resource "keystead_key" "in_hsm" {
  name      = "in-hsm"
  key_store = keystead_key_store.hsm.name
}

resource "keystead_key" "outside" {
  name       = "outside"
  key_store  = keystead_key_store.partner.name
  xks_key_id = "payments"
}

output "origins" { value = [keystead_key.in_hsm.origin, keystead_key.outside.origin] }
output "key_ids" { value = [keystead_key.in_hsm.key_id, keystead_key.outside.key_id] }
"""

pytestmark = [
    pytest.mark.skipif(
        not (PROGRAMS / "terraform-provider-keystead").exists() or shutil.which("terraform") is None,
        reason="NOT TESTED: needs terraform, and the provider in .venv/provider; run: make test",
    ),
    pytest.mark.timeout(600),
]


class Terraform:
    """One working directory with the example."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        directory.mkdir()
        shutil.copy(EXAMPLE / "main.tf", directory)
        settings = directory / "terraform.rc"
        settings.write_text(
            f'provider_installation {{\n  dev_overrides {{\n    "keystead/keystead" = "{PROGRAMS}"\n  }}\n}}\n'
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KEYSTEAD_", "TF_"))}
        self.environment = {
            **kept,
            "HOME": str(directory),
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "KEYSTEAD_URL": server.url,
            "KEYSTEAD_TOKEN": TOKEN,
        }
        self.variables: dict[str, str] = {}
        self.provider: subprocess.Popen[str] | None = None

    def keep_provider(self) -> None:
        """Start the provider once for all that follows; Terraform would start it three times for a plan."""
        environment = {**self.environment, "PYTHONUNBUFFERED": "1"}
        self.provider = subprocess.Popen(
            [PROGRAMS / "terraform-provider-keystead", "--dev"], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.provider.stdout is not None
        told = next((line for line in self.provider.stdout if "TF_REATTACH_PROVIDERS=" in line), "")
        self.environment["TF_REATTACH_PROVIDERS"] = told.partition("=")[2].strip().strip("'")

    def let_provider_go(self) -> None:
        """What follows starts it as a user's Terraform does."""
        self.environment.pop("TF_REATTACH_PROVIDERS", None)
        if self.provider is not None:
            assert self.provider.stdout is not None
            self.provider.kill()
            self.provider.wait(SECONDS)
            self.provider.stdout.close()
            self.provider = None

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

    def apply(self, **variables: str) -> None:
        self.variables |= variables
        self.run("apply", "-auto-approve", "-no-color", "-input=false")

    def plan(self, *, empty: bool) -> str:
        code = 0 if empty else 2
        return self.run("plan", "-detailed-exitcode", "-no-color", "-input=false", codes=(code,)).stdout

    def refused(self, *arguments: str) -> str:
        """What it says of a command that fails, with its line breaks and frames taken out."""
        words = self.run(*arguments, "-no-color", codes=(1,)).stderr.replace("│", " ").split()
        return " ".join(words)

    def outputs(self) -> dict[str, Any]:
        return {name: each["value"] for name, each in json.loads(self.run("output", "-json").stdout).items()}


@pytest.fixture
def terraform(private_server: Server, tmp_path: Path) -> Iterator[Terraform]:
    """The example, and key stores in an HSM and behind an XKS proxy, which the same server serves."""
    made = Terraform(tmp_path / "work", private_server)
    (made.directory / "stores.tf").write_text(STORES)
    token = SoftToken(tmp_path / "hsm")
    files = ProxyFiles(tmp_path / "files")
    proxied = Proxied(private_server, files)
    keys = [{"apiVersion": "keystead/v1", "kind": "Key", "metadata": {"name": name}, "spec": {}} for name in BEHIND]
    private_server.apply("behind", keys)
    proxied.declare()
    authority = tmp_path / "ca.pem"
    files.ca.cert_pem.write_to_path(str(authority))
    xks = {
        "uriEndpoint": f"https://{HOST}",
        "uriPath": "/bank/kms/xks/v1",
        "port": proxied.port,
        "authority": str(authority),
        "credential": {"accessKeyId": ACCESS_KEY_ID, "secret": files.secret("client", SECRET)},
    }
    made.variables["hsm"] = json.dumps(token.options(workers=1, pin=pin_file(tmp_path)))
    made.variables["xks"] = json.dumps(xks)
    try:
        yield made
    finally:
        made.let_provider_go()


def test_the_example_is_applied_changed_put_right_imported_and_destroyed(
    terraform: Terraform, private_server: Server
) -> None:
    kms = private_server.kms()
    terraform.apply()
    terraform.keep_provider()
    terraform.plan(empty=True)
    made = terraform.outputs()
    assert kms.describe_key(KeyId="alias/payments/cards")["KeyMetadata"]["Arn"] == made["data"]
    assert kms.get_key_rotation_status(KeyId=made["data"])["RotationPeriodInDays"] == 365
    assert made["imported_origin"] == "EXTERNAL"
    assert made["billing"] == f"arn:aws:iam::{ACCOUNT}:user/billing"
    ledger = private_server.ok("GET", "/v1/keys/ledger")
    assert ledger["spec"]["keyStore"] == "trial"
    assert made["origins"] == ["AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"]
    for key_id in made["key_ids"]:
        sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
        assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    written = (terraform.directory / "terraform.tfstate").read_text()
    assert TOKEN not in written
    shown = terraform.run("state", "show", "-no-color", "keystead_key_store.trial").stdout
    assert "(sensitive value)" in shown

    terraform.apply(description="Encrypts more than it did", team="core", rotation_days="180")
    terraform.plan(empty=True)
    assert terraform.outputs() == made, "changed in place"
    assert kms.describe_key(KeyId="alias/core/cards")["KeyMetadata"]["Description"] == "Encrypts more than it did"
    assert kms.get_key_rotation_status(KeyId=made["data"])["RotationPeriodInDays"] == 180

    # Others change it over the KMS API: the plan says so, and an apply puts it right.
    kms.disable_key(KeyId=made["data"])
    kms.tag_resource(KeyId=made["data"], Tags=[{"TagKey": "stray", "TagValue": "yes"}])
    kms.schedule_key_deletion(KeyId=ledger["status"]["keyId"], PendingWindowInDays=7)
    change_spec(private_server, "principals", "billing", tags={"stray": "person"}, administrator=True)
    change_spec(private_server, "keystores", "trial", connected=False)
    found = terraform.plan(empty=False)
    for word in ("enabled", "stray", "pending_deletion", "person", "administrator", "connected"):
        assert word in found, found
    terraform.apply()
    terraform.plan(empty=True)
    assert kms.describe_key(KeyId=made["data"])["KeyMetadata"]["KeyState"] == "Enabled"
    assert kms.list_resource_tags(KeyId=made["data"])["Tags"] == [{"TagKey": "team", "TagValue": "core"}]
    assert kms.describe_key(KeyId=ledger["status"]["keyId"])["KeyMetadata"]["KeyState"] != "PendingDeletion"
    billing = private_server.ok("GET", "/v1/principals/billing")["spec"]
    assert (billing["tags"], billing.get("administrator", False)) == ({"team": "core"}, False)
    assert private_server.ok("GET", "/v1/keystores/trial")["spec"].get("connected", True) is True

    # What Terraform forgot is there already, is imported by name, alias or key id, and is as declared.
    forgotten = {
        "keystead_key.data": "alias/core/cards",
        "keystead_key.outside": made["key_ids"][1],
        "keystead_principal.billing": "billing",
        "keystead_key_store.trial": "trial",
        "keystead_key_store.hsm": "hsm",
        "keystead_key_store.partner": "partner",
    }
    terraform.run("state", "rm", *forgotten)
    refused = terraform.refused("apply", "-auto-approve", "-input=false")
    for name in ("payments-data", "trial", "hsm", "partner"):  # what depends on these was not tried
        assert f"{name} is there already; import it" in refused, refused
    for address, name in forgotten.items():
        terraform.run("import", "-no-color", "-input=false", address, name)
    found = terraform.plan(empty=False)
    assert set(re.findall(r"^ +[-+~] (\w+) +=", found, re.MULTILINE)) == {"keep_on_destroy"}, (
        "all else is as declared, byte for byte; this is Terraform's own"
    )
    terraform.apply()
    terraform.plan(empty=True)

    # Nothing is replaced, and what Keystead refuses is told in its words.
    main = terraform.directory / "main.tf"
    text = main.read_text()
    main.write_text(text.replace("keystead_key_store.trial.name", '"standard"'))
    assert "key_store of Key ledger cannot change in place" in terraform.refused("plan", "-input=false")
    main.write_text(text.replace('"EXTERNAL"', '"EXTERNAL"\n  tags = { "aws:mine" = "no" }'))
    assert "this tag key is reserved" in terraform.refused("apply", "-auto-approve", "-input=false")
    main.write_text(text)
    terraform.plan(empty=True)
    terraform.let_provider_go()
    terraform.environment["KEYSTEAD_TOKEN"] = "not-the-token"
    assert "does not answer as a Keystead that knows this token" in terraform.refused("plan", "-input=false")
    terraform.environment["KEYSTEAD_TOKEN"] = TOKEN

    terraform.run("destroy", "-auto-approve", "-no-color", "-input=false")
    assert terraform.run("state", "list").stdout == ""
    assert kms.describe_key(KeyId=made["data"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert private_server.rest("GET", "/v1/principals/billing").status == 404
    assert private_server.ok("GET", "/v1/keystores/trial")["metadata"]["name"] == "trial", "it was to be kept"


def test_of_two_runs_that_make_the_same_object_one_is_refused(private_server: Server, tmp_path: Path) -> None:
    runs = [Terraform(tmp_path / name, private_server) for name in ("one", "two")]
    runs[0].keep_provider()
    runs[1].environment["TF_REATTACH_PROVIDERS"] = runs[0].environment["TF_REATTACH_PROVIDERS"]
    told: dict[int, subprocess.CompletedProcess[str]] = {}

    def apply(number: int) -> None:
        target = ("-auto-approve", "-no-color", "-input=false", "-target=keystead_key.imported")
        told[number] = runs[number].run("apply", *target, codes=(0, 1))

    threads = [threading.Thread(target=apply, args=(number,)) for number in range(2)]
    try:
        for thread in threads:
            thread.start()
    finally:
        for thread in threads:
            thread.join()
        runs[0].let_provider_go()
    assert sorted(run.returncode for run in told.values()) == [0, 1]
    (refused,) = [run.stderr for run in told.values() if run.returncode]
    assert "customer-data is there already; import it" in " ".join(refused.replace("│", " ").split())


def change_spec(server: Server, collection: str, name: str, **changes: Any) -> None:
    """Somebody declares an object of Terraform's another way."""
    found = server.ok("GET", f"/v1/{collection}/{name}")
    spec = {**found["spec"], **changes}
    server.ok("PUT", f"/v1/{collection}/{name}", document(found["kind"], name, **spec))
