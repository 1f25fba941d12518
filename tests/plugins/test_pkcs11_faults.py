"""HSMs that fail, really caused: on SoftHSM through a module of our own that fails where it is told to.

Promises: no wrong result ever, nothing made twice, and everything works again within two seconds of the device.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins.pkcs11 import Pkcs11KeyStore, Pkcs11Options
from plugins.sdk import (
    Algorithm,
    CredentialsRefused,
    InvalidCiphertext,
    KeySpec,
    KeyStoreError,
    MaterialRef,
    Misconfigured,
    OutcomeUnknown,
    PluginContext,
    Unavailable,
)
from plugins.sdk.conformance import MemoryState
from plugins.sdk.pkcs11.codes import NAMES
from tests.harness import in_time
from tests.hsm import PIN, SoftToken, pin_file, run
from tests.shim import Effect, Shim

RECOVERY_SECONDS = 2.0
SYMMETRIC = Algorithm.SYMMETRIC_DEFAULT
Opener = Callable[..., Awaitable[Pkcs11KeyStore]]

CODES = [
    0x002,  # HOST_MEMORY
    0x005,  # GENERAL_ERROR
    0x006,  # FUNCTION_FAILED
    0x030,  # DEVICE_ERROR
    0x032,  # DEVICE_REMOVED
    0x050,  # FUNCTION_CANCELED
    0x060,  # KEY_HANDLE_INVALID
    0x082,  # OBJECT_HANDLE_INVALID
    0x090,  # OPERATION_ACTIVE
    0x0B3,  # SESSION_HANDLE_INVALID
    0x0E0,  # TOKEN_NOT_PRESENT
    0x101,  # USER_NOT_LOGGED_IN
    0x190,  # CRYPTOKI_NOT_INITIALIZED
    0x80000017,  # a vendor's own
]


@pytest.fixture
def token(tmp_path: Path) -> SoftToken:
    return SoftToken(tmp_path)


@pytest.fixture
def shim(token: SoftToken) -> Iterator[Shim]:
    shim = Shim(token)
    yield shim
    shim.close()


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens key stores that are closed with the test."""
    stores: list[Pkcs11KeyStore] = []

    async def opened(options: dict[str, Any], pin: str = PIN) -> Pkcs11KeyStore:
        whole = {"workers": 1, "useSeconds": 5, "pin": pin_file(tmp_path, pin), **options}
        context = PluginContext("hsm-a", MemoryState(), lambda: 1_800_000_000.0)
        store = Pkcs11KeyStore(msgspec.convert(whole, Pkcs11Options), context)
        stores.append(store)
        await store.open()
        return store

    yield opened
    for store in stores:
        await store.close()


def fresh() -> MaterialRef:
    key, material = str(uuid.uuid4()), uuid.uuid4().hex
    name = f"keystead:{key}:{material}"
    return MaterialRef(name, f"arn:aws:kms:us-east-1:000000000000:key/{key}", material, KeySpec.SYMMETRIC_DEFAULT)


async def made(store: Pkcs11KeyStore) -> MaterialRef:
    ref = fresh()
    await store.create(ref)
    return ref


async def round_trip(store: Pkcs11KeyStore, ref: MaterialRef) -> None:
    sealed = await store.encrypt(ref, SYMMETRIC, b"plaintext", b"aad")
    assert await store.decrypt(ref, SYMMETRIC, sealed, b"aad") == b"plaintext"


async def works_again(act: Callable[[], Awaitable[Any]]) -> float:
    """How long it takes until ``act`` succeeds; no more than the promise."""
    began = time.monotonic()
    while True:
        try:
            await act()
        except KeyStoreError:
            assert in_time(began, RECOVERY_SECONDS), "it does not work again in time"
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - began


async def all_of(store: Pkcs11KeyStore, workers: int) -> list[int]:
    """Its workers, all of them. A store is open with the first; one that is still on its way cannot be killed here."""
    deadline = time.monotonic() + 30
    while len(found := pids(store)) < workers:
        assert time.monotonic() < deadline, f"{len(found)} of {workers} workers have begun"
        await asyncio.sleep(0.01)
    return found


