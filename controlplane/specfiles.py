"""Spec files on disk: the only place that reads them, and the policy files that they name.

Called by the commands that take spec files (validate, plan, apply, drift) and by the terminal UI. ``load`` turns paths
into documents and problems; what is in the text is ``schema.documents``' matter.

Guarantees: the order of the documents depends on names only, not on the file system. No file is read outside of the
directory (or beside the file) that the user named: neither through a symbolic link nor through ``fromFile``, because
spec files are often other people's. A policy's text is the file's bytes as UTF-8, unchanged. Bad input gives
problems, never an exception. A directory without a spec file is a problem too: applying nothing deletes everything.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import msgspec

from controlplane.domain.ownership import as_written
from controlplane.errors import InvalidSpec, Problem
from controlplane.schema.documents import (
    Document,
    Format,
    KeyDocument,
    Located,
    PrincipalDocument,
    Source,
    check,
    parse,
    policy_mistake,
)
from controlplane.schema.keys import PolicySource
from controlplane.schema.mistakes import path_text
from controlplane.schema.references import Look

FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
STDIN = Path("-")
STDIN_NAME = "<stdin>"
DEFAULT_SPEC_SET = "default"

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_POLICY_CHARACTERS = 131_072
"""As in ``schema.keys.PolicySource``."""


class LoadedSet(msgspec.Struct, frozen=True):
    """What the paths hold: documents with their places, and everything that is wrong. ``files`` are those read."""

    located: tuple[Located, ...]
    problems: tuple[Problem, ...]
    files: tuple[str, ...]

    @property
    def documents(self) -> list[Document]:
        return [each.document for each in self.located]

    @property
    def declared(self) -> list[dict[str, Any]]:
        """The documents as a plan is asked for with them: with the defaults that are spelled out."""
        return [as_written(each) for each in self.located]

    @property
    def sources(self) -> list[Source]:
        """Where each of ``documents`` stands."""
        return [each.source for each in self.located]


def load(paths: Sequence[Path], *, stdin: BinaryIO, look: Look | None = None) -> LoadedSet:
    """The documents of files, of directories (recursively) and, for ``-``, of standard input, in this order.

    ``look`` says what references in them stand for.
    """
    if not paths:
        hint = "name a file, a directory, or `-` for standard input"
        return LoadedSet((), (Problem("no spec file is given", hint=hint),), ())
    reader = _Reader(stdin, look)
    for path in paths:
        reader.add(path)
    return reader.finish()


def load_or_raise(paths: Sequence[Path], *, stdin: BinaryIO, look: Look | None = None) -> LoadedSet:
    """The same for callers that go on only with a set without problems. Raises :class:`InvalidSpec`."""
    loaded = load(paths, stdin=stdin, look=look)
    if loaded.problems:
        raise InvalidSpec(loaded.problems)
    return loaded


def default_spec_set(paths: Sequence[Path]) -> str:
    """The name of the spec set if none is given: that of the first directory, or of the first file without its ending.

    Made to fit the pattern of names; ``default`` for standard input and where nothing is left.
    """
    if not paths or paths[0] == STDIN:
        return DEFAULT_SPEC_SET
    first = Path(os.path.abspath(paths[0]))  # noqa: PTH100 - not resolved: a link's own name is the user's choice
    name = first.stem if _format(first) and not first.is_dir() else first.name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    fitting = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:127].rstrip("._-")
    return fitting or DEFAULT_SPEC_SET


def placed(problem: Problem, loaded: LoadedSet) -> Problem:
    """A problem that the server found in the documents it was sent, with the file and line that only we know."""
    if problem.document is None or not 0 < problem.document <= len(loaded.located):
        return problem
    each = loaded.located[problem.document - 1]
    lines = {path_text(path): line for path, line in each.passage.lines().items()} if each.passage else {}
    line, path = each.source.line, problem.path
    while path:
        if path in lines:
            line = lines[path]
            break
        path = re.sub(r"[.\[]?[^.\[]*$", "", path)  # a field that is missing has no line: that of the one around it
    return msgspec.structs.replace(problem, file=each.source.file, document=each.source.document, line=line)


class _Unreadable(Exception):
    """Says why, and what would be right."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class _File(msgspec.Struct):
    """What one file gave. ``directory`` is the argument under which it was found, None if the user named it."""

    real: Path | None = None
    name: str | None = None
    directory: Path | None = None
    located: list[Located] = []
    problems: list[Problem] = []
    policy: bool | None = False  # True if it looks like one, None if it is one where a document names it


