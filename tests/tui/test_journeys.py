"""What people come for, with a real server: find a key, keep one, lose the server and get it back."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.clock import ManualClock
from tests.harness import ROOT, Server, document, refusal
from tests.tui.driving import MIDDLE, SMALL, person_at
from tests.tui.timed import timed_server
from tui.feed.messages import Outcome
from tui.feed.orders import FindImport, ImportFiles
from tui.screens.importing import ImportScreen


@pytest.fixture
def team(shared_server: Server) -> str:
    """Three keys of the test's own: ``-a`` and ``-b`` enabled, ``-p`` protected."""
    team = f"t-{uuid.uuid4().hex[:8]}"
    shared_server.apply(
        team,
        [
            *(document("Key", f"{team}-{end}", tags={"team": team}, aliases=[f"{team}/{end}"]) for end in "ab"),
            document("Key", f"{team}-p", tags={"team": team}, deletion={"windowDays": 30, "protect": True}),
        ],
    )
    return team


def spec(server: Server, name: str) -> dict[str, object]:
    found: dict[str, object] = server.ok("GET", f"/v1/keys/{name}")["spec"]
    return found


def deletion(server: Server, name: str) -> object:
    return server.ok("GET", f"/v1/keys/{name}")["metadata"].get("deletion")


# ---- find ------------------------------------------------------------------------------------------------------------


async def test_a_key_is_found_by_typing_a_part_of_it(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url, size=SMALL) as person:
        await person.press("2")
        await person.sees("NAME", "STATE")
        await person.press("slash")
        await person.type(f"-l team={team} !-p")
        await person.sees("2 of ", f"{team}-a", f"{team}-b")
        await person.press("enter", "enter")
        await person.sees(f"keys › {team}-a › describe", "Spec set:", "ENCRYPT_DECRYPT")
        await person.press("y")
        await person.sees("› yaml", "metadata:")
        await person.press("escape", "escape")
        await person.sees("NAME", "STATE")


async def test_a_filter_that_means_nothing_says_so_while_it_is_typed(shared_server: Server) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("2", "slash")
        await person.type("state:gone")
        await person.sees("fits no key state; there are Creating")
        await person.press("escape")
        await person.sees_not("fits no key state")


async def test_a_jump_goes_to_a_key_store_and_a_filter_and_back(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"keys @standard /{team}")
        await person.press("enter")
        await person.sees(f"keys  /@standard {team}", "3 of ")
        await person.press("colon")
        await person.type(f"key {team}-a")
        await person.press("enter")
        await person.sees(f"keys › {team}-a")
        await person.press("left_square_bracket")
        await person.sees(f"keys  /@standard {team}")
        await person.press("right_square_bracket")
        await person.sees(f"keys › {team}-a")


async def test_a_jump_is_completed_with_names_that_the_server_finds(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"key {team}-")  # no list was shown yet
        await person.sees(f"key {team}-a")
        await person.press("right", "enter")
        await person.sees(f"keys › {team}-a › describe")
        await person.press("3")
        await person.sees("standard", "● Connected")
        await person.press("colon")
        await person.type("store st")
        await person.sees("store standard")


async def test_a_jump_to_nowhere_is_told_with_what_there_is(shared_server: Server) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type("kys")
        await person.sees("did you mean key")


async def test_what_happens_elsewhere_shows_by_itself(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"keys /{team}-b")
        await person.press("enter")
        await person.sees("● Enabled", "1 of ")
        shared_server.ok("POST", f"/v1/keys/{team}-b/actions/disable")
        await person.sees("○ Disabled")


# ---- change ----------------------------------------------------------------------------------------------------------


async def test_marked_keys_are_disabled_together(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"keys /{team} !-p")
        await person.press("enter")
        await person.sees("2 of ")
        await person.press("space", "space")
        await person.sees("2 marked")
        await person.press("x")
        await person.hears(f"Key {team}-b is disabled.")
        assert spec(shared_server, f"{team}-a")["enabled"] is False
        assert spec(shared_server, f"{team}-b")["enabled"] is False
        await person.press("escape")
        await person.sees_not("2 marked")


