"""Keys in an HSM in one run: a SoftHSM token, a key store on it, a key that never leaves it, disconnect and connect.

Run it with `make demo-hsm`. It needs the Debian packages softhsm2 and opensc, and writes to a directory of its own. It
exits 0 only if every step did what it says.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3

HERE = Path(__file__).parent
KEYSTEAD = [sys.executable, "-m", "controlplane"]
TOKEN = "keystead-demo"
DEADLINE_SECONDS = 60


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="keystead-hsm-") as name:
        directory = Path(name)
        pin = make_token(directory)
        log = directory / "server.log"
        server = start(directory / "data", log)
        try:
            url = wait_until_ready(server, log)
            declare(directory / "data", url, pin)
            use(url, pin)
        finally:
            server.terminate()
            status = server.wait(timeout=DEADLINE_SECONDS)
    if status != 0:
        sys.exit(f"the control plane stopped with exit status {status}")
    step("The control plane stopped cleanly. The key was made, used and kept in the HSM.")


def make_token(directory: Path) -> str:
    """A SoftHSM token in the directory; its user's PIN. The environment tells the module where it is."""
    step(f"softhsm2-util --init-token --label {TOKEN}   (in {directory})")
    tokens = directory / "tokens"
    tokens.mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    pin, so_pin = secrets.token_hex(8), secrets.token_hex(8)
    command = ("softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", pin, "--so-pin", so_pin)
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        sys.exit("softhsm2-util is missing: install the Debian packages softhsm2 and opensc")
    return pin


def declare(data: Path, url: str, pin: str) -> None:
    """The PIN in a file that only the server's user reads, the key store and the key in a document."""
    path = data / "hsm.pin"
    path.touch(mode=0o600)
    path.write_text(pin)
    environment = {**os.environ, "KEYSTEAD_URL": url, "KEYSTEAD_TOKEN": "test"}
    step("keystead apply examples/hsm/hsm.yaml --yes   (the reconciler connects the HSM and makes the key in it)")
    subprocess.run([*KEYSTEAD, "apply", str(HERE / "hsm.yaml"), "--yes"], env=environment, check=True)
    step("keystead describe keystore hsm")
    subprocess.run([*KEYSTEAD, "describe", "keystore", "hsm"], env=environment, check=True)


def use(url: str, pin: str) -> None:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    kms: Any = boto3.client("kms", endpoint_url=url, region_name="us-east-1", **credentials)
    step("boto3: encrypt and decrypt with the key in the HSM")
    blob = kms.encrypt(KeyId="alias/hsm/payments", Plaintext=b"4111 1111 1111 1111")["CiphertextBlob"]
    expect(kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"4111 1111 1111 1111", "it decrypts to what it was")
    print(f"Encrypt     {len(blob)} octets under alias/hsm/payments, and Decrypt gives the plaintext back")

    step("pkcs11-tool --list-objects   (what others see of the key: it cannot be taken out)")
    as_user = ("--token-label", TOKEN, "--login", "--pin", pin)
    seen = subprocess.run(
        ("pkcs11-tool", "--module", module(), *as_user, "--list-objects", "--type", "secrkey"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    print(seen)
    expect(
        "sensitive, always sensitive, never extractable, local" in seen, "the key is made in the HSM and stays there"
    )

    (store,) = kms.describe_custom_key_stores(CustomKeyStoreName="hsm")["CustomKeyStores"]
    name = {"CustomKeyStoreId": store["CustomKeyStoreId"]}
    step("boto3: disconnect_custom_key_store")
    kms.disconnect_custom_key_store(**name)
    wait_for(kms, name, "DISCONNECTED")
    try:
        kms.decrypt(CiphertextBlob=blob)
    except kms.exceptions.KMSInvalidStateException as error:
        print(f"Decrypt     refused: {error.response['Error']['Message']}")
    else:
        sys.exit("a disconnected key store decrypted")
    step("boto3: connect_custom_key_store")
    kms.connect_custom_key_store(**name)
    wait_for(kms, name, "CONNECTED")
    expect(kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"4111 1111 1111 1111", "it decrypts again")
    print("Decrypt     works again")


def wait_for(kms: Any, name: dict[str, str], state: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        (store,) = kms.describe_custom_key_stores(**name)["CustomKeyStores"]
        if store["ConnectionState"] == state:
            print(f"            {store['ConnectionState']}")
            return
        time.sleep(0.05)
    sys.exit(f"the key store did not become {state}")


def module() -> str:
    """Where Debian keeps SoftHSM's module."""
    for directory in ("/usr/lib/softhsm", *map(str, Path("/usr/lib").glob("*-linux-gnu/softhsm"))):
        if (path := Path(directory, "libsofthsm2.so")).exists():
            return str(path)
    sys.exit("libsofthsm2.so is missing: install the Debian package softhsm2")


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


def expect(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"this should hold and does not: {what}")


def step(text: str) -> None:
    print(f"\n\033[1m==> {text}\033[0m" if sys.stdout.isatty() else f"\n==> {text}", flush=True)


if __name__ == "__main__":
    main()
