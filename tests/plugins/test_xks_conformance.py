"""The xks plugin proves what every plugin must prove, against our own proxy in front of a key of the standard store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.sdk import KeptSecretSource, KeyStorePlugin, PluginContext
from plugins.sdk.conformance import KeyStoreConformance, MemoryState
from plugins.software import FileRootKey, SoftwareKeyStore, SoftwareOptions
from plugins.xks import CAPABILITIES, XksKeyStore, XksOptions
from plugins.xks.options import XksCredentialOptions
from tests.controlplane.cli.test_plugin_check import check, written
from tests.harness import Server, document
from tests.xksclient import HOST, ProxyFiles
from tests.xksproxied import ACCESS_KEY_ID, SECRET, Proxied, start

PATIENT_MILLISECONDS = 10_000
"""The suite is about right answers; a machine that runs many tests at once takes longer than KMS waits."""


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    directory = tmp_path_factory.mktemp("xks-conformance")
    server = Server(directory / "data")
    try:
        yield start(server, ProxyFiles(directory / "files"))
        server.stop()
    finally:
        server.end()


class Inner:
    """The standard key store as the host offers it, opened with its first use."""

    def __init__(self, store: SoftwareKeyStore, root_key: Path) -> None:
        self._store = store
        self._root_key = root_key
        self._opened = False
        self._opening = asyncio.Lock()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            async with self._opening:
                if not self._opened:
                    if not self._root_key.exists():
                        await self._store.provision()
                    await self._store.open()
                    self._opened = True
            return await getattr(self._store, name)(*arguments)

        return call

    def forget(self, ref: Any) -> None:
        self._store.forget(ref)


class TestXksKeyStore(KeyStoreConformance):
    declares = CAPABILITIES

    @pytest.fixture(autouse=True)
    def behind(self, tmp_path: Path, proxy: Proxied) -> None:
        ca = tmp_path / "ca.pem"
        proxy.files.ca.cert_pem.write_to_path(str(ca))
        self.root_key = tmp_path / "root.key"
        self.present_time = time.time()  # the proxy is another process, and signatures are for five minutes
        self.options = XksOptions(
            uri_endpoint=f"https://{HOST}",
            uri_path="/bank/kms/xks/v1",
            port=proxy.port,
            authority=str(ca),
            credential=XksCredentialOptions(
                access_key_id=ACCESS_KEY_ID, secret=KeptSecretSource(**snake(proxy.files.secret("again", SECRET)))
            ),
            timeout_milliseconds=PATIENT_MILLISECONDS,
        )

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        inner = SoftwareKeyStore(SoftwareOptions(root_key=FileRootKey(path=str(self.root_key))), super().context(state))
        context = PluginContext("xks", MemoryState(), super().context(state).now, inner=Inner(inner, self.root_key))
        return XksKeyStore(self.options, context)

    def external_id(self) -> str:
        return "payments"

    def secrets(self) -> list[bytes]:
        return [SECRET.encode()]


PATIENT_CHECK = f"""
import runpy
from plugins.xks import XksOptions
XksOptions.budget = property(lambda _: {PATIENT_MILLISECONDS / 1000})
runpy.run_module("controlplane", run_name="__main__")
"""


def test_plugin_check_finds_the_plugin_conforming_on_a_configuration_as_a_user_has_it(
    proxy: Proxied, tmp_path: Path
) -> None:
    proxy.files.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    options = {
        "uriEndpoint": f"https://{HOST}",
        "uriPath": "/bank/kms/xks/v1",
        "port": proxy.port,
        "authority": "ca.pem",
        "credential": {"accessKeyId": ACCESS_KEY_ID, "secret": proxy.files.secret("checked", SECRET)},
    }
    config = written(tmp_path, document("KeyStore", "bank", type="xks", xks=options))
    words = ("--external-key", "payments", "--json")
    said = json.loads(check("xks", config, *words, code=0, program=("-c", PATIENT_CHECK)))
    assert said["failures"] == []
    assert said["passed"] > 20
    assert "external keys" not in said["notDeclared"]
    assert SECRET not in json.dumps(said)


def snake(source: dict[str, str]) -> dict[str, str]:
    return {"from_file": source["fromFile"]}
