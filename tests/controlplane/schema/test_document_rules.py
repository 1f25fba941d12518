"""What no type says of documents: names, aliases, key stores, principals, and bodies over HTTP."""

# ruff: noqa: E501 - whole lines, as users read them

from __future__ import annotations

import json

import msgspec
import pytest

from controlplane.errors import InvalidSpec
from controlplane.schema.base import API_VERSION
from controlplane.schema.documents import (
    check,
    declare,
    decode_document,
    decode_documents,
    received,
)
from controlplane.schema.keys import DesiredKey, PolicySource
from tests.controlplane.schema.documents import (
    key,
    told,
)


def test_a_document_that_is_declared_twice_is_told_with_both_places() -> None:
    assert told(key("") + "---\n" + key("")) == [
        "keys.yaml:8: document 2: metadata.name: Key `a` is declared twice; the first one is in keys.yaml:1, document 1"
    ]


def test_the_same_name_in_another_kind_is_another_object() -> None:
    assert told(key("") + "---\n" + key("").replace("kind: Key", "kind: Principal")) == []


def test_an_alias_belongs_to_one_key_in_a_region() -> None:
    first, second = key("aliases: [x]", "a"), key("aliases: [y, x]", "b")
    assert told(first + "---\n" + second) == [
        "keys.yaml:11: document 2: spec.aliases[1]: the alias `x` belongs to Key `a` already; an alias names one key in "
        "a Region; the first one is in keys.yaml:1, document 1"
    ]
    elsewhere = key("aliases: [y, x]\nregion: eu-central-1", "b")
    assert told(first + "---\n" + elsewhere) == []


def test_aliases_and_tags_are_counted() -> None:
    aliases = ", ".join(f"a{number}" for number in range(51))
    tags = ", ".join(f"t{number}: x" for number in range(51))
    assert told(key(f"aliases: [{aliases}]\ntags: {{{tags}}}")) == [
        "keys.yaml:5: document 1: spec.aliases: 51 aliases are declared; at most 50 fit",
        "keys.yaml:6: document 1: spec.tags: 51 tags are declared; at most 50 fit",
    ]


@pytest.mark.parametrize(
    ("name", "spec", "line"),
    [
        ("standard", "type: pkcs11", "3: document 1: metadata.name: this name is taken; every server has the key store "
         "`standard`; it is not declared"),
        ("a", "type: standard", "4: document 1: spec.type: a key store of this type cannot be added; every server has the "
         "key store `standard`; it is not declared"),
        ("a", "type: pkcs11, xks: {}", "4: document 1: spec.xks: these are not the options of a key store of type `pkcs11`; "
         "its options stand under `pkcs11`"),
        ("a", "type: pkcs11, options: {}", "4: document 1: spec.options: these are not the options of a key store of type "
         "`pkcs11`; its options stand under `pkcs11`"),
        ("a", "type: vault, xks: {}", "4: document 1: spec.xks: these are not the options of a key store of type `vault`; "
         "its options stand under `options`"),
    ],
)  # fmt: skip
def test_the_rules_of_key_stores_are_told(name: str, spec: str, line: str) -> None:
    text = f"apiVersion: keystead/v1\nkind: KeyStore\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    assert told(text) == [f"keys.yaml:{line}"]


def test_the_policies_of_principals_are_checked() -> None:
    text = "apiVersion: keystead/v1\nkind: Principal\nmetadata: {name: a}\nspec:\n  policies:\n    a b: {document: '3'}\n    c: {}\n"
    assert told(text) == [
        'keys.yaml:6: document 1: spec.policies["a b"].document: the policy is not a JSON object; a policy is a JSON '
        "object with `Version` and `Statement`",
        "keys.yaml:7: document 1: spec.policies.c: neither `document` nor `fromFile` is given; give one of them; without "
        "a policy leave the field out",
    ]


def test_what_only_roles_have_is_told_of_users() -> None:
    start = "apiVersion: keystead/v1\nkind: Principal\nmetadata: {name: a}\n"
    user = "spec:\n  trustPolicy: {document: '{}'}\n  maxSessionSeconds: 3600\n  tags: {aws:x: y}\n"
    assert told(start + user) == [
        'keys.yaml:7: document 1: spec.tags["aws:x"]: this tag key is reserved; tag keys that begin with `aws:` belong to '
        "AWS services: choose another name",
        "keys.yaml:5: document 1: spec.trustPolicy: only a role is assumed; declare `type: role`, or leave this out",
        "keys.yaml:6: document 1: spec.maxSessionSeconds: only a role is assumed; declare `type: role`, or leave this "
        "out",
    ]
    assert told(start + "spec:\n  type: role\n  trustPolicy: {document: '3'}\n") == [
        "keys.yaml:6: document 1: spec.trustPolicy.document: the policy is not a JSON object; a policy is a JSON object "
        "with `Version` and `Statement`",
    ]


def test_the_server_refuses_a_policy_that_names_a_file() -> None:
    documents = [declare("a", DesiredKey(policy=PolicySource(from_file="p.json")))]
    assert check(received(documents)) == []
    assert [str(problem) for problem in check(received(documents), resolved=True)] == [
        "request: document 1: spec.policy.fromFile: the server does not read files; the command line reads the file and "
        "sends its text as `document`"
    ]


# HTTP bodies


def test_bodies_are_told_every_mistake_of_every_document() -> None:
    good = {"apiVersion": API_VERSION, "kind": "Key", "metadata": {"name": "a"}, "spec": {}}
    documents = [good, {**good, "spec": {"keySpce": 1, "enabled": "x"}}, {**good, "kind": "Kex"}]
    for raw in (documents, json.dumps(documents).encode(), msgspec.Raw(json.dumps(documents).encode())):
        with pytest.raises(InvalidSpec) as refused:
            decode_documents(raw)
        assert [(problem.document, problem.path) for problem in refused.value.problems] == [
            (2, "spec.keySpce"),
            (2, "spec.enabled"),
            (3, "kind"),
        ]
    assert decode_documents([good]) == decode_documents(json.dumps([good]).encode()) == [decode_document(good)]


@pytest.mark.parametrize(
    "body", [b"", b"3", b"{}", b"[", b"\xff", b'"\xff"', b"[" * 100_000, b'[{"a": "\\ud800"}]', b"[null]"]
)
def test_a_body_that_is_no_list_of_documents_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidSpec):
        decode_documents(body)


@pytest.mark.parametrize("value", ["1" + "0" * 30, "1" + "0" * 9000, "[" * 100 + "]" * 100, '"\\u0000"'])
def test_options_that_cannot_be_stored_are_refused(value: str) -> None:
    body = (
        '[{"apiVersion":"keystead/v1","kind":"KeyStore","metadata":{"name":"a"},'
        f'"spec":{{"type":"x","options":{{"v":{value}}}}}}}]'
    )
    with pytest.raises(InvalidSpec) as refused:
        decode_documents(body.encode())
    assert (refused.value.problems[0].path or "").startswith(("spec.options", "documents"))
