"""Attestation documents of AWS Nitro Enclaves and NitroTPMs: is this one genuine, fresh, and what does it say?

Who calls it: the crypto path, for the ``Recipient`` parameter of Decrypt, GenerateDataKey, GenerateDataKeyPair,
GenerateRandom and DeriveSharedSecret, before the key is used. Policy evaluation reads :func:`attestation_conditions`.
Pure: the time and the trusted roots are passed in.

Guarantees: a returned :class:`Attestation` was signed, at most :data:`FRESHNESS` from ``now``, with a certificate that
chains to one of the trusted roots, and carries an RSA key fit for RSAES-OAEP. Whatever else arrives, however malformed,
raises :class:`controlplane.errors.InvalidInput`. Not guaranteed: that a document is used once. A replay within its five
minutes gains nothing here, because the answer is sealed to the key that the document names.

::

    18(                              the tag is optional
      [ << {1: -35} >>,              protected header: the algorithm, ES384, alone
        {},                          unprotected header: empty
        << {module_id, digest, timestamp, pcrs, certificate, cabundle, public_key, user_data, nonce} >>,
        r || s ])                    96 octets, over << ["Signature1", protected header, h'', payload] >>

Rules: "Nitro Enclaves Attestation Process" (https://github.com/aws/aws-nitro-enclaves-nsm-api, its page
``docs/attestation_process.md``; the sections named below are its sections) and "Verifying the root of trust"
(https://docs.aws.amazon.com/enclaves/latest/user/verify-root.html). COSE: RFC 8152, sections 4.4 and 8.1. Where genuine
documents differ from the page, the documents win and the place says so. The document of a NitroTPM differs in two
things: its registers are ``nitrotpm_pcrs``, and user data and nonce may be longer (EC2 User Guide, "Validate a NitroTPM
Attestation Document"; same PKI, same root). Its registers have condition keys of their own, so that a policy that asks
for those of an enclave is not satisfied by an instance, nor the other way round.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import cbor2
import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import SignatureAlgorithmOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store

from controlplane.errors import InvalidInput

AWS_NITRO_ROOT_G1: Final = bytes.fromhex("641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b")
"""SHA-256 of the DER of the root certificate of the commercial AWS partitions ("Verifying the root of trust"; the first
certificate of every genuine document). Trusted where the caller passes it among ``fingerprints``, never by itself."""

FRESHNESS: Final = timedelta(minutes=5)
"""How far a timestamp may be from now, either way. The rule is ours: AWS publishes none, and a signing certificate is
valid for three hours. Five minutes is SigV4's window: a captured document is of use no longer than its request."""

MAX_DOCUMENT: Final = 262_144  # octets; AttestationDocumentType in the KMS service model
_MAX_PAYLOAD: Final = 16_384  # octets; section 3.1
_MAX_BUNDLE: Final = (
    8  # certificates; ours, it bounds the path search. Genuine bundles hold 4: root, Region, zone, host
)
_MIN_RSA_BITS: Final = 2048  # the KMS pages of the Nitro Enclaves SDK
_MIN_RSA_EXPONENT: Final = 65_537  # NIST SP 800-56B Rev. 2, 6.2; with exponent 1 a sealed key would be readable by all
_TAG_SIGN1: Final = b"\xd2"  # tag 18, RFC 8152, section 2
_ES384: Final = [(1, -35)]  # the header parameter "alg", RFC 8152, section 3.1
_SCALAR: Final = (
    48  # octets of r and of s on P-384; section 3.1 of the process page gives digest sizes there, mistakenly
)

_MAX_ENCLAVE_DATA: Final = 512  # octets of user_data and of nonce; a NitroTPM has 1024

_Certificate = Annotated[bytes, msgspec.Meta(min_length=1, max_length=1024)]
_Registers = Annotated[
    dict[Annotated[int, msgspec.Meta(ge=0, lt=32)], bytes], msgspec.Meta(min_length=1, max_length=32)
]


class Environment(StrEnum):
    """What has been attested."""

    ENCLAVE = "enclave"
    NITRO_TPM = "nitrotpm"


class Attestation(msgspec.Struct, frozen=True):
    """What a genuine document says. ``pcrs``: register contents by index; ``public_key``: SubjectPublicKeyInfo, DER."""

    environment: Environment
    module_id: str
    timestamp: datetime
    pcrs: dict[int, bytes]
    public_key: bytes
    user_data: bytes | None
    nonce: bytes | None


