"""External key stores over the KMS API, with boto3: made, connected, used, changed, disconnected, deleted, and refused.

On both proxies: Keystead's own in front of another server's keys, and the scripted one. Each is reached over TLS with a
private certificate authority, which the settings of the server name for the proxy's host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.harness import Server, eventually, refusal
from tests.interop.test_custom_key_stores import described, until
from tests.xksclient import HOST, ProxyFiles
from tests.xksproxied import ACCESS_KEY_ID as PROXIED_ID
from tests.xksproxied import SECRET as PROXIED_SECRET
from tests.xksproxied import start
from tests.xksproxy import ACCESS_KEY_ID, KEY, PATH, SECRET, ScriptedProxy

SECOND_ID = "SECONDCREDENTIAL234567"
SECOND = "5econdSecret/OfTheTests+NotToBeFoundOnDisk/8e1c=="
ADMIN = "arn:aws:iam::000000000000:user/admin"
SERVICE = "com.amazonaws.vpce.us-east-1.vpce-svc-example1"
OTHER_SERVICE = "com.amazonaws.vpce.us-east-1.vpce-svc-example2"
ServerMaker = Callable[..., Server]


class External:
    """A proxy as the KMS in front is told of it."""

    def __init__(self, path: str, key: str, access_key_id: str, secret: str) -> None:
        self.path = path
        self.key = key
        self.credential = {"AccessKeyId": access_key_id, "RawSecretAccessKey": secret}
        self.connection: dict[str, Any] = {}
        self.accept: Callable[[list[tuple[str, str]]], None] = lambda _: None
        """Have the proxy know exactly these credentials."""

    def request(self, **more: Any) -> dict[str, Any]:
        return {
            "CustomKeyStoreName": "bank",
            "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
            "XksProxyConnectivity": "PUBLIC_ENDPOINT",
            "XksProxyUriEndpoint": f"https://{HOST}",
            "XksProxyUriPath": self.path,
            "XksProxyAuthenticationCredential": self.credential,
            **more,
        }

    def connected(self, kms: Any, **more: Any) -> str:
        store: str = kms.create_custom_key_store(**self.request(**more))["CustomKeyStoreId"]
        kms.connect_custom_key_store(CustomKeyStoreId=store)
        until(kms, store, "CONNECTED")
        return store

    def make_key(self, kms: Any, store: str, **more: Any) -> Any:
        asked = {"XksKeyId": self.key, "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store, **more}
        return kms.create_key(**asked)["KeyMetadata"]


def of_scripted(proxy: ScriptedProxy, directory: Path) -> External:
    external = External(PATH, KEY, ACCESS_KEY_ID, SECRET)
    external.connection = {"address": "127.0.0.1", "port": proxy.port, "authority": proxy.write_ca(directory)}

    def accept(credentials: list[tuple[str, str]]) -> None:
        proxy.credentials = dict(credentials)

    external.accept = accept
    return external


def of_keystead(server: Server, directory: Path) -> External:
    files = ProxyFiles(directory / "files")
    proxied = start(server, files)
    authority = directory / "ca.pem"
    files.ca.cert_pem.write_to_path(str(authority))
    external = External("/bank/kms/xks/v1", "payments", PROXIED_ID, PROXIED_SECRET)
    external.connection = {"address": "127.0.0.1", "port": proxied.port, "authority": str(authority)}

    def accept(credentials: list[tuple[str, str]]) -> None:
        proxied.spec["credentials"] = [
            {"accessKeyId": name, "secret": files.secret(name, secret)} for name, secret in credentials
        ]
        proxied.put()

    external.accept = accept
    return external


@pytest.fixture
def external(scripted: ScriptedProxy, tmp_path: Path) -> External:
    return of_scripted(scripted, tmp_path)


@pytest.fixture
def front(external: External, new_server: ServerMaker) -> Iterator[Server]:
    """A server that knows how the scripted proxy is reached."""
    yield new_server("front", xks_connections={HOST: external.connection}).start()


# ---- the life of a store ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["keystead", "scripted"])
def test_an_external_key_store_lives_from_create_to_delete(
    proxy: str, new_server: ServerMaker, scripted: ScriptedProxy, tmp_path: Path
) -> None:
    external = of_scripted(scripted, tmp_path) if proxy == "scripted" else of_keystead(new_server("behind"), tmp_path)
    front = new_server("front", xks_connections={HOST: external.connection}).start()
    kms = front.kms()
    first = (external.credential["AccessKeyId"], external.credential["RawSecretAccessKey"])

    store = kms.create_custom_key_store(**external.request())["CustomKeyStoreId"]
    entry = described(kms, store)
    assert (entry["CustomKeyStoreName"], entry["CustomKeyStoreType"]) == ("bank", "EXTERNAL_KEY_STORE")
    assert entry["ConnectionState"] == "DISCONNECTED"
    assert entry["XksProxyConfiguration"] == {
        "Connectivity": "PUBLIC_ENDPOINT",
        "AccessKeyId": first[0],
        "UriEndpoint": f"https://{HOST}",
        "UriPath": external.path,
    }
    assert refusal(external.make_key, kms=kms, store=store).type == "CustomKeyStoreInvalidStateException"
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")

    key = external.make_key(kms, store)
    assert (key["Origin"], key["KeySpec"], key["KeyState"]) == ("EXTERNAL_KEY_STORE", "SYMMETRIC_DEFAULT", "Enabled")
    assert (key["CustomKeyStoreId"], key["XksKeyConfiguration"]) == (store, {"Id": external.key})
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["XksKeyConfiguration"] == {"Id": external.key}
    context = {"table": "cards"}
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"4111", EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"4111"
    assert refusal(kms.decrypt, CiphertextBlob=blob).type == "KMSInvalidStateException"
    data_key = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]

    rotate_without_an_interruption(kms, external, store, key["KeyId"], first)
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"4111"

    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Unavailable"
    assert refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x").type == "KMSInvalidStateException"
    assert refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=context).type == "KMSInvalidStateException"
    until(kms, store, "DISCONNECTED")
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"4111"
    assert refusal(kms.delete_custom_key_store, CustomKeyStoreId=store).type == "CustomKeyStoreHasCMKsException"

    front.stop()
    written = b"".join(path.read_bytes() for path in front.directory.rglob("*") if path.is_file())
    for secret in (first[1], SECOND):
        assert secret.encode() not in written + front.log().encode()
    front.start()
    kms = front.kms()
    eventually(lambda: described(kms, store)["ConnectionState"] == "CONNECTED", "it is connected again")
    eventually(
        lambda: kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled", "its key is there again"
    )
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"4111"


def rotate_without_an_interruption(
    kms: Any, external: External, store: str, key_id: str, first: tuple[str, str]
) -> None:
    """The specification's steps ("SigV4 credentials rotation"), with a request after every look."""
    external.accept([first, (SECOND_ID, SECOND)])
    kms.update_custom_key_store(
        CustomKeyStoreId=store,
        XksProxyAuthenticationCredential={"AccessKeyId": SECOND_ID, "RawSecretAccessKey": SECOND},
    )
    assert described(kms, store)["XksProxyConfiguration"]["AccessKeyId"] == SECOND_ID
    assert described(kms, store)["ConnectionState"] == "CONNECTED"
    kms.encrypt(KeyId=key_id, Plaintext=b"at once")
    external.accept([(SECOND_ID, SECOND)])

    def used() -> bool:
        try:
            return bool(kms.encrypt(KeyId=key_id, Plaintext=b"x"))
        except kms.exceptions.KMSInvalidStateException:
            return False  # the old credential was in use until now, and the proxy does not know it any more

    eventually(used, "the second credential is in use")