def pids(store: Pkcs11KeyStore) -> list[int]:
    assert store._open is not None
    return [pid for member in store._open._members for pid in member.pool.workers.pids]


# ---- return codes at every call --------------------------------------------------------------------------------------


async def life(store: Pkcs11KeyStore, sealed: bytes, kept: MaterialRef) -> list[MaterialRef]:
    """Every operation once. Whatever fails fails by name; what is answered is right. The keys that may exist."""
    ref = fresh()

    async def attempt(call: Awaitable[Any], right: Callable[[Any], bool]) -> None:
        try:
            answer = await call
        except KeyStoreError as error:
            assert not isinstance(error, InvalidCiphertext), "a good ciphertext was called invalid"
        else:
            assert right(answer), "a wrong answer"

    await attempt(store.create(ref), lambda made: made.external_id)
    await attempt(store.decrypt(kept, SYMMETRIC, sealed, b"aad"), lambda plain: plain == b"kept")
    await attempt(store.encrypt(kept, SYMMETRIC, b"new", b""), lambda blob: len(blob) == 1 + 12 + 3 + 16)
    changed = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    with pytest.raises(KeyStoreError):
        await store.decrypt(kept, SYMMETRIC, changed, b"aad")
    await attempt(store.random(16), lambda octets: len(octets) == 16)
    await attempt(store.observe(kept), lambda seen: seen is not None)
    await attempt(store.list_material(), lambda names: kept.name in names)
    return [ref, kept]


@pytest.mark.parametrize(
    ("effect", "code"),
    [
        *(pytest.param(Effect.FAIL, code, id=NAMES.get(code, hex(code))) for code in CODES),
        *(pytest.param(Effect.FAIL_AFTER, code, id=f"{NAMES[code]}-after") for code in (0x005, 0x030, 0x050, 0x0B3)),
    ],
)
async def test_a_return_code_at_any_call_gives_no_wrong_answer_and_is_recovered_from(
    opened: Opener, shim: Shim, effect: Effect, code: int
) -> None:
    store = await opened(shim.options())
    kept = await made(store)
    sealed = await store.encrypt(kept, SYMMETRIC, b"kept", b"aad")
    index, longest = 0, 1
    while index < longest:
        shim.strike(effect, code, at=index)
        refs = await life(store, sealed, kept)
        longest = max(longest, min(shim.calls, 40))
        shim.heal()
        await works_again(lambda: round_trip(store, kept))
        names = await store.list_material()
        assert len(names) == len(set(names))
        assert set(names) <= {ref.name for ref in refs}
        await store.destroy(refs[0])
        assert await store.list_material() == [kept.name]
        index += 1
    assert longest > 20, "every call of that life was struck"
    assert await store.decrypt(kept, SYMMETRIC, sealed, b"aad") == b"kept"


async def test_an_answer_that_is_lost_after_a_key_was_made_is_unknown_and_observing_finds_it(
    opened: Opener, shim: Shim
) -> None:
    store = await opened(shim.options())
    ref = fresh()
    shim.strike(Effect.FAIL_AFTER, 0x30, function="C_GenerateKey")
    with pytest.raises(OutcomeUnknown):
        await store.create(ref)
    assert await store.observe(ref) is not None
    await store.create(ref)
    assert await store.list_material() == [ref.name]
    shim.strike(Effect.FAIL_AFTER, 0x30, function="C_DestroyObject")
    with pytest.raises(OutcomeUnknown):
        await store.destroy(ref)
    assert await store.observe(ref) is None


# ---- a device that goes ----------------------------------------------------------------------------------------------


