"""Spec files as text: what is read, and the lines that users read when it is not."""

# ruff: noqa: E501 - whole lines, as users read them

from __future__ import annotations

import json

import pytest

from controlplane.schema.base import API_VERSION
from controlplane.schema.documents import (
    Format,
    KeyDocument,
    KeyStoreDocument,
    check,
    decode_document,
    parse,
)
from controlplane.schema.keys import DeletionSpec, DesiredKey, PolicySource
from controlplane.schema.meta import Kind
from tests.controlplane.schema.documents import (
    ALL_KEY_SPECS,
    DESIGN_EXAMPLE,
    TOML_HEAD,
    key,
    read,
    spec_of,
    told,
)


def test_the_example_of_the_design_is_read_with_the_place_of_each_document() -> None:
    located, problems = parse(DESIGN_EXAMPLE, file="spec.yaml", format="yaml")
    assert problems == check(located) == []
    store, payments = (each.document for each in located)
    assert isinstance(store, KeyStoreDocument)
    assert store.kind is Kind.KEY_STORE
    assert store.spec.plugin_options()["pin"] == {"fromFile": "secrets/hsm.pin"}
    assert isinstance(payments, KeyDocument)
    assert payments.name == "payments"
    assert payments.spec == DesiredKey(
        key_store="hsm-a",
        aliases=("payments",),
        deletion=DeletionSpec(window_days=30, protect=True),
        tags={"team": "payments"},
        policy=PolicySource(from_file="policies/payments.json"),
    )
    assert [(each.source.document, each.source.line) for each in located] == [(1, 1), (2, 9)]


def test_the_three_formats_say_the_same() -> None:
    raw = {
        "apiVersion": API_VERSION,
        "kind": "Key",
        "metadata": {"name": "a"},
        "spec": {"keySpec": "RSA_2048", "aliases": ["x"], "tags": {"team": "payments"}, "rotation": {"enabled": True}},
    }
    toml = (
        'apiVersion = "keystead/v1"\nkind = "Key"\nmetadata.name = "a"\n[spec]\nkeySpec = "RSA_2048"\naliases = ["x"]\n'
        'tags = {team = "payments"}\n[spec.rotation]\nenabled = true\n'
    )
    expected = [decode_document(raw)]
    assert read(json.dumps(raw), "json") == expected
    assert read(json.dumps(raw, indent=2), "yaml") == expected
    assert read(toml, "toml") == expected


def test_a_file_may_hold_many_documents_in_each_format() -> None:
    one = {"apiVersion": API_VERSION, "kind": "Principal", "metadata": {"name": "a"}, "spec": {}}
    two = {**one, "metadata": {"name": "b"}}
    table = '[[documents]]\napiVersion = "keystead/v1"\nkind = "Principal"\nmetadata.name = "{}"\nspec = {{}}\n'
    for text, format, lines in (
        (f"{json.dumps(one)}\n---\n{json.dumps(two)}\n", "yaml", [1, 3]),
        (f"[\n{json.dumps(one)},\n\n{json.dumps(two)}]\n", "json", [2, 4]),
        (f'{{"documents":\n [{json.dumps(one)},\n{json.dumps(two)}]}}', "json", [2, 3]),
        (table.format("a") + table.format("b"), "toml", [1, 6]),
    ):
        located, problems = parse(text, file="f", format=format)  # type: ignore[arg-type]
        assert problems == []
        assert [each.document.name for each in located] == ["a", "b"]
        assert [each.source.line for each in located] == lines


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "---\n---\n# x\n---\n", "~\n", "\ufeff"])
def test_empty_documents_are_skipped(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "format"), [("", "json"), (" \n", "json"), ("null", "json"), ("[]", "json"), ("", "toml")]
)
def test_empty_files_are_skipped(text: str, format: Format) -> None:
    assert read(text, format) == []


def test_empty_documents_are_counted() -> None:
    assert told("---\n---\nkind: Keys\napiVersion: keystead/v1\nmetadata: {name: a}\n") == [
        "keys.yaml:3: document 2: kind: `Keys` is not a known kind; did you mean `Key`?"
    ]


