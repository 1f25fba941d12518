"""Failed authentications: a flood of them is counted, not written, and what they claim to be is told with care."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from controlplane.audit.journal import AuditJournal
from controlplane.audit.reading import JournalReader, Query
from controlplane.clock import ManualClock
from controlplane.errors import AuditUnavailable, Unauthenticated
from controlplane.usage.strangers import A_SECOND, Strangers


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Ticks:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_flood_is_counted_and_told_by_the_next_record(tmp_path: Path, clock: ManualClock) -> None:
    journal, ticks = AuditJournal(tmp_path, sync=False), Ticks()
    journal.open()
    strangers = Strangers(journal, clock, ticks)

    async def note(**more: object) -> None:
        await strangers.note(
            Unauthenticated("who?", kind="InvalidSignature"),
            door="kms",
            operation=str(more.get("operation", "Encrypt")),
            request_id="r",
            source="10.0.0.1",
            headers=[(b"authorization", bytes(str(more.get("header", "")), "latin-1"))],
        )

    for _ in range(A_SECOND + 7):
        await note()
    ticks.now = 1.0
    await note(header="AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/kms/aws4_request, Signature=beef")
    await note(header="AWS4-HMAC-SHA256 Credential=<script>/", operation="a b\n")
    newest = [each.record for each in JournalReader(tmp_path).query(Query(), limit=1000).items]
    assert len(newest) == A_SECOND + 2
    assert newest[0].details == {"door": "kms"}
    assert newest[0].operation == "Unknown"
    assert newest[1].details == {"door": "kms", "accessKeyId": "AKIAEXAMPLE", "leftOut": 7}
    assert b"beef" not in msgspec.json.encode(newest[1])
    await journal.close()
    with pytest.raises(AuditUnavailable):
        await note()