async def test_a_token_that_is_pulled_out_is_unavailable_never_empty_and_used_again_when_it_is_back(
    opened: Opener, token: SoftToken
) -> None:
    """SoftHSM answers a search in a token that is gone with success and nothing found."""
    store = await opened(token.options())
    ref = await made(store)
    await round_trip(store, ref)
    token.remove()
    for call in (
        lambda: store.observe(ref),
        lambda: store.encrypt(ref, SYMMETRIC, b"x", b""),
        lambda: store.create(fresh()),
        lambda: store.destroy(ref),
        store.list_material,
        store.probe,
    ):
        with pytest.raises((Unavailable, OutcomeUnknown, Misconfigured)):
            await call()
    token.bring_back()
    await works_again(lambda: round_trip(store, ref))
    assert await store.list_material() == [ref.name]


@pytest.mark.parametrize("code", [0x30, 0x32, 0xE0])
async def test_a_device_that_answers_nothing_but_errors_for_a_while_is_used_again_in_time(
    opened: Opener, shim: Shim, code: int
) -> None:
    store = await opened(shim.options(workers=2))
    ref = await made(store)
    shim.pull_out(code)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await round_trip(store, ref)
    shim.heal()
    await works_again(lambda: round_trip(store, ref))


async def test_a_failure_in_the_middle_of_a_recovery_is_recovered_from_too(opened: Opener, shim: Shim) -> None:
    store = await opened(shim.options())
    ref = await made(store)
    for function in ("C_GetSlotList", "C_OpenSession", "C_Login"):
        shim.pull_out()
        with pytest.raises(Unavailable):
            await round_trip(store, ref)
        shim.strike(Effect.FAIL, 0x30, function=function)
        await works_again(lambda: round_trip(store, ref))
        shim.heal()


# ---- a module that hangs or crashes ----------------------------------------------------------------------------------


async def test_a_module_that_hangs_costs_one_worker_and_the_call_is_made_in_another(opened: Opener, shim: Shim) -> None:
    store = await opened(shim.options(useSeconds=1))
    ref = await made(store)
    before = pids(store)
    shim.strike(Effect.HANG, function="C_Encrypt")
    started = time.monotonic()
    await round_trip(store, ref)
    assert time.monotonic() - started >= 1
    assert in_time(started, 1 + RECOVERY_SECONDS)
    assert pids(store) != before


async def test_a_module_that_crashes_its_process_costs_nothing_but_the_process(opened: Opener, shim: Shim) -> None:
    store = await opened(shim.options())
    ref = await made(store)
    for function in ("C_Encrypt", "C_Decrypt", "C_FindObjects"):
        before = pids(store)
        shim.strike(Effect.CRASH, function=function)
        if function == "C_FindObjects":
            assert await store.observe(ref) is not None
        else:
            await round_trip(store, ref)
        assert shim.struck == 1
        assert pids(store) != before


@pytest.mark.parametrize("effect", [Effect.HANG, Effect.CRASH])
async def test_making_a_key_in_a_module_that_hangs_or_crashes_is_unknown_and_never_repeated(
    opened: Opener, shim: Shim, effect: Effect
) -> None:
    store = await opened(shim.options(changeSeconds=1))
    ref = fresh()
    shim.strike(effect, function="C_GenerateKey")
    with pytest.raises(OutcomeUnknown):
        await store.create(ref)
    assert await store.observe(ref) is None
    await store.create(ref)
    assert await store.list_material() == [ref.name]