def test_sigv4_credentials_rotation_while_both_are_known_no_request_fails(
    front: Server, external: External, scripted: ScriptedProxy
) -> None:
    kms = front.kms()
    store = external.connected(kms)
    key = external.make_key(kms, store)["KeyId"]
    external.accept([(ACCESS_KEY_ID, SECRET), (SECOND_ID, SECOND)])
    before = scripted.counts["health"]
    credential = {"AccessKeyId": SECOND_ID, "RawSecretAccessKey": SECOND}
    kms.update_custom_key_store(CustomKeyStoreId=store, XksProxyAuthenticationCredential=credential)

    def switched() -> bool:
        kms.encrypt(KeyId=key, Plaintext=b"x")
        return scripted.counts["health"] >= before + 3  # tried out, opened, looked at

    eventually(switched, "the second credential is in use", pause=0)
    external.accept([(SECOND_ID, SECOND)])
    kms.encrypt(KeyId=key, Plaintext=b"x")


def test_an_empty_store_is_deleted_once_it_is_disconnected_and_its_uri_is_free_again(
    front: Server, external: External
) -> None:
    kms = front.kms()
    store = external.connected(kms)
    assert refusal(kms.delete_custom_key_store, CustomKeyStoreId=store).type == "CustomKeyStoreInvalidStateException"
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "DISCONNECTED")
    kms.delete_custom_key_store(CustomKeyStoreId=store)
    assert refusal(kms.describe_custom_key_stores, CustomKeyStoreId=store).type == "CustomKeyStoreNotFoundException"
    external.connected(kms)


