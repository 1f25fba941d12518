"""Orders: what a person has decided, as data, and how each is carried out. Each has its twin in the command line."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane import importfiles
from controlplane.client import Client
from controlplane.errors import InvalidInput, InvalidSpec
from controlplane.schema.conditions import Reason
from controlplane.schema.imports import (
    Import,
    ImportedNow,
    ImportParameters,
    ImportType,
    WrappingAlgorithm,
    WrappingSpec,
)
from controlplane.schema.meta import AnyObject, Kind
from controlplane.schema.plans import Applied, Plan, Progress
from controlplane.specfiles import LoadedSet, default_spec_set, load_or_raise, placed
from controlplane.values import read as read_values
from tui.planline import PlanLine

APPLY_SECONDS: Final = 300.0
FIRST_POLL_SECONDS: Final = 0.25
LAST_POLL_SECONDS: Final = 2.0


class _Order(msgspec.Struct, frozen=True):
    pass


class Act(_Order, frozen=True):
    """``action`` as the reconciliation API names it, on an object. ``window_days`` is for schedule-deletion."""

    action: str
    name: str
    window_days: int | None = None
    kind: Kind = Kind.KEY


class Edit(_Order, frozen=True):
    """Change fields of an object's spec: description, tags, connected."""

    kind: Kind
    name: str
    changes: dict[str, Any]
    says: str
    """What was done, for the person who did it: ``has new tags``."""


class MakePlan(_Order, frozen=True):
    """What an apply of the spec files of a line would do. Comes to a :class:`~controlplane.schema.plans.Plan`."""

    line: PlanLine
    take_ownership: bool = False
    """Take fields that others state, and objects that no set owns."""


class ApplyPlan(_Order, frozen=True):
    """Write exactly this plan, then tell how far the server is until everything is as declared."""

    plan_id: str
    spec_set: str


class FindImport(_Order, frozen=True):
    """What is in the folder of an import: parameters, wrapped material. Comes to :class:`ImportFiles`."""

    name: str
    directory: str
    wrapped: str = ""


class GetParameters(_Order, frozen=True):
    """Ask for import parameters and keep them in a new folder. Comes to :class:`ImportFiles`."""

    name: str
    spec: WrappingSpec
    algorithm: WrappingAlgorithm
    directory: str


class Upload(_Order, frozen=True):
    """Upload wrapped material. ``valid_days`` None: the expiry that the key declares holds, or none."""

    name: str
    directory: str
    wrapped: str
    valid_days: int | None = None
    new: bool = False
    """Material that the next rotation makes current, beside what the key has."""
    description: str = ""


class ProbeStore(_Order, frozen=True):
    """Try a key store. Comes to a :class:`~controlplane.schema.probes.ProbeReport`."""

    name: str
    external_key: str | None = None


class VerifyAudit(_Order, frozen=True):
    """Have the server check its audit journal. Comes to a :class:`~controlplane.audit.records.VerifyResult`."""


Order = Act | Edit | MakePlan | ApplyPlan | FindImport | GetParameters | Upload | ProbeStore | VerifyAudit


class ImportFiles(msgspec.Struct, frozen=True):
    """What is on this machine of an import. ``wrong`` says why the parameters cannot be used."""

    directory: str
    parameters: ImportParameters | None = None
    fingerprint: str = ""
    """SHA-256 of the wrapping key in DER, in pairs of hex digits."""
    wrapped: str = ""
    wrapped_octets: int | None = None
    wrong: str = ""


async def carry_out(client: Client, order: Order) -> AsyncIterator[tuple[Any, bool]]:
    """Values on the way with False, what came of it with True. Raises :class:`KeysteadError`."""
    match order:
        case Act():
            yield await _act(client, order), True
        case Edit():
            yield await client.edit(order.kind, order.name, order.changes), True
        case MakePlan():
            yield await _plan(client, order), True
        case ApplyPlan():
            async for step in _apply(client, order):
                yield step
        case FindImport():
            yield await asyncio.to_thread(_find_import, order.directory, order.wrapped), True
        case GetParameters():
            yield await _parameters(client, order), True
        case Upload():
            yield await _upload(client, order), True
        case ProbeStore():
            yield await client.probe(order.name, order.external_key), True
        case VerifyAudit():
            yield await client.verify_audit(), True


