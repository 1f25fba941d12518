"""The ``keystead`` command as people and scripts meet it: words, JSON, exit codes, prompts, colours.

Most commands run in this process through ``main``; terminals and signals need a process of their own.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp import web

from controlplane.cli import main as cli
from controlplane.cli import plan as plan_commands
from controlplane.cli import serve as servers
from controlplane.errors import Problem
from controlplane.schema.documents import declare
from controlplane.schema.keys import DesiredKey
from controlplane.schema.meta import Kind
from controlplane.schema.plans import Action, Applied, ObjectPage, ObjectProblem, Plan, PlanReason, Progress, ServerInfo
from tests.controlplane.fakeapi import FakeApi, answer, problem, serving
from tests.controlplane.samples import NOW, blocked, change, create, deletion, key, key_store, plan

ROOT = Path(__file__).parents[3]
SPEC = """apiVersion: keystead/v1
kind: Key
metadata: {name: payments}
spec:
  aliases: [payments]
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with serving() as fake:
        monkeypatch.setenv("KEYSTEAD_URL", fake.url)
        monkeypatch.setenv("KEYSTEAD_TOKEN", "a-token-that-nobody-prints")
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("KEYSTEAD_DEBUG", raising=False)

    def run(*arguments: object) -> Ran:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "a-token-that-nobody-prints" not in captured.out + captured.err
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A directory ``quickstart`` with one document."""
    directory = tmp_path / "quickstart"
    directory.mkdir()
    (directory / "keys.yaml").write_text(SPEC)
    return directory


def process(*arguments: object, **environ: str) -> dict[str, Any]:
    """What starts the command as a process."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    return {
        "args": [sys.executable, "-m", "controlplane", *map(str, arguments)],
        "env": {**kept, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environ},
    }


def progress(pending: int, *problems: ObjectProblem, total: int = 3) -> Progress:
    return Progress(spec_set="quickstart", total=total, pending=pending, problems=problems)


def serve_plan(api: FakeApi, made: Plan, *seen: Progress) -> None:
    api.answers["POST", "/v1/plans"] = answer(made, 201)
    api.answers["GET", f"/v1/plans/{made.id}"] = answer(made)
    api.answers["POST", f"/v1/plans/{made.id}/apply"] = answer(
        Applied(plan_id=made.id, spec_set="quickstart", objects=())
    )
    api.answers["GET", "/v1/spec-sets/quickstart/progress"] = [answer(each) for each in seen or (progress(0),)]


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


# ---- objects ---------------------------------------------------------------------------------------------------------


def test_get_lists_every_page(run: Run, api: FakeApi) -> None:
    pages = [answer(ObjectPage(items=(key("a"),), next="a")), answer(ObjectPage(items=(key("b"),), next=None))]
    api.answers["GET", "/v1/keys"] = list(pages)
    ran = run("get", "keys", "--spec-set", "quickstart")
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["NAME", "STATE"],
        ["a", "Enabled"],
        ["b", "Enabled"],
    ]
    api.answers["GET", "/v1/keys"] = list(pages)
    assert [item["metadata"]["name"] for item in run("get", "keys", "--json").json["items"]] == ["a", "b"]
    api.answers["GET", "/v1/principals"] = answer(ObjectPage(items=(), next=None))
    assert run("get", "principals", "--spec-set", "x").out == "There are no principals in spec set x.\n"


def test_get_and_describe_one_object(run: Run, api: FakeApi) -> None:
    api.answers["GET", "/v1/keys/payments"] = answer(key(deletion=deletion()))
    api.answers["GET", "/v1/keys/payments/refused-uses"] = answer([])
    api.answers["GET", "/v1/keystores/hsm-a"] = answer(key_store())
    assert "PendingDeletion" in run("get", "key", "payments").out
    assert run("get", "keys", "payments", "--json").json["metadata"]["name"] == "payments"
    assert "Deletion:\n  due 2026-11-30" in run("describe", "key", "payments").out
    described = run("describe", "key", "payments", "--json").json
    assert (described["kind"], described["refusedUses"]) == ("Key", [])
    assert "Kind:       KeyStore\n" in run("describe", "key-store", "hsm-a").out


