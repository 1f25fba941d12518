"""The root key: made once, recognised always, never replaced, never shown."""

# ruff: noqa: ASYNC240  (a test may block its own event loop)
from __future__ import annotations

import base64
import json
import stat
import traceback
from pathlib import Path

import pytest

from plugins.sdk import CredentialsRefused, MaterialDamaged, Misconfigured, SecretSource
from plugins.sdk.conformance import MemoryState
from plugins.software import PassphraseRootKey, SoftwareKeyStore
from tests.plugins.conftest import StoreMaker, create

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def passphrase(monkeypatch: pytest.MonkeyPatch) -> PassphraseRootKey:
    monkeypatch.setenv("KEYSTEAD_TEST_PASSPHRASE", PASSPHRASE)
    return PassphraseRootKey(passphrase=SecretSource(from_env="KEYSTEAD_TEST_PASSPHRASE"))


async def test_provision_makes_one_private_line(make_store: StoreMaker, root_key_path: Path) -> None:
    await make_store().provision()
    label, encoded = root_key_path.read_bytes().removesuffix(b"\n").split(b" ")
    assert label == b"KEYSTEAD-ROOT-KEY-1"
    assert len(base64.b64decode(encoded, validate=True)) == 32
    assert stat.S_IMODE(root_key_path.stat().st_mode) == 0o600


async def test_provision_never_overwrites_a_root_key(make_store: StoreMaker, root_key_path: Path) -> None:
    await make_store().provision()
    before = root_key_path.read_bytes()
    with pytest.raises(Misconfigured, match="never overwritten"):
        await make_store().provision()
    assert root_key_path.read_bytes() == before


async def test_provision_does_not_follow_a_link_to_elsewhere(make_store: StoreMaker, root_key_path: Path) -> None:
    root_key_path.symlink_to(root_key_path.with_name("elsewhere"))
    with pytest.raises(Misconfigured):
        await make_store().provision()
    assert not root_key_path.with_name("elsewhere").exists()


async def test_provision_refuses_a_store_that_has_records(
    store: SoftwareKeyStore, make_store: StoreMaker, root_key_path: Path
) -> None:
    root_key_path.unlink()
    with pytest.raises(Misconfigured, match="already"):
        await make_store().provision()
    assert not root_key_path.exists()


async def test_provision_into_a_missing_directory_names_the_path(make_store: StoreMaker, root_key_path: Path) -> None:
    root_key_path.parent.rmdir()
    with pytest.raises(Misconfigured, match=str(root_key_path)):
        await make_store().provision()


async def test_a_new_store_without_a_root_key_says_how_to_make_one(make_store: StoreMaker, state: MemoryState) -> None:
    with pytest.raises(Misconfigured, match="keystead init"):
        await make_store().open()
    assert state.values == {}


async def test_a_missing_root_key_of_a_store_with_keys_is_never_made_anew(
    store: SoftwareKeyStore, make_store: StoreMaker, root_key_path: Path, state: MemoryState
) -> None:
    before = dict(state.values)
    root_key_path.unlink()
    with pytest.raises(CredentialsRefused, match="restore") as caught:
        await make_store().open()
    assert caught.value.reason == "RootKeyMissing"
    assert str(root_key_path) in str(caught.value)
    assert not root_key_path.exists()
    assert state.values == before