async def test_a_deletion_is_scheduled_by_typing_the_alias_and_cancelled_with_one_key(
    shared_server: Server, team: str
) -> None:
    name = f"{team}-a"
    async with person_at(shared_server.url, size=SMALL) as person:
        await person.press("colon")
        await person.type(f"keys /{name}")
        await person.press("enter")
        await person.sees("1 of ")
        await person.press("ctrl+d")
        await person.sees("Schedule key", "Type its alias")
        await person.press("enter")  # the focus is on Cancel
        await person.sees_not("Type its alias")
        assert deletion(shared_server, name) is None

        await person.press("ctrl+d", "tab")
        await person.type(f"{team}/wrong")
        await person.sees("this is not its alias")
        await person.press(*["backspace"] * 5)
        await person.type("a")
        await person.press("enter", "enter")
        await person.hears(f"Key {name} is scheduled for deletion")
        assert deletion(shared_server, name) is not None
        assert refusal(shared_server.kms().encrypt, KeyId=f"alias/{team}/a", Plaintext=b"x").status == 400

        await person.press("5")
        await person.sees("Who tried to use it", name[:14])
        await person.press("slash")
        await person.type(name)
        await person.press("enter")
        await person.sees("! 1, last", "29d 23h")
        await person.press("u")
        await person.hears(f"The deletion of key {name} is cancelled")
        assert deletion(shared_server, name) is None


async def test_a_protected_key_says_why_it_stays(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"keys /{team}-p")
        await person.press("enter")
        await person.sees("1 of ", "(^d delete…)")
        await person.press("ctrl+d")
        await person.hears("is protected; lift deletion.protect")


async def test_description_and_tags_are_edited(shared_server: Server, team: str) -> None:
    name = f"{team}-b"
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"key {name}")
        await person.press("enter")
        await person.sees("Spec set:")
        await person.press("e")
        await person.sees("Description of key")
        await person.type("For the web")
        await person.press("enter")
        await person.hears("has a new description")
        assert spec(shared_server, name)["description"] == "For the web"
        await person.press("t")
        await person.sees("Tags of key")
        await person.press("end", "enter")
        await person.type("stage=prod")
        await person.press("tab", "enter")
        await person.hears("has new tags")
        assert spec(shared_server, name)["tags"] == {"team": team, "stage": "prod"}


async def test_a_key_is_paused_and_resumed(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"keys /{team}-b")
        await person.press("enter")
        await person.sees("1 of ", "p pause")
        await person.press("p")
        await person.sees("‖ Paused", "p resume")
        await person.press("p")
        await person.sees("✓ Synced", "p pause")


async def test_a_read_only_program_changes_nothing_and_says_so(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url, read_only=True) as person:
        await person.press("colon")
        await person.type(f"keys /{team}-a")
        await person.press("enter")
        text = await person.sees("1 of ", "read-only")
        assert "disable" not in text
        await person.press("x")
        await person.hears("not in a read-only program")
        assert spec(shared_server, f"{team}-a").get("enabled", True) is True


# ---- key stores ------------------------------------------------------------------------------------------------------


