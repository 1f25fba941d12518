"""Plans over the reconciliation API: kept, applied once, stale, all or nothing, only the set's own."""

from __future__ import annotations

from tests.controlplane.api.asking import name, problem
from tests.harness import Server, document

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
