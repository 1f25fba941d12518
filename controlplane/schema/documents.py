"""Documents: what users declare, read strictly from spec files and from the bodies of the reconciliation API.

``parse`` and ``check`` serve the command line (through ``specfiles``), ``decode_documents`` and ``received`` the API.
Pure: text and values come in, documents and :class:`Problem` go out.

Guarantees: whatever the text is, ``parse`` returns. A document that came out has known fields only, of the declared
types. A mistake is told with file, document, line, path and what would be right, all mistakes at once. The text of a
policy is never parsed and written again: it stays byte for byte what was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any, ClassVar, Literal

import msgspec

from controlplane.errors import InvalidSpec, Problem
from controlplane.schema import mistakes, reading, references
from controlplane.schema.base import API_VERSION, Frozen, Name
from controlplane.schema.keys import DesiredKey, PolicySource
from controlplane.schema.keystores import OPTION_FIELDS, STANDARD, DesiredKeyStore
from controlplane.schema.meta import Desired, Kind
from controlplane.schema.mistakes import Mistake, Path, path_text
from controlplane.schema.principals import DesiredPrincipal, PrincipalType
from controlplane.schema.reading import Format, Passage
from controlplane.schema.xksproxies import DesiredXksProxy
from plugins.sdk.external import is_numbered

__all__ = [
    "Document",
    "DocumentMetadata",
    "Format",
    "KeyDocument",
    "KeyStoreDocument",
    "Located",
    "PrincipalDocument",
    "Source",
    "XksProxyDocument",
    "check",
    "declare",
    "decode_document",
    "decode_documents",
    "parse",
    "policy_mistake",
    "received",
]

MAX_ALIASES = 50
MAX_TAGS = 50
"""Per key: quotas of AWS KMS (Developer Guide, "Quotas")."""


class DocumentMetadata(Frozen):
    """What a user says about an object besides its spec.

    ``movedFrom`` is the name that it had before: it is renamed and stays the same key, principal or proxy.
    """

    name: Name
    moved_from: Name | None = None


class _Declared(Frozen):
    """What the documents of every kind have in common; ``kind`` stands beside it on the wire."""

    api_version: Literal["keystead/v1"]
    metadata: DocumentMetadata

    @property
    def name(self) -> str:
        return self.metadata.name


class KeyDocument(_Declared, frozen=True, tag_field="kind", tag="Key"):
    """A KMS key."""

    kind: ClassVar[Kind] = Kind.KEY
    spec: DesiredKey


class KeyStoreDocument(_Declared, frozen=True, tag_field="kind", tag="KeyStore"):
    """A key store: where key material lives and is used."""

    kind: ClassVar[Kind] = Kind.KEY_STORE
    spec: DesiredKeyStore


class PrincipalDocument(_Declared, frozen=True, tag_field="kind", tag="Principal"):
    """A user or role that may call the server."""

    kind: ClassVar[Kind] = Kind.PRINCIPAL
    spec: DesiredPrincipal


class XksProxyDocument(_Declared, frozen=True, tag_field="kind", tag="XksProxy"):
    """An external key store proxy: serves keys to an AWS KMS as an external key manager."""

    kind: ClassVar[Kind] = Kind.XKS_PROXY
    spec: DesiredXksProxy


Document = KeyDocument | KeyStoreDocument | PrincipalDocument | XksProxyDocument

DOCUMENT_TYPES: dict[str, type[msgspec.Struct]] = {
    "Key": KeyDocument,
    "KeyStore": KeyStoreDocument,
    "Principal": PrincipalDocument,
    "XksProxy": XksProxyDocument,
}


class Source(Frozen):
    """Where a document stands. ``document`` and ``line`` count from 1; no line if it did not come from a file."""

    file: str
    document: int
    line: int | None = None


class Located(msgspec.Struct, frozen=True):
    """A document with its place. ``passage`` finds the line of a field when a rule is broken, and only then.

    ``written`` is the spec as it stands there, so that a default that was spelled out can be told from one left out.
    """

    document: Document
    source: Source
    passage: Passage | None = None
    written: Mapping[str, Any] | None = None

    def problem(self, message: str, *path: str | int, hint: str | None = None) -> Problem:
        """A problem at a path of this document, such as ``("spec", "keySpec")``, with its line."""
        where = (self.source.file, self.source.document, self.source.line)
        return next(_problems([Mistake(message, path, hint)], *where, self.passage))


def declare(name: str, spec: Desired) -> Document:
    """The document that declares ``spec`` under ``name``; what ``export`` and the imperative doors write."""
    metadata = DocumentMetadata(name=name)
    match spec:
        case DesiredKey():
            return KeyDocument(api_version=API_VERSION, metadata=metadata, spec=spec)
        case DesiredKeyStore():
            return KeyStoreDocument(api_version=API_VERSION, metadata=metadata, spec=spec)
        case DesiredPrincipal():
            return PrincipalDocument(api_version=API_VERSION, metadata=metadata, spec=spec)
        case DesiredXksProxy():
            return XksProxyDocument(api_version=API_VERSION, metadata=metadata, spec=spec)


# Reading -------------------------------------------------------------------------------------------------------------


def parse(
    text: str, *, file: str, format: Format, look: references.Look | None = None
) -> tuple[list[Located], list[Problem]]:
    """The documents of one file and everything that is wrong in it. Never raises for bad input.

    ``look`` says what references stand for; without it there are none.
    """
    located: list[Located] = []
    problems: list[Problem] = []
    for raw in reading.read(text, format):
        found: Iterable[Mistake] = raw.mistakes
        value: object = raw.value
        referred: dict[Path, str] = {}
        if not found and look is not None:
            value, referred, found = references.resolve(value, look)
        if not found:
            try:
                document = msgspec.convert(value, Document)
            except msgspec.ValidationError as error:
                found = references.hushed(_diagnose(value, error), referred)
            else:
                source = Source(file=file, document=raw.number or 1, line=raw.passage.line)
                located.append(Located(document, source, raw.passage, _spec_of(value)))
                continue
        problems += _problems(found, file, raw.number, raw.passage.line, raw.passage)
    return located, problems


def decode_document(raw: object) -> Document:
    """One document from JSON's types, as the reconciliation API receives it. Raises :class:`InvalidSpec`."""
    try:
        document: Document = msgspec.convert(raw, Document)
    except (msgspec.ValidationError, RecursionError) as error:
        found = _diagnose(raw, error)
    else:
        found = _unfit_options(document)
    if found:
        raise InvalidSpec(list(_problems(found)))
    return document


