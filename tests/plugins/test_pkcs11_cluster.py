"""Clusters: calls spread over members, members step in for one another, and nothing depends on which one it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins.pkcs11 import Pkcs11KeyStore, Pkcs11Options
from plugins.sdk import (
    CredentialsRefused,
    KeyStoreError,
    MaterialDamaged,
    MaterialNotFound,
    Misconfigured,
    OutcomeUnknown,
    PluginContext,
    Unavailable,
)
from plugins.sdk.conformance import MemoryState
from tests.harness import in_time
from tests.hsm import PIN, SoftToken, pin_file
from tests.plugins.test_pkcs11_faults import SYMMETRIC, fresh, made, round_trip, works_again
from tests.shim import Effect, Shim

Opener = Callable[..., Awaitable[Pkcs11KeyStore]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens clusters over members' options; closed with the test."""
    stores: list[Pkcs11KeyStore] = []

    async def opened(*members: dict[str, Any], **more: Any) -> Pkcs11KeyStore:
        kept = list(members)
        # Members that share a token always synchronise, however slow the machine is; the others never do.
        shared = len({member["environment"]["SOFTHSM2_CONF"] for member in kept}) == 1
        wait = {"synchroniseSeconds": 10 if shared else 0.3}
        whole = {"workers": 1, "useSeconds": 5, **wait, "pin": pin_file(tmp_path), **more}
        options = msgspec.convert({**whole, "members": kept}, Pkcs11Options)
        store = Pkcs11KeyStore(options, PluginContext("hsm", MemoryState(), lambda: 1_800_000_000.0))
        stores.append(store)
        await store.open()
        return store

    yield opened
    for store in stores:
        await store.close()


class Twins:
    """Two ways to one token, each through a shim of its own: a cluster whose members synchronise by themselves."""

    def __init__(self, directory: Path) -> None:
        self.token = SoftToken(directory / "shared", "shared")
        self.shims = [Shim(self.token), Shim(self.token)]

    def members(self) -> list[dict[str, Any]]:
        return [shim.options() for shim in self.shims]


@pytest.fixture
def twins(tmp_path: Path) -> Any:
    twins = Twins(tmp_path)
    yield twins
    for shim in twins.shims:
        shim.close()


class Strangers:
    """Two tokens that know nothing of each other."""

    def __init__(self, directory: Path) -> None:
        self.tokens = [SoftToken(directory / name, name) for name in ("left", "right")]

    def members(self) -> list[dict[str, Any]]:
        return [token.options() for token in self.tokens]


@pytest.fixture
def strangers(tmp_path: Path) -> Strangers:
    return Strangers(tmp_path)


def keys_in(token: SoftToken) -> int:
    return token.objects().count("Secret Key Object")


# ---- members that synchronise ----------------------------------------------------------------------------------------


async def test_calls_are_spread_over_the_members(opened: Opener, twins: Twins) -> None:
    store = await opened(*twins.members())
    ref = await made(store)
    await round_trip(store, ref)
    before = [shim.calls for shim in twins.shims]
    await asyncio.gather(*(round_trip(store, ref) for _ in range(50)))
    used = [shim.calls - count for shim, count in zip(twins.shims, before, strict=True)]
    assert min(used) > sum(used) / 3
    health = await store.probe()
    assert (health.healthy, health.synchronised, health.missing_to_create) == (True, True, 0)
    assert [member.active for member in health.members] == [True, True]
    assert await store.list_material() == [ref.name], "nothing is left of the look whether they synchronise"


async def test_a_member_that_goes_is_stepped_in_for_at_once_and_told(opened: Opener, twins: Twins) -> None:
    store = await opened(*twins.members())
    ref = await made(store)
    await round_trip(store, ref)
    twins.shims[0].pull_out()
    for _ in range(20):
        await round_trip(store, ref)
    health = await store.probe()
    assert (health.healthy, health.missing_to_create) == (True, 1)
    assert [member.active for member in health.members] == [False, True]
    assert "DeviceRemoved" in health.members[0].detail
    with pytest.raises(Unavailable, match="1 of 2 members are active and 2 are needed to make a key") as caught:
        await store.create(fresh())
    assert caught.value.reason == "InsufficientMembers"
    twins.shims[0].heal()
    await works_again(lambda: made(store))


async def test_a_member_that_hangs_is_stepped_in_for_within_the_time_of_a_call(opened: Opener, twins: Twins) -> None:
    store = await opened(*twins.members(), useSeconds=1)
    ref = await made(store)
    sealed = await store.encrypt(ref, SYMMETRIC, b"x", b"")
    for shim in twins.shims:
        shim.strike(Effect.HANG, function="C_Decrypt")
        began = time.monotonic()
        for _ in range(2):
            assert await store.decrypt(ref, SYMMETRIC, sealed, b"") == b"x"
        assert in_time(began, 3)
        assert shim.struck == 1


async def test_all_members_gone_is_unavailable_and_all_back_is_work(opened: Opener, twins: Twins) -> None:
    store = await opened(*twins.members())
    ref = await made(store)
    for shim in twins.shims:
        shim.pull_out()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await round_trip(store, ref)
    with pytest.raises(KeyStoreError):
        await store.probe()
    for shim in twins.shims:
        shim.heal()
    await works_again(lambda: round_trip(store, ref))


