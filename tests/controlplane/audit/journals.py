"""A journal in a directory: records, how one is filled and read, and a disk that can be slow or fail."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord

MIB = 1024 * 1024


def record(number: int = 0, **changes: Any) -> AuditRecord:
    fields: dict[str, Any] = {
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "request_id": f"00000000-0000-4000-8000-{number:012}",
        "principal": "arn:aws:iam::000000000000:user/alice",
        "source": "127.0.0.1",
        "operation": "Encrypt",
        "decision": "allowed",
        "resource": "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "encryption_context": {"tenant": "ä\n\u2028"},
        "latency_us": 145,
    }
    return AuditRecord(**fields | changes)


def opened(directory: Path, **options: Any) -> AuditJournal:
    journal = AuditJournal(directory, **options)
    journal.open()
    return journal


async def filled(directory: Path, count: int, *, make: Callable[[int], AuditRecord] = record, **options: Any) -> None:
    journal = opened(directory, **options)
    for number in range(count):
        await journal.append(make(number))
    await journal.close()


def short_record(number: int) -> AuditRecord:
    """Short enough to try every change to every byte."""
    return AuditRecord(
        time=datetime(2026, 1, 1, tzinfo=UTC),
        request_id=str(number),
        principal="",
        source="",
        operation="",
        decision="denied",
    )


def segments(directory: Path, chain: str = "chain-0") -> list[Path]:
    return sorted((directory / chain).glob("segment-*.jsonl"))


def records(directory: Path, chain: str = "chain-0") -> list[dict[str, Any]]:
    return [
        msgspec.json.decode(line)["record"]
        for path in segments(directory, chain)
        for line in path.read_bytes().splitlines()
    ]


async def gather(journal: AuditJournal, count: int) -> list[int | BaseException]:
    return await asyncio.gather(*(journal.append(record(number)) for number in range(count)), return_exceptions=True)


class Disk:
    """Stands between the journal and the real calls: counts, delays and fails them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.delay = 0.0
        self.write_limit: int | None = None
        self.failing: dict[str, int] = {}
        for name in ("write", "fdatasync", "ftruncate", "fsync"):
            monkeypatch.setattr(os, name, self._stand_in(name, getattr(os, name)))

    def _stand_in(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int, *rest: Any) -> Any:
            self.calls.append(name)
            self.threads.add(threading.get_ident())
            if name == "fdatasync":
                time.sleep(self.delay)
            if name == "write" and self.write_limit is not None:
                if self.write_limit == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                rest = (bytes(rest[0])[: self.write_limit],)
                self.write_limit -= len(rest[0])
            if name in self.failing:
                raise OSError(self.failing[name], os.strerror(self.failing[name]))
            return real(fd, *rest)

        return call
