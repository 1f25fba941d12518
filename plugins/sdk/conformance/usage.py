"""Conformance: every declared use of every declared key spec, right and wrong."""

from __future__ import annotations

import hashlib
import os

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Family,
    GcmCiphertext,
    InvalidCiphertext,
    InvalidRequest,
    InvalidSignature,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    MaterialRef,
    MessageType,
    Unsupported,
)
from plugins.sdk.conformance.choosing import needs, needs_gcm, needs_symmetric
from plugins.sdk.conformance.harness import Harness

MESSAGE = b"the message that was agreed upon"


def digest_for(algorithm: Algorithm, message: bytes) -> bytes:
    """The digest that MessageType DIGEST means for this algorithm."""
    return hashlib.new("sha" + algorithm.rsplit("_", 1)[1], message).digest()


def flipped(value: bytes, at: int) -> bytes:
    """``value`` with one bit of one byte changed."""
    changed = bytearray(value)
    changed[at] ^= 1
    return bytes(changed)


class UsageConformance(Harness):
    """What is declared works, and what is wrong is refused by the right name."""

    async def test_every_declared_use_of_a_spec_works(self, plugin: KeyStorePlugin, spec: KeySpec) -> None:
        ref = await self.created(plugin, spec)
        for usage in sorted(self.capabilities.key_specs[spec]):
            for algorithm in self.algorithms(spec, usage):
                match usage:
                    case KeyUsage.ENCRYPT_DECRYPT:
                        await _encrypts(plugin, ref, algorithm)
                    case KeyUsage.SIGN_VERIFY:
                        await _signs(plugin, ref, algorithm)
                    case KeyUsage.GENERATE_VERIFY_MAC:
                        await _authenticates(plugin, ref, algorithm)
                    case KeyUsage.KEY_AGREEMENT:
                        await _agrees(plugin, ref)
                    case KeyUsage.ENCAPSULATE_DECAPSULATE:
                        await _encapsulates(plugin, ref)

    async def test_algorithms_of_other_specs_and_usages_are_refused(
        self, plugin: KeyStorePlugin, cheap_spec: KeySpec
    ) -> None:
        ref = await self.created(plugin, cheap_spec)
        offered = KEY_SPECS[cheap_spec].algorithms
        for algorithm in Algorithm:
            if algorithm not in offered.get(KeyUsage.ENCRYPT_DECRYPT, ()):
                with pytest.raises((InvalidRequest, Unsupported)):
                    await plugin.encrypt(ref, algorithm, b"plaintext", b"")
            if algorithm not in offered.get(KeyUsage.SIGN_VERIFY, ()):
                with pytest.raises((InvalidRequest, Unsupported)):
                    await plugin.sign(ref, algorithm, MessageType.RAW, MESSAGE)
            if algorithm not in offered.get(KeyUsage.GENERATE_VERIFY_MAC, ()):
                with pytest.raises((InvalidRequest, Unsupported)):
                    await plugin.generate_mac(ref, algorithm, MESSAGE)
        if KeyUsage.KEY_AGREEMENT not in offered:
            with pytest.raises((InvalidRequest, Unsupported)):
                await plugin.agree(ref, b"")
        if KeyUsage.ENCAPSULATE_DECAPSULATE not in offered:
            with pytest.raises((InvalidRequest, Unsupported)):
                await plugin.encapsulate(ref)

    async def test_absent_algorithms_are_refused_as_unsupported(self, plugin: KeyStorePlugin) -> None:
        for spec in self.capabilities.key_specs:
            for algorithm in KEY_SPECS[spec].algorithms.get(KeyUsage.SIGN_VERIFY, ()):
                if algorithm in self.capabilities.absent_algorithms:
                    ref = await self.created(plugin, spec)
                    with pytest.raises(Unsupported):
                        await plugin.sign(ref, algorithm, MessageType.DIGEST, digest_for(algorithm, MESSAGE))

    @needs_symmetric
    async def test_the_same_plaintext_never_encrypts_to_the_same_ciphertext(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        blobs = [await plugin.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, b"same", b"") for _ in range(50)]
        assert len(set(blobs)) == len(blobs)

    @needs_symmetric
    async def test_any_changed_byte_of_a_ciphertext_is_refused(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        blob = await plugin.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, b"plaintext", b"context")
        for at in range(len(blob)):
            with pytest.raises(InvalidCiphertext):
                await plugin.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, flipped(blob, at), b"context")
        for wrong in (b"", blob[:-1], blob + b"\0", blob[1:]):
            with pytest.raises(InvalidCiphertext):
                await plugin.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, wrong, b"context")

    @needs_gcm
    async def test_gcm_in_parts_has_the_parts_that_aes_gcm_has(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        for plaintext in (b"", b"plaintext", os.urandom(4300)):
            sealed = await plugin.encrypt_gcm(ref, plaintext, b"a" * 8216)
            assert len(sealed.iv) in (12, 16)
            assert len(sealed.ciphertext) == len(plaintext)
            assert len(sealed.tag) == 16
            assert await plugin.decrypt_gcm(ref, sealed, b"a" * 8216) == plaintext

    @needs_gcm
    async def test_gcm_in_parts_never_uses_an_iv_twice(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        made = [await plugin.encrypt_gcm(ref, b"same", b"") for _ in range(50)]
        assert len({sealed.iv for sealed in made}) == len(made)

    @needs_gcm
    async def test_any_changed_part_of_gcm_is_refused(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        iv, ciphertext, tag = msgspec.structs.astuple(await plugin.encrypt_gcm(ref, b"plaintext", b"aad"))
        changed = [
            *(GcmCiphertext(flipped(iv, at), ciphertext, tag) for at in range(len(iv))),
            *(GcmCiphertext(iv, flipped(ciphertext, at), tag) for at in range(len(ciphertext))),
            *(GcmCiphertext(iv, ciphertext, flipped(tag, at)) for at in range(len(tag))),
            GcmCiphertext(iv[:-1], ciphertext, tag),
            GcmCiphertext(b"", ciphertext, tag),
            GcmCiphertext(iv, ciphertext[:-1], ciphertext[-1:] + tag),
            GcmCiphertext(iv, ciphertext + tag[:1], tag[1:]),
            GcmCiphertext(iv, ciphertext, tag[:12]),
        ]
        for wrong in changed:
            with pytest.raises(InvalidCiphertext):
                await plugin.decrypt_gcm(ref, wrong, b"aad")
        other = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        for key, aad in ((ref, b""), (ref, b"aad\0"), (other, b"aad")):
            with pytest.raises(InvalidCiphertext):
                await plugin.decrypt_gcm(key, GcmCiphertext(iv, ciphertext, tag), aad)

    @needs_gcm
    async def test_gcm_in_parts_needs_a_symmetric_encryption_key(
        self, plugin: KeyStorePlugin, cheap_spec: KeySpec
    ) -> None:
        if cheap_spec is not KeySpec.SYMMETRIC_DEFAULT:
            ref = await self.created(plugin, cheap_spec)
            with pytest.raises((InvalidRequest, Unsupported)):
                await plugin.encrypt_gcm(ref, b"plaintext", b"")

    @needs("", lambda can: not can.gcm)
    async def test_gcm_in_parts_that_is_not_declared_is_refused(self, plugin: KeyStorePlugin) -> None:
        with pytest.raises(Unsupported):
            await plugin.encrypt_gcm(self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT), b"plaintext", b"")

    @needs_symmetric
    async def test_a_ciphertext_opens_under_its_own_key_only(self, plugin: KeyStorePlugin) -> None:
        mine, other = [await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT) for _ in range(2)]
        blob = await plugin.encrypt(mine, Algorithm.SYMMETRIC_DEFAULT, b"plaintext", b"")
        with pytest.raises(InvalidCiphertext):
            await plugin.decrypt(other, Algorithm.SYMMETRIC_DEFAULT, blob, b"")

    @needs_symmetric
    async def test_the_empty_and_the_largest_kms_plaintext_both_encrypt(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT)
        for plaintext in (b"", os.urandom(4096)):
            blob = await plugin.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, plaintext, b"a" * 8192)
            assert await plugin.decrypt(ref, Algorithm.SYMMETRIC_DEFAULT, blob, b"a" * 8192) == plaintext

    @pytest.mark.parametrize("length", [1, 32, 1024])
    @needs("random octets", lambda can: can.random)
    async def test_random_bytes_have_the_length_asked_for_and_do_not_repeat(
        self, plugin: KeyStorePlugin, length: int
    ) -> None:
        answers = [await plugin.random(length) for _ in range(4)]
        assert {len(answer) for answer in answers} == {length}
        if length >= 32:
            assert len(set(answers)) == 4

    async def test_a_data_key_pair_is_a_pair_and_fresh_each_time(
        self, plugin: KeyStorePlugin, data_pair_spec: KeySpec
    ) -> None:
        first, second = await plugin.generate_key_pair(data_pair_spec), await plugin.generate_key_pair(data_pair_spec)
        private = serialization.load_der_private_key(first.private_key.expose(), None)
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        assert private.public_key().public_bytes(serialization.Encoding.DER, spki) == first.public_key
        assert first.public_key != second.public_key