def test_actions_on_a_key_say_what_holds_now(run: Run, api: FakeApi) -> None:
    def acts(action: str, made: object) -> None:
        api.answers["POST", f"/v1/keys/payments/actions/{action}"] = answer(made)

    acts("enable", key())
    acts("disable", key(enabled=False))
    acts("schedule-deletion", key(deletion=deletion()))
    acts("cancel-deletion", key(enabled=False))
    assert run("enable", "payments").out == "Key payments is enabled.\n"
    assert run("disable", "payments").out == "Key payments is disabled.\n"
    assert run("delete", "payments", "--yes", "--window-days", 30).out == (
        "Key payments is scheduled for deletion: destroyed at 2026-11-30 12:00:00 UTC (30 days) unless cancelled with: "
        "keystead cancel-deletion payments\n"
    )
    assert api.asked[-1].json == {"windowDays": 30}
    assert run("cancel-deletion", "payments").out == (
        "The deletion of key payments is cancelled. It is disabled; enable it with: keystead enable payments.\n"
    )
    assert run("enable", "payments", "--json").json["kind"] == "Key"
    asked = len(api.asked)
    assert "pass --yes" in run("delete", "payments").err
    assert len(api.asked) == asked


def test_schema_and_completion_are_printed(run: Run) -> None:
    assert run("schema").json["title"] == "Keystead document"
    assert run("schema", "--json").json["oneOf"]
    for shell in ("bash", "zsh", "fish"):
        script = run("completion", shell).out
        assert "_KEYSTEAD_COMPLETE" in script
        assert run("completion", shell, "--json").json == {"shell": shell, "script": script}


