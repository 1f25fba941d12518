"""Using a key as an external key: the proof of an encryption, and the metadata that names a material."""

from __future__ import annotations

from typing import cast

import pytest

from controlplane.errors import InvalidCiphertext, KeyStoreFailure
from controlplane.keystores.calls import Calls
from controlplane.schema.keys import DesiredKey, KeyStatus, KeyUsage
from controlplane.schema.meta import Key, Metadata
from controlplane.store.catalog import KeyRecord, reference
from controlplane.usage import externalkeys
from plugins.sdk import GcmCiphertext, MaterialRef
from tests.controlplane.samples import NOW, metadata

OLD, NEW = "11" * 32, "22" * 32


class Recording:
    """A key store that notes what is asked of it, and decrypts to ``opens`` whatever it is given."""

    def __init__(self, opens: bytes | Exception) -> None:
        self.opens = opens
        self.asked: list[tuple[str, MaterialRef, bytes]] = []

    async def encrypt_gcm(
        self, store: str, ref: MaterialRef, plaintext: bytes, aad: bytes, *, seconds: float
    ) -> object:
        self.asked.append(("encrypt", ref, aad))
        return GcmCiphertext(bytes(12), plaintext, bytes(16))

    async def decrypt_gcm(
        self, store: str, ref: MaterialRef, sealed: GcmCiphertext, aad: bytes, *, seconds: float
    ) -> bytes:
        assert 0 < seconds <= 0.2
        self.asked.append(("decrypt", ref, aad))
        if isinstance(self.opens, Exception):
            raise self.opens
        return self.opens


def record(*materials: str) -> KeyRecord:
    key = Key(
        metadata=cast(Metadata, metadata("k")),
        spec=DesiredKey(key_usage=KeyUsage.ENCRYPT_DECRYPT, region="us-east-1"),
        status=KeyStatus(key_id="k", arn="arn:k", created_at=NOW),
    )
    refs = {name: reference(key, f"keystead:k:{name}", name) for name in materials}
    return KeyRecord(key, refs, refs[materials[-1]])


async def test_what_is_proven_was_decrypted_with_the_same_associated_data() -> None:
    store = Recording(b"plaintext")
    made = await externalkeys.encrypt(
        cast(Calls, store), record(OLD, NEW), b"plaintext", b"aad", proven=True, seconds=0.2
    )
    assert [name for name, _, _ in store.asked] == ["encrypt", "decrypt"]
    assert store.asked[0][1:] == store.asked[1][1:]
    assert made.metadata == b"\x01" + b"\x22" * 19
    assert made.integrity == externalkeys.integrity_value(b"aad", made.metadata, made.sealed)


async def test_without_a_proof_nothing_is_decrypted() -> None:
    store = Recording(b"plaintext")
    made = await externalkeys.encrypt(cast(Calls, store), record(OLD), b"plaintext", b"", proven=False, seconds=0.2)
    assert [name for name, _, _ in store.asked] == ["encrypt"]
    assert made.integrity is None


@pytest.mark.parametrize("opens", [b"plaintexT", b"", InvalidCiphertext("")])
async def test_an_encryption_that_does_not_decrypt_is_never_answered(opens: bytes | Exception) -> None:
    with pytest.raises(KeyStoreFailure) as caught:
        await externalkeys.encrypt(
            cast(Calls, Recording(opens)), record(OLD), b"plaintext", b"", proven=True, seconds=0.2
        )
    assert not isinstance(caught.value, InvalidCiphertext)


async def test_the_integrity_value_is_taken_before_the_decryption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appendix C: a bit that flips after the decryption began must not be in the value."""
    order: list[str] = []
    store = Recording(b"p")
    value = externalkeys.integrity_value
    monkeypatch.setattr(
        externalkeys,
        "integrity_value",
        lambda *parts: order.append(f"hash after {len(store.asked)} calls") or value(*parts),
    )
    await externalkeys.encrypt(cast(Calls, store), record(OLD), b"p", b"", proven=True, seconds=0.2)
    assert order == ["hash after 1 calls"]
    assert len(store.asked) == 2


async def test_the_metadata_chooses_the_material() -> None:
    store, sealed = Recording(b"p"), GcmCiphertext(bytes(12), b"c", bytes(16))
    for material in (OLD, NEW):
        told = externalkeys.ciphertext_metadata(material)
        assert len(told) == 20
        await externalkeys.decrypt(cast(Calls, store), record(OLD, NEW), sealed, told, b"", seconds=0.2)
    assert [ref.material_id for _, ref, _ in store.asked] == [OLD, NEW]


@pytest.mark.parametrize(
    "told", [b"", b"\x01" + bytes(19), b"\x02" + b"\x11" * 19, b"\x01" + b"\x11" * 18, b"\x01\x11"]
)
async def test_metadata_that_names_no_material_is_refused_and_nothing_is_tried(told: bytes) -> None:
    store, sealed = Recording(b"p"), GcmCiphertext(bytes(12), b"c", bytes(16))
    with pytest.raises(InvalidCiphertext):
        await externalkeys.decrypt(cast(Calls, store), record(OLD, NEW), sealed, told, b"", seconds=0.2)
    assert store.asked == []


async def test_two_materials_that_the_metadata_cannot_tell_apart_are_never_guessed() -> None:
    twins = ("33" * 19 + "00" * 13, "33" * 19 + "ff" * 13)
    told = externalkeys.ciphertext_metadata(twins[0])
    with pytest.raises(InvalidCiphertext):
        await externalkeys.decrypt(
            cast(Calls, Recording(b"p")), record(*twins), GcmCiphertext(b"", b"", b""), told, b"", seconds=0.2
        )
