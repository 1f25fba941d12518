"""The promises of the XKS specification that can be tried from outside, one function each.

Who calls it: ``run``. A check returns if the promise is kept and raises :class:`Broken` with what it saw if not. Its
docstring is the promise, as the report shows it; the sections are those of the specification, version 1.0.3.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp

from controlplane.xkscheck.target import Heard, Target, b64, well_formed_error
from plugins.sdk import SecretBytes

NAMED_SUITES: Final = frozenset(
    {
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    }
)

Check = Callable[[Target], Awaitable[None]]


class Broken(Exception):
    """A promise that is not kept: what was seen."""


CHECKS: list[tuple[str, bool, Check]] = []
"""Section, whether it needs an external key, and the check, in the order of the report."""


def _check(section: str, *, needs_key: bool = True) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        CHECKS.append((section, needs_key, check))
        return check

    return add


def expect(heard: Heard, status: int, name: str) -> None:
    """The answer is this error."""
    if heard.error != name or heard.status != status:
        raise Broken(f"expected {status} {name}, got {heard.status} {heard.error}")
    if wrong := well_formed_error(heard):
        raise Broken(wrong)


def succeeded(heard: Heard) -> Heard:
    if heard.status != 200:
        raise Broken(f"expected 200, got {heard.status} {heard.error}")
    if heard.content_type != "application/json":
        raise Broken(f"Content-Type is {heard.content_type}")
    return heard


async def sealed(at: Target, plaintext: bytes = b"Hello World!", aad: bytes | None = None, **changes: Any) -> Heard:
    """An encryption that has to succeed."""
    return succeeded(await at.post(f"/keys/{at.key}/encrypt", at.encrypt_body(plaintext, aad, **changes)))


async def opened(at: Target, box: Heard, aad: bytes | None = None, **changes: Any) -> Heard:
    return await at.post(f"/keys/{at.key}/decrypt", at.decrypt_body(box, aad, **changes))


# ---- API content type ------------------------------------------------------------------------------------------------

_TLS = "API content type"


@_check(_TLS, needs_key=False)
async def named_suite(at: Target) -> None:
    """TLS 1.2 or later with one of the named cipher suites"""

    def handshake() -> str:
        with at.dial() as plain, at.context().wrap_socket(plain, server_hostname=at.host) as secured:
            chosen = secured.cipher()
            return chosen[0] if chosen else "none"

    try:
        suite = await asyncio.to_thread(handshake)
    except OSError as error:
        raise Broken(f"no handshake: {type(error).__name__}") from None
    if suite not in NAMED_SUITES:
        raise Broken(f"{suite} was chosen")


@_check(_TLS, needs_key=False)
async def nothing_older(at: Target) -> None:
    """Nothing older than TLS 1.2"""

    def handshake() -> bool:
        context = at.context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # asking for an old version is the point
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with at.dial() as plain:  # a proxy that is not there has refused nothing
            try:
                with context.wrap_socket(plain, server_hostname=at.host):
                    return True
            except OSError:
                return False

    if await asyncio.to_thread(handshake):
        raise Broken("TLS 1.1 was accepted")


@_check(_TLS, needs_key=False)
async def get_is_refused(at: Target) -> None:
    """GET at the URI of an API is 405 Method Not Allowed"""
    heard = await at.ask("GET", at.path + "/health")
    if heard.status != 405:
        raise Broken(f"got {heard.status}")


# ---- GetHealthStatus -------------------------------------------------------------------------------------------------

_HEALTH = "GetHealthStatus"
_WITHOUT_METADATA: Final[tuple[dict[str, Any], ...]] = ({}, {"requestMetadata": {}})


@_check(_HEALTH, needs_key=False)
async def health(at: Target) -> None:
    """The health status has everything that is required"""
    told = succeeded(await at.post("/health", at.health_body())).json()
    size, fleet = told.get("xksProxyFleetSize"), told.get("ekmFleetDetails")
    if not isinstance(size, int) or size < 1:
        raise Broken("xksProxyFleetSize is not an integer above zero")
    for name in ("xksProxyVendor", "xksProxyModel", "ekmVendor"):
        if not isinstance(told.get(name), str):
            raise Broken(f"{name} is missing")
    if not isinstance(fleet, list) or not 1 <= len(fleet) <= 10:
        raise Broken("ekmFleetDetails has not one to ten entries")
    for member in fleet:
        if not isinstance(member, dict) or not all(isinstance(member.get(name), str) for name in ("id", "model")):
            raise Broken("an entry of ekmFleetDetails has no id or model")
        if member.get("healthStatus") not in ("ACTIVE", "DEGRADED", "UNAVAILABLE"):
            raise Broken(f"healthStatus is {member.get('healthStatus')}")


_NO_ERRORS_OF_HEALTH: Final = frozenset(
    {
        "ValidationException",
        "InvalidCiphertextException",
        "InvalidKeyUsageException",
        "AccessDeniedException",
        "KeyNotFoundException",
    }
)
"""What the table of "Error codes" does not have for GetHealthStatus."""


@_check(_HEALTH, needs_key=False)
async def health_without_metadata(at: Target) -> None:
    """Without requestMetadata there is no error that the table has for the other APIs only"""
    for body in _WITHOUT_METADATA:
        heard = await at.post("/health", body)
        if heard.error in _NO_ERRORS_OF_HEALTH:
            raise Broken(f"got {heard.status} {heard.error}")
        if heard.status != 200 and (wrong := well_formed_error(heard)):
            raise Broken(wrong)


@_check(_HEALTH, needs_key=False)
async def health_with_anything(at: Target) -> None:
    """An unknown kmsOperation, any kmsRequestId and new fields are taken"""
    body = at.metadata("SomethingNew", kmsRequestId="not a UUID", SourceIdentity="x", awsPrincipalArn=None)
    succeeded(await at.post("/health", body))


# ---- Authentication --------------------------------------------------------------------------------------------------

_AUTH = "Authentication"


async def _refused(at: Target, **how: Any) -> None:
    expect(await at.post("/health", at.health_body(), **how), 401, "AuthenticationFailedException")


@_check(_AUTH, needs_key=False)
async def wrong_access_key(at: Target) -> None:
    """An unknown access key id fails authentication"""
    await _refused(at, access_key_id="Z" * 20)


@_check(_AUTH, needs_key=False)
async def wrong_secret(at: Target) -> None:
    """A wrong secret fails authentication"""
    await _refused(at, secret=SecretBytes(b"A" * 43))


@_check(_AUTH, needs_key=False)
async def stale(at: Target) -> None:
    """A request more than five minutes in the past or the future fails authentication"""
    for minutes in (-6, 6):
        await _refused(at, minutes=minutes)


@_check(_AUTH, needs_key=False)
async def changed_body(at: Target) -> None:
    """A payload that was changed after signing fails authentication"""
    body = b'{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"1"}}'
    heard = await at.ask("POST", at.path + "/health", body, signed_body=body.replace(b'"1"', b'"2"'))
    expect(heard, 401, "AuthenticationFailedException")


@_check(_AUTH, needs_key=False)
async def wants_a_certificate(at: Target) -> None:
    """With mutual TLS, a client without a certificate does not get through the handshake"""
    if at.client_certificate is None:
        raise Skipped("no client certificate was given")
    try:
        await at.post("/health", at.health_body(), fresh=at.context(show_certificate=False))
    except (aiohttp.ClientError, OSError):
        return
    raise Broken("it was answered without a certificate")


class Skipped(Exception):
    """Why a check does not apply."""


@_check("API operations", needs_key=False)
async def wrong_prefix(at: Target) -> None:
    """A URI path that is not the key store's is an InvalidUriPathException"""
    path = at.path.replace("/kms/xks/v1", "/invalid/kms/xks/v1") + "/health"
    expect(await at.ask("POST", path, b"{}"), 404, "InvalidUriPathException")