class _Payload(msgspec.Struct, forbid_unknown_fields=True):
    """Sections 3.2.2.1 and 3.2.2.2. Null stands for an absent optional field: the page forbids it, the hypervisor sends
    it in every document whose enclave left one of them out."""

    module_id: Annotated[str, msgspec.Meta(min_length=1)]
    digest: Literal["SHA384"]
    timestamp: Annotated[int, msgspec.Meta(gt=0)]  # milliseconds since the epoch
    certificate: _Certificate
    cabundle: Annotated[list[_Certificate], msgspec.Meta(min_length=1, max_length=_MAX_BUNDLE)]
    pcrs: _Registers | None = None  # of an enclave
    nitrotpm_pcrs: _Registers | None = None  # of a NitroTPM
    public_key: Annotated[bytes, msgspec.Meta(min_length=1, max_length=1024)] | None = None
    user_data: Annotated[bytes, msgspec.Meta(max_length=1024)] | None = None
    nonce: Annotated[bytes, msgspec.Meta(max_length=1024)] | None = None

    @property
    def registers(self) -> dict[int, bytes]:
        """Those of the one or the other; :func:`_stated` sees that there are those of one."""
        return self.pcrs or self.nitrotpm_pcrs or {}


# Made here: msgspec learns a type when it is first used, and two threads that do so at once end the process.
_LEARNED: Final = msgspec.msgpack.Decoder(_Payload)


def verify_attestation(
    document: bytes,
    *,
    roots: Sequence[x509.Certificate],
    now: datetime,
    fingerprints: Collection[bytes] = (),
) -> Attestation:
    """What ``document`` says, once all of it is verified.

    ``roots`` and ``fingerprints`` (SHA-256 of a certificate's DER) are the trusted roots; ``now`` has a time zone.
    Raises :class:`InvalidInput`.
    """
    if now.tzinfo is None:
        raise ValueError("now must have a time zone")
    trusted = {root.fingerprint(hashes.SHA256()) for root in roots} | set(fingerprints)
    if not trusted:
        raise InvalidInput(
            "The attestation document cannot be verified: no root certificate for attestation is configured. Configure "
            "the root of the AWS Nitro Attestation PKI as nitroRoot in the server's settings (a PEM file, "
            "to be had from https://docs.aws.amazon.com/enclaves/latest/user/verify-root.html)."
        )
    protected, payload, signature = _sign1(document)
    stated = _stated(payload)
    leaf = _certified_key(stated, trusted, now)
    _check_signature(leaf, protected, payload, signature)
    # Compared as integers: a timestamp of eight octets can lie beyond what datetime holds.
    if abs(stated.timestamp - int(now.timestamp() * 1000)) > FRESHNESS // timedelta(milliseconds=1):
        raise _refused("is not fresh: its timestamp is more than 5 minutes from now. Request a new one for every call")
    if stated.public_key is None:
        raise _refused("has no public key: the enclave must ask for it with its RSA public key")
    recipient_key(stated.public_key)
    return Attestation(
        environment=Environment.ENCLAVE if stated.pcrs else Environment.NITRO_TPM,
        module_id=stated.module_id,
        timestamp=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=stated.timestamp),
        pcrs=stated.registers,
        public_key=stated.public_key,
        user_data=stated.user_data,
        nonce=stated.nonce,
    )


def attestation_conditions(attestation: Attestation) -> dict[str, str]:
    """The condition keys of a request with this attestation, registers as lower-case hexadecimal.

    Source: KMS Developer Guide, "Condition keys for Nitro Enclaves" (``ImageSha384`` is PCR0) and "Condition keys for
    NitroTPM". The registers of an enclave in debug mode are zeros, and stated as such: no policy should ask for those.
    """
    name = "PCR" if attestation.environment is Environment.ENCLAVE else "NitroTPMPCR"
    conditions = {f"kms:RecipientAttestation:{name}{index}": pcr.hex() for index, pcr in attestation.pcrs.items()}
    if attestation.environment is Environment.ENCLAVE and 0 in attestation.pcrs:
        conditions["kms:RecipientAttestation:ImageSha384"] = attestation.pcrs[0].hex()
    return conditions


