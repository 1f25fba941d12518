"""SigV4 verification: what has to be signed, when and with which credentials, and headers of any other form."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.access.sigv4 import Credential, Verifier
from controlplane.clock import ManualClock
from controlplane.errors import Unauthenticated
from plugins.sdk.secret import SecretBytes
from tests.controlplane.access.signing import (
    KEY_ID,
    MISMATCH,
    NOW,
    PRINCIPAL,
    ROLE_KEY_ID,
    SECRET,
    TOKEN,
    Headers,
    check,
    people,
    refused,
    replace,
    sign,
    value_of,
    verifier,
    without,
)


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
