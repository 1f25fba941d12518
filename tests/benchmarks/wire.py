"""Requests as they go over the wire, prepared ahead so that the load costs nothing but sending."""

from __future__ import annotations

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.benchmarks.servers import REGION, Server

LOCAL = "127.0.0.1:8470"
"""A host for requests that go over no wire."""


def signed(server: Server, operation: str, members: dict[str, object]) -> bytes:
    """A KMS request for a server."""
    return request(f"127.0.0.1:{server.port}", operation, members)


def request(host: str, operation: str, members: dict[str, object]) -> bytes:
    """A KMS request, signed by botocore; good for five minutes."""
    made = AWSRequest(
        "POST",
        f"http://{host}/",
        data=msgspec.json.encode(members),
        headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}"},
    )
    SigV4Auth(Credentials("test", "test"), "kms", REGION).add_auth(made)
    return _text(host, "POST", "/", dict(made.headers.items()), made.body)


def plain(server: Server, method: str, path: str, body: bytes = b"") -> bytes:
    """An unsigned request."""
    return _text(f"127.0.0.1:{server.port}", method, path, {}, body)


def _text(host: str, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
