"""Spec files on disk: what is found, in which order, and what is never read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane import specfiles as files
from controlplane.errors import InvalidSpec
from controlplane.schema.base import NAME_PATTERN
from controlplane.schema.documents import KeyDocument, Located, PrincipalDocument, Source, declare
from controlplane.schema.keys import DesiredKey, PolicySource
from controlplane.specfiles import LoadedSet, default_spec_set, load, load_or_raise

POLICY = '{ "Version" : "2012-10-17",\r\n\t"Statement":[]}\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory that the command is called in; paths are relative, as users write them."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def write(path: str, content: str | bytes) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def key(name: str, spec: str = "{}") -> str:
    return f"apiVersion: keystead/v1\nkind: Key\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def run(*paths: str, stdin: bytes = b"") -> LoadedSet:
    return load([Path(path) for path in paths], stdin=io.BytesIO(stdin))


def names(loaded: LoadedSet) -> list[str]:
    return [document.name for document in loaded.documents]


def told(*paths: str, stdin: bytes = b"") -> list[str]:
    return [str(problem) for problem in run(*paths, stdin=stdin).problems]


# What is found


def test_a_directory_is_read_recursively_by_name() -> None:
    write("specs/b.yaml", key("b"))
    write("specs/a.YML", key("a"))
    write("specs/c/d.json", '{"apiVersion":"keystead/v1","kind":"Key","metadata":{"name":"d"},"spec":{}}')
    write("specs/z.toml", 'apiVersion="keystead/v1"\nkind="Key"\nmetadata.name="z"\nspec={}\n')
    for other in ("specs/README.md", "specs/.hidden.yaml", "specs/.git/x.yaml", "specs/c/policy.txt"):
        write(other, "not: a document")
    loaded = run("specs")
    assert loaded.problems == ()
    assert names(loaded) == ["a", "b", "d", "z"]
    assert loaded.files == ("specs/a.YML", "specs/b.yaml", "specs/c/d.json", "specs/z.toml")
    assert [source.file for source in loaded.sources] == list(loaded.files)


def test_paths_are_read_in_their_order_and_each_file_once() -> None:
    write("x/a.yaml", key("a"))
    write("x/b.yaml", key("b"))
    loaded = run("x/b.yaml", "-", "x", "x/../x/a.yaml", stdin=key("s").encode())
    assert loaded.problems == ()
    assert names(loaded) == ["b", "s", "a"]
    assert [source.file for source in loaded.sources] == ["x/b.yaml", "<stdin>", "x/a.yaml"]


def test_mistakes_are_told_with_file_and_line() -> None:
    write("specs/a.yaml", key("a") + "---\n" + key("b", "{keySpce: SM2}"))
    write("specs/b.yaml", key("a"))
    assert told("specs") == [
        "specs/a.yaml:9: document 2: spec.keySpce: there is no such field; did you mean `keySpec`?",
        "specs/b.yaml:3: document 1: metadata.name: Key `a` is declared twice; the first one is in specs/a.yaml:1, "
        "document 1",
    ]


def test_standard_input_is_yaml() -> None:
    assert told("-", stdin=b"a: [") == [
        "<stdin>:2: document 1: the text ends, and a list or mapping is not closed (column 1); write `]` or `}` at its "
        "end"
    ]


# What cannot be read


def test_what_cannot_be_read_is_told() -> None:
    write("empty/README.md", "")
    write("keys.txt", key("a"))
    write("latin.yaml", "# a\nname: K\xf6ln".encode("latin-1"))
    write("utf16.yaml", key("a").encode("utf-16"))
    os.mkfifo("pipe.yaml")
    assert told("empty", "missing.yaml", "missing", "keys.txt", "latin.yaml", "utf16.yaml", "pipe.yaml") == [
        "missing.yaml: this file does not exist",
        "missing: this file or directory does not exist",
        "keys.txt: the format of this file is not known; let its name end in .yaml, .yml, .toml, .json",
        "latin.yaml:2: this is not UTF-8: byte 0xF6 stands at offset 11; save the file as UTF-8",
        "utf16.yaml:1: this is not UTF-8: byte 0xFF stands at offset 0; save the file as UTF-8",
        "pipe.yaml: this is not a regular file; use `-` to read from a pipe",
        "empty: this directory holds no spec file; spec files end in .yaml, .yml, .toml, .json; hidden ones are not "
        "read",
    ]
    assert told() == ["no spec file is given; name a file, a directory, or `-` for standard input"]


def test_a_file_without_permission_is_told() -> None:
    write("a.yaml", key("a")).chmod(0)
    root = os.geteuid() == 0
    if root:  # which reads everything: be somebody else for a moment
        os.chown(".", 65_534, -1)
        os.seteuid(65_534)
    try:
        assert told("a.yaml") == ["a.yaml: this cannot be read: permission denied"]
    finally:
        if root:
            os.seteuid(0)


def test_a_large_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.MAX_FILE_BYTES == 64 * 1024 * 1024
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1024 * 1024)
    write("a.yaml", b"#" * (1024 * 1024 + 1))
    write("b.yaml", key("b").encode() + b"#" * (1024 * 1024 - len(key("b"))))
    assert told("a.yaml") == ["a.yaml: this is larger than 1 MiB; split it"]
    assert told("-", stdin=b"#" * (1024 * 1024 + 1)) == ["-: this is larger than 1 MiB; split it"]
    assert names(run("b.yaml")) == ["b"]


def test_names_of_files_cannot_break_the_terminal() -> None:
    write("specs/a\x1b[31m\n.yaml", "x")
    Path(os.fsdecode(b"specs/b\xff.yaml")).write_text("x")
    problems = run("specs").problems
    assert [problem.file for problem in problems] == ["specs/a\\x1b[31m\\n.yaml", "specs/b\\xff.yaml"]


# Links


def test_links_that_leave_the_directory_are_refused() -> None:
    write("outside/secret.yaml", key("outside"))
    write("specs/a.yaml", key("a"))
    Path("specs/link.yaml").symlink_to("../outside/secret.yaml")
    Path("specs/folder").symlink_to("../outside")
    loaded = run("specs")
    assert names(loaded) == ["a"]
    assert [str(problem) for problem in loaded.problems] == [
        "specs/folder: this symbolic link leaves the directory of the spec files; copy what it points to, or name that "
        "path on the command line",
        "specs/link.yaml: this symbolic link leaves the directory of the spec files; copy what it points to, or name "
        "that path on the command line",
    ]


def test_links_within_the_directory_are_followed_once() -> None:
    write("specs/..data/a.yaml", key("a"))  # as Kubernetes mounts a ConfigMap
    Path("specs/a.yaml").symlink_to("..data/a.yaml")
    Path("specs/loop").symlink_to(".")
    Path("specs/self.yaml").symlink_to("self.yaml")
    loaded = run("specs")
    assert names(loaded) == ["a"]
    assert [str(problem) for problem in loaded.problems] == ["specs/self.yaml: this file does not exist"]


def test_a_link_that_the_user_names_is_followed() -> None:
    write("outside/a.yaml", key("a"))
    Path("current").symlink_to("outside")
    assert names(run("current")) == ["a"]


# Policies in files


def test_policies_come_back_byte_for_byte() -> None:
    write("specs/policies/p.json", POLICY)
    write("specs/keys/a.yaml", key("a", "{policy: {fromFile: ../policies/p.json}}"))
    write(
        "specs/users.yaml",
        "apiVersion: keystead/v1\nkind: Principal\nmetadata: {name: u}\nspec:\n  policies:\n"
        "    p: {fromFile: policies/p.json}\n    q: {document: '{}'}\n  type: role\n"
        "  trustPolicy: {fromFile: policies/p.json}\n",
    )
    loaded = load_or_raise([Path("specs")], stdin=io.BytesIO())
    the_key, user = loaded.documents
    assert isinstance(the_key, KeyDocument)
    assert the_key.spec.policy == PolicySource(document=POLICY)
    assert isinstance(user, PrincipalDocument)
    assert user.spec.policies == {"p": PolicySource(document=POLICY), "q": PolicySource(document="{}")}
    assert user.spec.trust_policy == PolicySource(document=POLICY)


def test_policies_in_a_directory_are_not_taken_for_documents() -> None:
    write("specs/keys.yaml", key("a", "{policy: {fromFile: p/broken.json}}"))
    write("specs/p/broken.json", "{")
    write("specs/p/unused.json", POLICY)
    assert told("specs") == [
        "specs/p/broken.json:1: the policy is not valid JSON: a field name in double quotes is expected (column 2); "
        "leave out a comma after the last field"
    ]


def test_what_may_be_a_document_is_never_taken_for_a_policy() -> None:
    document = '{"apiVersion":"keystead/v1","kind":"Key","metadata":{"name":"d"},"spec":{"x":1}}'
    write("specs/a.yaml", key("a", "{policy: {fromFile: d.json}}") + "---\n" + key("b", "{policy: {fromFile: e.json}}"))
    write("specs/d.json", document)
    write("specs/e.json", '{"Statement": [], "kind": "Key"}')
    write("specs/f.json", "{}")
    assert {problem.file for problem in run("specs").problems} == {"specs/d.json", "specs/e.json", "specs/f.json"}


def test_a_directory_of_policies_only_declares_nothing_and_that_is_told() -> None:
    write("policies/p.json", POLICY)
    assert told("policies") == [
        "policies: this directory holds no spec file; spec files end in .yaml, .yml, .toml, .json; hidden ones are not "
        "read"
    ]


def test_a_policy_that_the_user_names_as_a_spec_file_is_told() -> None:
    write("p.json", POLICY)
    assert told("p.json")[0].startswith("p.json:1: document 1: kind: a field is missing")


def test_policies_of_standard_input_are_beside_the_caller() -> None:
    write("p.json", POLICY)
    loaded = run("-", stdin=key("a", "{policy: {fromFile: p.json}}").encode())
    assert loaded.problems == ()
    (document,) = loaded.documents
    assert isinstance(document, KeyDocument)
    assert document.spec.policy == PolicySource(document=POLICY)


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("/etc/passwd", "`/etc/passwd`: an absolute path is not allowed here; write it relative to the spec file"),
        (
            "../outside.json",
            "`../outside.json`: this file is outside of `specs`; keep policies in the directory of the spec files",
        ),
        (
            "link.json",
            "`link.json`: this file is outside of `specs`; keep policies in the directory of the spec files",
        ),
        ("missing.json", "`missing.json`: this file does not exist"),
        ("sub", "`sub`: this is not a regular file; use `-` to read from a pipe"),
        ("", "``: no file is named; write a path relative to the spec file"),
        (".", "`.`: this is not a regular file; use `-` to read from a pipe"),
        ("empty.json", "`empty.json`: this file is empty; a policy is a JSON object with `Version` and `Statement`"),
        ("latin.json", "`latin.json`: this is not UTF-8 at offset 2; save the file as UTF-8"),
        ("bom.json", "`bom.json`: this file begins with a byte-order mark; save the file as UTF-8 without it"),
        ("long.json", "`long.json`: this has 131,073 characters; at most 131,072 are allowed"),
        ("large.json", "`large.json`: this is larger than 524,288 bytes; split it"),
        ("x" * 300, f"`{'x' * 300}`: this cannot be read: file name too long"),
    ],
)
def test_a_policy_file_that_cannot_be_used_is_told(named: str, line: str) -> None:
    write("outside.json", "{}")
    write("specs/a.yaml", key("a", f"{{policy: {{fromFile: '{named}'}}}}"))
    Path("specs/link.json").symlink_to("../outside.json")
    Path("specs/sub").mkdir()
    write("specs/empty.json", " ")
    write("specs/latin.json", b'{"\xf6": 1}')
    write("specs/bom.json", b"\xef\xbb\xbf{}")
    write("specs/long.json", "{}" + " " * 131_071)
    write("specs/large.json", "{}" + " " * 524_288)
    assert told("specs/a.yaml") == [f"specs/a.yaml:4: document 1: spec.policy.fromFile: {line}"]


def test_a_mistake_in_a_policy_is_told_once_with_its_own_place() -> None:
    write("p.txt", '{\n "Version": }')
    write("a.yaml", key("a", "{policy: {fromFile: p.txt}}") + "---\n" + key("b", "{policy: {fromFile: p.txt}}"))
    assert told("a.yaml") == [
        "p.txt:2: the policy is not valid JSON: a value is expected (column 13); put text in double quotes; leave out "
        "a comma after the last item"
    ]


def test_a_policy_of_the_largest_size_is_read() -> None:
    text = '{"a": "' + "ü" * (131_072 - 9) + '"}'
    write("p.json", text)
    write("a.yaml", key("a", "{policy: {fromFile: p.json}}"))
    assert told("a.yaml") == []


def test_both_or_neither_is_told_and_nothing_is_read() -> None:
    write("a.yaml", key("a", "{policy: {fromFile: /etc/passwd, document: '{}'}}") + "---\n" + key("b", "{policy: {}}"))
    assert told("a.yaml") == [
        "a.yaml:4: document 1: spec.policy: both `document` and `fromFile` are given; keep one of them",
        "a.yaml:9: document 2: spec.policy: neither `document` nor `fromFile` is given; give one of them; without a "
        "policy leave the field out",
    ]


# Conveniences


def test_load_or_raise_raises_every_problem() -> None:
    write("a.yaml", key("A") + "---\n" + key("a", "{x: 1}"))
    with pytest.raises(InvalidSpec) as refused:
        load_or_raise([Path("a.yaml")], stdin=io.BytesIO())
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("specs", "specs"),
        ("specs/", "specs"),
        ("a/Payments Team", "payments-team"),
        ("keys.prod.yaml", "keys.prod"),
        ("keys.d", "keys.d"),
        ("Schlüssel.yml", "schlussel"),
        ("_x_.json", "x"),
        (".", "here"),
        ("-", "default"),
        ("/", "default"),
        ("键.yaml", "default"),
    ],
)
def test_the_spec_set_is_named_after_the_path(path: str, name: str) -> None:
    assert default_spec_set([Path(path), Path("other")]) == name


def test_without_a_path_the_spec_set_is_the_default() -> None:
    assert default_spec_set([]) == "default"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200))
@settings(deadline=None)
def test_every_path_gives_a_name(path: str) -> None:
    import re

    assert re.search(NAME_PATTERN, default_spec_set([Path(path)]))


@given(st.binary(max_size=80), st.sampled_from(["a.yaml", "a.toml", "a.json", "-"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_told(content: bytes, name: str) -> None:
    if name != "-":
        write(name, content)
    loaded = run(name, stdin=content)
    assert all(str(problem) for problem in loaded.problems)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_may_be_named_by_a_policy(named: str) -> None:
    source = PolicySource(from_file=named)
    reader = files._Reader(io.BytesIO())
    file = files._File()
    document = declare("a", DesiredKey(policy=source))
    reader._resolved(Located(document, Source(file="a.yaml", document=1)), file, Path(), Path())
    assert [problem.path for problem in file.problems] == ["spec.policy.fromFile"]
