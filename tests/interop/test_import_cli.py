"""``keystead import-material`` against a real server: the steps, what is refused, and what is never written."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from controlplane.cli import main as cli
from controlplane.schema.imports import ImportParameters
from tests.harness import TOKEN, Server, document
from tests.interop.openssl import OpenSsl


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(
    shared_server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    monkeypatch.setenv("KEYSTEAD_URL", shared_server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ran:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def key(shared_server: Server, request: pytest.FixtureRequest) -> str:
    """A key of origin EXTERNAL, declared under a name of the test's own."""
    name = f"cli-{abs(hash(request.node.name)) % 10**9}"
    spec = getattr(request, "param", {"keySpec": "SYMMETRIC_DEFAULT"})
    shared_server.apply(name, [document("Key", name, origin="EXTERNAL", **spec)])
    return name


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    return OpenSsl(tmp_path)


def ok(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


def test_the_four_steps_bring_material_in(run: Run, key: str, openssl: OpenSsl, shared_server: Server) -> None:
    assert "not begun" in ok(run("import-material", key, "status")).out
    told = ok(run("import-material", key, "parameters", "--out", "given")).out
    assert f"keystead import-material {key} upload" in told
    assert {path.name for path in Path("given").iterdir()} == {
        "parameters.json",
        "wrapping-key.der",
        "import-token.bin",
    }
    assert "[>] wrapped" in ok(run("import-material", key, "status")).out
    material = openssl.material("SYMMETRIC_DEFAULT", "key.bin")
    wrapped = ok(
        run("import-material", "wrap", "--parameters", "given", "--in", "key.bin", "--out", "given/wrapped.bin")
    )
    assert "key.bin is as it was" in wrapped.out
    done = ok(run("import-material", key, "upload", "--parameters", "given", "--valid-days", 30, "--json")).json
    assert done["keyState"] == "Enabled"
    status = ok(run("import-material", key, "status")).out
    for step in ("parameters issued", "wrapped", "uploaded", "imported"):
        assert f"[x] {step}" in status
    assert done["keyMaterialId"] in status
    report = ok(run("import-material", key, "status", "--json")).json
    by_name = {step["step"]: step for step in report["steps"]}
    at = {name: datetime.fromisoformat(step["at"]) for name, step in by_name.items()}
    assert at["parametersIssued"] - timedelta(seconds=1) <= at["wrapped"] <= at["uploaded"] == at["imported"]
    assert by_name["expired"]["state"] == "ahead"
    everything = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.name != "key.bin")
    assert material not in everything
    described = ok(run("describe", "key", key, "--json")).json
    assert described["status"]["importing"]["materialId"] == done["keyMaterialId"]
    reasons = [event["reason"] for event in shared_server.ok("GET", "/v1/events")["items"] if event["name"] == key]
    assert reasons[-2:] == ["ImportParametersIssued", "MaterialImported"]


def test_wrapping_needs_no_server(run: Run, key: str, openssl: OpenSsl, monkeypatch: pytest.MonkeyPatch) -> None:
    ok(run("import-material", key, "parameters", "--out", "given"))
    openssl.material("SYMMETRIC_DEFAULT", "key.bin")

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("wrap opened a socket")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.delenv("KEYSTEAD_TOKEN")
    monkeypatch.setenv("KEYSTEAD_URL", "http://127.0.0.1:1")
    ok(run("import-material", "wrap", "--parameters", "given", "--in", "key.bin", "--out", "wrapped.bin"))


@pytest.mark.parametrize("key", [{"keySpec": "RSA_2048", "keyUsage": "SIGN_VERIFY"}], indirect=True)
@pytest.mark.parametrize("form", ["pkcs8", "pem", "traditional"])
def test_a_private_key_may_come_in_every_form_that_openssl_writes(
    run: Run, key: str, openssl: OpenSsl, form: str
) -> None:
    ok(run("import-material", key, "parameters", "--out", f"given-{form}"))
    openssl.material("RSA_2048", "key.der")
    if form == "traditional":
        openssl("rsa", "-in", "private.pem", "-traditional", "-out", "traditional.pem")
    source = {"pkcs8": "key.der", "pem": "private.pem", "traditional": "traditional.pem"}[form]
    ok(run("import-material", "wrap", "--parameters", f"given-{form}", "--in", source, "--out", f"{form}.wrapped"))


@pytest.mark.parametrize("key", [{"keySpec": "ECC_NIST_P256", "keyUsage": "SIGN_VERIFY"}], indirect=True)
def test_material_that_the_key_would_refuse_is_refused_before_it_leaves(run: Run, key: str, openssl: OpenSsl) -> None:
    ok(run("import-material", key, "parameters", "--out", "given"))
    openssl.material("ECC_NIST_P384", "other.der")
    openssl.material("ECC_NIST_P256", "right.der")
    openssl("pkcs8", "-topk8", "-in", "private.pem", "-out", "encrypted.pem", "-passout", "pass:secret-word")
    openssl.put("empty", b"")
    openssl.put("huge", bytes(20_000))
    openssl.put("junk", b"junk" * 20)
    for name, words in {
        "other.der": "secp384r1",
        "public.der": "public key",
        "encrypted.pem": "openssl pkcs8",
        "empty": "is empty",
        "huge": "more than",
        "junk": "no private key",
        "missing": "No such file",
    }.items():
        ran = run("import-material", "wrap", "--parameters", "given", "--in", name, "--out", "out.bin")
        assert ran.code == 1
        assert words in ran.err, (name, ran.err)
        assert not Path("out.bin").exists()
        assert not [path for path in Path().iterdir() if path.name.startswith(".out")]