async def test_another_root_key_is_recognised_before_anything_changes(
    store: SoftwareKeyStore, make_store: StoreMaker, root_key_path: Path, state: MemoryState
) -> None:
    before = dict(state.values)
    other = base64.b64encode(b"\x01" * 32)
    root_key_path.write_bytes(b"KEYSTEAD-ROOT-KEY-1 " + other + b"\n")
    with pytest.raises(CredentialsRefused, match=str(root_key_path)) as caught:
        await make_store().open()
    assert caught.value.reason == "RootKeyMismatch"
    assert other.decode() not in "".join(traceback.format_exception(caught.value))
    assert state.values == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage-secret",
        b"\xff" * 50,
        b"KEYSTEAD-ROOT-KEY-1\n",
        b"KEYSTEAD-ROOT-KEY-1 c2hvcnQ=\n",
        b"KEYSTEAD-ROOT-KEY-2 " + base64.b64encode(bytes(32)) + b"\n",
        b"KEYSTEAD-ROOT-KEY-1 " + base64.b64encode(bytes(32)) + b"\n\n",
        b"KEYSTEAD-ROOT-KEY-1 " + base64.b64encode(bytes(33)) + b"\n",
    ],
)
async def test_a_root_key_file_that_is_not_one_is_refused_without_showing_it(
    store: SoftwareKeyStore, make_store: StoreMaker, root_key_path: Path, content: bytes
) -> None:
    root_key_path.write_bytes(content)
    with pytest.raises(CredentialsRefused) as caught:
        await make_store().open()
    assert caught.value.reason == "RootKeyMalformed"
    assert "garbage-secret" not in "".join(traceback.format_exception(caught.value))


async def test_a_root_key_that_others_can_read_is_refused(
    store: SoftwareKeyStore, make_store: StoreMaker, root_key_path: Path
) -> None:
    root_key_path.chmod(0o644)
    with pytest.raises(CredentialsRefused, match="chmod 600"):
        await make_store().open()


async def test_a_passphrase_opens_the_store_that_it_made(
    make_store: StoreMaker, passphrase: PassphraseRootKey, state: MemoryState
) -> None:
    store = make_store(root_key=passphrase)
    await store.provision()
    await store.open()
    ref = await create(store, "a")
    again = make_store(root_key=passphrase)
    await again.open()
    assert await again.observe(ref) is not None
    recorded = json.loads(state.values["root"])["argon2id"]
    assert (recorded["iterations"], recorded["lanes"], recorded["memory_kib"]) == (3, 4, 65_536)
    assert all(PASSPHRASE.encode() not in value for value in state.values.values())
    assert PASSPHRASE not in f"{again!r} {vars(again)!r}"


async def test_another_passphrase_is_recognised(
    make_store: StoreMaker, passphrase: PassphraseRootKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_store(root_key=passphrase).open()
    monkeypatch.setenv("KEYSTEAD_TEST_PASSPHRASE", "wrong-passphrase")
    with pytest.raises(CredentialsRefused, match=r"rootKey\.passphrase") as caught:
        await make_store(root_key=passphrase).open()
    assert caught.value.reason == "RootKeyMismatch"
    assert "wrong-passphrase" not in "".join(traceback.format_exception(caught.value))


async def test_another_provider_is_refused_by_name(
    store: SoftwareKeyStore, make_store: StoreMaker, passphrase: PassphraseRootKey
) -> None:
    with pytest.raises(CredentialsRefused, match="'file'"):
        await make_store(root_key=passphrase).open()


@pytest.mark.parametrize(
    ("parameter", "hostile"),
    [("memory_kib", 1 << 30), ("iterations", 1 << 20), ("lanes", 1 << 20), ("salt", "c2hvcnQ="), ("memory_kib", 0)],
)
async def test_a_hostile_record_cannot_ask_for_a_terabyte(
    make_store: StoreMaker, passphrase: PassphraseRootKey, state: MemoryState, parameter: str, hostile: object
) -> None:
    await make_store(root_key=passphrase).open()
    record = json.loads(state.values["root"])
    record["argon2id"][parameter] = hostile
    state.values["root"] = json.dumps(record).encode()
    with pytest.raises(MaterialDamaged, match="'root'"):
        await make_store(root_key=passphrase).open()


async def test_a_record_of_a_newer_format_is_refused_as_such(
    store: SoftwareKeyStore, make_store: StoreMaker, state: MemoryState
) -> None:
    state.values["root"] = state.values["root"].replace(b'"format":1', b'"format":2,"news":true')
    with pytest.raises(Misconfigured, match="newer"):
        await make_store().open()
