"""Documents of kind XksProxy: what is read, and what is told."""

from __future__ import annotations

import pytest

from controlplane.schema.documents import XksProxyDocument, check, parse
from controlplane.schema.xksproxies import DesiredXksProxy, XksListen, XksRule
from plugins.sdk import SecretSource

EXAMPLE = """\
apiVersion: keystead/v1
kind: XksProxy
metadata: {name: bank}
spec:
  listen: {host: 0.0.0.0, port: 8443}
  tls:
    certificate: tls/proxy.crt
    key: tls/proxy.key
    clients: {authority: tls/amazon-roots.pem, subjectName: cks.kms.eu-central-1.amazonaws.com}
  pathPrefix: /bank/eu
  credentials:
    - {accessKeyId: AKIA234567ABCDEFGHIJ, secret: {fromFile: secrets/one}}
    - {accessKeyId: BKIA234567ABCDEFGHIJ, secret: {fromEnv: TWO}}
  keys: {payments.v1: {key: payments}, "-_9": {key: other, usages: [DECRYPT]}}
  rules:
    - {name: bank-only, principals: ["arn:aws:iam::111122223333:*"]}
    - {name: not-by-hand, effect: deny, operations: [Decrypt], viaServices: []}
  quota: {requestsPerSecond: 1800}
"""


def told(text: str) -> list[str]:
    located, problems = parse(text, file="x.yaml", format="yaml")
    return [str(problem) for problem in [*problems, *check(located)]]


def test_a_whole_example_is_read() -> None:
    located, problems = parse(EXAMPLE, file="x.yaml", format="yaml")
    assert problems == []
    assert check(located) == []
    document = located[0].document
    assert isinstance(document, XksProxyDocument)
    spec = document.spec
    assert isinstance(spec, DesiredXksProxy)
    assert spec.uri_path == "/bank/eu/kms/xks/v1"
    assert spec.listen == XksListen(host="0.0.0.0", port=8443)
    assert [credential.secret for credential in spec.credentials] == [
        SecretSource(from_file="secrets/one"),
        SecretSource(from_env="TWO"),
    ]
    assert spec.rules[0] == XksRule(name="bank-only", principals=("arn:aws:iam::111122223333:*",))
    assert (spec.enabled, spec.fleet_size) == (True, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "AKIA234567ABCDEFGHIJ",
            "AKIA01",
            "x.yaml:12: document 1: spec.credentials[0].accessKeyId: this is not allowed here; "
            "use 20 to 30 characters `A` to `Z` and `2` to `7`",
        ),
        (
            "pathPrefix: /bank/eu",
            "pathPrefix: /bank/",
            "x.yaml:10: document 1: spec.pathPrefix: `/bank/` is not allowed here; "
            "leave it out, or write `/` and letters, digits, `_` and `-`, as often as needed",
        ),
        (
            "pathPrefix: /bank/eu",
            "pathPrefix: /" + "a" * 117,
            "x.yaml:10: document 1: spec.pathPrefix: it has 118 characters; at most 117 are allowed",
        ),
        (
            "payments.v1:",
            "..:",
            'x.yaml:14: document 1: spec.keys[".."]: in the key: `..` is not allowed here; '
            "use 1 to 128 letters, digits, `.`, `_` and `-`",
        ),
        (
            "{fromEnv: TWO}",
            "FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE",
            "x.yaml:13: document 1: spec.credentials[1].secret: a mapping is expected, and this is text; "
            "its fields are `fromFile`, `fromEnv`",
        ),
        (
            "{fromEnv: TWO}",
            "{}",
            "x.yaml:13: document 1: spec.credentials[1].secret: this names no secret, or two; "
            "give exactly one of `fromFile` and `fromEnv`",
        ),
        (
            "BKIA234567ABCDEFGHIJ",
            "AKIA234567ABCDEFGHIJ",
            "x.yaml:13: document 1: spec.credentials[1]: `AKIA234567ABCDEFGHIJ` stands twice; "
            "each name stands for one of them",
        ),
        (
            "not-by-hand",
            "bank-only",
            "x.yaml:17: document 1: spec.rules[1]: `bank-only` stands twice; each name stands for one of them",
        ),
        (
            "effect: deny",
            "effect: refuse",
            "x.yaml:17: document 1: spec.rules[1].effect: `refuse` is not a known effect; use one of `allow`, `deny`",
        ),
        (
            "requestsPerSecond: 1800",
            "requestsPerSecond: 0",
            "x.yaml:18: document 1: spec.quota.requestsPerSecond: 0 is out of range; allowed is 1 to 1000000",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_never_with_a_secret(old: str, new: str, message: str) -> None:
    assert old in EXAMPLE
    assert told(EXAMPLE.replace(old, new)) == [message]


def test_a_proxy_without_credentials_is_told() -> None:
    begin, end = EXAMPLE.index("  credentials:"), EXAMPLE.index("  keys:")
    text = EXAMPLE[:begin] + "  credentials: []\n" + EXAMPLE[end:]
    assert told(text) == [
        "x.yaml:11: document 1: spec.credentials: it has no credential, so nobody could use it; add one with an "
        "`accessKeyId` and a `secret`; a second one lets you rotate without interruption"
    ]


def test_two_proxies_at_one_address_need_paths_of_their_own() -> None:
    second = EXAMPLE.replace("name: bank}", "name: shop}")
    assert told(f"{EXAMPLE}---\n{second.replace('/bank/eu', '/shop')}") == []
    assert told(f"{EXAMPLE}---\n{second}") == [
        "x.yaml:29: document 2: spec.pathPrefix: XksProxy `bank` has the same address and path; "
        "give one of them another `pathPrefix`; the first one is in x.yaml:1, document 1"
    ]
