"""The life of keys, as a state machine: whatever happens in whatever order, nothing is destroyed before its time and
nothing that a living key encrypted becomes unreadable.

Real database with copies, real plugin, a clock that also jumps back, restarts in between. The model is what a user
knows: which material there was, when it was to expire, when the key was to be destroyed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from controlplane.clock import ManualClock
from controlplane.errors import IncorrectKeyMaterial, InvalidState, KeysteadError
from controlplane.reconcile.duetimes import DueTimes
from controlplane.reconcile.upkeep import Upkeep
from controlplane.schema.keys import KeyState, MaterialState, Origin
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import Key
from controlplane.store import keys
from controlplane.store.copies import Copy
from controlplane.store.safekeeping import Safekeeping
from plugins.memory import MemoryKeyStore
from tests.controlplane.reconcile.bringing import NEW, Owner, secret
from tests.controlplane.reconcile.world import World

T = TypeVar("T")

EXAMPLES = 150 if os.environ.get("KEYSTEAD_LONG") == "1" else 12
DAY = timedelta(days=1)
PENDING = {MaterialState.PENDING_ROTATION, MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION}


class KeptWorld(World):
    """A world whose key tokens are kept in two more directories."""

    async def start(self, *, lease: bool = True) -> None:
        await super().start(lease=lease)
        self.safe = Safekeeping([Copy(self.directory / name) for name in ("copy-a", "copy-b")], self.clock)
        self.safe.open("server")
        self.database.protect(self.safe)
        await Upkeep(self.database, self.safe, self.clock, look_hours=24).once(start=True)

    async def stop(self) -> None:
        await super().stop()
        self.safe.close()


class Known:
    """What the user knows of a key."""

    def __init__(self, name: str, *, external: bool) -> None:
        self.name = name
        self.external = external
        self.secrets: dict[str, bytes] = {}
        """Imported material by its id, as long as the key names it."""
        self.expires: dict[str, datetime] = {}
        self.due: datetime | None = None
        self.blobs: list[tuple[bytes, bytes]] = []
        self.may_be_gone = False
        self.alone = False
        """Nobody touches it any more."""


class LifeOfKeys(RuleBasedStateMachine):
    """Rules are what users, time and accidents do; after each, the keys in use are looked at, and of the others those
    that the table of due times names."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="keystead-life-"))
        self.clock = ManualClock()
        self.world = KeptWorld(self.directory, self.clock)
        self.known: dict[str, Known] = {}
        self.made = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    def teardown(self) -> None:
        try:
            self.do(self.heal())
            self.do(self.world.stop())
        finally:
            self.loop.close()
            shutil.rmtree(self.directory, ignore_errors=True)
            MemoryKeyStore.reset()

    # ---- what happens ----------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        async def begin() -> None:
            await self.world.start()
            await self.world.add_store(STANDARD, STANDARD)
            await self.world.connect()

        self.do(begin())
        self.owner = Owner(self.world)
        self.due_times = DueTimes(self.world.database, self.clock)

    @rule(target=keys, external=st.booleans())
    def create(self, external: bool) -> str:
        self.made += 1
        name = f"k{self.made}"
        self.known[name] = Known(name, external=external)
        self.do(self.owner.key(name, origin=Origin.EXTERNAL if external else Origin.AWS_KMS))
        self.do(self.world.look(name))
        return name

    @rule(days=st.one_of(st.none(), st.integers(1, 30)), scheduled=st.booleans())
    def create_and_leave(self, days: int | None, scheduled: bool) -> None:
        """A key that ages by itself from here on."""
        name = self.create(external=days is not None)
        self.bring(name, days, new=True)
        self.encrypt(name)
        if scheduled:
            self.schedule(name, 7)
        self.known[name].alone = True

    @rule(name=keys, days=st.one_of(st.none(), st.integers(1, 60)), new=st.booleans())
    def bring(self, name: str, days: int | None, new: bool) -> None:
        """Import fresh material, or the first one again."""
        known = self.known[name]
        if not known.external or self.gone(known):
            return
        again = not new and bool(known.secrets)
        material = next(iter(known.secrets.values())) if again else secret()
        until = None if days is None else self.clock.now() + timedelta(days=days)
        first = not self.key(known).status.materials
        try:
            accepted = self.do(self.owner.bring(material, name, valid_to=until, kind=None if again or first else NEW))
        except (InvalidState, IncorrectKeyMaterial):
            return  # pending deletion, or another material waits already
        known.secrets[accepted.material_id] = material
        known.expires.pop(accepted.material_id, None)
        if until is not None:
            known.expires[accepted.material_id] = until

    @rule(name=keys)
    def bring_wrong(self, name: str) -> None:
        """Other material never takes the place of what was there."""
        known = self.known[name]
        if not known.external or self.gone(known) or not known.secrets:
            return
        before = self.key(known)
        try:
            self.do(self.owner.bring(secret(), name, kind=None))
        except (InvalidState, IncorrectKeyMaterial):
            assert self.key(known).status.materials == before.status.materials
        else:
            raise AssertionError("other material was taken for the same")

    @rule(name=keys)
    def delete_material(self, name: str) -> None:
        known = self.known[name]
        if known.external and not self.gone(known):
            gone = self.do(self.owner.delete(name))
            if gone is not None:
                known.expires.pop(gone, None)

    @rule(name=keys)
    def rotate(self, name: str) -> None:
        self.ask(name, lambda tx, uid, now: keys.request_rotation(tx, uid, now))

    @rule(name=keys, enabled=st.booleans())
    def switch(self, name: str, enabled: bool) -> None:
        self.ask(name, lambda tx, uid, now: keys.change(tx, uid, now, enabled=enabled))

    @rule(name=keys, days=st.integers(7, 30))
    def schedule(self, name: str, days: int) -> None:
        known = self.known[name]
        if self.ask(name, lambda tx, uid, now: keys.schedule_deletion(tx, uid, window_days=days, by="me", now=now)):
            known.due = self.clock.now() + timedelta(days=days)

    @rule(name=keys)
    def cancel(self, name: str) -> None:
        if self.ask(name, lambda tx, uid, now: keys.cancel_deletion(tx, uid, by="me", now=now)):
            self.known[name].due = None

    @rule(name=keys)
    def encrypt(self, name: str) -> None:
        known = self.known[name]
        if self.gone(known) or self.owner.state(name) is not KeyState.ENABLED:
            return
        plaintext = os.urandom(8)
        known.blobs.append((self.do(self.owner.encrypt(plaintext, name)), plaintext))

    @rule(days=st.one_of(st.integers(0, 3), st.integers(5, 40)), seconds=st.integers(0, 86_400))
    def time_passes(self, days: int, seconds: int) -> None:
        self.clock.advance(timedelta(days=days, seconds=seconds))

    @rule(seconds=st.sampled_from([-1, 0, 1]))
    def time_reaches_what_is_due_next(self, seconds: int) -> None:
        moments = [moment for known in self.known.values() for moment in (*known.expires.values(), known.due)]
        ahead = [moment for moment in moments if moment is not None and moment > self.clock.now()]
        if ahead:
            self.clock.advance(max(min(ahead) - self.clock.now() + timedelta(seconds=seconds), timedelta()))

    @rule(days=st.integers(1, 400))
    def the_clock_jumps_back(self, days: int) -> None:
        self.clock.advance(timedelta(days=-days))

    @rule()
    def restart(self) -> None:
        self.do(self.world.restart())
        self.due_times = DueTimes(self.world.database, self.clock)

    @rule(place=st.sampled_from(["copy-a", "copy-b", "database"]))
    def lose_a_place(self, place: str) -> None:
        """All tokens of one place are damaged while the server is down."""

        async def lose() -> None:
            if place == "database":
                await self.world.database.write(lambda tx: tx.execute("UPDATE tokens SET token = x'00'"))
            await self.world.stop()
            for path in (self.directory / place).rglob("*.copy") if place != "database" else ():
                path.write_bytes(b"lost")
            await self.world.start()
            await self.world.connect()

        self.do(lose())
        self.due_times = DueTimes(self.world.database, self.clock)

    # ---- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_early_and_nothing_is_unreadable(self) -> None:
        due = {uid for uids in self.due_times.fallen_due() for uid in uids}
        for known in self.known.values():
            key = self.world.find(known.name)
            if key is not None and (not known.alone or key.metadata.uid in due):
                self.do(self.world.look(known.name))
            self.check(known)
        self.no_token_too_many()

    def check(self, known: Known) -> None:
        now = self.clock.now()
        key = self.world.find(known.name)
        if key is None:
            assert known.may_be_gone or (known.due is not None and now >= known.due), "destroyed before its time"
            known.may_be_gone = True
            return
        state = self.owner.state(known.name)
        assert (known.due is None) == (key.metadata.deletion is None)
        if known.external:
            self.check_material(known, key, now)
        if state is KeyState.ENABLED:
            for blob, plaintext in known.blobs:
                assert self.do(self.owner.decrypt(blob, known.name)) == plaintext

    def check_material(self, known: Known, key: Key, now: datetime) -> None:
        named = {each.material_id: each for each in key.status.materials}
        for material_id in list(known.secrets):
            due = known.expires.get(material_id)
            each = named.get(material_id)
            if each is None:  # nothing was ever encrypted under it, and it was deleted or expired
                del known.secrets[material_id]
                known.expires.pop(material_id, None)
                continue
            if due is not None and now >= due:
                assert not each.present, "it lives beyond its time"
                del known.expires[material_id]
            elif due is not None:
                assert each.present, "it ended before its time"
        missing = [each for each in key.status.materials if not each.present]
        waits = not key.status.materials or bool(missing)
        if key.metadata.deletion is None:
            assert (self.owner.state(known.name) is KeyState.PENDING_IMPORT) == waits

    def no_token_too_many(self) -> None:
        """What is stored is what keys speak of, in every place."""
        spoken = {
            each.name
            for known in self.known.values()
            if (key := self.world.find(known.name)) is not None
            for each in key.status.materials
            if each.present
        }
        stored = {name for name in self.world.tokens() if name.startswith("keystead:")}
        assert stored == spoken
        for place in ("copy-a", "copy-b"):
            files = [path.name for path in (self.directory / place / "tokens").rglob("*.copy")]
            assert len([name for name in files if "keystead" in name]) == len(spoken)

    # ---- helpers ---------------------------------------------------------------------------------------------------

    def gone(self, known: Known) -> bool:
        return self.world.find(known.name) is None

    def key(self, known: Known) -> Key:
        return self.world.key(known.name)

    def ask(self, name: str, change: Any) -> bool:
        """A request that may be refused; whether it was done."""
        known = self.known[name]
        if self.gone(known):
            return False
        uid, now = self.key(known).metadata.uid, self.clock.now()
        try:
            self.do(self.world.database.write(lambda tx: cast(Any, change(tx, uid, now))))
        except KeysteadError:
            return False
        return True

    async def heal(self) -> None:
        """In the end the owner brings everything back, and every key that still exists reads all it ever wrote."""
        for known in self.known.values():
            if self.world.find(known.name) is None:
                continue
            uid, now = self.world.key(known.name).metadata.uid, self.clock.now()
            try:
                await self.world.database.write(lambda tx, u=uid, n=now: keys.cancel_deletion(tx, u, by="me", now=n))  # type: ignore[misc]
            except InvalidState:
                if self.world.key(known.name).metadata.deletion is not None:
                    continue  # its time has come
            await self.world.change(known.name, enabled=True)
            for each in self.world.key(known.name).status.materials:
                if not each.present:
                    await self.owner.bring(known.secrets[each.material_id], known.name)
            await self.world.look(known.name)
            if not self.world.key(known.name).status.materials:
                assert known.blobs == []
                continue
            for blob, plaintext in known.blobs:
                assert await self.owner.decrypt(blob, known.name) == plaintext


TestLifeOfKeys = LifeOfKeys.TestCase
TestLifeOfKeys.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
