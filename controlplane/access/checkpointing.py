"""Signs where the audit journal stands, every minute and when it closes, with a key that only the key store has.

Who calls it: the composition root, in every process, for the chain that the process writes; the reconciliation API for
a checkpoint to keep elsewhere. Guarantees: only what is durable is signed; the signing key is a material of the
standard key store and never leaves it; a checkpoint that cannot be made is logged and made later, and disturbs no
request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from controlplane.access.system_material import SystemMaterial
from controlplane.audit import checkpoints
from controlplane.audit.chain import CHAIN
from controlplane.audit.checkpoints import Checkpoint, Statement
from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import Head
from controlplane.clock import Clock
from controlplane.errors import KeysteadError
from controlplane.keystores.calls import Calls
from controlplane.schema.keystores import STANDARD
from controlplane.store.database import Database
from plugins.sdk import Algorithm, KeySpec, MessageType

log = structlog.get_logger("keystead.audit")

EVERY_SECONDS: Final = 60.0
_FACT: Final = "audit-checkpoint-material"
_SUBJECT: Final = "keystead:system:audit-checkpoints"


@asynccontextmanager
async def checkpointing(
    database: Database, calls: Calls, journal: AuditJournal, clock: Clock
) -> AsyncIterator[Checkpointer]:
    """Checkpoints of the journal, as long as this lasts."""
    checkpointer = Checkpointer(database, calls, journal, clock)
    await checkpointer.start()
    try:
        yield checkpointer
    finally:
        await checkpointer.stop()


class Checkpointer:
    """Makes the checkpoints of one chain."""

    def __init__(self, database: Database, calls: Calls, journal: AuditJournal, clock: Clock) -> None:
        self._calls = calls
        self._journal = journal
        self._clock = clock
        self._material = SystemMaterial(
            database, calls, fact=_FACT, subject=_SUBJECT, spec=KeySpec.ECC_NIST_EDWARDS25519
        )
        self._public_key = b""
        self._last: Checkpoint | None = None
        self._due: list[Head] = []
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def public_key(self) -> bytes:
        """What the checkpoints verify with: SPKI in DER."""
        return self._public_key

    async def start(self) -> None:
        """Have the key, sign what is there, and go on. Raises :class:`StartupRefused` if the key does not open."""
        opened = await self._material.open("signs the audit journal's checkpoints")
        assert opened.public_key is not None
        self._public_key = opened.public_key
        self._last = await asyncio.to_thread(checkpoints.latest, self._journal.directory)
        if self._last is not None and self._last.said.public_key != self._public_key:
            log.warning(
                "the audit journal's earlier checkpoints are of another key, and a check of it will say so: if this "
                "database was restored, stop, move the journal's directory away, keep it, and start with a new one",
                chain=self._journal.chain,
            )
        if self._last is not None and self._last.said.head.seq > self._journal.head.seq:
            log.error("the audit journal is shorter than its last checkpoint says", chain=self._journal.chain)
        await self._try()
        self._task = asyncio.create_task(self._run(), name="audit-checkpoints")

    async def stop(self) -> None:
        """Sign where the journal ends. Call it when nothing more is appended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self._try()

    async def now(self) -> None:
        """Sign what is durable and not signed yet. Raises :class:`KeysteadError` or ``OSError``."""
        async with self._one_at_a_time:
            self._due += self._journal.ends()
            for head in (*self._due, self._journal.head):
                signed = self._last.said.head.seq if self._last is not None else -1
                if head.seq > signed:
                    self._last = await self._make(head)
            self._due.clear()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.now()
        except (KeysteadError, OSError) as error:
            log.warning("a checkpoint of the audit journal could not be made", error=str(error))

    async def _make(self, head: Head) -> Checkpoint:
        statement = msgspec.json.encode(
            Statement(
                time=self._clock.now(),
                chain=self._journal.chain,
                head=head,
                chains=tuple(self._chains()),
                previous=self._last.digest if self._last is not None else checkpoints.FIRST,
                public_key=self._public_key,
            )
        )
        message = checkpoints.to_sign(statement)
        algorithm = Algorithm.ED25519_SHA_512
        signature = await self._calls.sign(STANDARD, self._material.ref, algorithm, MessageType.RAW, message)
        made = Checkpoint(msgspec.Raw(statement), signature)
        await asyncio.to_thread(checkpoints.append, self._journal.directory, made)
        return made

    def _chains(self) -> Iterator[str]:
        """The chains beside this one, so that one that is taken away whole is missed."""
        names = (path.name.removeprefix(CHAIN) for path in self._journal.directory.parent.glob(f"{CHAIN}*"))
        for number in sorted(int(name) for name in names if name.isdecimal()):
            yield f"{CHAIN}{number}"