def recipient_key(public_key: bytes) -> rsa.RSAPublicKey:
    """The RSA key to seal an answer to. Raises :class:`InvalidInput` for any other type, weak keys and other encodings.

    The octets must be the one DER encoding of a SubjectPublicKeyInfo with rsaEncryption: the loader takes PKCS#1 and
    keys marked for RSASSA-PSS, too, and the key identifier is computed over these octets.
    """
    try:
        key = serialization.load_der_public_key(public_key)
    except Exception as wrong:  # hostile octets: whatever the parser makes of them is a refusal
        raise _refused("has a public key that cannot be read: it must be a SubjectPublicKeyInfo in DER") from wrong
    if not isinstance(key, rsa.RSAPublicKey):
        raise _refused("has a public key of another type than RSA")
    exponent = key.public_numbers().e
    if key.key_size < _MIN_RSA_BITS or exponent < _MIN_RSA_EXPONENT or not exponent & 1:
        raise _refused("has a weak RSA public key: it needs 2048 bits or more and an odd exponent from 65537")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_bytes(serialization.Encoding.DER, form) != public_key:
        raise _refused("has a public key that is not a SubjectPublicKeyInfo of rsaEncryption in DER")
    return key


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"The attestation document {why}.")


# CBOR and COSE


class _NoTags(Mapping[int, Callable[[Any, bool], Any]]):
    """Refuses every CBOR tag. The decoder would otherwise compile regular expressions, build dates, share references
    and read big numbers for whoever sends them; no part of a document has a tag."""

    def __getitem__(self, tag: int) -> Callable[[Any, bool], Any]:
        return self._refuse

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1  # an empty mapping could be taken for none

    @staticmethod
    def _refuse(*_: object) -> Any:
        raise cbor2.CBORDecodeError("tags are not expected here")


def _decoded(octets: bytes, part: str, *, indefinite: bool, text_keys: bool) -> Any:
    """One CBOR item, all of ``octets``, two containers deep, without tags and repeated map keys."""
    source = io.BytesIO(octets)
    try:
        item = cbor2.CBORDecoder(
            source,
            semantic_decoders=_NoTags(),
            max_depth=2,
            allow_indefinite=indefinite,
            allow_duplicate_keys=False,
            strict_hashable_types=text_keys,
        ).decode()
    except Exception as wrong:  # hostile octets: whatever the parser makes of them is a refusal
        raise _refused(f"is malformed: its {part} is not the CBOR that is expected there") from wrong
    if source.tell() != len(octets):  # the decoder stops after one item and says nothing of the rest
        raise _refused(f"is malformed: octets follow its {part}")
    return item


def _sign1(document: bytes) -> tuple[bytes, bytes, bytes]:
    """Protected header, payload and signature of the COSE_Sign1 structure, the headers checked (section 3.1)."""
    if not 1 <= len(document) <= MAX_DOCUMENT:
        raise _refused(f"has {len(document)} octets: 1 to {MAX_DOCUMENT} are allowed")
    # Text keys only: the one map that may hold something here is refused below, and integer keys that collide could
    # keep the decoder busy for long in a quarter of a megabyte.
    body = document.removeprefix(_TAG_SIGN1)
    match _decoded(body, "COSE_Sign1 structure", indefinite=False, text_keys=True):
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            pass
        case _:
            raise _refused("is malformed: it is not a COSE_Sign1 structure")
    header = _decoded(protected, "protected header", indefinite=True, text_keys=False) if len(protected) <= 16 else None
    # The keys' types, too: True would equal 1.
    if not isinstance(header, dict) or list(header.items()) != _ES384 or any(type(key) is not int for key in header):
        raise _refused("is not signed with ES384, or its protected header holds more than that")
    if unprotected:
        raise _refused("has an unprotected header: nothing may stand where no signature covers it")
    if not 1 <= len(payload) <= _MAX_PAYLOAD:
        raise _refused(f"has a payload of {len(payload)} octets: 1 to {_MAX_PAYLOAD} are allowed")
    if len(signature) != 2 * _SCALAR:
        raise _refused(f"has a signature of {len(signature)} octets: ES384 has {2 * _SCALAR}")
    return protected, payload, signature


