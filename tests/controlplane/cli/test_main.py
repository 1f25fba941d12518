"""The ``keystead`` command as people and scripts meet it: words, JSON, exit codes, prompts, colours.

Most commands run in this process through ``main``; terminals and signals need a process of their own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from controlplane.cli import plan as plan_commands
from controlplane.errors import Problem
from controlplane.schema.documents import declare
from controlplane.schema.keys import DesiredKey
from controlplane.schema.meta import Kind
from controlplane.schema.plans import ObjectProblem, Plan, PlanReason
from tests.controlplane.cli.running import ROOT, SPEC, Ran, Run, progress, serve_plan
from tests.controlplane.fakeapi import FakeApi, problem
from tests.controlplane.samples import blocked, create, plan

# ---- validate --------------------------------------------------------------------------------------------------------


def test_validate_needs_no_server_and_says_how_many_documents_are_valid(run: Run, spec: Path) -> None:
    assert run("validate", spec) == Ran(0, "1 document is valid.\n", "")
    (spec / "more.yaml").write_text(SPEC.replace("payments", "a") + "---\n" + SPEC.replace("payments", "b"))
    assert run("validate", spec, "--json").json == {"valid": True, "documents": 3, "undeclaredKeyStores": []}


def test_validate_loads_neither_an_http_client_nor_a_server(spec: Path) -> None:
    code = (
        "import sys; from controlplane.cli.main import main; main(['validate', sys.argv[1]]);"
        "print(*{'aiohttp', 'litestar', 'sqlite3', 'cryptography', 'controlplane.server'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(spec)], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == "1 document is valid.\n\n"


def test_validate_tells_every_mistake_with_file_line_and_path(run: Run, spec: Path) -> None:
    (spec / "wrong.yaml").write_text(
        SPEC.replace("aliases", "aliasses") + "---\n" + SPEC.replace("payments", "b") + "  keyUsage: SIGN_VERIFY\n"
    )
    ran = run("validate", spec)
    assert ran.code == 1
    assert ran.out == ""
    first, second, last = ran.err.splitlines()
    assert first.startswith(f"{spec}/wrong.yaml:5: document 1: spec.aliasses: ")
    assert second.startswith(
        f"{spec}/wrong.yaml:12: document 2: spec.keyUsage: SIGN_VERIFY does not fit SYMMETRIC_DEFAULT"
    )
    assert last == "2 problems found; nothing was changed."
    error = run("validate", spec, "--json").json["error"]
    assert error["code"] == "InvalidSpec"
    assert [(each["line"], each["path"]) for each in error["problems"]] == [(5, "spec.aliasses"), (12, "spec.keyUsage")]


def test_validate_checks_keys_against_key_stores_of_the_same_set(run: Run, spec: Path) -> None:
    store = "apiVersion: keystead/v1\nkind: KeyStore\nmetadata: {name: hsm}\nspec: {type: pkcs11}\n---\n"
    held = SPEC + "  keyStore: hsm\n  keySpec: RSA_2048\n  keyUsage: SIGN_VERIFY\n"
    (spec / "keys.yaml").write_text(store + held)
    ran = run("validate", spec)
    assert ran.code == 1
    assert (
        "keys.yaml:12: document 2: spec.keySpec: a key store of type pkcs11 holds SYMMETRIC_DEFAULT keys only"
        in ran.err
    )
    (spec / "keys.yaml").write_text(held)
    ran = run("validate", spec)
    assert ran.code == 0
    assert "Not declared here: key store hsm." in ran.out


def test_validate_reads_policies_as_the_server_will(run: Run, spec: Path) -> None:
    (spec / "keys.yaml").write_text(SPEC + """  policy: {document: '{"Statement": [{"Effect": "Perhaps"}]}'}\n""")
    ran = run("validate", spec)
    assert ran.code == 1
    assert "document 1: spec.policy: statement #1: Effect is Allow or Deny" in ran.err


# ---- plan ------------------------------------------------------------------------------------------------------------


def test_plan_sends_the_set_and_shows_what_would_happen(run: Run, api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(create()))
    ran = run("plan", spec)
    assert ran.code == 0
    assert "# key payments will be created\n" in ran.out
    assert ran.out.endswith("until 2026-11-24 13:00:00 UTC: keystead apply --plan 8c21\n")
    assert ran.err == ""
    document = msgspec.json.decode(msgspec.json.encode(declare("payments", DesiredKey(aliases=("payments",)))))
    assert api.asked[0].json == {"specSet": "quickstart", "documents": [document]}
    run("plan", spec, "--spec-set", "other")
    assert api.asked[-1].json["specSet"] == "other"


@pytest.mark.parametrize(
    ("made", "options", "code"),
    [
        (plan(unchanged=1), [], 0),
        (plan(unchanged=1), ["--detailed-exitcode"], 0),
        (plan(create()), [], 0),
        (plan(create()), ["--detailed-exitcode"], 2),
        (plan(create(), blocked("a", PlanReason.PROTECTED)), [], 1),
        (plan(create(), blocked("a", PlanReason.PROTECTED)), ["--detailed-exitcode"], 1),
    ],
)
def test_exit_codes_of_plan(run: Run, api: FakeApi, spec: Path, made: Plan, options: list[str], code: int) -> None:
    serve_plan(api, made)
    assert run("plan", spec, *options).code == code
    ran = run("plan", spec, "--json", *options)
    assert ran.code == code
    assert msgspec.json.decode(ran.out, type=Plan) == made


def test_problems_that_the_server_finds_are_told_at_their_place_in_the_file(run: Run, api: FakeApi, spec: Path) -> None:
    found = [
        Problem("there is no key store x", document=1, path="spec.aliases[0]", hint="declare it"),
        Problem("missing", document=1, path="spec.deletion.windowDays"),
        Problem("elsewhere", document=9, path="spec"),
    ]
    api.answers["POST", "/v1/plans"] = problem(422, "InvalidSpec", "3 problems", problems=found)
    ran = run("plan", spec)
    assert ran.code == 1
    assert ran.err.splitlines()[:3] == [
        f"{spec}/keys.yaml:5: document 1: spec.aliases[0]: there is no key store x; declare it",
        f"{spec}/keys.yaml:4: document 1: spec.deletion.windowDays: missing",
        "document 9: spec: elsewhere",
    ]


def test_plan_out_keeps_the_json(run: Run, api: FakeApi, spec: Path, tmp_path: Path) -> None:
    serve_plan(api, plan(create()))
    run("plan", spec, "--out", tmp_path / "plan.json")
    assert msgspec.json.decode((tmp_path / "plan.json").read_bytes(), type=Plan) == plan(create())
    ran = run("plan", spec, "--out", tmp_path / "no" / "plan.json")
    assert ran.code == 1
    assert f"cannot be written to {tmp_path}/no/plan.json: No such file or directory; nothing was changed" in ran.err


def test_a_wrong_name_of_a_spec_set_is_told_before_anything_is_asked(run: Run, api: FakeApi, spec: Path) -> None:
    assert "cannot name a spec set" in run("plan", spec, "--spec-set", "Bad Name").err
    assert api.asked == []


# ---- apply -----------------------------------------------------------------------------------------------------------


def test_apply_writes_the_plan_it_showed_and_waits_until_it_holds(
    run: Run, api: FakeApi, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_commands, "_POLL_SECONDS", 0.01)
    unreachable = ObjectProblem(kind=Kind.KEY, name="payments", reason="StoreUnreachable", message="no answer")
    serve_plan(api, plan(create(), create("b")), progress(3), progress(1, unreachable), progress(0))
    ran = run("apply", spec, "--yes")
    assert ran.code == 0
    assert api.paths == [
        "POST /v1/plans",
        "POST /v1/plans/8c21/apply",
        *["GET /v1/spec-sets/quickstart/progress"] * 3,
    ]
    assert ran.out.endswith("\nApplied: 2 created.\nAll 3 objects of spec set quickstart are as declared.\n")
    assert ran.err.splitlines() == [
        "Reconciling: 0 of 3 ... [0s elapsed]",
        "key payments: StoreUnreachable: no answer",
        "Reconciling: 2 of 3 ... [0s elapsed]",
    ]


def test_apply_of_nothing_still_waits_for_what_was_declared_before(run: Run, api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(unchanged=3), progress(1), progress(0))
    ran = run("apply", spec)
    assert (ran.code, ran.out) == (0, "No changes. Spec set quickstart is as declared (3 objects).\n")
    assert "POST /v1/plans/8c21/apply" not in api.paths


def test_apply_of_a_saved_plan_takes_it_by_its_id(run: Run, api: FakeApi) -> None:
    serve_plan(api, plan(create()))
    assert run("apply", "--plan", "8c21", "--yes", "--no-wait").code == 0
    assert api.paths == ["GET /v1/plans/8c21", "POST /v1/plans/8c21/apply"]


def test_apply_in_json_is_one_document(run: Run, api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(create()))
    ran = run("apply", spec, "--yes", "--json")
    assert ran.code == 0
    assert ran.json.keys() == {"plan", "applied", "progress"}
    assert ran.json["applied"]["planId"] == "8c21"
    assert ran.json["progress"] == {"specSet": "quickstart", "total": 3, "pending": 0, "problems": []}


def test_apply_gives_up_at_its_timeout_and_names_what_is_left(run: Run, api: FakeApi, spec: Path) -> None:
    lost = ObjectProblem(kind=Kind.KEY, name="payments", reason="CreateRefused", message="the token is full")
    serve_plan(api, plan(create()), progress(2, lost))
    ran = run("apply", spec, "--yes", "--timeout", "0")
    assert ran.code == 1
    assert ran.err.splitlines()[-3:] == [
        "error: 2 of 3 objects of spec set quickstart are not as declared after 0s; desired state was written and the "
        "server goes on:",
        "  key payments: CreateRefused: the token is full",
        "  and 1 more that the reconciler has not reached yet",
    ]
    ran = run("apply", spec, "--yes", "--timeout", "0", "--json")
    assert (ran.code, ran.json["error"]["code"], ran.json["progress"]["pending"]) == (1, "DeadlineExceeded", 2)


def test_apply_does_not_wait_for_what_is_paused(run: Run, api: FakeApi, spec: Path) -> None:
    paused = ObjectProblem(kind=Kind.KEY, name="b", reason="Paused", message="management is paused")
    serve_plan(api, plan(create()), progress(1, paused))
    ran = run("apply", spec, "--yes")
    assert ran.code == 0
    assert "key b: Paused: management is paused" in ran.err


def test_apply_of_a_blocked_plan_writes_nothing(run: Run, api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(create(), blocked("root-ca", PlanReason.PROTECTED)))
    ran = run("apply", spec, "--yes")
    assert ran.code == 1
    assert "! key root-ca" in ran.out
    assert ran.err == "error: 1 change is blocked, so nothing of this plan can be applied\n"
    assert api.paths == ["POST /v1/plans"]
    assert run("apply", spec, "--yes", "--json").json["error"]["code"] == "Blocked"


def test_a_stale_plan_says_to_plan_again(run: Run, api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(create()))
    api.answers["POST", "/v1/plans/8c21/apply"] = problem(409, "StalePlan", "Key payments was changed since this plan")
    ran = run("apply", spec, "--yes")
    assert (ran.code, ran.err) == (
        1,
        "error: nothing was applied: Key payments was changed since this plan; plan again\n",
    )


def test_apply_asks_nobody_where_nobody_is(run: Run, api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(create()))
    for options in ([], ["--json"]):
        ran = run("apply", spec, *options)
        assert ran.code == 1
        assert "pass --yes" in ran.out + ran.err
    assert not any(path.endswith("/apply") for path in api.paths)


def test_a_connection_that_breaks_while_applying_leaves_no_doubt_about_what_to_do(
    run: Run, api: FakeApi, spec: Path
) -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    serve_plan(api, plan(create()))
    api.answers["POST", "/v1/plans/8c21/apply"] = breaking
    assert "all or not at all: plan again to see which" in run("apply", spec, "--yes").err


def test_apply_takes_paths_or_a_plan(run: Run, api: FakeApi, spec: Path) -> None:
    assert "--plan ID" in run("apply").err
    assert "give no paths" in run("apply", spec, "--plan", "8c21").err
