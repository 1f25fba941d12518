"""Finding plugins: by name, importing the one that is asked for, and refusing what cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from controlplane.clock import ManualClock
from controlplane.errors import KeyStoreFailure, NotFound, StartupRefused
from controlplane.keystores import discovery
from controlplane.keystores.connections import Connections
from plugins.memory import MemoryKeyStore
from plugins.memory.faults import LEAKED_SECRET
from plugins.sdk import CONTRACT_VERSION, PluginContext
from plugins.sdk.conformance import MemoryState
from plugins.sdk.options import Options


class FromTheFuture(MemoryKeyStore):
    contract = CONTRACT_VERSION + 1


class Failing(MemoryKeyStore):
    def __init__(self, options: Options, context: PluginContext) -> None:
        raise RuntimeError(f"pin={LEAKED_SECRET}")


class NoPlugin:
    """Something else."""


def install(monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    """Pretend that these plugins are installed; a name with a trailing underscore is that name once more."""
    found = EntryPoints(EntryPoint(name.rstrip("_"), value, discovery.GROUP) for name, value in entries.items())
    monkeypatch.setattr(discovery, "entry_points", lambda group: found.select(group=group))


def loaded_after(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_names_are_listed_without_importing_a_plugin() -> None:
    loaded = loaded_after(
        "from controlplane.keystores.discovery import plugin_names; assert 'memory' in plugin_names()"
    )
    assert not {name for name in loaded if name.startswith(("plugins.memory", "plugins.software"))}
    assert "cryptography" not in loaded


def test_exactly_the_plugin_that_is_asked_for_is_imported() -> None:
    loaded = loaded_after("from controlplane.keystores.discovery import load_plugin; load_plugin('memory')")
    assert "plugins.memory.plugin" in loaded
    assert not {name for name in loaded if name.startswith("plugins.software")}


def test_our_own_plugins_are_found_like_everyones() -> None:
    assert {"standard", "memory"} <= set(discovery.plugin_names())
    assert discovery.load_plugin("memory") is MemoryKeyStore


def test_an_unknown_type_is_told_with_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, b="x:Y", a="x:Y")
    with pytest.raises(NotFound, match=r"type hsm; installed are: a, b$"):
        discovery.load_plugin("hsm")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (f"{__name__}:FromTheFuture", f"speaks contract {CONTRACT_VERSION + 1}.*upgrade Keystead"),
        (f"{__name__}:NoPlugin", "is not a KeyStorePlugin"),
        (f"{__name__}:install", "is not a KeyStorePlugin"),
        (f"{__name__}:Absent", "cannot be imported: AttributeError"),
        ("no_such_package:Plugin", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, entry: str, message: str
) -> None:
    install(monkeypatch, hsm=entry)
    with pytest.raises(StartupRefused, match=message):
        discovery.load_plugin("hsm")


def test_two_plugins_for_one_type_are_refused_because_one_of_them_may_be_an_impostor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, standard="plugins.memory:MemoryKeyStore", standard_="somewhere.else:Plugin")
    with pytest.raises(StartupRefused, match=r"two plugins.*plugins\.memory:MemoryKeyStore and somewhere\.else:Plugin"):
        discovery.load_plugin("standard")
    install(monkeypatch, memory="plugins.memory:MemoryKeyStore", memory_="plugins.memory:MemoryKeyStore")
    assert discovery.load_plugin("memory") is MemoryKeyStore, "one plugin that is seen twice is one"


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def connections(clock: ManualClock) -> Connections:
    return Connections(lambda name: MemoryState(), clock)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pni": "1"}, "pni"),
        ({"pin": 1}, r"\$\.pin"),
        ({"expected_pin": "1"}, "expected_pin"),
        ({"faults": [{"call": "x", "effect": "explode"}]}, "explode"),
    ],
)
async def test_wrong_options_are_told_with_the_store_and_the_field(
    connections: Connections, options: dict[str, object], message: str
) -> None:
    with pytest.raises(KeyStoreFailure, match=f"options of key store hsm-a: .*{message}") as caught:
        connections.prepare("hsm-a", "memory", options)
    assert caught.value.reason == "Misconfigured"


async def test_a_plugin_that_fails_to_start_is_told_without_what_it_said(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, hsm=f"{__name__}:Failing")
    with pytest.raises(KeyStoreFailure, match="failed to start with RuntimeError") as caught:
        connections.prepare("hsm-a", "hsm", {})
    assert LEAKED_SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