async def test_a_worker_that_is_killed_in_the_middle_of_calls_loses_none_of_them(opened: Opener, shim: Shim) -> None:
    store = await opened(shim.options(workers=2))
    ref = await made(store)
    workers = await all_of(store, 2)
    calls = [asyncio.ensure_future(round_trip(store, ref)) for _ in range(200)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    os.kill(workers[0], signal.SIGKILL)
    await asyncio.gather(*calls)


# ---- credentials -----------------------------------------------------------------------------------------------------


async def test_a_wrong_pin_is_told_and_tried_once(opened: Opener, shim: Shim) -> None:
    with pytest.raises(CredentialsRefused, match="the PIN is wrong") as caught:
        await opened(shim.options(workers=4), pin="wrong-pin-1")
    assert caught.value.reason == "PinIncorrect"
    assert (shim.logins, shim.wrong_pins) == (1, 1)
    assert "wrong-pin-1" not in str(caught.value)


async def test_a_pin_that_was_changed_meanwhile_is_not_tried_to_death(
    opened: Opener, shim: Shim, token: SoftToken
) -> None:
    store = await opened(shim.options(workers=2))
    ref = await made(store)
    workers = await all_of(store, 2)
    token.tool("--change-pin", "--new-pin", "another-pin-77")
    shim.strike(Effect.FAIL, 0xB3, at=0)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for _ in range(5):
        with pytest.raises(KeyStoreError):
            await round_trip(store, ref)
    with pytest.raises(CredentialsRefused):
        await round_trip(store, ref)
    assert shim.wrong_pins == 1


async def test_a_locked_pin_an_absent_user_and_another_user_are_told_apart(
    opened: Opener, shim: Shim, tmp_path: Path
) -> None:
    shim.set(wrong_pins_allowed=2)
    for reason in ("PinIncorrect", "PinIncorrect", "PinLocked", "PinLocked"):
        with pytest.raises(CredentialsRefused) as caught:
            await opened(shim.options(), pin="wrong-pin-1")
        assert caught.value.reason == reason
    with pytest.raises(CredentialsRefused) as caught:
        await opened(shim.options())
    assert caught.value.reason == "PinLocked", "the right one, too, until somebody unlocks it"
    shim.set(wrong_pins=0, other_user=1)
    with pytest.raises(CredentialsRefused) as caught:
        await opened(shim.options())
    assert caught.value.reason == "UserLoggedIn"

    bare = SoftToken(tmp_path / "bare", "bare", user=False)
    with pytest.raises(CredentialsRefused) as caught:
        await opened(bare.options())
    assert caught.value.reason == "UserNotFound"


async def test_the_pin_is_in_no_process_list_and_in_no_environment(opened: Opener, token: SoftToken) -> None:
    store = await opened(token.options(workers=2))
    await made(store)
    for pid in await all_of(store, 2):
        shown = b"".join((Path("/proc") / str(pid) / file).read_bytes() for file in ("cmdline", "environ"))
        assert PIN.encode() not in shown
        assert b"softhsm2.conf" in shown


async def test_a_pin_of_an_environment_variable_is_not_handed_on(
    opened: Opener, token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSM_PIN_OF_THE_TESTS", PIN)
    store = await opened(token.options(pin={"fromEnv": "HSM_PIN_OF_THE_TESTS"}))
    await round_trip(store, await made(store))
    for pid in pids(store):
        assert PIN.encode() not in (Path("/proc") / str(pid) / "environ").read_bytes()


# ---- limits ----------------------------------------------------------------------------------------------------------


async def test_a_session_limit_leaves_the_store_working_with_the_workers_that_got_in(
    opened: Opener, shim: Shim
) -> None:
    shim.set(sessions_allowed=1)
    store = await opened(shim.options(workers=3))
    ref = await made(store)
    await asyncio.gather(*(round_trip(store, ref) for _ in range(20)))
    assert len(pids(store)) == 1
    assert shim.sessions == 1
    with pytest.raises(Unavailable) as caught:
        await opened(shim.options())
    assert caught.value.reason == "SessionCount"
    shim.set(sessions_allowed=3)


async def test_sessions_do_not_leak_over_epochs(opened: Opener, shim: Shim) -> None:
    store = await opened(shim.options())
    ref = await made(store)
    for _ in range(25):
        shim.strike(Effect.FAIL, 0xB3, function="C_Encrypt")
        await round_trip(store, ref)
    assert shim.sessions == 1


# ---- quirks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("iv_bits", "seen"), [("set", 96), ("zero", 0), ("absent", -1)])
async def test_the_iv_length_in_bits_is_passed_as_the_module_wants_it(
    opened: Opener, shim: Shim, iv_bits: str, seen: int
) -> None:
    shim.set(gcm_length=40 if iv_bits == "absent" else 48)
    store = await opened(shim.options(quirks={"ivBits": iv_bits}))
    await round_trip(store, await made(store))
    assert shim.iv_bits == seen


async def test_an_iv_that_the_device_makes_is_read_back_and_never_the_same(opened: Opener, shim: Shim) -> None:
    shim.set(writes_iv=1)
    for iv in ("device", "generate"):
        store = await opened(shim.options(quirks={"iv": iv}))
        ref = await made(store)
        blobs = [await store.encrypt(ref, SYMMETRIC, b"same", b"") for _ in range(20)]
        assert len({blob[1:13] for blob in blobs}) == 20
        for blob in blobs:
            assert await store.decrypt(ref, SYMMETRIC, blob, b"") == b"same"


async def test_a_device_that_should_make_the_iv_and_does_not_is_refused(opened: Opener, shim: Shim) -> None:
    """Every message would have the IV zero under the same key."""
    store = await opened(shim.options(quirks={"iv": "device"}))
    ref = await made(store)
    with pytest.raises(Misconfigured, match=r"quirks\.iv: the HSM did not write an IV"):
        await store.encrypt(ref, SYMMETRIC, b"plaintext", b"")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"EXTRACTABLE": True}, "EXTRACTABLE is False for every key"),
        ({"SENSITIVE": False}, "SENSITIVE is True for every key"),
        ({"CKA_LABEL": "x"}, "there is no attribute CKA_LABEL"),
    ],
)
async def test_no_template_makes_keys_that_can_leave(
    opened: Opener, token: SoftToken, template: dict[str, Any], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message):
        await opened(token.options(quirks={"template": template}))