def test_a_secret_key_of_the_wrong_length_says_which_is_right(run: Run, key: str) -> None:
    ok(run("import-material", key, "parameters", "--out", "given"))
    Path("key.bin").write_bytes(b"x" * 31)
    ran = run("import-material", "wrap", "--parameters", "given", "--in", "key.bin", "--out", "w")
    assert ran.code == 1
    assert "exactly 32 octets" in ran.err
    assert "openssl rand" in ran.err


def test_nothing_is_overwritten_and_each_set_of_parameters_has_its_directory(run: Run, key: str) -> None:
    ok(run("import-material", key, "parameters", "--out", "given"))
    again = run("import-material", key, "parameters", "--out", "given")
    assert again.code == 1
    assert "not empty" in again.err
    Path("key.bin").write_bytes(b"x" * 32)
    Path("out").write_bytes(b"precious")
    ran = run("import-material", "wrap", "--parameters", "given", "--in", "key.bin", "--out", "out")
    assert ran.code == 1
    assert "not overwritten" in ran.err
    assert Path("out").read_bytes() == b"precious"
    ok(run("import-material", "wrap", "--parameters", "given", "--in", "key.bin", "--out", "fresh"))
    assert Path("fresh").stat().st_mode & 0o777 == 0o600
    assert Path("given").stat().st_mode & 0o777 == 0o700


def test_parameters_of_another_key_or_that_expired_are_told_before_anything_is_sent(
    run: Run, key: str, shared_server: Server
) -> None:
    shared_server.apply("cli-other", [document("Key", "cli-other", origin="EXTERNAL")])
    ok(run("import-material", "cli-other", "parameters", "--out", "theirs"))
    Path("key.bin").write_bytes(b"x" * 32)
    ok(run("import-material", "wrap", "--parameters", "theirs", "--in", "key.bin", "--out", "w"))
    ran = run("import-material", key, "upload", "--parameters", "theirs", "--in", "w")
    assert ran.code == 1
    assert "cli-other" in ran.err
    given = msgspec.json.decode(Path("theirs/parameters.json").read_bytes(), type=ImportParameters)
    old = msgspec.structs.replace(given, valid_to=datetime.now(UTC) - timedelta(seconds=1))
    Path("theirs/parameters.json").write_bytes(msgspec.json.encode(old))
    ran = run("import-material", "wrap", "--parameters", "theirs", "--in", "key.bin", "--out", "w2")
    assert ran.code == 1
    assert "expired" in ran.err
    Path("theirs/parameters.json").write_bytes(b"{}")
    ran = run("import-material", "wrap", "--parameters", "theirs", "--in", "key.bin", "--out", "w2")
    assert ran.code == 1
    assert "no import parameters" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--valid-to", "tomorrow"), "--valid-to takes a time"),
        (("--valid-to", "2020-01-01T00:00:00Z"), "future"),
        (("--valid-to", "2030-01-01", "--valid-days", "3"), "not both"),
        (("--valid-days", "366"), "1<=x<=365"),
        (("--material-id", "nothing"), "wrong"),
        (("--new", "--material-id", "ab" * 32), "NEW_KEY_MATERIAL"),
    ],
)
def test_a_wrong_option_says_what_would_be_right(run: Run, key: str, arguments: tuple[str, ...], words: str) -> None:
    ok(run("import-material", key, "parameters", "--out", "given"))
    Path("key.bin").write_bytes(b"x" * 32)
    ok(run("import-material", "wrap", "--parameters", "given", "--in", "key.bin", "--out", "given/wrapped.bin"))
    ran = run("import-material", key, "upload", "--parameters", "given", *arguments)
    assert ran.code == 1
    assert words in ran.err
    assert "PendingImport" in ok(run("import-material", key, "status")).out


def test_material_is_deleted_on_request_only(run: Run, key: str) -> None:
    ok(run("import-material", key, "parameters", "--out", "given"))
    Path("key.bin").write_bytes(b"x" * 32)
    ok(run("import-material", "wrap", "--parameters", "given", "--in", "key.bin", "--out", "given/wrapped.bin"))
    ok(run("import-material", key, "upload", "--parameters", "given"))
    asked = run("import-material", key, "delete")
    assert asked.code == 1
    assert "--yes" in asked.err
    ok(run("import-material", key, "delete", "--yes"))
    assert "PendingImport" in ok(run("import-material", key, "status")).out


def test_a_key_with_material_of_our_own_says_so(run: Run, shared_server: Server) -> None:
    shared_server.apply("cli-own", [document("Key", "cli-own")])
    ran = run("import-material", "cli-own", "parameters", "--out", "given")
    assert ran.code == 1
    assert "origin is AWS_KMS" in ran.err
    assert run("import-material", "status").code == 1
    assert "say which key" in run("import-material", "upload", "--parameters", "given").err


@pytest.fixture(autouse=True)
def leftovers(tmp_path: Path) -> Iterator[None]:
    """Whatever a command did, no file of the test directory begins with a dot: nothing half-written stays."""
    yield
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
