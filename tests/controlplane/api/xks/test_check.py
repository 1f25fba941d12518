"""``keystead xks config`` and ``keystead xks check``: against our own proxy, and against one that breaks promises."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.harness import ROOT, TOKEN, document
from tests.xksclient import HOST, b64
from tests.xksproxied import ACCESS_KEY_ID, SECRET, Proxied
from tests.xksproxy import ACCESS_KEY_ID as THEIR_ID
from tests.xksproxy import KEY, PATH, ScriptedProxy
from tests.xksproxy import SECRET as THEIR_SECRET


def keystead(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYSTEAD_")}
    return subprocess.run(
        [sys.executable, "-m", "controlplane", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**environment, **environ},
        check=False,
    )


def config(proxied: Proxied, *arguments: str) -> subprocess.CompletedProcess[str]:
    return keystead("xks", "config", "bank", *arguments, KEYSTEAD_URL=proxied.server.url, KEYSTEAD_TOKEN=TOKEN)


@pytest.fixture
def authority(shared: Proxied, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    shared.files.ca.cert_pem.write_to_path(str(path))
    return str(path)


# ---- config ----------------------------------------------------------------------------------------------------------


def test_config_prints_the_file_that_the_console_imports(shared: Proxied) -> None:
    done = config(shared)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "XksProxyUriPath": "/bank/kms/xks/v1",
        "XksProxyAuthenticationCredential": {"AccessKeyId": ACCESS_KEY_ID, "RawSecretAccessKey": SECRET},
    }
    assert config(shared, "--access-key-id", ACCESS_KEY_ID, "--json").stdout == done.stdout


def test_config_of_what_is_not_there_is_told(shared: Proxied) -> None:
    done = config(shared, "--access-key-id", "Z" * 20)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no access key" in done.stderr
    missing = keystead("xks", "config", "none", KEYSTEAD_URL=shared.server.url, KEYSTEAD_TOKEN=TOKEN)
    assert "there is no XksProxy none" in missing.stderr


def test_config_needs_a_permission_of_its_own_and_is_in_the_journal(proxied: Proxied) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "keystead:Read", "Resource": "*"}]}
    server = proxied.server
    server.apply("staff", [document("Principal", "reader", policies={"p": {"document": json.dumps(policy)}})])
    token = server.ok("POST", "/v1/principals/reader/tokens")["token"]
    assert server.rest("GET", "/v1/xksproxies/bank", token=token).status == 200
    answer = server.rest("GET", "/v1/xksproxies/bank/configuration", token=token)
    assert answer.status == 403
    assert SECRET not in answer.body.decode()
    assert server.rest("GET", "/v1/xksproxies/bank/configuration").status == 200
    journal = b"".join(path.read_bytes() for path in (server.directory / "audit").rglob("segment-*.jsonl"))
    assert journal.count(b'"operation":"GetXksConfiguration"') == 2
    assert SECRET.encode() not in journal


# ---- check -----------------------------------------------------------------------------------------------------------


def check(url: str, *arguments: str, **environ: str) -> tuple[int, Any]:
    done = keystead("xks", "check", url, *arguments, "--json", **environ)
    return done.returncode, json.loads(done.stdout)


def failed(report: Any) -> set[str]:
    return {each["promise"] for each in report["checks"] if each["verdict"] == "failed"}


def test_check_of_our_own_proxy_passes_every_check(shared: Proxied, authority: str, tmp_path: Path) -> None:
    file = tmp_path / "bank.json"
    file.write_text(config(shared).stdout)
    arguments = ("--config", str(file), "--key", "payments", "--authority", authority, "--samples", "20")
    done = keystead("xks", "check", f"https://{HOST}:{shared.port}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert "P99 MS" in done.stdout
    code, report = check(f"https://{HOST}:{shared.port}", *arguments)
    assert (code, report["passed"]) == (0, True)
    assert failed(report) == set()
    skipped = [each["promise"] for each in report["checks"] if each["verdict"] == "skipped"]
    assert len(skipped) == 1, "mutual TLS is not on"
    assert len(report["checks"]) >= 25
    names = {each["request"] for each in report["latencies"]}
    assert names == {"GetHealthStatus", "GetHealthStatus, connecting", "GetKeyMetadata", "Encrypt", "Decrypt"}
    for each in report["latencies"]:
        assert 0 < each["p50"] <= each["p90"] <= each["p99"] <= each["longest"]


def test_check_without_a_key_tries_what_needs_none(shared: Proxied, authority: str) -> None:
    code, report = check(
        f"https://{HOST}:{shared.port}/bank/kms/xks/v1",
        *("--access-key-id", ACCESS_KEY_ID, "--authority", authority, "--samples", "1"),
        KEYSTEAD_XKS_SECRET=SECRET,
    )
    assert code == 0, report
    verdicts = {each["section"]: each["verdict"] for each in report["checks"]}
    assert verdicts["Decrypt"] == "skipped"


def test_check_with_mutual_tls_tries_without_a_certificate_too(proxied: Proxied, tmp_path: Path) -> None:
    clients = trustme.CA()
    authority, ca = tmp_path / "clients.pem", tmp_path / "ca.pem"
    clients.cert_pem.write_to_path(str(authority))
    proxied.files.ca.cert_pem.write_to_path(str(ca))
    leaf = clients.issue_cert(common_name="cks.kms.eu-west-1.amazonaws.com")
    leaf.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "client.crt"))
    told = {"authority": str(authority), "subjectName": "cks.kms.eu-west-1.amazonaws.com"}
    proxied.spec["tls"] = {**proxied.files.tls, "clients": told}
    proxied.put()
    code, report = check(
        f"https://{HOST}:{proxied.port}/bank/kms/xks/v1",
        *("--access-key-id", ACCESS_KEY_ID, "--authority", str(ca), "--samples", "1"),
        *("--client-certificate", str(tmp_path / "client.crt"), str(tmp_path / "client.key")),
        KEYSTEAD_XKS_SECRET=SECRET,
    )
    assert code == 0, report
    promise = "With mutual TLS, a client without a certificate does not get through the handshake"
    assert {each["promise"]: each["verdict"] for each in report["checks"]}[promise] == "passed"


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[tuple[ScriptedProxy, Callable[[], Any]]]:
    """A vendor's proxy, and its report."""
    proxy = ScriptedProxy()

    def report() -> Any:
        arguments = ("--access-key-id", THEIR_ID, "--authority", proxy.write_ca(tmp_path), "--key", KEY)
        url = f"https://{HOST}:{proxy.port}{PATH}"
        return check(url, *arguments, "--samples", "2", KEYSTEAD_XKS_SECRET=THEIR_SECRET)

    yield proxy, report
    proxy.close()