async def test_a_template_leaves_attributes_out_and_adds_others(opened: Opener, token: SoftToken) -> None:
    store = await opened(token.options(quirks={"template": {"MODIFIABLE": False, "DERIVE": None}}))
    await round_trip(store, await made(store))
    assert "never extractable" in token.objects()


# ---- what cannot be opened -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"module": "no-such-module.so"}, Misconfigured, "no-such-module.so cannot be loaded"),
        ({"module": "/usr/bin/env"}, Misconfigured, "cannot be loaded as a PKCS#11 module"),
        ({"module": "libc.so.6"}, Misconfigured, "cannot be loaded as a PKCS#11 module"),
        ({"token": "absent"}, Misconfigured, "token 'absent': no such token in any slot"),
        ({"serial": "0000"}, Misconfigured, "and serial number '0000': no such token"),
        ({"environment": {"LD_PRELOAD": "/tmp/evil.so"}}, Misconfigured, "LD_PRELOAD makes a process load other code"),
    ],
)
async def test_what_cannot_be_opened_is_told(
    opened: Opener, token: SoftToken, more: dict[str, Any], error: type[KeyStoreError], message: str
) -> None:
    with pytest.raises(error, match=message):
        await opened(token.options(**more))


async def test_two_tokens_of_one_label_are_told_apart_by_their_serial_number(
    opened: Opener, token: SoftToken, tmp_path: Path
) -> None:
    again = SoftToken(tmp_path)
    with pytest.raises(Misconfigured, match="2 tokens are like that; add the serial number or the slot") as caught:
        await opened(token.options())
    assert caught.value.reason == "TokenAmbiguous"
    slots = run("softhsm2-util", "--show-slots", environment=again.environment)
    serials = [line.split()[-1] for line in slots.splitlines() if "Serial number:" in line and len(line.split()) > 2]
    store = await opened(token.options(serial=serials[0]))
    await round_trip(store, await made(store))


async def test_a_key_that_somebody_made_twice_under_one_label_is_not_used(opened: Opener, token: SoftToken) -> None:
    """Which of the two encrypted is not known; a guess would be a wrong result."""
    store = await opened(token.options())
    ref = await made(store)
    await round_trip(store, ref)
    token.tool("--keygen", "--key-type", "AES:32", "--label", ref.name, "--id", "77")
    with pytest.raises(KeyStoreError, match="2 keys labelled"):
        await store.observe(ref)
    with pytest.raises(KeyStoreError, match="2 keys labelled"):
        await store.encrypt(ref, SYMMETRIC, b"x", b"")
