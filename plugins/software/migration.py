"""Moving a store from one root key to another: from a file into an HSM, from one HSM to another, and back.

Called by ``plugin`` for ``keystead migrate-root-key``, while no server runs. Each step is one compare-and-set, and each
leaves a store that opens: with the old root key before the root record is replaced, with the new one from then on.

1. The record ``root/next`` says what the root record will be; an interrupted move goes on with it.
2. Every domain record gets its key a second time, wrapped by the new root key and bound to the next root record.
3. The root record is replaced by the next one. This is the moment at which the store has moved.
4. Every domain record loses what the old root key opened.

Guarantee: run again after any interruption, it ends in the same state; no domain key is left that only the old root key
opens; nothing is destroyed, the old root key least of all: backups made before still need it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from plugins.sdk import CredentialsRefused, MaterialDamaged, Misconfigured, PluginState, Unavailable
from plugins.software.domainkeys import (
    DOMAIN_PREFIX,
    ROOT_RECORD,
    DomainRecord,
    NextWrapping,
    RootRecord,
    decode_root,
    fresh_root_record,
    number_in,
    open_domain_record,
    open_root_record,
)
from plugins.software.rootkey import RootCipher, RootKey

NEXT_RECORD: Final = "root/next"


async def move(state: PluginState, old: RootKey, new: RootKey) -> list[str]:
    """Move the store from ``old`` to ``new``, or finish a move. One sentence for each thing done.

    Raises what keeps it from either key; the store is then as usable as before.
    """
    encoded = await state.get(ROOT_RECORD)
    if encoded is None:
        raise Misconfigured("this store has no root record yet: there is nothing to move")
    if await _is_root_of(encoded, new):
        done = await _forget_old(state, decode_root(encoded))
        return done or ["The store is under this root key already; nothing was left to do."]
    present, cipher = await open_root_record(encoded, old)
    done = []
    if not await new.present():
        await new.provision()
        done.append(f"Made {new.whereabouts}.")
    following, next_cipher = await _next_record(state, new)
    names = await _domain_names(state)
    for name in names:
        await _wrap_again(state, name, (present, cipher), (following, next_cipher))
    # A domain key that was added meanwhile is under the old root key alone, and would be lost with it.
    if await _domain_names(state) != names:
        raise Unavailable("a domain key was made during the move: stop every server of this store and run it again")
    if not await state.put(ROOT_RECORD, msgspec.json.encode(following), expect=encoded):
        raise Unavailable("the root record was changed during the move: stop every server of this store and try again")
    done.append(f"Moved {len(names)} domain keys from {old.whereabouts} to {new.whereabouts}.")
    return done + await _forget_old(state, following)


async def _is_root_of(encoded: bytes, root_key: RootKey) -> bool:
    """Whether the store is under this root key now."""
    if decode_root(encoded).provider != root_key.provider or not await root_key.present():
        return False
    try:
        await open_root_record(encoded, root_key)
    except CredentialsRefused as refused:
        if refused.reason != "RootKeyMismatch":
            raise
        return False
    return True


async def _next_record(state: PluginState, new: RootKey) -> tuple[RootRecord, RootCipher]:
    """What the root record will be: that of an interrupted move to the same key, or a fresh one."""
    held = await state.get(NEXT_RECORD)
    if held is not None and await _is_root_of(held, new):
        return await open_root_record(held, new)
    record = await fresh_root_record(new)
    if not await state.put(NEXT_RECORD, msgspec.json.encode(record), expect=held):
        raise Unavailable("another move of this store's root key is under way")
    return record, await new.cipher(record.argon2id)


async def _wrap_again(
    state: PluginState, name: str, present: tuple[RootRecord, RootCipher], following: tuple[RootRecord, RootCipher]
) -> None:
    """Give one domain record its key for the next root record, too, and see that it opens."""
    encoded = await state.get(name)
    assert encoded is not None
    record, key = await open_domain_record(name, encoded, *present)
    root, cipher = following
    binding = record.binding(root.id, number_in(name))
    if record.next is None or record.next.root_id != root.id:
        second = NextWrapping(root.id, await cipher.seal(key, binding))
        # A finished move whose last step was interrupted left the present box in ``next``: it must not be lost here.
        wrapped = record.wrapped_for(present[0].id)
        await _replace(state, name, encoded, msgspec.structs.replace(record, wrapped=wrapped, next=second))
        encoded = await state.get(name) or b""
    _, reopened = await open_domain_record(name, encoded, *following)
    if reopened != key:
        raise MaterialDamaged(f"the record {name!r} does not open to the same key under the new root key")


async def _forget_old(state: PluginState, root: RootRecord) -> list[str]:
    """Take from every domain record what the old root key opens."""
    forgotten = 0
    for name in await _domain_names(state):
        encoded = await state.get(name)
        assert encoded is not None
        record = msgspec.json.decode(encoded, type=DomainRecord)
        if record.next is not None and record.next.root_id == root.id:
            await _replace(
                state, name, encoded, msgspec.structs.replace(record, wrapped=record.next.wrapped, next=None)
            )
            forgotten += 1
    return [f"Forgot what the old root key opened, in {forgotten} domain records."] if forgotten else []


async def _replace(state: PluginState, name: str, seen: bytes, record: DomainRecord) -> None:
    if not await state.put(name, msgspec.json.encode(record), expect=seen):
        raise Unavailable(f"the record {name!r} was changed during the move: stop every server of this store")


async def _domain_names(state: PluginState) -> list[str]:
    return [name for name in await state.names() if name.startswith(DOMAIN_PREFIX)]
