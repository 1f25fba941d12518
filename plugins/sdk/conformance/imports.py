"""Conformance: material from outside. The suite plays the owner of the material, with ``cryptography``."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from functools import cache
from typing import Final

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Custody,
    Family,
    Imported,
    ImportTarget,
    IncorrectMaterial,
    InvalidCiphertext,
    InvalidSignature,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    MaterialDamaged,
    MaterialRef,
    MessageType,
    Unsupported,
    WrappingAlgorithm,
    WrappingKey,
    WrappingSpec,
)
from plugins.sdk.conformance.choosing import cheap, needs_import_of, needs_imports, needs_spec
from plugins.sdk.conformance.harness import Harness, use_once
from plugins.sdk.conformance.secrecy import spellings
from plugins.sdk.conformance.state import MemoryState
from plugins.sdk.conformance.usage import MESSAGE, flipped

SPEC = WrappingSpec.RSA_2048
"""The fastest to make."""
HYBRID = WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256

_CURVES: dict[KeySpec, ec.EllipticCurve] = {
    KeySpec.ECC_NIST_P256: ec.SECP256R1(),
    KeySpec.ECC_NIST_P384: ec.SECP384R1(),
    KeySpec.ECC_NIST_P521: ec.SECP521R1(),
    KeySpec.ECC_SECG_P256K1: ec.SECP256K1(),
}
_PQ = {
    KeySpec.ML_DSA_44: mldsa.MLDSA44PrivateKey,
    KeySpec.ML_DSA_65: mldsa.MLDSA65PrivateKey,
    KeySpec.ML_DSA_87: mldsa.MLDSA87PrivateKey,
    KeySpec.ML_KEM_768: mlkem.MLKEM768PrivateKey,
    KeySpec.ML_KEM_1024: mlkem.MLKEM1024PrivateKey,
}


_RFC_8032_TEST_2: Final = (
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
)
"""RFC 8032, section 7.1: secret key, message, signature."""
_RFC_5903_SECTION_8_1: Final = (
    "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
    "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63",
    "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
    "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
)
"""RFC 5903: the initiator's private key, the responder's public key (x, y), the shared secret."""
_RFC_4231_SECTION_4_2: Final = {
    KeySpec.HMAC_224: "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
    KeySpec.HMAC_256: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    KeySpec.HMAC_384: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec6"
    "82aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    KeySpec.HMAC_512: "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
    "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
}
"""RFC 4231, test case 1: MACs of "Hi There" under twenty octets 0b. HMAC pads a key with zeros (RFC 2104, section 2):
with zeros behind it up to the length of the key spec it is the same key."""
_RFC_6979_SAMPLE: Final = {
    KeySpec.ECC_NIST_P256: (
        Algorithm.ECDSA_SHA_256,
        "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ),
    KeySpec.ECC_NIST_P384: (
        Algorithm.ECDSA_SHA_384,
        "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
        "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
        "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
    ),
}
"""RFC 6979, appendix A.2.5 and A.2.6: private key, and (r, s) of "sample". Verified only: no rule says that a signer is
deterministic."""


@cache
def material_of(spec: KeySpec) -> bytes:
    """Material of a key spec as its owner would have it, the same throughout a process."""
    facts = KEY_SPECS[spec]
    if facts.symmetric:
        return os.urandom(facts.bits // 8)
    return pkcs8(_private(spec))


def _private(spec: KeySpec) -> rsa.RSAPrivateKey:
    """A fresh private key. Of whichever kind; the annotation is for what they have in common."""
    facts = KEY_SPECS[spec]
    make: Callable[[], object]
    if facts.family is Family.RSA:
        return rsa.generate_private_key(65_537, facts.bits)
    if facts.family is Family.EC:
        curve = _CURVES[spec]
        make = lambda: ec.generate_private_key(curve)  # noqa: E731
    elif facts.family is Family.ED25519:
        make = ed25519.Ed25519PrivateKey.generate
    else:
        make = _PQ[spec].generate  # type: ignore[attr-defined]
    return make()  # type: ignore[return-value]


def pkcs8(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_of(material: bytes) -> bytes:
    return _spki(serialization.load_der_private_key(material, None).public_key())  # type: ignore[arg-type]


def _spki(public: rsa.RSAPublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def wrap(public_key: bytes, algorithm: WrappingAlgorithm, material: bytes, aes_key: bytes | None = None) -> bytes:
    """Wrap as the KMS API documents it."""
    public = serialization.load_der_public_key(public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    hash_: hashes.HashAlgorithm = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    oaep = padding.OAEP(padding.MGF1(hash_), hash_, None)
    if not algorithm.hybrid:
        return public.encrypt(material, oaep)
    key = aes_key or os.urandom(32)
    return public.encrypt(key, oaep) + aes_key_wrap_with_padding(key, material)


def algorithms_for(spec: KeySpec) -> list[WrappingAlgorithm]:
    """What material of a spec fits in under a 2048-bit key."""
    direct = KEY_SPECS[spec].family is not Family.RSA and spec is not KeySpec.ECC_NIST_P521
    return [algorithm for algorithm in WrappingAlgorithm if algorithm.hybrid or direct]


class ImportConformance(Harness):
    """What comes in is what its owner has, or nothing."""

    def target(self, spec: KeySpec, key_id: str = "11111111-2222-3333-4444-555555555555") -> ImportTarget:
        return ImportTarget(key_arn=f"arn:aws:kms:us-east-1:000000000000:key/{key_id}", key_id=key_id, key_spec=spec)

    def importable(self) -> KeySpec:
        """A declared spec whose material is made at once."""
        fast = frozenset(spec for spec in self.capabilities.imports if KEY_SPECS[spec].family is not Family.RSA)
        return cheap(fast or self.capabilities.imports)[0]

    async def imported(self, plugin: KeyStorePlugin, target: ImportTarget, material: bytes) -> Imported:
        wrapping = await plugin.wrapping_key(target, SPEC, HYBRID)
        encrypted = wrap(wrapping.public_key, HYBRID, material)
        return await plugin.import_material(target, SPEC, HYBRID, wrapping.sealed, encrypted)

    @staticmethod
    def ref(target: ImportTarget, imported: Imported, name: str = "keystead:import:1") -> MaterialRef:
        return MaterialRef(name, target.key_arn, imported.material_id, target.key_spec, imported.material.token)

    async def test_only_token_stores_import(self, plugin: KeyStorePlugin) -> None:
        if self.capabilities.imports:
            assert self.capabilities.custody is Custody.TOKEN
            return
        with pytest.raises(Unsupported):
            await plugin.wrapping_key(self.target(KeySpec.SYMMETRIC_DEFAULT), SPEC, HYBRID)

    async def test_imported_material_is_observed_and_usable(self, plugin: KeyStorePlugin, import_spec: KeySpec) -> None:
        target, material = self.target(import_spec), material_of(import_spec)
        imported = await self.imported(plugin, target, material)
        ref = self.ref(target, imported)
        assert await plugin.observe(ref) == imported.material
        assert imported.material.public_key == (None if KEY_SPECS[import_spec].symmetric else public_of(material))
        await use_once(plugin, ref)

    async def test_every_algorithm_brings_the_same_material_in(
        self, plugin: KeyStorePlugin, import_spec: KeySpec
    ) -> None:
        target, material, ids = self.target(import_spec), material_of(import_spec), set()
        for algorithm in algorithms_for(import_spec):
            wrapping = await plugin.wrapping_key(target, SPEC, algorithm)
            encrypted = wrap(wrapping.public_key, algorithm, material)
            imported = await plugin.import_material(target, SPEC, algorithm, wrapping.sealed, encrypted)
            ids.add(imported.material_id)
        (material_id,) = ids
        assert len(material_id) == 64
        assert set(material_id) <= set("0123456789abcdef")

    @pytest.mark.parametrize("wrapping_spec", list(WrappingSpec))
    @needs_imports
    async def test_a_wrapping_key_has_the_size_asked_for_and_is_fresh(
        self, plugin: KeyStorePlugin, wrapping_spec: WrappingSpec
    ) -> None:
        spec = self.importable()
        target = self.target(spec)
        wrapping = await plugin.wrapping_key(target, wrapping_spec, HYBRID)
        public = serialization.load_der_public_key(wrapping.public_key)
        assert isinstance(public, rsa.RSAPublicKey)
        assert public.key_size == wrapping_spec.bits
        encrypted = wrap(wrapping.public_key, HYBRID, material_of(spec))
        await plugin.import_material(target, wrapping_spec, HYBRID, wrapping.sealed, encrypted)
        assert (await plugin.wrapping_key(target, SPEC, HYBRID)).public_key != (
            await plugin.wrapping_key(target, SPEC, HYBRID)
        ).public_key

    @needs_import_of(KeySpec.HMAC_256)
    async def test_an_imported_mac_key_makes_its_owners_macs(self, plugin: KeyStorePlugin) -> None:
        target, material = self.target(KeySpec.HMAC_256), material_of(KeySpec.HMAC_256)
        ref = self.ref(target, await self.imported(plugin, target, material))
        theirs = hmac.HMAC(material, hashes.SHA256())
        theirs.update(MESSAGE)
        assert await plugin.generate_mac(ref, Algorithm.HMAC_SHA_256, MESSAGE) == theirs.finalize()

    async def test_an_imported_key_pair_signs_for_its_owners_public_key(
        self, plugin: KeyStorePlugin, import_signing_spec: KeySpec
    ) -> None:
        target, material = self.target(import_signing_spec), material_of(import_signing_spec)
        ref = self.ref(target, await self.imported(plugin, target, material))
        observed = await plugin.observe(ref)
        assert observed is not None
        assert observed.public_key == public_of(material)
        algorithm = self.algorithms(import_signing_spec, KeyUsage.SIGN_VERIFY)[0]
        signature = await plugin.sign(ref, algorithm, MessageType.RAW, MESSAGE)
        await plugin.verify(ref, algorithm, MessageType.RAW, MESSAGE, signature)

    @needs_import_of(KeySpec.ECC_NIST_EDWARDS25519)
    async def test_ed25519_signs_as_rfc_8032_prints_it(self, plugin: KeyStorePlugin) -> None:
        secret, message, signature = (bytes.fromhex(octets) for octets in _RFC_8032_TEST_2)
        material = pkcs8(ed25519.Ed25519PrivateKey.from_private_bytes(secret))  # type: ignore[arg-type]
        target = self.target(KeySpec.ECC_NIST_EDWARDS25519)
        ref = self.ref(target, await self.imported(plugin, target, material))
        assert await plugin.sign(ref, Algorithm.ED25519_SHA_512, MessageType.RAW, message) == signature
        await plugin.verify(ref, Algorithm.ED25519_SHA_512, MessageType.RAW, message, signature)

    async def test_macs_are_those_of_rfc_4231(self, plugin: KeyStorePlugin, import_mac_spec: KeySpec) -> None:
        key = (b"\x0b" * 20).ljust(KEY_SPECS[import_mac_spec].bits // 8, b"\0")
        target = self.target(import_mac_spec)
        ref = self.ref(target, await self.imported(plugin, target, key))
        mac = bytes.fromhex(_RFC_4231_SECTION_4_2[import_mac_spec])
        (algorithm,) = self.algorithms(import_mac_spec, KeyUsage.GENERATE_VERIFY_MAC)
        assert await plugin.generate_mac(ref, algorithm, b"Hi There") == mac
        await plugin.verify_mac(ref, algorithm, b"Hi There", mac)

    async def test_signatures_of_rfc_6979_verify(self, plugin: KeyStorePlugin, import_curve_spec: KeySpec) -> None:
        algorithm, *numbers = _RFC_6979_SAMPLE[import_curve_spec]
        private, r, s = (int(octets, 16) for octets in numbers)
        target = self.target(import_curve_spec)
        material = pkcs8(ec.derive_private_key(private, _CURVES[import_curve_spec]))  # type: ignore[arg-type]
        ref = self.ref(target, await self.imported(plugin, target, material))
        await plugin.verify(ref, algorithm, MessageType.RAW, b"sample", encode_dss_signature(r, s))
        with pytest.raises(InvalidSignature):
            await plugin.verify(ref, algorithm, MessageType.RAW, b"sample", encode_dss_signature(r, s + 1))

    @needs_import_of(KeySpec.ECC_NIST_P256)
    @needs_spec(KeySpec.ECC_NIST_P256, KeyUsage.KEY_AGREEMENT)
    async def test_two_parties_agree_as_rfc_5903_prints_it(self, plugin: KeyStorePlugin) -> None:
        private, x, y, shared = (int(octets, 16) for octets in _RFC_5903_SECTION_8_1)
        curve = ec.SECP256R1()
        peer = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        target = self.target(KeySpec.ECC_NIST_P256)
        material = pkcs8(ec.derive_private_key(private, curve))  # type: ignore[arg-type]
        ref = self.ref(target, await self.imported(plugin, target, material))
        secret = await plugin.agree(ref, _spki(peer))  # type: ignore[arg-type]
        assert secret.expose() == shared.to_bytes(32, "big")

    @needs_import_of(KeySpec.SYMMETRIC_DEFAULT)
    async def test_what_the_material_encrypted_opens_again_after_it_was_destroyed_and_imported_again(
        self, plugin: KeyStorePlugin, state: MemoryState
    ) -> None:
        target, material = self.target(KeySpec.SYMMETRIC_DEFAULT), material_of(KeySpec.SYMMETRIC_DEFAULT)
        first = await self.imported(plugin, target, material)
        ref = self.ref(target, first)
        blob = await plugin.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, b"plaintext", b"context")
        await plugin.destroy(ref)
        for store in (plugin, await self.reopened(state)):
            again = await self.imported(store, target, material)
            assert again.material_id == first.material_id
            new = self.ref(target, again, f"keystead:import:{id(store)}")
            assert await store.decrypt(new, Algorithm.SYMMETRIC_DEFAULT, blob, b"context") == b"plaintext"
        await store.close()

    @needs_imports
    async def test_the_id_names_the_material_under_its_key_id_and_gives_nothing_away(
        self, plugin: KeyStorePlugin
    ) -> None:
        spec = self.importable()
        material = material_of(spec)
        same_key_elsewhere = msgspec.structs.replace(
            self.target(spec), key_arn="arn:aws:kms:eu-central-1:000000000000:key/" + self.target(spec).key_id
        )
        here = (await self.imported(plugin, self.target(spec), material)).material_id
        assert here == (await self.imported(plugin, same_key_elsewhere, material)).material_id
        assert here != (await self.imported(plugin, self.target(spec, "another"), material)).material_id
        digest = hashes.Hash(hashes.SHA256())
        digest.update(material)
        assert here != digest.finalize().hex()

    async def test_material_of_the_wrong_length_kind_or_curve_is_refused(
        self, plugin: KeyStorePlugin, import_spec: KeySpec
    ) -> None:
        target, right = self.target(import_spec), material_of(import_spec)
        wrong = [right[:-1], right + b"\0", b"x", os.urandom(31), b"junk" * 100]
        wrong += [
            material_of(spec)
            for spec in (KeySpec.RSA_2048, KeySpec.ECC_NIST_P256, KeySpec.ECC_SECG_P256K1, KeySpec.ML_DSA_44)
            if spec is not import_spec
        ]
        wrong.append(pkcs8(x25519.X25519PrivateKey.generate()))  # type: ignore[arg-type]
        if not KEY_SPECS[import_spec].symmetric:
            wrong.append(public_of(right))
            private = serialization.load_der_private_key(right, None)
            encryption = serialization.BestAvailableEncryption(b"passphrase")
            encrypted = private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, encryption)
            wrong.append(encrypted)
            wrong.append(
                private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
        if KEY_SPECS[import_spec].family in (Family.RSA, Family.EC):
            wrong.append(
                private.private_bytes(
                    serialization.Encoding.DER,
                    serialization.PrivateFormat.TraditionalOpenSSL,
                    serialization.NoEncryption(),
                )
            )
        wrapping = await plugin.wrapping_key(target, SPEC, HYBRID)
        for material in wrong:
            if KEY_SPECS[import_spec].symmetric and len(material) == len(right):
                continue  # any octets of the right number are a key
            encrypted = wrap(wrapping.public_key, HYBRID, material)
            with pytest.raises(IncorrectMaterial) as caught:
                await plugin.import_material(target, SPEC, HYBRID, wrapping.sealed, encrypted)
            shown = "".join(traceback.format_exception(caught.value))
            if len(material) >= 16:
                assert not any(spelling in shown for spelling in spellings(material))

    @needs_import_of(KeySpec.RSA_2048)
    async def test_an_rsa_key_that_does_not_hang_together_is_refused(self, plugin: KeyStorePlugin) -> None:
        target = self.target(KeySpec.RSA_2048)
        good = material_of(KeySpec.RSA_2048)
        wrapping = await plugin.wrapping_key(target, SPEC, HYBRID)
        small = pkcs8(rsa.generate_private_key(3, 2048))
        for material in (flipped(good, len(good) // 2), flipped(good, -1), small):
            encrypted = wrap(wrapping.public_key, HYBRID, material)
            with pytest.raises(IncorrectMaterial):
                await plugin.import_material(target, SPEC, HYBRID, wrapping.sealed, encrypted)

    @needs_import_of(KeySpec.ECC_NIST_P256)
    async def test_a_private_key_with_the_public_key_of_another_is_refused(self, plugin: KeyStorePlugin) -> None:
        target = self.target(KeySpec.ECC_NIST_P256)
        mine, theirs = material_of(KeySpec.ECC_NIST_P256), pkcs8(_private(KeySpec.ECC_NIST_P256))
        point = public_of(mine)[-65:]
        assert point in mine
        mixed = mine.replace(point, public_of(theirs)[-65:])
        wrapping = await plugin.wrapping_key(target, SPEC, HYBRID)
        encrypted = wrap(wrapping.public_key, HYBRID, mixed)
        with pytest.raises(IncorrectMaterial):
            await plugin.import_material(target, SPEC, HYBRID, wrapping.sealed, encrypted)

    @pytest.mark.parametrize("algorithm", list(WrappingAlgorithm))
    @needs_imports
    async def test_what_does_not_unwrap_is_refused_and_always_in_the_same_words(
        self, plugin: KeyStorePlugin, algorithm: WrappingAlgorithm
    ) -> None:
        spec = self.importable()
        target, material = self.target(spec), material_of(spec)
        wrapping = await plugin.wrapping_key(target, SPEC, algorithm)
        other = await plugin.wrapping_key(target, SPEC, algorithm)
        good = wrap(wrapping.public_key, algorithm, material)
        wrong = [b"", b"x", good[:-1], good + b"\0", flipped(good, 0), flipped(good, -1), os.urandom(len(good))]
        wrong.append(wrap(other.public_key, algorithm, material))
        others = set(WrappingAlgorithm) - {algorithm}
        wrong += [wrap(wrapping.public_key, another, material) for another in others]
        if algorithm.hybrid:
            wrong.append(wrap(wrapping.public_key, algorithm, material, os.urandom(16)))
        words = set()
        for encrypted in wrong:
            with pytest.raises(InvalidCiphertext) as caught:
                await plugin.import_material(target, SPEC, algorithm, wrapping.sealed, encrypted)
            words.add(str(caught.value))
        assert len(words) == 1

    @needs_imports
    async def test_a_wrapping_key_serves_the_key_and_algorithm_it_was_made_for_only(
        self, plugin: KeyStorePlugin
    ) -> None:
        spec = self.importable()
        target, material = self.target(spec), material_of(spec)
        wrapping = await plugin.wrapping_key(target, SPEC, HYBRID)
        encrypted = wrap(wrapping.public_key, HYBRID, material)
        stranger = self.target(spec, "stranger")
        others = [
            (stranger, SPEC, HYBRID, wrapping.sealed),
            (msgspec.structs.replace(target, key_id="stranger"), SPEC, HYBRID, wrapping.sealed),
            (msgspec.structs.replace(target, key_arn=stranger.key_arn), SPEC, HYBRID, wrapping.sealed),
            (target, WrappingSpec.RSA_3072, HYBRID, wrapping.sealed),
            (target, SPEC, WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_1, wrapping.sealed),
            (target, SPEC, HYBRID, b""),
            (target, SPEC, HYBRID, wrapping.sealed[:-1]),
            *((target, SPEC, HYBRID, flipped(wrapping.sealed, at)) for at in (0, 8, 12, 30, 60, -1)),
        ]
        for arguments in others:
            with pytest.raises(MaterialDamaged):
                await plugin.import_material(*arguments, encrypted)
        await plugin.import_material(target, SPEC, HYBRID, wrapping.sealed, encrypted)

    @needs_imports
    async def test_a_wrapping_key_made_before_a_restart_serves_after_it(
        self, plugin: KeyStorePlugin, state: MemoryState
    ) -> None:
        spec = self.importable()
        target, material = self.target(spec), material_of(spec)
        wrapping: WrappingKey = await plugin.wrapping_key(target, SPEC, HYBRID)
        await plugin.close()
        again = await self.reopened(state)
        encrypted = wrap(wrapping.public_key, HYBRID, material)
        await again.import_material(target, SPEC, HYBRID, wrapping.sealed, encrypted)
        await again.close()

    @needs_imports
    async def test_neither_the_wrapping_key_nor_the_material_is_in_what_the_host_keeps(
        self, plugin: KeyStorePlugin, state: MemoryState
    ) -> None:
        spec = self.importable()
        target, material = self.target(spec), material_of(spec)
        wrapping = await plugin.wrapping_key(target, SPEC, HYBRID)
        encrypted = wrap(wrapping.public_key, HYBRID, material)
        imported = await plugin.import_material(target, SPEC, HYBRID, wrapping.sealed, encrypted)
        kept = [*state.values.values(), wrapping.sealed, imported.material.token or b""]
        for octets in kept:
            assert material not in octets
            assert not any(spelling.encode() in octets for spelling in spellings(material))