# ---- what create and update refuse -----------------------------------------------------------------------------------


def test_create_refuses_requests_that_cannot_be_meant(front: Server, external: External) -> None:
    kms = front.kms()
    for missing in (
        "XksProxyConnectivity",
        "XksProxyUriEndpoint",
        "XksProxyUriPath",
        "XksProxyAuthenticationCredential",
    ):
        request = external.request()
        del request[missing]
        told = refusal(kms.create_custom_key_store, **request)
        assert (told.type, missing in told.message) == ("ValidationException", True)
    for more in (
        {"CloudHsmClusterId": "cluster-7a2b3c4d5e6"},
        {"KeyStorePassword": "password"},
        {"XksProxyVpcEndpointServiceName": SERVICE},
        {"XksProxyVpcEndpointServiceOwner": "111122223333"},
        {"XksProxyConnectivity": "VPC_ENDPOINT_SERVICE"},
        {"XksProxyUriEndpoint": f"http://{HOST}"},
        {"XksProxyUriEndpoint": "https://127.0.0.1"},
        {"XksProxyUriEndpoint": "https://0x7f.1"},
        {"XksProxyUriPath": "/somewhere/else"},
    ):
        assert refusal(kms.create_custom_key_store, **external.request(**more)).type == "ValidationException", more
    hsm = {"CustomKeyStoreName": "hsm", "CloudHsmClusterId": "cluster-7a2b3c4d5e6", "XksProxyUriPath": PATH}
    assert refusal(kms.create_custom_key_store, **hsm).type == "ValidationException"
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []


