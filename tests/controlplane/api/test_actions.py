"""Actions, deletion and protection over the reconciliation API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.api.asking import name, problem, ready
from tests.harness import Server, document, eventually, refusal

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
