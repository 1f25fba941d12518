"""Two Keysteads: ``proxied`` serves its keys as external keys, ``kms`` has an external key store on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, document, eventually, new_server, private_server, pytest_runtest_makereport
from tests.xksclient import HOST, ProxyFiles
from tests.xksproxied import ACCESS_KEY_ID, SECRET, Proxied, start
from tests.xksproxy import ScriptedProxy

__all__ = ["new_server", "private_server", "pytest_runtest_makereport"]


class Chain:
    """The KMS in front, the proxy behind."""

    def __init__(self, kms: Server, proxied: Proxied, directory: Path) -> None:
        self.kms = kms
        self.proxied = proxied
        self.authority = directory / "ca.pem"
        proxied.files.ca.cert_pem.write_to_path(str(self.authority))

    def options(self, **more: Any) -> dict[str, Any]:
        return {
            "uriEndpoint": f"https://{HOST}",
            "uriPath": "/bank/kms/xks/v1",
            "port": self.proxied.port,
            "authority": str(self.authority),
            "credential": {"accessKeyId": ACCESS_KEY_ID, "secret": self.proxied.files.secret("client", SECRET)},
            **more,
        }

    def declare(self, name: str = "external", **options: Any) -> None:
        """Declare the key store and wait until it is connected."""
        store = document("KeyStore", name, type="xks", xks=self.options(**options))
        self.kms.ok("PUT", f"/v1/keystores/{name}", store)
        eventually(lambda: self.connection(name) == "CONNECTED", "the external key store is connected")

    def connection(self, name: str = "external") -> str:
        return str(self.kms.ok("GET", f"/v1/keystores/{name}")["status"].get("connection", "DISCONNECTED"))

    def add_key(self, name: str = "outer", external: str = "payments", store: str = "external", **spec: Any) -> str:
        """Declare a key for an external key and wait for it; its key id."""
        declared = document("Key", name, keyStore=store, xksKeyId=external, **spec)
        self.kms.ok("PUT", f"/v1/keys/{name}", declared)
        eventually(lambda: self.kms.ok("GET", f"/v1/keys/{name}")["status"].get("materials"), "the key has material")
        return str(self.kms.ok("GET", f"/v1/keys/{name}")["status"]["keyId"])


@pytest.fixture
def chain(new_server: Callable[..., Server], tmp_path: Path) -> Iterator[Chain]:
    proxied = start(new_server("behind"), ProxyFiles(tmp_path / "files"))
    yield Chain(new_server("front").start(), proxied, tmp_path)


@pytest.fixture
def scripted() -> Iterator[ScriptedProxy]:
    proxy = ScriptedProxy()
    yield proxy
    proxy.close()
