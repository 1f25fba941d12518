"""Requests signed by botocore for the tests of SigV4, who may sign them, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from controlplane.access.sigv4 import Credential, Verified, Verifier
from controlplane.clock import ManualClock
from controlplane.errors import Unauthenticated
from plugins.sdk.secret import SecretBytes

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC).timestamp()
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ROLE_KEY_ID = "ASIAIOSFODNN7EXAMPLE"
TOKEN = "FwoGZXIvYXdzEBYaDKo//token+with/base64=="
PRINCIPAL = "arn:aws:iam::000000000000:user/alice"
BODY = b'{"KeyId":"alias/payments","Plaintext":"aGVsbG8="}'
MISMATCH = "The request signature we calculated does not match the signature you provided."

Header = tuple[bytes, bytes]
Headers = list[Header]


class Directory(dict[str, Credential]):
    """The credentials that a verifier looks in; tests change it under its hands."""

    def find(self, access_key_id: str) -> Credential | None:
        return self.get(access_key_id)


def people() -> Directory:
    secret = SecretBytes(SECRET.encode())
    return Directory(
        {
            KEY_ID: Credential(KEY_ID, secret, PRINCIPAL),
            ROLE_KEY_ID: Credential(
                ROLE_KEY_ID, secret, PRINCIPAL, session_token=SecretBytes(TOKEN.encode()), expires_at=NOW + 900
            ),
            "AKIAINACTIVE": Credential("AKIAINACTIVE", secret, PRINCIPAL, active=False),
            "AKIAEMPTY": Credential("AKIAEMPTY", SecretBytes(b""), PRINCIPAL),
        }
    )


def verifier(directory: Directory | None = None, clock: ManualClock | None = None, **options: Any) -> Verifier:
    return Verifier(clock or ManualClock(NOW), (directory or people()).find, **options)


def sign(
    *,
    method: str = "POST",
    url: str = "http://localhost:8470/",
    body: bytes = BODY,
    headers: dict[str, str] | None = None,
    key_id: str = KEY_ID,
    secret: str = SECRET,
    token: str | None = None,
    region: str = "eu-central-1",
    service: str = "kms",
    at: float = NOW,
) -> Headers:
    """The headers of a request as botocore signs it and ASGI hands it over."""
    given = {"X-Amz-Target": "TrentService.Encrypt", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest(method=method, url=url, data=body, headers=given if headers is None else headers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: datetime.fromtimestamp(at, UTC))
        botocore.auth.SigV4Auth(Credentials(key_id, secret, token), service, region).add_auth(request)
    host = url.split("/")[2].encode()
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    return [(b"host", host), (b"user-agent", b"Boto3/1.44.5 md/Botocore#1.44.5"), *sent]


def replace(headers: Headers, name: bytes, value: bytes) -> Headers:
    assert any(known == name for known, _ in headers)
    return [(known, value if known == name else old) for known, old in headers]


def without(headers: Headers, name: bytes) -> Headers:
    return [header for header in headers if header[0] != name]


def value_of(headers: Headers, name: bytes) -> bytes:
    return dict(headers)[name]


def check(
    headers: Headers,
    body: bytes = BODY,
    *,
    method: str = "POST",
    path: bytes = b"/",
    query: bytes = b"",
    by: Verifier | None = None,
) -> Verified:
    return (by or verifier()).verify(method, path, query, headers, body)


def refused(kind: str, headers: Headers, body: bytes = BODY, *, says: str = "", **how: Any) -> str:
    with pytest.raises(Unauthenticated) as caught:
        check(headers, body, **how)
    assert caught.value.kind == kind, caught.value.message
    assert says in caught.value.message
    assert SECRET not in caught.value.message
    return caught.value.message