class _Reader:
    def __init__(self, stdin: BinaryIO, look: Look | None = None) -> None:
        self.stdin = stdin
        self.look = look
        self.files: list[_File] = []
        self.seen: set[Path] = set()  # real paths: a file that is named twice is read once
        self.directories: dict[Path, int] = {}  # how many files each one seems to hold
        self.policies: dict[tuple[str, Path, Path], str | Problem] = {}
        self.named: set[Path] = set()  # real paths of policy files

    def finish(self) -> LoadedSet:
        """A spec directory may hold its policies: JSON files as well, but not documents."""
        kept: list[_File] = []
        for file in self.files:
            if file.policy or (file.policy is None and file.real in self.named):
                if file.directory is not None:
                    self.directories[file.directory] -= 1
            else:
                kept.append(file)
        problems = list(dict.fromkeys(problem for file in kept for problem in file.problems))
        for directory, count in self.directories.items():
            if count == 0:
                hint = f"spec files end in {', '.join(FORMATS)}; hidden ones are not read"
                problems.append(Problem("this directory holds no spec file", file=_shown(directory), hint=hint))
        located = [each for file in kept for each in file.located]
        names = [file.name for file in kept if file.name is not None]
        return LoadedSet(tuple(located), (*problems, *check(located)), tuple(names))

    def refuse(self, error: Exception | str, path: Path, hint: str | None = None) -> None:
        problem = Problem(error, file=_shown(path), hint=hint) if isinstance(error, str) else _why(error, path)
        self.files.append(_File(problems=[problem]))

    def add(self, path: Path) -> None:
        try:
            if path == STDIN:
                self.files.append(self._text(_read(self.stdin, MAX_FILE_BYTES), STDIN_NAME, "yaml", Path(), Path()))
            elif path.is_dir():
                self._directory(path)
            elif _format(path):
                self._file(path, path.parent, None)
            elif not path.exists():
                raise _Unreadable("this file or directory does not exist")
            else:
                raise _Unreadable("the format of this file is not known", f"let its name end in {', '.join(FORMATS)}")
        except (_Unreadable, OSError, ValueError) as error:  # ValueError: a NUL in a path
            self.refuse(error, path)

    def _directory(self, directory: Path) -> None:
        self.directories.setdefault(directory, 0)
        for path in self._walk(directory, _real(directory), set()):
            self.directories[directory] += 1
            try:
                self._file(path, directory, directory)
            except (_Unreadable, OSError) as error:
                self.refuse(error, path)

    def _walk(self, directory: Path, root: Path, visited: set[Path]) -> Iterator[Path]:
        """Spec files by name. ``visited`` ends the walk where a link leads back."""
        real = _real(directory)
        if real in visited:
            return
        visited.add(real)
        try:
            entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
        except OSError as error:
            self.refuse(error, directory)
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            folder = entry.is_dir()
            if not folder and not _format(entry):
                continue
            if entry.is_symlink() and not _real(entry).is_relative_to(root):
                hint = "copy what it points to, or name that path on the command line"
                self.refuse("this symbolic link leaves the directory of the spec files", entry, hint)
            elif folder:
                yield from self._walk(entry, root, visited)
            else:
                yield entry

    def _file(self, path: Path, root: Path, directory: Path | None) -> None:
        real = _real(path)
        if real in self.seen:
            return
        self.seen.add(real)
        content = _read_file(path, MAX_FILE_BYTES)
        file = self._text(content, _shown(path), _format(path) or "yaml", path.parent, root)
        file.real = real
        file.directory = directory
        if directory is not None and path.suffix.lower() == ".json" and not file.located:
            file.policy = _is_policy(content)
        self.files.append(file)

    def _text(self, content: bytes, name: str, format: Format, beside: Path, root: Path) -> _File:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            message = f"this is not UTF-8: byte 0x{content[error.start]:02X} stands at offset {error.start:,}"
            return _File(name=name, problems=[Problem(message, file=name, line=line, hint="save the file as UTF-8")])
        located, problems = parse(text, file=name, format=format, look=self.look)
        file = _File(name=name, problems=problems)
        file.located = [self._resolved(each, file, beside, root) for each in located]
        return file

    def _resolved(self, each: Located, file: _File, beside: Path, root: Path) -> Located:
        """With the text of the policies that it names by file. One that cannot be read stays as it is."""

        def resolve(policy: PolicySource, *path: str) -> PolicySource:
            if policy.from_file is None or policy.document is not None:
                return policy
            try:
                text = self._policy_text(policy.from_file, beside, root)
            except (_Unreadable, OSError, ValueError) as error:
                why = _why(error, beside)
                named = policy.from_file if policy.from_file.isprintable() else repr(policy.from_file)
                file.problems.append(each.problem(f"`{named}`: {why.message}", *path, "fromFile", hint=why.hint))
                return policy
            if isinstance(text, Problem):
                file.problems.append(text)
                return policy
            return PolicySource(document=text)

        document = each.document
        match document:
            case KeyDocument(spec=key) if key.policy is not None:
                spec = msgspec.structs.replace(key, policy=resolve(key.policy, "spec", "policy"))
                return msgspec.structs.replace(each, document=msgspec.structs.replace(document, spec=spec))
            case PrincipalDocument(spec=principal):
                policies = {
                    name: resolve(policy, "spec", "policies", name) for name, policy in principal.policies.items()
                }
                trust = principal.trust_policy and resolve(principal.trust_policy, "spec", "trustPolicy")
                changed = msgspec.structs.replace(principal, policies=policies, trust_policy=trust)
                return msgspec.structs.replace(each, document=msgspec.structs.replace(document, spec=changed))
            case _:
                return each

    def _policy_text(self, named: str, beside: Path, root: Path) -> str | Problem:
        """The text, or what is wrong in it with its place in the policy file."""
        known = self.policies.get((named, beside, root))
        if known is not None:
            return known
        path = _inside(named, beside, root)
        self.named.add(_real(path))
        content = _read_file(path, 4 * MAX_POLICY_CHARACTERS)
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise _Unreadable(f"this is not UTF-8 at offset {error.start:,}", "save the file as UTF-8") from None
        if len(text) > MAX_POLICY_CHARACTERS:
            raise _Unreadable(f"this has {len(text):,} characters", f"at most {MAX_POLICY_CHARACTERS:,} are allowed")
        result: str | Problem = text
        if not text.strip():
            raise _Unreadable("this file is empty", "a policy is a JSON object with `Version` and `Statement`")
        if text.startswith("\ufeff"):
            raise _Unreadable("this file begins with a byte-order mark", "save the file as UTF-8 without it")
        if wrong := policy_mistake(text):
            result = Problem(wrong.message, file=_shown(path), line=wrong.line, hint=wrong.hint)
        self.policies[named, beside, root] = result
        return result


