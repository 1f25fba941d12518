"""The stock AWS provider of Terraform against a throw-away Keystead, from `init` to `destroy`.

An HSM of SoftHSM and a second Keystead, which is the external key manager of somebody else, are there for key stores.

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
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEYSTEAD = [sys.executable, "-m", "controlplane"]
CLUSTER = "cluster-7a2b3c4d5e6"
PROXY_HOST = "xks.bank.example"
CREDENTIAL, NEXT_CREDENTIAL = "BANKCREDENTIAL2345AB", "BANKCREDENTIAL2345CD"
DEADLINE_SECONDS = 60
TERRAFORM_SECONDS = 600
ATTEMPTS = 10


class Example:
    """A server, who Terraform is on it, a working directory of Terraform's, and whose external keys it uses."""

    def __init__(
        self, url: str, administrator: dict[str, str], variables: dict[str, str], manager: Manager, directory: Path
    ) -> None:
        self.url = url
        self.administrator = administrator
        self.variables = {**variables, **manager.credential(CREDENTIAL)}
        self.manager = manager
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
            "AWS_ENDPOINT_URL_KMS": url,
            "AWS_ENDPOINT_URL_STS": url,
        }
        for file in HERE.glob("*.tf"):
            (directory / file.name).write_bytes(file.read_bytes())

    def keystead(self, *arguments: str) -> Any:
        """One command of `keystead` as the administrator; its JSON."""
        return _keystead(self.url, self.administrator["token"], *arguments)

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
        for _ in range(ATTEMPTS):
            applied = self.terraform("apply", "-auto-approve", "-no-color", "-input=false", codes=(0, 1))
            # KMS gives a proxy 250 milliseconds; a laptop that does all of this at once may need another attempt.
            if applied.returncode == 0 or "in time" not in applied.stderr:
                break
        if applied.returncode:
            raise RuntimeError(f"terraform apply\n{applied.stdout[-6000:]}\n{applied.stderr[-6000:]}")
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
    yield "Keys, alias, grant, policy, replicas, material, key stores (HSM, XKS) are made; a second plan is empty."

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


class Manager:
    """The external key manager: a control plane with a proxy in front of its key."""

    def __init__(self, directory: Path, authority: Path, url: str) -> None:
        self.authority = authority
        self.url = url
        told = directory / "manager.yaml"
        told.write_text((HERE / "manager.yaml").read_text().replace("port: 8443", "port: 0"))
        _keystead(url, "test", "apply", str(told), "--yes")
        self.port = int(_keystead(url, "test", "get", "xksproxies", "bank")["status"]["address"].rsplit(":", 1)[1])

    def credential(self, access_key_id: str) -> dict[str, str]:
        """What its owner hands out, as variables of Terraform."""
        told = _keystead(self.url, "test", "xks", "config", "bank", "--access-key-id", access_key_id)
        given = told["XksProxyAuthenticationCredential"]
        return {
            "proxy_path": told["XksProxyUriPath"],
            "proxy_access_key_id": given["AccessKeyId"],
            "proxy_secret": given["RawSecretAccessKey"],
        }


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Example]:
    """A new server in ``directory`` with an HSM cluster, which is a token of SoftHSM, and an external key manager."""
    pin = make_token(directory)
    cluster = make_certificate(directory / "customerCA", "cluster")
    work = directory / "work"
    work.mkdir()
    variables = {"cluster": CLUSTER, "cluster_pin": pin, "cluster_certificate": cluster.read_text()}
    with external_key_manager(directory) as manager:
        administrator = json.loads(
            _run([*KEYSTEAD, "init", str(directory / "server"), "--listen", "127.0.0.1:0", "--json",
                  "--region", "us-east-1", "--region", "eu-central-1"], dict(os.environ))
        )  # fmt: skip
        with Path(administrator["settings"]).open("a") as settings:
            settings.write(
                "\n[customKeyStores]\nautoConnect = true  # the Terraform provider never connects a key store\n\n"
                f'[clusters.{CLUSTER}]\nmodule = "libsofthsm2.so"\ntoken = "keystead"\n'
                f'environment = {{ SOFTHSM2_CONF = "{directory / "softhsm2.conf"}" }}\n\n'
                f'[xksConnections."{PROXY_HOST}"]\naddress = "127.0.0.1"\nport = {manager.port}\n'
                f'authority = "{manager.authority}"\n'
            )
        with serving("serve", "--config", administrator["settings"]) as url:
            yield Example(url, administrator, variables, manager, work)


@contextlib.contextmanager
def external_key_manager(directory: Path) -> Iterator[Manager]:
    """Another control plane, as its owner has it; an authority of theirs signed the certificate of the proxy."""
    files = directory / "manager" / "xks"
    files.mkdir(parents=True)
    authority = make_certificate(directory / "bank", "Bank test authority")
    make_certificate(files / "proxy", PROXY_HOST, issuer=directory / "bank")
    for name in ("secret", "next-secret"):
        write_private(files / name, base64.b64encode(secrets.token_bytes(32)).decode())
    with serving("dev", "--port", "0", "--data-dir", str(files.parent)) as url:
        yield Manager(directory, authority, url)


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """The URL of a control plane in a process of its own, which is gone afterwards."""
    server = subprocess.Popen([*KEYSTEAD, *arguments, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise RuntimeError("a control plane did not start")
        yield json.loads(line)["url"]
    finally:
        server.terminate()
        status = server.wait(timeout=DEADLINE_SECONDS)
        server.stdout.close()
    if status != 0:
        raise RuntimeError(f"a control plane stopped with exit status {status}")


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


def make_certificate(path: Path, name: str, *, issuer: Path | None = None) -> Path:
    """A certificate, ``path`` with `.crt`, its key beside it; signed by itself or by another that was made so."""
    signed = [] if issuer is None else ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"]
    if issuer is not None:
        signed += ["-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE"]
    _run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
         f"/CN={name}", "-days", "365", "-keyout", f"{path}.key", "-out", f"{path}.crt", *signed],
        dict(os.environ),
    )  # fmt: skip
    return path.with_name(path.name + ".crt")


def write_private(path: Path, content: str) -> None:
    """A file that only its owner can read, before there is anything in it."""
    path.touch(0o600)
    path.write_text(content)


def _keystead(url: str, token: str, *arguments: str) -> Any:
    """One command of `keystead`; its JSON."""
    environment = {**os.environ, "KEYSTEAD_URL": url, "KEYSTEAD_TOKEN": token}
    return json.loads(_run([*KEYSTEAD, *arguments, "--json"], environment))


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr or done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
