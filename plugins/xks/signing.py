"""AWS Signature Version 4 for requests to an XKS proxy: POST, no query, the headers ``host`` and ``x-amz-date``.

Who calls it: ``client``, for every request. Source: specification, Appendix A, and "Create a signed AWS API request" of
the IAM User Guide. The signing key is kept for the day and Region that it is for.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final

from plugins.sdk import SecretBytes

SERVICE: Final = "kms-xks-proxy"
_SIGNED: Final = "host;x-amz-date"


class Signer:
    """Signs with one credential for one host."""

    def __init__(self, access_key_id: str, secret: SecretBytes, host: str) -> None:
        self._access_key_id = access_key_id
        self._secret = secret
        self._host = host
        self._keys: dict[tuple[str, str], bytes] = {}

    def headers(self, path: str, body: bytes, *, region: str, now: float) -> dict[str, str]:
        """Headers of a request at ``now`` (seconds since the epoch). ``path`` has no letters that need encoding."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day = stamp[:8]
        scope = f"{day}/{region}/{SERVICE}/aws4_request"
        canonical = (
            f"POST\n{path}\n\nhost:{self._host}\nx-amz-date:{stamp}\n\n{_SIGNED}\n{hashlib.sha256(body).hexdigest()}"
        )
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
            key = hmac.digest(b"AWS4" + self._secret.expose(), day.encode(), "sha256")
            for part in (region, SERVICE, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            if len(self._keys) >= 64:  # a few Regions, and yesterday
                self._keys.clear()
            self._keys[day, region] = key
        return key
