"""OpenSSL's command line as the other party of an import: it makes material, wraps it, and uses it on its side.

Everything goes through files in a directory of the test's own. Skips nothing: what needs a newer OpenSSL than the
machine has says so by failing.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

CURVES = {
    "ECC_NIST_P256": "P-256",
    "ECC_NIST_P384": "P-384",
    "ECC_NIST_P521": "P-521",
    "ECC_SECG_P256K1": "secp256k1",
}
SECRET_BYTES = {"SYMMETRIC_DEFAULT": 32, "HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}
KWP_IV = "A65959A6"
"""The fixed half of the alternative initial value of RFC 5649; OpenSSL wants it on the command line."""


class OpenSsl:
    """One directory of files, one command at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: str, input: bytes | None = None) -> bytes:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.directory, input=input, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout

    def path(self, name: str) -> Path:
        return self.directory / name

    def put(self, name: str, content: bytes) -> str:
        self.path(name).write_bytes(content)
        return name

    def get(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    # ---- material --------------------------------------------------------------------------------------------------

    def material(self, spec: str, name: str = "material.bin") -> bytes:
        """Fresh material of a key spec in the file ``name``: octets, or PKCS#8 in DER."""
        if spec in SECRET_BYTES:
            self("rand", "-out", name, str(SECRET_BYTES[spec]))
        elif spec.startswith("RSA_"):
            self._pair(name, "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{spec.removeprefix('RSA_')}")
        elif spec in CURVES:
            self._pair(name, "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{CURVES[spec]}")
        else:
            assert spec == "ECC_NIST_EDWARDS25519", spec
            self._pair(name, "-algorithm", "ED25519")
        return self.get(name)

    def _pair(self, name: str, *how: str) -> None:
        self("genpkey", *how, "-out", "private.pem")
        self("pkcs8", "-topk8", "-nocrypt", "-in", "private.pem", "-outform", "DER", "-out", name)
        self("pkey", "-in", "private.pem", "-pubout", "-outform", "DER", "-out", "public.der")

    # ---- wrapping --------------------------------------------------------------------------------------------------

    def wrap(self, public_key: bytes, algorithm: str, name: str = "material.bin") -> bytes:
        """Wrap the file ``name`` under a public key as GetParametersForImport answers it."""
        self.put("wrapping.der", public_key)
        digest = "sha1" if algorithm.endswith("SHA_1") else "sha256"
        if algorithm.startswith("RSAES"):
            self._oaep(name, digest, "wrapped.bin")
            return self.get("wrapped.bin")
        self("rand", "-out", "aes.bin", "32")
        self(
            "enc", "-id-aes256-wrap-pad", "-iv", KWP_IV, "-K", self.get("aes.bin").hex(), "-in", name, "-out", "kwp.bin"
        )
        self._oaep("aes.bin", digest, "aes.wrapped")
        return self.get("aes.wrapped") + self.get("kwp.bin")

    def _oaep(self, name: str, digest: str, out: str) -> None:
        self(
            *("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "wrapping.der", "-in", name, "-out", out),
            *("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:{digest}"),
            *("-pkeyopt", f"rsa_mgf1_md:{digest}"),
        )
