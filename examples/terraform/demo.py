"""The stock AWS provider of Terraform against a throw-away Keystead, from `init` to `destroy`.

Run it with `.venv/bin/python examples/terraform/demo.py`. It needs the programs terraform, openssl and softhsm2-util.
The provider comes from Terraform's registry, or from the filesystem mirror that KEYSTEAD_TERRAFORM_MIRROR names. It
exits 0 only if every step did what it says; the provider's own pauses make it take some minutes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEYSTEAD = [sys.executable, "-m", "controlplane"]
CLUSTER = "cluster-7a2b3c4d5e6"
DEADLINE_SECONDS = 60
TERRAFORM_SECONDS = 600


class Example:
    """A server, who Terraform is on it, and a working directory of Terraform's."""

    def __init__(self, url: str, administrator: dict[str, str], variables: dict[str, str], directory: Path) -> None:
        self.url = url
        self.administrator = administrator
        self.variables = {"endpoint": url, **variables}
        self.directory = directory
        self.outputs: dict[str, Any] = {}
        settings = directory / "terraform.rc"
        mirror = os.environ.get("KEYSTEAD_TERRAFORM_MIRROR")
        source = f'filesystem_mirror {{\n    path = "{mirror}"\n  }}' if mirror else "direct {}"
        settings.write_text(f"provider_installation {{\n  {source}\n}}\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self.environment = {
            **kept,
            "HOME": str(directory),
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_DATA_DIR": str(directory / ".terraform"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for file in HERE.glob("*.tf"):
            (directory / file.name).write_bytes(file.read_bytes())

    def keystead(self, *arguments: str) -> Any:
        """One command of `keystead` as the administrator; its JSON."""
        environment = {**os.environ, "KEYSTEAD_URL": self.url, "KEYSTEAD_TOKEN": self.administrator["token"]}
        return json.loads(_run([*KEYSTEAD, *arguments, "--json"], environment))

    def terraform(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """One command of `terraform`. Variables go by the environment, so that no secret is in a process list."""
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.directory,
            env={**self.environment, **{f"TF_VAR_{name}": value for name, value in self.variables.items()}},
            capture_output=True,
            text=True,
            timeout=TERRAFORM_SECONDS,
            check=False,
        )
        if done.returncode not in codes:
            raise RuntimeError(f"terraform {' '.join(arguments)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done

    def apply(self, **variables: str) -> None:
        """Apply with these variables changed; a plan after it has to be empty."""
        self.variables |= variables
        self.terraform("apply", "-auto-approve", "-no-color", "-input=false")
        plan = self.terraform("plan", "-detailed-exitcode", "-no-color", "-input=false", codes=(0, 2))
        if plan.returncode:
            raise RuntimeError(f"the plan after an apply is not empty:\n{plan.stdout}")
        told = json.loads(self.terraform("output", "-json").stdout)
        self.outputs = {name: each["value"] for name, each in told.items()}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="keystead-terraform-") as directory, running(Path(directory)) as example:
        for reached in walk(example):
            print(f"\n==> {reached}", flush=True)
    print("\n==> The control plane stopped cleanly.")


def walk(example: Example) -> Iterator[str]:
    """What the example does; it yields what it has reached."""
    example.keystead("apply", str(HERE / "principals.yaml"), "--yes")
    key = example.keystead("access-key", "create", "deploy")
    example.environment |= {"AWS_ACCESS_KEY_ID": key["accessKeyId"], "AWS_SECRET_ACCESS_KEY": key["secretAccessKey"]}
    example.terraform("init", "-no-color", "-input=false")
    yield "A role for Terraform is declared, and Terraform is ready."

    expires = datetime.now(UTC) + timedelta(days=30)
    example.apply(
        material=base64.b64encode(secrets.token_bytes(32)).decode(),
        material_expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    yield "Keys, alias, grant, policy, replica, imported material, an HSM key store are made; a second plan is empty."

    example.apply(
        team="core",
        description="Encrypts more than it did",
        rotation_days="180",
        reader="deploy",
        material_expires=(expires + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    yield "Tags, alias, description, rotation, policies, grant, expiry are changed in place; the plan is empty."

    example.terraform("destroy", "-auto-approve", "-no-color", "-input=false")
    yield "Everything is destroyed: the keys are in their waiting period of seven days."


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Example]:
    """A new server in ``directory`` with an HSM cluster, which is a token of SoftHSM."""
    pin = make_token(directory)
    certificate = make_certificate(directory)
    administrator = json.loads(
        _run([*KEYSTEAD, "init", str(directory / "server"), "--listen", "127.0.0.1:0", "--json",
              "--region", "us-east-1", "--region", "eu-central-1"], dict(os.environ))
    )  # fmt: skip
    with Path(administrator["settings"]).open("a") as settings:
        settings.write(
            "\n[customKeyStores]\nautoConnect = true  # the Terraform provider never connects a key store\n\n"
            f'[clusters.{CLUSTER}]\nmodule = "libsofthsm2.so"\ntoken = "keystead"\n'
            f'environment = {{ SOFTHSM2_CONF = "{directory / "softhsm2.conf"}" }}\n'
        )
    work = directory / "work"
    work.mkdir()
    variables = {"cluster": CLUSTER, "cluster_pin": pin, "cluster_certificate": certificate}
    server = subprocess.Popen(
        [*KEYSTEAD, "serve", "--config", administrator["settings"], "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise RuntimeError("the control plane did not start")
        yield Example(json.loads(line)["url"], administrator, variables, work)
    finally:
        server.terminate()
        status = server.wait(timeout=DEADLINE_SECONDS)
        server.stdout.close()
    if status != 0:
        raise RuntimeError(f"the control plane stopped with exit status {status}")


def make_token(directory: Path) -> str:
    """A token of SoftHSM; the PIN of its user."""
    (directory / "tokens").mkdir()
    settings = directory / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\n")
    pin = secrets.token_hex(8)
    pins = ["--so-pin", secrets.token_hex(8), "--pin", pin]
    _run(
        ["softhsm2-util", "--init-token", "--free", "--label", "keystead", *pins],
        {**os.environ, "SOFTHSM2_CONF": str(settings)},
    )
    return pin


def make_certificate(directory: Path) -> str:
    """What stands for the certificate that a cluster gets when it is initialised; PEM."""
    path = directory / "customerCA.crt"
    _run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
         "/CN=cluster", "-days", "365", "-keyout", os.devnull, "-out", str(path)],
        dict(os.environ),
    )  # fmt: skip
    return path.read_text()


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr or done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
