"""Conformance: what must never come out of a plugin: in a repr, an error, a log record, its state or a token."""

from __future__ import annotations

import base64
import logging
import traceback

import msgspec
import pytest

from plugins.sdk import (
    Algorithm,
    InvalidCiphertext,
    KeySpec,
    KeyStoreError,
    KeyStorePlugin,
    SecretBytes,
)
from plugins.sdk.conformance.choosing import needs_symmetric
from plugins.sdk.conformance.harness import Harness, use_once
from plugins.sdk.conformance.state import MemoryState

MARKER = b"PLAINTEXT-THAT-MUST-NOT-LEAK"


def spellings(secret: bytes) -> list[str]:
    """How a secret would look in text."""
    return [repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode().rstrip("=")]


class SecrecyConformance(Harness):
    """Secrets stay inside."""

    async def test_no_repr_of_the_plugin_shows_a_secret(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        await use_once(plugin, ref)
        shown = f"{plugin!r} {plugin} {vars(plugin)!r}"
        for secret in self.secrets():
            assert not any(spelling in shown for spelling in spellings(secret))

    async def test_nothing_secret_is_kept_in_the_state_or_in_a_token(
        self, plugin: KeyStorePlugin, state: MemoryState
    ) -> None:
        ref = await self.created(plugin)
        for kept in (*state.values.values(), ref.token or b""):
            for secret in self.secrets():
                assert secret not in kept
                assert not any(spelling.encode() in kept for spelling in spellings(secret))

    async def test_errors_and_logs_hold_neither_plaintext_nor_secrets(
        self, plugin: KeyStorePlugin, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        ref = await self.created(plugin)
        errors: list[KeyStoreError] = []
        if ref.key_spec is KeySpec.SYMMETRIC_DEFAULT:
            blob = await plugin.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, MARKER, b"")
            assert MARKER not in blob
            with pytest.raises(InvalidCiphertext) as caught:
                await plugin.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, blob, MARKER)
            errors.append(caught.value)
        with pytest.raises(KeyStoreError) as refused:
            await use_once(plugin, msgspec.structs.replace(ref, name=ref.name + "x", key_arn="other", token=None))
        errors.append(refused.value)
        shown = caplog.text + "".join("".join(traceback.format_exception(error)) for error in errors)
        for secret in (MARKER, *self.secrets()):
            assert not any(spelling in shown for spelling in spellings(secret))

    @needs_symmetric
    async def test_every_decryption_failure_reads_the_same(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        blob = await plugin.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, b"plaintext", b"")
        flipped = bytes([blob[0] ^ 1]) + blob[1:]
        messages = set()
        for wrong, aad in ((blob[:-1], b""), (flipped, b""), (blob, b"x"), (b"", b""), (b"x" * 200, b"")):
            with pytest.raises(InvalidCiphertext) as caught:
                await plugin.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, wrong, aad)
            messages.add(str(caught.value))
        assert len(messages) == 1

    async def test_a_data_key_pair_does_not_print_its_private_half(
        self, plugin: KeyStorePlugin, data_pair_spec: KeySpec
    ) -> None:
        pair = await plugin.generate_key_pair(data_pair_spec)
        assert isinstance(pair.private_key, SecretBytes)
        assert not any(spelling in repr(pair) for spelling in spellings(pair.private_key.expose()))
