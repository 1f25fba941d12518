"""Reading over the reconciliation API: objects, pages, what is not there, who the server is."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.client import Client
from controlplane.schema.meta import Kind
from tests.controlplane.api.asking import name, problem, ready
from tests.harness import ACCOUNT, OTHER_REGION, REGION, TOKEN, Server, document

# ---- reading ---------------------------------------------------------------------------------------------------------


def test_the_server_says_who_it_is(shared_server: Server) -> None:
    info = shared_server.ok("GET", "/v1/server")
    assert info.keys() == {"serverId", "version", "account", "region", "regions", "keyStoreTypes", "time"}
    assert uuid.UUID(info["serverId"])
    assert (info["account"], info["region"], info["regions"]) == (ACCOUNT, REGION, [REGION, OTHER_REGION])
    assert {"standard", "memory"} <= set(info["keyStoreTypes"])
    assert abs(datetime.fromisoformat(info["time"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_health_readiness_and_metrics_need_no_token(shared_server: Server) -> None:
    assert shared_server.http("GET", "/healthz").json() == {"status": "ok"}
    assert shared_server.http("GET", "/readyz").json() == {"status": "ready"}
    metrics = shared_server.http("GET", "/metrics")
    assert (metrics.status, metrics.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert b"# TYPE " in metrics.body


def test_objects_are_listed_in_pages_by_name(shared_server: Server) -> None:
    spec_set = name()
    names = sorted(f"{spec_set}-{index}" for index in range(7))
    shared_server.apply(spec_set, [document("Principal", each) for each in names])
    listed: list[str] = []
    after = ""
    while True:
        page = shared_server.ok("GET", f"/v1/principals?limit=3&after={after}&specSet={spec_set}")
        assert page.keys() == {"items", "next"}
        assert len(page["items"]) <= 3
        listed += [item["metadata"]["name"] for item in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
        if len(listed) == 3:
            shared_server.ok("DELETE", f"/v1/principals/{after}")  # the one that the page ended with
    assert listed == names


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1"])
def test_a_page_of_an_impossible_size_is_refused(shared_server: Server, query: str) -> None:
    problem(shared_server.rest("GET", f"/v1/keys?{query}"), 400, "InvalidInput")


def test_one_key_is_found_by_name_by_id_and_by_reference(shared_server: Server) -> None:
    fresh = name()
    shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh, aliases=[fresh]))
    shown = ready(shared_server, fresh)
    assert shown.keys() == {"kind", "metadata", "spec", "status"}
    key_id, arn = shown["status"]["keyId"], shown["status"]["arn"]
    assert shared_server.ok("GET", f"/v1/keys/{key_id}") == shown
    for reference in (key_id, arn, f"alias/{fresh}", arn.split("key/")[0] + f"alias/{fresh}"):
        page = shared_server.ok("GET", f"/v1/keys?ref={reference}")
        assert page == {"items": [shown], "next": None}
    problem(shared_server.rest("GET", "/v1/keys?ref=alias/none"), 404, "NotFound")
    problem(shared_server.rest("GET", "/v1/principals?ref=a"), 400, "InvalidInput")


def test_the_client_finds_a_key_by_everything_that_names_it_in_every_region(shared_server: Server) -> None:
    for region in (REGION, OTHER_REGION):
        fresh = name()
        shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh, region=region, aliases=[fresh]))
        shown = ready(shared_server, fresh)
        key_id, arn = shown["status"]["keyId"], shown["status"]["arn"]
        assert f":{region}:" in arn
        alias_arn = f"{arn.split('key/')[0]}alias/{fresh}"

        async def found(references: tuple[str, ...]) -> list[str]:
            async with Client(shared_server.url, TOKEN) as client:
                return [(await client.get(Kind.KEY, each)).metadata.name for each in references]

        assert asyncio.run(found((fresh, key_id, arn, f"alias/{fresh}", alias_arn))) == [fresh] * 5


def test_an_alias_of_several_regions_is_the_first_regions_and_is_never_guessed(shared_server: Server) -> None:
    alias = name()
    here, there = name(), name()
    shared_server.ok("PUT", f"/v1/keys/{there}", document("Key", there, region=OTHER_REGION, aliases=[alias]))
    assert shared_server.ok("GET", f"/v1/keys?ref=alias/{alias}")["items"][0]["metadata"]["name"] == there
    shared_server.ok("PUT", f"/v1/keys/{here}", document("Key", here, aliases=[alias]))
    assert shared_server.ok("GET", f"/v1/keys?ref=alias/{alias}")["items"][0]["metadata"]["name"] == here
    elsewhere = f"arn:aws:kms:{OTHER_REGION}:999999999999:alias/{alias}"
    problem(shared_server.rest("GET", f"/v1/keys?ref={elsewhere}"), 404, "NotFound")
    problem(shared_server.rest("GET", "/v1/keys?ref=arn:aws:kms"), 400, "InvalidArn")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/keys/none"),
        ("GET", "/v1/keystores/none"),
        ("GET", "/v1/principals/none"),
        ("GET", "/v1/nothing"),
        ("GET", "/v1/nothing/none"),
        ("GET", "/v1/plans/none"),
        ("DELETE", "/v1/keys/none"),
        ("DELETE", "/v1/principals/none"),
        ("GET", "/v1/keys/none/refused-uses"),
        ("GET", "/v1/principals/admin/refused-uses"),
        ("POST", "/v1/keys/none/actions/disable"),
        ("POST", "/v1/principals/admin/actions/disable"),
        ("POST", "/v1/plans/none/apply"),
    ],
)
def test_what_is_not_there_is_not_found(shared_server: Server, method: str, path: str) -> None:
    problem(shared_server.rest(method, path, {} if method == "POST" else None), 404, "NotFound")


def test_an_action_that_does_not_exist_is_not_found(shared_server: Server, key: str) -> None:
    found = problem(shared_server.rest("POST", f"/v1/keys/{key}/actions/explode", {}), 404, "NotFound")
    assert "there are enable, disable, schedule-deletion" in found["detail"]


@pytest.mark.parametrize(("method", "path", "status"), [("PATCH", "/v1/keys", 405), ("GET", "/nothing", 404)])
def test_the_frameworks_own_refusals_are_problems_too(
    shared_server: Server, method: str, path: str, status: int
) -> None:
    problem(shared_server.rest(method, path), status, "Http")


def test_the_progress_of_a_set_that_owns_nothing_is_done(shared_server: Server) -> None:
    progress = shared_server.ok("GET", f"/v1/spec-sets/{name()}/progress")
    assert {each: progress[each] for each in ("total", "pending", "problems")} == {
        "total": 0,
        "pending": 0,
        "problems": [],
    }
