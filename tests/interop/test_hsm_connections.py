"""Connections to HSMs through the whole server: each connection error code really caused, conditions that say since
when and why, and a failing HSM that costs nobody else anything."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, document, eventually, in_time, refusal
from tests.hsm import PIN, SOFTHSM, SoftToken, need, pin_file
from tests.interop.test_custom_key_stores import CLUSTER, Clusters, connected, described, make_key, until
from tests.shim import Effect, Shim

ServerMaker = Callable[..., Server]


@pytest.fixture
def clusters(tmp_path: Path) -> Clusters:
    return Clusters(tmp_path)


@pytest.fixture
def shim(clusters: Clusters) -> Iterator[Shim]:
    """In front of the cluster's token."""
    shim = Shim(clusters.token)
    clusters.settings[CLUSTER] = clusters.options(**shim.options())
    yield shim
    shim.close()


@pytest.fixture
def server(clusters: Clusters, new_server: ServerMaker) -> Server:
    return new_server(clusters=clusters.settings)


def failed(kms: Any, clusters: Clusters, **more: Any) -> tuple[str, str]:
    """Connect and fail: the store and the error code."""
    store = kms.create_custom_key_store(**clusters.request(**more))["CustomKeyStoreId"]
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    return store, until(kms, store, "FAILED")["ConnectionErrorCode"]


def again(kms: Any, store: str) -> str:
    """Disconnect, connect, fail: the error code."""
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "DISCONNECTED")
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    code: str = until(kms, store, "FAILED")["ConnectionErrorCode"]
    return code


def condition(server: Server, name: str, kind: str) -> dict[str, Any]:
    """A condition of a key store, once it has one of that kind: right after its declaration it has none."""

    def look() -> dict[str, Any] | None:
        conditions = server.ok("GET", f"/v1/keystores/{name}")["status"].get("conditions", ())
        return next((each for each in conditions if each["type"] == kind), None)

    found: dict[str, Any] = eventually(look, f"{name} has the condition {kind}")
    return found


# ---- error codes -----------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_tried_once_and_mended_by_an_update(
    shim: Shim, server: Server, clusters: Clusters
) -> None:
    kms = server.start().kms()
    store, code = failed(kms, clusters, KeyStorePassword="wrong-pin-1")
    assert code == "INVALID_CREDENTIALS"
    assert shim.wrong_pins == 1
    refused = refusal(kms.connect_custom_key_store, CustomKeyStoreId=store)
    assert refused.type == "CustomKeyStoreInvalidStateException"
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    entry = until(kms, store, "DISCONNECTED")
    assert "ConnectionErrorCode" not in entry
    kms.update_custom_key_store(CustomKeyStoreId=store, KeyStorePassword=PIN)
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    assert shim.wrong_pins == 1
    assert "wrong-pin-1" not in server.log()


def test_a_locked_user_and_one_who_is_logged_in_elsewhere_have_codes_of_their_own(
    shim: Shim, server: Server, clusters: Clusters
) -> None:
    kms = server.start().kms()
    shim.set(wrong_pins_allowed=1, wrong_pins=1)
    store, code = failed(kms, clusters)
    assert code == "USER_LOCKED_OUT"
    shim.set(wrong_pins_allowed=0, other_user=1)
    assert again(kms, store) == "USER_LOGGED_IN"


def test_a_user_who_does_not_exist_is_not_found(clusters: Clusters, server: Server, tmp_path: Path) -> None:
    bare = SoftToken(tmp_path / "bare", "bare", user=False)
    clusters.settings[CLUSTER] = clusters.options(**bare.options())
    _, code = failed(server.start().kms(), clusters)
    assert code == "USER_NOT_FOUND"


def test_a_cluster_that_left_the_settings_is_not_found(clusters: Clusters, server: Server) -> None:
    kms = server.start().kms()
    store = connected(kms, clusters)
    server.stop()
    server.settings["clusters"] = {}
    kms = server.start().kms()
    assert until(kms, store, "FAILED")["ConnectionErrorCode"] == "CLUSTER_NOT_FOUND"