@pytest.mark.parametrize(
    "word",
    ["NO", "no", "yes", "on", "Off", "y", "2020-01-01", "12:30:00", "0b1", "1_000", "0o8", "=", "1e", "+", "."],
)
def test_what_yaml_1_1_made_of_words_is_text(word: str) -> None:
    assert spec_of(f"description: {word}").description == word


def test_numbers_are_those_of_yaml_1_2() -> None:
    def options(text: str) -> object:
        (store,) = read(
            f"apiVersion: keystead/v1\nkind: KeyStore\nmetadata: {{name: a}}\nspec: {{type: x, options: {{v: {text}}}}}"
        )
        assert isinstance(store, KeyStoreDocument)
        return store.spec.plugin_options()["v"]

    values = {"010": 10, "0o17": 15, "0x1F": 31, "-5": -5, "+5": 5, "1e3": 1000.0, ".5": 0.5, "1.": 1.0, "True": True}
    for text, value in values.items():
        assert options(text) == value
        assert type(options(text)) is type(value)
    assert options("~") is options("") is options("null") is None
    assert options("'1'") == "1"


def test_anchors_and_aliases_are_read() -> None:
    assert spec_of("tags: {a: &team payments, b: *team}").tags == {"a": "payments", "b": "payments"}


def test_a_policy_stays_as_it_was_written() -> None:
    policy = '{"Version":"2012-10-17",\n   "Statement":[ ]}\n'
    spec = spec_of('policy:\n  document: |\n    {"Version":"2012-10-17",\n       "Statement":[ ]}')
    assert spec.policy == PolicySource(document=policy)