def _stated(payload: bytes) -> _Payload:
    """The fields, not verified yet. The payload's map has an indefinite length in the documents of 2026, and a definite
    one in earlier ones; both are covered by the signature as they are."""
    item = _decoded(payload, "payload", indefinite=True, text_keys=False)
    try:
        stated = msgspec.convert(item, _Payload, builtin_types=(bytes,))  # bytes: text is not taken for base64
    except Exception as wrong:  # msgspec's ValidationError; and whatever a stranger object from the decoder provokes
        detail = f": {wrong}" if isinstance(wrong, msgspec.ValidationError) else ""
        raise _refused(f"is malformed{detail}") from wrong
    if (stated.pcrs is None) is (stated.nitrotpm_pcrs is None):
        raise _refused("is malformed: it has the registers of an enclave (pcrs) or of a NitroTPM (nitrotpm_pcrs)")
    if stated.pcrs and any(len(each or b"") > _MAX_ENCLAVE_DATA for each in (stated.user_data, stated.nonce)):
        raise _refused(f"is malformed: an enclave has {_MAX_ENCLAVE_DATA} octets of user data and of nonce at most")
    if any(len(pcr) not in (32, 48, 64) for pcr in stated.registers.values()):
        raise _refused("is malformed: a PCR has another length than 32, 48 or 64 octets")
    return stated


# The certificates


def _certified_key(stated: _Payload, trusted: Collection[bytes], now: datetime) -> ec.EllipticCurvePublicKey:
    """The key that ``certificate`` certifies, once its path through ``cabundle`` to a trusted root is verified.

    The path is pyca/cryptography's to verify (issuers and signatures, validity of every certificate, the root's too,
    path lengths, name constraints, unknown critical extensions). Its Web PKI rules for extensions do not fit, as these
    certificates have neither subjectAltName nor, on the host's, key identifiers; the rules of sections 3.2.3.2 and
    3.2.3.3 stand in their place below. Revocation is not checked: section 3.2.4 says so.
    """
    try:
        leaf = x509.load_der_x509_certificate(stated.certificate)
        root, *intermediates = bundle = [x509.load_der_x509_certificate(each) for each in stated.cabundle]
        if root.fingerprint(hashes.SHA256()) not in trusted:
            raise _refused("is signed under a root certificate that is not configured as trusted")
        verifier = (
            PolicyBuilder()
            .store(Store([root]))
            .time(now)
            .max_chain_depth(_MAX_BUNDLE)
            .extension_policies(ca_policy=_ISSUERS, ee_policy=_SIGNER)
            .build_client_verifier()
        )
        chain = verifier.verify(leaf, intermediates).chain
        # Section 3.2.3: root first, then each issuer before what it issued, and nothing beside the path.
        if chain != [leaf, *reversed(bundle)]:
            raise _refused("has a certificate bundle in another order than from the root to the signer")
        # The verifier allows every Web PKI algorithm; this PKI has one.
        for certificate in chain:
            key = certificate.public_key()
            on_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
            if not on_curve or certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
                raise _refused("has a certificate that is not of ECDSA with P-384 and SHA-384")
    except InvalidInput:
        raise
    except Exception as wrong:  # hostile certificates: parsers and verifier have many errors, each is a refusal
        raise _refused("has certificates that do not lead from a trusted root to its signer, or not now") from wrong
    signer = leaf.public_key()
    assert isinstance(signer, ec.EllipticCurvePublicKey)  # the loop above
    return signer


def _check_issuer(_: Policy, __: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not usage.key_cert_sign:
        raise ValueError("an issuer must have the key usage keyCertSign")


def _check_signer(_: Policy, __: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not usage.digital_signature or usage.key_cert_sign:
        raise ValueError("the signer must have the key usage digitalSignature, and not keyCertSign")


def _check_no_ca(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and (constraints.ca or constraints.path_length is not None):
        raise ValueError("the signer must not be a certificate authority")


_ISSUERS: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)  # "must appear as a critical extension"
    .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_issuer)
)
_SIGNER: Final = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _check_no_ca)  # "should appear in end entity"
    .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_signer)  # not critical in genuine certificates
)


def _check_signature(key: ec.EllipticCurvePublicKey, protected: bytes, payload: bytes, signature: bytes) -> None:
    """RFC 8152, section 4.4: the Sig_structure, over the headers and payload as they arrived, not as they decode."""
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = int.from_bytes(signature[:_SCALAR]), int.from_bytes(signature[_SCALAR:])
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as wrong:
        raise _refused("has a signature that does not verify") from wrong
