"""SigV4 verification: what botocore signs is let in, whatever was changed since is not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from controlplane.access.sigv4 import Credential, Verifier
from controlplane.clock import ManualClock
from controlplane.errors import Unauthenticated
from plugins.sdk.secret import SecretBytes
from tests.controlplane.access.signing import (
    BODY,
    KEY_ID,
    MISMATCH,
    NOW,
    PRINCIPAL,
    ROLE_KEY_ID,
    TOKEN,
    Directory,
    Headers,
    check,
    refused,
    replace,
    sign,
    value_of,
    verifier,
    without,
)


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
