"""The words that cross the plugin boundary: the AWS KMS enumerations and what each key spec is made of.

Who uses it: every plugin, and through ``controlplane.schema`` the whole control plane, so that there is one table.
Guarantee: ``KEY_SPECS`` has a row for every member of :class:`KeySpec`; values are spelled exactly as in the KMS API.

Source of the rows: AWS KMS Developer Guide, "Key spec reference", and the API reference of CreateKey and Sign.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class KeySpec(StrEnum):
    """What kind of material a KMS key holds (API reference: ``KeySpec``)."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_SECG_P256K1 = "ECC_SECG_P256K1"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    HMAC_224 = "HMAC_224"
    HMAC_256 = "HMAC_256"
    HMAC_384 = "HMAC_384"
    HMAC_512 = "HMAC_512"
    ML_DSA_44 = "ML_DSA_44"
    ML_DSA_65 = "ML_DSA_65"
    ML_DSA_87 = "ML_DSA_87"
    ML_KEM_512 = "ML_KEM_512"
    ML_KEM_768 = "ML_KEM_768"
    ML_KEM_1024 = "ML_KEM_1024"
    SM2 = "SM2"


class KeyUsage(StrEnum):
    """What a KMS key may be used for (API reference: ``KeyUsageType``)."""

    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    SIGN_VERIFY = "SIGN_VERIFY"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"
    KEY_AGREEMENT = "KEY_AGREEMENT"
    ENCAPSULATE_DECAPSULATE = "ENCAPSULATE_DECAPSULATE"


class Algorithm(StrEnum):
    """Every algorithm name of the KMS API, over all usages."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    SM2PKE = "SM2PKE"
    RSASSA_PSS_SHA_256 = "RSASSA_PSS_SHA_256"
    RSASSA_PSS_SHA_384 = "RSASSA_PSS_SHA_384"
    RSASSA_PSS_SHA_512 = "RSASSA_PSS_SHA_512"
    RSASSA_PKCS1_V1_5_SHA_256 = "RSASSA_PKCS1_V1_5_SHA_256"
    RSASSA_PKCS1_V1_5_SHA_384 = "RSASSA_PKCS1_V1_5_SHA_384"
    RSASSA_PKCS1_V1_5_SHA_512 = "RSASSA_PKCS1_V1_5_SHA_512"
    ECDSA_SHA_256 = "ECDSA_SHA_256"
    ECDSA_SHA_384 = "ECDSA_SHA_384"
    ECDSA_SHA_512 = "ECDSA_SHA_512"
    SM2DSA = "SM2DSA"
    ED25519_SHA_512 = "ED25519_SHA_512"
    ED25519_PH_SHA_512 = "ED25519_PH_SHA_512"
    ML_DSA_SHAKE_256 = "ML_DSA_SHAKE_256"
    HMAC_SHA_224 = "HMAC_SHA_224"
    HMAC_SHA_256 = "HMAC_SHA_256"
    HMAC_SHA_384 = "HMAC_SHA_384"
    HMAC_SHA_512 = "HMAC_SHA_512"
    ECDH = "ECDH"
    ML_KEM = "ML_KEM"


class MessageType(StrEnum):
    """How ``Sign`` and ``Verify`` read their message (API reference: ``MessageType``)."""

    RAW = "RAW"
    DIGEST = "DIGEST"
    EXTERNAL_MU = "EXTERNAL_MU"


class WrappingSpec(StrEnum):
    """The key pair that protects material on its way in (API reference: ``WrappingKeySpec``, without SM2)."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"

    @property
    def bits(self) -> int:
        """Size of the modulus."""
        return int(self.removeprefix("RSA_"))


class WrappingAlgorithm(StrEnum):
    """How material is wrapped under it (API reference: ``AlgorithmSpec``, without what AWS has withdrawn, and SM2).

    ``RSAES_*``: the material itself under RSAES-OAEP (RFC 8017) with that hash, also in MGF1, and the empty label.
    ``RSA_AES_*``: a fresh 256-bit AES key so wrapped, followed by the material under that AES key (AES key wrap with
    padding, RFC 5649); PKCS#11 calls it CKM_RSA_AES_KEY_WRAP.
    """

    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1"
    RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256"

    @property
    def hybrid(self) -> bool:
        """Whether an AES key stands between."""
        return self.startswith("RSA_AES")


class Family(StrEnum):
    """The cryptographic family of a key spec; what a plugin switches on."""

    AES = "AES"
    HMAC = "HMAC"
    RSA = "RSA"
    EC = "EC"
    ED25519 = "ED25519"
    ML_DSA = "ML_DSA"
    ML_KEM = "ML_KEM"
    SM2 = "SM2"


class KeySpecFacts(msgspec.Struct, frozen=True):
    """One row of the key spec reference.

    ``bits`` is the size of a secret key, of an RSA modulus, of a curve's field, or the parameter set of ML-DSA and
    ML-KEM. ``algorithms`` lists, per usage, what the KMS API offers, in the order in which DescribeKey lists them.
    """

    family: Family
    bits: int
    algorithms: dict[KeyUsage, tuple[Algorithm, ...]]

    @property
    def symmetric(self) -> bool:
        """Whether there is no public half."""
        return self.family in (Family.AES, Family.HMAC)


