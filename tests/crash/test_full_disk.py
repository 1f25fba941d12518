"""A disk that is full: a request is refused with words, nothing that was acknowledged is lost, and it goes on later."""

from __future__ import annotations

import resource
from collections.abc import Callable

from controlplane.audit.verifying import verify
from tests.harness import Server, document


def test_a_full_disk_refuses_and_loses_nothing(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    server.apply("set", [document("Key", "a")])
    arn = server.ok("GET", "/v1/keys/a")["status"]["arn"]
    blob = server.kms().encrypt(KeyId=arn, Plaintext=b"kept")["CiphertextBlob"]
    assert server.process is not None

    # No file of this process may grow any more.
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    answer = server.rest("PUT", "/v1/keys/b", document("Key", "b"))
    assert answer.status in (500, 503), answer
    assert answer.json()["detail"]
    assert server.rest("GET", "/healthz").status == 200

    server.kill()
    server.start()
    assert server.rest("GET", "/v1/keys/b").status == 404, "half done"
    assert server.kms().decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    server.apply("set", [document("Key", "a"), document("Key", "b")])
    server.stop()
    assert verify(server.directory / "audit").ok
