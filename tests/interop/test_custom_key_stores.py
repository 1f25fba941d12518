"""AWS's custom key stores with boto3, on SoftHSM: made, connected, used, disconnected, deleted; and each refusal."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.harness import Server, document, eventually, refusal
from tests.hsm import PIN, SoftToken, pin_file
from tests.interop.answers import pages

CLUSTER = "cluster-7a2b3c4d5e6"
TWIN = "cluster-twinxtwinxtw"
OTHER = "cluster-zzzzzzzzzzz"
ServerMaker = Callable[..., Server]


def certificate(name: str) -> str:
    """A self-signed certificate in PEM, as a cluster's customerCA.crt."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


class Clusters:
    """Settings of clusters on tokens of the test's own, and what a create request needs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.token = SoftToken(directory / "hsm")
        self.anchor = certificate("cluster")
        (directory / "anchor.pem").write_text(self.anchor)
        self.settings: dict[str, Any] = {CLUSTER: self.options()}

    def options(self, **more: Any) -> dict[str, Any]:
        return {**self.token.options(workers=1), "trustAnchor": str(self.directory / "anchor.pem"), **more}

    def request(self, **more: Any) -> dict[str, Any]:
        return {
            "CustomKeyStoreName": "payments HSM",
            "CloudHsmClusterId": CLUSTER,
            "KeyStorePassword": PIN,
            "TrustAnchorCertificate": self.anchor,
            **more,
        }


@pytest.fixture
def clusters(tmp_path: Path) -> Clusters:
    return Clusters(tmp_path)


@pytest.fixture
def server(clusters: Clusters, new_server: ServerMaker) -> Server:
    return new_server(clusters=clusters.settings).start()


def described(kms: Any, store: str) -> Any:
    (entry,) = kms.describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"]
    return entry


def until(kms: Any, store: str, state: str) -> Any:
    """Wait for a connection state; the entry."""
    return eventually(
        lambda: entry if (entry := described(kms, store))["ConnectionState"] == state else None,
        f"{store} is {state}",
    )


def connected(kms: Any, clusters: Clusters, **more: Any) -> str:
    store: str = kms.create_custom_key_store(**clusters.request(**more))["CustomKeyStoreId"]
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    return store


def make_key(kms: Any, store: str, **more: Any) -> Any:
    return kms.create_key(CustomKeyStoreId=store, Origin="AWS_CLOUDHSM", **more)["KeyMetadata"]


# ---- the life of a store ---------------------------------------------------------------------------------------------


def test_a_key_store_lives_from_create_to_delete_and_its_key_is_made_and_used_in_the_hsm(
    server: Server, clusters: Clusters
) -> None:
    kms = server.kms()
    store = kms.create_custom_key_store(**clusters.request())["CustomKeyStoreId"]
    entry = described(kms, store)
    assert (entry["CustomKeyStoreName"], entry["CustomKeyStoreType"]) == ("payments HSM", "AWS_CLOUDHSM")
    assert (entry["CloudHsmClusterId"], entry["TrustAnchorCertificate"]) == (CLUSTER, clusters.anchor)
    assert entry["ConnectionState"] == "DISCONNECTED"
    assert refusal(make_key, kms=kms, store=store).type == "CustomKeyStoreInvalidStateException"

    kms.connect_custom_key_store(CustomKeyStoreId=store)
    assert described(kms, store)["ConnectionState"] in ("CONNECTING", "CONNECTED")
    until(kms, store, "CONNECTED")
    key = make_key(kms, store)
    assert (key["Origin"], key["CustomKeyStoreId"], key["KeyState"]) == ("AWS_CLOUDHSM", store, "Enabled")
    assert key["CloudHsmClusterId"] == CLUSTER
    assert "sensitive, always sensitive, never extractable, local" in clusters.token.objects()

    context = {"table": "cards"}
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"4111", EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"4111"
    assert refusal(kms.decrypt, CiphertextBlob=blob).type == "InvalidCiphertextException"
    data_key = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    assert len(kms.generate_random(NumberOfBytes=33, CustomKeyStoreId=store)["Plaintext"]) == 33

    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Unavailable"
    for call in (
        lambda: kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x"),
        lambda: kms.decrypt(CiphertextBlob=blob, EncryptionContext=context),
        lambda: kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256"),
    ):
        assert refusal(call).type == "KMSInvalidStateException"
    until(kms, store, "DISCONNECTED")
    assert refusal(kms.generate_random, NumberOfBytes=1, CustomKeyStoreId=store).type == (
        "CustomKeyStoreInvalidStateException"
    )
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"4111"

    assert refusal(kms.delete_custom_key_store, CustomKeyStoreId=store).type == "CustomKeyStoreHasCMKsException"
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    assert refusal(kms.delete_custom_key_store, CustomKeyStoreId=store).type == "CustomKeyStoreHasCMKsException"


def test_an_empty_store_is_deleted_once_it_is_disconnected_and_its_cluster_is_free_again(
    server: Server, clusters: Clusters
) -> None:
    kms = server.kms()
    store = connected(kms, clusters)
    assert refusal(kms.delete_custom_key_store, CustomKeyStoreId=store).type == "CustomKeyStoreInvalidStateException"
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "DISCONNECTED")
    kms.delete_custom_key_store(CustomKeyStoreId=store)
    for call in (kms.delete_custom_key_store, kms.connect_custom_key_store, kms.describe_custom_key_stores):
        assert refusal(call, CustomKeyStoreId=store).type == "CustomKeyStoreNotFoundException"
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []
    connected(kms, clusters)


def test_the_password_is_kept_sealed_and_a_restart_connects_again(server: Server, clusters: Clusters) -> None:
    kms = server.kms()
    store = connected(kms, clusters)
    key = make_key(kms, store)
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"kept")["CiphertextBlob"]
    server.stop()
    written = b"".join(path.read_bytes() for path in server.directory.rglob("*") if path.is_file())
    assert PIN.encode() not in written + server.log().encode()
    server.start()
    kms = server.kms()
    eventually(
        lambda: kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled", "the key is there again"
    )
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"


def test_states_answer_as_aws_does(server: Server, clusters: Clusters) -> None:
    kms = server.kms()
    store = kms.create_custom_key_store(**clusters.request())["CustomKeyStoreId"]
    assert refusal(kms.disconnect_custom_key_store, CustomKeyStoreId=store).type == (
        "CustomKeyStoreInvalidStateException"
    )
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    kms.update_custom_key_store(CustomKeyStoreId=store, NewCustomKeyStoreName="renamed")
    assert described(kms, store)["CustomKeyStoreName"] == "renamed"
    assert refusal(kms.update_custom_key_store, CustomKeyStoreId=store, KeyStorePassword="another").type == (
        "CustomKeyStoreInvalidStateException"
    )


def test_stores_are_listed_by_name_by_id_and_in_pages_with_those_that_were_declared(
    server: Server, clusters: Clusters, tmp_path: Path
) -> None:
    kms = server.kms()
    store = kms.create_custom_key_store(**clusters.request())["CustomKeyStoreId"]
    spec = {"type": "pkcs11", "connected": False, "pkcs11": {**clusters.token.options(), "pin": pin_file(tmp_path)}}
    server.apply("hsm", [document("KeyStore", "declared", **spec)])
    (by_name,) = kms.describe_custom_key_stores(CustomKeyStoreName="payments HSM")["CustomKeyStores"]
    assert by_name["CustomKeyStoreId"] == store
    (other,) = kms.describe_custom_key_stores(CustomKeyStoreName="declared")["CustomKeyStores"]
    first = kms.describe_custom_key_stores(Limit=1)
    assert first["Truncated"]
    # One before all others and one behind them: neither moves what comes after the marker.
    later = [document("KeyStore", name, **spec) for name in ("declared", "0-first", "zz-last")]
    server.apply("hsm", later)
    seen = [first["CustomKeyStores"][0]["CustomKeyStoreId"]]
    for page in pages(kms.describe_custom_key_stores, "CustomKeyStores", Limit=1, Marker=first["NextMarker"]):
        (entry,) = page
        seen.append(entry["CustomKeyStoreId"])
    (last,) = kms.describe_custom_key_stores(CustomKeyStoreName="zz-last")["CustomKeyStores"]
    assert len(seen) == len(set(seen)) == 3
    assert set(seen) == {store, other["CustomKeyStoreId"], last["CustomKeyStoreId"]}
    assert refusal(kms.describe_custom_key_stores, CustomKeyStoreName="absent").type == (
        "CustomKeyStoreNotFoundException"
    )
    both = refusal(kms.describe_custom_key_stores, CustomKeyStoreName="declared", CustomKeyStoreId=store)
    assert both.type == "ValidationException"


def test_a_declared_store_is_used_over_the_api_like_one_that_was_made_there(
    server: Server, clusters: Clusters, tmp_path: Path
) -> None:
    spec = {"type": "pkcs11", "pkcs11": {"cluster": CLUSTER, "pin": pin_file(tmp_path)}}
    server.apply("hsm", [document("KeyStore", "hsm-a", **spec), document("Key", "payments", keyStore="hsm-a")])
    kms = server.kms()
    (entry,) = kms.describe_custom_key_stores(CustomKeyStoreName="hsm-a")["CustomKeyStores"]
    assert (entry["ConnectionState"], entry["CloudHsmClusterId"]) == ("CONNECTED", CLUSTER)
    key = make_key(kms, entry["CustomKeyStoreId"])
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert refusal(kms.create_custom_key_store, **clusters.request()).type == "CloudHsmClusterInUseException"


def test_with_auto_connect_a_store_needs_nobody_to_connect_it(clusters: Clusters, new_server: ServerMaker) -> None:
    """The Terraform provider makes a store and at once a key in it, and connects nothing."""
    server = new_server(clusters=clusters.settings, custom_key_stores={"autoConnect": True}).start()
    kms = server.kms()
    store = kms.create_custom_key_store(**clusters.request())["CustomKeyStoreId"]
    assert make_key(kms, store)["KeyState"] == "Enabled"
    assert described(kms, store)["ConnectionState"] == "CONNECTED"


# ---- refusals of create and update -----------------------------------------------------------------------------------


def test_create_refuses_what_does_not_fit(clusters: Clusters, new_server: ServerMaker, tmp_path: Path) -> None:
    other = certificate("other")
    (tmp_path / "other.pem").write_text(other)
    clusters.settings |= {
        TWIN: clusters.options(),
        OTHER: clusters.options(trustAnchor=str(tmp_path / "other.pem")),
        "cluster-aaaaaaaaaaa": clusters.options(active=False),
        "cluster-bbbbbbbbbbb": clusters.options(minimumMembersToCreate=2),
        "cluster-ccccccccccc": {"trustAnchor": str(tmp_path / "anchor.pem")},
    }
    kms = new_server(clusters=clusters.settings).start().kms()
    for more, exception in (
        ({"CloudHsmClusterId": "cluster-yyyyyyyyyyy"}, "CloudHsmClusterNotFoundException"),
        ({"CloudHsmClusterId": "cluster-aaaaaaaaaaa"}, "CloudHsmClusterNotActiveException"),
        ({"CloudHsmClusterId": "cluster-bbbbbbbbbbb"}, "CloudHsmClusterInvalidConfigurationException"),
        ({"CloudHsmClusterId": "cluster-ccccccccccc"}, "CloudHsmClusterInvalidConfigurationException"),
        ({"TrustAnchorCertificate": other}, "IncorrectTrustAnchorException"),
        ({"TrustAnchorCertificate": "no certificate"}, "IncorrectTrustAnchorException"),
        ({"CloudHsmClusterId": "cluster-000000000!!"}, "ValidationException"),
    ):
        assert refusal(kms.create_custom_key_store, **clusters.request(**more)).type == exception, more
    for missing in ("CloudHsmClusterId", "KeyStorePassword", "TrustAnchorCertificate"):
        request = clusters.request()
        del request[missing]
        assert refusal(kms.create_custom_key_store, **request).type == "ValidationException"
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []

    store = kms.create_custom_key_store(**clusters.request())["CustomKeyStoreId"]
    name_in_use = clusters.request(CloudHsmClusterId=OTHER, TrustAnchorCertificate=other)
    assert refusal(kms.create_custom_key_store, **name_in_use).type == "CustomKeyStoreNameInUseException"
    for cluster in (CLUSTER, TWIN):
        in_use = clusters.request(CustomKeyStoreName="second", CloudHsmClusterId=cluster)
        assert refusal(kms.create_custom_key_store, **in_use).type == "CloudHsmClusterInUseException"
    for more, exception in (
        ({"CloudHsmClusterId": OTHER}, "CloudHsmClusterNotRelatedException"),
        ({"CloudHsmClusterId": "cluster-yyyyyyyyyyy"}, "CloudHsmClusterNotFoundException"),
        ({"CloudHsmClusterId": "cluster-aaaaaaaaaaa"}, "CloudHsmClusterNotActiveException"),
    ):
        assert refusal(kms.update_custom_key_store, CustomKeyStoreId=store, **more).type == exception
    kms.update_custom_key_store(CustomKeyStoreId=store, CloudHsmClusterId=TWIN, KeyStorePassword=PIN)
    assert described(kms, store)["CloudHsmClusterId"] == TWIN
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(kms, store, "CONNECTED")


def test_what_custom_key_stores_do_not_offer_is_refused(server: Server, clusters: Clusters) -> None:
    kms = server.kms()
    store = connected(kms, clusters)
    for more in (
        {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        {"MultiRegion": True},
    ):
        assert refusal(make_key, kms=kms, store=store, **more).type == "UnsupportedOperationException", more
    assert refusal(kms.create_key, CustomKeyStoreId=store, Origin="EXTERNAL").type == "UnsupportedOperationException"
    assert refusal(kms.create_key, Origin="AWS_CLOUDHSM").type == "ValidationException"
    assert refusal(kms.create_key, CustomKeyStoreId="cks-absent", Origin="AWS_CLOUDHSM").type == (
        "CustomKeyStoreNotFoundException"
    )
    key = make_key(kms, store)["KeyId"]
    wrapping = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    pair = {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"}
    for call, arguments in (
        (kms.enable_key_rotation, {"KeyId": key}),
        (kms.rotate_key_on_demand, {"KeyId": key}),
        (kms.get_key_rotation_status, {"KeyId": key}),
        (kms.get_parameters_for_import, {"KeyId": key, **wrapping}),
        (kms.replicate_key, {"KeyId": key, "ReplicaRegion": "eu-central-1"}),
        (kms.generate_data_key_pair, pair),
        (kms.generate_data_key_pair_without_plaintext, pair),
    ):
        assert refusal(call, **arguments).type == "UnsupportedOperationException", call.__name__
    assert refusal(kms.get_public_key, KeyId=key).type == "UnsupportedOperationException"
