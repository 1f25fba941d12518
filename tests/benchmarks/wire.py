"""Requests as they go over the wire, prepared ahead so that the load costs nothing but sending."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.benchmarks.servers import REGION, Server

LOCAL = "127.0.0.1:8470"
"""A host for requests that go over no wire."""


def signed(server: Server, operation: str, members: dict[str, object]) -> bytes:
    """A KMS request for a server."""
    return request(f"127.0.0.1:{server.port}", operation, members, server.access_key)


def request(
    host: str, operation: str, members: dict[str, object], access_key: tuple[str, str] = ("test", "test")
) -> bytes:
    """A KMS request, signed by botocore; good for five minutes."""
    made = AWSRequest(
        "POST",
        f"http://{host}/",
        data=msgspec.json.encode(members),
        headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}"},
    )
    SigV4Auth(Credentials(*access_key), "kms", REGION).add_auth(made)
    return _text(host, "POST", "/", dict(made.headers.items()), made.body)


def plain(server: Server, method: str, path: str, body: bytes = b"") -> bytes:
    """An unsigned request."""
    return _text(f"127.0.0.1:{server.port}", method, path, {}, body)


def _text(host: str, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def signed_fast(server: Server, operation: str, many: Sequence[dict[str, object]]) -> list[bytes]:
    """The same for many requests of one operation: botocore takes a third of a millisecond for each.

    Only what is signed changes from one to the next: the hash of the body, and with it the signature.
    """
    host, (access_key_id, secret) = f"127.0.0.1:{server.port}", server.access_key
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{REGION}/kms/aws4_request"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    names = "content-type;host;x-amz-date;x-amz-target"
    kind, target = "application/x-amz-json-1.1", f"TrentService.{operation}"
    lines = f"content-type:{kind}\nhost:{host}\nx-amz-date:{stamp}\nx-amz-target:{target}\n"
    made = []
    for members in many:
        body = msgspec.json.encode(members)
        canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        headers = {
            "Content-Type": kind,
            "X-Amz-Target": target,
            "X-Amz-Date": stamp,
            "Authorization": (
                f"AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
            ),
        }
        made.append(_text(host, "POST", "/", headers, body))
    return made