def test_endpoint_path_and_service_belong_to_one_key_store(
    external: External, new_server: ServerMaker, scripted: ScriptedProxy
) -> None:
    elsewhere = "proxy.elsewhere.example"
    scripted.hang_up()
    scripted.listen(scripted.ca.issue_cert(HOST, elsewhere))
    through = {**external.connection, "privateDnsName": elsewhere}
    connections = {
        HOST: external.connection,
        SERVICE: {**through, "owner": "111122223333"},
        OTHER_SERVICE: {**external.connection},
    }
    kms = new_server("front", xks_connections=connections).start().kms()
    public = kms.create_custom_key_store(**external.request())["CustomKeyStoreId"]
    by_service = {"XksProxyConnectivity": "VPC_ENDPOINT_SERVICE", "XksProxyVpcEndpointServiceName": SERVICE}
    there = {**by_service, "XksProxyUriEndpoint": f"https://{elsewhere}"}

    def refused(name: str, **more: Any) -> str:
        return refusal(kms.create_custom_key_store, **external.request(CustomKeyStoreName=name, **more)).type

    assert refused("bank", XksProxyUriPath="/other/kms/xks/v1") == "CustomKeyStoreNameInUseException"
    assert refused("second") == "XksProxyUriInUseException"
    assert refused("second", XksProxyUriEndpoint="https://LOCALHOST") == "XksProxyUriInUseException"
    assert refused("second", **by_service, XksProxyUriPath="/other/kms/xks/v1") == "XksProxyUriEndpointInUseException"
    assert refused("second", **{**there, "XksProxyVpcEndpointServiceName": f"{SERVICE}x"}) == (
        "XksProxyVpcEndpointServiceNotFoundException"
    )
    assert refused("second", **there, XksProxyVpcEndpointServiceOwner="999999999999") == (
        "XksProxyVpcEndpointServiceNotFoundException"
    )
    wrong = {**there, "XksProxyUriEndpoint": "https://another.example"}
    assert refused("second", **wrong) == "XksProxyVpcEndpointServiceInvalidConfigurationException"
    assert refused("second", XksProxyUriPath="/unknown/kms/xks/v1") == "XksProxyInvalidConfigurationException"

    # A proxy behind a service is asked only when it is connected to, so nothing has to listen yet.
    scripted.hang_up()
    store = kms.create_custom_key_store(**external.request(CustomKeyStoreName="service", **there))["CustomKeyStoreId"]
    configuration = described(kms, store)["XksProxyConfiguration"]
    assert (configuration["Connectivity"], configuration["VpcEndpointServiceName"]) == ("VPC_ENDPOINT_SERVICE", SERVICE)
    assert configuration["VpcEndpointServiceOwner"] == "111122223333"
    third = {**there, "XksProxyUriPath": "/other/kms/xks/v1"}
    assert refused("third", **third) == "XksProxyVpcEndpointServiceInUseException"
    assert refused("third", **{**third, "XksProxyVpcEndpointServiceName": OTHER_SERVICE}) == (
        "XksProxyUriEndpointInUseException"
    )
    scripted.listen(scripted.ca.issue_cert(elsewhere))
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    assert external.make_key(kms, store)["KeyState"] == "Enabled"

    endpoint_in_use = {"XksProxyUriEndpoint": f"https://{elsewhere}", "XksProxyUriPath": "/other/kms/xks/v1"}
    assert refusal(kms.update_custom_key_store, CustomKeyStoreId=public, **endpoint_in_use).type == (
        "XksProxyUriEndpointInUseException"
    )


