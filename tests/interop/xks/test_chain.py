"""One Keystead is the KMS, another is the proxy in front of the external keys: what users of both see."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from controlplane.usage import envelope
from tests.controlplane.api.xks.test_specification_logging import audit
from tests.harness import document, eventually, refusal
from tests.interop.xks.conftest import Chain
from tests.xksclient import b64
from tests.xksproxied import ACCESS_KEY_ID, SECRET

CONTEXT = {"purpose": "test", "ä": "\u2028" * 500}


def test_a_key_of_an_external_key_store_encrypts_decrypts_and_makes_data_keys(chain: Chain) -> None:
    chain.declare()
    key_id, kms = chain.add_key(), chain.kms.kms()
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x" * 4096, EncryptionContext=CONTEXT)["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == b"x" * 4096
    assert opened["KeyId"].endswith(key_id)
    data_key = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    standard = kms.create_key()["KeyMetadata"]["KeyId"]
    moved = kms.re_encrypt(CiphertextBlob=data_key["CiphertextBlob"], DestinationKeyId=standard)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=moved)["Plaintext"] == data_key["Plaintext"]
    back = kms.re_encrypt(CiphertextBlob=moved, DestinationKeyId=key_id)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=back)["Plaintext"] == data_key["Plaintext"]


def test_appendix_b_the_proxy_hears_who_asked_for_what_and_the_requests_can_be_told_together(chain: Chain) -> None:
    chain.declare()
    key_id, kms = chain.add_key(), chain.kms.kms()
    answers = {
        "Encrypt": kms.encrypt(KeyId=key_id, Plaintext=b"x"),
        "GenerateDataKeyWithoutPlaintext": kms.generate_data_key_without_plaintext(KeyId=key_id, KeySpec="AES_128"),
    }
    answers["Decrypt"] = kms.decrypt(CiphertextBlob=answers["Encrypt"]["CiphertextBlob"])
    answers["ReEncrypt"] = kms.re_encrypt(
        CiphertextBlob=answers["Encrypt"]["CiphertextBlob"],
        SourceEncryptionContext={},
        DestinationKeyId=key_id,
        DestinationEncryptionContext={"a": "b"},
    )
    heard: dict[str, list[dict[str, Any]]] = {}
    for record in audit(chain.proxied):
        told = record.get("details", {}).get("requestMetadata")
        if told:
            heard.setdefault(told["kmsRequestId"], []).append(told)
    arn = chain.kms.ok("GET", "/v1/keys/outer")["status"]["arn"]
    for operation, answer in answers.items():
        told = heard[answer["ResponseMetadata"]["RequestId"]]
        assert len(told) == (2 if operation == "ReEncrypt" else 1)
        for each in told:
            assert each["kmsOperation"] == operation
            assert each["kmsKeyArn"] == arn
            assert each["awsPrincipalArn"] == "arn:aws:iam::000000000000:user/admin"


def test_both_halves_are_needed_the_external_key_alone_reads_nothing(chain: Chain) -> None:
    """Double encryption: what the proxy decrypts is still encrypted under material of the KMS in front."""
    chain.declare()
    key_id, kms = chain.add_key(), chain.kms.kms()
    secret = b"the secret of both, which neither of them reads alone"
    blob = kms.encrypt(KeyId=key_id, Plaintext=secret)["CiphertextBlob"]
    body = blob[envelope.HEADER :]
    iv_at = 3 + body[1]
    tag_at = iv_at + body[2]
    bound = envelope.associated_data(blob[: envelope.HEADER], None)
    answer = chain.proxied.client().decrypt(
        "payments",
        {
            "ciphertextMetadata": b64(body[3:iv_at]),
            "initializationVector": b64(body[iv_at:tag_at]),
            "authenticationTag": b64(body[tag_at : tag_at + 16]),
            "ciphertext": b64(body[tag_at + 16 :]),
        },
        hashlib.sha256(b"keystead/xks/v1\x00" + bound).digest(),
    )
    assert answer.status == 200
    opened = base64.b64decode(answer.json()["plaintext"])
    assert len(opened) == len(secret) + 45, "the secret in the standard store's ciphertext"
    assert secret not in opened


def test_the_owner_of_the_external_key_has_the_kill_switch(chain: Chain) -> None:
    chain.declare()
    key_id, kms = chain.add_key(), chain.kms.kms()
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    chain.proxied.server.ok("POST", "/v1/keys/payments/actions/disable")
    assert refusal(kms.decrypt, CiphertextBlob=blob).type == "KMSInvalidStateException"
    assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x").type == "KMSInvalidStateException"
    chain.proxied.server.ok("POST", "/v1/keys/payments/actions/enable")
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_sigv4_credentials_rotation_takes_over_without_an_interruption(chain: Chain) -> None:
    from tests.controlplane.api.xks.test_proxy import SECOND, SECOND_ID

    chain.declare()
    key_id, kms = chain.add_key(), chain.kms.kms()
    second = {"accessKeyId": SECOND_ID, "secret": chain.proxied.files.secret("second", SECOND)}
    chain.proxied.spec["credentials"].append(second)
    chain.proxied.put()
    failures: list[Exception] = []
    declared = document("KeyStore", "external", type="xks", xks=chain.options(credential=second))
    generation = chain.kms.ok("PUT", "/v1/keystores/external", declared)["metadata"]["generation"]

    def switched() -> bool:
        try:
            kms.encrypt(KeyId=key_id, Plaintext=b"x")
        except Exception as error:
            failures.append(error)
        return bool(chain.kms.ok("GET", "/v1/keystores/external")["status"]["observedGeneration"] == generation)

    eventually(switched, "the new credential is in use", pause=0)
    assert failures == []
    chain.proxied.spec["credentials"] = [second]
    chain.proxied.put()
    assert kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]


def test_get_key_metadata_an_external_key_that_is_not_fit_makes_no_key(chain: Chain) -> None:
    chain.declare()
    for external in ("disabled", "decrypt-only", "nobody"):
        name = f"for-{external}"
        chain.kms.ok("PUT", f"/v1/keys/{name}", document("Key", name, keyStore="external", xksKeyId=external))
        key = eventually(
            lambda name=name: (found := chain.kms.ok("GET", f"/v1/keys/{name}"))["status"].get("conditions") and found,
            "it was looked at",
        )
        assert key["status"].get("materials", []) == []
        assert "CreateRefused" in json.dumps(key["status"]["conditions"])


def test_files_of_a_key_store_may_be_named_relative_to_the_data_directory(chain: Chain) -> None:
    below = chain.kms.directory / "xks"
    below.mkdir()
    (below / "ca.pem").write_bytes(chain.authority.read_bytes())
    credential = {"accessKeyId": ACCESS_KEY_ID, "secret": {"fromFile": "xks/secret"}}
    (below / "secret").write_text(SECRET)
    (below / "secret").chmod(0o600)
    chain.declare(authority="xks/ca.pem", credential=credential)
    key_id = chain.add_key()
    assert chain.kms.kms().encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]


def test_api_operations_one_external_key_is_for_one_key_in_a_store(chain: Chain) -> None:
    chain.declare()
    chain.add_key()
    again = document("Key", "again", keyStore="external", xksKeyId="payments")
    answer = chain.kms.rest("PUT", "/v1/keys/again", again)
    assert answer.status == 422
    assert "it stands for key outer already" in answer.body.decode()
    two = [document("Key", name, keyStore="external", xksKeyId="disabled") for name in ("a", "b")]
    answer = chain.kms.rest("POST", "/v1/plans", {"specSet": "two", "documents": two})
    assert "stands for Key `a` already" in answer.body.decode()
    chain.kms.ok("DELETE", "/v1/keys/outer")
    assert chain.kms.rest("PUT", "/v1/keys/again", again).status == 422, "while it is pending deletion, too"


def test_blobs_survive_restarts_of_both_and_a_rotation_of_the_external_key(chain: Chain) -> None:
    chain.declare()
    key_id = chain.add_key()
    blob = chain.kms.kms().encrypt(KeyId=key_id, Plaintext=b"for ever")["CiphertextBlob"]
    behind = chain.proxied.server
    external = behind.ok("GET", "/v1/keys/payments")["status"]["keyId"]
    behind.kms().rotate_key_on_demand(KeyId=external)
    eventually(lambda: len(behind.ok("GET", "/v1/keys/payments")["status"]["materials"]) == 2, "it has rotated")
    port = chain.proxied.port
    chain.proxied.spec["listen"] = {"port": port}
    chain.proxied.put()
    behind.restart()
    chain.kms.restart()
    eventually(lambda: chain.connection() == "CONNECTED", "connected again")

    def opens() -> bool:
        try:
            return bool(chain.kms.kms().decrypt(CiphertextBlob=blob)["Plaintext"] == b"for ever")
        except Exception:
            return False

    eventually(opens, "it decrypts again")
