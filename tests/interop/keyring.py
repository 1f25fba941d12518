"""Keys that tests of cryptographic operations share, because making an RSA key takes longer than using it."""

from __future__ import annotations

from typing import Any

from tests.harness import Server

USAGE = {
    "SYMMETRIC_DEFAULT": "ENCRYPT_DECRYPT",
    "HMAC": "GENERATE_VERIFY_MAC",
    "ML_KEM": "ENCAPSULATE_DECAPSULATE",
}
"""By the beginning of the key spec; every other spec signs unless a test says otherwise."""


class Keyring:
    """Makes each kind of key once for a server. Nobody disables, deletes or names these keys."""

    def __init__(self, server: Server) -> None:
        self.kms = server.kms()
        self._keys: dict[tuple[str, str], dict[str, Any]] = {}

    def __call__(self, spec: str = "SYMMETRIC_DEFAULT", usage: str | None = None) -> dict[str, Any]:
        """KeyMetadata of a key of this spec."""
        usage = usage or next((fits for start, fits in USAGE.items() if spec.startswith(start)), "SIGN_VERIFY")
        if (spec, usage) not in self._keys:
            self._keys[spec, usage] = self.kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
        return self._keys[spec, usage]

    def id(self, spec: str = "SYMMETRIC_DEFAULT", usage: str | None = None) -> str:
        return str(self(spec, usage)["KeyId"])

    def public_key(self, spec: str, usage: str | None = None) -> bytes:
        """SubjectPublicKeyInfo in DER, as GetPublicKey answers it."""
        return bytes(self.kms.get_public_key(KeyId=self.id(spec, usage))["PublicKey"])
