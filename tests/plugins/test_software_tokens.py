"""Key tokens and the cache: material opens for exactly its own key, in every byte, not after its end."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Family,
    InvalidCiphertext,
    KeySpec,
    MaterialDamaged,
    MaterialNotFound,
    MaterialRef,
    PluginContext,
)
from plugins.sdk.conformance import MemoryState
from plugins.software import FileRootKey, SoftwareKeyStore, SoftwareOptions
from plugins.software.cache import MaterialCache
from plugins.software.domainkeys import DomainKey, DomainRecord
from plugins.software.material import AesMaterial, HmacMaterial
from plugins.software.sealing import bind, unbind
from plugins.software.tokens import open_token, seal_token
from tests.plugins.conftest import DAY, StoreMaker, TestClock, create, ref_for

A = Algorithm.SYMMETRIC_DEFAULT
DOMAIN = DomainKey(1, DomainRecord(1, b"d" * 16, 0, b""), AESGCM(bytes(32)))
words = st.text(max_size=12)
refs = st.builds(MaterialRef, st.just("name"), words, words, st.sampled_from(KeySpec))
FIELDS = st.lists(st.binary(max_size=6), max_size=5)


# ---- the token format ------------------------------------------------------------------------------------------------


@given(FIELDS, FIELDS)
def test_different_fields_never_bind_alike(one: list[bytes], other: list[bytes]) -> None:
    assert (bind(*one) == bind(*other)) == (one == other)
    assert unbind(bind(*one)) == one


@given(refs, refs, st.binary(max_size=100), st.none() | st.binary(min_size=1, max_size=50))
def test_a_token_opens_for_exactly_its_reference(
    ref: MaterialRef, other: MaterialRef, secret: bytes, public_key: bytes | None
) -> None:
    token = seal_token(DOMAIN, ref, secret, public_key)
    assert open_token(DOMAIN, ref, token) == (secret, public_key)
    if other != ref:
        with pytest.raises(MaterialDamaged):
            open_token(DOMAIN, other, token)


# ---- any changed byte ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[SoftwareKeyStore, MaterialRef]:
    options = SoftwareOptions(root_key=FileRootKey(path=str(tmp_path_factory.mktemp("store") / "root.key")))
    store = SoftwareKeyStore(options, PluginContext(store_name="standard", state=MemoryState(), now=lambda: 1e9))

    async def make() -> MaterialRef:
        await store.provision()
        await store.open()
        return await create(store, "a")

    return store, asyncio.run(make())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_change_to_a_token_is_refused(opened: tuple[SoftwareKeyStore, MaterialRef], data: st.DataObject) -> None:
    store, ref = opened
    assert ref.token is not None
    token = data.draw(_changed(ref.token))
    with pytest.raises(MaterialDamaged):
        asyncio.run(store.encrypt(msgspec.structs.replace(ref, token=token), A, b"", b""))


@settings(max_examples=200, deadline=None)
@given(data=st.data(), plaintext=st.binary(max_size=64), aad=st.binary(max_size=64))
def test_any_change_to_a_ciphertext_or_its_context_is_refused(
    opened: tuple[SoftwareKeyStore, MaterialRef], data: st.DataObject, plaintext: bytes, aad: bytes
) -> None:
    store, ref = opened
    blob = asyncio.run(store.encrypt(ref, A, plaintext, aad))
    assert asyncio.run(store.decrypt(ref, A, blob, aad)) == plaintext
    with pytest.raises(InvalidCiphertext):
        asyncio.run(store.decrypt(ref, A, data.draw(_changed(blob)), aad))
    with pytest.raises(InvalidCiphertext):
        asyncio.run(store.decrypt(ref, A, blob, data.draw(st.binary(max_size=64).filter(lambda other: other != aad))))


@st.composite
def _changed(draw: st.DrawFn, value: bytes) -> bytes:
    """``value`` with a byte changed, cut off, or added."""
    at = draw(st.integers(0, len(value) - 1))
    match draw(st.sampled_from(["change", "cut", "append"])):
        case "change":
            return value[:at] + bytes([value[at] ^ draw(st.integers(1, 255))]) + value[at + 1 :]
        case "cut":
            return value[:at]
        case _:
            return value + draw(st.binary(min_size=1, max_size=8))


# ---- the ciphertext format -------------------------------------------------------------------------------------------


def test_the_message_key_is_hkdf_expand_of_rfc_5869() -> None:
    key, salt, nonce = b"k" * 32, b"s" * 16, b"n" * 12
    info = b"keystead AES-256-GCM message key\x00" + salt
    message_key = HKDFExpand(hashes.SHA256(), 32, info).derive(key)
    blob = b"\x01" + salt + nonce + AESGCM(message_key).encrypt(nonce, b"plaintext", b"context")
    assert AesMaterial(key).decrypt(A, blob, b"context") == b"plaintext"


# ---- what the token does not show ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_512, KeySpec.ECC_NIST_P256])
async def test_material_appears_neither_in_its_token_nor_in_any_repr(
    store: SoftwareKeyStore, spec: KeySpec, state: MemoryState
) -> None:
    ref = await create(store, "a", spec)
    assert ref.token is not None
    hierarchy = store._hierarchy
    secret, _ = open_token(hierarchy.active, ref, ref.token)
    if KEY_SPECS[spec].family is Family.AES:
        await store.encrypt(ref, A, b"", b"")
    shown = f"{vars(store)!r} {vars(hierarchy)!r} {vars(store._cache)!r} {ref!r}".encode()
    for place in (shown, ref.token, *state.values.values()):
        assert secret not in place
        assert repr(secret)[2:-1].encode() not in place


# ---- destroyed, forgotten, evicted -----------------------------------------------------------------------------------


async def test_a_destroyed_material_is_not_opened_from_a_token_that_is_still_around(store: SoftwareKeyStore) -> None:
    ref = await create(store, "a")
    await store.encrypt(ref, A, b"", b"")
    await store.destroy(msgspec.structs.replace(ref, token=None))
    with pytest.raises(MaterialNotFound):
        await store.encrypt(ref, A, b"", b"")
    with pytest.raises(MaterialNotFound):
        await store.create(ref)
    assert await store.observe(ref) is None


async def test_observing_caches_nothing(store: SoftwareKeyStore) -> None:
    ref = await create(store, "a")
    await store.observe(ref)
    assert len(store._cache) == 0


async def test_a_cached_material_still_answers_to_its_own_reference_only(store: SoftwareKeyStore) -> None:
    ref = await create(store, "a")
    await store.encrypt(ref, A, b"", b"")
    for wrong in ({"key_arn": "other"}, {"material_id": "2"}):
        with pytest.raises(MaterialDamaged):
            await store.encrypt(msgspec.structs.replace(ref, **wrong), A, b"", b"")


async def test_the_cache_keeps_no_more_than_its_size(make_store: StoreMaker) -> None:
    store = make_store(cache_size=3)
    await store.provision()
    await store.open()
    made = [await create(store, f"key-{number}") for number in range(8)]
    for ref in made * 2:
        blob = await store.encrypt(ref, A, b"plaintext", b"")
        assert await store.decrypt(ref, A, blob, b"") == b"plaintext"
        assert len(store._cache) <= 3


async def test_closing_empties_the_cache(store: SoftwareKeyStore) -> None:
    ref = await create(store, "a")
    await store.encrypt(ref, A, b"", b"")
    await store.close()
    assert len(store._cache) == 0


def test_the_cache_drops_what_was_used_longest_ago() -> None:
    cache = MaterialCache(2)
    one, two, three = (msgspec.structs.replace(ref_for(name), token=name.encode()) for name in "abc")
    material = HmacMaterial(bytes(32))
    cache.put(one, material)
    cache.put(two, material)
    assert cache.get(one) is material
    cache.put(three, material)
    assert cache.get(two) is None
    assert cache.get(one) is material
    assert cache.get(three) is material


def test_forgetting_drops_every_token_of_the_material() -> None:
    cache = MaterialCache(10)
    tokens = [msgspec.structs.replace(ref_for("a"), token=token) for token in (b"1", b"2", b"3")]
    for ref in tokens:
        cache.put(ref, HmacMaterial(bytes(32)))
    cache.forget(msgspec.structs.replace(ref_for("a"), token=None))
    assert len(cache) == 0
    assert [cache.get(ref) for ref in tokens] == [None] * 3
    assert cache._tokens == {}


async def test_material_forgotten_while_it_is_being_opened_is_not_cached(
    store: SoftwareKeyStore, make_store: StoreMaker, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_store()
    await other.open()
    clock.time += 31 * DAY
    await store.maintain()
    ref = await create(store, "a")
    find = other._hierarchy.find

    async def forgotten_meanwhile(domain_id: bytes) -> DomainKey:
        other.forget(ref)
        return await find(domain_id)

    monkeypatch.setattr(other._hierarchy, "find", forgotten_meanwhile)
    await other.encrypt(ref, A, b"", b"")
    assert len(other._cache) == 0
