"""The main job of Keystead in one run, on a throw-away control plane: plan, apply, use with boto3, "no changes".

Run it with `make demo`. It exits 0 only if every step did what it says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3

HERE = Path(__file__).parent
KEYSTEAD = [sys.executable, "-m", "controlplane"]
DEADLINE_SECONDS = 60


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="keystead-demo-") as directory:
        log = Path(directory) / "server.log"
        server = start(Path(directory) / "data", log)
        try:
            url = wait_until_ready(server, log)
            environment = {**os.environ, "KEYSTEAD_URL": url, "KEYSTEAD_TOKEN": "test"}
            declare(environment)
            use(url)
        finally:
            server.terminate()
            status = server.wait(timeout=DEADLINE_SECONDS)
    if status != 0:
        sys.exit(f"the control plane stopped with exit status {status}")
    step("The control plane stopped cleanly. That was the main job: declared, reconciled, used.")


def declare(environment: dict[str, str]) -> None:
    step("keystead plan examples/quickstart   (what an apply would do)")
    run("plan", environment)
    step("keystead apply examples/quickstart --yes   (desired state, then the reconciler makes the keys)")
    run("apply", environment, "--yes")
    step("keystead plan examples/quickstart   (again: nothing is left to do)")
    run("plan", environment, "--detailed-exitcode")
    step("keystead get keys")
    subprocess.run([*KEYSTEAD, "get", "keys"], env=environment, check=True)


def use(url: str) -> None:
    step("boto3 against the same server: nothing but the endpoint differs from AWS")
    kms = boto3.client(
        "kms",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    context = {"table": "cards", "column": "pan"}
    blob = kms.encrypt(KeyId="alias/payments/cards", Plaintext=b"4111 1111 1111 1111", EncryptionContext=context)[
        "CiphertextBlob"
    ]
    print(f"Encrypt          {len(blob)} octets under alias/payments/cards")
    plaintext = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"]
    expect(plaintext == b"4111 1111 1111 1111", "decrypting gives what was encrypted")
    print(f"Decrypt          {plaintext.decode()}")
    try:
        kms.decrypt(CiphertextBlob=blob, EncryptionContext={"table": "orders"})
    except kms.exceptions.InvalidCiphertextException:
        print("Decrypt          refused with another encryption context: InvalidCiphertextException")
    else:
        sys.exit("a wrong encryption context was accepted")
    data_key = kms.generate_data_key(KeyId="alias/payments/data", KeySpec="AES_256")
    again = kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"]
    expect(again == data_key["Plaintext"], "the data key decrypts to itself")
    print("GenerateDataKey  AES_256, and Decrypt gives the same key back")
    for alias in ("platform/release-signing", "web/session-cookies"):
        metadata = kms.describe_key(KeyId=f"alias/{alias}")["KeyMetadata"]
        expect(metadata["KeyState"] == "Enabled", f"{alias} is enabled")
        print(f"DescribeKey      {alias}: {metadata['KeySpec']}, {metadata['KeyUsage']}, {metadata['KeyState']}")


def start(data: Path, log: Path) -> subprocess.Popen[bytes]:
    step(f"keystead dev --port 0 --data-dir {data}")
    with log.open("wb") as output:
        return subprocess.Popen(
            [*KEYSTEAD, "dev", "--port", "0", "--data-dir", str(data)], stdout=output, stderr=subprocess.STDOUT
        )


def wait_until_ready(server: subprocess.Popen[bytes], log: Path) -> str:
    """The server prints its URL once it listens."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("export KEYSTEAD_URL="):
                return line.partition("=")[2]
        time.sleep(0.05)
    sys.exit(f"the control plane did not start:\n{log.read_text()}")


def run(command: str, environment: dict[str, str], *options: str) -> None:
    subprocess.run([*KEYSTEAD, command, str(HERE), *options], env=environment, check=True)


def expect(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"this should hold and does not: {what}")


def step(text: str) -> None:
    print(f"\n\033[1m==> {text}\033[0m" if sys.stdout.isatty() else f"\n==> {text}", flush=True)


if __name__ == "__main__":
    main()
