"""The key that signs the journal's checkpoints: one for a journal, and what is said where it is another."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from controlplane.access.checkpointing import Checkpointer
from controlplane.audit.verifying import verify
from controlplane.clock import ManualClock
from controlplane.schema.keystores import STANDARD
from controlplane.store.database import Tx
from tests.controlplane.audit.journals import record
from tests.controlplane.reconcile.world import World


async def test_a_database_without_the_journals_key_is_told_of_at_the_start_and_fails_the_check(
    tmp_path: Path, clock: ManualClock
) -> None:
    world = World(tmp_path, clock)
    await world.start()
    await world.add_store(STANDARD, STANDARD)
    await world.connect()

    async def serve() -> tuple[bytes, list[str]]:
        """Start, answer a request, stop; the key, and what was said."""
        with capture_logs() as logs:
            checkpointer = Checkpointer(world.database, world.calls, world.audit, clock)
            await checkpointer.start()
            await world.audit.append(record())
            await checkpointer.stop()
        return checkpointer.public_key, [each["event"] for each in logs if each["log_level"] == "warning"]

    def before_the_key_was_made(tx: Tx) -> None:
        tx.execute("DELETE FROM facts WHERE name = 'audit-checkpoint-material'")

    key, said = await serve()
    assert said == []
    assert (await serve()) == (key, []), "the same database has the same key"
    assert verify(tmp_path / "audit", public_key=key).ok
    await world.database.write(before_the_key_was_made)
    other, said = await serve()
    assert other != key
    assert "if this database was restored" in said[0]
    (bad,) = verify(tmp_path / "audit").bad
    assert "restored from before the key was made" in bad.why
    await world.stop()
