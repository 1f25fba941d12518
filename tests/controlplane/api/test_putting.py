"""One object put or deleted over the reconciliation API: conditions, mistakes with their place, sizes of bodies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.controlplane.api.asking import name, problem
from tests.harness import Answer, Server, document

# ---- putting ---------------------------------------------------------------------------------------------------------


def test_a_put_makes_then_changes_an_object_and_counts_generations(shared_server: Server) -> None:
    fresh = name()
    path = f"/v1/keys/{fresh}"
    made = shared_server.ok("PUT", path, document("Key", fresh, description="one"))
    assert (made["metadata"]["generation"], made["spec"]["description"]) == (1, "one")
    same = shared_server.ok("PUT", path, document("Key", fresh, description="one"))
    assert same["metadata"]["generation"] == 1
    changed = shared_server.ok("PUT", path, document("Key", fresh, description="two"))
    assert (changed["metadata"]["generation"], changed["metadata"]["uid"]) == (2, made["metadata"]["uid"])
    assert "specSet" not in changed["metadata"]


def test_a_put_with_if_match_is_refused_when_the_object_moved(shared_server: Server, key: str) -> None:
    path = f"/v1/keys/{key}"
    shown = shared_server.rest("GET", path)
    tag, version = shown.headers["etag"], shown.json()["metadata"]["resourceVersion"]
    assert tag == f'"{version}"'

    def put(description: str, if_match: str, at: str = path, named: str = key) -> Answer:
        return shared_server.rest(
            "PUT", at, document("Key", named, description=description), headers={"if-match": if_match}
        )

    for stale in (f'"{version - 1}"', f'W/"{version}"', '"x"', f'"0", W/{tag}'):
        problem(put("stale", stale), 412, "PreconditionFailed")
    answer = put("x", f'"0", {tag}')
    assert (answer.status, "etag" in answer.headers) == (200, False)
    problem(put("y", tag), 412, "PreconditionFailed")
    assert shared_server.ok("GET", path)["spec"]["description"] == "x"
    assert put("z", "*").status == 200
    other = name()
    for wanted in (tag, "*"):
        problem(put("new", wanted, f"/v1/keys/{other}", other), 412, "PreconditionFailed")
    assert shared_server.rest("GET", f"/v1/keys/{other}").status == 404


@pytest.mark.parametrize("value", ["5", "*, *", '"5', '"5" "6"', "5, 6", '*, "5"'])
def test_a_condition_that_is_no_entity_tag_is_refused(shared_server: Server, key: str, value: str) -> None:
    for header in ("if-match", "if-none-match"):
        answer = shared_server.rest("PUT", f"/v1/keys/{key}", document("Key", key), headers={header: value})
        assert "entity tag" in problem(answer, 400, "InvalidInput")["detail"]


def test_a_put_with_if_none_match_makes_and_never_changes(shared_server: Server) -> None:
    fresh = name()
    new = {"if-none-match": "*"}
    assert shared_server.rest("PUT", f"/v1/principals/{fresh}", document("Principal", fresh), headers=new).status == 200
    answer = shared_server.rest(
        "PUT", f"/v1/principals/{fresh}", document("Principal", fresh, administrator=True), headers=new
    )
    problem(answer, 412, "PreconditionFailed")
    assert "administrator" not in shared_server.ok("GET", f"/v1/principals/{fresh}")["spec"]


def test_a_reader_that_has_the_version_gets_no_body(shared_server: Server, key: str) -> None:
    tag = shared_server.rest("GET", f"/v1/keys/{key}").headers["etag"]
    answer = shared_server.rest("GET", f"/v1/keys/{key}", headers={"if-none-match": f'"1", W/{tag}'})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert shared_server.rest("GET", f"/v1/keys/{key}", headers={"if-none-match": '"1"'}).status == 200


def test_a_delete_with_if_match_is_refused_when_the_object_moved(shared_server: Server, key: str) -> None:
    fresh = name()
    shared_server.ok("PUT", f"/v1/principals/{fresh}", document("Principal", fresh))
    for path in (f"/v1/keys/{key}", f"/v1/principals/{fresh}"):
        problem(shared_server.rest("DELETE", path, headers={"if-match": '"1"'}), 412, "PreconditionFailed")
        tag = shared_server.rest("GET", path).headers["etag"]
        assert shared_server.rest("DELETE", path, headers={"if-match": tag}).status == 200


def test_a_put_of_another_object_than_the_path_names_is_refused(shared_server: Server, key: str) -> None:
    problem(shared_server.rest("PUT", f"/v1/keys/{key}", document("Key", "other")), 400, "InvalidInput")
    problem(shared_server.rest("PUT", f"/v1/keys/{key}", document("Principal", key)), 400, "InvalidInput")


def test_a_put_that_would_change_what_cannot_change_is_blocked(shared_server: Server, key: str) -> None:
    answer = shared_server.rest(
        "PUT", f"/v1/keys/{key}", document("Key", key, keySpec="HMAC_256", keyUsage="GENERATE_VERIFY_MAC")
    )
    assert "keySpec" in problem(answer, 409, "Blocked")["detail"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"spec": {"keySpek": "RSA_2048"}}, "spec.keySpek"),
        ({"spec": {"keySpec": "RSA_1024"}}, "spec.keySpec"),
        ({"spec": {"keyStore": "nowhere"}}, "spec.keyStore"),
        ({"spec": {"region": "ap-south-1"}}, "spec.region"),
        ({"spec": {"keySpec": "SM2", "keyUsage": "SIGN_VERIFY"}}, "spec.keySpec"),
        ({"spec": {"policy": {"document": "{"}}}, "spec.policy.document"),
        ({"spec": {"policy": {"fromFile": "/etc/passwd"}}}, "spec.policy.fromFile"),
        ({"spec": {"aliases": ["aws/mine"]}}, "spec.aliases[0]"),
        ({"spec": {"deletion": {"windowDays": 6}}}, "spec.deletion.windowDays"),
        ({"spec": {"tags": {f"k{i}": "" for i in range(51)}}}, "spec.tags"),
        ({"apiVersion": "keystead/v2"}, "apiVersion"),
        ({"metadata": {"name": "Not A Name"}}, "metadata.name"),
        ({"kind": "Kay"}, "kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_a_document_is_told_with_its_place_at_both_doors(
    shared_server: Server, change: dict[str, Any], path: str
) -> None:
    fresh = name()
    wrong = document("Key", fresh) | change
    for answer in (
        shared_server.rest("PUT", f"/v1/keys/{fresh}", wrong),
        shared_server.rest(
            "POST", "/v1/plans", {"specSet": fresh, "documents": [document("Key", f"{fresh}-2"), wrong]}
        ),
    ):
        found = problem(answer, 422, "InvalidSpec")
        assert path in [each.get("path") for each in found["problems"]], found["problems"]
        assert all(each["message"] for each in found["problems"])
    assert [each["document"] for each in found["problems"] if each.get("path") == path] == [2]
    assert shared_server.rest("GET", f"/v1/keys/{fresh}").status == 404


BAD_BODIES = [b"", b"{", b"[]", b"null", b"1", b"\xff", b"NaN", b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"']


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:8]))
@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/v1/keys/a"), ("POST", "/v1/plans"), ("POST", "/v1/keys/{key}/actions/disable")]
)
def test_a_body_that_is_no_document_is_the_callers_mistake(
    shared_server: Server, key: str, method: str, path: str, body: bytes
) -> None:
    answer = shared_server.rest(method, path.format(key=key), body)
    if "actions" in path and body in (b"", b"null"):
        assert answer.status == 200, "the body of an action is optional"
        return
    assert answer.status in (400, 422), answer
    problem(answer, answer.status, answer.json()["code"])


JUNK = [None, True, 1, -1, 1.5, 1e300, 2**70, "", "\x00", "\ud800", "x" * 5000, [], [[]], {}, {"a": {}}]


@pytest.mark.parametrize("kind", ["Key", "KeyStore", "Principal"])
def test_a_field_of_any_wrong_kind_is_the_callers_mistake(shared_server: Server, kind: str) -> None:
    fields = {
        "Key": "keyStore region keySpec keyUsage origin description enabled multiRegion aliases tags policy rotation "
        "deletion management",
        "KeyStore": "type connected management pkcs11 xks memory options",
        "Principal": "type description administrator policies",
    }
    for field in fields[kind].split():
        for junk in JUNK:
            spec = {"type": "none"} if kind == "KeyStore" else {}
            answer = shared_server.rest(
                "POST", "/v1/plans", {"specSet": "junk", "documents": [document(kind, "junk", **spec | {field: junk})]}
            )
            assert answer.status in (200, 201, 400, 422), (field, junk, answer)


def test_an_oversized_body_is_refused(shared_server: Server) -> None:
    body = b'{"a":"' + b"a" * (16 * 1_048_576) + b'"}'
    for method, path in (("PUT", "/v1/keys/a"), ("POST", "/v1/keys/a/actions/disable")):
        problem(shared_server.rest(method, path, body), 413, "Http")
    assert shared_server.rest("GET", "/v1/server").status == 200


def test_a_plan_may_be_larger_than_other_bodies(shared_server: Server) -> None:
    wrong = {"specSet": name(), "documents": [document("Key", "k", description="a" * 17 * 1_048_576)]}
    problem(shared_server.rest("POST", "/v1/plans", wrong), 422, "InvalidSpec")
