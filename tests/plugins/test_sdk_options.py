"""Options are strict, and secrets are read from private places only."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from plugins.memory import MemoryOptions
from plugins.sdk import CredentialsRefused, Misconfigured, SecretSource, read_private_file
from plugins.software import FileRootKey, PassphraseRootKey, SoftwareOptions


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_software_options_read_as_spec_files_spell_them() -> None:
    by_file = msgspec.convert({"rootKey": {"provider": "file", "path": "/k"}, "cacheSize": 5}, SoftwareOptions)
    assert by_file == SoftwareOptions(root_key=FileRootKey(path="/k"), cache_size=5)
    spelled = {"rootKey": {"provider": "passphrase", "passphrase": {"fromEnv": "P"}}, "domainKeyRotationDays": 1}
    by_passphrase = msgspec.convert(spelled, SoftwareOptions)
    assert by_passphrase.root_key == PassphraseRootKey(passphrase=SecretSource(from_env="P"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rootKey": {"provider": "file"}},
        {"rootKey": {"provider": "kms", "path": "/k"}},
        {"rootKey": {"path": "/k"}},
        {"rootKey": {"provider": "file", "path": "/k", "passphrase": {"fromEnv": "P"}}},
        {"root_key": {"provider": "file", "path": "/k"}},
        {"rootKey": {"provider": "file", "path": "/k"}, "cacheSize": 0},
        {"rootKey": {"provider": "file", "path": "/k"}, "domainKeyRotationDays": 0},
        {"rootKey": {"provider": "file", "path": "/k"}, "domainKeyRotationDays": 1.5},
        {"rootKey": {"provider": "file", "path": "/k"}, "colour": "blue"},
    ],
)
def test_software_options_refuse_what_they_do_not_know(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, SoftwareOptions)


def test_memory_options_refuse_unknown_effects() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"faults": [{"call": "create", "effect": "explode"}]}, MemoryOptions)


def test_memory_options_do_not_print_the_pin() -> None:
    assert "1234" not in repr(MemoryOptions(pin="1234", expected_pin="1234"))


@pytest.mark.parametrize("source", [SecretSource(), SecretSource(from_file="/a", from_env="B")])
def test_a_secret_has_exactly_one_source(source: SecretSource) -> None:
    with pytest.raises(Misconfigured, match="exactly one"):
        source.read("pin")


def test_a_secret_from_a_file_loses_one_newline_only(tmp_path: Path) -> None:
    path = private(tmp_path / "pin", b" 12 34\n\n")
    assert SecretSource(from_file=str(path)).read("pin").expose() == b" 12 34\n"
    path.write_bytes(b"1234\r\n")
    assert SecretSource(from_file=str(path)).read("pin").expose() == b"1234"


def test_an_unset_or_empty_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYSTEAD_TEST_PIN", raising=False)
    with pytest.raises(Misconfigured, match="KEYSTEAD_TEST_PIN"):
        SecretSource(from_env="KEYSTEAD_TEST_PIN").read("pin")
    monkeypatch.setenv("KEYSTEAD_TEST_PIN", "")
    with pytest.raises(Misconfigured, match="KEYSTEAD_TEST_PIN"):
        SecretSource(from_env="KEYSTEAD_TEST_PIN").read("pin")
    monkeypatch.setenv("KEYSTEAD_TEST_PIN", "1234")
    assert SecretSource(from_env="KEYSTEAD_TEST_PIN").read("pin").expose() == b"1234"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602, 0o610])
def test_a_secret_file_that_others_can_reach_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "pin", b"1234")
    path.chmod(mode)
    with pytest.raises(CredentialsRefused, match="chmod 600") as caught:
        read_private_file(path, "pin")
    assert caught.value.reason == "SecretFileExposed"
    assert "1234" not in str(caught.value)


def test_a_secret_file_that_is_missing_empty_large_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="does not exist"):
        read_private_file(tmp_path / "none", "pin")
    with pytest.raises(Misconfigured, match="not a regular file"):
        read_private_file(tmp_path, "pin")
    with pytest.raises(Misconfigured, match="larger"):
        read_private_file(private(tmp_path / "large", b"x" * 65_537), "pin")
    with pytest.raises(Misconfigured, match="empty"):
        SecretSource(from_file=str(private(tmp_path / "empty", b"\n"))).read("pin")