def decode_documents(raw: msgspec.Raw | bytes | Sequence[object]) -> list[Document]:
    """Many documents: the JSON text of a list (fastest, as in a body's ``documents: msgspec.Raw``), or its items.

    Raises :class:`InvalidSpec` with the mistakes of every document, numbered from 1.
    """
    try:
        if isinstance(raw, msgspec.Raw | bytes):
            documents = msgspec.json.decode(raw, type=list[Document])
        else:
            documents = msgspec.convert(raw, list[Document])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problems = _received_problems(raw, error)
    else:
        problems = [
            problem
            for number, document in enumerate(documents, 1)
            for problem in _problems(_unfit_options(document), document=number)
        ]
    if problems:
        raise InvalidSpec(problems)
    return documents


def _unfit_options(document: Document) -> list[Mistake]:
    """The options of a key store are the one place where a document holds what no type limits."""
    if not isinstance(document, KeyStoreDocument):
        return []
    return [
        msgspec.structs.replace(mistake, path=("spec", field, *mistake.path))
        for field in (*OPTION_FIELDS, "options")
        for mistake in reading.unfit(getattr(document.spec, field))
    ]


def _received_problems(raw: msgspec.Raw | bytes | Sequence[object], error: Exception) -> list[Problem]:
    items: object = raw
    try:
        if isinstance(raw, msgspec.Raw | bytes):
            items = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        return [Problem(f"the documents are not valid JSON: {malformed}", path="documents")]
    if not isinstance(items, Sequence) or isinstance(items, str):
        return [Problem("this is not a list", path="documents", hint="send `documents` as a list of documents")]
    problems: list[Problem] = []
    for number, item in enumerate(items, 1):
        try:
            decode_document(item)
        except InvalidSpec as wrong:
            problems += [msgspec.structs.replace(problem, document=number) for problem in wrong.problems]
    return problems or [Problem(f"the documents cannot be read: {error}", path="documents")]


