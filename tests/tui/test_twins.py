"""Every action of the terminal UI has a twin on the command line: it is there, it parses, and it does the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from controlplane.cli import main as cli
from tests.harness import TOKEN, Server, document
from tui.actions import ACTIONS, SECTIONS

TWINS = sorted({twin for each in (*ACTIONS, *SECTIONS) for twin in each.cli})


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_that_the_table_of_actions_names_is_a_command_line(twin: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    fillings = {
        **{
            "NAME": "payments",
            "TEXT": "words",
            "TAG=VALUE": "team=payments",
            "TAG": "stage",
            "KIND": "key",
            "KIND/NAME": "Key/payments",
            "PATH": str(tmp_path),
        },
        **{"DIR": str(tmp_path), "FILE": str(tmp_path / "plan.json")},
    }
    program, *words = twin.split()
    assert program == "keystead"
    assert {word for word in words if word.isupper()} <= fillings.keys()
    parse(cli.keystead, [fillings.get(word, word) for word in words])


def parse(command: click.Command, words: list[str]) -> None:
    """As click does before it calls anything. Raises :class:`click.UsageError` for what is no command line."""
    with command.make_context(command.name, words) as context:
        while isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            name, found, rest = command.resolve_command(context, rest)
            assert found is not None, name
            command, context = found, found.make_context(name, rest, parent=context)


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(shared_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``keystead ARGUMENTS`` at the shared server."""
    monkeypatch.setenv("KEYSTEAD_URL", shared_server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)

    def run(*arguments: str) -> Ran:
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def name(shared_server: Server) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    shared_server.apply(name, [document("Key", name, tags={"team": "a"})])
    shared_server.kms().tag_resource(
        KeyId=shared_server.ok("GET", f"/v1/keys/{name}")["status"]["keyId"],
        Tags=[{"TagKey": "stage", "TagValue": "test"}],
    )
    return name


def spec(server: Server, name: str, kind: str = "keys") -> dict[str, Any]:
    found: dict[str, Any] = server.ok("GET", f"/v1/{kind}/{name}")["spec"]
    return found


def test_set_changes_what_it_is_told_and_nothing_else(run: Run, shared_server: Server, name: str) -> None:
    before = spec(shared_server, name)
    ran = run("set", name, "--description", "After", "--tag", "owner=b=c", "--untag", "stage")
    assert (ran.code, f"Key {name} is changed." in ran.out) == (0, True), ran
    assert f"What spec set {name} states is put back" in " ".join(ran.out.split())
    after = spec(shared_server, name)
    assert after["description"] == "After"
    assert after["tags"] == {"team": "a", "owner": "b=c"}
    same = before.keys() - {"description", "tags"}
    assert {field: after[field] for field in same} == {field: before[field] for field in same}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "say what is to change"),
        (("--tag", "team"), "'team' is no tag; write TAG=VALUE"),
        (("--tag", "team=b", "--untag", "team"), "given or taken away, not both"),
        (("--untag", "none"), "has no tag none"),
    ],
)
def test_set_refuses_what_it_cannot_do_and_changes_nothing(
    run: Run, shared_server: Server, name: str, options: tuple[str, ...], said: str
) -> None:
    before = shared_server.ok("GET", f"/v1/keys/{name}")["metadata"]["generation"]
    ran = run("set", name, *options)
    assert (ran.code, said in ran.err) == (1, True), ran
    assert shared_server.ok("GET", f"/v1/keys/{name}")["metadata"]["generation"] == before


def test_reconcile_has_the_server_look_at_a_key(run: Run, name: str) -> None:
    ran = run("reconcile", name, "--json")
    assert ran.code == 0, ran
    assert json.loads(ran.out)["metadata"]["name"] == name
    assert run("reconcile", f"{name}-none").code == 1


def test_a_key_store_is_disconnected_only_if_somebody_says_so_and_connected_again(
    run: Run, shared_server: Server
) -> None:
    store = f"t-{uuid.uuid4().hex[:8]}"
    shared_server.apply(store, [document("KeyStore", store, type="memory")])  # connected is a default, not stated
    ran = run("disconnect", store, "--json")
    assert (ran.code, "nobody can be asked" in ran.out + ran.err) == (1, True), ran
    assert spec(shared_server, store, "keystores").get("connected", True) is True
    assert run("disconnect", store, "--yes").code == 0
    assert spec(shared_server, store, "keystores")["connected"] is False
    assert run("probe", store).code == 1, "it is not connected"
    assert run("connect", store).code == 0
    assert spec(shared_server, store, "keystores").get("connected", True) is True


def test_a_probe_tells_what_it_tried_and_its_exit_code_says_whether_all_held(run: Run) -> None:
    ran = run("probe", "standard")
    assert (ran.code, "Key store standard keeps what was tried: 17 passed." in ran.out) == (0, True), ran
    told = json.loads(run("probe", "standard", "--json").out)
    assert (told["keyStore"], told["passed"]) == ("standard", True)
    ran = run("probe", "standard", "--external-key", "a")
    assert (ran.code, "has no external keys" in ran.err) == (1, True), ran
