"""Importing material over the reconciliation API, for the command line and the terminal UI.

``POST /v1/keys/{name}/import/parameters``, ``POST``, ``GET`` and ``DELETE /v1/keys/{name}/import``. The same
operations, gate and permissions as over the KMS API; material arrives wrapped and is never seen here.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, delete, get, post
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Schema
from litestar.params import Parameter

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.bodies import decode
from controlplane.api.reconciliation.documented import REFUSALS, Documented, body_of
from controlplane.api.reconciliation.lookup import find, record
from controlplane.api.services import Services
from controlplane.domain import imports as rules
from controlplane.domain.imports import Asked
from controlplane.errors import NotFound
from controlplane.schema.imports import (
    Import,
    ImportedNow,
    ImportParameters,
    ImportReport,
    ImportType,
    ParametersRequest,
    WrappingAlgorithm,
    WrappingSpec,
)
from controlplane.schema.meta import Key, Kind
from controlplane.store import imports
from controlplane.store.catalog import KeyRecord
from controlplane.usage import perform
from controlplane.usage.imports import import_request, parameters_request

ApiRequest = Request[Caller, Any, Any]

_BLOB = Schema(type=OpenAPIType.STRING, content_encoding="base64")
_MOMENT = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)


class ParametersOperation(Documented):
    body = body_of(
        {
            "wrappingKeySpec": Schema(type=OpenAPIType.STRING, enum=[each.value for each in WrappingSpec]),
            "wrappingAlgorithm": Schema(type=OpenAPIType.STRING, enum=[each.value for each in WrappingAlgorithm]),
        }
    )
    body_required = False


class ImportOperation(Documented):
    body = body_of(
        {
            "importToken": _BLOB,
            "encryptedKeyMaterial": _BLOB,
            "validTo": _MOMENT,
            "importType": Schema(type=OpenAPIType.STRING, enum=[each.value for each in ImportType]),
            "keyMaterialId": Schema(type=OpenAPIType.STRING, pattern="^[a-f0-9]{64}$"),
            "description": Schema(type=OpenAPIType.STRING, max_length=256),
            "wrappedAt": _MOMENT,
        },
        "importToken",
        "encryptedKeyMaterial",
    )


class ImportsController(Controller):
    """Bring material into keys of origin EXTERNAL."""

    path = "/"
    tags = ("imports",)

    @post(
        "/{plural:str}/{name:str}/import/parameters",
        operation_id="IssueImportParameters",
        operation_class=ParametersOperation,
        responses=REFUSALS,
        status_code=200,
    )
    async def issue(self, request: ApiRequest, services: Services, plural: str, name: str) -> ImportParameters:
        """A wrapping key and an import token, valid for 24 hours."""
        body = await request.body()
        asked = decode(body, ParametersRequest) if body else ParametersRequest()
        found, caller = _key(services, plural, name), request.user
        spec, algorithm = asked.wrapping_key_spec, asked.wrapping_algorithm

        async def work(at: KeyRecord) -> ImportParameters:
            issued = await services.imports.issue(at, spec, algorithm, caller.principal)
            return ImportParameters(
                key_name=at.key.metadata.name,
                key_id=at.key.status.key_id,
                arn=at.arn,
                key_spec=at.key.spec.key_spec,
                wrapping_key_spec=spec,
                wrapping_algorithm=algorithm,
                public_key=issued.public_key,
                import_token=issued.token,
                valid_to=issued.valid_to,
            )

        operation = parameters_request(caller, spec, algorithm)
        return await services.usage.on_key(operation, lambda: record(services, found), work)

    @post(
        "/{plural:str}/{name:str}/import",
        operation_id="ImportMaterial",
        operation_class=ImportOperation,
        responses=REFUSALS,
        status_code=200,
    )
    async def take(self, request: ApiRequest, services: Services, plural: str, name: str) -> ImportedNow:
        """Import wrapped material. Refused as a whole or done as a whole."""
        upload = decode(await request.body(), Import)
        found, caller = _key(services, plural, name), request.user

        async def work(at: KeyRecord) -> ImportedNow:
            accepted = await services.imports.accept(
                at,
                upload.import_token,
                upload.encrypted_key_material,
                Asked(
                    valid_to=upload.valid_to,
                    import_type=upload.import_type,
                    material_id=upload.key_material_id,
                    description=upload.description,
                ),
                caller.principal,
                upload.wrapped_at,
            )
            return ImportedNow(
                key_material_id=accepted.material_id,
                valid_to=accepted.valid_to,
                key_state=services.usage.state_of(accepted.key),
            )

        operation = import_request(caller, upload.valid_to)
        return await services.usage.on_key(operation, lambda: record(services, found), work)

    @get("/{plural:str}/{name:str}/import", operation_id="GetImport", responses=REFUSALS)
    async def show(self, request: ApiRequest, services: Services, plural: str, name: str) -> ImportReport:
        """How far the import of a key is: its steps with their times, its materials, imports before."""
        found = _key(services, plural, name)

        async def work() -> ImportReport:
            rules.check_origin(found)
            return ImportReport(
                key_name=found.metadata.name,
                key_state=services.usage.state_of(found),
                steps=rules.steps(found.status, services.clock.now()),
                materials=found.status.materials,
                past=tuple(services.database.read(lambda tx: imports.past(tx, found.metadata.uid))),
            )

        asked = perform.Request(request.user, "GetImport", action="keystead:Read")
        return await services.usage.on_account(asked, work, f"Key/{found.metadata.name}")

    @delete(
        "/{plural:str}/{name:str}/import", operation_id="DeleteImportedMaterial", status_code=200, responses=REFUSALS
    )
    async def remove(
        self,
        request: ApiRequest,
        services: Services,
        plural: str,
        name: str,
        material: Annotated[
            str | None, Parameter(description="Id of the material; absent: the one that encrypts now.")
        ] = None,
    ) -> Key:
        """Delete imported material at once, in every copy. Importing the same again makes the key whole."""
        found, caller = _key(services, plural, name), request.user

        async def work(at: KeyRecord) -> Key:
            await services.imports.delete(at, material, caller.principal)
            left = find(services, Kind.KEY, at.key.metadata.name)
            assert isinstance(left, Key)
            return left

        operation = perform.Request(caller, "DeleteImportedKeyMaterial")
        return await services.usage.on_key(operation, lambda: record(services, found), work)


def _key(services: Services, plural: str, name: str) -> Key:
    if plural != "keys":
        raise NotFound(f"nothing is imported into {plural}, only into keys")
    found = find(services, Kind.KEY, name)
    assert isinstance(found, Key)
    return found