def _spec_of(value: object) -> Mapping[str, Any]:
    """The spec of a value that is a document."""
    assert isinstance(value, dict)
    spec: Mapping[str, Any] = value["spec"]
    return spec


class _Written(msgspec.Struct):
    spec: dict[str, Any]


def written_specs(raw: msgspec.Raw | bytes) -> list[dict[str, Any]]:
    """The specs of documents that :func:`decode_documents` has read, as they are written."""
    return [each.spec for each in msgspec.json.decode(raw, type=list[_Written])]


def received(
    documents: Iterable[Document], written: Iterable[Mapping[str, Any]] = (), *, file: str = "request"
) -> list[Located]:
    """Documents that came over HTTP, numbered, so that ``check`` can name them."""
    return [
        Located(document, Source(file=file, document=number), written=spec)
        for number, (document, spec) in enumerate(zip_longest(documents, written), 1)
    ]


def _diagnose(raw: object, error: Exception) -> list[Mistake]:
    """Never empty: if our walk sees nothing wrong, msgspec's own words are better than silence."""
    found = reading.unfit(raw) or mistakes.diagnose(raw, DOCUMENT_TYPES)
    return found or [Mistake(f"this document is refused: {error}")]


def _problems(
    found: Iterable[Mistake],
    file: str | None = None,
    document: int | None = None,
    line: int | None = None,
    passage: Passage | None = None,
) -> Iterator[Problem]:
    lines: dict[Path, int] | None = None
    for mistake in found:
        at = mistake.line
        if at is None and passage is not None:
            if lines is None and mistake.path:
                lines = passage.lines()
            # A missing field has no line: that of the nearest field around it.
            above = (mistake.path[:length] for length in range(len(mistake.path), 0, -1))
            at = next((lines[path] for path in above if lines and path in lines), None)
        yield Problem(
            message=mistake.message,
            file=file,
            document=document,
            line=line if at is None else at,
            path=path_text(mistake.path),
            hint=mistake.hint,
        )


# Rules over a set of documents ---------------------------------------------------------------------------------------


def check(located: Sequence[Located], *, resolved: bool = False) -> list[Problem]:
    """What is wrong with the documents together, and within one what no type says.

    ``resolved`` is the server's: a policy that still names a file is a problem there, because only the command line
    reads files. Which key spec fits which key store is not here but in ``domain.capabilities``.
    """
    problems: list[Problem] = []
    names: dict[tuple[Kind, str], Source] = {}
    moves: dict[tuple[Kind, str], Document] = {}
    aliases: dict[tuple[str | None, str], Located] = {}
    paths: dict[tuple[str, int, str], Located] = {}
    external: dict[tuple[str, str], Located] = {}
    for each in located:
        found = islice(_rules(each, names, moves, aliases, paths, external, resolved=resolved), mistakes.MAX_MISTAKES)
        problems += _problems(found, each.source.file, each.source.document, each.source.line, each.passage)
    return problems