async def _act(client: Client, order: Act) -> AnyObject:
    match order.action:
        case "enable":
            return await client.enable(order.name)
        case "disable":
            return await client.disable(order.name)
        case "schedule-deletion":
            return await client.schedule_deletion(order.name, order.window_days)
        case "cancel-deletion":
            return await client.cancel_deletion(order.name)
        case "rotate":
            return await client.rotate(order.name)
        case "reconcile":
            return await client.reconcile(order.name, order.kind)
        case "delete-material":
            return await client.delete_material(order.name)
        case "pause":
            return await client.pause(order.kind, order.name)
        case "resume":
            return await client.resume(order.kind, order.name)
    raise InvalidInput(f"there is no action {order.action}")


# ---- plans -----------------------------------------------------------------------------------------------------------


async def _plan(client: Client, order: MakePlan) -> Plan:
    line = order.line
    paths, values = [_path(each) for each in line.paths], tuple(_path(each) for each in line.values)
    loaded = await asyncio.to_thread(_load, paths, values)
    try:
        return await client.plan(
            line.spec_set or default_spec_set(paths),
            loaded.declared,
            take_ownership=order.take_ownership,
            targets=line.targets,
        )
    except InvalidSpec as error:
        raise InvalidSpec([placed(problem, loaded) for problem in error.problems]) from None


def _load(paths: list[Path], values: tuple[Path, ...]) -> LoadedSet:
    for each in values:
        if not each.is_file():
            raise InvalidInput(f"--values {each}: there is no such file")
    return load_or_raise(paths, stdin=io.BytesIO(), look=read_values(values, os.environ))


async def _apply(client: Client, order: ApplyPlan) -> AsyncIterator[tuple[Applied | Progress, bool]]:
    yield await client.apply(order.plan_id), False
    pause, waited = FIRST_POLL_SECONDS, 0.0
    while True:
        progress = await client.progress(order.spec_set)
        paused = sum(problem.reason == Reason.PAUSED for problem in progress.problems)
        if progress.pending <= paused or waited > APPLY_SECONDS:
            yield progress, True
            return
        yield progress, False
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 1.3, LAST_POLL_SECONDS)


# ---- imports ---------------------------------------------------------------------------------------------------------


def _find_import(directory: str, wrapped: str) -> ImportFiles:
    folder = _path(directory)
    file = _path(wrapped) if wrapped else folder / importfiles.WRAPPED_FILE
    found = ImportFiles(directory, wrapped=str(file))
    with contextlib.suppress(OSError):
        found = msgspec.structs.replace(found, wrapped_octets=file.stat().st_size)
    if not (folder / importfiles.PARAMETERS_FILE).exists():
        return found
    try:
        parameters = importfiles.read_parameters(folder)
    except InvalidInput as error:
        return msgspec.structs.replace(found, wrong=error.message)
    return msgspec.structs.replace(found, parameters=parameters, fingerprint=_fingerprint(parameters))


async def _parameters(client: Client, order: GetParameters) -> ImportFiles:
    folder = _path(order.directory)
    await asyncio.to_thread(importfiles.new_directory, folder)
    made = await client.import_parameters(order.name, order.spec, order.algorithm)
    await asyncio.to_thread(importfiles.save_parameters, folder, made)
    return await asyncio.to_thread(_find_import, order.directory, "")


async def _upload(client: Client, order: Upload) -> ImportedNow:
    folder = _path(order.directory)
    given = await asyncio.to_thread(importfiles.read_parameters, folder)
    if given.key_name != order.name:
        raise InvalidInput(f"the parameters in {folder} are for key {given.key_name}, not for {order.name}")
    wrapped = await asyncio.to_thread(importfiles.read, _path(order.wrapped), importfiles.MAX_WRAPPED)
    valid_to = None
    if order.valid_days is not None:
        now = (await client.server()).time  # the server's clock decides about expiry
        valid_to = now.replace(microsecond=0) + timedelta(days=order.valid_days)
    body = Import(
        import_token=given.import_token,
        encrypted_key_material=wrapped,
        valid_to=valid_to,
        import_type=ImportType.NEW_KEY_MATERIAL if order.new else None,
        description=order.description or None,
        wrapped_at=await asyncio.to_thread(importfiles.wrapped_at, folder, wrapped),
    )
    return await client.import_material(order.name, body)


def _fingerprint(parameters: ImportParameters) -> str:
    digest = hashlib.sha256(parameters.public_key).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _path(text: str) -> Path:
    """What a person typed, ``~`` included."""
    return Path(os.path.expanduser(text.strip()))  # noqa: PTH111 - no I/O but the home directory's name
