"""``keystead export``: live state as spec files, one directory for each spec set.

Called by ``main`` with parsed arguments. Guarantees: a plan of what was written, in its set, is empty while nothing
changes; the files were read again and say what the server said before they got their names; a directory that holds
something already is not touched; policies are files of their own, byte for byte.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from controlplane.cli.output import Output
from controlplane.errors import InvalidInput
from controlplane.report import Line, Style
from controlplane.schema.meta import Kind
from controlplane.schema.references import escaped
from controlplane.specfiles import load
from controlplane.values import read as read_values

UNOWNED: Final = "unowned"
"""Directory of what no spec set owns. A set of that name cannot be exported beside it."""
_FILES: Final = {
    Kind.KEY_STORE: "keystores.yaml",
    Kind.PRINCIPAL: "principals.yaml",
    Kind.KEY: "keys.yaml",
    Kind.XKS_PROXY: "xksproxies.yaml",
}
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")

Exported = dict[str, list[dict[str, Any]]]
"""Documents by directory below the target; the target itself is the empty name."""


class Written(msgspec.Struct, frozen=True, rename="camel"):
    """What was exported."""

    directory: str
    documents: dict[str, int]


def export(target: Path, output: Output, *, url: str | None, spec_set: str | None) -> int:
    """One spec set into ``target``, or everything, each set into a directory of its name."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput(f"{target} is there already and is not written over; name a new directory")
    found = asyncio.run(_ask(url, spec_set))
    if not any(found.values()):
        what = f"spec set {spec_set} has no objects" if spec_set is not None else "there is nothing to export"
        raise InvalidInput(f"{what}; nothing was written")
    try:
        _publish(found, target)
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}; nothing is left of it") from None
    written = Written(str(target), {name: len(documents) for name, documents in found.items()})
    output.answer(written, _lines(target, found, spec_set))
    return 0


async def _ask(url: str | None, spec_set: str | None) -> Exported:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:

        async def documents(of: str | None) -> list[dict[str, Any]]:
            return [each for kind in _FILES for each in [found async for found in client.documents(kind, of)]]

        if spec_set is not None:
            return {"": await documents(spec_set)}
        names = (await client.spec_sets()).names
        if UNOWNED in names:
            raise InvalidInput(f"a spec set is named {UNOWNED}; export one set at a time with --spec-set")
        found = {name: await documents(name) for name in names}
        found[UNOWNED] = await documents(None)
        return {name: held for name, held in found.items() if held}


def _publish(found: Exported, target: Path) -> None:
    """Write beside the target, read again, and give it its name: a half-written set would delete what it lacks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, documents in found.items():
            _write(draft / name, documents)
            _check(draft / name, documents)
        draft.chmod(0o755)
        draft.rename(target)  # fails if somebody put something there meanwhile
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(directory: Path, documents: list[dict[str, Any]]) -> None:
    directory.mkdir(exist_ok=True)
    for kind, name in _FILES.items():
        of_kind = [each for each in documents if each["kind"] == kind]
        if not of_kind:
            continue
        shown = [_escaped(_with_policies_apart(directory, each)) for each in of_kind]
        text = yaml.safe_dump_all(shown, sort_keys=False, allow_unicode=True, width=120)
        _file(directory / name, text.encode())


def _with_policies_apart(directory: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The document with its policies in files."""
    spec, name = dict(document["spec"]), f"{document['kind'].lower()}-{document['metadata']['name']}"
    for field, end in (("policy", ""), ("trustPolicy", ".trust")):
        if field in spec:
            spec[field] = _apart(directory, f"{name}{end}.json", spec[field])
    if "policies" in spec:
        spec["policies"] = {
            each: _apart(directory, f"{name}.{each if _PLAIN.fullmatch(each) else number}.json", policy)
            for number, (each, policy) in enumerate(spec["policies"].items())
        }
    ordered = {"apiVersion": document["apiVersion"], "kind": document["kind"], "metadata": document["metadata"]}
    return {**ordered, "spec": spec}


def _apart(directory: Path, name: str, policy: dict[str, Any]) -> dict[str, Any]:
    if set(policy) != {"document"}:
        return policy
    place = directory / "policies"
    place.mkdir(exist_ok=True)
    _file(place / name, policy["document"].encode())
    return {"fromFile": f"policies/{name}"}


def _escaped(value: Any) -> Any:
    """The same, with texts that would be taken for references made none."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def _file(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _check(directory: Path, documents: list[dict[str, Any]]) -> None:
    """Raises :class:`InvalidInput` if the files do not say what the server did."""
    loaded = load([directory], stdin=io.BytesIO(), look=read_values((), {}))
    said = sorted((each["kind"], each["metadata"]["name"]) for each in documents)
    wanted = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in documents}
    read = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in loaded.declared}
    if loaded.problems or sorted(read) != said or any(not _says(read[each], wanted[each]) for each in wanted):
        why = str(loaded.problems[0]) if loaded.problems else "a document reads otherwise than it was written"
        raise InvalidInput(f"the live state cannot be written as spec files: {why}; nothing was written")


def _says(read: Any, wanted: Any) -> bool:
    """Whether what was read has all that was wanted; defaults may stand beside it."""
    if isinstance(wanted, dict):
        return isinstance(read, dict) and all(name in read and _says(read[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list | tuple):
        return isinstance(read, list | tuple) and sorted(map(str, read)) == sorted(map(str, wanted))
    return bool(read == wanted)


def _lines(target: Path, found: Exported, spec_set: str | None) -> Iterator[Line]:
    for name, documents in found.items():
        count = "1 document" if len(documents) == 1 else f"{len(documents):,} documents"
        place = target / name
        if name == UNOWNED:
            yield Line(f"{place}: {count} that no spec set owns; to own them: keystead plan {place} --take-ownership")
        else:
            asked = "" if spec_set in (None, place.name) else f" --spec-set {spec_set}"
            yield Line(f"{place}: {count}; no changes in: keystead plan {place}{asked}", Style.GOOD)
