"""Key tokens in several places: written, read, made good and removed together, whatever fails."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.clock import ManualClock
from controlplane.errors import StartupRefused, StoreDamaged, StoreUnavailable
from controlplane.reconcile.upkeep import Upkeep
from controlplane.schema.copies import CopiesReport
from controlplane.schema.events import EventReason
from controlplane.schema.keys import MaterialState, MaterialStatus
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import Key
from controlplane.store import events, material, objects
from controlplane.store.copies import Copy, Record, What
from controlplane.store.database import Database, Tx
from controlplane.store.material import StoredPluginState
from controlplane.store.safekeeping import Safekeeping
from plugins.sdk import MaterialDamaged
from tests.controlplane.store.samples import NOW, add_key, add_store

SERVER = "server-1"
Damage = Callable[[Path], None]


class Places:
    """A database with directories for copies beside it, and a clock."""

    def __init__(self, directory: Path, clock: ManualClock, count: int = 2) -> None:
        self.path = directory / "keystead.db"
        self.directories = [directory / f"copy-{number}" for number in range(count)]
        self.clock = clock
        self.open()

    def open(self) -> None:
        self.database = Database(self.path)
        self.database.open()
        self.safe = Safekeeping([Copy(directory) for directory in self.directories], self.clock)
        self.safe.open(SERVER)
        self.database.protect(self.safe)
        self.upkeep = Upkeep(self.database, self.safe, self.clock, look_hours=24)

    def close(self) -> None:
        self.database.close()
        self.safe.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    # ---- doing -----------------------------------------------------------------------------------------------------

    async def add_key(self, name: str = "k", tokens: int = 1) -> tuple[Key, dict[str, bytes]]:
        """A key with material, each with a random token."""
        key = await self.database.write(lambda tx: add_key(tx, name))
        uid = key.metadata.uid
        made = {f"keystead:{uid}:{number:064x}": secrets.token_bytes(300) for number in range(tokens)}

        def store(tx: Tx) -> Key:
            listed = tuple(
                MaterialStatus(
                    material_id=each.rsplit(":", 1)[1], name=each, state=MaterialState.NON_CURRENT, created_at=NOW
                )
                for each in made
            )
            for each, token in made.items():
                material.put_token(tx, name=each, uid=uid, token=token)
            status = key.status.__class__(
                key_id=key.status.key_id, arn=key.status.arn, created_at=NOW, materials=listed
            )
            found = objects.replace(tx, uid, now=NOW, status=status)
            assert isinstance(found, Key)
            return found

        return await self.database.write(store), made

    async def forget(self, name: str) -> None:
        await self.database.write(lambda tx: material.delete_token(tx, name))

    async def look(self, *, repair: bool = True) -> CopiesReport:
        return await self.safe.look(self.database, repair=repair)

    async def settle(self) -> None:
        """Whatever was put off has been done."""
        await self.database.write(lambda tx: None)

    # ---- looking ---------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes | None:
        return self.database.read(lambda tx: material.get_token(tx, name))

    def in_database(self, name: str) -> bytes | None:
        return self.database.read(lambda tx: material.value(tx, What.TOKEN, material.owner_of(name), name))

    def in_copies(self, name: str) -> list[bytes | None]:
        owner = material.owner_of(name)
        return [Copy(directory).read(What.TOKEN, owner, name) for directory in self.directories]

    def files(self, name: str) -> list[Path]:
        owner = material.owner_of(name)
        return [
            directory / "tokens" / Copy(directory).file_of(What.TOKEN, owner, name) for directory in self.directories
        ]

    def told(self) -> list[EventReason]:
        return [event.reason for event in self.database.read(events.page).items]

    def everywhere(self) -> bytes:
        """Every octet of every file."""
        roots = [self.path.parent]
        return b"".join(path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file())


@pytest.fixture
async def places(tmp_path: Path, clock: ManualClock) -> Iterator[Places]:  # type: ignore[misc]
    places = Places(tmp_path, clock)
    await places.database.write(lambda tx: add_store(tx, STANDARD))
    yield places
    places.close()


def cut_off(directory: Path) -> Callable[[], None]:
    """Make a directory unreachable, as an unplugged disk is; the answer plugs it in again."""
    away = directory.with_name(directory.name + ".away")
    directory.rename(away)
    directory.write_bytes(b"")

    def back() -> None:
        directory.unlink()
        away.rename(directory)

    return back


async def break_row(places: Places, name: str) -> None:
    await places.database.write(
        lambda tx: tx.execute("UPDATE tokens SET token = x'00' || substr(token, 2) WHERE name = ?", (name,))
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Damage] = {
    "flip": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "remove": lambda path: path.unlink(),
    "junk": lambda path: path.write_bytes(os.urandom(500)),
}


# ---- writing ---------------------------------------------------------------------------------------------------------


async def test_a_token_is_in_every_place_when_its_write_is_answered(places: Places) -> None:
    _, made = await places.add_key(tokens=3)
    for name, token in made.items():
        assert places.read(name) == token
        assert places.in_copies(name) == [token, token]
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in places.files(name))


async def test_what_is_undone_leaves_nothing_that_a_key_could_find(places: Places) -> None:
    key, _ = await places.add_key()
    name = f"keystead:{key.metadata.uid}:{'f' * 64}"

    def fail(tx: Tx) -> None:
        material.put_token(tx, name=name, uid=key.metadata.uid, token=b"t" * 100)
        raise StoreUnavailable("changed its mind")

    with pytest.raises(StoreUnavailable):
        await places.database.write(fail)
    assert places.read(name) is None
    assert places.in_copies(name) == [None, None]


async def test_without_any_directory_that_can_be_written_nothing_is_answered_and_nothing_changes(
    places: Places,
) -> None:
    back = [cut_off(directory) for directory in places.directories]
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        await places.add_key()
    assert places.database.read(lambda tx: tx.execute("SELECT count(*) FROM tokens").fetchone()[0]) == 0
    for each in back:
        each()
    await places.add_key("again")


async def test_one_directory_that_cannot_be_reached_stops_nobody_and_is_made_up_for(places: Places) -> None:
    back = cut_off(places.directories[0])
    _, made = await places.add_key()
    (name,) = made
    assert EventReason.COPY_DAMAGED in places.told()
    await places.upkeep.once()
    back()
    assert places.in_copies(name)[0] is None
    await places.upkeep.once()
    assert places.in_copies(name) == [made[name]] * 2


async def test_more_than_one_transaction_of_lag_is_made_up_for(places: Places) -> None:
    back = cut_off(places.directories[1])
    made: dict[str, bytes] = {}
    for number in range(3):
        made |= (await places.add_key(f"k{number}", tokens=30))[1]
    await places.upkeep.once()
    back()
    await places.upkeep.once()
    assert all(places.in_copies(name) == [token] * 2 for name, token in made.items())
    assert places.database.read(places.safe.behind) == 0


# ---- reading ---------------------------------------------------------------------------------------------------------


async def test_a_damaged_row_is_answered_from_a_copy_and_made_good(places: Places) -> None:
    _, made = await places.add_key()
    (name,) = made
    await break_row(places, name)
    assert places.in_database(name) is None
    assert places.read(name) == made[name]
    await places.settle()
    assert places.in_database(name) == made[name]
    assert places.told()[-1] is EventReason.COPY_REPAIRED


async def test_a_missing_row_is_answered_from_a_copy_and_made_good(places: Places) -> None:
    _, made = await places.add_key()
    (name,) = made
    await places.database.write(lambda tx: tx.execute("DELETE FROM tokens"))
    assert places.read(name) == made[name]
    await places.settle()
    assert places.in_database(name) == made[name]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_any_one_good_copy_is_enough(places: Places, damage: str) -> None:
    _, made = await places.add_key()
    (name,) = made
    await break_row(places, name)
    DAMAGES[damage](places.files(name)[0])
    places.reopen()
    assert places.read(name) == made[name]
    await places.settle()
    assert places.in_copies(name) == [made[name]] * 2, "one look makes it good everywhere"
    for path in places.files(name):
        DAMAGES[damage](path)
    await break_row(places, name)
    with pytest.raises(StoreDamaged, match=name):
        places.read(name)


async def test_the_file_of_another_token_is_not_taken_for_this_one(places: Places) -> None:
    _, made = await places.add_key(tokens=2)
    one, two = made
    await break_row(places, one)
    for mine, other in zip(places.files(one), places.files(two), strict=True):
        shutil.copy(other, mine)
    with pytest.raises(StoreDamaged):
        places.read(one)


# ---- looking at everything -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_look_finds_and_makes_good_what_is_wrong_anywhere(places: Places, damage: str) -> None:
    _, made = await places.add_key(tokens=5)
    names = list(made)
    DAMAGES[damage](places.files(names[0])[0])
    DAMAGES[damage](places.files(names[1])[1])
    await break_row(places, names[2])
    found = await places.look(repair=False)
    assert not found.sound
    assert found.tokens == 5
    assert (found.database_damaged, found.repaired, found.lost) == (1, 0, ())
    assert [each.missing + each.damaged for each in found.copies] == [1, 1]
    assert [each.good for each in found.copies] == [4, 4]
    assert places.in_database(names[2]) is None, "a look without repair changes nothing"
    repaired = await places.look()
    assert repaired.repaired == 3
    assert (await places.look(repair=False)).sound
    assert all(places.in_copies(name) == [token] * 2 for name, token in made.items())
    assert places.in_database(names[2]) == made[names[2]]
    assert {EventReason.COPY_DAMAGED, EventReason.COPY_REPAIRED} <= set(places.told())


async def test_what_is_lost_everywhere_is_named(places: Places) -> None:
    _, made = await places.add_key(tokens=2)
    name = next(iter(made))
    await break_row(places, name)
    for path in places.files(name):
        flip(path)
    for repair in (False, True):
        assert (await places.look(repair=repair)).lost == (f"token {name}",)
    assert EventReason.COPY_LOST in places.told()


async def test_a_row_that_a_key_speaks_of_is_brought_back_and_a_stray_file_is_left_alone(places: Places) -> None:
    key, made = await places.add_key(tokens=2)
    stray = f"keystead:{key.metadata.uid}:{'e' * 64}"
    await places.database.write(
        lambda tx: material.put_token(tx, name=stray, uid=key.metadata.uid, token=b"from a later time")
    )
    await places.database.write(lambda tx: tx.execute("DELETE FROM tokens"))
    found = await places.look()
    assert found.database_damaged == 2
    assert [each.unknown for each in found.copies] == [1, 1]
    assert {places.in_database(name) for name in made} == set(made.values())
    assert places.in_database(stray) is None
    assert places.in_copies(stray) == [b"from a later time"] * 2, "the database may be the older one"


async def test_an_empty_new_directory_is_filled_at_the_start(tmp_path: Path, clock: ManualClock) -> None:
    places = Places(tmp_path, clock, count=1)
    _, made = await places.add_key(tokens=3)
    places.close()
    places.directories.append(tmp_path / "another")
    places.open()
    await places.upkeep.once(start=True)
    assert all(places.in_copies(name) == [token] * 2 for name, token in made.items())
    places.close()


async def test_everything_is_looked_at_on_schedule_whatever_the_clock_does(places: Places) -> None:
    _, made = await places.add_key()
    (name,) = made
    await places.upkeep.once(start=True)
    for hours in (24, -1000, 24):
        places.files(name)[0].unlink()
        await places.upkeep.once()
        assert places.in_copies(name)[0] is None, "not due yet"
        places.clock.advance(hours * 3600)
        await places.upkeep.once()
        assert places.in_copies(name)[0] == made[name]


async def test_a_directory_of_another_server_is_refused(places: Places) -> None:
    other = Safekeeping([Copy(places.directories[0])], places.clock)
    with pytest.raises(StartupRefused, match="another server"):
        other.open("server-2")
    other.close()


async def test_a_directory_that_is_away_at_the_start_keeps_nobody_down(places: Places) -> None:
    _, made = await places.add_key()
    places.close()
    back = cut_off(places.directories[0])
    places.open()
    assert places.read(next(iter(made))) == next(iter(made.values()))
    await places.add_key("another")
    report = await places.look()
    assert [each.reachable for each in report.copies] == [False, True]
    back()


# ---- removing --------------------------------------------------------------------------------------------------------


async def test_what_is_deleted_is_in_no_file_when_the_deletion_is_answered(places: Places) -> None:
    _, made = await places.add_key(tokens=20)
    names = list(made)
    assert all(token in places.everywhere() for token in made.values())
    await places.forget(names[0])
    left = places.everywhere()
    assert made[names[0]] not in left
    assert all(made[name] in left for name in names[1:])
    for name in names[1:]:
        await places.forget(name)
    left = places.everywhere()
    assert not any(token in left for token in made.values())


async def test_what_could_not_be_removed_goes_later_and_never_comes_back(places: Places) -> None:
    _, made = await places.add_key()
    (name,) = made
    back = cut_off(places.directories[0])
    await places.forget(name)
    back()
    assert places.in_copies(name) == [made[name], None]
    assert places.read(name) is None, "a file that is on its way out is not used"
    report = await places.look()
    assert report.copies[0].unknown == 1
    assert places.in_database(name) is None
    places.reopen()
    await places.upkeep.once()
    assert places.in_copies(name) == [None, None]
    assert made[name] not in places.everywhere()


async def test_a_deletion_takes_the_files_of_a_create_that_was_cut_off_along(places: Places) -> None:
    key, made = await places.add_key()
    uid = key.metadata.uid
    for directory in places.directories:  # what a crash between the files and the commit leaves
        Copy(directory).write(Record(What.TOKEN, uid, f"keystead:{uid}:{'a' * 64}", b"orphan " * 10))
    await places.forget(next(iter(made)))
    assert b"orphan " not in places.everywhere()


# ---- what plugins keep -----------------------------------------------------------------------------------------------


async def test_the_records_of_plugins_are_kept_and_made_good_like_tokens(places: Places) -> None:
    state = StoredPluginState(places.database, STANDARD)
    assert await state.put("root", b"record", expect=None)
    assert await state.put("domain/00000001", b"wrapped", expect=None)
    assert await state.put("root", b"record 2", expect=b"record")
    for directory in places.directories:
        assert Copy(directory).read(What.STATE, STANDARD, "root") == b"record 2"
    await places.database.write(lambda tx: tx.execute("DELETE FROM plugin_state WHERE name = 'root'"))
    await places.database.write(lambda tx: tx.execute("UPDATE plugin_state SET value = x'00'"))
    places.reopen()
    state = StoredPluginState(places.database, STANDARD)
    assert await state.names() == ["domain/00000001", "root"]
    assert await state.get("root") == b"record 2"
    assert await state.get("domain/00000001") == b"wrapped"
    await places.settle()
    assert (await places.look(repair=False)).sound
    assert (await places.look(repair=False)).states == 2


async def test_a_damaged_record_without_a_copy_is_told_by_its_name(database: Database) -> None:
    state = StoredPluginState(database, STANDARD)
    await state.put("root", b"record", expect=None)
    await database.write(lambda tx: tx.execute("UPDATE plugin_state SET value = x'00'"))
    with pytest.raises(MaterialDamaged, match="root"):
        await state.get("root")