async def _encrypts(plugin: KeyStorePlugin, ref: MaterialRef, algorithm: Algorithm) -> None:
    symmetric = KEY_SPECS[ref.key_spec].symmetric
    aad = b"encryption context" if symmetric else b""
    plaintext = b"\x00plaintext\xff"
    blob = await plugin.encrypt(ref, algorithm, plaintext, aad)
    assert await plugin.decrypt(ref, algorithm, blob, aad) == plaintext
    with pytest.raises(InvalidCiphertext):
        await plugin.decrypt(ref, algorithm, flipped(blob, -1), aad)
    if symmetric:
        for wrong in (b"", b"encryption contexT", aad + b"\0"):
            with pytest.raises(InvalidCiphertext):
                await plugin.decrypt(ref, algorithm, blob, wrong)
        return
    modulus = KEY_SPECS[ref.key_spec].bits // 8
    assert len(blob) == modulus
    limit = modulus - 2 * (20 if algorithm is Algorithm.RSAES_OAEP_SHA_1 else 32) - 2
    longest = os.urandom(limit)
    assert await plugin.decrypt(ref, algorithm, await plugin.encrypt(ref, algorithm, longest, b""), b"") == longest
    with pytest.raises(InvalidRequest):
        await plugin.encrypt(ref, algorithm, longest + b"x", b"")
    with pytest.raises(InvalidCiphertext):
        await plugin.decrypt(ref, algorithm, blob[:-1], b"")


