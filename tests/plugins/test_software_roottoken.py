"""A root key that never leaves its HSM, and stores that are moved to it, away from it, and stopped half-way."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins.sdk import (
    Algorithm,
    CredentialsRefused,
    KeyStoreError,
    MaterialRef,
    Misconfigured,
    PluginContext,
    SecretSource,
    Unavailable,
)
from plugins.sdk.conformance import MemoryState
from plugins.software import FileRootKey, PassphraseRootKey, SoftwareKeyStore, SoftwareOptions, TokenRootKey
from tests.hsm import PIN, SoftToken, pin_file
from tests.plugins.conftest import DAY, TestClock, create

A = Algorithm.SYMMETRIC_DEFAULT
RootKey = FileRootKey | PassphraseRootKey | TokenRootKey
Maker = Callable[..., SoftwareKeyStore]


@pytest.fixture
def token(tmp_path: Path) -> SoftToken:
    return SoftToken(tmp_path / "hsm")


@pytest.fixture
def in_hsm(token: SoftToken, tmp_path: Path) -> TokenRootKey:
    return msgspec.convert({**token.options(), "pin": pin_file(tmp_path), "provider": "pkcs11"}, TokenRootKey)


@pytest.fixture
def in_file(tmp_path: Path) -> FileRootKey:
    return FileRootKey(path=str(tmp_path / "root.key"))


@pytest.fixture
def by_passphrase(tmp_path: Path) -> PassphraseRootKey:
    path = tmp_path / "passphrase"
    path.touch(mode=0o600)
    path.write_text("correct horse battery staple")
    return PassphraseRootKey(passphrase=SecretSource(from_file=str(path)))


@pytest.fixture
async def make(state: MemoryState, clock: TestClock) -> AsyncIterator[Maker]:
    """Makes unopened instances of one store under a root key; closed with the test."""
    stores: list[SoftwareKeyStore] = []

    def make(root_key: RootKey, previous: RootKey | None = None) -> SoftwareKeyStore:
        context = PluginContext("standard", state, clock)
        store = SoftwareKeyStore(SoftwareOptions(root_key=root_key, previous_root_key=previous), context)
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.close()


async def filled(make: Maker, root_key: RootKey, clock: TestClock) -> list[tuple[MaterialRef, bytes]]:
    """A new store with keys under three domain keys, closed again: each key with something encrypted under it."""
    store = make(root_key)
    await store.provision()
    await store.open()
    kept = []
    for number in range(3):
        ref = await create(store, f"key-{number}")
        kept.append((ref, await store.encrypt(ref, A, b"kept", b"")))
        clock.time += 31 * DAY
        await store.maintain()
    await store.close()
    return kept


async def opens(make: Maker, root_key: RootKey, kept: list[tuple[MaterialRef, bytes]]) -> None:
    store = make(root_key)
    await store.open()
    for ref, blob in kept:
        assert await store.decrypt(ref, A, blob, b"") == b"kept"
    assert (await store.probe()).healthy
    await store.close()


# ---- the key in the HSM ----------------------------------------------------------------------------------------------


async def test_a_root_key_is_made_in_the_hsm_and_opens_the_store_ever_after(
    make: Maker, in_hsm: TokenRootKey, token: SoftToken, clock: TestClock
) -> None:
    kept = await filled(make, in_hsm, clock)
    await opens(make, in_hsm, kept)
    seen = token.objects()
    assert "keystead-root:keystead" in seen
    assert "sensitive, always sensitive, never extractable, local" in seen


async def test_nothing_in_the_records_opens_without_the_hsm(
    make: Maker, in_hsm: TokenRootKey, token: SoftToken, clock: TestClock
) -> None:
    kept = await filled(make, in_hsm, clock)
    token.remove()
    with pytest.raises((Misconfigured, Unavailable)):
        await make(in_hsm).open()
    token.bring_back()
    await opens(make, in_hsm, kept)


async def test_a_root_key_that_is_gone_from_the_hsm_is_told_and_never_made_anew(
    make: Maker, in_hsm: TokenRootKey, token: SoftToken, clock: TestClock
) -> None:
    await filled(make, in_hsm, clock)
    token.tool("--delete-object", "--type", "secrkey", "--label", "keystead-root:keystead")
    with pytest.raises(CredentialsRefused, match=r"root key keystead-root:keystead in .* is missing") as caught:
        await make(in_hsm).open()
    assert caught.value.reason == "RootKeyMissing"
    assert "Secret Key Object" not in token.objects()


async def test_another_key_under_its_label_is_recognised(
    make: Maker, in_hsm: TokenRootKey, token: SoftToken, clock: TestClock
) -> None:
    await filled(make, in_hsm, clock)
    token.tool("--delete-object", "--type", "secrkey", "--label", "keystead-root:keystead")
    token.tool("--keygen", "--key-type", "AES:32", "--label", "keystead-root:keystead", "--sensitive")
    with pytest.raises(CredentialsRefused, match="is not the root key of this store"):
        await make(in_hsm).open()


async def test_provisioning_never_replaces_a_root_key(make: Maker, in_hsm: TokenRootKey, state: MemoryState) -> None:
    await make(in_hsm).provision()
    state.values.clear()
    with pytest.raises(Misconfigured, match="exists already and is never replaced"):
        await make(in_hsm).provision()


async def test_a_store_that_is_open_works_on_while_its_hsm_is_away_and_says_so(
    make: Maker, in_hsm: TokenRootKey, token: SoftToken, clock: TestClock
) -> None:
    ((ref, blob), *_) = await filled(make, in_hsm, clock)
    store = make(in_hsm)
    await store.open()
    token.remove()
    assert await store.decrypt(ref, A, blob, b"") == b"kept"
    assert not (await store.probe()).healthy
    token.bring_back()
    assert (await store.probe()).healthy


@pytest.mark.parametrize("wrong", [{"pin": None}, {"module": None}, {"token": None}])
async def test_options_that_lack_something_are_told(make: Maker, in_hsm: TokenRootKey, wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        await make(msgspec.structs.replace(in_hsm, **wrong)).provision()


# ---- moving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in_file", "in_hsm"),
        ("in_hsm", "in_file"),
        ("by_passphrase", "in_hsm"),
        ("in_hsm", "by_passphrase"),
        ("in_file", "by_passphrase"),
    ],
)
async def test_a_store_is_moved_and_the_old_root_key_opens_it_no_more(
    make: Maker, clock: TestClock, request: pytest.FixtureRequest, source: str, target: str
) -> None:
    old, new = request.getfixturevalue(source), request.getfixturevalue(target)
    kept = await filled(make, old, clock)
    done = await make(new, old).migrate()
    assert any("Moved 4 domain keys" in sentence for sentence in done)
    await opens(make, new, kept)
    with pytest.raises(CredentialsRefused, match="set it back, or move it"):
        await make(old).open()
    assert await make(new, old).migrate() == ["The store is under this root key already; nothing was left to do."]


async def test_there_and_back_again(
    make: Maker, in_file: FileRootKey, in_hsm: TokenRootKey, clock: TestClock, tmp_path: Path
) -> None:
    kept = await filled(make, in_file, clock)
    await make(in_hsm, in_file).migrate()
    back = FileRootKey(path=str(tmp_path / "another-root.key"))
    await make(back, in_hsm).migrate()
    await opens(make, back, kept)


async def test_nothing_that_the_old_root_key_opens_is_left_in_the_records(
    make: Maker, in_file: FileRootKey, in_hsm: TokenRootKey, clock: TestClock, state: MemoryState
) -> None:
    await filled(make, in_file, clock)
    before = {name: msgspec.json.decode(value)["wrapped"] for name, value in state.values.items() if "domain/" in name}
    await make(in_hsm, in_file).migrate()
    after = b"".join(state.values.values()).decode()
    assert not [name for name, wrapped in before.items() if wrapped in after]


class Stopped(Exception):
    """The process ended here."""


def stop_at(state: MemoryState, step: int | None) -> None:
    """The process ends at the write of that number, counted from 0; None: at none any more."""
    writes = 0

    def before(name: str) -> None:
        nonlocal writes
        if writes == step:
            raise Stopped(name)
        writes += 1

    state.before_put = None if step is None else before


async def test_a_store_goes_round_all_providers_interrupted_on_every_way(
    make: Maker,
    in_file: FileRootKey,
    in_hsm: TokenRootKey,
    by_passphrase: PassphraseRootKey,
    clock: TestClock,
    state: MemoryState,
    tmp_path: Path,
) -> None:
    last = FileRootKey(path=str(tmp_path / "last.key"))
    way: list[RootKey] = [in_file, in_hsm, by_passphrase, last]
    kept = await filled(make, in_file, clock)
    for old, new in itertools.pairwise(way):
        stop_at(state, 3)
        with pytest.raises(Stopped):
            await make(new, old).migrate()
        stop_at(state, None)
        await opens(make, old, kept)
        await make(new, old).migrate()
        await opens(make, new, kept)


@pytest.mark.parametrize("step", range(11))
async def test_a_move_whose_last_step_was_interrupted_may_be_followed_by_another(
    make: Maker,
    in_file: FileRootKey,
    clock: TestClock,
    state: MemoryState,
    tmp_path: Path,
    step: int,
) -> None:
    # All in files: the steps do not depend on the provider, and these cost the least.
    middle, last = (FileRootKey(path=str(tmp_path / name)) for name in ("middle.key", "last.key"))
    kept = await filled(make, in_file, clock)
    stop_at(state, 7)  # the root record is replaced, one domain record of four is cleaned up
    with pytest.raises(Stopped):
        await make(middle, in_file).migrate()
    stop_at(state, step)
    with contextlib.suppress(Stopped):
        await make(last, middle).migrate()
    stop_at(state, None)
    if step <= 5:
        await opens(make, middle, kept)
    await make(last, middle).migrate()
    await opens(make, last, kept)


@pytest.mark.parametrize("step", range(11))
async def test_a_move_that_is_stopped_at_any_step_leaves_a_store_that_opens_and_is_finished_by_another_run(
    make: Maker, in_file: FileRootKey, in_hsm: TokenRootKey, clock: TestClock, state: MemoryState, step: int
) -> None:
    kept = await filled(make, in_file, clock)
    stop_at(state, step)
    try:
        await make(in_hsm, in_file).migrate()
    except Stopped:
        finished = False
    else:
        finished = True
    stop_at(state, None)
    assert finished is (step >= 10), "a move is one next record, four second wrappings, the root, and four clean-ups"
    outcomes = []
    for root_key in (in_file, in_hsm):
        try:
            await opens(make, root_key, kept)
        except KeyStoreError:
            outcomes.append(False)
        else:
            outcomes.append(True)
    assert sorted(outcomes) == [False, True], "it is under exactly one root key at any moment"
    assert outcomes[1] is (step > 5)
    await make(in_hsm, in_file).migrate()
    await opens(make, in_hsm, kept)


async def test_a_domain_key_that_is_made_during_a_move_stops_it_before_it_is_lost(
    make: Maker, in_file: FileRootKey, in_hsm: TokenRootKey, clock: TestClock, state: MemoryState
) -> None:
    kept = await filled(make, in_file, clock)
    running = make(in_file)
    await running.open()
    saved = dict(state.values)
    clock.time += 40 * DAY
    assert await running.maintain()
    added = {name: value for name, value in state.values.items() if name not in saved}
    state.values = dict(saved)

    def meanwhile(name: str) -> None:
        if name.startswith("domain/"):
            state.values.update(added)

    state.before_put = meanwhile
    with pytest.raises(Unavailable, match="a domain key was made during the move"):
        await make(in_hsm, in_file).migrate()
    state.before_put = None
    await opens(make, in_file, kept)
    await make(in_hsm, in_file).migrate()
    await opens(make, in_hsm, kept)


async def test_a_wrong_previous_root_key_changes_nothing(
    make: Maker, in_file: FileRootKey, in_hsm: TokenRootKey, clock: TestClock, state: MemoryState, tmp_path: Path
) -> None:
    kept = await filled(make, in_file, clock)
    before = dict(state.values)
    wrong = FileRootKey(path=str(tmp_path / "wrong.key"))
    with pytest.raises(CredentialsRefused):
        await make(in_hsm, wrong).migrate()
    assert state.values == before
    await opens(make, in_file, kept)
    with pytest.raises(Misconfigured, match="previousRootKey: say where"):
        await make(in_hsm).migrate()


async def test_the_pin_stands_in_no_record(
    make: Maker, in_hsm: TokenRootKey, clock: TestClock, state: MemoryState
) -> None:
    await filled(make, in_hsm, clock)
    assert PIN.encode() not in b"".join(state.values.values())