def _rules(
    each: Located,
    names: dict[tuple[Kind, str], Source],
    moves: dict[tuple[Kind, str], Document],
    aliases: dict[tuple[str | None, str], Located],
    paths: dict[tuple[str, int, str], Located],
    external: dict[tuple[str, str], Located],
    *,
    resolved: bool,
) -> Iterator[Mistake]:
    document = each.document
    first = names.setdefault((document.kind, document.name), each.source)
    if first is not each.source:
        message = f"{document.kind} `{document.name}` is declared twice"
        yield Mistake(message, ("metadata", "name"), f"the first one is in {_place(first)}")
    if (former := document.metadata.moved_from) is not None:
        path = ("metadata", "movedFrom")
        if isinstance(document, KeyStoreDocument):
            message = "a KeyStore cannot be renamed: its keys and what its plugin keeps go by its name"
            yield Mistake(message, path, "the name that the KMS API shows is spec.customKeyStore.name, and can change")
        elif former == document.name:
            yield Mistake("this is its name", path, "leave it out")
        elif (other := moves.setdefault((document.kind, former), document)) is not document:
            message = f"{document.kind} `{former}` becomes `{other.name}` already"
            yield Mistake(message, path, "one object has one name: take it out of one of them")
    match document:
        case KeyDocument(spec=spec):
            yield from _alias_rules(each, spec, aliases)
            yield from _tag_rules(spec.tags)
            yield from _external_key_rules(each, spec, external)
            if spec.policy is not None:
                yield from _policy_rules(spec.policy, ("spec", "policy"), resolved=resolved)
        case KeyStoreDocument(spec=store):
            yield from _key_store_rules(document.name, store)
        case PrincipalDocument(spec=principal):
            for name, policy in principal.policies.items():
                yield from _policy_rules(policy, ("spec", "policies", name), resolved=resolved)
            yield from _principal_rules(principal, resolved=resolved)
        case XksProxyDocument(spec=proxy):
            yield from _xks_proxy_rules(each, proxy, paths)