# What users read when something is wrong: whole lines


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("keySpce: SM2", "spec.keySpce: there is no such field; did you mean `keySpec`?"),
        ("key_spec: SM2", "spec.key_spec: there is no such field; did you mean `keySpec`?"),
        ("windowDays: 7", "spec.windowDays: there is no such field; did you mean `deletion.windowDays`?"),
        (
            "rotation: {x: 1}",
            "spec.rotation.x: there is no such field; use one of `enabled`, `periodDays`",
        ),
        ("keySpec: RSA_2047", "spec.keySpec: `RSA_2047` is not a known key spec; did you mean `RSA_2048`?"),
        ("keySpec: DES", f"spec.keySpec: `DES` is not a known key spec; use one of {ALL_KEY_SPECS}"),
        ("keyUsage: SIGN", "spec.keyUsage: `SIGN` is not a known key usage; did you mean `SIGN_VERIFY`?"),
        ("management: pause", "spec.management: `pause` is not a known management mode; did you mean `paused`?"),
        ("aliases: payments", "spec.aliases: a list is expected, and this is text; write `aliases: [...]`"),
        ("rotation:", "spec.rotation: a mapping is expected, and this is empty; give a value, or leave the field out"),
        ("enabled: yes", "spec.enabled: `yes` is text; write `true` or `false`, without quotes"),
        ("enabled: 1", "spec.enabled: `true` or `false` is expected, and this is the number 1; write one of them"),
        ("tags: {a: 1}", "spec.tags.a: text is expected, and this is the number 1; put it in quotes"),
        ("tags: {a b: true}", 'spec.tags["a b"]: text is expected, and this is `true`; put it in quotes'),
        ("tags: {'': x}", 'spec.tags[""]: in the key: it is empty; write something, or leave the field out'),
        ("rotation: {periodDays: 3}", "spec.rotation.periodDays: 3 is out of range; allowed is 90 to 2560"),
        (
            "rotation: {periodDays: '90'}",
            "spec.rotation.periodDays: a whole number is expected, and this is text; write it without quotes",
        ),
        ("description: " + "x" * 8193, "spec.description: it has 8,193 characters; at most 8,192 are allowed"),
        ("region: Frankfurt", "spec.region: `Frankfurt` is not allowed here; write an AWS Region name such as `eu-central-1`"),
        (
            "keyStore: HSM A",
            "spec.keyStore: `HSM A` is not allowed here; use lower-case letters, digits, `.`, `_` and `-`, at most 127, "
            "beginning and ending with a letter or digit",
        ),
        (
            "aliases: [fine, 'not fine']",
            "spec.aliases[1]: `not fine` is not allowed here; use 1 to 250 letters, digits, `/`, `_` and `-`, without "
            "the `alias/` prefix",
        ),
        (
            "policy: {Version: x}",
            "spec.policy.Version: there is no such field; give the policy as text under `document: |`, or name its file "
            "with `fromFile`",
        ),
        (
            "policy: {document: {Version: x}}",
            "spec.policy.document: text is expected, and this is a mapping; give the policy as text under "
            "`document: |`, or name its file with `fromFile`",
        ),
        # the rules of a set
        ("aliases: [alias/x]", "spec.aliases[0]: `alias/x` has the prefix that every alias gets; write `x`"),
        (
            "aliases: [aws/s3]",
            "spec.aliases[0]: `aws/s3` is reserved; aliases that begin with `aws/` belong to AWS services: choose "
            "another name",
        ),
        ("aliases: [x, x]", "spec.aliases[1]: the alias `x` stands twice; keep one of them"),
        (
            "tags: {'AWS:x': y}",
            'spec.tags["AWS:x"]: this tag key is reserved; tag keys that begin with `aws:` belong to AWS services: '
            "choose another name",
        ),
        ("policy: {document: '{}', fromFile: x}", "spec.policy: both `document` and `fromFile` are given; keep one of them"),
        (
            "policy: {}",
            "spec.policy: neither `document` nor `fromFile` is given; give one of them; without a policy leave the "
            "field out",
        ),
        (
            "policy: {document: '[]'}",
            "spec.policy.document: the policy is not a JSON object; a policy is a JSON object with `Version` and "
            "`Statement`",
        ),
        (
            'policy: {document: "{\\n1}"}',
            "spec.policy.document: the policy is not valid JSON: a field name in double quotes is expected (column 1) "
            "in line 2 of the policy; leave out a comma after the last field",
        ),
        ("policy: {document: '{\"a\": NaN}'}", "spec.policy.document: the policy is not valid JSON; a policy is a JSON "
         "object with `Version` and `Statement`"),
        # what YAML can say and a document cannot
        ("<<: {a: b}", "spec: `<<` is a merge key; YAML 1.2 has none: write the fields out, or reuse a whole value with "
         "an anchor"),
        ("1: x", "spec: the key `1` is not text; put it in quotes"),
        ("true: x", "spec: the key `true` is not text; put it in quotes"),
        ("? [a]\n: b", "spec: a mapping or list stands where a key is expected; put text that begins with `{` or `[` in "
         "quotes"),
        ("description: !!str 3", "spec.description: tags are not used in spec files; leave `!!str` out; put text in quotes"),
        ("description: !!python/name:os.system x", "spec.description: tags are not used in spec files; leave "
         "`!!python/name:os.system` out; put text in quotes"),
        ("description: .inf", "spec.description: this is not a finite number; put text in quotes"),
        ("description: 1e999", "spec.description: this is not a finite number; put text in quotes"),
        ("description: " + "9" * 5000, "spec.description: this number does not fit into 64 bits; put text in quotes"),
        ('description: "\\0"', "spec.description: this holds a NUL character; remove it"),
        # syntax
        ("\tx: 1", "a tab stands in the indentation (column 3); indent with spaces"),
        ("description: 'x", "the quote that begins here is not closed (column 16); write the same quote at the end of the text"),
        ("aliases: [a", "the list that begins here is not closed (column 12); write `,` between its items and `]` at its end"),
        ("tags: {a: b", "the mapping that begins here is not closed (column 9); write `,` between its fields and `}` at its end"),
        ("description: a: b", "a `:` stands where no field can begin (column 17); check the indentation; put text that "
         "holds `: ` in quotes"),
        ("description: @x", "a value cannot begin with `@` (column 16); put it in quotes"),
        ("aliases: - a", "a list item cannot stand here (column 12); write it on a line of its own"),
        ("description: *x", "`*x` has no anchor before it in this document; mark the value with `&x` before it, and not around it"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_key_is_told_with_its_place_and_what_would_be_right(spec: str, line: str) -> None:
    assert told(key(spec)) == [f"keys.yaml:5: document 1: {line}"]


def test_the_line_is_that_of_the_field() -> None:
    text = key(
        "keySpec: RSA_2048\ntags:\n  a: b\n  c: 1\nrotation:\n  enabled: true\n  periodDays: 1\naliases:\n- a\n- b c"
    )
    located, problems = parse("# comment\n---\n" + text, file="f", format="yaml")
    assert located == []
    assert [(problem.line, problem.path) for problem in problems] == [
        (10, "spec.tags.c"),
        (13, "spec.rotation.periodDays"),
        (16, "spec.aliases[1]"),
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "apiVersion: v1\nkind: Key\nmetadata: {name: a}\nspec: {}\n",
            ["keys.yaml:1: document 1: apiVersion: `v1` is not a known value; write `keystead/v1`"],
        ),
        (
            "apiVersion: keystead/v1\nkind: key\nmetadata: {name: a}\nspec: {}\n",
            ["keys.yaml:2: document 1: kind: `key` is not a known kind; did you mean `Key`?"],
        ),
        (
            "apiVersion: keystead/v1\nkind: Secret\nname: a\nspec: {}\n",
            [
                "keys.yaml:2: document 1: kind: `Secret` is not a known kind; use one of `Key`, `KeyStore`, "
                "`Principal`, `XksProxy`",
                "keys.yaml:3: document 1: name: there is no such field; did you mean `metadata.name`?",
                "keys.yaml:1: document 1: metadata: a field is missing; add `metadata: {name: ...}`",
            ],
        ),
        (
            "apiVersion: keystead/v1\nkind: KeyStore\nmetadata: {}\nspec: {}\n",
            [
                "keys.yaml:3: document 1: metadata.name: a field is missing; add a name in lower-case letters and digits",
                "keys.yaml:4: document 1: spec.type: a field is missing; add the type of the key store, such as "
                "`type: pkcs11`",
            ],
        ),
        (
            "kind: Key\nmetadata: {name: a, uid: x}\nspec: {}\nstatus: {}\n",
            [
                "keys.yaml:2: document 1: metadata.uid: there is no such field; the server writes it: leave it out",
                "keys.yaml:4: document 1: status: there is no such field; the server writes it: leave it out",
                "keys.yaml:1: document 1: apiVersion: a field is missing; add `apiVersion: keystead/v1`",
            ],
        ),
        ("text", ["keys.yaml:1: document 1: a document is a mapping, and this is text; begin with `apiVersion: keystead/v1`"]),
        (
            "\n- a\n",
            [
                "keys.yaml:2: document 1: a document is a mapping, and this is a list; give each document its own "
                "`apiVersion` and `kind`, with a line of `---` between two"
            ],
        ),
        (
            "a: b\n...\nc: d\n",
            [
                "keys.yaml:1: document 1: kind: a field is missing; add one of `kind: Key`, `kind: KeyStore`, "
                "`kind: Principal`, `kind: XksProxy`",
                "keys.yaml:1: document 1: a: there is no such field; use one of `kind`, `apiVersion`, `metadata`, `spec`",
                "keys.yaml:1: document 1: apiVersion: a field is missing; add `apiVersion: keystead/v1`",
                "keys.yaml:1: document 1: metadata: a field is missing; add `metadata: {name: ...}`",
                "keys.yaml:3: document 1: something stands after the end of the document (column 1); begin the next "
                "document with a line of `---`",
            ],
        ),
        ("a\0b", ["keys.yaml:1: a NUL character cannot stand in a spec file (column 2); remove it"]),
        ("a: b\nc: \x07", ["keys.yaml:2: the control character U+0007 cannot stand in a spec file (column 4); remove it"]),
    ],
)  # fmt: skip
def test_a_mistake_around_the_spec_is_told(text: str, lines: list[str]) -> None:
    assert told(text) == lines


