"""Domain keys: rotated by age, shared between processes, kept for ever, recognised when damaged."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.sdk import Algorithm, KeyStoreError, MaterialDamaged, PluginContext
from plugins.sdk.conformance import MemoryState
from plugins.software import FileRootKey, SoftwareKeyStore, SoftwareOptions
from tests.plugins.conftest import DAY, StoreMaker, TestClock, create

A = Algorithm.SYMMETRIC_DEFAULT
FIRST, SECOND = "domain/00000001", "domain/00000002"


async def test_a_domain_key_rotates_when_it_has_served_its_days(
    store: SoftwareKeyStore, clock: TestClock, state: MemoryState
) -> None:
    clock.time += 30 * DAY - 1
    assert await store.maintain() == []
    clock.time += 1
    assert len(await store.maintain()) == 1
    assert await store.maintain() == []
    assert await state.names() == [FIRST, SECOND, "root"]


async def test_tokens_open_across_every_rotation(
    store: SoftwareKeyStore, make_store: StoreMaker, clock: TestClock
) -> None:
    refs = [await create(store, "key-0")]
    for number in range(1, 4):
        clock.time += 31 * DAY
        assert await store.maintain()
        refs.append(await create(store, f"key-{number}"))
    blobs = [await store.encrypt(ref, A, b"plaintext", b"") for ref in refs]
    again = make_store()
    await again.open()
    for ref, blob in zip(refs, blobs, strict=True):
        assert await again.decrypt(ref, A, blob, b"") == b"plaintext"
    assert len({ref.token[9:25] for ref in refs if ref.token}) == 4


async def test_another_process_opens_tokens_under_a_domain_key_it_has_not_loaded(
    store: SoftwareKeyStore, make_store: StoreMaker, clock: TestClock
) -> None:
    other = make_store()
    await other.open()
    clock.time += 31 * DAY
    await store.maintain()
    ref = await create(store, "a")
    blob = await store.encrypt(ref, A, b"plaintext", b"")
    assert await other.decrypt(ref, A, blob, b"") == b"plaintext"


async def test_processes_that_rotate_at_once_make_one_domain_key(
    store: SoftwareKeyStore, make_store: StoreMaker, clock: TestClock, state: MemoryState
) -> None:
    others = [make_store() for _ in range(4)]
    for other in others:
        await other.open()
    clock.time += 31 * DAY
    await asyncio.gather(*(instance.maintain() for instance in (store, *others)))
    assert await state.names() == [FIRST, SECOND, "root"]


async def test_a_rotation_lost_to_another_process_adopts_its_key(
    store: SoftwareKeyStore, make_store: StoreMaker, clock: TestClock, state: MemoryState
) -> None:
    other = make_store()
    await other.open()
    clock.time += 31 * DAY
    twin = MemoryState()
    twin.values = dict(state.values)
    winner = SoftwareKeyStore(other.options, PluginContext(store_name="standard", state=twin, now=clock))
    await winner.open()
    await winner.maintain()
    state.before_put = lambda name: state.values.setdefault(name, twin.values[name]) and None
    assert await store.maintain() == []
    state.before_put = None
    ref = await create(store, "a")
    assert await winner.observe(ref) is not None


async def test_processes_that_open_a_new_store_at_once_make_one_hierarchy(
    make_store: StoreMaker, state: MemoryState
) -> None:
    instances = [make_store() for _ in range(4)]
    await instances[0].provision()
    await asyncio.gather(*(instance.open() for instance in instances))
    assert await state.names() == [FIRST, "root"]
    ref = await create(instances[0], "a")
    for instance in instances:
        assert await instance.observe(ref) is not None


async def test_a_store_whose_creation_stopped_half_way_is_completed(
    store: SoftwareKeyStore, make_store: StoreMaker, state: MemoryState
) -> None:
    del state.values[FIRST]
    again = make_store()
    await again.open()
    assert await again.observe(await create(again, "a")) is not None


async def test_a_clock_that_jumps_back_rotates_and_breaks_nothing(
    store: SoftwareKeyStore, make_store: StoreMaker, clock: TestClock, state: MemoryState
) -> None:
    ref = await create(store, "a")
    clock.time -= 3_650 * DAY
    assert await store.maintain() == []
    again = make_store()
    await again.open()
    assert await again.maintain() == []
    assert await again.observe(ref) is not None
    assert await state.names() == [FIRST, "root"]


async def test_a_lost_root_record_is_not_made_anew_beside_domain_keys(
    store: SoftwareKeyStore, make_store: StoreMaker, state: MemoryState
) -> None:
    del state.values["root"]
    assert not (await store.probe()).healthy
    with pytest.raises(MaterialDamaged, match="'root'"):
        await make_store().open()
    assert await state.names() == [FIRST]


async def test_a_damaged_domain_record_is_named(
    store: SoftwareKeyStore, make_store: StoreMaker, state: MemoryState
) -> None:
    record = json.loads(state.values[FIRST])
    record["created"] += 1
    state.values[FIRST] = json.dumps(record).encode()
    with pytest.raises(MaterialDamaged, match=FIRST) as caught:
        await make_store().open()
    assert caught.value.reason == "DomainKeyDamaged"


async def test_a_domain_record_is_bound_to_its_number(
    store: SoftwareKeyStore, make_store: StoreMaker, state: MemoryState
) -> None:
    state.values[SECOND] = state.values[FIRST]
    with pytest.raises(MaterialDamaged, match=SECOND):
        await make_store().open()


async def test_a_token_under_a_domain_key_of_no_one_is_refused(
    store: SoftwareKeyStore, state: MemoryState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options = SoftwareOptions(root_key=FileRootKey(path=str(tmp_path_factory.mktemp("other") / "root.key")))
    stranger = SoftwareKeyStore(options, PluginContext(store_name="other", state=MemoryState(), now=lambda: 0.0))
    await stranger.provision()
    await stranger.open()
    ref = await create(stranger, "a")
    with pytest.raises(MaterialDamaged) as caught:
        await store.observe(ref)
    assert caught.value.reason == "DomainKeyUnknown"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[SoftwareOptions, dict[str, bytes]]:
    options = SoftwareOptions(root_key=FileRootKey(path=str(tmp_path_factory.mktemp("store") / "root.key")))
    state = MemoryState()

    async def make() -> None:
        store = SoftwareKeyStore(options, PluginContext(store_name="standard", state=state, now=lambda: 1e9))
        await store.provision()
        await store.open()

    asyncio.run(make())
    return options, state.values


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_changed_byte_of_a_record_goes_unnoticed(
    template: tuple[SoftwareOptions, dict[str, bytes]], data: st.DataObject
) -> None:
    options, values = template
    name = data.draw(st.sampled_from(sorted(values)))
    at = data.draw(st.integers(0, len(values[name]) - 1))
    changed = bytearray(values[name])
    changed[at] ^= data.draw(st.integers(1, 255))
    state = MemoryState()
    state.values = {**values, name: bytes(changed)}
    before = dict(state.values)
    store = SoftwareKeyStore(options, PluginContext(store_name="standard", state=state, now=lambda: 1e9))
    try:
        asyncio.run(store.open())
    except KeyStoreError:
        pass
    else:  # base64 has spare bits at its end: another spelling of the same record
        assert changed[at + 1 :][:1] in (b"=", b'"')
    assert state.values == before