def policy_mistake(text: str) -> Mistake | None:
    """Why the text is no policy at all (not a JSON object), with the line in it. What it says is judged elsewhere."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    hint = "a policy is a JSON object with `Version` and `Statement`"
    try:
        value = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        words, hint = reading.json_words(error.msg)
        return Mistake(f"the policy is not valid JSON: {words} (column {error.colno})", hint=hint, line=error.lineno)
    except (ValueError, RecursionError):  # NaN, endless digits, endless brackets
        return Mistake("the policy is not valid JSON", hint=hint)
    return None if isinstance(value, dict) else Mistake("the policy is not a JSON object", hint=hint)


def _place(source: Source) -> str:
    line = f":{source.line}" if source.line is not None else ""
    return f"{source.file}{line}, document {source.document}"


def _alias_rules(each: Located, spec: DesiredKey, aliases: dict[tuple[str | None, str], Located]) -> Iterator[Mistake]:
    if len(spec.aliases) > MAX_ALIASES:
        yield Mistake(f"{len(spec.aliases)} aliases are declared", ("spec", "aliases"), f"at most {MAX_ALIASES} fit")
    own: set[str] = set()
    for index, alias in enumerate(spec.aliases):
        path = ("spec", "aliases", index)
        if alias.startswith("alias/"):
            bare = alias.removeprefix("alias/")
            yield Mistake(f"`{alias}` has the prefix that every alias gets", path, f"write `{bare}`")
        elif alias.startswith("aws/"):
            hint = "aliases that begin with `aws/` belong to AWS services: choose another name"
            yield Mistake(f"`{alias}` is reserved", path, hint)
        holder = aliases.setdefault((spec.region, alias), each)
        if holder is not each:
            hint = f"an alias names one key in a Region; the first one is in {_place(holder.source)}"
            yield Mistake(f"the alias `{alias}` belongs to Key `{holder.document.name}` already", path, hint)
        elif alias in own:
            yield Mistake(f"the alias `{alias}` stands twice", path, "keep one of them")
        own.add(alias)


def _principal_rules(principal: DesiredPrincipal, *, resolved: bool) -> Iterator[Mistake]:
    yield from _tag_rules(principal.tags)
    if principal.type is PrincipalType.ROLE:
        if principal.trust_policy is not None:
            yield from _policy_rules(principal.trust_policy, ("spec", "trustPolicy"), resolved=resolved)
        return
    for name, value in (("trustPolicy", principal.trust_policy), ("maxSessionSeconds", principal.max_session_seconds)):
        if value is not None:
            yield Mistake("only a role is assumed", ("spec", name), "declare `type: role`, or leave this out")


def _tag_rules(tags: Mapping[str, str]) -> Iterator[Mistake]:
    if len(tags) > MAX_TAGS:
        yield Mistake(f"{len(tags)} tags are declared", ("spec", "tags"), f"at most {MAX_TAGS} fit")
    for tag in tags:
        if tag.lower().startswith("aws:"):
            hint = "tag keys that begin with `aws:` belong to AWS services: choose another name"
            yield Mistake("this tag key is reserved", ("spec", "tags", tag), hint)


def _external_key_rules(each: Located, spec: DesiredKey, external: dict[tuple[str, str], Located]) -> Iterator[Mistake]:
    if spec.xks_key_id is None:
        return
    holder = external.setdefault((spec.key_store, spec.xks_key_id), each)
    if holder is not each:
        hint = f"one external key is for one key; the first one is in {_place(holder.source)}"
        message = f"`{spec.xks_key_id}` stands for Key `{holder.document.name}` already"
        yield Mistake(message, ("spec", "xksKeyId"), hint)


def _policy_rules(policy: PolicySource, path: Path, *, resolved: bool) -> Iterator[Mistake]:
    if policy.document is not None and policy.from_file is not None:
        yield Mistake("both `document` and `fromFile` are given", path, "keep one of them")
    elif policy.document is not None:
        if wrong := policy_mistake(policy.document):
            line = f" in line {wrong.line} of the policy" if wrong.line and wrong.line > 1 else ""
            yield Mistake(f"{wrong.message}{line}", (*path, "document"), wrong.hint)
    elif policy.from_file is None:
        hint = "give one of them; without a policy leave the field out"
        yield Mistake("neither `document` nor `fromFile` is given", path, hint)
    elif resolved:
        hint = "the command line reads the file and sends its text as `document`"
        yield Mistake("the server does not read files", (*path, "fromFile"), hint)


def _key_store_rules(name: str, spec: DesiredKeyStore) -> Iterator[Mistake]:
    hint = "every server has the key store `standard`; it is not declared"
    if name == STANDARD:
        yield Mistake("this name is taken", ("metadata", "name"), hint)
    elif spec.type == STANDARD:
        yield Mistake("a key store of this type cannot be added", ("spec", "type"), hint)
    own = spec.type if spec.type in OPTION_FIELDS else "options"
    for field in (*OPTION_FIELDS, "options"):
        if field != own and getattr(spec, field) is not None:
            message = f"these are not the options of a key store of type `{spec.type}`"
            yield Mistake(message, ("spec", field), f"its options stand under `{own}`")
    endpoint = (spec.xks or {}).get("uriEndpoint")
    if isinstance(endpoint, str) and is_numbered(endpoint.removeprefix("https://")):
        hint = "name the domain that the proxy's certificate is for; the address goes into `address`"
        yield Mistake("this is an IP address", ("spec", "xks", "uriEndpoint"), hint)


def _xks_proxy_rules(
    each: Located, spec: DesiredXksProxy, paths: dict[tuple[str, int, str], Located]
) -> Iterator[Mistake]:
    if not spec.credentials:
        hint = "add one with an `accessKeyId` and a `secret`; a second one lets you rotate without interruption"
        yield Mistake("it has no credential, so nobody could use it", ("spec", "credentials"), hint)
    for field, names in (
        ("credentials", [credential.access_key_id for credential in spec.credentials]),
        ("rules", [rule.name for rule in spec.rules]),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Mistake(f"`{name}` stands twice", ("spec", field, index), "each name stands for one of them")
    for index, credential in enumerate(spec.credentials):
        secret = credential.secret
        if (secret.from_file is None) == (secret.from_env is None):
            path = ("spec", "credentials", index, "secret")
            yield Mistake("this names no secret, or two", path, "give exactly one of `fromFile` and `fromEnv`")
    if spec.listen.port:
        place = (spec.listen.host, spec.listen.port, spec.path_prefix)
        holder = paths.setdefault(place, each)
        if holder is not each:
            hint = f"give one of them another `pathPrefix`; the first one is in {_place(holder.source)}"
            message = f"XksProxy `{holder.document.name}` has the same address and path"
            yield Mistake(message, ("spec", "pathPrefix"), hint)
