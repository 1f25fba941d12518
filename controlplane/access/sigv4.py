"""Verification of AWS Signature Version 4 on incoming requests (the ``Authorization`` header form).

Who calls it: the KMS door, once per request, before anything else reads the body.

Guarantees: a returned :class:`Verified` means that somebody who holds the secret signed this method, path, query,
host, date, body and *every* ``x-amz-*`` header, at most five minutes from now, for one of our services. Whatever else
arrives, however malformed, raises :class:`controlplane.errors.Unauthenticated`, whose message never holds a secret,
an expected signature or the credential that was presented. No I/O apart from the caller's ``lookup``.

Rules: "Create a signed AWS API request" (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
Message texts: "Troubleshoot Signature Version 4 signing" in the same guide, and the answers of AWS's JSON services.

``Unauthenticated.kind`` is the AWS exception without its suffix (which depends on the protocol):

=============================  =============================================================================
``MissingAuthenticationToken``  no Authorization header, or another scheme than ``AWS4-…``
``IncompleteSignature``         malformed: parameters, date format, algorithm, presigned query, repeated headers
``InvalidSignature``            well-formed and wrong: signature, scope, clock skew, unsigned header, body hash
``UnrecognizedClient``          KMS scope: unknown or inactive access key; session token missing, wrong or surplus
``InvalidClientTokenId``        the same for an ``sts`` scope, where AWS names it so
``ExpiredToken``                correctly signed, and the session has ended
=============================  =============================================================================
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote_to_bytes

import msgspec

from controlplane.clock import Clock
from controlplane.errors import Unauthenticated
from plugins.sdk.secret import SecretBytes
from plugins.sdk.signing import TERMINATOR, signing_key

_ALGORITHM = b"AWS4-HMAC-SHA256"
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")
_UNRESERVED = "-_.~"  # what the guide's UriEncode leaves alone, beside letters and digits
# An Authorization prefix beyond this is verified and not remembered: the cache's memory is bounded in bytes, too.
_REMEMBERED_PREFIX = 1024
# The door or this module reads one value of these. SigV4 signs repeated headers joined by commas, so a proxy and the
# door could each pick another of two values that are both covered by the signature.
_SINGLE = frozenset({b"authorization", b"host", b"date", b"content-type"})

_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_TOKEN_INVALID = "The security token included in the request is invalid."  # noqa: S105  # AWS's message, not a token
_TOKEN_EXPIRED = "The security token included in the request is expired"  # noqa: S105  # AWS writes it without a stop


class Credential(msgspec.Struct, frozen=True):
    """An access key as the store knows it. ``principal`` is a uid; ``expires_at`` is in seconds since the epoch.

    A credential with a ``session_token`` is temporary: requests must carry exactly that token. One without is
    permanent: requests must carry none.
    """

    access_key_id: str
    secret: SecretBytes
    principal: str
    session_token: SecretBytes | None = None
    active: bool = True
    expires_at: float | None = None


class Verified(msgspec.Struct, frozen=True, gc=False):
    """Who signed, and the scope: ``region`` and ``service`` as signed, ``date`` as ``YYYYMMDD``.

    The region is any well-formed name: whether it is served is the door's question, and so is whether ``service`` is
    the one whose operation was asked for.
    """

    credential: Credential
    region: str
    service: str
    date: str


class _Presented(msgspec.Struct, frozen=True, gc=False):
    """The parsed part of an Authorization header that repeats from request to request: all but the signature."""

    access_key_id: str
    date: str
    region: str
    service: str
    scope: bytes
    names: tuple[bytes, ...]
    signed: frozenset[bytes]
    signed_headers: bytes


class _Known(msgspec.Struct, frozen=True):
    """A prefix that verified once: its parts, and the signing key with the secret that it was derived from."""

    presented: _Presented
    secret: SecretBytes
    key: bytes


def _unauthenticated(kind: str, message: str) -> Unauthenticated:
    return Unauthenticated(message, kind=kind)


class Verifier:
    """Verifies requests against credentials that ``lookup`` finds by access key id (``None``: there is none).

    ``lookup`` runs on every request and must be current: what it answers is believed at once. The cache holds signing
    keys (each derived from a secret, day, region and service) and never answers for a credential; it is keyed by the
    Authorization header up to its signature, holds only what has verified (so strangers cannot push others out) and
    at most ``cache_size`` entries, least recently used first out. Belongs to one event loop; not thread-safe.
    """

    def __init__(
        self,
        clock: Clock,
        lookup: Callable[[str], Credential | None],
        *,
        services: Collection[str] = frozenset({"kms", "sts"}),
        max_skew_seconds: int = 300,
        cache_size: int = 1024,
    ) -> None:
        self._clock = clock
        self._lookup = lookup
        self._services = frozenset(services)
        self._max_skew = max_skew_seconds
        self._cache_size = cache_size
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._nobody = SecretBytes(secrets.token_bytes(40))
        self._last_stamp = (b"19700101T000000Z", 0)  # thousands of requests share a second

    def verify(
        self,
        method: str,
        raw_path: bytes,
        query_string: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
    ) -> Verified:
        """Who signed this request, or :class:`Unauthenticated` with its ``kind`` (see the module).

        ``headers`` as ASGI gives them: lower-case names, in order, possibly repeated; ``raw_path`` and
        ``query_string`` as they came over the wire. What ``lookup`` raises passes through.
        """
        values = dict(headers)
        if len(values) != len(headers):  # else the last of a repeated header would stand for all of them
            values = _joined(headers)
        authorization = values.get(b"authorization")
        if query_string:
            _refuse_presigned(query_string)
        if authorization is None:
            raise _unauthenticated("MissingAuthenticationToken", "Missing Authentication Token")
        prefix, _, signature = authorization.rpartition(b"Signature=")
        known = self._known.get(prefix)
        if known is None:
            tail = signature
            presented, signature = self._parse(authorization, has_date=b"x-amz-date" in values or b"date" in values)
            if signature != tail:  # other parameters follow it: this prefix does not stand for them
                prefix = b""
        else:
            presented = known.presented

        stamp = self._check_date(values, presented)
        _check_signed(values, presented.signed)

        credential = self._lookup(presented.access_key_id)
        # An empty secret would be a signature that anyone can make. Unknown and inactive keys cost the same work as
        # a known key with a wrong signature, so that timing tells nobody which access keys exist; the answers differ
        # in kind, because AWS's do and clients depend on them.
        usable = credential is not None and credential.active and len(credential.secret) > 0
        secret = credential.secret if usable and credential is not None else self._nobody
        if known is not None and (known.secret is secret or known.secret == secret):
            key = known.key
        else:
            key = signing_key(secret, presented.date, presented.region, presented.service)

        canonical = _canonical_request(method, raw_path, query_string, values, body, presented=presented)
        to_sign = b"AWS4-HMAC-SHA256\n%b\n%b\n%b" % (
            stamp,
            presented.scope,
            hashlib.sha256(canonical).hexdigest().encode(),
        )
        expected = hmac.digest(key, to_sign, "sha256").hex().encode()
        matches = hmac.compare_digest(expected, signature)
        if credential is None or not usable:
            raise self._unknown_client(presented)
        if not matches:
            raise _unauthenticated("InvalidSignature", _MISMATCH)
        # Only the holder of the secret gets this far, so only they learn that a session has ended.
        self._check_session(credential, values.get(b"x-amz-security-token"), presented)
        self._remember(prefix, known, presented, credential.secret, key)
        return Verified(credential, presented.region, presented.service, presented.date)

    def _parse(self, authorization: bytes, *, has_date: bool) -> tuple[_Presented, bytes]:
        """The header's parts and its signature; in any order, between commas, spaces or both, as AWS takes them."""
        if authorization[:5] != b"AWS4-":
            raise _unauthenticated("MissingAuthenticationToken", "Missing Authentication Token")
        algorithm, _, rest = authorization.partition(b" ")
        if algorithm != _ALGORITHM:
            raise _unauthenticated(
                "IncompleteSignature", "Unsupported AWS 'algorithm' (only AWS4-HMAC-SHA256 for now)."
            )
        try:
            text = rest.decode("ascii")
        except UnicodeDecodeError:
            raise _unauthenticated("IncompleteSignature", "Authorization header must be ASCII.") from None
        parameters: dict[str, str] = {}
        for part in text.replace(",", " ").split():
            name, equals, value = part.partition("=")
            # Nothing of what was presented is echoed: people paste secrets into the wrong place.
            if not equals or name not in _PARAMETERS or name in parameters:
                raise _unauthenticated(
                    "IncompleteSignature",
                    "Authorization header must hold 'Credential', 'SignedHeaders' and 'Signature' once each, "
                    "as key=value pairs.",
                )
            parameters[name] = value
        missing = [
            f"Authorization header requires '{name}' parameter." for name in _PARAMETERS if not parameters.get(name)
        ]
        if not has_date:
            missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        if missing:
            raise _unauthenticated("IncompleteSignature", " ".join(missing))
        return self._parse_scope(parameters["Credential"], parameters["SignedHeaders"]), parameters[
            "Signature"
        ].encode()

    def _parse_scope(self, credential: str, signed_headers: str) -> _Presented:
        names = signed_headers.split(";")
        if "host" not in names:
            raise _unauthenticated(
                "InvalidSignature", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
            )
        # The guide's order, each name once and in lower case: one way to write a set of headers, and a name in
        # capitals would never be found among the headers that are checked.
        if signed_headers != signed_headers.lower() or names != sorted(set(names)) or not all(names):
            raise _unauthenticated(
                "IncompleteSignature", "'SignedHeaders' must be lower-case header names, sorted, without repetition."
            )
        elements = credential.split("/")
        if len(elements) != 5 or not elements[0]:
            raise _unauthenticated(
                "IncompleteSignature",
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            )
        access_key_id, date, region, service, terminator = elements
        problems = []
        if not region.replace("-", "").isalnum() or region != region.lower():
            problems.append("Credential should be scoped to a valid region.")
        if service not in self._services:
            wanted = " or ".join(f"'{name}'" for name in sorted(self._services))
            problems.append(f"Credential should be scoped to correct service: {wanted}.")
        if terminator != TERMINATOR:
            problems.append(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'.")
        if problems:
            raise _unauthenticated("InvalidSignature", " ".join(problems))
        encoded = tuple(name.encode() for name in names)
        return _Presented(
            access_key_id=access_key_id,
            date=date,
            region=region,
            service=service,
            scope=f"{date}/{region}/{service}/{terminator}".encode(),
            names=encoded,
            signed=frozenset(encoded),
            signed_headers=signed_headers.encode(),
        )

    def _check_date(self, values: dict[bytes, bytes], presented: _Presented) -> bytes:
        """The request's time as ``YYYYMMDDTHHMMSSZ``, inside the skew and the scope's day. Either header will do: the
        time is part of the string to sign."""
        stamp = values.get(b"x-amz-date")
        if stamp is None:
            stamp = _date_header(values.get(b"date"))
        if stamp == self._last_stamp[0]:
            moment = self._last_stamp[1]
        else:
            moment = _moment(stamp)
            self._last_stamp = (stamp, moment)
        now = int(self._clock.time())  # whole seconds, as the stamps: five minutes sharp is inside on both sides
        if moment < now - self._max_skew or moment > now + self._max_skew:
            raise _unauthenticated("InvalidSignature", _skew_message(moment, now, self._max_skew))
        if stamp[:8] != presented.scope[:8] or len(presented.date) != 8:
            shown = stamp.decode()
            raise _unauthenticated(
                "InvalidSignature",
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{presented.date[:8]}' != '{shown[:8]}', from '{shown}'.",
            )
        return stamp

    def _check_session(self, credential: Credential, token: bytes | None, presented: _Presented) -> None:
        if credential.session_token is None:
            if token is not None:
                raise self._unknown_client(presented)
        elif token is None or not hmac.compare_digest(credential.session_token.expose(), token):
            raise self._unknown_client(presented)
        if credential.expires_at is not None and self._clock.time() >= credential.expires_at:
            raise _unauthenticated("ExpiredToken", _TOKEN_EXPIRED)

    def _unknown_client(self, presented: _Presented) -> Unauthenticated:
        return _unauthenticated(
            "InvalidClientTokenId" if presented.service == "sts" else "UnrecognizedClient", _TOKEN_INVALID
        )

    def _remember(
        self, prefix: bytes, known: _Known | None, presented: _Presented, secret: SecretBytes, key: bytes
    ) -> None:
        """Only what verified comes here. A rotated secret replaces the entry that held the old one's signing key."""
        if known is not None and known.key is key:
            self._known.move_to_end(prefix)
        elif self._cache_size > 0 and 0 < len(prefix) <= _REMEMBERED_PREFIX:
            self._known[prefix] = _Known(presented, secret, key)
            self._known.move_to_end(prefix)
            if len(self._known) > self._cache_size:
                self._known.popitem(last=False)


def _joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Repeated headers as SigV4 signs them: the values in order, joined by commas."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in values:
            values[name] = value
        elif name in _SINGLE or name[:6] == b"x-amz-":
            raise _unauthenticated("IncompleteSignature", f"'{_shown(name.title())}' header must not be repeated.")
        else:
            values[name] = b" ".join(values[name].split()) + b"," + b" ".join(value.split())
    return values


def _shown(value: bytes) -> str:
    """What a client sent, fit for a message: printable ASCII, cut short."""
    return ascii(value[:64].decode("latin-1"))[1:-1]


def _refuse_presigned(query_string: bytes) -> None:
    query = query_string.lower()
    if b"x-amz-signature=" in query or b"x-amz-algorithm=" in query or b"x-amz-credential=" in query:
        raise _unauthenticated(
            "IncompleteSignature",
            "Presigned requests (X-Amz-Signature in the query string) are not supported: sign with the Authorization "
            "header.",
        )


def _body_message(declared: bytes) -> str:
    if declared.startswith((b"UNSIGNED-PAYLOAD", b"STREAMING-")):
        return (
            "Unsigned and streaming payloads are not supported: 'x-amz-content-sha256' must be the SHA-256 of the body."
        )
    return "The value of 'x-amz-content-sha256' does not match the SHA-256 of the body."


def _moment(stamp: bytes) -> int:
    """Seconds since the epoch of ``YYYYMMDDTHHMMSSZ``."""
    if len(stamp) == 16 and stamp[8:9] == b"T" and stamp[15:] == b"Z" and (stamp[:8] + stamp[9:15]).isdigit():
        try:
            day = datetime(int(stamp[:4]), int(stamp[4:6]), int(stamp[6:8]), tzinfo=UTC)
            return int(
                day.replace(hour=int(stamp[9:11]), minute=int(stamp[11:13]), second=int(stamp[13:15])).timestamp()
            )
        except ValueError:
            pass
    raise _unauthenticated(
        "IncompleteSignature",
        f"Date must be in ISO-8601 'basic format'. Got '{_shown(stamp)}'. See http://en.wikipedia.org/wiki/ISO_8601",
    )


def _date_header(value: bytes | None) -> bytes:
    """The ``Date`` header as a stamp: ISO 8601 basic already, or an HTTP date."""
    if value is None:
        raise _unauthenticated(
            "IncompleteSignature",
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        )
    try:
        moment = parsedate_to_datetime(value.decode("latin-1"))
        if moment.tzinfo is None:  # botocore writes -0000; astimezone would read it in the server's own zone
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ").encode()
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return value  # ISO 8601 basic; anything else is refused where it is read


def _skew_message(moment: int, now: int, skew: int) -> str:
    amount = f"{skew // 60} min." if skew % 60 == 0 else f"{skew} sec."
    signed, current = _stamp(moment), _stamp(now)
    if moment < now:
        return f"Signature expired: {signed} is now earlier than {_stamp(now - skew)} ({current} - {amount})"
    return f"Signature not yet current: {signed} is still later than {_stamp(now + skew)} ({current} + {amount})"


def _stamp(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")


def _check_signed(values: dict[bytes, bytes], signed: frozenset[bytes]) -> None:
    """Every ``x-amz-*`` header is signed. One that is not (a target, a token) could be put in or changed on the way."""
    for name in values:
        if name not in signed and name[:6] == b"x-amz-":
            raise _unauthenticated(
                "InvalidSignature", f"'{_shown(name.title())}' must be a 'SignedHeader' in the AWS Authorization."
            )


def _canonical_request(
    method: str,
    path: bytes,
    query: bytes,
    values: dict[bytes, bytes],
    body: bytes,
    *,
    presented: _Presented,
) -> bytes:
    """The guide's CanonicalRequest, of the body as it arrived: a declared body hash is compared, never believed."""
    body_hash = hashlib.sha256(body).hexdigest().encode()
    declared = values.get(b"x-amz-content-sha256")
    if declared is not None and declared != body_hash:
        raise _unauthenticated("InvalidSignature", _body_message(declared))
    try:
        # split() folds line breaks, too: a value cannot grow into a line of its own
        lines = [name + b":" + b" ".join(values[name].split()) for name in presented.names]
    except KeyError:  # signed and not sent, or lost on the way
        raise _unauthenticated("InvalidSignature", _MISMATCH) from None
    return b"%b\n%b\n%b\n%b\n\n%b\n%b" % (
        b"POST" if method == "POST" else method.encode("utf-8", "replace"),
        b"/" if path == b"/" else _canonical_path(path),
        _canonical_query(query) if query else b"",
        b"\n".join(lines),
        presented.signed_headers,
        body_hash,
    )


def _canonical_path(raw_path: bytes) -> bytes:
    """The path as services other than S3 sign it: dot segments and empty segments removed (RFC 3986, 5.2.4), then
    encoded again over the encoding that it was sent in."""
    segments: list[bytes] = []
    for segment in raw_path.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    trailing = "/" if segments and raw_path.endswith(b"/") else ""
    return ("/" + quote(b"/".join(segments), safe="/" + _UNRESERVED) + trailing).encode()


def _canonical_query(query_string: bytes) -> bytes:
    """Name and value decoded and encoded in the one canonical way, sorted by name, then value."""
    pairs = []
    for part in query_string.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append(
                (
                    quote(unquote_to_bytes(name), safe=_UNRESERVED),
                    quote(unquote_to_bytes(value), safe=_UNRESERVED),
                )
            )
    return "&".join(f"{name}={value}" for name, value in sorted(pairs)).encode()