# ---- GetKeyMetadata --------------------------------------------------------------------------------------------------

_META = "GetKeyMetadata"


@_check(_META)
async def key_metadata(at: Target) -> None:
    """An AES_256 key that is enabled and for ENCRYPT and DECRYPT, as CreateKey wants it"""
    body = at.metadata("CreateKey", kmsKeyArn=None)
    told = succeeded(await at.post(f"/keys/{at.key}/metadata", body)).json()
    usages = told.get("keyUsage")
    if not isinstance(usages, list) or len(usages) > 10 or not {"ENCRYPT", "DECRYPT"} <= set(map(str, usages)):
        raise Broken(f"keyUsage is {usages}")
    if (told.get("keySpec"), told.get("keyStatus")) != ("AES_256", "ENABLED"):
        raise Broken(f"keySpec is {told.get('keySpec')}, keyStatus is {told.get('keyStatus')}")


@_check(_META, needs_key=False)
async def no_such_key(at: Target) -> None:
    """A key that is not there is a KeyNotFoundException"""
    heard = await at.post("/keys/no-such-key-0a1b2c/metadata", at.metadata("CreateKey", kmsKeyArn=None))
    expect(heard, 404, "KeyNotFoundException")


@_check(_META)
async def metadata_without_metadata(at: Target) -> None:
    """Without requestMetadata it is a ValidationException"""
    for body in _WITHOUT_METADATA:
        expect(await at.post(f"/keys/{at.key}/metadata", body), 400, "ValidationException")


