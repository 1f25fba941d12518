"""A test enclave of our own: a PKI as that of AWS Nitro Enclaves, and attestation documents signed under it.

Used by the tests of attestation and of ``Recipient``. Nothing here is genuine; it has the form of what is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import NameOID

from controlplane.domain.attestation import Attestation, verify_attestation
from controlplane.errors import InvalidInput

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DER = serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PCRS = {index: bytes([index + 1]) * 48 for index in range(16)}

CA_USAGE = {"key_cert_sign": True, "crl_sign": True, "digital_signature": True}
SIGNER_USAGE = {"digital_signature": True, "content_commitment": True}


def usage(**bits: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names.split()})


@dataclass
class Certified:
    """A key and its certificate."""

    name: str
    key: Any
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(DER)

    def issue(self, name: str, **how: Any) -> Certified:
        return issue(name, issuer=self, **how)


def issue(
    name: str,
    *,
    issuer: Certified | None = None,
    key: Any = None,
    ca: bool = True,
    path_length: int | None = None,
    bits: dict[str, bool] | None = None,
    lifetime: tuple[timedelta, timedelta] = (timedelta(hours=-1), timedelta(hours=2)),
    digest: hashes.HashAlgorithm | None = None,
    constraints: bool | None = True,
    constraints_critical: bool = True,
    key_usage: bool = True,
    extra: tuple[x509.ExtensionType, bool] | None = None,
    now: datetime = NOW,
) -> Certified:
    """A certificate as the Nitro PKI makes them, or with something changed."""
    key = key() if callable(key) else key or ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + lifetime[0])
        .not_valid_after(now + lifetime[1])
    )
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=constraints_critical)
    if key_usage:
        bits = bits if bits is not None else (CA_USAGE if ca else SIGNER_USAGE)
        builder = builder.add_extension(usage(**bits), critical=ca)  # not critical in the leaf, as the hypervisor's
    if extra:
        builder = builder.add_extension(extra[0], critical=extra[1])
    signer = issuer.key if issuer else key
    return Certified(name, key, builder.sign(signer, digest or hashes.SHA384()))


@dataclass
class Enclave:
    """What a hypervisor and an enclave have: a chain (root first, signer last) and an RSA key."""

    chain: list[Certified]
    rsa_key: rsa.RSAPrivateKey
    now: datetime = NOW

    @property
    def root(self) -> x509.Certificate:
        return self.chain[0].certificate

    @property
    def signer(self) -> Certified:
        return self.chain[-1]

    @property
    def public_key(self) -> bytes:
        return self.rsa_key.public_key().public_bytes(DER, SPKI)

    def payload(self, **changes: Any) -> dict[str, Any]:
        """The fields; a change to ``...`` leaves one out."""
        stated = {
            "module_id": "i-0123456789abcdef0-enc0123456789abcdef",
            "digest": "SHA384",
            "timestamp": int(self.now.timestamp() * 1000),
            "pcrs": PCRS,
            "certificate": self.signer.der,
            "cabundle": [each.der for each in self.chain[:-1]],
            "public_key": self.public_key,
            "user_data": None,
            "nonce": None,
        }
        return {name: value for name, value in (stated | changes).items() if value is not ...}

    def sign(
        self,
        payload: bytes,
        *,
        protected: bytes = cbor2.dumps({1: -35}),
        unprotected: Any = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        tagged: bool = False,
    ) -> bytes:
        body = [protected, {} if unprotected is None else unprotected, payload, self.signature(payload, protected, key)]
        return cbor2.dumps(cbor2.CBORTag(18, body) if tagged else body)

    def signature(self, payload: bytes, protected: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        signed = cbor2.dumps(["Signature1", protected, b"", payload])
        r, s = decode_dss_signature((key or self.signer.key).sign(signed, ec.ECDSA(hashes.SHA384())))
        return r.to_bytes(48) + s.to_bytes(48)

    def document(self, **changes: Any) -> bytes:
        return self.sign(cbor2.dumps(self.payload(**changes)))

    def tpm_document(self, **changes: Any) -> bytes:
        """That of a NitroTPM instead of an enclave."""
        stated = {"module_id": "i-0123456789abcdef0-tpm0000000000000000", "pcrs": ..., "nitrotpm_pcrs": PCRS}
        return self.document(**(stated | changes))

    def verified(self, document: bytes, now: datetime = NOW) -> Attestation:
        return verify_attestation(document, roots=[self.root], now=now)


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


@cache
def enclave(now: datetime = NOW) -> Enclave:
    """An enclave whose documents and certificates are of this time."""
    root = issue("aws.nitro-enclaves", now=now)
    region = root.issue("region", path_length=2, now=now)
    zone = region.issue("zone", path_length=1, now=now)
    host = zone.issue("host", path_length=0, bits={"key_cert_sign": True}, now=now)
    return Enclave([root, region, zone, host, host.issue("enclave", ca=False, now=now)], rsa_key(), now)


def refused(document: bytes, *words: str, now: datetime = NOW, of: Enclave | None = None) -> str:
    """The words of the refusal of a document. Fails the test if it is accepted."""
    with pytest.raises(InvalidInput) as caught:
        (of or enclave()).verified(document, now)
    message = caught.value.message
    assert message.startswith("The attestation document ")
    assert all(word in message for word in words), message
    return message


# Reading what was sealed


class Reader:
    """Reads ASN.1 with the two primitives that the parser of the AWS Nitro Enclaves SDK for C is written with."""

    def __init__(self, octets: bytes) -> None:
        self.rest = octets

    def element(self, tag: int) -> bytes:
        """The content of an element of definite length, which is stepped over."""
        assert self.rest[0] == tag, self.rest[:4].hex()
        size, head = self.rest[1], 2
        assert size != 0x80, "a definite length is needed here"
        if size > 0x80:
            head += size & 0x7F
            size = int.from_bytes(self.rest[2:head])
            assert size >= 0x80
        content, self.rest = self.rest[head : head + size], self.rest[head + size :]
        assert len(content) == size
        return content

    def enter(self, tag: int) -> None:
        """Into an element of indefinite length."""
        assert self.rest[:2] == bytes((tag, 0x80)), self.rest[:2].hex()
        self.rest = self.rest[2:]


@dataclass
class Opened:
    key_identifier: bytes
    algorithm: bytes
    encrypted_key: bytes
    iv: bytes
    ciphertext: bytes
    rest: bytes


def as_the_sdk_reads(sealed: bytes) -> Opened:
    """In the order of ``aws_cms_parse_enveloped_data`` (aws-nitro-enclaves-sdk-c, source/cms.c)."""
    cms = Reader(sealed)
    cms.enter(0x30)
    assert cms.element(6).hex() == "2a864886f70d010703"
    cms.enter(0xA0)
    cms.enter(0x30)
    assert cms.element(2) == b"\x02"
    infos = Reader(cms.element(0x31))
    info = Reader(infos.element(0x30))
    assert infos.rest == b""
    assert info.element(2) == b"\x02"
    identifier = info.element(0x80)
    algorithm = info.element(0x30)
    encrypted_key = info.element(4)
    assert info.rest == b""
    cms.enter(0x30)
    assert cms.element(6).hex() == "2a864886f70d010701"
    cipher = Reader(cms.element(0x30))
    assert cipher.element(6).hex() == "60864801650304012a"
    iv = cipher.element(4)
    assert cipher.rest == b""
    cms.enter(0xA0)
    return Opened(identifier, algorithm, encrypted_key, iv, cms.element(4), cms.rest)


OAEP = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def opened(sealed: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """What was sealed to the holder of this key."""
    message = as_the_sdk_reads(sealed)
    content_key = key.decrypt(message.encrypted_key, OAEP)
    assert len(content_key) == 32
    decryptor = Cipher(algorithms.AES256(content_key), modes.CBC(message.iv)).decryptor()
    padded = decryptor.update(message.ciphertext) + decryptor.finalize()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(padded) + unpadder.finalize()