def _inside(named: str, beside: Path, root: Path) -> Path:
    """The path of a policy file, which must not leave the spec set's directory. Checked on the real path."""
    if PurePosixPath(named).is_absolute() or Path(named).is_absolute():
        raise _Unreadable("an absolute path is not allowed here", "write it relative to the spec file")
    if not named:
        raise _Unreadable("no file is named", "write a path relative to the spec file")
    path = beside / named
    if not _real(path).is_relative_to(_real(root)):
        where = "the current directory" if root == Path() else f"`{_shown(root)}`"
        raise _Unreadable(f"this file is outside of {where}", "keep policies in the directory of the spec files")
    return path


def _format(path: Path) -> Format | None:
    return FORMATS.get(path.suffix.lower())


def _real(path: Path) -> Path:
    """Without links. Unlike ``Path.resolve`` it does not raise where links form a circle."""
    return Path(os.path.realpath(path))


def _shown(path: Path) -> str:
    """A file name may hold any byte; a problem goes to terminals and into JSON."""
    name = os.fsencode(path).decode(errors="backslashreplace")
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def _read_file(path: Path, limit: int) -> bytes:
    if not path.exists():
        raise _Unreadable("this file does not exist")
    if not path.is_file():  # a pipe would be waited for, a device never ends
        raise _Unreadable("this is not a regular file", "use `-` to read from a pipe")
    with path.open("rb") as file:
        return _read(file, limit)


def _read(file: BinaryIO, limit: int) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        size = f"{limit // 1024 // 1024} MiB" if limit >= 1024 * 1024 else f"{limit:,} bytes"
        raise _Unreadable(f"this is larger than {size}", "split it")
    return content


def _is_policy(content: bytes) -> bool | None:
    """Of a JSON file without documents: True for a policy, None if it may be one, False if it wants to be a document.

    The line is narrow on purpose: a document that is taken for something else is missing from its set, and what is
    missing is deleted.
    """
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict) or value.keys() & {"apiVersion", "kind", "metadata", "spec", "documents"}:
        return False
    return True if "Statement" in value else None


def _why(error: Exception, path: Path) -> Problem:
    if isinstance(error, _Unreadable):
        return Problem(str(error), file=_shown(path), hint=error.hint)
    why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(f"this cannot be read: {why}", file=_shown(path))