@_check(_META)
async def long_arns(at: Target) -> None:
    """ARNs of 2048 characters and new fields in requestMetadata are taken"""
    arn = "arn:aws:iam::123456789012:user/" + "a" * (2048 - 31)
    succeeded(await at.post(f"/keys/{at.key}/metadata", at.metadata("BulkEncrypt", awsPrincipalArn=arn, new="x")))


# ---- Encrypt ---------------------------------------------------------------------------------------------------------

_ENCRYPT = "Encrypt"


@_check(_ENCRYPT)
async def parts(at: Target) -> None:
    """Ciphertext as long as the plaintext, IV of 12 or 16 bytes, tag of 16, metadata of at most 20"""
    for length in (1, 16, 4300):
        box = await sealed(at, os.urandom(length))
        iv, tag = box.octets("initializationVector"), box.octets("authenticationTag")
        ciphertext, told = box.octets("ciphertext"), box.octets("ciphertextMetadata") or b""
        if ciphertext is None or len(ciphertext) != length:
            raise Broken(f"a plaintext of {length} bytes gave another length")
        if iv is None or len(iv) not in (12, 16) or tag is None or len(tag) != 16 or len(told) > 20:
            raise Broken("a part is missing, is no Base64, or has a length that it cannot have")


@_check(_ENCRYPT)
async def round_trips(at: Target) -> None:
    """Plaintexts of up to 4300 bytes with up to 8192 bytes of additional data come back"""
    for length, aad in ((12, None), (12, b"project=nile"), (4300, os.urandom(8192))):
        plaintext = os.urandom(length)
        heard = succeeded(await opened(at, await sealed(at, plaintext, aad), aad))
        if heard.octets("plaintext") != plaintext:
            raise Broken(f"{length} bytes came back as something else")


@_check(_ENCRYPT)
async def integrity_value(at: Target) -> None:
    """The integrity value is the hash of Appendix C"""
    for aad in (None, b"project=nile,department=marketing"):
        box = await sealed(at, aad=aad, ciphertextDataIntegrityValueAlgorithm="SHA_256")
        names = ("ciphertextMetadata", "initializationVector", "ciphertext", "authenticationTag")
        expected = hashlib.sha256(b"".join((aad or b"", *(box.octets(name) or b"" for name in names)))).digest()
        if box.octets("ciphertextDataIntegrityValue") != expected:
            raise Broken("it is missing or another")


@_check(_ENCRYPT)
async def no_plaintext(at: Target) -> None:
    """A missing plaintext, no Base64 or another algorithm is a ValidationException"""
    for change in ({"plaintext": None}, {"plaintext": "a-_k"}, {"encryptionAlgorithm": "AES_CBC"}):
        body = at.encrypt_body(b"x", **change)
        expect(await at.post(f"/keys/{at.key}/encrypt", body), 400, "ValidationException")


@_check(_ENCRYPT)
async def never_the_same(at: Target) -> None:
    """The same plaintext never has the same IV"""
    boxes = [await sealed(at) for _ in range(10)]
    if len({box.octets("initializationVector") for box in boxes}) != len(boxes):
        raise Broken("an IV came twice")


@_check(_ENCRYPT, needs_key=False)
async def encrypt_no_such_key(at: Target) -> None:
    """A key that is not there is a KeyNotFoundException"""
    heard = await at.post("/keys/no-such-key-0a1b2c/encrypt", at.encrypt_body(b"x"))
    expect(heard, 404, "KeyNotFoundException")


# ---- Decrypt ---------------------------------------------------------------------------------------------------------

_DECRYPT = "Decrypt"
_INVALID = "InvalidCiphertextException"


@_check(_DECRYPT)
async def other_data(at: Target) -> None:
    """Missing or other additional data is an InvalidCiphertextException"""
    box = await sealed(at, aad=b"project=nile")
    for aad in (None, b"project=blue", b"project=nile "):
        expect(await opened(at, box, aad), 400, _INVALID)


@_check(_DECRYPT)
async def changed_parts(at: Target) -> None:
    """A changed ciphertext, IV, tag or ciphertext metadata is an InvalidCiphertextException"""
    box = await sealed(at)
    for name in ("ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"):
        value = box.octets(name)
        if value:
            changed = bytes((value[0] ^ 1,)) + value[1:]
            body = at.decrypt_body(box, None, **{name: b64(changed)})
            heard = await at.post(f"/keys/{at.key}/decrypt", body)
            if heard.error != _INVALID:
                raise Broken(f"{name}: got {heard.status} {heard.error}")


@_check(_DECRYPT)
async def metadata_as_data(at: Target) -> None:
    """Ciphertext metadata cannot pass for additional data"""
    box = await sealed(at)
    told = box.octets("ciphertextMetadata")
    if not told:
        raise Skipped("the proxy uses no ciphertext metadata")
    expect(await opened(at, box, told, ciphertextMetadata=None), 400, _INVALID)
