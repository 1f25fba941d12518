"""An XKS proxy of a server of several processes: each serves it, and a death costs no more than its requests."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Server, document, eventually
from tests.interop.test_workers import workers_of
from tests.xksclient import ProxyFiles
from tests.xksproxied import Proxied


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody else gets: it is bound here, and shared with who says that it shares."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_every_process_serves_the_proxy_and_goes_on_when_one_dies(
    new_server: Callable[..., Server], tmp_path: Path, port: int
) -> None:
    server = new_server(workers=2).start()
    server.apply("keys", [document("Key", "payments"), document("Key", "disabled", enabled=False)])
    proxied = Proxied(server, ProxyFiles(tmp_path / "files"))
    proxied.declare(listen={"port": port})
    client = proxied.client()

    def chains() -> set[str]:
        assert client.encrypt("payments").status == 200
        files = (server.directory / "audit").rglob("segment-*.jsonl")
        return {path.parent.name for path in files if '"door":"xks"' in path.read_text()}

    eventually(lambda: len(chains()) == 2, "both processes have served a request: each has its own chain of records")
    blob = client.encrypt("payments").json()

    def served() -> bool:
        try:
            return client.decrypt("payments", blob).status == 200
        except OSError:  # it was connected to the process that died
            return False

    for pid in workers_of(server):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: len(workers_of(server) - {pid}) == 2, "another took its place")  # type: ignore[misc]
        eventually(served, "the proxy is served")