async def test_a_key_is_not_called_absent_while_a_member_cannot_be_asked(opened: Opener, twins: Twins) -> None:
    """It would be made anew under the same name, and be two keys."""
    store = await opened(*twins.members())
    ref = await made(store)
    twins.shims[1].pull_out()
    assert await store.observe(ref) is not None
    with pytest.raises(Unavailable, match="cannot be seen now"):
        await store.observe(fresh())
    with pytest.raises(OutcomeUnknown, match="is not known to be destroyed in"):
        await store.destroy(ref)
    twins.shims[1].heal()
    await works_again(lambda: store.destroy(ref))
    assert await store.observe(ref) is None
    with pytest.raises(MaterialNotFound):
        await store.encrypt(ref, SYMMETRIC, b"x", b"")


async def test_a_member_that_was_away_at_the_beginning_joins_when_it_comes(opened: Opener, twins: Twins) -> None:
    twins.shims[1].pull_out()
    store = await opened(*twins.members())
    assert [member.active for member in (await store.probe()).members] == [True, False]
    twins.shims[1].heal()

    async def both_are_there() -> None:
        health = await store.probe()
        if not all(member.active for member in health.members):
            raise Unavailable("not yet")

    await works_again(both_are_there)
    await round_trip(store, await made(store))


# ---- members that do not ---------------------------------------------------------------------------------------------


async def test_members_that_do_not_synchronise_are_told_and_each_key_is_used_where_it_is(
    opened: Opener, strangers: Strangers
) -> None:
    store = await opened(*strangers.members())
    assert (await store.probe()).synchronised is False
    refs = [await made(store) for _ in range(4)]
    assert sorted(keys_in(token) for token in strangers.tokens) == [2, 2]
    for ref in refs * 3:
        await round_trip(store, ref)
    assert await store.list_material() == sorted(ref.name for ref in refs)
    for ref in refs:
        await store.destroy(ref)
    assert [keys_in(token) for token in strangers.tokens] == [0, 0]


async def test_a_key_whose_only_member_is_away_is_unavailable_and_the_others_are_used(
    opened: Opener, strangers: Strangers
) -> None:
    store = await opened(*strangers.members())
    refs = [await made(store) for _ in range(2)]
    strangers.tokens[0].remove()
    outcomes = await asyncio.gather(*(round_trip(store, ref) for ref in refs), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "Unavailable"]
    strangers.tokens[0].bring_back()
    for ref in refs:
        await works_again(lambda ref=ref: round_trip(store, ref))  # type: ignore[misc]


async def test_different_keys_under_one_name_in_two_members_are_never_used(
    opened: Opener, strangers: Strangers
) -> None:
    """Half of all decryptions would fail, and whichever came first would decide which half."""
    store = await opened(*strangers.members())
    ref = await made(store)
    for token in strangers.tokens:
        if keys_in(token) == 0:
            token.tool("--keygen", "--key-type", "AES:32", "--label", ref.name, "--sensitive")
    with pytest.raises(MaterialDamaged, match="left and right hold different keys"):
        await round_trip(store, ref)


# ---- opening ---------------------------------------------------------------------------------------------------------


async def test_a_user_who_is_missing_or_refused_on_one_member_is_told_with_its_name(
    opened: Opener, tmp_path: Path
) -> None:
    """In AWS a store with its user on one of two HSMs fails now and then, and nobody knows why."""
    left, right = SoftToken(tmp_path / "left", "left"), SoftToken(tmp_path / "right", "right", user=False)
    with pytest.raises(CredentialsRefused, match=r"member right: .*the user does not exist") as caught:
        await opened(left.options(), right.options())
    assert caught.value.reason == "UserNotFound"
    wrong = {**right.options(), "pin": pin_file(tmp_path, "wrong-pin-1")}
    with pytest.raises(CredentialsRefused, match="member right"):
        await opened(left.options(), wrong)
    assert PIN not in str(caught.value)


async def test_too_few_members_do_not_open_and_each_says_why(opened: Opener, strangers: Strangers) -> None:
    strangers.tokens[0].remove()
    with pytest.raises(
        Unavailable, match=r"1 of 2 members are active and 2 are needed: left: .*no such token"
    ) as caught:
        await opened(*strangers.members(), minimumMembers=2)
    assert caught.value.reason == "InsufficientMembers"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"minimumMembers": 3}, "minimumMembers: 3 members are wanted, and 2 are named"),
        ({"minimumMembersToCreate": 3}, "minimumMembersToCreate: 3 members are wanted, and 2 are named"),
        ({"pin": None}, "pin: say where the user's PIN is"),
    ],
)
def test_options_that_cannot_be_kept_are_refused_before_anything_is_opened(
    strangers: Strangers, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    whole = {"members": strangers.members(), "pin": pin_file(tmp_path), **more}
    with pytest.raises(Misconfigured, match=message):
        msgspec.convert(whole, Pkcs11Options).check()


async def test_closing_while_a_member_is_looked_for_leaves_nothing_running(
    opened: Opener, strangers: Strangers
) -> None:
    strangers.tokens[1].remove()
    store = await opened(*strangers.members())
    tasks = len(asyncio.all_tasks())
    await store.close()
    assert len(asyncio.all_tasks()) < tasks
    with pytest.raises(Unavailable, match="is not open"):
        await store.random(1)
