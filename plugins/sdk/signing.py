"""AWS Signature Version 4: the signing key, and signatures of requests to an XKS proxy.

Who calls it: ``access.sigv4`` derives its keys here to verify; the plugin of external key stores and ``keystead xks
check`` sign here: POST, no query, the headers ``host`` and ``x-amz-date``. Source: "Create a signed AWS API request" of
the IAM User Guide; XKS specification, Appendix A.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final

from plugins.sdk.secret import SecretBytes

XKS_SERVICE: Final = "kms-xks-proxy"
TERMINATOR: Final = "aws4_request"
_SIGNED: Final = "host;x-amz-date"
_KEYS_KEPT: Final = 64


def signing_key(secret: SecretBytes, day: str, region: str, service: str) -> bytes:
    """The key of one day (``YYYYMMDD``), Region and service."""
    key = hmac.digest(b"AWS4" + secret.expose(), day.encode(), "sha256")
    for part in (region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


class XksSigner:
    """Signs with one credential for one host. The key of a day and Region is derived once."""

    def __init__(self, access_key_id: str, secret: SecretBytes, host: str) -> None:
        self._access_key_id = access_key_id
        self._secret = secret
        self._host = host
        self._keys: dict[tuple[str, str], bytes] = {}

    def headers(self, path: str, body: bytes, *, region: str, now: float, method: str = "POST") -> dict[str, str]:
        """Headers of a request at ``now`` (seconds since the epoch). ``path`` has no letters that need encoding."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day = stamp[:8]
        scope = f"{day}/{region}/{XKS_SERVICE}/{TERMINATOR}"
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"{method}\n{path}\n\nhost:{self._host}\nx-amz-date:{stamp}\n\n{_SIGNED}\n{digest}"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key(day, region), to_sign.encode(), "sha256").hex()
        return {
            "Host": self._host,
            "X-Amz-Date": stamp,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self._access_key_id}/{scope}, "
            f"SignedHeaders={_SIGNED}, Signature={signature}",
        }

    def _key(self, day: str, region: str) -> bytes:
        key = self._keys.get((day, region))
        if key is None:
            key = signing_key(self._secret, day, region, XKS_SERVICE)
            if len(self._keys) >= _KEYS_KEPT:  # a few Regions, and yesterday
                self._keys.clear()
            self._keys[day, region] = key
        return key
