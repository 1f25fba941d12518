"""Attested recipients: verifies the document of a request under the configured roots, and seals the answer to its key.

Who calls it: the handlers of operations with a ``Recipient``, before ``perform``, because policies may ask what the
document says. Guarantee: the event loop waits for no certificate chain; without a configured root every document is
refused.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from cryptography import x509

from controlplane.clock import Clock
from controlplane.domain.attestation import Attestation, verify_attestation
from controlplane.errors import StartupRefused


class Attestations:
    """The judge of attestation documents of one server process."""

    def __init__(self, roots: list[x509.Certificate], clock: Clock) -> None:
        self._roots = roots
        self._clock = clock

    @classmethod
    def under(cls, pem_file: str | None, clock: Clock) -> Attestations:
        """Under the root certificates of a PEM file. Raises :class:`StartupRefused` if it holds none."""
        if pem_file is None:
            return cls([], clock)
        try:
            roots = x509.load_pem_x509_certificates(Path(pem_file).read_bytes())
        except OSError as error:
            raise StartupRefused(f"nitroRoot: {pem_file} cannot be read: {error.strerror}") from None
        except ValueError:
            raise StartupRefused(f"nitroRoot: {pem_file} is not a certificate in PEM") from None
        return cls(roots, clock)

    async def verified(self, document: bytes) -> Attestation:
        """What the document says. Raises :class:`controlplane.errors.InvalidInput`."""
        return await asyncio.to_thread(verify_attestation, document, roots=self._roots, now=self._clock.now())
