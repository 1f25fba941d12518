"""Documents of every kind survive their way; any text is read or told; our words cover what msgspec refuses."""

# ruff: noqa: E501 - whole lines, as users read them

from __future__ import annotations

import json
import string
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.errors import Problem
from controlplane.schema import mistakes
from controlplane.schema.base import API_VERSION
from controlplane.schema.documents import (
    DOCUMENT_TYPES,
    Document,
    Format,
    PrincipalDocument,
    check,
    declare,
    decode_document,
    decode_documents,
    parse,
)
from controlplane.schema.keys import DesiredKey, KeySpec, Origin, PolicySource, RotationSpec
from controlplane.schema.keystores import DesiredKeyStore
from controlplane.schema.principals import DesiredPrincipal, PrincipalType
from tests.controlplane.schema.documents import (
    DESIGN_EXAMPLE,
    FORMATS,
    TOML_HEAD,
    key,
    read,
)

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
POLICIES = st.builds(PolicySource, document=TEXT.filter(bool)) | st.builds(PolicySource, from_file=TEXT)
KEYS = st.builds(
    DesiredKey,
    key_store=NAMES,
    region=st.none() | st.sampled_from(["eu-central-1", "us-gov-west-1"]),
    key_spec=st.sampled_from(KeySpec),
    origin=st.none() | st.sampled_from(Origin),
    description=TEXT,
    enabled=st.booleans(),
    aliases=st.lists(st.text(string.ascii_letters + "/_-", min_size=1, max_size=9), max_size=3).map(tuple),
    tags=st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
    policy=st.none() | POLICIES,
    rotation=st.builds(RotationSpec, enabled=st.booleans(), period_days=st.integers(90, 2560)),
)
STORES = st.builds(
    DesiredKeyStore, type=NAMES, connected=st.booleans(), options=st.dictionaries(TEXT, JSON, max_size=3)
)
PRINCIPALS = st.builds(
    DesiredPrincipal,
    type=st.sampled_from(PrincipalType),
    description=TEXT,
    policies=st.dictionaries(TEXT.filter(bool), POLICIES, max_size=2),
    trust_policy=st.none() | POLICIES,
    max_session_seconds=st.none() | st.integers(3_600, 43_200),
)
DOCUMENTS = st.builds(declare, NAMES, KEYS | STORES | PRINCIPALS)


@given(st.lists(DOCUMENTS, max_size=3))
@settings(deadline=None)
def test_documents_survive_the_way_through_json_and_http(documents: list[Document]) -> None:
    body = msgspec.json.encode(documents)
    assert decode_documents(body) == documents
    assert decode_documents(json.loads(body)) == documents
    assert [decode_document(msgspec.to_builtins(document)) for document in documents] == documents
    assert read(body.decode(), "json") == documents


def quoted(document: Document) -> str:
    """As YAML: JSON but for the characters that YAML wants escaped."""
    text = json.dumps(msgspec.to_builtins(document), ensure_ascii=False)
    return "".join(
        character if character.isprintable() and character != "\ufeff" else f"\\U{ord(character):08X}"
        for character in text
    )


@given(st.lists(DOCUMENTS, max_size=3))
@settings(deadline=None)
def test_documents_survive_the_way_through_yaml(documents: list[Document]) -> None:
    assert read("\n---\n".join(map(quoted, documents))) == documents


def sane(text: str, format: Format) -> None:
    """Whatever the text is: documents and problems, and every problem can be shown and sent."""
    located, problems = parse(text, file="f", format=format)
    problems += check(located)
    for problem in problems:
        assert problem.file == "f"
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + text.count("\r") + text.count(
            "\x85"
        ) + len(text.split("\u2028")) + len(text.split("\u2029"))
        assert "refused:" not in problem.message  # msgspec's words never reach the user
        assert msgspec.json.decode(msgspec.json.encode(problem), type=Problem) == problem
        str(problem).encode()
    for each in located:
        assert decode_document(msgspec.to_builtins(each.document)) == each.document


@given(st.text(), st.sampled_from(FORMATS))
@settings(deadline=None)
def test_any_text_is_read_or_told(text: str, format: Format) -> None:
    sane(text, format)


@given(st.text("[]{}:,-?&*!|>'\"%@`#\n\t ab~0.<=", max_size=60), st.sampled_from(FORMATS))
@settings(max_examples=400, deadline=None)
def test_any_punctuation_is_read_or_told(text: str, format: Format) -> None:
    sane(text, format)


VALID = {
    "yaml": DESIGN_EXAMPLE + "---\n" + key("rotation: {enabled: true, periodDays: 90}\ntags: {x: &x 'y', z: *x}", "b"),
    "toml": TOML_HEAD + '[documents.spec]\nkeySpec = "SM2"\naliases = ["x"]\n' + TOML_HEAD + "spec.enabled = true\n",
    "json": json.dumps([msgspec.to_builtins(declare("a", DesiredKey(aliases=("x",), tags={"a": "b"})))] * 2, indent=1),
}


@given(st.data(), st.sampled_from(FORMATS))
@settings(max_examples=400, deadline=None)
def test_a_valid_file_with_a_slip_is_read_or_told(data: st.DataObject, format: Format) -> None:
    text = VALID[format]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 8)))
        slip = data.draw(
            st.text(max_size=3)
            | st.sampled_from([" ", "\n", "\t", ":", "[", "]", "{", "'", '"', "---\n", "&a ", "*a", text])
        )
        text = text[:start] + slip + text[end:]
    sane(text, format)


FIELDS = sorted({
    "apiVersion", "kind", "metadata", "spec", "name", "keyStore", "region", "keySpec", "keyUsage", "origin", "description",
    "enabled", "aliases", "tags", "policy", "document", "fromFile", "rotation", "periodDays", "deletion", "windowDays",
    "protect", "management", "type", "connected", "pkcs11", "options", "administrator", "policies", "trustPolicy", "listen", "port", "tls",
    "certificate", "key", "clients", "pathPrefix", "credentials", "accessKeyId", "secret", "keys", "rules", "effect", "quota",
})  # fmt: skip
VALUES = JSON | st.sampled_from(
    [API_VERSION, "Key", "KeyStore", "Principal", "XksProxy", "SM2", "a", "user", "full", 90, {}, []]
)


@st.composite
def raw_documents(draw: st.DrawFn) -> Any:
    """Close to a document: the fields are real, their values often not."""
    fields = st.dictionaries(
        st.sampled_from(FIELDS), VALUES | st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3)
    )
    raw = {"apiVersion": API_VERSION, "kind": draw(st.sampled_from(["Key", "KeyStore", "Principal", "XksProxy", "X"]))}
    raw |= {"metadata": {"name": "a"}, "spec": draw(fields)}
    return {**raw, **draw(st.just({}) | fields)}


@given(raw_documents())
@settings(max_examples=400, deadline=None)
def test_what_msgspec_refuses_is_told_in_our_words_and_nothing_else(raw: Any) -> None:
    found = mistakes.diagnose(raw, DOCUMENT_TYPES)
    try:
        msgspec.convert(raw, Document)
    except msgspec.ValidationError:
        assert found
    else:
        assert found == []


def test_a_principal_is_declared() -> None:
    document = declare("ops", DesiredPrincipal(administrator=True))
    assert isinstance(document, PrincipalDocument)
    assert msgspec.json.encode(document) == (
        b'{"kind":"Principal","apiVersion":"keystead/v1","metadata":{"name":"ops"},"spec":{"administrator":true}}'
    )