THEIR_WEAKNESSES = {
    "GET at the URI of an API is 405 Method Not Allowed",
    "Without requestMetadata it is a ValidationException",
    "A missing plaintext, no Base64 or another algorithm is a ValidationException",
}
"""What the scripted proxy does not do, because none of our client's tests needs it: the check has to find each."""


def test_check_finds_what_a_vendors_proxy_does_not_keep(theirs: tuple[ScriptedProxy, Callable[[], Any]]) -> None:
    code, report = theirs[1]()
    assert code == 1
    assert failed(report) == THEIR_WEAKNESSES


def wrong_integrity(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "ciphertextDataIntegrityValue": b64(hashlib.sha256(b"").digest())}


@pytest.mark.parametrize(
    ("api", "change", "promise"),
    [
        ("encrypt", wrong_integrity, "The integrity value is the hash of Appendix C"),
        (
            "encrypt",
            lambda answer: {**answer, "ciphertextMetadata": b64(bytes(21))},
            "Ciphertext as long as the plaintext, IV of 12 or 16 bytes, tag of 16, metadata of at most 20",
        ),
        (
            "decrypt",
            lambda answer: {"plaintext": b64(b"another")},
            "Plaintexts of up to 4300 bytes with up to 8192 bytes of additional data come back",
        ),
        (
            "health",
            lambda answer: {**answer, "ekmFleetDetails": []},
            "The health status has everything that is required",
        ),
        (
            "metadata",
            lambda answer: {**answer, "keyStatus": "DISABLED"},
            "An AES_256 key that is enabled and for ENCRYPT and DECRYPT, as CreateKey wants it",
        ),
    ],
)
def test_check_finds_a_proxy_that_answers_wrongly(
    theirs: tuple[ScriptedProxy, Callable[[], Any]], api: str, change: Callable[[Any], Any], promise: str
) -> None:
    theirs[0].script[api] = change
    code, report = theirs[1]()
    assert code == 1
    assert promise in failed(report) - THEIR_WEAKNESSES


def test_check_counts_answers_that_come_too_late(theirs: tuple[ScriptedProxy, Callable[[], Any]]) -> None:
    theirs[0].script["decrypt"] = lambda _: 0.3
    code, report = theirs[1]()
    assert code == 1
    late = {each["request"]: each["late"] for each in report["latencies"]}
    assert late["Decrypt"] == 2
    assert late["GetHealthStatus"] == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        (
            ("http://a/kms/xks/v1", "--access-key-id", "A"),
            {"KEYSTEAD_XKS_SECRET": "x"},
            "is not the URL of an XKS proxy",
        ),
        (
            ("https://a/kms/xks/v1",),
            {"KEYSTEAD_XKS_SECRET": "x"},
            "give --config FILE, or --access-key-id and a secret",
        ),
        (("https://a/kms/xks/v1", "--access-key-id", "A"), {}, "give the secret with --secret-file"),
        (("https://a:99999/kms/xks/v1", "--access-key-id", "A"), {"KEYSTEAD_XKS_SECRET": "s"}, "is not the URL of an"),
        (("https://[::1/kms/xks/v1", "--access-key-id", "A"), {"KEYSTEAD_XKS_SECRET": "s"}, "is not the URL of an XKS"),
        (("https://a/kms/xks/v1", "--config", "/none"), {}, "cannot be read"),
        (("https://a/kms/xks/v1", "--config", __file__), {}, "is not what `keystead xks config` prints"),
    ],
)
def test_check_that_cannot_begin_says_what_is_missing(
    arguments: tuple[str, ...], environ: dict[str, str], told: str
) -> None:
    done = keystead("xks", "check", *arguments, **environ)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_check_of_nothing_at_all_is_a_report_of_failures(tmp_path: Path) -> None:
    proxy = ScriptedProxy()
    authority, port = proxy.write_ca(tmp_path), proxy.port
    proxy.close()
    url = f"https://{HOST}:{port}{PATH}"
    code, report = check(url, "--access-key-id", THEIR_ID, "--authority", authority, KEYSTEAD_XKS_SECRET=THEIR_SECRET)
    assert code == 1
    assert any("no answer" in each.get("detail", "") for each in report["checks"])
    assert {each["verdict"] for each in report["checks"]} == {"failed", "skipped"}, "nobody kept anything"
