"""Who may do what over the reconciliation API: tokens, policies, the last administrator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.controlplane.api.asking import allowing, problem, ready
from tests.harness import TOKEN, Answer, Server, document

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