def test_a_name_with_a_line_feed_at_its_end_is_refused() -> None:
    assert told(key("", name='"a\\n"'))[0].startswith("keys.yaml:3: document 1: metadata.name: `a\\n` is not allowed")


def test_a_field_that_stands_twice_is_told_with_both_lines() -> None:
    assert told(key("keySpec: SM2\nenabled: true\nkeySpec: SM2")) == [
        "keys.yaml:7: document 1: spec.keySpec: this field stands twice; the first one is on line 5: keep one of them"
    ]


def test_every_document_is_judged_even_after_a_syntax_error() -> None:
    text = "---\n".join([key("x: 1", "a"), key("description: 'x", "b"), key("", "c"), key("keySpec: SM3", "d")])
    located, problems = parse(text, file="f", format="yaml")
    assert [(each.document.name, each.source.document) for each in located] == [("c", 3)]
    assert [(problem.document, problem.line) for problem in problems] == [(1, 5), (2, 11), (4, 22)]


def test_many_syntax_errors_end_the_reading_and_say_so() -> None:
    lines = told("\n".join("---\na: [" for _ in range(100)))
    assert len(lines) == 21
    assert lines[-1].endswith("the rest of this file is not read; repair these first")


def test_many_mistakes_in_one_document_are_cut_and_said_to_be() -> None:
    lines = told(key("\n".join(f"x{number}: 1" for number in range(100))))
    assert len(lines) == 21
    assert lines[-1] == "keys.yaml:1: document 1: more mistakes follow in this document; repair these first"