def test_a_shell_is_offered_commands_and_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    def complete(words: str) -> str:
        environ = {"_KEYSTEAD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
        done = subprocess.run(**process(**environ), capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    assert "plain,cancel-deletion" in complete("keystead")
    assert complete("keystead get").splitlines() == [
        "plain,keys",
        "plain,keystores",
        "plain,principals",
        "plain,xksproxies",
    ]


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_errors_are_one_line_and_in_json_one_document(run: Run, api: FakeApi) -> None:
    api.answers["GET", "/v1/keys/nope"] = problem(404, "NotFound", "there is no Key nope")
    assert run("get", "keys", "nope") == Ran(1, "", "error: there is no Key nope\n")
    ran = run("get", "keys", "nope", "--json")
    assert (ran.code, ran.err) == (1, "")
    assert ran.json == {"error": {"code": "NotFound", "message": "there is no Key nope", "problems": []}}


def test_nobody_there_and_no_token_say_what_to_do(run: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.answers["GET", "/v1/keys"] = problem(401, "Unauthenticated", "no token")
    monkeypatch.delenv("KEYSTEAD_TOKEN")
    assert "export KEYSTEAD_TOKEN=test" in run("get", "keys").err
    with serving() as gone:
        url = gone.url
    ran = run("get", "keys", "--url", url)
    assert (ran.code, ran.err.startswith(f"error: cannot reach Keystead at {url}: Connection refused")) == (1, True)
    assert "KEYSTEAD_INSECURE=1" in run("get", "keys", "--url", "http://10.0.0.1").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan"], "missing argument 'PATH...'; see keystead plan --help"),
        (["plam"], "no such command 'plam'"),
        (["get", "locks"], "there is no kind 'locks'; there are keys, keystores, principals"),
        (["get", "keys", "a", "--spec-set", "b"], "give a name or --spec-set, not both"),
        (["delete", "a", "--window-days", "3"], "3 is not in the range 7<=x<=30"),
        (["get", "keys", "--token", "hunter2"], "no such option '--token'"),
    ],
)  # fmt: skip
def test_usage_errors_exit_with_1_because_2_means_changes(run: Run, arguments: list[str], words: str) -> None:
    ran = run(*arguments)
    assert ran.code == 1
    assert words in ran.err.lower() or words in ran.err
    assert "hunter2" not in ran.err
    assert run(*arguments, "--json").json["error"]["code"] == "InvalidInput"


def test_help_and_version(run: Run) -> None:
    assert run("--version") == Ran(0, "keystead 0.1.0\n", "")
    for arguments in ([], ["--help"], ["-h"]):
        ran = run(*arguments)
        assert ran.code == 0
        assert "cancel-deletion" in ran.out
    assert "--detailed-exitcode" in run("plan", "--help").out


def test_a_bug_is_told_without_a_traceback_and_without_its_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> int:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(plan_commands, "validate", broken)
    ran = run("validate", "x")
    assert ran.code == 70
    assert ran.err.startswith("error: unexpected RuntimeError at test_main.py:")
    assert "this is a bug" in ran.err
    assert "hunter2" not in ran.err
    monkeypatch.setenv("KEYSTEAD_DEBUG", "1")
    assert "Traceback" in run("validate", "x").err


def test_servers_are_made_and_run_with_what_was_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def init(directory: Path, **options: object) -> dict[str, object]:
        asked.append((directory, options))
        return {
            "settings": "d/keystead.toml",
            "url": "http://127.0.0.1:1",
            "regions": ["eu-west-1"],
            "token": "t",
            "accessKeyId": "a",
            "secretAccessKey": "s",
        }

    monkeypatch.setattr(servers, "dev", lambda port, data_dir, *, as_json: asked.append((port, data_dir, as_json)))
    monkeypatch.setattr(servers, "serve", lambda config, *, workers, as_json: asked.append((config, workers, as_json)))
    monkeypatch.setattr(servers, "init", init)
    assert run("dev").code == 0
    assert run("dev", "--port", 0, "--data-dir", "d").code == 0
    assert run("serve", "--config", "d/keystead.toml", "--workers", 2, "--json").code == 0
    made = run("init", "d", "--region", "eu-west-1", "--region", "eu-west-2", "--root-key", "passphrase",
               "--passphrase-file", "p", "--account", "1" * 12, "--listen", "127.0.0.1:1")  # fmt: skip
    assert "export KEYSTEAD_TOKEN=t\n" in made.out
    assert run("init", "d", "--json").json["token"] == "t"
    options = {
        "account": "1" * 12,
        "regions": ("eu-west-1", "eu-west-2"),
        "root_key": servers.RootKeyChoice(provider="passphrase", passphrase_file=Path("p")),
        "listen": "127.0.0.1:1",
    }
    default = {"account": None, "regions": (), "root_key": servers.RootKeyChoice(), "listen": None}
    served = [(8470, None, False), (0, Path("d"), False), (Path("d/keystead.toml"), 2, True)]
    assert asked == [*served, (Path("d"), options), (Path("d"), default)]


def test_text_of_a_server_is_escaped_in_every_form(run: Run, api: FakeApi, spec: Path) -> None:
    evil = "\x1b]0;owned\x07 \x9b2J \u202ekeep"
    api.answers["GET", "/v1/keys/a"] = answer(key("a", description=evil))
    api.answers["GET", "/v1/keys/a/refused-uses"] = answer([])
    api.answers["GET", "/v1/keys/b"] = problem(404, "NotFound", evil)
    serve_plan(api, plan(change(Action.CREATE, "a", message=evil)))
    for arguments in (["describe", "key", "a"], ["get", "keys", "b"], ["plan", str(spec)]):
        for options in ([], ["--json"]):
            ran = run(*arguments, *options)
            assert all(character.isprintable() or character == "\n" for character in ran.out + ran.err)
    assert run("describe", "key", "a", "--json").json["spec"]["description"] == evil


# ---- terminals and signals -------------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: object, **environ: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            **process(*arguments, **environ), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def until(self, words: str) -> None:
        deadline = time.monotonic() + 30
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            assert self._read(), self.text

    def say(self, words: str) -> None:
        os.write(self.master, words.encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self.master)
        return self.process.wait(30)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], 30)
        try:
            found = os.read(self.master, 65_536) if ready else b""
        except OSError:  # the other end is closed
            return False
        self.text += found.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(found)


