"""Adopted, forgotten, paused, protected, resolved: over the API and the command line, with nothing lost on the way."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli import main as cli
from tests.controlplane.api.asking import problem, ready
from tests.harness import TOKEN, Server, document, eventually


def name() -> str:
    return f"t-{uuid.uuid4()}"


@pytest.fixture
def run(
    shared_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    monkeypatch.setenv("KEYSTEAD_URL", shared_server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)

    def run(*arguments: str, code: int = 0) -> str:
        found = cli.main(arguments)
        captured = capsys.readouterr()
        assert found == code, captured.out + captured.err
        return captured.err if code else captured.out

    return run


def device_store(server: Server, path: Path) -> tuple[str, Path]:
    store, device = name(), path / "device.json"
    server.ok(
        "PUT", f"/v1/keystores/{store}", document("KeyStore", store, type="memory", memory={"device": str(device)})
    )

    def connected() -> bool:
        return server.ok("GET", f"/v1/keystores/{store}").get("status", {}).get("connection") == "CONNECTED"

    eventually(connected, "the store is connected")
    return store, device


# ---- adopt and forget ------------------------------------------------------------------------------------------------


def test_a_key_of_the_kms_api_is_adopted_declared_and_forgotten(shared_server: Server, run: Callable[..., str]) -> None:
    kms, spec_set, given = shared_server.kms(), name(), name()
    key_id = kms.create_key(Description="by hand", Tags=[{"TagKey": "a", "TagValue": "1"}])["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    said = run("adopt", key_id, "--spec-set", spec_set, "--as", given)
    assert f"The key {given} belongs to spec set {spec_set} now" in said
    adopted = shared_server.ok("GET", f"/v1/keys/{given}")
    assert (adopted["metadata"]["specSet"], adopted["status"]["keyId"]) == (spec_set, key_id)
    assert "belongs to spec set" in run("adopt", given, "--spec-set", "another", code=1)
    assert "already" in run("adopt", given, "--spec-set", spec_set, code=1)
    plan = shared_server.plan(spec_set, [document("Key", given, tags={"team": "b"})])
    (change,) = plan["changes"]
    assert (change["action"], [each["path"] for each in change["fields"]]) == ("update", ["tags.team"])
    shared_server.apply(spec_set, [document("Key", given, tags={"team": "b"})])
    spec = shared_server.ok("GET", f"/v1/keys/{given}")["spec"]
    assert (spec["description"], spec["tags"]) == ("by hand", {"a": "1", "team": "b"}), "nothing was let go of"

    assert "no spec set owns it" in run("forget", given)
    left = shared_server.ok("GET", f"/v1/keys/{given}")
    assert ("specSet" in left["metadata"], left["spec"]["tags"]) == (False, {"a": "1", "team": "b"})
    assert shared_server.plan(spec_set, [])["changes"] == []
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_name_that_is_taken_adopts_nothing(shared_server: Server, run: Callable[..., str]) -> None:
    one, two = name(), name()
    for each in (one, two):
        shared_server.ok("PUT", f"/v1/principals/{each}", document("Principal", each))
        shared_server.ok("PUT", f"/v1/keys/{each}", document("Key", each))
    assert "already exists" in run("adopt", one, "--spec-set", "s", "--as", two, code=1)
    assert "already exists" in run("adopt", one, "--kind", "principal", "--spec-set", "s", "--as", two, code=1)
    assert "--spec-set" in run("adopt", one, code=1)
    assert "specSet" not in shared_server.ok("GET", f"/v1/keys/{one}")["metadata"]
    run("adopt", two, "--kind", "principal", "--spec-set", one)
    assert shared_server.ok("GET", f"/v1/principals/{two}")["metadata"]["specSet"] == one


def test_material_of_a_device_becomes_a_key_once(
    shared_server: Server, run: Callable[..., str], tmp_path: Path
) -> None:
    store, device = device_store(shared_server, tmp_path)
    old, given, spec_set = name(), name(), name()
    shared_server.apply(old, [document("Key", old, keyStore=store)])
    (ours,) = json.loads(device.read_bytes())
    held = json.loads(device.read_bytes())
    device.write_text(json.dumps({**held, "strangers": held[ours]}))
    said = run("adopt", "strangers", "--key-store", store, "--as", given, "--spec-set", spec_set)
    assert f"The key {given} is made of strangers" in said
    assert f"declare it in spec set {spec_set}" in said
    key = ready(shared_server, given)
    (material,) = key["status"]["materials"]
    assert json.loads(device.read_bytes()).keys() == {ours, material["name"]}
    assert key["metadata"]["specSet"] == spec_set
    kms = shared_server.kms()
    blob = kms.encrypt(KeyId=key["status"]["keyId"], Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert "holds nothing that it calls strangers" in run(
        "adopt", "strangers", "--key-store", store, "--as", name(), code=1
    )
    assert "does not take over" in run("adopt", "x", "--key-store", "standard", "--as", name(), code=1)
    assert "--as NAME" in run("adopt", "x", "--key-store", store, code=1)


def test_material_of_another_kind_is_refused_and_stays(
    shared_server: Server, run: Callable[..., str], tmp_path: Path
) -> None:
    store, device = device_store(shared_server, tmp_path)
    device.write_text(json.dumps({"mac": {"key_spec": "HMAC_256", "secret": "AAAA", "external_id": "x"}}))
    given = name()
    assert "is of key spec HMAC_256" in run("adopt", "mac", "--key-store", store, "--as", given, code=1)
    assert json.loads(device.read_bytes()).keys() == {"mac"}
    assert shared_server.rest("GET", f"/v1/keys/{given}").status == 404, "what was refused is not declared"


def test_a_key_that_cannot_be_made_is_taken_out_by_forgetting_it(
    shared_server: Server, run: Callable[..., str], tmp_path: Path
) -> None:
    store, spec_set = name(), name()
    device = tmp_path / "device.json"
    device.write_text("this is no device")
    spec = {"type": "memory", "memory": {"device": str(device)}}
    shared_server.ok("PUT", f"/v1/keystores/{store}", document("KeyStore", store, **spec))
    plan = shared_server.plan(spec_set, [document("Key", spec_set, keyStore=store, aliases=[spec_set])])
    shared_server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    assert shared_server.plan(spec_set, [])["counts"]["blocked"] == 1
    run("forget", spec_set)
    assert shared_server.rest("GET", f"/v1/keys/{spec_set}").status == 404
    assert shared_server.plan(spec_set, [])["changes"] == []
    shared_server.ok("DELETE", f"/v1/keystores/{store}")


# ---- pause, resume, protect ------------------------------------------------------------------------------------------


def test_a_paused_key_is_left_alone_until_it_is_resumed(shared_server: Server, run: Callable[..., str]) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set, enabled=True)])
    kms = shared_server.kms()
    key_id = shared_server.ok("GET", f"/v1/keys/{spec_set}")["status"]["keyId"]
    assert "is paused" in run("pause", spec_set)
    kms.disable_key(KeyId=key_id)
    drift = eventually(lambda: shared_server.ok("GET", f"/v1/drift?specSet={spec_set}")["items"], "it is told")
    assert (drift[0]["reason"], drift[0]["management"]) == ("FieldsDiffer", "paused")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Enabled"] is False
    assert "managed again" in run("resume", spec_set)
    eventually(lambda: kms.describe_key(KeyId=key_id)["KeyMetadata"]["Enabled"], "it is put back")


def test_what_is_resumed_is_managed_as_its_set_states(shared_server: Server, run: Callable[..., str]) -> None:
    spec_set = name()
    for kind, plural in (("Key", "keys"), ("Principal", "principals")):
        shared_server.apply(f"{spec_set}-{plural}", [document(kind, spec_set, management="keep-on-delete")])
        short = kind.lower()
        run("pause", spec_set, "--kind", short)
        assert shared_server.ok("GET", f"/v1/{plural}/{spec_set}")["spec"]["management"] == "paused"
        run("resume", spec_set, "--kind", short)
        assert shared_server.ok("GET", f"/v1/{plural}/{spec_set}")["spec"]["management"] == "keep-on-delete"


def test_a_protected_key_is_not_deleted_and_only_an_apply_lifts_that(
    shared_server: Server, run: Callable[..., str]
) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set, description="x")])
    run("protect", spec_set)
    problem(shared_server.rest("DELETE", f"/v1/keys/{spec_set}"), 409, "Blocked")
    assert shared_server.plan(spec_set, [])["counts"]["blocked"] == 1
    lift = document("Key", spec_set, description="x", deletion={"protect": False})
    (change,) = shared_server.plan(spec_set, [lift])["changes"]
    assert (change["action"], change["reason"]) == ("blocked", "FieldOwned"), "somebody else protected it"
    taken = {"specSet": spec_set, "documents": [lift], "takeOwnership": True}
    plan = shared_server.ok("POST", "/v1/plans", taken)
    shared_server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    shared_server.ok("DELETE", f"/v1/keys/{spec_set}")


# ---- resolve ---------------------------------------------------------------------------------------------------------


def test_there_is_nothing_to_resolve_where_every_call_has_an_end(
    shared_server: Server, run: Callable[..., str]
) -> None:
    spec_set = name()
    shared_server.apply(spec_set, [document("Key", spec_set)])
    assert "nothing to resolve" in run("resolve", spec_set, "--adopt", code=1)
    assert "--adopt or --abandon" in run("resolve", spec_set, code=1)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("keys/{key}/manage/explode", {}, 404, "NotFound"),
        ("nothing/{key}/manage/pause", {}, 404, "NotFound"),
        ("keys/none/manage/pause", {}, 404, "NotFound"),
        ("keys/{key}/manage/adopt", {}, 400, "InvalidInput"),
        ("keys/{key}/manage/adopt", {"specSet": "Not A Name"}, 400, "InvalidInput"),
        ("keys/{key}/manage/resolve", {"finding": "perhaps"}, 400, "InvalidInput"),
        ("principals/admin/manage/protect", {}, 400, "InvalidInput"),
        ("principals/admin/manage/resolve", {"finding": "adopt"}, 400, "InvalidInput"),
        ("keystores/standard/manage/pause", {}, 409, "Blocked"),
        ("keystores/none/material", {"object": "x", "name": "y"}, 404, "NotFound"),
        ("keystores/standard/material", {"name": "y"}, 400, "InvalidInput"),
    ],
)
def test_what_cannot_be_managed_so_is_refused(
    shared_server: Server, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    fresh = name()
    shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh))
    problem(shared_server.rest("POST", f"/v1/{path.format(key=fresh)}", body), status, code)


def test_an_open_attempt_keeps_a_key_from_being_forgotten(private_server: Server, tmp_path: Path) -> None:
    server = private_server
    store, device = device_store(server, tmp_path)
    server.ok("PUT", "/v1/keys/k", document("Key", "k", keyStore=store))
    key = ready(server, "k")
    server.stop()
    with sqlite3.connect(server.directory / "keystead.db") as database:
        status = json.loads(database.execute("SELECT status FROM objects WHERE name = 'k'").fetchone()[0])
        (material,) = status.pop("materials")
        database.execute("UPDATE objects SET status = ? WHERE name = 'k'", (json.dumps(status).encode(),))
        database.execute("UPDATE attempts SET ended_at = NULL, outcome = NULL")
        database.execute(
            "UPDATE objects SET spec = ? WHERE name = 'k'",
            (json.dumps({**key["spec"], "management": "paused"}).encode(),),
        )
    database.close()
    server.start()
    found = problem(server.rest("POST", "/v1/keys/k/manage/forget", {}), 409, "Blocked")
    assert "keystead resolve k" in found["detail"]
    server.ok("POST", "/v1/keys/k/manage/resume", {})
    assert ready(server, "k")["status"]["materials"][0]["name"] == material["name"], "it was found by its name"
    assert list(json.loads(device.read_bytes())) == [material["name"]]
