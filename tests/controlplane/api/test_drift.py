"""Drift over the API and on the command line: what is put back, what is told, what no key names."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli import main as cli
from tests.harness import TOKEN, Server, document, eventually


def name() -> str:
    return f"t-{uuid.uuid4()}"


def put(device: Path, slots: dict[str, Any]) -> None:
    """Make this what the device holds, whole at every moment: the server probes it when it likes."""
    draft = device.with_suffix(".put")
    draft.write_text(json.dumps(slots))
    draft.replace(device)


def drift_of(server: Server, spec_set: str) -> dict[str, Any]:
    items = server.ok("GET", f"/v1/drift?specSet={spec_set}")["items"]
    return {item["name"]: item for item in items}


def test_a_field_that_the_set_states_is_put_back_and_one_that_it_does_not_state_stays(shared_server: Server) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set, enabled=True, tags={"team": "a"})])
    kms = shared_server.kms()
    key = shared_server.ok("GET", f"/v1/keys/{spec_set}")
    key_id = key["status"]["keyId"]
    kms.disable_key(KeyId=key_id)
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "cost", "TagValue": "7"}])
    eventually(lambda: kms.describe_key(KeyId=key_id)["KeyMetadata"]["Enabled"], "it is enabled again")
    assert shared_server.ok("GET", f"/v1/keys/{spec_set}")["spec"]["tags"] == {"team": "a", "cost": "7"}
    events = shared_server.ok("GET", f"/v1/events?uid={key['metadata']['uid']}")["items"]
    corrected = [each["message"] for each in events if each["reason"] == "DriftCorrected"]
    assert ["enabled is false, stated is true (the KMS API, arn:aws:iam:" in each for each in corrected] == [True]
    eventually(lambda: drift_of(shared_server, spec_set) == {}, "nothing is left to put back")

    plain = name()
    shared_server.apply(plain, [document("Key", plain)])
    key_id = shared_server.ok("GET", f"/v1/keys/{plain}")["status"]["keyId"]
    kms.disable_key(KeyId=key_id)
    assert shared_server.plan(plain, [document("Key", plain)])["changes"] == []
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Enabled"] is False


def test_what_waits_for_a_person_is_reported(shared_server: Server) -> None:
    spec_set = name()
    watched, going = f"{spec_set}-a", f"{spec_set}-b"
    shared_server.ok("PUT", f"/v1/keys/{watched}", document("Key", watched, description="as it is"))
    eventually(lambda: "conditions" in shared_server.ok("GET", f"/v1/keys/{watched}")["status"], "it is made")
    declared = [document("Key", watched, description="as wished", management="observe"), document("Key", going)]
    shared_server.apply(spec_set, declared)
    shared_server.kms().schedule_key_deletion(
        KeyId=shared_server.ok("GET", f"/v1/keys/{going}")["status"]["keyId"], PendingWindowInDays=7
    )
    found = eventually(
        lambda: (d := drift_of(shared_server, spec_set)).keys() == {watched, going} and d, "both drifted"
    )
    assert (found[watched]["reason"], found[watched].get("corrected")) == ("FieldsDiffer", None)
    assert found[watched]["fields"] == [{"path": "description", "stated": "as wished", "live": "as it is"}]
    assert found[going]["reason"] == "PendingDeletion"
    conditions = shared_server.ok("GET", f"/v1/keys/{watched}")["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions}["Drifted"] == "True"
    shared_server.ok("POST", f"/v1/keys/{going}/actions/cancel-deletion", {})


def test_material_that_no_key_names_is_reported_and_left_alone(shared_server: Server, tmp_path: Path) -> None:
    spec_set = name()
    device = tmp_path / "device.json"
    shared_server.apply(
        spec_set,
        [
            document("KeyStore", spec_set, type="memory", memory={"device": str(device)}),
            document("Key", f"{spec_set}-k", keyStore=spec_set),
        ],
    )
    held = json.loads(device.read_bytes())
    (ours,) = held
    left_over = f"keystead:{uuid.uuid4()}:{'0' * 64}"
    put(device, {**held, "strangers": held[ours], left_over: held[ours]})
    report = shared_server.ok("GET", "/v1/drift")
    found = [item["message"] for item in report["items"] if (item["name"], item["reason"]) == (spec_set, "NotManaged")]
    assert len(found) == 2
    assert any(each.startswith("strangers is in it") and "keystead adopt" in each for each in found)
    assert any(each.startswith(left_over) for each in found)
    assert json.loads(device.read_bytes()).keys() == {ours, "strangers", left_over}
    assert shared_server.ok("GET", f"/v1/drift?specSet={spec_set}")["items"] == []


def test_material_that_is_gone_is_reported_at_once_and_once(shared_server: Server, tmp_path: Path) -> None:
    spec_set = name()
    device = tmp_path / "device.json"
    store = document("KeyStore", spec_set, type="memory", memory={"device": str(device)})
    keys = [document("Key", f"{spec_set}-{each}", keyStore=spec_set) for each in "ab"]
    shared_server.apply(spec_set, [store, *keys])
    uid = shared_server.ok("GET", f"/v1/keys/{spec_set}-a")["metadata"]["uid"]
    held = json.loads(device.read_bytes())
    (gone,) = [each for each in held if each.startswith(f"keystead:{uid}:")]
    put(device, {each: slot for each, slot in held.items() if each != gone})
    for _ in range(2):
        (found,) = shared_server.ok("GET", f"/v1/drift?specSet={spec_set}")["items"]
        assert (found["name"], found["reason"]) == (f"{spec_set}-a", "MaterialLost")
        assert f"{spec_set} no longer has material {gone.rsplit(':')[-1]}" in found["message"]
        shared_server.ok("POST", f"/v1/keys/{spec_set}-a/actions/reconcile", {})
        eventually(lambda: _drifted(shared_server, f"{spec_set}-a"), "the reconciler has looked, too")
    put(device, held)
    shared_server.ok("POST", f"/v1/keys/{spec_set}-a/actions/reconcile", {})
    eventually(lambda: drift_of(shared_server, spec_set) == {}, "it is found again")


def _drifted(server: Server, key: str) -> bool:
    conditions = server.ok("GET", f"/v1/keys/{key}")["status"]["conditions"]
    return any((each["type"], each["status"]) == ("Drifted", "True") for each in conditions)


def test_the_command_says_so_by_its_exit_code(
    shared_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEYSTEAD_URL", shared_server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)
    spec_set = name()
    shared_server.ok("PUT", f"/v1/principals/{spec_set}", document("Principal", spec_set, description="as it is"))
    watched = document("Principal", spec_set, description="as wished", management="observe")
    shared_server.apply(spec_set, [watched])
    assert cli.main(["drift", "--spec-set", spec_set, "--detailed-exitcode"]) == 2
    shown = capsys.readouterr().out
    assert f"# principal {spec_set} of spec set {spec_set}: FieldsDiffer" in shown
    assert '~ description = "as it is", stated is "as wished"' in shown
    assert "(management: observe; left as it is)" in shown
    assert cli.main(["drift", "--spec-set", spec_set]) == 0
    capsys.readouterr()
    shared_server.apply(spec_set, [document("Principal", spec_set, description="as wished")])
    assert cli.main(["drift", "--spec-set", spec_set, "--detailed-exitcode", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == []
