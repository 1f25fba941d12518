"""Keys of an HSM, as others see them: gone after their window, reported and taken over where they are not ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli import main as cli
from tests.harness import TOKEN, Server, document, eventually
from tests.hsm import SoftToken, pin_file

FOREIGN = "somebodys-key"


@pytest.fixture
def token(tmp_path: Path) -> SoftToken:
    return SoftToken(tmp_path / "hsm")


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server().start()


def declared(token: SoftToken, directory: Path) -> dict[str, Any]:
    return document("KeyStore", "hsm", type="pkcs11", pkcs11={**token.options(workers=1), "pin": pin_file(directory)})


def labels(token: SoftToken) -> list[str]:
    lines = (line.strip() for line in token.objects().splitlines())
    return sorted(line.partition(":")[2].strip() for line in lines if line.startswith("label:"))


def test_a_key_of_others_is_reported_left_alone_and_taken_over_when_somebody_says_so(
    server: Server,
    token: SoftToken,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    token.tool("--keygen", "--key-type", "AES:32", "--label", FOREIGN, "--extractable")
    server.apply("hsm", [declared(token, tmp_path), document("Key", "ours", keyStore="hsm")])
    before = token.objects()
    found = [item["message"] for item in server.ok("GET", "/v1/drift")["items"] if item["reason"] == "NotManaged"]
    assert len(found) == 1
    assert found[0].startswith(f"{FOREIGN} is in it")
    assert "keystead adopt" in found[0]
    assert token.objects() == before
    assert "extractable" in before

    monkeypatch.setenv("KEYSTEAD_URL", server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)
    words = ["adopt", FOREIGN, "--key-store", "hsm", "--as", "taken", "--spec-set", "hsm"]
    assert cli.main(words) == 0, capsys.readouterr()
    key = server.ok("GET", "/v1/keys/taken")
    key_id = eventually(lambda: server.ok("GET", "/v1/keys/taken")["status"].get("keyId"), "it has a key id")
    kms = server.kms()
    eventually(lambda: kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Enabled", "it is taken over")
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"under a key of others")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"under a key of others"
    after = token.objects()
    assert FOREIGN not in labels(token)
    assert len(labels(token)) == 2
    assert all(label.startswith("keystead:") for label in labels(token))
    assert any(key["metadata"]["uid"] in label for label in labels(token))
    assert after.count("sensitive") >= 2
    assert ", extractable" not in after, "from now on it does not leave the HSM"
    assert not [item for item in server.ok("GET", "/v1/drift")["items"] if item["reason"] == "NotManaged"]


def test_the_command_line_says_since_when_and_why_an_hsm_is_not_connected(
    server: Server,
    token: SoftToken,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KEYSTEAD_URL", server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)

    def said(*words: str) -> str:
        assert cli.main(words) == 0
        return " ".join(capsys.readouterr().out.split())

    token.remove()
    server.ok("PUT", "/v1/keystores/hsm", declared(token, tmp_path))
    eventually(lambda: "FAILED" in said("get", "keystores"), "the table says that it failed")
    assert re.search(r"\bhsm FAILED pkcs11 - \d+[sm] Misconfigured", said("get", "keystores"))
    told = said("describe", "keystore", "hsm")
    assert re.search(r"Connected False Misconfigured \d+[sm] .*no such token in any slot", told), told
    token.bring_back()
    eventually(lambda: "hsm CONNECTED" in said("get", "keystores"), "the table says that it is connected")
    assert re.search(r"Connected True Connected \d+[sm] the token answers", said("describe", "keystore", "hsm"))
