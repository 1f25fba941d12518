"""Credentials over the reconciliation API and the command line: shown once, taken back at once, and nobody else's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from typing import Any

import pytest

from controlplane.server import AUDIT_DIRECTORY, DATABASE_FILE
from tests.harness import ACCOUNT, ROOT, TOKEN, Answer, Person, Server, document, refusal

USE = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}


@pytest.fixture
def person(shared_server: Server) -> Person:
    """A user who may use keys."""
    return shared_server.person(f"p-{uuid.uuid4()}", USE)


def refused(answer: Answer, status: int, code: str) -> str:
    assert answer.status == status, answer
    assert answer.json()["code"] == code
    return str(answer.json()["detail"])


def path(person: Person | str, *more: str) -> str:
    return "/".join(("/v1/principals", person if isinstance(person, str) else person.name, *more))


# ---- access keys -----------------------------------------------------------------------------------------------------


def test_an_access_key_signs_as_its_principal(shared_server: Server, person: Person) -> None:
    assert re.fullmatch("AKIA[A-Z2-7]{16}", person.access_key_id)
    assert len(person.secret) == 40
    kms = shared_server.kms_of(person)
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.encrypt(KeyId=key_id, Plaintext=b"x")
    assert refusal(kms.list_retirable_grants, RetiringPrincipal="x").type == "InvalidArnException", "it may do kms:*"


def test_a_secret_is_shown_once_and_lists_hold_none(shared_server: Server, person: Person) -> None:
    (key,) = shared_server.ok("GET", path(person, "access-keys"))
    assert key.keys() == {"accessKeyId", "active", "createdAt"}
    assert (key["accessKeyId"], key["active"]) == (person.access_key_id, True)
    (token,) = shared_server.ok("GET", path(person, "tokens"))
    assert token.keys() == {"tokenId", "description", "createdAt", "expiresAt"}
    shown = json.dumps([key, token, shared_server.ok("GET", path(person))])
    assert person.secret not in shown
    assert person.token not in shown


def test_a_disabled_access_key_signs_nothing_until_it_is_enabled(shared_server: Server, person: Person) -> None:
    kms = shared_server.kms_of(person)
    kms.list_keys()
    at = path(person, "access-keys", person.access_key_id)
    assert shared_server.ok("PUT", at, {"active": False})["active"] is False
    wanted = ("UnrecognizedClientException", "The security token included in the request is invalid.", 400)
    assert refusal(kms.list_keys) == wanted
    assert shared_server.ok("PUT", at, {"active": True})["active"] is True
    kms.list_keys()
    assert shared_server.ok("DELETE", at)["accessKeyId"] == person.access_key_id
    assert refusal(kms.list_keys) == wanted
    refused(shared_server.rest("DELETE", at), 404, "NotFound")


def test_two_access_keys_let_one_replace_the_other(shared_server: Server, person: Person) -> None:
    second = shared_server.ok("POST", path(person, "access-keys"))
    assert "at most 2" in refused(shared_server.rest("POST", path(person, "access-keys")), 429, "LimitExceeded")
    shared_server.kms(access_key_id=second["accessKeyId"], secret=second["secretAccessKey"]).list_keys()
    shared_server.ok("DELETE", path(person, "access-keys", person.access_key_id))
    shared_server.kms(access_key_id=second["accessKeyId"], secret=second["secretAccessKey"]).list_keys()
    shared_server.ok("POST", path(person, "access-keys"))


def test_credentials_survive_a_restart_and_a_crash(private_server: Server) -> None:
    person = private_server.person("p", USE)
    key_id = private_server.kms_of(person).create_key()["KeyMetadata"]["KeyId"]
    private_server.kill()
    private_server.start()
    private_server.kms_of(person).describe_key(KeyId=key_id)
    private_server.restart()
    private_server.kms_of(person).describe_key(KeyId=key_id)


def test_credentials_go_with_their_principal(shared_server: Server, person: Person) -> None:
    kms = shared_server.kms_of(person)
    kms.list_keys()
    shared_server.ok("DELETE", path(person))
    assert refusal(kms.list_keys).type == "UnrecognizedClientException"
    shared_server.ok("PUT", path(person), document("Principal", person.name, administrator=True))
    assert refusal(kms.list_keys).type == "UnrecognizedClientException"
    assert shared_server.ok("GET", path(person, "access-keys")) == []
    assert shared_server.ok("GET", path(person, "tokens")) == []
    refused(shared_server.rest("GET", "/v1/access", token=person.token), 401, "Unauthenticated")


def test_a_secret_stands_nowhere_on_disk_nor_in_the_log(private_server: Server) -> None:
    person = private_server.person("p", USE)
    kms = private_server.kms_of(person)
    kms.list_keys()
    refusal(private_server.kms(access_key_id=person.access_key_id, secret="wrong" * 8).list_keys)
    private_server.rest("GET", "/v1/keys", token=person.token)
    private_server.stop()
    files = [each for each in private_server.directory.rglob("*") if each.is_file()]
    assert private_server.directory / DATABASE_FILE in files
    assert any(AUDIT_DIRECTORY in each.parts for each in files)
    everything = b"".join(each.read_bytes() for each in files) + private_server.log().encode()
    assert person.access_key_id.encode() in everything, "the search finds what is there"
    for secret in (person.secret, person.token):
        assert secret.encode() not in everything


# ---- bearer tokens ---------------------------------------------------------------------------------------------------


def test_a_token_is_its_principal_until_it_is_revoked(shared_server: Server) -> None:
    person = shared_server.person(f"p-{uuid.uuid4()}", {"Effect": "Allow", "Action": "keystead:Read", "Resource": "*"})
    more = shared_server.ok("POST", path(person, "tokens"), {"description": "for CI", "expiresInDays": 1})
    listed = shared_server.ok("GET", path(person, "tokens"))
    assert [(each["description"], each["expiresAt"] is None) for each in listed] == [("", True), ("for CI", False)]
    assert listed[1]["expiresAt"] == more["expiresAt"]
    assert shared_server.ok("GET", "/v1/access", token=more["token"])["principal"] == person.arn
    assert shared_server.ok("DELETE", path(person, "tokens", more["tokenId"]))["tokenId"] == more["tokenId"]
    refused(shared_server.rest("GET", "/v1/access", token=more["token"]), 401, "Unauthenticated")
    assert shared_server.rest("GET", "/v1/access", token=person.token).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"expiresInDays": 0},
        {"expiresInDays": 3651},
        {"expiresInDays": "7"},
        {"description": "x" * 201},
        {"more": 1},
        [],
    ],
)
def test_a_wrong_request_for_a_token_is_told(shared_server: Server, person: Person, body: Any) -> None:
    refused(shared_server.rest("POST", path(person, "tokens"), body), 400, "InvalidInput")


# ---- who may ---------------------------------------------------------------------------------------------------------


def test_nobody_gets_credentials_of_another_without_permission(shared_server: Server, person: Person) -> None:
    own = {"Effect": "Allow", "Action": "keystead:*AccessKey*", "Resource": "Principal/${aws:username}"}
    other = shared_server.person(f"p-{uuid.uuid4()}", own)

    def ask(method: str, at: str, body: Any = None) -> Answer:
        return shared_server.rest(method, at, body, token=other.token)

    for method, at, body in (
        ("POST", path(person, "access-keys"), None),
        ("GET", path(person, "access-keys"), None),
        ("PUT", path(person, "access-keys", person.access_key_id), {"active": False}),
        ("DELETE", path(person, "access-keys", person.access_key_id), None),
        ("POST", path(person, "tokens"), None),
        ("POST", path(other, "tokens"), None),
        ("POST", path("admin", "access-keys"), None),
    ):
        assert "is not authorized to perform: keystead:" in refused(ask(method, at, body), 403, "AccessDenied")
    assert ask("GET", path(other, "access-keys")).status == 200
    # another's key under one's own name
    refused(ask("PUT", path(other, "access-keys", person.access_key_id), {"active": False}), 404, "NotFound")
    refused(ask("DELETE", path(other, "access-keys", person.access_key_id)), 404, "NotFound")
    assert shared_server.ok("GET", path(person, "access-keys"))[0]["active"] is True


def test_only_users_that_are_declared_have_credentials(shared_server: Server) -> None:
    role = f"r-{uuid.uuid4()}"
    shared_server.ok("PUT", f"/v1/principals/{role}", document("Principal", role, type="role"))
    for what in ("access-keys", "tokens"):
        assert "is a role" in refused(shared_server.rest("POST", path(role, what)), 400, "InvalidInput")
        refused(shared_server.rest("POST", path("nobody", what)), 404, "NotFound")
        refused(shared_server.rest("GET", path("nobody", what)), 404, "NotFound")
        refused(shared_server.rest("GET", f"/v1/keys/a/{what}"), 404, "NotFound")


def test_the_last_credential_of_the_last_administrator_stays(private_server: Server) -> None:
    keys = private_server.ok("GET", path("admin", "access-keys"))
    tokens = private_server.ok("GET", path("admin", "tokens"))
    for each in keys:
        private_server.ok("DELETE", path("admin", "access-keys", each["accessKeyId"]))
    (last,) = tokens
    refused(private_server.rest("DELETE", path("admin", "tokens", last["tokenId"])), 409, "Blocked")
    private_server.person("second", administrator=True)
    private_server.ok("DELETE", path("admin", "tokens", last["tokenId"]))
    private_server.ok("DELETE", "/v1/principals/admin")


# ---- the command line ------------------------------------------------------------------------------------------------


def keystead(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controlplane", *arguments],
        cwd=ROOT,
        env={"KEYSTEAD_URL": server.url, "KEYSTEAD_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def done(server: Server, *arguments: str) -> str:
    ran = keystead(server, *arguments)
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    return ran.stdout


def test_the_command_line_makes_lists_disables_and_deletes_access_keys(shared_server: Server) -> None:
    name = f"p-{uuid.uuid4()}"
    shared_server.ok("PUT", f"/v1/principals/{name}", document("Principal", name))
    assert "has no access keys" in done(shared_server, "access-key", "list", name)
    said = done(shared_server, "access-key", "create", name)
    exported = dict(re.findall(r"^export (\w+)=(\S+)$", said, re.MULTILINE))
    assert exported.keys() == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    key_id, secret = exported["AWS_ACCESS_KEY_ID"], exported["AWS_SECRET_ACCESS_KEY"]
    kms = shared_server.kms(access_key_id=key_id, secret=secret)
    assert refusal(kms.list_keys).type == "AccessDeniedException"
    assert "signs nothing" in done(shared_server, "access-key", "disable", name, key_id)
    assert refusal(kms.list_keys).type == "UnrecognizedClientException"
    listed = json.loads(done(shared_server, "access-key", "list", name, "--json"))
    assert [(each["accessKeyId"], each["active"]) for each in listed["accessKeys"]] == [(key_id, False)]
    assert "disabled" in done(shared_server, "access-key", "list", name)
    assert "signs again" in done(shared_server, "access-key", "enable", name, key_id)
    assert "is gone" in done(shared_server, "access-key", "delete", name, key_id)
    ran = keystead(shared_server, "access-key", "delete", name, key_id)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"error: there is no access key {key_id}")


def test_the_command_line_makes_lists_and_revokes_tokens(shared_server: Server) -> None:
    name = f"p-{uuid.uuid4()}"
    shared_server.ok("PUT", f"/v1/principals/{name}", document("Principal", name, administrator=True))
    made = json.loads(
        done(shared_server, "token", "create", name, "--description", "CI", "--expires-in-days", "7", "--json")
    )
    arn = f"arn:aws:iam::{ACCOUNT}:user/{name}"
    assert shared_server.ok("GET", "/v1/access", token=made["token"])["principal"] == arn
    said = done(shared_server, "token", "create", name)
    (token,) = re.findall(r"^export KEYSTEAD_TOKEN=(\S+)$", said, re.MULTILINE)
    assert shared_server.ok("GET", "/v1/access", token=token)["principal"] == arn
    assert "CI" in done(shared_server, "token", "list", name)
    assert "is revoked" in done(shared_server, "token", "revoke", name, made["tokenId"])
    refused(shared_server.rest("GET", "/v1/access", token=made["token"]), 401, "Unauthenticated")
