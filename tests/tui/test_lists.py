"""Lists of every kind, at a real server: filtered, sorted, marked, and acted on where that means something."""

from __future__ import annotations

import uuid

import pytest

from tests.harness import Server, document, eventually
from tests.tui.driving import person_at

WIDE = (160, 40)


@pytest.fixture
def team(shared_server: Server) -> str:
    """Two key stores ``-a`` and ``-b``, and a key ``-k`` that waits for its material."""
    team = f"t-{uuid.uuid4().hex[:8]}"
    stores = [document("KeyStore", f"{team}-{end}", type="memory") for end in "ab"]
    shared_server.apply(team, [*stores, document("Key", f"{team}-k", origin="EXTERNAL")])
    return team


def paused(server: Server, path: str) -> bool:
    return bool(server.ok("GET", path)["spec"].get("management") == "paused")


async def test_key_stores_are_filtered_by_label_sorted_and_paused_together(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url, size=WIDE) as person:
        await person.press("3", "slash")
        await person.type(f"-l set={team} -l type=memory")
        await person.press("enter")
        await person.sees("2 of ", f"› {team}-a")
        await person.press("s")
        await person.sees("TYPE ↑")
        await person.press("s", "s", "s", "s", "s", "S")
        await person.sees("NAME ↓", f"› {team}-a")  # the cursor stays on its row
        await person.press("home", "space", "space")
        await person.sees("2 marked")
        await person.press("r")
        await person.hears(f"Key store {team}-a is being looked at.")
        await person.press("p")
        await person.hears(f"Key store {team}-a is paused")
        await person.hears(f"Key store {team}-b is paused")
        await person.sees("‖ Paused", "p resume")
        assert all(paused(shared_server, f"/v1/keystores/{team}-{end}") for end in "ab")
        await person.press("p")
        await person.hears(f"Key store {team}-b is looked after again.")
        assert not any(paused(shared_server, f"/v1/keystores/{team}-{end}") for end in "ab")
        await person.press("ctrl+d")
        await person.sees("Disconnect 2 key stores", f"{team}-b, {team}-a")
        await person.press("enter")  # the focus is on Cancel
        await person.sees_not("Disconnect 2 key stores")


async def test_the_key_store_of_the_server_says_why_it_cannot_be_paused(shared_server: Server) -> None:
    async with person_at(shared_server.url, size=WIDE) as person:
        await person.press("3", "slash")
        await person.type("-f stndrd")
        await person.press("enter")
        await person.sees("› standard", "(p pause)")
        await person.press("p")
        await person.hears("belongs to the server")
        await person.press("slash")
        await person.type(" state:enabled")
        await person.sees("state: finds keys only; here are word, !not")
        await person.press("escape")


async def test_imports_are_sorted_and_paused_like_keys(shared_server: Server, team: str) -> None:
    async with person_at(shared_server.url, size=WIDE) as person:
        await person.press("4", "slash")
        await person.type(team)
        await person.press("enter")
        await person.sees(f"› {team}-k")
        await person.press("s")
        await person.sees("KEY ↑")
        await person.press("p")
        await person.hears(f"Key {team}-k is paused")
        assert paused(shared_server, f"/v1/keys/{team}-k")
        await person.sees("p resume")
        await person.press("p")
        await person.hears(f"Key {team}-k is looked after again.")


async def test_what_means_nothing_on_a_record_says_so(shared_server: Server) -> None:
    async with person_at(shared_server.url, size=WIDE) as person:
        await person.press("7")
        await person.sees("(s sort)", "(r reconcile)", "(p pause/resume)")
        await person.press("r")
        await person.hears("reconcile: a record says what happened")


async def test_principals_are_paused_and_looked_at(shared_server: Server) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    shared_server.apply(name, [document("Principal", name, tags={"team": "web"})])
    async with person_at(shared_server.url, size=WIDE) as person:
        await person.press("colon")
        await person.type(f"principals {name} -l team=web")
        await person.press("enter")
        await person.sees(f"› {name}")
        await person.press("p")
        await person.hears(f"Principal {name} is paused")
        await person.sees("p resume")
        await person.press("p", "r")
        await person.hears(f"Principal {name} is being looked at.")


async def test_a_key_store_is_probed_and_its_report_shown(shared_server: Server, team: str) -> None:
    store = f"{team}-a"
    eventually(
        lambda: shared_server.ok("GET", f"/v1/keystores/{store}")["status"].get("connection") == "CONNECTED",
        f"{store} is connected",
    )
    async with person_at(shared_server.url, size=WIDE) as person:
        await person.press("3", "slash")
        await person.type(store)
        await person.press("enter")
        await person.sees(f"› {store}", "● Connected", "t probe")
        await person.press("t")
        await person.sees(f"Probe key store {store}", "destroyed at once")
        await person.press("enter")  # the focus is on Cancel
        await person.sees_not("destroyed at once")
        await person.press("t", "tab", "enter")
        await person.sees(f"Key store {store} keeps what was tried", "✓ what was changed is refused")
    asked = shared_server.ok("GET", "/v1/audit?operation=ProbeKeyStore&limit=1000")["items"]
    assert any(each["record"]["resource"] == f"KeyStore/{store}" for each in asked)
