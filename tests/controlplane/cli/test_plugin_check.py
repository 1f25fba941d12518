"""``keystead plugin check``: a report that a person can act on, and an exit code that a script can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import ROOT
from tests.hsm import PIN, SoftToken, pin_file

BROKEN = '''
from plugins.memory import MemoryKeyStore
from plugins.sdk import Capabilities, Custody, Health, KeySpec, KeyStorePlugin, KeyUsage, Unavailable, Unsupported


class Careless(MemoryKeyStore):
    """Destroys nothing, and says that it did."""

    async def destroy(self, ref):
        return None


class Layer(KeyStorePlugin):
    """Puts nothing around what the standard store makes."""

    store = None

    async def open(self):
        self.store = self.context.inner
        specs = {KeySpec.SYMMETRIC_DEFAULT: frozenset({KeyUsage.ENCRYPT_DECRYPT})}
        return Capabilities(Custody.TOKEN, specs, random=False)

    async def close(self):
        self.store = None

    async def probe(self):
        return Health(healthy=True)

    async def observe(self, ref):
        return await self.inner.observe(ref)

    async def create(self, ref):
        if ref.key_spec is not KeySpec.SYMMETRIC_DEFAULT:
            raise Unsupported("symmetric keys only")
        return await self.inner.create(ref)

    async def destroy(self, ref):
        await self.inner.destroy(ref)

    async def encrypt(self, ref, algorithm, plaintext, aad):
        return await self.inner.encrypt(ref, algorithm, plaintext, aad)

    async def decrypt(self, ref, algorithm, ciphertext, aad):
        return await self.inner.decrypt(ref, algorithm, ciphertext, aad)

    @property
    def inner(self):
        if self.store is None:
            raise Unavailable("it is not open")
        return self.store


class Closed(MemoryKeyStore):
    async def open(self):
        raise Unavailable("the device is switched off")


class Newer(MemoryKeyStore):
    contract = 2


class Rude(MemoryKeyStore):
    async def open(self):
        raise ValueError("nobody expects this")
'''


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which a distribution with wrong plugins is installed."""
    site = tmp_path / "site"
    info = site / "broken_plugins-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "broken_plugins.py").write_text(BROKEN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugins\nVersion: 1.0\n")
    names = "\n".join(
        f"{name.lower()} = broken_plugins:{name}" for name in ("Careless", "Closed", "Layer", "Newer", "Rude")
    )
    (info / "entry_points.txt").write_text(f"[keystead.keystores]\n{names}\n")
    return {"PYTHONPATH": f"{ROOT}:{site}", "PYTEST_ADDOPTS": "--no-such-option"}


def check(
    name: str,
    config: Path,
    *words: str,
    code: int,
    environment: dict[str, str] | None = None,
    program: Sequence[str] = ("-m", "controlplane"),
) -> str:
    """Run it; what it said."""
    done = subprocess.run(
        [sys.executable, *program, "plugin", "check", name, "--config", str(config), *words],
        cwd=config.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def written(directory: Path, content: Any, name: str = "config.yaml") -> Path:
    path = directory / name
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_plugin_that_conforms_passes_and_what_it_does_not_offer_is_told(tmp_path: Path) -> None:
    document = {
        "apiVersion": "keystead/v1",
        "kind": "KeyStore",
        "metadata": {"name": "hsm"},
        "spec": {"type": "pkcs11", "pkcs11": {}},
    }
    token = SoftToken(tmp_path / "hsm")
    token.tool("--keygen", "--key-type", "AES:32", "--label", "of-others")
    token.tool("--keygen", "--key-type", "AES:32", "--label", "to-be-left-alone")
    pin = Path(pin_file(tmp_path)["fromFile"])
    document["spec"]["pkcs11"] = {**token.options(), "pin": {"fromFile": pin.name}}  # type: ignore[index]
    said = json.loads(check("pkcs11", written(tmp_path, document), "--foreign-key", "of-others", "--json", code=0))
    assert said["failures"] == []
    assert said["passed"] > 40
    assert said["keySpecs"] == ["SYMMETRIC_DEFAULT"]
    assert {"import", "replication", "external keys"} <= said["notDeclared"].keys()
    assert PIN not in json.dumps(said)
    left = token.objects()
    assert "to-be-left-alone" in left
    assert left.count("Secret Key Object") == 1, "the check leaves nothing behind"


def test_a_plugin_that_breaks_a_promise_fails_and_the_promise_is_named(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    config = written(tmp_path, {})
    said = check("careless", config, code=1, environment=installed)
    assert "FAILED  destroyed material is gone whatever the host still holds" in said
    assert "FAILED  foreign material is taken over once and usable" in said
    assert "name a key that others made with --foreign-key" in said
    assert "Plugin careless does not conform:" in said
    assert "Not declared, so not tested:" in said


def test_a_layer_around_the_standard_store_gets_one_to_be_around(tmp_path: Path, installed: dict[str, str]) -> None:
    said = check("layer", written(tmp_path, {}), code=0, environment=installed)
    assert "Plugin layer conforms:" in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("closed", "the key store does not open: the device is switched off"),
        ("rude", "the plugin failed with ValueError, which is no error of the SDK"),
        ("newer", "speaks contract 2, this Keystead speaks 1"),
        (
            "unheard-of",
            "there is no key store plugin for type unheard-of; installed are: careless, closed, layer, memory",
        ),
    ],
)
def test_a_plugin_that_cannot_be_examined_is_told_why(
    tmp_path: Path, installed: dict[str, str], name: str, sentence: str
) -> None:
    assert sentence in " ".join(check(name, written(tmp_path, {}), code=1, environment=installed).split())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"module": "libsofthsm2.so", "modul": "x"}, "unknown field `modul`"),
        ({"module": "libsofthsm2.so"}, "name the token by token"),
        ({"apiVersion": "keystead/v1", "kind": "KeyStore"}, "metadata"),
        (
            {
                "apiVersion": "keystead/v1",
                "kind": "KeyStore",
                "metadata": {"name": "a"},
                "spec": {"type": "memory", "memory": {}},
            },
            "has 0 KeyStore documents of type pkcs11, and one is needed",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(tmp_path: Path, content: Any, sentence: str) -> None:
    assert sentence in check("pkcs11", written(tmp_path, content), code=1)


def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in check("memory", tmp_path / "none.yaml", code=1)