def test_options_of_a_key_store_are_never_repeated() -> None:
    text = "apiVersion: keystead/v1\nkind: KeyStore\nmetadata: {name: a}\nspec: {type: pkcs11, pkcs11: %s, xks: {pin: 4711}}"
    for options in ("{pin: 4711}", "[4711]", "'4711'", "{4711: x, pin: &a 4711, pin: *a}", "{pin: '4711}"):
        assert all("4711" not in line or "key `4711`" in line for line in told(text % options))


# Bounds


@pytest.mark.parametrize(
    "text", ["[" * 10_000, "a: " + "[" * 10_000 + "]" * 10_000, "{a: " * 5000, "- " * 5000, "? " * 5000]
)
def test_deep_yaml_is_refused(text: str) -> None:
    (line,) = told(text)  # a parser with a limit of its own may stop before the document begins
    assert line.replace("document 1: ", "") == "keys.yaml:1: this is nested more than 64 deep; no document needs that"


@pytest.mark.parametrize(
    ("text", "format"), [("[" * 100_000, "json"), ('{"a":' * 900, "json"), ("a=" + "[" * 9000, "toml")]
)
def test_deep_json_and_toml_is_refused(text: str, format: Format) -> None:
    assert len(told(text, format)) == 1


def test_json_and_toml_that_the_parser_takes_is_still_not_deep() -> None:
    deep = "[" * 70 + "]" * 70
    hint = "this is nested more than 64 deep; no document needs that"
    assert told(f'{{"a": {deep}}}', "json") == [f"keys.json:1: document 1: {hint}"]
    assert told(f"a = {deep}", "toml") == [f"keys.toml:1: document 1: {hint}"]