def test_a_cluster_without_its_hsms_has_too_few(clusters: Clusters, server: Server, tmp_path: Path) -> None:
    second = SoftToken(tmp_path / "second", "second")
    members = [clusters.token.options(), second.options()]
    clusters.settings[CLUSTER] = clusters.options(members=members, minimumMembers=2)
    kms = server.start().kms()
    second.remove()
    store, code = failed(kms, clusters)
    assert code == "INSUFFICIENT_CLOUDHSM_HSMS"
    second.bring_back()
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "DISCONNECTED")
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    make_key(kms, store)
    second.remove()
    began = time.monotonic()
    at_once = refusal(make_key, kms=kms, store=store)
    assert at_once.type == "CloudHsmClusterInvalidConfigurationException", "nobody noticed the loss before"
    assert "1 of 2 members are active and 2 are needed to make a key" in at_once.message
    assert in_time(began, 10), "it does not wait for the member"

    def refused() -> bool:
        """Once the loss was noticed."""
        told = condition(server, store, "Members")
        return bool(told["status"] == "False" and told["reason"] == "MembersInactive")

    kms.update_custom_key_store(CustomKeyStoreId=store, NewCustomKeyStoreName="looked at again")
    eventually(refused, "the loss of a member is told")
    assert refusal(make_key, kms=kms, store=store).type == "CloudHsmClusterInvalidConfigurationException"


@pytest.mark.parametrize(
    ("code", "expected"), [(0x32, "NETWORK_ERRORS"), (0x30, "NETWORK_ERRORS"), (0x05, "INTERNAL_ERROR")]
)
def test_a_device_that_does_not_answer_is_a_matter_of_the_network_and_anything_else_is_internal(
    shim: Shim, server: Server, clusters: Clusters, code: int, expected: str
) -> None:
    kms = server.start().kms()
    shim.pull_out(code)
    store, told = failed(kms, clusters)
    assert told == expected
    shim.heal()
    until(kms, store, "CONNECTED")


# ---- a failing HSM and everybody else --------------------------------------------------------------------------------


def test_an_hsm_that_hangs_crashes_and_goes_costs_its_own_keys_only(
    shim: Shim, server: Server, clusters: Clusters
) -> None:
    kms = server.start().kms()
    store = connected(kms, clusters)
    key, other = make_key(kms, store)["KeyId"], kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]

    shim.strike(Effect.CRASH, function="C_Decrypt")
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    shim.strike(Effect.HANG, function="C_Decrypt")
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"

    shim.pull_out()
    for _ in range(8):
        assert refusal(kms.decrypt, CiphertextBlob=blob).type == "KMSInvalidStateException"
        began = time.monotonic()
        kms.encrypt(KeyId=other, Plaintext=b"x")
        assert in_time(began, 1)
    assert described(kms, store)["ConnectionState"] == "CONNECTED"
    began = time.monotonic()
    assert refusal(make_key, kms=kms, store=store).type == "CustomKeyStoreInvalidStateException"
    assert in_time(began, 10), "it does not wait as long as for a store that is slow"
    shim.heal()
    began = time.monotonic()
    eventually(lambda: _decrypts(kms, blob), "the HSM is used again")
    assert in_time(began, 2.5)
    there = {key, other}
    eventually(lambda: {each["KeyId"] for each in kms.list_keys()["Keys"]} == there, "what failed is not declared")


def test_a_token_that_is_pulled_out_and_returned_is_told_and_mended(
    clusters: Clusters, server: Server, tmp_path: Path
) -> None:
    server.start()
    spec = {"type": "pkcs11", "pkcs11": {**clusters.token.options(workers=1), "pin": pin_file(tmp_path)}}
    server.apply("hsm", [document("KeyStore", "hsm-a", **spec), document("Key", "payments", keyStore="hsm-a")])
    kms = server.kms()
    arn = server.ok("GET", "/v1/keys/payments")["status"]["arn"]
    blob = kms.encrypt(KeyId=arn, Plaintext=b"kept")["CiphertextBlob"]
    clusters.token.remove()
    assert refusal(kms.decrypt, CiphertextBlob=blob).type == "KMSInvalidStateException"
    clusters.token.bring_back()
    began = time.monotonic()
    eventually(lambda: _decrypts(kms, blob), "the token is used again")
    assert in_time(began, 2.5)