async def test_a_key_store_is_disconnected_and_connected_again(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    server.apply("stores", [document("KeyStore", "mem", type="memory"), document("Key", "in-mem", keyStore="mem")])
    async with person_at(server.url) as person:
        await person.press("3")
        await person.sees("mem", "● Connected")
        await person.press("down" if person.lines[5].startswith("› standard") else "up")
        await person.sees("› mem")
        await person.press("ctrl+d")
        await person.sees("1 key cannot be used")
        await person.press("tab", "enter")
        await person.sees("○ Disconnected")
        await person.press("enter")
        await person.sees("keys  /@mem", "in-mem", "✗ Unavailable")
        await person.press("3", "c")
        await eventually_async(person, server)
        await person.press("2")
        await person.sees("● Enabled")


async def eventually_async(person, server: Server) -> None:  # type: ignore[no-untyped-def]
    def connected() -> bool:
        store = server.ok("GET", "/v1/keystores/mem")
        return bool(store["status"].get("connection") == "CONNECTED")

    await person.until(connected, "the key store is connected")


# ---- the server goes away --------------------------------------------------------------------------------------------


async def test_what_is_on_the_screen_outlives_the_server_and_is_live_again_by_itself(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    server.apply("life", [document("Key", "stays")])
    async with person_at(server.url, size=SMALL) as person:
        await person.press("2")
        await person.sees("stays", "● Enabled", "● live")
        server.kill()
        await person.sees("stays", "! stale", "Stale since", "What you see stays")
        await person.press("x")
        await person.hears("the server is not connected; what you see is stale")
        server.settings["port"] = server.port
        server.start()
        await person.sees("stays", "● live")
        await person.sees_not("Stale since")
        server.ok("POST", "/v1/keys/stays/actions/disable")
        await person.sees("○ Disabled")


async def test_a_server_that_is_not_there_yet_is_waited_for(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    port = server.port
    server.stop()
    async with person_at(f"http://127.0.0.1:{port}", live=False) as person:
        await person.sees("◌ connecting", "Not connected yet", "is it running?")
        server.settings["port"] = port
        server.start()
        await person.sees("● live", "Nothing needs a person")


async def test_a_token_that_is_refused_is_told_with_what_would_be_right(shared_server: Server) -> None:
    async with person_at(shared_server.url, token="wrong", live=False) as person:
        await person.sees("✗ no access", "refuses the token in KEYSTEAD_TOKEN")


# ---- in the last second ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of our own handlers, built in this process
async def test_a_deletion_is_cancelled_with_one_second_left(tmp_path: Path) -> None:
    """And the same deletion, not cancelled, is carried out: the second was the last one."""
    clock = ManualClock()
    with timed_server(tmp_path / "data", clock) as server:
        server.apply("timed", [document("Key", "kept"), document("Key", "lost")])
        for name in ("kept", "lost"):
            server.ok("POST", f"/v1/keys/{name}/actions/schedule-deletion", {"windowDays": 7})
        clock.advance(timedelta(days=7) - timedelta(seconds=1))
        async with person_at(server.url, size=SMALL, clock=clock) as person:
            await person.press("5")
            await person.sees("› kept", "! 0m 01s", "2 pending")
            await person.press("u")
            await person.hears("The deletion of key kept is cancelled")
            clock.advance(2)
            await person.sees("lost", "due now", "1 pending")
            await person.press("enter")
            await person.sees("› lost ›")
            await person.press("r")
            await person.sees("destroyed or removed")
            await person.press("escape")
            await person.sees("No key is about to be deleted")
        assert server.rest("GET", "/v1/keys/lost").status == 404
        assert deletion(server, "kept") is None


# ---- import ----------------------------------------------------------------------------------------------------------


async def test_material_is_imported_step_by_step_and_the_way_can_be_left_and_taken_up(
    shared_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving the wizard, and the program, in the middle; wrapping with the command that step 2 shows."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    monkeypatch.chdir(tmp_path)
    first = f"a-{uuid.uuid4().hex[:8]}"  # another that waits, and comes before it in the list
    shared_server.apply(
        name,
        [document("Key", name, origin="EXTERNAL", expiry={"validDays": 90}), document("Key", first, origin="EXTERNAL")],
    )
    material = tmp_path / "key.bin"
    material.write_bytes(os.urandom(32))

    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("4", "slash")
        await person.type(name)
        await person.press("enter")
        await person.sees(f"› {name}", "waits for material", "not begun")
        await person.press("i")
        await person.sees("1 Parameters ●", "Get parameters", "never reads material in clear")
        await person.press("enter")
        text = await person.sees("2 Wrap ●", "Fingerprint", "23h 59m", "openssl pkeyutl")
        folder = f"{name}.import"
        command = f"keystead import-material wrap --parameters {folder} --in key.bin --out {folder}/wrapped.bin"
        assert command in " ".join(text.split())
        wizard = person.app.screen
        assert isinstance(wizard, ImportScreen)
        wizard.post_message(Outcome(FindImport(name, folder), ImportFiles(folder)))  # from before they were there
        wizard.post_message(Outcome(FindImport(name, "elsewhere"), ImportFiles("elsewhere")))
        await person.press("f1")  # comes after them
        await person.sees("2 Wrap ●", "Fingerprint")

    wrap = [sys.executable, "-m", "controlplane", *command.split()[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(wrap, check=True, cwd=tmp_path, env=environment, capture_output=True)  # noqa: ASYNC221

    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("colon")
        await person.type(f"import {name}")
        await person.press("enter")
        await person.sees("3 Upload ●", "octets: the length is right")
        await person.press("enter")
        await person.sees("4 Expiry ●", "as the key declares: after 90 days")
        await person.press("escape")
        await person.sees("Its import", f"› {name}")  # whatever else waits for material
        await person.press("i")
        await person.sees("4 Expiry ●", f"imports › {name}")
        await person.press("enter")
        await person.sees("5 Review ●", "Nothing was uploaded yet", "after 90 days", "552 octets, wrapped")
        await person.press("enter")
        await person.sees(f"✓ Imported into {name}. The key is ● Enabled")
        await person.press("enter")
        await person.sees("expires in 89d")
    found = shared_server.ok("GET", f"/v1/keys/{name}")
    assert found["status"]["materials"][0]["imported"]["state"] == "IMPORTED"
    held = b"".join(path.read_bytes() for path in (tmp_path / f"{name}.import").iterdir())
    assert material.read_bytes() not in held


async def test_a_file_that_cannot_be_wrapped_material_is_told_before_it_is_sent(
    shared_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    monkeypatch.chdir(tmp_path)
    shared_server.apply(name, [document("Key", name, origin="EXTERNAL")])
    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("colon")
        await person.type(f"import {name}")
        await person.press("enter")
        await person.sees("Get parameters")
        await person.press("enter")
        await person.sees("2 Wrap ●")
        await person.press("enter")
        await person.sees("3 Upload ●", "there is no file")
        (tmp_path / "plain.bin").write_bytes(os.urandom(32))
        await person.press("ctrl+u")
        await person.press(*["backspace"] * 60)
        await person.type("plain.bin")
        await person.sees("32 octets cannot be right", "makes 536 or more")
        await person.press("tab", "tab", "enter")
        await person.sees("3 Upload ●", "! 32 octets cannot be right")
    assert shared_server.ok("GET", f"/v1/keys/{name}")["status"].get("materials", []) == []


# ---- plans -----------------------------------------------------------------------------------------------------------


async def test_a_plan_is_chosen_read_and_applied(shared_server: Server, tmp_path: Path) -> None:
    directory = tmp_path / f"t-{uuid.uuid4().hex[:8]}"
    directory.mkdir()
    name = f"{directory.name}-key"
    (directory / "keys.yaml").write_text(
        f"apiVersion: keystead/v1\nkind: Key\nmetadata: {{name: {name}}}\nspec: {{aliases: [{name}]}}\n"
    )
    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("6")
        await person.sees("A plan says what an apply of spec files would do")
        await person.type(str(tmp_path))
        await person.press("tab", "o")
        await person.sees(f"{directory.name}/", "directory")
        await person.press("enter")
        await person.sees("keys.yaml", "spec file")
        await person.press("t")
        await person.sees(f"Plan for spec set {directory.name}:", f"# key {name} will be created", "a apply")
        await person.press("a")
        await person.sees("Apply exactly this plan?", "1 to create")
        await person.press("enter")  # the focus is on Cancel
        await person.sees_not("Apply exactly this plan?")
        assert shared_server.rest("GET", f"/v1/keys/{name}").status == 404
        await person.press("a", "tab", "enter")
        await person.sees("Applied: 1 created.", f"The object of spec set {directory.name} is as declared.")
        await person.press("r")
        await person.sees("No changes.")
    assert shared_server.ok("GET", f"/v1/keys/{name}")["metadata"]["specSet"] == directory.name


async def test_a_mistake_in_a_file_is_told_with_its_line(shared_server: Server, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("apiVersion: keystead/v1\nkind: Key\nmetadata: {name: a}\nspec:\n  keySpek: RSA_2048\n")
    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("6")
        await person.sees("Files")
        await person.type(str(file))
        await person.press("enter")
        await person.sees("keySpec", "1 problem found; nothing was changed.")
        assert "keys.yaml:5" in person.text.replace("\n ", "")


async def test_a_blocked_plan_cannot_be_applied_and_says_so(shared_server: Server, team: str, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(f"apiVersion: keystead/v1\nkind: Key\nmetadata: {{name: {team}-a}}\nspec: {{keySpec: HMAC_256}}\n")
    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("6")
        await person.sees("Files")
        await person.type(str(file))
        await person.press("enter")
        await person.sees("is blocked", "(a apply…)")
        await person.press("a")
        await person.hears("something in it is blocked")


async def test_what_another_set_owns_is_taken_over_when_a_person_says_so(
    shared_server: Server, team: str, tmp_path: Path
) -> None:
    name, file = f"{team}-a", tmp_path / "mine.yaml"
    text = "apiVersion: keystead/v1\nkind: Key\nmetadata: {{name: {}}}\nspec: {{tags: {{team: mine}}, enabled: true}}\n"
    file.write_text(text.format(name))
    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("6")
        await person.sees("Files")
        await person.type(str(file))
        await person.press("enter")
        await person.sees(
            "is blocked", f"is stated by spec set {team}", "w plans again", "(a apply…)", "w take ownership"
        )
        await person.press("w")
        await person.sees("with take-ownership", "team", "a apply…")
        await person.press("a")
        await person.sees("Apply exactly this plan?", "It takes over what others own.")
        await person.press("tab", "enter")
        await person.sees("Applied: ")
    assert spec(shared_server, name)["tags"] == {"team": "mine"}


# ---- audit -----------------------------------------------------------------------------------------------------------


async def test_the_audit_tail_shows_what_happens_can_be_held_and_filtered(shared_server: Server, team: str) -> None:
    kms = shared_server.kms()
    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("7", "slash")
        await person.type(f"key:{team}-a op:Encrypt")
        await person.press("enter")
        await person.sees("No record matches")
        kms.encrypt(KeyId=f"alias/{team}/a", Plaintext=b"x")
        await person.sees("Encrypt", "✓ allowed", "● tail")
        await person.press("space")
        await person.sees("‖ held, +0 below")
        kms.encrypt(KeyId=f"alias/{team}/a", Plaintext=b"x")
        await person.sees("‖ held, +1 below")
        await person.press("enter")
        await person.sees("Record ", '"operation": "Encrypt"', '"principal"')
        await person.press("escape", "space")
        await person.until(lambda: person.text.count("✓ allowed") == 2, "both are shown")
        await person.press("v")
        await person.sees("The journal is whole")


async def test_a_key_is_rotated(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url) as person:
        await person.press("colon")
        await person.type(f"keys /{team}-a")
        await person.press("enter")
        await person.sees("1 of ", "R rotate")
        await person.press("R")
        await person.hears("gets new material")
        await person.until(
            lambda: len(shared_server.ok("GET", f"/v1/keys/{team}-a")["status"]["materials"]) == 2, "there are two"
        )
