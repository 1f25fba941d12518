"""The journal of calls that change a key store: one open attempt for each object, and only by who leads."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.clock import ManualClock
from controlplane.errors import Conflict, StoreUnavailable
from controlplane.store import attempts
from controlplane.store.attempts import Attempt, Verb
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from plugins.sdk import Outcome
from tests.controlplane.store.samples import NOW, other_process


async def begin(database: Database, uid: str, epoch: int, verb: Verb = Verb.CREATE) -> Attempt:
    return await database.write(
        lambda tx: attempts.begin(tx, uid=uid, verb=verb, material=f"keystead:{uid}:1", epoch=epoch, now=NOW)
    )


async def end(database: Database, attempt: Attempt, outcome: Outcome, detail: str = "") -> None:
    await database.write(lambda tx: attempts.end(tx, attempt.id, outcome, NOW + timedelta(seconds=1), detail))


def find(database: Database, uid: str) -> Attempt | None:
    return database.read(lambda tx: attempts.find_open(tx, uid))


async def test_an_object_has_at_most_one_open_attempt(database: Database) -> None:
    first = await begin(database, "a", 0)
    with pytest.raises(Conflict, match="already open"):
        await begin(database, "a", 0, Verb.DESTROY)
    other = await begin(database, "b", 0)
    assert find(database, "a") == first
    assert database.read(attempts.all_open) == [first, other]
    await end(database, first, Outcome.SUCCEEDED)
    assert find(database, "a") is None
    assert (await begin(database, "a", 0)).id > first.id, "ids are not used again"


async def test_an_attempt_ends_once(database: Database) -> None:
    attempt = await begin(database, "a", 0)
    await end(database, attempt, Outcome.UNKNOWN, "no answer")
    await end(database, attempt, Outcome.SUCCEEDED, "too late")
    rows = database.read(lambda tx: tx.execute("SELECT outcome, detail FROM attempts").fetchall())
    assert rows == [("unknown", "no answer")]


async def test_a_process_that_was_replaced_opens_no_attempt(database: Database) -> None:
    lease = Lease(database)
    assert await lease.take(NOW)
    stale = lease.epoch
    await begin(database, "a", stale)
    lease.release()
    assert await lease.take(NOW)
    with pytest.raises(Conflict, match="another process took over"):
        await begin(database, "b", stale)
    with pytest.raises(Conflict):
        await begin(database, "b", 0)
    await begin(database, "b", lease.epoch)


async def test_whether_destruction_began_is_known_for_as_long_as_it_is_not_refused(database: Database) -> None:
    def began() -> bool:
        return database.read(lambda tx: attempts.destruction_began(tx, "a"))

    await end(database, await begin(database, "a", 0), Outcome.SUCCEEDED)
    assert not began()
    destroying = await begin(database, "a", 0, Verb.DESTROY)
    assert began()
    await end(database, destroying, Outcome.REFUSED)
    assert not began()
    await end(database, await begin(database, "a", 0, Verb.DESTROY), Outcome.UNKNOWN)
    assert began()


async def test_pruning_forgets_ended_attempts_only(database: Database) -> None:
    await end(database, await begin(database, "a", 0), Outcome.SUCCEEDED)
    still_open = await begin(database, "b", 0)
    assert await database.write(lambda tx: attempts.prune(tx, NOW)) == 0
    assert await database.write(lambda tx: attempts.prune(tx, NOW + timedelta(days=9))) == 1
    assert database.read(attempts.all_open) == [still_open]


# ---- the lease -------------------------------------------------------------------------------------------------------

HOLDER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from controlplane.store.database import Database
from controlplane.store.lease import Lease

async def main():
    database = Database(Path(sys.argv[1]))
    database.open()
    lease = Lease(database)
    for line in sys.stdin:
        print(await lease.take(datetime.now(UTC)), lease.epoch, flush=True)

asyncio.run(main())
"""


async def test_one_process_holds_the_lease_and_kill_9_frees_it_at_once(database: Database) -> None:
    mine = Lease(database)
    with other_process(HOLDER, str(database.path)) as other:
        assert other.ask("take") == "True 1"
        assert other.ask("take") == "True 1", "taking what one holds is no new epoch"
        assert not await mine.take(NOW)
        assert mine.epoch == 0
        other.process.kill()
        other.process.wait()
        assert await mine.take(NOW)
        assert mine.epoch == 2
    with other_process(HOLDER, str(database.path)) as other:
        assert other.ask("take") == "False 0"
        mine.release()
        assert other.ask("take") == "True 3"
    assert mine.epoch == 0


async def test_no_clock_decides_about_the_lease(database: Database, clock: ManualClock) -> None:
    held, other = Lease(database), Lease(database)
    assert await held.take(clock.now())
    for jump in (timedelta(days=3650), timedelta(days=-7300)):
        clock.advance(jump)
        assert not await other.take(clock.now())
    held.release()
    assert await other.take(clock.now())
    other.release()


async def test_a_lease_whose_epoch_could_not_be_written_is_not_held(database: Database) -> None:
    lease, other = Lease(database), Lease(database)
    assert database._writer is not None
    database._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable):
        await lease.take(NOW)
    database._writer.execute("PRAGMA query_only = OFF")
    assert await other.take(NOW)
    assert not await lease.take(NOW)
    other.release()
