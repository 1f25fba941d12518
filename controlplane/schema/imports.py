"""Importing material over the reconciliation API: parameters, uploads, and the steps of an import as one can see them.

Blobs are base64 in JSON. Nothing here ever holds material in clear: what is uploaded was wrapped on the importer's
machine.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from controlplane.schema.base import Frozen
from controlplane.schema.keys import KeySpec, KeyState, MaterialStatus
from plugins.sdk.vocabulary import WrappingAlgorithm, WrappingSpec

__all__ = [
    "Import",
    "ImportParameters",
    "ImportReport",
    "ImportType",
    "ImportedNow",
    "ParametersRequest",
    "PastImport",
    "Step",
    "StepName",
    "StepState",
    "WrappingAlgorithm",
    "WrappingSpec",
]

MAX_BLOB = 6144
"""Of an import token and of wrapped material (API reference)."""


class ImportType(StrEnum):
    """API reference: ``ImportType``."""

    NEW_KEY_MATERIAL = "NEW_KEY_MATERIAL"
    EXISTING_KEY_MATERIAL = "EXISTING_KEY_MATERIAL"


class ParametersRequest(Frozen):
    """Body of ``POST /v1/keys/{name}/import/parameters``."""

    wrapping_key_spec: WrappingSpec = WrappingSpec.RSA_4096
    wrapping_algorithm: WrappingAlgorithm = WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256


class ImportParameters(Frozen, omit_defaults=False):
    """What somebody needs to wrap material for one key. ``public_key`` is SubjectPublicKeyInfo in DER."""

    key_name: str
    key_id: str
    arn: str
    key_spec: KeySpec
    wrapping_key_spec: WrappingSpec
    wrapping_algorithm: WrappingAlgorithm
    public_key: bytes
    import_token: bytes
    valid_to: datetime


class Import(Frozen):
    """Body of ``POST /v1/keys/{name}/import``. Without ``validTo`` the expiry that the key declares holds, or none."""

    import_token: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_BLOB)]
    encrypted_key_material: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_BLOB)]
    valid_to: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    import_type: ImportType | None = None
    key_material_id: Annotated[str, msgspec.Meta(pattern="^[a-f0-9]{64}$")] | None = None
    description: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    wrapped_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    """When the importer wrapped it, as its own clock says."""


class ImportedNow(Frozen, omit_defaults=False):
    """Answer to an import."""

    key_material_id: str
    valid_to: datetime | None
    key_state: KeyState


class StepName(StrEnum):
    """The steps of an import, in their order."""

    PARAMETERS_ISSUED = "parametersIssued"
    WRAPPED = "wrapped"
    UPLOADED = "uploaded"
    IMPORTED = "imported"
    EXPIRING = "expiring"
    EXPIRED = "expired"


class StepState(StrEnum):
    DONE = "done"
    WAITING = "waiting"
    """It is the next thing to happen."""
    AHEAD = "ahead"
    LAPSED = "lapsed"
    """It can no longer happen: the parameters have expired."""


class Step(Frozen):
    """One step. ``at`` is when it was done, or when it falls due."""

    step: StepName
    state: StepState
    at: datetime | None = None


class PastImport(Frozen):
    """One set of parameters and what became of it; ``refusal`` is why its last upload was refused."""

    issued_by: str
    issued_at: datetime
    valid_to: datetime
    wrapping_key_spec: WrappingSpec
    wrapping_algorithm: WrappingAlgorithm
    uploaded_at: datetime | None = None
    imported_at: datetime | None = None
    material_id: str | None = None
    refusal: str | None = None


class ImportReport(Frozen, omit_defaults=False):
    """Answer of ``GET /v1/keys/{name}/import``: the steps of the newest import, all materials, imports before."""

    key_name: str
    key_state: KeyState
    steps: tuple[Step, ...]
    materials: tuple[MaterialStatus, ...]
    past: tuple[PastImport, ...]
