"""SigV4 verification: what botocore signs is let in, whatever was changed since is not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, example, given
from hypothesis import strategies as st

from controlplane.access.sigv4 import Credential, Verified, Verifier
from controlplane.clock import ManualClock
from controlplane.errors import Unauthenticated
from plugins.sdk.secret import SecretBytes

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC).timestamp()
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ROLE_KEY_ID = "ASIAIOSFODNN7EXAMPLE"
TOKEN = "FwoGZXIvYXdzEBYaDKo//token+with/base64=="
PRINCIPAL = "arn:aws:iam::000000000000:user/alice"
BODY = b'{"KeyId":"alias/payments","Plaintext":"aGVsbG8="}'
MISMATCH = "The request signature we calculated does not match the signature you provided."

Header = tuple[bytes, bytes]
Headers = list[Header]


class Directory(dict[str, Credential]):
    """The credentials that a verifier looks in; tests change it under its hands."""

    def find(self, access_key_id: str) -> Credential | None:
        return self.get(access_key_id)


def people() -> Directory:
    secret = SecretBytes(SECRET.encode())
    return Directory(
        {
            KEY_ID: Credential(KEY_ID, secret, PRINCIPAL),
            ROLE_KEY_ID: Credential(
                ROLE_KEY_ID, secret, PRINCIPAL, session_token=SecretBytes(TOKEN.encode()), expires_at=NOW + 900
            ),
            "AKIAINACTIVE": Credential("AKIAINACTIVE", secret, PRINCIPAL, active=False),
            "AKIAEMPTY": Credential("AKIAEMPTY", SecretBytes(b""), PRINCIPAL),
        }
    )


def verifier(directory: Directory | None = None, clock: ManualClock | None = None, **options: Any) -> Verifier:
    return Verifier(clock or ManualClock(NOW), (directory or people()).find, **options)


def sign(
    *,
    method: str = "POST",
    url: str = "http://localhost:8470/",
    body: bytes = BODY,
    headers: dict[str, str] | None = None,
    key_id: str = KEY_ID,
    secret: str = SECRET,
    token: str | None = None,
    region: str = "eu-central-1",
    service: str = "kms",
    at: float = NOW,
) -> Headers:
    """The headers of a request as botocore signs it and ASGI hands it over."""
    given = {"X-Amz-Target": "TrentService.Encrypt", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest(method=method, url=url, data=body, headers=given if headers is None else headers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: datetime.fromtimestamp(at, UTC))
        botocore.auth.SigV4Auth(Credentials(key_id, secret, token), service, region).add_auth(request)
    host = url.split("/")[2].encode()
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    return [(b"host", host), (b"user-agent", b"Boto3/1.44.5 md/Botocore#1.44.5"), *sent]


def replace(headers: Headers, name: bytes, value: bytes) -> Headers:
    assert any(known == name for known, _ in headers)
    return [(known, value if known == name else old) for known, old in headers]


def without(headers: Headers, name: bytes) -> Headers:
    return [header for header in headers if header[0] != name]


def value_of(headers: Headers, name: bytes) -> bytes:
    return dict(headers)[name]


def check(
    headers: Headers,
    body: bytes = BODY,
    *,
    method: str = "POST",
    path: bytes = b"/",
    query: bytes = b"",
    by: Verifier | None = None,
) -> Verified:
    return (by or verifier()).verify(method, path, query, headers, body)


def refused(kind: str, headers: Headers, body: bytes = BODY, *, says: str = "", **how: Any) -> str:
    with pytest.raises(Unauthenticated) as caught:
        check(headers, body, **how)
    assert caught.value.kind == kind, caught.value.message
    assert says in caught.value.message
    assert SECRET not in caught.value.message
    return caught.value.message


class TestWhatIsLetIn:
    def test_a_request_signed_by_botocore_verifies_and_names_its_scope(self) -> None:
        verified = check(sign())
        assert verified.credential.principal == PRINCIPAL
        assert (verified.region, verified.service, verified.date) == ("eu-central-1", "kms", "20260101")

    def test_an_sts_request_verifies(self) -> None:
        body = b"Action=GetCallerIdentity&Version=2011-06-15"
        headers = sign(service="sts", body=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert check(headers, body).service == "sts"

    def test_a_temporary_credential_verifies_with_its_token(self) -> None:
        assert check(sign(key_id=ROLE_KEY_ID, token=TOKEN)).credential.access_key_id == ROLE_KEY_ID

    def test_the_second_request_verifies_from_the_cached_signing_key(self) -> None:
        by = verifier()
        assert check(sign(), by=by) == check(sign(at=NOW - 60, body=b"{}"), b"{}", by=by)

    def test_a_date_header_will_do(self) -> None:
        headers = sign(headers={"Date": "now", "X-Amz-Target": "TrentService.Encrypt"})
        assert b"x-amz-date" not in dict(headers)
        check(headers)

    def test_a_declared_body_hash_that_is_right_verifies(self) -> None:
        check(sign(headers={"X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()}))

    @pytest.mark.parametrize("separator", [b",", b" ", b" ,  "])
    def test_authorization_parameters_may_be_separated_as_aws_allows(self, separator: bytes) -> None:
        headers = sign()
        check(replace(headers, b"authorization", value_of(headers, b"authorization").replace(b", ", separator)))

    def test_authorization_parameters_may_come_in_any_order_and_are_not_mixed_up_between_callers(self) -> None:
        by = verifier()
        for key_id, token in ((KEY_ID, None), (ROLE_KEY_ID, TOKEN), (KEY_ID, None)):
            headers = sign(key_id=key_id, token=token)
            algorithm, credential, signed, signature = value_of(headers, b"authorization").split(b" ")
            turned = b" ".join([algorithm, signature + b",", credential, signed.rstrip(b",")])
            assert check(replace(headers, b"authorization", turned), by=by).credential.access_key_id == key_id

    @given(
        path=st.text(max_size=20).map(lambda text: "/" + text),
        query=st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4),
        body=st.binary(max_size=200),
        method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    )
    @example(path="/a b/%41/../ü", query={"b": "2", "a": "1 +&=", "A": "ü"}, body=b"", method="GET")
    def test_any_path_query_and_body_that_botocore_signs_verifies(
        self, path: str, query: dict[str, str], body: bytes, method: str
    ) -> None:
        from urllib.parse import quote, urlencode

        raw_path, raw_query = quote(path), urlencode(query, quote_via=quote, safe="-_.~")
        url = f"http://localhost:8470{raw_path}" + (f"?{raw_query}" if raw_query else "")
        assume("//" not in raw_path[:2])  # urlsplit would read it as a host
        headers = sign(method=method, url=url, body=body)
        check(headers, body, method=method, path=raw_path.encode(), query=raw_query.encode())

    def test_header_values_are_folded_as_the_guide_folds_them(self) -> None:
        headers = sign(headers={"X-Amz-Target": "  TrentService.Encrypt  ", "My-Header": "a   b  c"})
        check(headers)
        check(replace(headers, b"my-header", b"a b c"))

    def test_repeated_headers_are_signed_joined_by_commas_in_order(self) -> None:
        headers = sign(headers={"My-Header": "one,two"})
        apart = [*without(headers, b"my-header"), (b"my-header", b"one"), (b"my-header", b" two ")]
        check(apart)
        turned = [*without(headers, b"my-header"), (b"my-header", b"two"), (b"my-header", b"one")]
        refused("InvalidSignature", turned)


SUITE_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SUITE_TOKEN = (
    b"AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx"
    b"7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d"
    b"+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)


class TestPublishedVectors:
    """The AWS Signature Version 4 test suite, and the worked example of the AWS General Reference (``iam``)."""

    @pytest.mark.parametrize(
        ("name", "method", "path", "query", "extra", "body", "service", "signature"),
        [
            ("get-vanilla", "GET", "/", "", [], b"", "service",
             "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("post-vanilla", "POST", "/", "", [], b"", "service",
             "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            ("iam-list-users", "GET", "/", "Action=ListUsers&Version=2010-05-08",
             [(b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")], b"", "iam",
             "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
            ("post-x-www-form-urlencoded", "POST", "/", "",
             [(b"content-type", b"application/x-www-form-urlencoded")], b"Param1=value1", "service",
             "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
            ("get-header-value-trim", "GET", "/", "",
             [(b"my-header1", b" value1"), (b"my-header2", b' "a   b   c"')], b"", "service",
             "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
            ("get-header-value-order", "GET", "/", "",
             [(b"my-header1", b"value4"), (b"my-header1", b"value1"), (b"my-header1", b"value3"),
              (b"my-header1", b"value2")], b"", "service",
             "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"),
            ("get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", [], b"", "service",
             "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
            ("get-vanilla-empty-query-key", "GET", "/", "Param1=value1", [], b"", "service",
             "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
            ("get-vanilla-utf8-query", "GET", "/", "ሴ=bar", [], b"", "service",
             "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
            ("get-utf8", "GET", "/ሴ", "", [], b"", "service",
             "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
            ("get-space", "GET", "/example space/", "", [], b"", "service",
             "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
            ("get-slashes", "GET", "//example//", "", [], b"", "service",
             "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
            ("get-slash-dot-slash", "GET", "/./", "", [], b"", "service",
             "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("get-relative-relative", "GET", "/example1/example2/../..", "", [], b"", "service",
             "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("post-sts-header-before", "POST", "/", "", [(b"x-amz-security-token", SUITE_TOKEN)], b"", "service",
             "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
        ],
    )  # fmt: skip
    def test_vector_verifies(
        self, name: str, method: str, path: str, query: str, extra: Headers, body: bytes, service: str, signature: str
    ) -> None:
        host = b"iam.amazonaws.com" if service == "iam" else b"example.amazonaws.com"
        headers = [(b"host", host), (b"x-amz-date", b"20150830T123600Z"), *extra]
        names = b";".join(sorted({header for header, _ in headers}))
        authorization = (
            b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/%b/aws4_request, " % service.encode()
        )
        headers.append(
            (b"authorization", authorization + b"SignedHeaders=%b, Signature=%b" % (names, signature.encode()))
        )
        token = SecretBytes(SUITE_TOKEN) if any(header == b"x-amz-security-token" for header, _ in extra) else None
        directory = Directory(
            AKIDEXAMPLE=Credential("AKIDEXAMPLE", SecretBytes(SUITE_SECRET.encode()), PRINCIPAL, token)
        )
        clock = ManualClock(datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp())
        by = verifier(directory, clock, services={"service", "iam"})
        assert check(headers, body, method=method, path=path.encode(), query=query.encode(), by=by).service == service


def flip(value: bytes, position: int, bits: int) -> bytes:
    position %= len(value)
    return value[:position] + bytes([value[position] ^ bits]) + value[position + 1 :]


class TestTampering:
    @pytest.fixture(params=["cold", "warm"])
    def by(self, request: pytest.FixtureRequest) -> Verifier:
        """A verifier that has not seen the client, and one that has its signing key cached."""
        by = verifier()
        if request.param == "warm":
            check(sign(), by=by)
            check(sign(key_id=ROLE_KEY_ID, token=TOKEN), by=by)
        return by

    @given(position=st.integers(0, 10_000), bits=st.integers(1, 255), which=st.integers(0, 3), warm=st.booleans())
    def test_a_changed_byte_in_any_signed_header_is_refused(
        self, position: int, bits: int, which: int, warm: bool
    ) -> None:
        by = verifier()
        headers = sign(key_id=ROLE_KEY_ID, token=TOKEN)
        if warm:
            check(headers, by=by)
        name = [b"host", b"x-amz-target", b"content-type", b"x-amz-security-token"][which]
        changed = flip(value_of(headers, name), position, bits)
        assume(changed.split() != value_of(headers, name).split())  # folded white space is the same header
        refused("InvalidSignature", replace(headers, name, changed), by=by)

    @given(position=st.integers(0, 10_000), bits=st.integers(1, 255), warm=st.booleans())
    def test_a_changed_byte_in_the_body_is_refused(self, position: int, bits: int, warm: bool) -> None:
        by = verifier()
        if warm:
            check(sign(), by=by)
        refused("InvalidSignature", sign(), flip(BODY, position, bits), by=by, says=MISMATCH)

    @given(position=st.integers(0, 10_000), bits=st.integers(1, 255), warm=st.booleans())
    def test_a_changed_byte_in_the_authorization_is_refused(self, position: int, bits: int, warm: bool) -> None:
        by, headers = verifier(), sign()
        if warm:
            check(headers, by=by)
        authorization = value_of(headers, b"authorization")
        changed = flip(authorization, position, bits)
        parts = changed.replace(b",", b" ").split(b" ")
        assume([part for part in parts if part] != authorization.replace(b",", b"").split(b" "))  # a separator
        with pytest.raises(Unauthenticated):
            check(replace(headers, b"authorization", changed), by=by)

    @given(length=st.integers(0, 63))
    def test_a_shortened_signature_is_refused(self, length: int) -> None:
        headers = sign()
        authorization = value_of(headers, b"authorization")
        shortened = replace(headers, b"authorization", authorization[: len(authorization) - 64 + length])
        refused("IncompleteSignature" if length == 0 else "InvalidSignature", shortened)

    def test_a_signature_in_capitals_is_refused(self, by: Verifier) -> None:
        headers = sign()
        start, _, signature = value_of(headers, b"authorization").rpartition(b"=")
        refused("InvalidSignature", replace(headers, b"authorization", start + b"=" + signature.upper()), by=by)

    @pytest.mark.parametrize("path", [b"/v1/keys", b"/a", b"/%2e", b"/ ", b"/\xff", b"*"])
    def test_another_path_is_refused(self, by: Verifier, path: bytes) -> None:
        refused("InvalidSignature", sign(), path=path, by=by)

    @pytest.mark.parametrize("query", [b"a=1", b"a", b"=", b"%00", b"\xff=\xfe"])
    def test_another_query_is_refused(self, by: Verifier, query: bytes) -> None:
        refused("InvalidSignature", sign(), query=query, by=by)

    @pytest.mark.parametrize("method", ["GET", "post", "PUT", "", "\ud800"])
    def test_another_method_is_refused(self, by: Verifier, method: str) -> None:
        refused("InvalidSignature", sign(), method=method, by=by)

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            (b"/eu-central-1/", b"/us-east-1/", MISMATCH),
            (b"/kms/", b"/sts/", MISMATCH),
            (b"/kms/", b"/s3/", "Credential should be scoped to correct service: 'kms' or 'sts'."),
            (b"/kms/", b"//", "Credential should be scoped to correct service"),
            (b"/eu-central-1/", b"//", "Credential should be scoped to a valid region."),
            (b"/eu-central-1/", b"/EU_1/", "Credential should be scoped to a valid region."),
            (b"aws4_request", b"aws5_request", "Credential should be scoped with a valid terminator: 'aws4_request'."),
            (b"/20260101/", b"/20251231/", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
             "date from HTTP: '20251231' != '20260101', from '20260101T001000Z'."),
            (b"/20260101/", b"/202601011/", "Date in Credential scope does not match"),
            (b"/20260101/", b"/2026010/", "Date in Credential scope does not match"),
        ],
    )  # fmt: skip
    def test_another_scope_is_refused(self, by: Verifier, old: bytes, new: bytes, says: str) -> None:
        headers = sign()
        changed = value_of(headers, b"authorization").replace(old, new)
        refused("InvalidSignature", replace(headers, b"authorization", changed), by=by, says=says)

    def test_another_moment_of_the_same_day_is_refused(self, by: Verifier) -> None:
        refused("InvalidSignature", replace(sign(), b"x-amz-date", b"20260101T001001Z"), by=by, says=MISMATCH)

    def test_another_persons_secret_is_refused(self, by: Verifier) -> None:
        refused("InvalidSignature", sign(secret="guess"), by=by, says=MISMATCH)

    def test_a_header_dropped_from_signed_headers_is_refused(self, by: Verifier) -> None:
        headers = sign()
        changed = value_of(headers, b"authorization").replace(b"content-type;", b"")
        refused("InvalidSignature", replace(headers, b"authorization", changed), by=by, says=MISMATCH)

    def test_a_signed_header_that_is_not_there_is_refused(self, by: Verifier) -> None:
        refused("InvalidSignature", without(sign(), b"content-type"), by=by, says=MISMATCH)
        refused("InvalidSignature", without(sign(), b"host"), by=by, says=MISMATCH)


class TestWhatMustBeSigned:
    @pytest.mark.parametrize("name", [b"x-amz-target", b"x-amz-security-token", b"x-amz-anything"])
    def test_an_amz_header_that_is_not_signed_is_refused(self, name: bytes) -> None:
        headers = sign(headers={"Content-Type": "application/x-amz-json-1.1"})
        by = verifier()
        says = f"'{name.title().decode()}' must be a 'SignedHeader' in the AWS Authorization."
        for _ in ("cold", "warm"):
            refused("InvalidSignature", [*headers, (name, b"TrentService.Encrypt")], by=by, says=says)
            check(headers, by=by)

    def test_headers_that_proxies_add_need_no_signature(self) -> None:
        check([*sign(), (b"x-amzn-trace-id", b"Root=1-2"), (b"x-forwarded-for", b"10.0.0.1"), (b"via", b"\xff")])

    def test_a_request_whose_host_is_not_signed_is_refused(self) -> None:
        headers = sign()
        changed = value_of(headers, b"authorization").replace(b"content-type;host;", b"content-type;")
        says = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        refused("InvalidSignature", replace(headers, b"authorization", changed), says=says)

    @pytest.mark.parametrize(
        "names", [b"host;content-type;x-amz-date", b"content-type;host;host", b"Content-Type;host", b";host", b"host;"]
    )
    def test_signed_headers_out_of_order_or_in_capitals_are_refused(self, names: bytes) -> None:
        headers = sign()
        start, _, rest = value_of(headers, b"authorization").partition(b"SignedHeaders=")
        changed = start + b"SignedHeaders=" + names + b"," + rest.partition(b",")[2]
        refused("IncompleteSignature", replace(headers, b"authorization", changed))

    @pytest.mark.parametrize(
        "name", [b"authorization", b"host", b"content-type", b"x-amz-date", b"x-amz-target", b"x-amz-security-token"]
    )
    def test_a_header_that_decides_something_must_not_be_repeated(self, name: bytes) -> None:
        headers = sign(key_id=ROLE_KEY_ID, token=TOKEN)
        again = [*headers, (name, value_of(headers, name))]
        refused("IncompleteSignature", again, says=f"'{name.title().decode()}' header must not be repeated.")

    def test_a_declared_body_hash_that_is_wrong_is_refused(self) -> None:
        headers = sign(headers={"X-Amz-Content-SHA256": hashlib.sha256(b"other").hexdigest()})
        refused("InvalidSignature", headers, says="does not match the SHA-256 of the body")

    @pytest.mark.parametrize(
        "declared", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
    )
    def test_unsigned_and_streaming_payloads_are_refused(self, declared: str) -> None:
        headers = sign(headers={"X-Amz-Content-SHA256": declared})
        refused("InvalidSignature", headers, says="Unsigned and streaming payloads are not supported")

    def test_presigned_requests_are_refused(self) -> None:
        query = b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=b"
        for headers in ([(b"host", b"localhost")], sign()):
            refused("IncompleteSignature", headers, query=query, says="Presigned requests")


class TestTime:
    @pytest.mark.parametrize("offset", [-300, -299, 0, 299, 300, 300.9])
    def test_five_minutes_on_either_side_are_allowed(self, offset: float) -> None:
        check(sign(at=NOW), by=verifier(clock=ManualClock(NOW + offset)))

    def test_a_signature_older_than_five_minutes_is_refused_in_aws_words(self) -> None:
        says = "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z (20260101T001000Z - 5 min.)"
        assert refused("InvalidSignature", sign(at=NOW - 600)) == says
        refused("InvalidSignature", sign(at=NOW - 301), says="Signature expired")

    def test_a_signature_from_the_future_is_refused_in_aws_words(self) -> None:
        says = (
            "Signature not yet current: 20260101T002000Z is still later than 20260101T001500Z "
            "(20260101T001000Z + 5 min.)"
        )
        assert refused("InvalidSignature", sign(at=NOW + 600)) == says
        refused("InvalidSignature", sign(at=NOW + 301), says="Signature not yet current")

    def test_a_cached_signing_key_does_not_outlive_the_skew(self) -> None:
        clock = ManualClock(NOW)
        by, headers = verifier(clock=clock), sign()
        check(headers, by=by)
        clock.advance(301)
        refused("InvalidSignature", headers, by=by, says="Signature expired")

    def test_a_request_across_midnight_belongs_to_the_day_it_was_signed(self) -> None:
        midnight = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
        verified = check(sign(at=midnight - 10), by=verifier(clock=ManualClock(midnight + 10)))
        assert verified.date == "20260101"

    @pytest.mark.parametrize(
        "stamp",
        [b"", b"2026", b"20260101T001000", b"20260101 001000Z", b"20261301T000000Z", b"20260132T000000Z",
         b"20260101T240000Z", b"20260101T006000Z", b"2026-01-01T00:10:00Z", b"2026\xb2101T001000Z", b"\xff" * 16,
         b"00000101T000000Z", b"Thu, 01 Jan 2026 00:10:00 GMT"],
    )  # fmt: skip
    def test_a_malformed_date_is_named(self, stamp: bytes) -> None:
        says = "Date must be in ISO-8601 'basic format'. Got '"
        refused("IncompleteSignature", replace(sign(), b"x-amz-date", stamp), says=says)

    def test_a_request_without_any_date_is_refused(self) -> None:
        says = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        by = verifier()
        for _ in ("cold", "warm"):
            refused("IncompleteSignature", without(sign(), b"x-amz-date"), by=by, says=says)
            check(sign(), by=by)

    @pytest.mark.parametrize("value", [b"", b"yesterday", b"\xff", b"Thu, 99 Xyz 9999999999 99:99:99 +9999", b"1 2 3"])
    def test_a_malformed_date_header_is_refused(self, value: bytes) -> None:
        headers = sign(headers={"Date": "now"})
        refused("IncompleteSignature", replace(headers, b"date", value), says="Date must be in ISO-8601")


class TestCredentials:
    def test_an_unknown_access_key_is_refused_in_the_words_of_its_service(self) -> None:
        says = "The security token included in the request is invalid."
        assert refused("UnrecognizedClient", sign(key_id="AKIANOBODY")) == says
        assert refused("InvalidClientTokenId", sign(key_id="AKIANOBODY", service="sts")) == says

    def test_an_inactive_access_key_is_answered_like_an_unknown_one(self) -> None:
        refused("UnrecognizedClient", sign(key_id="AKIAINACTIVE"))
        refused("UnrecognizedClient", sign(key_id="AKIAINACTIVE", secret="guess"))

    def test_an_unknown_access_key_costs_a_signature_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from controlplane.access import sigv4

        calls: list[bytes] = []
        digest = sigv4.hmac.digest
        monkeypatch.setattr(
            sigv4.hmac, "digest", lambda key, message, name: calls.append(message) or digest(key, message, name)
        )
        refused("InvalidSignature", sign(secret="guess"))
        known = len(calls)
        refused("UnrecognizedClient", sign(key_id="AKIANOBODY"))
        assert len(calls) == 2 * known

    def test_a_credential_with_an_empty_secret_lets_nobody_in(self) -> None:
        refused("UnrecognizedClient", sign(key_id="AKIAEMPTY", secret=""))

    def test_a_session_token_with_a_permanent_credential_is_refused(self) -> None:
        refused("UnrecognizedClient", sign(token=TOKEN))

    def test_a_temporary_credential_without_its_token_is_refused(self) -> None:
        refused("UnrecognizedClient", sign(key_id=ROLE_KEY_ID))

    @pytest.mark.parametrize("token", [TOKEN[:-1], TOKEN + "x", "x"])
    def test_a_temporary_credential_with_another_token_is_refused(self, token: str) -> None:
        refused("UnrecognizedClient", sign(key_id=ROLE_KEY_ID, token=token))
        refused("InvalidClientTokenId", sign(key_id=ROLE_KEY_ID, token=token, service="sts"), says="security token")

    def test_an_ended_session_is_refused_from_its_last_second_on(self) -> None:
        clock = ManualClock(NOW)
        by = verifier(clock=clock)
        check(sign(key_id=ROLE_KEY_ID, token=TOKEN), by=by)
        clock.advance(899.5)
        check(sign(key_id=ROLE_KEY_ID, token=TOKEN, at=clock.time()), by=by)
        clock.advance(0.5)
        headers = sign(key_id=ROLE_KEY_ID, token=TOKEN, at=clock.time())
        assert refused("ExpiredToken", headers, by=by) == "The security token included in the request is expired"

    def test_only_the_holder_of_the_secret_learns_that_a_session_has_ended(self) -> None:
        by = verifier(clock=ManualClock(NOW + 2000))
        headers = sign(key_id=ROLE_KEY_ID, token=TOKEN, secret="guess", at=NOW + 2000)
        refused("InvalidSignature", headers, by=by, says=MISMATCH)

    def test_a_rotated_secret_is_honoured_at_once(self) -> None:
        directory = people()
        by = verifier(directory)
        check(sign(), by=by)
        directory[KEY_ID] = Credential(KEY_ID, SecretBytes(b"new"), PRINCIPAL)
        refused("InvalidSignature", sign(), by=by)
        check(sign(secret="new"), by=by)
        check(sign(secret="new"), by=by)
        refused("InvalidSignature", sign(), by=by)

    def test_a_deactivated_or_deleted_access_key_is_refused_at_once(self) -> None:
        directory = people()
        by = verifier(directory)
        check(sign(), by=by)
        directory[KEY_ID] = Credential(KEY_ID, SecretBytes(SECRET.encode()), PRINCIPAL, active=False)
        refused("UnrecognizedClient", sign(), by=by)
        del directory[KEY_ID]
        refused("UnrecognizedClient", sign(), by=by)

    def test_what_lookup_raises_passes_through(self) -> None:
        def broken(access_key_id: str) -> Credential | None:
            raise LookupError(access_key_id)

        with pytest.raises(LookupError):
            check(sign(), by=Verifier(ManualClock(NOW), broken))


class TestCache:
    def test_the_cache_is_bounded_and_drops_the_least_recently_used(self) -> None:
        by = verifier(cache_size=3)
        for number in range(10):
            check(sign(region=f"eu-west-{number}"), by=by)
            check(sign(region="eu-west-0"), by=by)
        assert len(by._known) == 3
        assert {known.presented.region for known in by._known.values()} == {"eu-west-0", "eu-west-8", "eu-west-9"}

    def test_a_cache_of_no_size_still_verifies(self) -> None:
        by = verifier(cache_size=0)
        check(sign(), by=by)
        check(sign(), by=by)
        assert not by._known

    def test_strangers_push_nobody_out_of_the_cache(self) -> None:
        by = verifier(cache_size=2)
        check(sign(), by=by)
        for number in range(5):
            refused("InvalidSignature", sign(region=f"eu-west-{number}", secret="guess"), by=by)
            refused("UnrecognizedClient", sign(key_id=f"AKIA{number}"), by=by)
        assert len(by._known) == 1

    def test_an_overlong_authorization_is_verified_and_not_remembered(self) -> None:
        by = verifier()
        check(sign(headers={f"my-header-{number:04}": "x" for number in range(100)}), by=by)
        assert not by._known

    def test_no_secret_shows_in_the_representation_of_what_is_held(self) -> None:
        assert SECRET not in repr(check(sign()))


AUTHORIZATION_BITS = [
    *("Credential=", "SignedHeaders=", "Signature=", KEY_ID, "/20260101/eu-central-1/kms/aws4_request"),
    *("host", "x-amz-date", ";", "/", ",", " ", "=", "0" * 64, "é", "٣"),
]


class TestMalformed:
    def test_no_authorization_is_a_missing_token(self) -> None:
        assert refused("MissingAuthenticationToken", [(b"host", b"localhost")]) == "Missing Authentication Token"

    @pytest.mark.parametrize("value", [b"Bearer abc", b"Basic dGVzdDp0ZXN0", b"", b"\xff\xfe"])
    def test_another_scheme_is_a_missing_token(self, value: bytes) -> None:
        refused("MissingAuthenticationToken", replace(sign(), b"authorization", value))

    @pytest.mark.parametrize("value", [b"AWS4-HMAC-SHA25 a=b", b"AWS4-ECDSA-P256-SHA256 Credential=a", b"AWS4-"])
    def test_another_algorithm_is_named(self, value: bytes) -> None:
        says = "Unsupported AWS 'algorithm' (only AWS4-HMAC-SHA256 for now)."
        refused("IncompleteSignature", replace(sign(), b"authorization", value), says=says)

    @pytest.mark.parametrize("name", ["Credential", "SignedHeaders", "Signature"])
    def test_a_missing_parameter_is_named(self, name: str) -> None:
        headers = sign()
        algorithm, *parameters = value_of(headers, b"authorization").split(b" ")
        kept = [part for part in parameters if not part.startswith(name.encode() + b"=")]
        changed = replace(headers, b"authorization", b" ".join([algorithm, *kept]))
        refused("IncompleteSignature", changed, says=f"Authorization header requires '{name}' parameter.")

    def test_all_that_is_missing_is_named_at_once(self) -> None:
        message = refused("IncompleteSignature", [(b"authorization", b"AWS4-HMAC-SHA256")])
        assert message.count("Authorization header requires") == 4

    @pytest.mark.parametrize("addition", [b", Signature=abc", b", Credential=x", b", Other=1", b", nonsense"])
    def test_repeated_and_unknown_parameters_are_refused(self, addition: bytes) -> None:
        headers = sign()
        changed = replace(headers, b"authorization", value_of(headers, b"authorization") + addition)
        refused("IncompleteSignature", changed)

    @pytest.mark.parametrize("credential", [b"a/b/c/d", SECRET.encode() + b"/20260101/eu-central-1/kms/aws4_request"])
    def test_a_credential_of_another_length_is_refused_without_echoing_it(self, credential: bytes) -> None:
        value = b"AWS4-HMAC-SHA256 Credential=%b, SignedHeaders=host;x-amz-date, Signature=00" % credential
        says = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        assert refused("IncompleteSignature", replace(sign(), b"authorization", value)) == says

    @given(
        headers=st.lists(
            st.tuples(
                st.sampled_from(
                    [b"authorization", b"host", b"x-amz-date", b"date", b"x-amz-security-token", b"x-amz-target", b"a"]
                )
                | st.binary(max_size=12),
                st.binary(max_size=40)
                | st.sampled_from([b"20260101T001000Z", b"AWS4-HMAC-SHA256 Credential=a/20260101/b/kms/aws4_request"]),
            ),
            max_size=8,
        ),
        method=st.text(max_size=5),
        path=st.binary(max_size=20),
        query=st.binary(max_size=20),
        body=st.binary(max_size=20),
    )
    def test_nothing_raises_anything_else(
        self, headers: Headers, method: str, path: bytes, query: bytes, body: bytes
    ) -> None:
        with pytest.raises(Unauthenticated):
            check(headers, body, method=method, path=path, query=query)

    @given(
        parts=st.lists(st.sampled_from(AUTHORIZATION_BITS), max_size=14),
        name=st.sampled_from([b"x-amz-date", b"date", b"x-amz-content-sha256", b"x-amz-security-token", b"my-\xff"]),
        value=st.binary(max_size=20),
    )
    def test_no_authorization_raises_anything_else(self, parts: list[str], name: bytes, value: bytes) -> None:
        authorization = ("AWS4-HMAC-SHA256 " + "".join(parts)).encode()
        headers = [*without(replace(sign(), b"authorization", authorization), name), (name, value)]
        with pytest.raises(Unauthenticated):
            check(headers)