_RSA = {
    KeyUsage.ENCRYPT_DECRYPT: (Algorithm.RSAES_OAEP_SHA_1, Algorithm.RSAES_OAEP_SHA_256),
    KeyUsage.SIGN_VERIFY: (
        Algorithm.RSASSA_PKCS1_V1_5_SHA_256,
        Algorithm.RSASSA_PKCS1_V1_5_SHA_384,
        Algorithm.RSASSA_PKCS1_V1_5_SHA_512,
        Algorithm.RSASSA_PSS_SHA_256,
        Algorithm.RSASSA_PSS_SHA_384,
        Algorithm.RSASSA_PSS_SHA_512,
    ),
}
_ML_DSA: dict[KeyUsage, tuple[Algorithm, ...]] = {KeyUsage.SIGN_VERIFY: (Algorithm.ML_DSA_SHAKE_256,)}
_ML_KEM: dict[KeyUsage, tuple[Algorithm, ...]] = {KeyUsage.ENCAPSULATE_DECAPSULATE: (Algorithm.ML_KEM,)}


def _nist(algorithm: Algorithm) -> dict[KeyUsage, tuple[Algorithm, ...]]:
    return {KeyUsage.SIGN_VERIFY: (algorithm,), KeyUsage.KEY_AGREEMENT: (Algorithm.ECDH,)}


def _mac(algorithm: Algorithm) -> dict[KeyUsage, tuple[Algorithm, ...]]:
    return {KeyUsage.GENERATE_VERIFY_MAC: (algorithm,)}


KEY_SPECS: dict[KeySpec, KeySpecFacts] = {
    KeySpec.SYMMETRIC_DEFAULT: KeySpecFacts(
        Family.AES, 256, {KeyUsage.ENCRYPT_DECRYPT: (Algorithm.SYMMETRIC_DEFAULT,)}
    ),
    KeySpec.RSA_2048: KeySpecFacts(Family.RSA, 2048, _RSA),
    KeySpec.RSA_3072: KeySpecFacts(Family.RSA, 3072, _RSA),
    KeySpec.RSA_4096: KeySpecFacts(Family.RSA, 4096, _RSA),
    KeySpec.ECC_NIST_P256: KeySpecFacts(Family.EC, 256, _nist(Algorithm.ECDSA_SHA_256)),
    KeySpec.ECC_NIST_P384: KeySpecFacts(Family.EC, 384, _nist(Algorithm.ECDSA_SHA_384)),
    KeySpec.ECC_NIST_P521: KeySpecFacts(Family.EC, 521, _nist(Algorithm.ECDSA_SHA_512)),
    KeySpec.ECC_SECG_P256K1: KeySpecFacts(Family.EC, 256, {KeyUsage.SIGN_VERIFY: (Algorithm.ECDSA_SHA_256,)}),
    KeySpec.ECC_NIST_EDWARDS25519: KeySpecFacts(
        Family.ED25519, 256, {KeyUsage.SIGN_VERIFY: (Algorithm.ED25519_SHA_512, Algorithm.ED25519_PH_SHA_512)}
    ),
    KeySpec.HMAC_224: KeySpecFacts(Family.HMAC, 224, _mac(Algorithm.HMAC_SHA_224)),
    KeySpec.HMAC_256: KeySpecFacts(Family.HMAC, 256, _mac(Algorithm.HMAC_SHA_256)),
    KeySpec.HMAC_384: KeySpecFacts(Family.HMAC, 384, _mac(Algorithm.HMAC_SHA_384)),
    KeySpec.HMAC_512: KeySpecFacts(Family.HMAC, 512, _mac(Algorithm.HMAC_SHA_512)),
    KeySpec.ML_DSA_44: KeySpecFacts(Family.ML_DSA, 44, _ML_DSA),
    KeySpec.ML_DSA_65: KeySpecFacts(Family.ML_DSA, 65, _ML_DSA),
    KeySpec.ML_DSA_87: KeySpecFacts(Family.ML_DSA, 87, _ML_DSA),
    KeySpec.ML_KEM_512: KeySpecFacts(Family.ML_KEM, 512, _ML_KEM),
    KeySpec.ML_KEM_768: KeySpecFacts(Family.ML_KEM, 768, _ML_KEM),
    KeySpec.ML_KEM_1024: KeySpecFacts(Family.ML_KEM, 1024, _ML_KEM),
    KeySpec.SM2: KeySpecFacts(
        Family.SM2,
        256,
        {
            KeyUsage.ENCRYPT_DECRYPT: (Algorithm.SM2PKE,),
            KeyUsage.SIGN_VERIFY: (Algorithm.SM2DSA,),
            KeyUsage.KEY_AGREEMENT: (Algorithm.ECDH,),
        },
    ),
}