def test_a_billion_laughs_are_refused() -> None:
    lines = ["l0: &l0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"l{n}: &l{n} [" + ", ".join([f"*l{n - 1}"] * 10) + "]" for n in range(1, 10)]
    assert told("\n".join(lines)) == [
        "keys.yaml:6: document 1: the aliases of this file stand for more than 1,000,000 values; write the values out, "
        "or split the file"
    ]


def test_aliases_do_not_make_deep_what_is_not() -> None:
    chain = ["a0: &a0 x", *(f"a{n}: &a{n} [[[[[[[[[*a{n - 1}]]]]]]]]]" for n in range(1, 9))]
    assert told("\n".join(chain)) == [
        "keys.yaml:9: document 1: this is nested more than 64 deep; no document needs that"
    ]


def test_an_alias_to_what_holds_it_is_refused() -> None:
    assert told("a: &a {b: *a}") == [
        "keys.yaml:1: document 1: `*a` has no anchor before it in this document; mark the value with `&a` before it, "
        "and not around it"
    ]


# JSON and TOML


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"kind": "Key",\n}]', "2: a field name in double quotes is expected (column 1); leave out a comma after the last field"),
        ("[1,\n]", "2: a comma stands after the last item (column 1); leave it out"),
        ('{"a":1} x', "1: something stands after the end of the document (column 9); put several documents into one list"),
        ('{"a": NaN}', "1: `NaN` is not a number in JSON (column 7); put text in double quotes"),
        ('{"a": "\\ud800"}', "1: document 1: a: this holds a NUL or half a character; remove it"),
        ('{"a": "\\u0000"}', "1: document 1: a: this holds a NUL or half a character; remove it"),
        ('{"a": 1e999}', "1: document 1: a: this is not a finite number; put text in quotes"),
        ('{"a": %s}' % ("9" * 5000), "1: a number does not fit into 64 bits; put text in double quotes"),
        ('[\n{"a": 1,\n"b": {"c": 1,\n"c": 2}}]', "4: document 1: b.c: this field stands twice; keep one of them"),
        ('{"documents": 3}', "1: `documents` is not a list; write one document, or a list of documents"),
        ('{"documents": [], "x": 1}', "1: `x` stands beside `documents`; a file holds one document, or `documents` and "
         "nothing else"),
        ('{"documents": [], "documents": []}', "1: documents: this field stands twice; keep one of them"),
        ('{"a": "x\ny"}', "1: a line break or tab stands inside a text (column 9); write `\\n` or `\\t`"),
    ],
)  # fmt: skip
def test_a_mistake_in_json_is_told_with_its_line(text: str, line: str) -> None:
    assert told(text, "json") == [f"keys.json:{line}"]


def test_a_field_in_a_list_of_json_documents_is_told_with_its_line() -> None:
    good = {"apiVersion": API_VERSION, "kind": "Key", "metadata": {"name": "a"}, "spec": {}}
    bad = {**good, "metadata": {"name": "b"}, "spec": {"keySpce": "SM2"}}
    text = json.dumps({"documents": [good, bad]}, indent=1)
    line = text[: text.index("keySpce")].count("\n") + 1
    assert told(text, "json") == [
        f"keys.json:{line}: document 2: spec.keySpce: there is no such field; did you mean `keySpec`?"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TOML_HEAD + '[documents.spec]\nkeySpce = "x"\n', "6: document 1: spec.keySpce: there is no such field; did you mean "
         "`keySpec`?"),
        (TOML_HEAD + "spec = {}\n\n" + TOML_HEAD + '[documents.spec.rotation]\nperiodDays=1', "12: document 2: "
         "spec.rotation.periodDays: 1 is out of range; allowed is 90 to 2560"),
        (TOML_HEAD + 'spec.region = "x"\n', "5: document 1: spec.region: `x` is not allowed here; write an AWS Region name "
         "such as `eu-central-1`"),
        (TOML_HEAD + "spec.description = 2020-01-01\n", "5: document 1: spec.description: this is a date or time; put it in "
         "quotes"),
        ("a = nan", "1: document 1: a: this is not a finite number; put text in quotes"),
        ("a = " + "9" * 5000, "1: this number does not fit into 64 bits; put text in quotes"),
        ("a = 1\na = 2", "2: this field or table stands twice; keep one of them"),
        ("x = 1\ny = yes\n", "2: this is not a TOML value (column 5); put text in quotes; write `true` or `false`"),
        ("\nx\n", "2: a field needs `=` after its name (column 2); write `name = value`"),
        ("documents = 3", "1: `documents` is not a list; write one document, or a list of documents"),
        ("x = 1\n[[documents]]\na = 1", "2: `x` stands beside `documents`; a file holds one document, or `documents` and "
         "nothing else"),
    ],
)  # fmt: skip
def test_a_mistake_in_toml_is_told_with_its_line(text: str, line: str) -> None:
    assert told(text, "toml") == [f"keys.toml:{line}"]
