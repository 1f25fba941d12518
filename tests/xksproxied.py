"""A Keystead server with an XKS proxy in front of keys of its standard store, for tests of the proxy and of clients."""

from __future__ import annotations

from typing import Any

from tests.harness import Server, document, eventually
from tests.xksclient import ProxyFiles, XksClient

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
