"""An XKS client for tests that says exactly what it is told, signed by botocore, over real TLS.

Used by the tests of the proxy; what the tests of our own client need is in ``tests/xksproxy.py``. It knows nothing of
the code under test.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.harness import Answer

ALICE = "arn:aws:iam::123456789012:user/Alice"
KMS_KEY = "arn:aws:kms:us-east-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
REQUEST_ID = "4112f4d6-db54-4af4-ae30-c55a22a8dfae"
HOST = "localhost"


class Signer(SigV4Auth):
    """botocore's signature at a moment that the test chooses."""

    def sign_at(self, request: AWSRequest, moment: datetime) -> None:
        request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        signature = self.signature(self.string_to_sign(request, canonical), request)
        self._inject_signature_to_request(request, signature)


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def metadata(operation: str = "Encrypt", **more: Any) -> dict[str, Any]:
    """requestMetadata as KMS sends it; None leaves a field out."""
    told = {
        "awsPrincipalArn": ALICE,
        "kmsKeyArn": KMS_KEY,
        "kmsOperation": operation,
        "kmsRequestId": REQUEST_ID,
        **more,
    }
    return {"requestMetadata": {name: value for name, value in told.items() if value is not None}}


class XksClient:
    """Calls one proxy. ``path`` is its XksProxyUriPath."""

    def __init__(
        self, port: int, ca: trustme.CA, path: str, access_key_id: str, secret: str, *, service: str = "kms-xks-proxy"
    ) -> None:
        self.port = port
        self.ca = ca
        self.path = path
        self.access_key_id = access_key_id
        self.secret = secret
        self.service = service

    def context(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context

    def headers(self, method: str, path: str, body: bytes, *, at: datetime | None = None) -> dict[str, str]:
        url = f"https://{HOST}:{self.port}{path}"
        request = AWSRequest(method, url, data=body, headers={"host": f"{HOST}:{self.port}"})
        credentials = Credentials(self.access_key_id, self.secret)
        Signer(credentials, self.service, "us-east-2").sign_at(request, at or datetime.now(UTC))
        return {**dict(request.headers.items()), "content-type": "application/json"}

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """One request on a connection of its own, headers exactly as given."""
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=30, context=context or self.context())
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given = {"host": f"{HOST}:{self.port}", "content-length": str(len(body)), **(headers or {})}
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders()
            connection.send(body)
            response = connection.getresponse()
            got = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, got, response.read())
        finally:
            connection.close()

    def post(self, rest: str, body: Any = None, *, at: datetime | None = None, **headers: str) -> Answer:
        """A signed POST below the URI path. ``body`` is JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = self.path + rest
        return self.send("POST", path, content, {**self.headers("POST", path, content, at=at), **headers})

    # ---- the APIs --------------------------------------------------------------------------------------------------

    def get_metadata(self, key: str, **more: Any) -> Answer:
        return self.post(f"/keys/{key}/metadata", metadata(**{"operation": "CreateKey", "kmsKeyArn": None, **more}))

    def encrypt(self, key: str, content: bytes = b"Hello World!", aad: bytes | None = None, **more: Any) -> Answer:
        body = {"plaintext": b64(content), "encryptionAlgorithm": "AES_GCM", **metadata("Encrypt")}
        if aad is not None:
            body["additionalAuthenticatedData"] = b64(aad)
        return self.post(f"/keys/{key}/encrypt", {**body, **more})

    def decrypt(self, key: str, sealed: Mapping[str, str], aad: bytes | None = None, **more: Any) -> Answer:
        """``sealed`` is what ``encrypt`` answered."""
        body = {"encryptionAlgorithm": "AES_GCM", **metadata("Decrypt"), **sealed}
        body.pop("ciphertextDataIntegrityValue", None)
        if aad is not None:
            body["additionalAuthenticatedData"] = b64(aad)
        return self.post(f"/keys/{key}/decrypt", {**body, **more})

    def health(self, **more: Any) -> Answer:
        told = {"kmsOperation": "KmsHealthCheck", "kmsRequestId": REQUEST_ID, **more}
        return self.post("/health", {"requestMetadata": told})


def refused(answer: Answer) -> tuple[int, str]:
    """HTTP code and error name. Fails the test if the answer is not an error as the specification describes it."""
    told = answer.json()
    assert set(told) <= {"errorName", "errorMessage"}, told
    message = told.get("errorMessage", "")
    assert len(message) < 512
    assert all(" " <= character <= "~" for character in message)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, told["errorName"]


class ProxyFiles:
    """Certificates and secrets of proxies under test, in files as an operator has them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.ca = trustme.CA()
        self.certificate = directory / "proxy.crt"
        self.key = directory / "proxy.key"
        self.issue()

    def issue(self, *names: str, **more: Any) -> None:
        """A new certificate for the proxy."""
        leaf = self.ca.issue_cert(*(names or (HOST,)), **more)
        leaf.private_key_pem.write_to_path(str(self.key))
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))

    def secret(self, name: str, value: str) -> dict[str, str]:
        """A secret's file; the source that names it."""
        path = self.directory / name
        path.write_text(value + "\n")
        path.chmod(0o600)
        return {"fromFile": str(path)}

    @property
    def tls(self) -> dict[str, Any]:
        return {"certificate": str(self.certificate), "key": str(self.key)}