def test_update_changes_what_it_may_in_each_state(
    external: External, new_server: ServerMaker, scripted: ScriptedProxy
) -> None:
    elsewhere = "proxy.elsewhere.example"
    scripted.hang_up()
    scripted.listen(scripted.ca.issue_cert(HOST, elsewhere))
    connections = dict.fromkeys((HOST, elsewhere, SERVICE), external.connection)
    kms = new_server("front", xks_connections=connections).start().kms()
    store = external.connected(kms)
    key = external.make_key(kms, store)["KeyId"]

    def update(**changes: Any) -> None:
        kms.update_custom_key_store(CustomKeyStoreId=store, **changes)

    def configuration() -> Any:
        return described(kms, store)["XksProxyConfiguration"]

    # Connected: the name, the path and the credential; what the proxy does not know is refused and changes nothing.
    update(NewCustomKeyStoreName="renamed")
    assert described(kms, store)["CustomKeyStoreName"] == "renamed"
    update(XksProxyUriPath=f"{PATH}")
    assert refusal(update, XksProxyUriPath="/unknown/kms/xks/v1").type == "XksProxyInvalidConfigurationException"
    wrong = {"AccessKeyId": ACCESS_KEY_ID, "RawSecretAccessKey": SECOND}
    assert refusal(update, XksProxyAuthenticationCredential=wrong).type == (
        "XksProxyIncorrectAuthenticationCredentialException"
    )
    assert refusal(update, KeyStorePassword="password").type == "ValidationException"
    assert refusal(update, XksProxyUriEndpoint=f"https://{elsewhere}").type == "CustomKeyStoreInvalidStateException"
    through = {
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
        "XksProxyVpcEndpointServiceName": SERVICE,
        "XksProxyUriEndpoint": f"https://{elsewhere}",
    }
    assert refusal(update, **through).type == "CustomKeyStoreInvalidStateException"
    assert configuration()["UriPath"] == PATH
    kms.encrypt(KeyId=key, Plaintext=b"x")

    # Disconnected: everything.
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "DISCONNECTED")
    update(XksProxyUriEndpoint=f"https://{elsewhere}")
    assert configuration()["UriEndpoint"] == f"https://{elsewhere}"
    update(**through)
    assert configuration()["VpcEndpointServiceName"] == SERVICE
    assert refusal(update, XksProxyConnectivity="PUBLIC_ENDPOINT").type == "ValidationException"
    update(XksProxyConnectivity="PUBLIC_ENDPOINT", XksProxyUriEndpoint=f"https://{HOST}")
    assert "VpcEndpointServiceName" not in configuration()
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    kms.encrypt(KeyId=key, Plaintext=b"x")


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_get_key_metadata_create_key_hears_what_is_wrong_with_an_external_key(
    front: Server, external: External, scripted: ScriptedProxy
) -> None:
    kms = front.kms()
    store = external.connected(kms)
    sound = dict(scripted.key_metadata)
    for change in (
        {"keySpec": "AES_128"},
        {"keyUsage": ["ENCRYPT"]},
        {"keyUsage": ["DECRYPT", "SIGN"]},
        {"keyStatus": "DISABLED"},
    ):
        scripted.key_metadata = {**sound, **change}
        assert refusal(external.make_key, kms=kms, store=store).type == "XksKeyInvalidConfigurationException", change
    scripted.key_metadata = sound
    assert refusal(external.make_key, kms=kms, store=store, XksKeyId="absent").type == "XksKeyNotFoundException"
    assert kms.list_keys()["Keys"] == [], "nothing is left of what was refused"
    for more in (
        {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        {"MultiRegion": True},
    ):
        assert refusal(external.make_key, kms=kms, store=store, **more).type == "UnsupportedOperationException", more
    for request in (
        {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store},
        {"Origin": "AWS_KMS", "XksKeyId": KEY},
        {"XksKeyId": KEY},
        {"Origin": "EXTERNAL_KEY_STORE", "XksKeyId": KEY},
    ):
        assert refusal(kms.create_key, **request).type == "ValidationException", request
    external.make_key(kms, store)
    assert refusal(external.make_key, kms=kms, store=store).type == "XksKeyAlreadyInUseException"


def test_what_external_key_stores_do_not_offer_is_refused(front: Server, external: External) -> None:
    kms = front.kms()
    store = external.connected(kms)
    key = external.make_key(kms, store)["KeyId"]
    wrapping = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    for call, arguments in (
        (kms.enable_key_rotation, {"KeyId": key}),
        (kms.rotate_key_on_demand, {"KeyId": key}),
        (kms.get_key_rotation_status, {"KeyId": key}),
        (kms.get_parameters_for_import, {"KeyId": key, **wrapping}),
        (kms.replicate_key, {"KeyId": key, "ReplicaRegion": "eu-central-1"}),
        (kms.generate_data_key_pair, {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"}),
        (kms.get_public_key, {"KeyId": key}),
        (kms.generate_random, {"NumberOfBytes": 1, "CustomKeyStoreId": store}),
    ):
        assert refusal(call, **arguments).type == "UnsupportedOperationException", call.__name__


def test_the_external_key_manager_hears_who_made_the_key(
    front: Server, external: External, scripted: ScriptedProxy
) -> None:
    kms = front.kms()
    store = external.connected(kms)
    answer = kms.create_key(XksKeyId=KEY, Origin="EXTERNAL_KEY_STORE", CustomKeyStoreId=store)
    request_id = answer["ResponseMetadata"]["RequestId"]
    told = [body["requestMetadata"] for api, body in scripted.heard if api == "metadata"]
    assert {each["awsPrincipalArn"] for each in told} == {ADMIN}
    assert {each["kmsOperation"] for each in told} == {"CreateKey"}
    assert {each["kmsRequestId"] for each in told} == {request_id}


# ---- health ----------------------------------------------------------------------------------------------------------


def test_health_is_in_the_status_and_a_change_of_it_is_an_event(
    front: Server, external: External, scripted: ScriptedProxy, tmp_path: Path
) -> None:
    kms = front.kms()
    store = external.connected(kms)
    key = external.make_key(kms, store)["KeyId"]

    def status() -> Any:
        return front.ok("GET", f"/v1/keystores/{store}")["status"]

    eventually(lambda: status().get("health") == "ACTIVE", "it was looked at")
    assert status()["certificateDays"] > 0
    assert set(status()["latency"]) == {"p50", "p99", "limit"}

    def look(name: str, health: str) -> None:
        kms.update_custom_key_store(CustomKeyStoreId=store, NewCustomKeyStoreName=name)
        eventually(lambda: status().get("health") == health, f"its health is {health}")

    ailing = {"id": "hsm-2", "model": "Scripted 1", "healthStatus": "DEGRADED"}
    scripted.script["health"] = lambda answer: {**answer, "ekmFleetDetails": [*answer["ekmFleetDetails"], ailing]}
    look("degraded", "DEGRADED")
    assert {member["name"]: member.get("active", True) for member in status()["members"]} == {
        "hsm-1": True,
        "hsm-2": False,
    }
    assert described(kms, store)["ConnectionState"] == "CONNECTED"
    kms.encrypt(KeyId=key, Plaintext=b"x")
    scripted.script["health"] = lambda answer: {
        **answer,
        "ekmFleetDetails": [{**answer["ekmFleetDetails"][0], "healthStatus": "UNAVAILABLE"}],
    }
    look("unavailable", "UNAVAILABLE")
    scripted.script.clear()
    look("sound", "ACTIVE")
    events = [event for event in front.ok("GET", "/v1/events")["items"] if event["name"] == store]
    reasons = [event["reason"] for event in sorted(events, key=lambda event: event["lastAt"])]
    told = [reason for reason in reasons if reason in ("StoreDegraded", "StoreFailed", "StoreRecovered")]
    assert told == ["StoreDegraded", "StoreFailed", "StoreRecovered"]
    metrics = front.http("GET", "/metrics").body.decode()
    assert f'keystead_key_store_health{{key_store="{store}",type="xks"}} 2.0' in metrics
    for name in ("certificate_days", "latency_seconds"):
        assert f'keystead_key_store_{name}{{key_store="{store}"' in metrics


def test_a_certificate_that_ends_soon_is_told_before_it_does(
    external: External, scripted: ScriptedProxy, new_server: ServerMaker
) -> None:
    import datetime

    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=9, hours=1)
    scripted.hang_up()
    scripted.listen(scripted.ca.issue_cert(HOST, not_after=soon))
    front = new_server("front", xks_connections={HOST: external.connection}).start()
    store = external.connected(front.kms())
    status = eventually(
        lambda: found if "certificateDays" in (found := front.ok("GET", f"/v1/keystores/{store}")["status"]) else None,
        "it was looked at",
    )
    assert status["certificateDays"] == 9
    told = [event["message"] for event in front.ok("GET", "/v1/events")["items"] if event["name"] == store]
    assert "the certificate of its server expires in 9 days" in told


def test_authentication_a_client_certificate_of_the_settings_is_shown_to_a_proxy_that_asks_for_one(
    external: External, scripted: ScriptedProxy, new_server: ServerMaker, tmp_path: Path
) -> None:
    clients = trustme.CA()
    leaf = clients.issue_cert(common_name="cks.kms.us-east-1.amazonaws.com")
    leaf.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "client.crt"))
    scripted.hang_up()
    scripted.listen(client_ca=clients)
    without = new_server("without", xks_connections={HOST: external.connection}).start()
    assert refusal(without.kms().create_custom_key_store, **external.request()).type == (
        "XksProxyUriUnreachableException"
    )
    client = {"certificate": str(tmp_path / "client.crt"), "key": str(tmp_path / "client.key")}
    front = new_server("front", xks_connections={HOST: {**external.connection, "client": client}}).start()
    external.connected(front.kms())