def test_the_last_error_of_a_connection_stands_in_its_condition_since_it_began(
    clusters: Clusters, server: Server, tmp_path: Path
) -> None:
    server.start()
    clusters.token.remove()
    spec = {"type": "pkcs11", "pkcs11": {**clusters.token.options(workers=1), "pin": pin_file(tmp_path)}}
    plan = server.plan("hsm", [document("KeyStore", "hsm-a", **spec)])
    server.ok("POST", f"/v1/plans/{plan['id']}/apply")
    told = eventually(
        lambda: found if (found := condition(server, "hsm-a", "Connected"))["reason"] == "Misconfigured" else None,
        "the failure is told",
    )
    assert "no such token in any slot" in told["message"]
    time_of_it = told["lastTransition"]
    clusters.token.bring_back()
    connected_now = eventually(
        lambda: found if (found := condition(server, "hsm-a", "Connected"))["status"] == "True" else None,
        "it is connected once the token is there",
    )
    assert connected_now["lastTransition"] > time_of_it
    assert "problem" not in server.ok("GET", "/v1/keystores/hsm-a")["status"]


def test_members_that_do_not_synchronise_are_a_condition(clusters: Clusters, server: Server, tmp_path: Path) -> None:
    server.start()
    second = SoftToken(tmp_path / "second", "second")
    members = [clusters.token.options(), second.options()]
    spec = {"type": "pkcs11", "pkcs11": {"members": members, "workers": 1, "pin": pin_file(tmp_path)}}
    server.apply("hsm", [document("KeyStore", "hsm-a", **spec)])
    told = condition(server, "hsm-a", "Members")
    assert (told["status"], told["reason"]) == ("False", "NotSynchronised")
    assert condition(server, "hsm-a", "Ready")["status"] == "True"
    status = server.ok("GET", "/v1/keystores/hsm-a")["status"]
    assert status["synchronised"] is False
    assert [member["name"] for member in status["members"]] == ["keystead", "second"]


def test_no_worker_outlives_a_server_that_is_killed(clusters: Clusters, server: Server, tmp_path: Path) -> None:
    kms = server.start().kms()
    connected(kms, clusters)
    assert server.process is not None
    children = _workers_of(server.process.pid)
    assert children
    os.kill(server.process.pid, signal.SIGKILL)
    eventually(lambda: not any(_alive(pid) for pid in children), "the workers are gone")


def test_a_declared_module_of_ones_own_is_never_loaded_and_the_condition_says_why(
    new_server: ServerMaker, tmp_path: Path
) -> None:
    token = SoftToken(tmp_path / "hsm")
    copy = tmp_path / "evil.so"
    copy.write_bytes(Path(need(SOFTHSM)).read_bytes())  # it would work
    server = new_server().start()
    options = {**token.options(), "pin": pin_file(tmp_path)}

    def declare(module: str) -> None:
        store = document("KeyStore", "evil", type="pkcs11", pkcs11={**options, "module": module})
        plan = server.plan("evil", [store])
        server.ok("POST", f"/v1/plans/{plan['id']}/apply")

    declare(str(copy))
    eventually(lambda: condition(server, "evil", "Connected")["reason"] == "Misconfigured", "it is refused")
    assert (
        f"module: '{copy}' is not a module that key stores may name"
        in condition(server, "evil", "Connected")["message"]
    )
    declare(SOFTHSM)
    eventually(
        lambda: condition(server, "evil", "Connected")["status"] == "True", "with the system's module it connects"
    )


def _decrypts(kms: Any, blob: bytes) -> bool:
    try:
        return bool(kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept")
    except kms.exceptions.KMSInvalidStateException:
        return False


def _workers_of(parent: int) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                stat = (process / "stat").read_text().rpartition(") ")[2].split()
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if int(stat[1]) == parent and b"plugins.sdk.workers.child" in command:
                found.append(int(process.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
