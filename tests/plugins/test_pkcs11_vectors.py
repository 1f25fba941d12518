"""A published vector in a real token: material that somebody else wrote there is taken over and used.

A key store that makes its keys in a device cannot be given the key of a vector, so the conformance suite has none for
it; here one is put into the token behind the plugin's back.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from plugins.pkcs11 import Pkcs11KeyStore, Pkcs11Options
from plugins.sdk import Algorithm, InvalidCiphertext, KeySpec, MaterialRef, PluginContext
from plugins.sdk.conformance import MemoryState
from tests.hsm import SoftToken, pin_file

KEY = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
IV = "cafebabefacedbaddecaf888"
AAD = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
PLAINTEXT = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
CIPHERTEXT = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
)
TAG = "76fc6ece0f4e1768cddf8853bb2d551b"
"""D. McGrew and J. Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test case 16."""


async def test_aes_gcm_in_the_token_is_that_of_the_published_vector(tmp_path: Path) -> None:
    token = SoftToken(tmp_path)
    octets = tmp_path / "key"
    octets.write_bytes(bytes.fromhex(KEY))
    token.tool("--write-object", str(octets), "--type", "secrkey", "--key-type", "AES:32", "--label", "published")
    options = msgspec.convert(token.options(pin=pin_file(tmp_path), workers=1), Pkcs11Options)
    store = Pkcs11KeyStore(options, PluginContext("hsm-a", MemoryState(), lambda: 0.0))
    await store.open()
    try:
        ref = MaterialRef("keystead:a:1", "arn:aws:kms:us-east-1:0:key/a", "11" * 32, KeySpec.SYMMETRIC_DEFAULT)
        await store.adopt("published", ref)
        blob = b"\x01" + bytes.fromhex(IV + CIPHERTEXT + TAG)
        opened = await store.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, blob, bytes.fromhex(AAD))
        assert opened == bytes.fromhex(PLAINTEXT)
        with pytest.raises(InvalidCiphertext):
            await store.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, blob, bytes.fromhex(AAD)[:-1])
    finally:
        await store.close()
