"""A server with one XKS proxy in front of keys of the standard store, for the tests of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness import Server, document, eventually, new_server, private_server, pytest_runtest_makereport
from tests.xksclient import ProxyFiles, XksClient

__all__ = ["new_server", "private_server", "pytest_runtest_makereport"]

ACCESS_KEY_ID = "XKSPROXYTEST" + "A2345672"
SECRET = "Xk5Secret0fTheTests/NotToBeFoundAnywhere+7f3bQ="
KEYS = ("payments", "disabled", "decrypt-only", "encrypt-only")


class Proxied:
    """A server, its proxy ``bank``, and a client for it."""

    def __init__(self, server: Server, files: ProxyFiles) -> None:
        self.server = server
        self.files = files
        self.spec: dict[str, Any] = {}

    def declare(self, **spec: Any) -> None:
        """Declare the proxy anew and wait until it is served so."""
        self.spec = {
            "listen": {"port": 0},
            "tls": self.files.tls,
            "pathPrefix": "/bank",
            "credentials": [{"accessKeyId": ACCESS_KEY_ID, "secret": self.files.secret("secret", SECRET)}],
            "keys": {
                "payments": {"key": "payments"},
                "disabled": {"key": "disabled"},
                "decrypt-only": {"key": "payments", "usages": ["DECRYPT"]},
                "encrypt-only": {"key": "payments", "usages": ["ENCRYPT"]},
            },
            **spec,
        }
        self.put()

    def put(self) -> None:
        self.server.ok("PUT", "/v1/xksproxies/bank", document("XksProxy", "bank", **self.spec))
        eventually(self.observed, "the proxy is as declared")

    def observed(self) -> bool:
        found = self.show()
        return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])

    def show(self) -> Any:
        return self.server.ok("GET", "/v1/xksproxies/bank")

    def condition(self, kind: str) -> Any:
        return next(each for each in self.show()["status"]["conditions"] if each["type"] == kind)

    @property
    def port(self) -> int:
        """Where it listens now."""
        return int(self.show()["status"]["address"].rsplit(":", 1)[1])

    def client(self, access_key_id: str = ACCESS_KEY_ID, secret: str = SECRET, **more: Any) -> XksClient:
        path = self.spec.get("pathPrefix", "") + "/kms/xks/v1"
        return XksClient(self.port, self.files.ca, path, access_key_id, secret, **more)


def start(server: Server, files: ProxyFiles) -> Proxied:
    server.start()
    server.apply("keys", [document("Key", "payments"), document("Key", "disabled", enabled=False)])
    proxied = Proxied(server, files)
    proxied.declare()
    return proxied


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """One proxy for tests that change nothing."""
    directory = tmp_path_factory.mktemp("xks")
    server = Server(directory / "data")
    try:
        yield start(server, ProxyFiles(directory / "files"))
        server.stop()
    finally:
        server.end()


@pytest.fixture(scope="session")
def client(shared: Proxied) -> XksClient:
    return shared.client()


@pytest.fixture
def proxied(new_server: Callable[..., Server], tmp_path: Any) -> Proxied:
    """A proxy of the test's own."""
    return start(new_server(), ProxyFiles(tmp_path / "files"))
