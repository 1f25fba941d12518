"""The reconciliation API over HTTP: who may, every endpoint, the shape of every refusal, the change stream."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.client import Client
from controlplane.schema.meta import Kind
from tests.harness import ACCOUNT, OTHER_REGION, REGION, TOKEN, Answer, Server, document, eventually, refusal

PROBLEM = "application/problem+json"


def name() -> str:
    """A name that no other test has."""
    return f"t-{uuid.uuid4()}"


def problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The problem details of a refusal, complete and as RFC 9457 wants them."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body.keys() >= {"type", "title", "status", "detail", "code", "requestId"}, body
    assert body.keys() <= {"type", "title", "status", "detail", "code", "requestId", "problems"}, body
    assert (body["status"], body["code"]) == (status, code), body
    assert uuid.UUID(body["requestId"])
    assert body["title"]
    return body


@pytest.fixture
def key(shared_server: Server) -> str:
    """Name of a key that no spec set owns."""
    fresh = name()
    shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh))
    ready(shared_server, fresh)
    return fresh


def ready(server: Server, key: str) -> dict[str, Any]:
    """The key once its material is made."""

    def made() -> dict[str, Any] | None:
        shown = server.ok("GET", f"/v1/keys/{key}")
        conditions = {each["type"]: each["status"] for each in shown["status"].get("conditions", ())}
        return shown if conditions.get("Ready") == "True" else None

    return eventually(made, f"key {key} is ready")


# ---- who may ---------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/v1/server"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/drift"),
    ("POST", "/v1/keys/a/manage/pause"),
    ("POST", "/v1/keystores/a/material"),
    ("POST", "/v1/keystores/a/probe"),
    ("GET", "/v1/changes"),
    ("GET", "/v1/keys"),
    ("GET", "/v1/keystores"),
    ("GET", "/v1/principals"),
    ("GET", "/v1/keys/a"),
    ("PUT", "/v1/keys/a"),
    ("DELETE", "/v1/keys/a"),
    ("GET", "/v1/keys/a/refused-uses"),
    ("POST", "/v1/keys/a/actions/disable"),
    ("POST", "/v1/plans"),
    ("GET", "/v1/plans/a"),
    ("POST", "/v1/plans/a/apply"),
    ("GET", "/v1/spec-sets/a/progress"),
    ("POST", "/v1/principals/a/access-keys"),
    ("GET", "/v1/principals/a/access-keys"),
    ("PUT", "/v1/principals/a/access-keys/b"),
    ("DELETE", "/v1/principals/a/access-keys/b"),
    ("POST", "/v1/principals/a/tokens"),
    ("GET", "/v1/principals/a/tokens"),
    ("DELETE", "/v1/principals/a/tokens/b"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_without_a_token_that_is_known(shared_server: Server, method: str, path: str) -> None:
    body = None if method == "GET" else {}
    for headers in (
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer nobody"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": "Bearer \u00fc".encode().decode("latin-1")},
    ):
        answer = shared_server.rest(method, path, body, token=None, headers=headers)
        problem(answer, 401, "Unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.body.decode()


POLICY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def allowing(*actions: str, effect: str = "Allow", resource: str = "*") -> dict[str, Any]:
    """The ``policies`` of a principal."""
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource}
    return {effect.lower(): {"document": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}}


Staffed = tuple[Server, dict[str, str]]


@pytest.fixture
def staff(new_server: Callable[..., Server]) -> Staffed:
    """A server with principals, and a bearer token of each."""
    server = new_server().start()
    policies = {
        "reader": allowing("keystead:Read"),
        "planner": allowing("keystead:Read", "keystead:Plan"),
        "operator": allowing("kms:DisableKey", "kms:ScheduleKeyDeletion"),
        "nobody": {},
        "denied": allowing("*") | allowing("keystead:Read", effect="Deny"),
    }
    server.apply("staff", [document("Principal", each, policies=held) for each, held in policies.items()])
    return server, {each: server.ok("POST", f"/v1/principals/{each}/tokens")["token"] for each in policies}


def test_a_principal_gets_what_its_policies_allow_and_no_more(staff: Staffed) -> None:
    staffed, tokens = staff
    staffed.ok("PUT", "/v1/keys/k", document("Key", "k"))
    ready(staffed, "k")
    plan = {"specSet": "s", "documents": []}
    applicable = staffed.plan("s", [])["id"]
    may = {
        "reader": {"read"},
        "planner": {"read", "plan"},
        "operator": {"disable", "delete"},
        "nobody": set(),
        "denied": {"plan", "put", "apply", "enable", "disable", "delete", "probe", "look"},
    }
    for who, allowed in may.items():
        requests = {
            "read": ("GET", "/v1/keys/k", None),
            "plan": ("POST", "/v1/plans", plan),
            "put": ("PUT", f"/v1/keys/of-{who}", document("Key", f"of-{who}")),
            "apply": ("POST", f"/v1/plans/{applicable}/apply", {}),
            "enable": ("POST", "/v1/keys/k/actions/enable", {}),
            "disable": ("POST", "/v1/keys/k/actions/disable", {}),
            "delete": ("DELETE", "/v1/keys/k", None),
            "probe": ("POST", "/v1/keystores/standard/probe", {}),
            "look": ("POST", "/v1/keystores/standard/actions/reconcile", {}),
        }
        for what, (method, path, body) in requests.items():
            answer = staffed.rest(method, path, body, token=tokens[who])
            if what in allowed:
                assert answer.status in (200, 201), (who, what, answer)
            else:
                found = problem(answer, 403, "AccessDenied")
                assert f"user/{who} is not authorized" in found["detail"]
        if "delete" in allowed:
            staffed.ok("POST", "/v1/keys/k/actions/cancel-deletion", {})
    assert "of-nobody" not in {each["metadata"]["name"] for each in staffed.ok("GET", "/v1/keys")["items"]}


def test_an_apply_needs_permission_for_every_object_that_it_changes(staff: Staffed) -> None:
    server, _ = staff
    may = {"Effect": "Allow", "Action": "keystead:Apply", "Resource": ["Key/pay-*", "SpecSet/*"]}
    team = server.person("team", may, {"Effect": "Allow", "Action": "keystead:Plan", "Resource": "*"})

    def apply(*documents: dict[str, Any]) -> Answer:
        plan = server.ok("POST", "/v1/plans", {"specSet": "team", "documents": documents}, token=team.token)
        return server.rest("POST", f"/v1/plans/{plan['id']}/apply", {}, token=team.token)

    own = document("Key", "pay-1")
    assert apply(own).status == 200
    assert apply(own).status == 200, "nothing to change"
    for more in (
        document("Key", "other"),
        document("Principal", "team-admin", administrator=True),
        document("KeyStore", "s", type="memory"),
    ):
        found = problem(apply(own, more), 403, "AccessDenied")
        assert f"keystead:Apply on resource: {more['kind']}/{more['metadata']['name']}" in found["detail"]
        problem(server.rest("GET", f"/v1/{PLURAL[more['kind']]}/{more['metadata']['name']}"), 404, "NotFound")
    assert apply(own, document("Key", "pay-2")).status == 200
    # what leaves the set is changed, too
    server.ok("PUT", "/v1/principals/team", document("Principal", "team", policies=allowing("keystead:Plan")))
    problem(apply(own), 403, "AccessDenied")


PLURAL = {"Key": "keys", "Principal": "principals", "KeyStore": "keystores"}


def test_a_removed_principal_stops_working_at_once(staff: Staffed) -> None:
    staffed, tokens = staff
    assert staffed.rest("GET", "/v1/keys", token=tokens["reader"]).status == 200
    staffed.ok("DELETE", "/v1/principals/reader")
    problem(staffed.rest("GET", "/v1/keys", token=tokens["reader"]), 401, "Unauthenticated")


def test_a_changed_policy_counts_with_the_next_request(staff: Staffed) -> None:
    staffed, tokens = staff
    staffed.ok("PUT", "/v1/principals/alone", document("Principal", "alone", policies=allowing("keystead:Read")))
    tokens["reader"] = staffed.ok("POST", "/v1/principals/alone/tokens")["token"]
    assert staffed.rest("GET", "/v1/keys", token=tokens["reader"]).status == 200
    staffed.ok("PUT", "/v1/principals/alone", document("Principal", "alone", policies={}))
    problem(staffed.rest("GET", "/v1/keys", token=tokens["reader"]), 403, "AccessDenied")
    staffed.ok("PUT", "/v1/principals/alone", document("Principal", "alone", administrator=True))
    assert staffed.rest("GET", "/v1/keys", token=tokens["reader"]).status == 200


def test_a_principal_of_the_same_name_does_not_inherit_credentials(staff: Staffed) -> None:
    staffed, tokens = staff
    staffed.ok("DELETE", "/v1/principals/reader")
    staffed.ok("PUT", "/v1/principals/reader", document("Principal", "reader", administrator=True))
    problem(staffed.rest("GET", "/v1/keys", token=tokens["reader"]), 401, "Unauthenticated")


@pytest.mark.parametrize("how", ["delete", "demote"])
def test_the_last_administrator_stays(staff: Staffed, how: str) -> None:
    staffed, _ = staff
    if how == "delete":
        answer = staffed.rest("DELETE", "/v1/principals/admin")
    else:
        answer = staffed.rest("PUT", "/v1/principals/admin", document("Principal", "admin"))
    problem(answer, 409, "Blocked")
    assert staffed.rest("GET", "/v1/server").status == 200


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


# ---- putting ---------------------------------------------------------------------------------------------------------


def test_a_put_makes_then_changes_an_object_and_counts_generations(shared_server: Server) -> None:
    fresh = name()
    path = f"/v1/keys/{fresh}"
    made = shared_server.ok("PUT", path, document("Key", fresh, description="one"))
    assert (made["metadata"]["generation"], made["spec"]["description"]) == (1, "one")
    same = shared_server.ok("PUT", path, document("Key", fresh, description="one"))
    assert same["metadata"]["generation"] == 1
    changed = shared_server.ok("PUT", path, document("Key", fresh, description="two"))
    assert (changed["metadata"]["generation"], changed["metadata"]["uid"]) == (2, made["metadata"]["uid"])
    assert "specSet" not in changed["metadata"]


def test_a_put_with_if_match_is_refused_when_the_object_moved(shared_server: Server, key: str) -> None:
    path = f"/v1/keys/{key}"
    shown = shared_server.rest("GET", path)
    tag, version = shown.headers["etag"], shown.json()["metadata"]["resourceVersion"]
    assert tag == f'"{version}"'

    def put(description: str, if_match: str, at: str = path, named: str = key) -> Answer:
        return shared_server.rest(
            "PUT", at, document("Key", named, description=description), headers={"if-match": if_match}
        )

    for stale in (f'"{version - 1}"', f'W/"{version}"', '"x"', f'"0", W/{tag}'):
        problem(put("stale", stale), 412, "PreconditionFailed")
    answer = put("x", f'"0", {tag}')
    assert (answer.status, "etag" in answer.headers) == (200, False)
    problem(put("y", tag), 412, "PreconditionFailed")
    assert shared_server.ok("GET", path)["spec"]["description"] == "x"
    assert put("z", "*").status == 200
    other = name()
    for wanted in (tag, "*"):
        problem(put("new", wanted, f"/v1/keys/{other}", other), 412, "PreconditionFailed")
    assert shared_server.rest("GET", f"/v1/keys/{other}").status == 404


@pytest.mark.parametrize("value", ["5", "*, *", '"5', '"5" "6"', "5, 6", '*, "5"'])
def test_a_condition_that_is_no_entity_tag_is_refused(shared_server: Server, key: str, value: str) -> None:
    for header in ("if-match", "if-none-match"):
        answer = shared_server.rest("PUT", f"/v1/keys/{key}", document("Key", key), headers={header: value})
        assert "entity tag" in problem(answer, 400, "InvalidInput")["detail"]


def test_a_put_with_if_none_match_makes_and_never_changes(shared_server: Server) -> None:
    fresh = name()
    new = {"if-none-match": "*"}
    assert shared_server.rest("PUT", f"/v1/principals/{fresh}", document("Principal", fresh), headers=new).status == 200
    answer = shared_server.rest(
        "PUT", f"/v1/principals/{fresh}", document("Principal", fresh, administrator=True), headers=new
    )
    problem(answer, 412, "PreconditionFailed")
    assert "administrator" not in shared_server.ok("GET", f"/v1/principals/{fresh}")["spec"]


def test_a_reader_that_has_the_version_gets_no_body(shared_server: Server, key: str) -> None:
    tag = shared_server.rest("GET", f"/v1/keys/{key}").headers["etag"]
    answer = shared_server.rest("GET", f"/v1/keys/{key}", headers={"if-none-match": f'"1", W/{tag}'})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert shared_server.rest("GET", f"/v1/keys/{key}", headers={"if-none-match": '"1"'}).status == 200


def test_a_delete_with_if_match_is_refused_when_the_object_moved(shared_server: Server, key: str) -> None:
    fresh = name()
    shared_server.ok("PUT", f"/v1/principals/{fresh}", document("Principal", fresh))
    for path in (f"/v1/keys/{key}", f"/v1/principals/{fresh}"):
        problem(shared_server.rest("DELETE", path, headers={"if-match": '"1"'}), 412, "PreconditionFailed")
        tag = shared_server.rest("GET", path).headers["etag"]
        assert shared_server.rest("DELETE", path, headers={"if-match": tag}).status == 200


def test_a_put_of_another_object_than_the_path_names_is_refused(shared_server: Server, key: str) -> None:
    problem(shared_server.rest("PUT", f"/v1/keys/{key}", document("Key", "other")), 400, "InvalidInput")
    problem(shared_server.rest("PUT", f"/v1/keys/{key}", document("Principal", key)), 400, "InvalidInput")


def test_a_put_that_would_change_what_cannot_change_is_blocked(shared_server: Server, key: str) -> None:
    answer = shared_server.rest(
        "PUT", f"/v1/keys/{key}", document("Key", key, keySpec="HMAC_256", keyUsage="GENERATE_VERIFY_MAC")
    )
    assert "keySpec" in problem(answer, 409, "Blocked")["detail"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"spec": {"keySpek": "RSA_2048"}}, "spec.keySpek"),
        ({"spec": {"keySpec": "RSA_1024"}}, "spec.keySpec"),
        ({"spec": {"keyStore": "nowhere"}}, "spec.keyStore"),
        ({"spec": {"region": "ap-south-1"}}, "spec.region"),
        ({"spec": {"keySpec": "SM2", "keyUsage": "SIGN_VERIFY"}}, "spec.keySpec"),
        ({"spec": {"policy": {"document": "{"}}}, "spec.policy.document"),
        ({"spec": {"policy": {"fromFile": "/etc/passwd"}}}, "spec.policy.fromFile"),
        ({"spec": {"aliases": ["aws/mine"]}}, "spec.aliases[0]"),
        ({"spec": {"deletion": {"windowDays": 6}}}, "spec.deletion.windowDays"),
        ({"spec": {"tags": {f"k{i}": "" for i in range(51)}}}, "spec.tags"),
        ({"apiVersion": "keystead/v2"}, "apiVersion"),
        ({"metadata": {"name": "Not A Name"}}, "metadata.name"),
        ({"kind": "Kay"}, "kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_a_document_is_told_with_its_place_at_both_doors(
    shared_server: Server, change: dict[str, Any], path: str
) -> None:
    fresh = name()
    wrong = document("Key", fresh) | change
    for answer in (
        shared_server.rest("PUT", f"/v1/keys/{fresh}", wrong),
        shared_server.rest(
            "POST", "/v1/plans", {"specSet": fresh, "documents": [document("Key", f"{fresh}-2"), wrong]}
        ),
    ):
        found = problem(answer, 422, "InvalidSpec")
        assert path in [each.get("path") for each in found["problems"]], found["problems"]
        assert all(each["message"] for each in found["problems"])
    assert [each["document"] for each in found["problems"] if each.get("path") == path] == [2]
    assert shared_server.rest("GET", f"/v1/keys/{fresh}").status == 404


BAD_BODIES = [b"", b"{", b"[]", b"null", b"1", b"\xff", b"NaN", b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"']


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:8]))
@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/v1/keys/a"), ("POST", "/v1/plans"), ("POST", "/v1/keys/{key}/actions/disable")]
)
def test_a_body_that_is_no_document_is_the_callers_mistake(
    shared_server: Server, key: str, method: str, path: str, body: bytes
) -> None:
    answer = shared_server.rest(method, path.format(key=key), body)
    if "actions" in path and body in (b"", b"null"):
        assert answer.status == 200, "the body of an action is optional"
        return
    assert answer.status in (400, 422), answer
    problem(answer, answer.status, answer.json()["code"])


JUNK = [None, True, 1, -1, 1.5, 1e300, 2**70, "", "\x00", "\ud800", "x" * 5000, [], [[]], {}, {"a": {}}]


@pytest.mark.parametrize("kind", ["Key", "KeyStore", "Principal"])
def test_a_field_of_any_wrong_kind_is_the_callers_mistake(shared_server: Server, kind: str) -> None:
    fields = {
        "Key": "keyStore region keySpec keyUsage origin description enabled multiRegion aliases tags policy rotation "
        "deletion management",
        "KeyStore": "type connected management pkcs11 xks memory options",
        "Principal": "type description administrator policies",
    }
    for field in fields[kind].split():
        for junk in JUNK:
            spec = {"type": "none"} if kind == "KeyStore" else {}
            answer = shared_server.rest(
                "POST", "/v1/plans", {"specSet": "junk", "documents": [document(kind, "junk", **spec | {field: junk})]}
            )
            assert answer.status in (200, 201, 400, 422), (field, junk, answer)


def test_an_oversized_body_is_refused(shared_server: Server) -> None:
    body = b'{"a":"' + b"a" * (16 * 1_048_576) + b'"}'
    for method, path in (("PUT", "/v1/keys/a"), ("POST", "/v1/keys/a/actions/disable")):
        problem(shared_server.rest(method, path, body), 413, "Http")
    assert shared_server.rest("GET", "/v1/server").status == 200


def test_a_plan_may_be_larger_than_other_bodies(shared_server: Server) -> None:
    wrong = {"specSet": name(), "documents": [document("Key", "k", description="a" * 17 * 1_048_576)]}
    problem(shared_server.rest("POST", "/v1/plans", wrong), 422, "InvalidSpec")


# ---- plans -----------------------------------------------------------------------------------------------------------


def test_a_plan_is_shown_kept_applied_once_and_then_empty(shared_server: Server) -> None:
    spec_set = name()
    documents = [document("Key", spec_set, tags={"a": "b"})]
    plan = shared_server.plan(spec_set, documents)
    assert plan.keys() == {
        "formatVersion",
        "id",
        "serverId",
        "specSet",
        "createdAt",
        "expiresAt",
        "changes",
        "counts",
        "waiting",
        "targets",
        "takesOwnership",
    }
    assert plan["counts"].pop("create") == 1
    assert plan["counts"].keys() == {
        "update", "scheduleDeletion", "delete", "adopt", "forget", "blocked", "unchanged",
    }  # fmt: skip
    assert not any(plan["counts"].values())
    (change,) = plan["changes"]
    assert (change["action"], change["kind"], change["name"]) == ("create", "Key", spec_set)
    assert shared_server.rest("GET", f"/v1/keys/{spec_set}").status == 404, "a plan changes nothing"
    shown = shared_server.ok("GET", f"/v1/plans/{plan['id']}")
    assert (shown["id"], shown["changes"]) == (plan["id"], plan["changes"])
    applied = shared_server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    assert [(each["kind"], each["name"]) for each in applied["objects"]] == [("Key", spec_set)]
    problem(shared_server.rest("POST", f"/v1/plans/{plan['id']}/apply", {}), 409, "StalePlan")
    shared_server.converged(spec_set)
    again = shared_server.plan(spec_set, documents)
    assert (again["changes"], again["counts"]["unchanged"]) == ([], 1)


def test_a_plan_is_stale_when_what_it_touches_moved(shared_server: Server) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set)])
    plans = [shared_server.plan(spec_set, [document("Key", spec_set, description=each)]) for each in "ab"]
    shared_server.ok("POST", f"/v1/plans/{plans[0]['id']}/apply", {})
    problem(shared_server.rest("POST", f"/v1/plans/{plans[1]['id']}/apply", {}), 409, "StalePlan")
    assert shared_server.ok("GET", f"/v1/keys/{spec_set}")["spec"]["description"] == "a"


def test_an_apply_is_all_or_nothing(shared_server: Server) -> None:
    spec_set, other = name(), name()
    alias = name()
    plan = shared_server.plan(
        spec_set, [document("Key", f"{spec_set}-{index}", aliases=[alias] if index == 4 else []) for index in range(5)]
    )
    shared_server.apply(other, [document("Key", other, aliases=[alias])])  # takes the alias since
    answer = shared_server.rest("POST", f"/v1/plans/{plan['id']}/apply", {})
    assert answer.status == 409, answer
    assert shared_server.ok("GET", f"/v1/keys?specSet={spec_set}")["items"] == []


def test_what_another_set_owns_is_blocked(shared_server: Server) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set)])
    plan = shared_server.plan(name(), [document("Key", spec_set)])
    assert [(each["action"], each["reason"]) for each in plan["changes"]] == [("blocked", "OwnedElsewhere")]
    problem(shared_server.rest("POST", f"/v1/plans/{plan['id']}/apply", {}), 409, "Blocked")


def test_a_put_keeps_the_set_that_owns_the_object(shared_server: Server) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set)])
    put = shared_server.ok("PUT", f"/v1/keys/{spec_set}", document("Key", spec_set, description="x"))
    assert put["metadata"]["specSet"] == spec_set


def test_removing_from_the_set_schedules_deletion_with_the_declared_window(shared_server: Server) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set, deletion={"windowDays": 9})])
    plan = shared_server.plan(spec_set, [])
    assert [(each["action"], each["windowDays"]) for each in plan["changes"]] == [("scheduleDeletion", 9)]
    shared_server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    deletion = shared_server.ok("GET", f"/v1/keys/{spec_set}")["metadata"]["deletion"]
    assert deletion["windowDays"] == 9
    assert shared_server.plan(spec_set, [])["changes"] == []
    back = shared_server.plan(spec_set, [document("Key", spec_set)])
    assert [(each["action"], each["reason"]) for each in back["changes"]] == [("blocked", "PendingDeletion")]


# ---- actions, deletion, protection -----------------------------------------------------------------------------------


def test_actions_do_what_the_kms_api_does(shared_server: Server, key: str) -> None:
    def act(action: str, body: Any = None) -> Any:
        return shared_server.ok("POST", f"/v1/keys/{key}/actions/{action}", body)

    kms = shared_server.kms()
    key_id = shared_server.ok("GET", f"/v1/keys/{key}")["status"]["keyId"]

    def state() -> str:
        return kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]

    assert "enabled" in act("disable")["spec"]
    assert state() == "Disabled"
    act("enable", {})
    assert state() == "Enabled"
    assert act("schedule-deletion", {"windowDays": 8})["metadata"]["deletion"]["windowDays"] == 8
    assert state() == "PendingDeletion"
    problem(shared_server.rest("POST", f"/v1/keys/{key}/actions/schedule-deletion"), 409, "InvalidState")
    problem(shared_server.rest("POST", f"/v1/keys/{key}/actions/enable"), 409, "InvalidState")
    problem(shared_server.rest("DELETE", f"/v1/keys/{key}"), 409, "InvalidState")
    assert "deletion" not in act("cancel-deletion")["metadata"]
    assert state() == "Disabled"
    problem(shared_server.rest("POST", f"/v1/keys/{key}/actions/cancel-deletion"), 409, "InvalidState")
    assert act("reconcile")["metadata"]["name"] == key


@pytest.mark.parametrize(
    "body", [{"windowDays": 6}, {"windowDays": 31}, {"windowDays": "7"}, {"windowDays": 7.5}, {"days": 7}, [7]]
)
def test_an_action_with_a_bad_body_is_refused(shared_server: Server, key: str, body: dict[str, Any]) -> None:
    answer = shared_server.rest("POST", f"/v1/keys/{key}/actions/schedule-deletion", body)
    problem(answer, 400, "InvalidInput")


def test_a_delete_schedules_with_the_declared_window(shared_server: Server) -> None:
    fresh = name()
    shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh, deletion={"windowDays": 11}))
    ready(shared_server, fresh)
    assert shared_server.ok("DELETE", f"/v1/keys/{fresh}")["metadata"]["deletion"]["windowDays"] == 11
    assert shared_server.ok("GET", f"/v1/keys/{fresh}")["metadata"]["deletion"]


def test_a_protected_key_is_deleted_through_no_door(shared_server: Server) -> None:
    spec_set = name()
    protected = [document("Key", spec_set, aliases=[spec_set], deletion={"protect": True})]
    shared_server.apply(spec_set, protected)
    key_id = shared_server.ok("GET", f"/v1/keys/{spec_set}")["status"]["keyId"]
    kms = shared_server.kms()
    refused = refusal(kms.schedule_key_deletion, KeyId=key_id)
    assert (refused.type, refused.status) == ("KMSInvalidStateException", 400)
    assert "protect" in refused.message
    for method, path in (
        ("DELETE", f"/v1/keys/{spec_set}"),
        ("DELETE", f"/v1/keys/{key_id}"),
        ("POST", f"/v1/keys/{spec_set}/actions/schedule-deletion"),
    ):
        assert "protect" in problem(shared_server.rest(method, path), 409, "Blocked")["detail"]
    plan = shared_server.plan(spec_set, [])
    assert [(each["action"], each["reason"]) for each in plan["changes"]] == [("blocked", "Protected")]
    problem(shared_server.rest("POST", f"/v1/plans/{plan['id']}/apply", {}), 409, "Blocked")

    together = [document("Key", spec_set, aliases=[spec_set], description="too")]
    plan = shared_server.plan(spec_set, together)
    assert [each["reason"] for each in plan["changes"]] == ["ProtectionLiftedApart"]
    assert kms.encrypt(KeyId=f"alias/{spec_set}", Plaintext=b"x")

    shared_server.apply(spec_set, [document("Key", spec_set, aliases=[spec_set])])
    shared_server.ok("DELETE", f"/v1/keys/{spec_set}")


def test_protection_that_came_after_a_plan_holds_against_it(shared_server: Server) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set)])
    doom = shared_server.plan(spec_set, [])
    shared_server.apply(spec_set, [document("Key", spec_set, deletion={"protect": True})])
    problem(shared_server.rest("POST", f"/v1/plans/{doom['id']}/apply", {}), 409, "StalePlan")
    assert "deletion" not in shared_server.ok("GET", f"/v1/keys/{spec_set}")["metadata"]


def test_the_standard_key_store_stays(shared_server: Server) -> None:
    problem(shared_server.rest("DELETE", "/v1/keystores/standard"), 409, "Blocked")
    answer = shared_server.rest("PUT", "/v1/keystores/standard", document("KeyStore", "standard", type="memory"))
    problem(answer, 422, "InvalidSpec")


def test_a_key_store_with_keys_stays_and_an_empty_one_goes(shared_server: Server, tmp_path: Path) -> None:
    store, fresh = name(), name()
    spec = {"type": "memory", "memory": {"device": str(tmp_path / "device.json")}}
    shared_server.ok("PUT", f"/v1/keystores/{store}", document("KeyStore", store, **spec))
    empty = name()
    shared_server.ok("PUT", f"/v1/keystores/{empty}", document("KeyStore", empty, **spec))
    shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh, keyStore=store))
    ready(shared_server, fresh)
    problem(shared_server.rest("DELETE", f"/v1/keystores/{store}"), 409, "Blocked")
    shared_server.ok("DELETE", f"/v1/keystores/{empty}")
    eventually(lambda: shared_server.rest("GET", f"/v1/keystores/{empty}").status == 404, "the empty one goes")
    key_id = shared_server.ok("GET", f"/v1/keys/{fresh}")["status"]["keyId"]
    assert shared_server.kms().encrypt(KeyId=key_id, Plaintext=b"x")


def test_a_key_store_that_cannot_be_opened_says_why_and_harms_no_other(shared_server: Server, tmp_path: Path) -> None:
    store, fresh = name(), name()
    device = tmp_path / "device.json"
    device.write_text("this is no device")
    shared_server.ok(
        "PUT", f"/v1/keystores/{store}", document("KeyStore", store, type="memory", memory={"device": str(device)})
    )

    def failed() -> bool:
        conditions = shared_server.ok("GET", f"/v1/keystores/{store}")["status"].get("conditions", ())
        return any((each["type"], each["reason"]) == ("Connected", "Misconfigured") for each in conditions)

    eventually(failed, "the condition says Misconfigured")
    key = shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh, keyStore=store))
    refused = refusal(shared_server.kms().encrypt, KeyId=key["status"]["keyId"], Plaintext=b"x")
    assert refused.type == "KMSInvalidStateException"
    device.unlink()
    ready(shared_server, fresh)  # it is retried by itself
    assert shared_server.kms().encrypt(KeyId=key["status"]["keyId"], Plaintext=b"x")


def test_a_key_that_is_creating_is_deleted_through_no_door(shared_server: Server, tmp_path: Path) -> None:
    store, spec_set = name(), name()
    device = tmp_path / "device.json"
    device.write_text("this is no device")
    shared_server.ok(
        "PUT", f"/v1/keystores/{store}", document("KeyStore", store, type="memory", memory={"device": str(device)})
    )
    plan = shared_server.plan(spec_set, [document("Key", spec_set, keyStore=store)])
    shared_server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    problem(shared_server.rest("DELETE", f"/v1/keys/{spec_set}"), 409, "InvalidState")
    removal = shared_server.plan(spec_set, [])
    assert [(each["action"], each["reason"]) for each in removal["changes"]] == [("blocked", "KeyState")]
    assert "is creating" in removal["changes"][0]["message"]
    problem(shared_server.rest("POST", f"/v1/plans/{removal['id']}/apply", {}), 409, "Blocked")
    assert "deletion" not in shared_server.ok("GET", f"/v1/keys/{spec_set}")["metadata"]


# ---- the change stream -----------------------------------------------------------------------------------------------


class Events:
    """A reader of server-sent events."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.ended = False

    def next(self) -> dict[str, str] | None:
        """The next event or comment; None at the stream's end."""
        event: dict[str, str] = {}
        while True:
            try:
                line = self._response.readline()
            except http.client.IncompleteRead:
                line = b""
            if not line:
                self.ended = True
                return event or None
            text = line.decode().rstrip("\r\n")
            if not text:
                if event:
                    return event
                continue
            field, _, value = text.partition(":")
            event[field or "comment"] = value.strip()

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next change that is wanted."""
        while (event := self.next()) is not None:
            if event.get("event") == "change":
                change = json.loads(event["data"])
                assert event["id"] == str(change["version"])
                if wanted(change):
                    return change
        raise AssertionError("the stream ended before the event came")


@contextmanager
def stream(server: Server, query: str = "") -> Iterator[Events]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", f"/v1/changes{query}", headers={"authorization": f"Bearer {TOKEN}"})
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers.get_content_type() == "text/event-stream"
        events = Events(response)
        first = events.next()
        assert first is not None
        assert first["comment"].startswith("changes after ")
        yield events
    finally:
        connection.close()


def test_a_change_arrives_on_the_stream_and_so_does_a_removal(shared_server: Server) -> None:
    fresh = name()
    with stream(shared_server) as events:
        made = shared_server.ok("PUT", f"/v1/principals/{fresh}", document("Principal", fresh))
        change = events.until(lambda each: each["name"] == fresh)
        assert change.keys() == {"version", "kind", "uid", "name", "generation", "removed"}
        assert (change["kind"], change["uid"], change["removed"]) == ("Principal", made["metadata"]["uid"], False)
        assert change["version"] >= made["metadata"]["resourceVersion"]
        shared_server.ok("DELETE", f"/v1/principals/{fresh}")
        assert events.until(lambda each: each["name"] == fresh and each["removed"])


def test_the_stream_goes_on_where_a_reader_left_it(shared_server: Server) -> None:
    first, second, third = name(), name(), name()
    shared_server.ok("PUT", f"/v1/principals/{first}", document("Principal", first))
    with stream(shared_server, "?since=0") as events:
        version = events.until(lambda each: each["name"] == first)["version"]
    shared_server.ok("PUT", f"/v1/principals/{second}", document("Principal", second))
    shared_server.ok("PUT", f"/v1/principals/{third}", document("Principal", third))
    shared_server.ok("DELETE", f"/v1/principals/{third}")
    missing = {(second, False), (third, True)}
    last = version
    with stream(shared_server, f"?since={version}") as events:
        while missing:
            change = events.until(lambda each: True)
            assert change["version"] > last, "nothing twice, nothing out of order"
            last = change["version"]
            missing.discard((change["name"], change["removed"]))


def test_events_tell_of_a_deletion_and_of_the_uses_it_refuses(shared_server: Server) -> None:
    shared_server.ok("PUT", "/v1/keys/eventful", document("Key", "eventful"))
    ready(shared_server, "eventful")
    key = shared_server.ok("GET", "/v1/keys/eventful")
    uid, key_id = key["metadata"]["uid"], key["status"]["keyId"]
    shared_server.ok("POST", "/v1/keys/eventful/actions/schedule-deletion", {"windowDays": 7})
    for _ in range(3):
        assert refusal(shared_server.kms().encrypt, KeyId=key_id, Plaintext=b"x").type == "KMSInvalidStateException"
    page = shared_server.ok("GET", f"/v1/events?uid={uid}")
    # That a declared key is on its way out is drift, which the reconciler tells of when it looks.
    told = {each["reason"]: each for each in page["items"]}
    assert {"DeletionScheduled", "UseRefused"} <= set(told) <= {"DeletionScheduled", "UseRefused", "DriftFound"}, page
    scheduled, refused = told["DeletionScheduled"], told["UseRefused"]
    assert (scheduled["reason"], scheduled["kind"], scheduled["name"]) == ("DeletionScheduled", "Key", "eventful")
    assert (refused["reason"], refused["count"]) == ("UseRefused", 3)
    assert "Encrypt" in refused["message"]
    shared_server.ok("POST", "/v1/keys/eventful/actions/cancel-deletion")
    later = shared_server.ok("GET", f"/v1/events?uid={uid}&since={page['version']}")["items"]
    assert "DeletionCancelled" in [each["reason"] for each in later]
    assert "DeletionScheduled" not in [each["reason"] for each in later]
    problem(shared_server.rest("GET", "/v1/events?since=-1"), 400, "InvalidInput")


@pytest.mark.parametrize("since", ["-1", "x", "1.5"])
def test_a_stream_from_no_version_is_refused(shared_server: Server, since: str) -> None:
    problem(shared_server.rest("GET", f"/v1/changes?since={since}"), 400, "InvalidInput")


def test_idle_streams_end_at_shutdown_by_themselves(private_server: Server) -> None:
    with stream(private_server) as one, stream(private_server) as two:
        private_server.stop()  # and it exits 0, within its grace at the latest
        for events in (one, two):
            while not events.ended:
                events.next()
    assert "timeout graceful shutdown exceeded" not in private_server.log()


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