@pytest.mark.parametrize(("said", "code"), [("yes", 0), ("y", 1), ("", 1), ("YES", 1)])
def test_at_a_terminal_only_yes_applies(api: FakeApi, spec: Path, said: str, code: int) -> None:
    serve_plan(api, plan(create()))
    terminal = Terminal("apply", spec)
    terminal.until(f"Apply these changes to {api.url}? Only 'yes' is accepted:")
    assert api.paths == ["POST /v1/plans"]
    terminal.say(f"{said}\n")
    assert terminal.end() == code
    assert ("POST /v1/plans/8c21/apply" in api.paths) is (code == 0)
    if code:
        assert "not confirmed; nothing was applied" in terminal.text


def test_colour_is_for_terminals_that_want_it(api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(create()))
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        terminal = Terminal("plan", spec, **environ)
        assert terminal.end() == 0
        assert ("\x1b[32m+ key payments\x1b[0m" in terminal.text) is coloured
        assert ("\x1b" in terminal.text) is coloured


def test_ctrl_c_while_waiting_says_what_state_things_are_in(api: FakeApi, spec: Path) -> None:
    serve_plan(api, plan(create()), progress(3))
    terminal = Terminal("apply", spec, "--yes")
    terminal.until("Reconciling: 0 of 3")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "interrupted: desired state was written; the server goes on." in terminal.text
    assert "Traceback" not in terminal.text


def test_a_reader_that_leaves_early_is_no_accident(api: FakeApi) -> None:
    many = tuple(key(f"key-{number:05}") for number in range(2000))
    api.answers["GET", "/v1/keys"] = answer(ObjectPage(items=many, next=None))
    running = subprocess.Popen(**process("get", "keys"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.wait(30) == 1
    assert running.stderr.read() == b""
    running.stderr.close()


def test_a_saved_plan_is_applied_on_the_server_that_made_it_only(
    run: Run, api: FakeApi, spec: Path, tmp_path: Path
) -> None:
    made = plan(create())
    serve_plan(api, made)
    info = ServerInfo(
        server_id=made.server_id,
        version="0",
        account="0" * 12,
        region="r",
        regions=("r",),
        key_store_types=(),
        time=NOW,
    )
    api.answers["GET", "/v1/server"] = answer(info)
    out = tmp_path / "plan.json"
    assert run("plan", spec, "--out", out).code == 0
    assert "Applied: 1 created." in run("apply", "--plan", out, "--yes").out
    api.answers["GET", "/v1/server"] = answer(msgspec.structs.replace(info, server_id="another"))
    refused = run("apply", "--plan", out, "--yes")
    assert (refused.code, "was made by server server-1" in refused.err) == (1, True)
    out.write_text("{}")
    assert "is no plan" in run("apply", "--plan", out, "--yes").err


def test_a_plan_is_asked_for_with_its_options_and_with_defaults_that_are_spelled_out(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    file = tmp_path / "k.yaml"
    file.write_text(
        "apiVersion: keystead/v1\nkind: Key\nmetadata: {name: k}\nspec: {enabled: true, rotation: {enabled: false}}\n"
    )
    serve_plan(api, plan(unchanged=1))
    assert run("plan", file, "--take-ownership", "--target", "Key/k", "--target", "Key/l").code == 0
    (body,) = [json.loads(each.body) for each in api.asked if each.path == "/v1/plans"]
    assert (body["takeOwnership"], body["targets"]) == (True, ["Key/k", "Key/l"])
    assert body["documents"][0]["spec"] == {"enabled": True, "rotation": {"enabled": False}}