async def _signs(plugin: KeyStorePlugin, ref: MaterialRef, algorithm: Algorithm) -> None:
    family = KEY_SPECS[ref.key_spec].family
    signature = await plugin.sign(ref, algorithm, MessageType.RAW, MESSAGE)
    await plugin.verify(ref, algorithm, MessageType.RAW, MESSAGE, signature)
    with pytest.raises(InvalidSignature):
        await plugin.verify(ref, algorithm, MessageType.RAW, MESSAGE + b".", signature)
    for wrong in (flipped(signature, len(signature) // 2), signature[:-1], b""):
        with pytest.raises(InvalidSignature):
            await plugin.verify(ref, algorithm, MessageType.RAW, MESSAGE, wrong)
    if family in (Family.RSA, Family.EC):
        digest = digest_for(algorithm, MESSAGE)
        await plugin.verify(ref, algorithm, MessageType.DIGEST, digest, signature)
        await plugin.verify(
            ref, algorithm, MessageType.RAW, MESSAGE, await plugin.sign(ref, algorithm, MessageType.DIGEST, digest)
        )
        refused = [(MessageType.DIGEST, digest[:-1]), (MessageType.EXTERNAL_MU, bytes(64))]
    elif family is Family.ML_DSA:
        mu = os.urandom(64)
        await plugin.verify(
            ref, algorithm, MessageType.EXTERNAL_MU, mu, await plugin.sign(ref, algorithm, MessageType.EXTERNAL_MU, mu)
        )
        refused = [(MessageType.EXTERNAL_MU, mu[:-1]), (MessageType.DIGEST, mu)]
    else:
        refused = [(MessageType.DIGEST, bytes(64)), (MessageType.EXTERNAL_MU, bytes(64))]
    for message_type, message in refused:
        with pytest.raises(InvalidRequest):
            await plugin.sign(ref, algorithm, message_type, message)
        with pytest.raises(InvalidRequest):
            await plugin.verify(ref, algorithm, message_type, message, signature)


async def _authenticates(plugin: KeyStorePlugin, ref: MaterialRef, algorithm: Algorithm) -> None:
    mac = await plugin.generate_mac(ref, algorithm, MESSAGE)
    assert len(mac) == KEY_SPECS[ref.key_spec].bits // 8
    assert mac == await plugin.generate_mac(ref, algorithm, MESSAGE)
    await plugin.verify_mac(ref, algorithm, MESSAGE, mac)
    for message, wrong in ((MESSAGE + b".", mac), (MESSAGE, flipped(mac, 0)), (MESSAGE, mac[:-1]), (MESSAGE, b"")):
        with pytest.raises(InvalidSignature):
            await plugin.verify_mac(ref, algorithm, message, wrong)


async def _agrees(plugin: KeyStorePlugin, ref: MaterialRef) -> None:
    material = await plugin.observe(ref)
    assert material is not None
    assert material.public_key is not None
    public = serialization.load_der_public_key(material.public_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    peer = ec.generate_private_key(public.curve)
    secret = await plugin.agree(ref, _spki(peer.public_key()))
    assert secret.expose() == peer.exchange(ec.ECDH(), public)
    other_curve = ec.SECP384R1() if public.curve.name != "secp384r1" else ec.SECP256R1()
    good = _spki(peer.public_key())
    for wrong in (_spki(ec.generate_private_key(other_curve).public_key()), b"", b"junk", good[:-1], flipped(good, -1)):
        with pytest.raises(InvalidRequest):
            await plugin.agree(ref, wrong)


async def _encapsulates(plugin: KeyStorePlugin, ref: MaterialRef) -> None:
    ciphertext, secret = await plugin.encapsulate(ref)
    assert len(secret) == 32
    assert await plugin.decapsulate(ref, ciphertext) == secret
    # FIPS 203 rejects implicitly: a changed ciphertext gives another secret, a ciphertext of another length none.
    assert await plugin.decapsulate(ref, flipped(ciphertext, 0)) != secret
    with pytest.raises(InvalidCiphertext):
        await plugin.decapsulate(ref, ciphertext[:-1])


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
