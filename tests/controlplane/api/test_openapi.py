"""The OpenAPI document says what the API does: routes, bodies, schemas, refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.controlplane.api.asking import PROBLEM
from tests.harness import Server

# ---- OpenAPI ---------------------------------------------------------------------------------------------------------


def test_the_openapi_document_names_every_route_once(shared_server: Server) -> None:
    answer = shared_server.http("GET", "/schema/openapi.json")
    assert answer.status == 200
    api = answer.json()
    assert re.fullmatch(r"3\.1\.\d+", api["openapi"])
    assert api["info"]["title"]
    assert api["info"]["version"]
    routes: dict[str, str] = {}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"] not in routes, "operation ids are unique"
            routes[operation["operationId"]] = f"{method.upper()} {path}"
            declared = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path)), path
            assert operation["responses"]
    assert routes == {
        "MakePlan": "POST /v1/plans",
        "GetPlan": "GET /v1/plans/{plan_id}",
        "ApplyPlan": "POST /v1/plans/{plan_id}/apply",
        "GetProgress": "GET /v1/spec-sets/{spec_set}/progress",
        "ListAudit": "GET /v1/audit",
        "GetDrift": "GET /v1/drift",
        "VerifyAudit": "GET /v1/audit/verification",
        "ListAuditCheckpoints": "GET /v1/audit/checkpoints",
        "ExportDocuments": "GET /v1/documents",
        "ListSpecSets": "GET /v1/spec-sets",
        "GetXksConfiguration": "GET /v1/{plural}/{name}/configuration",
        "Manage": "POST /v1/{plural}/{name}/manage/{verb}",
        "AdoptMaterial": "POST /v1/{plural}/{name}/material",
        "ProbeKeyStore": "POST /v1/{plural}/{name}/probe",
        "GetServer": "GET /v1/server",
        "ListEvents": "GET /v1/events",
        "IssueImportParameters": "POST /v1/{plural}/{name}/import/parameters",
        "VerifyCopies": "POST /v1/copies/verify",
        "RepairCopies": "POST /v1/copies/repair",
        "MakeBackup": "GET /v1/backup",
        "ImportMaterial": "POST /v1/{plural}/{name}/import",
        "GetImport": "GET /v1/{plural}/{name}/import",
        "DeleteImportedMaterial": "DELETE /v1/{plural}/{name}/import",
        "StreamChanges": "GET /v1/changes",
        "ActOnKey": "POST /v1/{plural}/{name}/actions/{action}",
        "ListObjects": "GET /v1/{plural}",
        "GetObject": "GET /v1/{plural}/{name}",
        "PutObject": "PUT /v1/{plural}/{name}",
        "DeleteObject": "DELETE /v1/{plural}/{name}",
        "ListRefusedUses": "GET /v1/{plural}/{name}/refused-uses",
        "ListActions": "GET /v1/{plural}/{name}/actions",
        "GetKeyAbout": "GET /v1/{plural}/{name}/about",
        "SearchKeys": "GET /v1/search/keys",
        "SearchObjects": "GET /v1/search/{plural}",
        "GetSummary": "GET /v1/summary",
        "GetAccess": "GET /v1/access",
        "CreateAccessKey": "POST /v1/{plural}/{name}/access-keys",
        "ListAccessKeys": "GET /v1/{plural}/{name}/access-keys",
        "UpdateAccessKey": "PUT /v1/{plural}/{name}/access-keys/{access_key_id}",
        "DeleteAccessKey": "DELETE /v1/{plural}/{name}/access-keys/{access_key_id}",
        "CreateToken": "POST /v1/{plural}/{name}/tokens",
        "ListTokens": "GET /v1/{plural}/{name}/tokens",
        "RevokeToken": "DELETE /v1/{plural}/{name}/tokens/{token_id}",
    }


def test_every_reference_in_the_openapi_document_leads_somewhere(shared_server: Server) -> None:
    api = shared_server.http("GET", "/schema/openapi.json").json()

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    for reference in references(api):
        assert reference.startswith("#/"), reference
        target = api
        for part in reference[2:].split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]


def test_every_schema_in_the_openapi_document_is_a_json_schema(shared_server: Server) -> None:
    import jsonschema

    api = shared_server.http("GET", "/schema/openapi.json").json()
    for schema in api["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_openapi_document_says_which_bodies_are_taken(shared_server: Server) -> None:
    api = shared_server.http("GET", "/schema/openapi.json").json()
    bodies = {
        operation["operationId"]: operation["requestBody"]["content"]["application/json"]["schema"]
        for operations in api["paths"].values()
        for operation in operations.values()
        if "requestBody" in operation
    }
    assert bodies.keys() == {
        "MakePlan",
        "PutObject",
        "ActOnKey",
        "UpdateAccessKey",
        "CreateToken",
        "IssueImportParameters",
        "ImportMaterial",
        "Manage",
        "AdoptMaterial",
        "ProbeKeyStore",
    }
    assert bodies["MakePlan"]["required"] == ["specSet", "documents"]
    assert bodies["PutObject"]["required"] == ["apiVersion", "kind", "metadata", "spec"]
    assert bodies["ActOnKey"]["properties"]["windowDays"]["minimum"] == 7


def test_the_openapi_document_says_how_to_authenticate(shared_server: Server) -> None:
    api = shared_server.http("GET", "/schema/openapi.json").json()
    (scheme,) = api["components"]["securitySchemes"]
    assert api["components"]["securitySchemes"][scheme]["scheme"] == "bearer"
    assert api["security"] == [{scheme: []}]


def test_the_openapi_document_describes_every_refusal_as_a_problem(shared_server: Server) -> None:
    api = shared_server.http("GET", "/schema/openapi.json").json()
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            refusals = {status: each for status, each in operation["responses"].items() if status >= "400"}
            assert refusals.keys() >= {"400", "401", "403", "404", "409", "412", "422", "500", "503"}, (method, path)
            for refused in refusals.values():
                assert refused["content"] == {PROBLEM: {"schema": schema}}, (method, path)
    problem_schema = api["components"]["schemas"]["ProblemDetails"]
    assert set(problem_schema["required"]) == {"title", "status", "detail", "code", "requestId"}
