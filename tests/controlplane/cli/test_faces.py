"""What the command shows of objects and of errors, and at terminals: colour, questions, signals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from controlplane.cli import plan as plan_commands
from controlplane.cli import serve as servers
from controlplane.schema.events import Event, EventPage, EventReason
from controlplane.schema.meta import Kind
from controlplane.schema.plans import Action, ObjectPage, ServerInfo
from tests.controlplane.cli.running import Ran, Run, process, progress, serve_plan
from tests.controlplane.fakeapi import FakeApi, answer, problem, serving
from tests.controlplane.samples import NOW, change, create, deletion, key, key_store, plan

# ---- objects ---------------------------------------------------------------------------------------------------------


def event(name: str, message: str) -> Event:
    return Event(
        version=1,
        kind=Kind.KEY,
        uid="u",
        name=name,
        reason=EventReason.DRIFT_CORRECTED,
        message=message,
        first_at=NOW,
        last_at=NOW,
        count=2,
    )


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
    message = "put back as declared: enabled is false, stated is true"
    happened = event("payments", message)
    api.answers["GET", "/v1/events"] = answer(EventPage(items=(happened,), version=1))
    assert "PendingDeletion" in run("get", "key", "payments").out
    assert run("get", "keys", "payments", "--json").json["metadata"]["name"] == "payments"
    assert "Deletion:\n  due 2026-11-30" in run("describe", "key", "payments").out
    assert f"DriftCorrected  2      {message}\n" in run("describe", "key", "payments").out
    described = run("describe", "key", "payments", "--json").json
    assert (described["kind"], described["refusedUses"]) == ("Key", [])
    assert [each["reason"] for each in described["events"]] == ["DriftCorrected"]
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
    assert ran.err.startswith("error: unexpected RuntimeError at test_faces.py:")
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
    happened = event("a", evil)
    api.answers["GET", "/v1/events"] = answer(EventPage(items=(happened,), version=1))
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
