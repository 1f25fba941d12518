"""Two control planes: a KMS whose keys need an external key, and the XKS proxy in front of the HSM that holds it.

Run it with `.venv/bin/python examples/xks/demo.py`. It needs the program softhsm2-util (Debian: softhsm2). It shows
that the KMS encrypts, that the external key's owner can stop it at any moment, and that it goes on when the owner says
so; it exits 0 only if every step did what it says. Both servers are gone in the end.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
KEYSTEAD = [sys.executable, "-m", "controlplane"]
DEADLINE_SECONDS = 60
CONTEXT = {"account": "4711"}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="keystead-xks-") as directory:
        place = Path(directory)
        prepare(place)
        with (
            server(place / "manager", SOFTHSM2_CONF=str(place / "softhsm2.conf")) as manager,
            server(place / "kms") as kms,
        ):
            show(manager, kms, place)
    step("Both control planes stopped cleanly.")


def show(manager: Server, kms: Server, place: Path) -> None:
    step("The external key manager: a key in the HSM, and a proxy that exposes it as bank-2026")
    manager.apply("manager.yaml", port=0)
    proxy = manager.json("get", "xksproxies", "bank")
    port = int(proxy["status"]["address"].rsplit(":", 1)[1])
    configuration = manager.json("xks", "config", "bank")
    write_private(kms.files / "secret", configuration["XksProxyAuthenticationCredential"]["RawSecretAccessKey"])
    step("keystead xks check: does the proxy keep to the specification?")
    write_private(place / "bank.json", json.dumps(configuration))
    told = manager.json(
        *("xks", "check", f"https://localhost:{port}", "--config", str(place / "bank.json"), "--key", "bank-2026"),
        *("--authority", str(kms.files / "ca.pem"), "--address", "127.0.0.1", "--samples", "20"),
        codes=(0, 1),  # on a busy machine the part about latencies may fail; the rest is in the report, too
    )
    verdicts = [check["verdict"] for check in told["checks"]]
    print(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("passed", "failed", "skipped")))

    step("The KMS: a key store on that proxy, and a key in it")
    kms.apply("kms.yaml", port=port)
    client = kms.boto3()
    blob = patiently(lambda: client.encrypt(KeyId="alias/accounts", Plaintext=b"4111", EncryptionContext=CONTEXT))[
        "CiphertextBlob"
    ]
    print(f"Encrypt   {len(blob)} octets: encrypted by the KMS, then by the HSM of the external key manager")

    def decrypt() -> bytes:
        return bytes(client.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"])

    expect(patiently(decrypt) == b"4111", "decrypting gives what was encrypted")
    print("Decrypt   4111")

    step("The kill switch: keystead disable bank-root, at the external key manager")
    manager.run("disable", "bank-root")
    try:
        patiently(decrypt)
    except client.exceptions.KMSInvalidStateException as refused:
        print(f"Decrypt   refused with KMSInvalidStateException: {refused.response['Error']['Message']}")
    else:
        sys.exit("it decrypted without its external key")

    step("Restored: keystead enable bank-root")
    manager.run("enable", "bank-root")
    expect(patiently(decrypt) == b"4111", "it decrypts again")
    print("Decrypt   4111")

    step("The external key manager knows who used its key, for what, and which rule allowed it")
    newest = [item["record"] for item in manager.json("audit", "query", "--key", "bank-root")["items"]]
    asked = [record for record in newest if "requestMetadata" in record.get("details", {})][:3]
    for record in reversed(asked):
        told = record["details"]["requestMetadata"]
        print(f"{told['kmsOperation']:9} for {told['awsPrincipalArn']}: {record['details']['rule']}", end="")
        print(f"; refused, {record['error']}" if "error" in record else "")


def patiently(call: Callable[[], Any]) -> Any:
    """KMS gives a proxy 250 milliseconds; a laptop that starts two servers may need another attempt."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return call()
        except Exception as error:
            if "in time" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


# ---- the parts -------------------------------------------------------------------------------------------------------


class Server:
    """One control plane, and the command line on it."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.files = directory / "xks"
        self.url = url
        self.environment = {**os.environ, "KEYSTEAD_URL": url, "KEYSTEAD_TOKEN": "test"}

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        command = [*KEYSTEAD, *arguments]
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in codes:
            sys.exit(f"keystead {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def json(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
        return json.loads(self.run(*arguments, "--json", codes=codes))

    def apply(self, name: str, *, port: int) -> None:
        """Apply a file of this directory, with a free port in place of the one in it."""
        file = self.directory / name
        file.write_text((HERE / name).read_text().replace("port: 8443", f"port: {port}"))
        print(self.run("apply", str(file), "--yes"))

    def boto3(self) -> Any:
        return boto3.client(
            "kms",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )


@contextlib.contextmanager
def server(directory: Path, **environment: str) -> Iterator[Server]:
    """A control plane on a free port."""
    log = directory.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*KEYSTEAD, "dev", "--port", "0", "--data-dir", str(directory)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
    try:
        yield Server(directory, ready(process, log))
    finally:
        process.terminate()
        status = process.wait(timeout=DEADLINE_SECONDS)
    if status != 0:
        sys.exit(f"a control plane stopped with exit status {status}:\n{log.read_text()}")


def ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The server prints its URL once it listens."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("export KEYSTEAD_URL="):
                return line.partition("=")[2]
        time.sleep(0.05)
    sys.exit(f"a control plane did not start:\n{log.read_text()}")


def prepare(place: Path) -> None:
    """An HSM token, a certificate authority of our own, the proxy's certificate and the shared secret."""
    for name in ("manager", "kms"):
        (place / name / "xks").mkdir(parents=True)
    (place / "tokens").mkdir()
    (place / "softhsm2.conf").write_text(f"directories.tokendir = {place / 'tokens'}\nobjectstore.backend = file\n")
    pin = secrets.token_hex(8)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "keystead", "--so-pin", pin, "--pin", pin],
        env={**os.environ, "SOFTHSM2_CONF": str(place / "softhsm2.conf")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    write_private(place / "manager/xks/hsm.pin", pin)
    write_private(place / "manager/xks/secret", base64.b64encode(secrets.token_bytes(32)).decode())
    ca_key, ca = certify("Bank test authority", None)
    key, certificate = certify("localhost", (ca_key, ca))
    (place / "kms/xks/ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (place / "manager/xks/proxy.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(place / "manager/xks/proxy.key", pem.decode())


def certify(
    name: str, issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A key and its certificate, by an issuer or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    issued = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[1].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=False)
    )
    return key, issued.sign(key if issuer is None else issuer[0], hashes.SHA256())


def write_private(path: Path, content: str) -> None:
    """A file that only its owner can read, before there is anything in it."""
    path.touch(0o600)
    path.write_text(content)


def expect(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"this should hold and does not: {what}")


def step(text: str) -> None:
    print(f"\n\033[1m==> {text}\033[0m" if sys.stdout.isatty() else f"\n==> {text}", flush=True)


if __name__ == "__main__":
    main()
