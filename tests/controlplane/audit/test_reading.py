"""Queries over the journal find what is there, all of it, once, whatever page, block and segment it lies in."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.audit import summaries
from controlplane.audit.journal import AuditJournal
from controlplane.audit.reading import JournalReader, Query
from controlplane.audit.records import AuditEntry, AuditRecord
from controlplane.audit.summaries import summary_of
from controlplane.errors import InvalidMarker

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("alice", "bob", 'mal"lory\\', "Zoë\u2028")


def record(number: int, **changes: Any) -> AuditRecord:
    fields: dict[str, Any] = {
        "time": BEGIN + timedelta(seconds=number),
        "request_id": f"r-{number}",
        "principal": NAMES[number % 4],
        "source": "127.0.0.1",
        "operation": ("Encrypt", "Decrypt", "Sign")[number % 3],
        "decision": ("allowed", "allowed", "denied", "failed", "allowed")[number % 5],
        "resource": f"key/{number % 7}",
        "error": None if number % 5 != 3 else "Disabled",
    }
    return AuditRecord(**fields | changes)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def write(directory: Path, records: list[AuditRecord], *, chains: int = 1, segment_bytes: int = 2_000) -> None:
    """The records, dealt to the chains in turn."""
    journals = [AuditJournal(directory, segment_bytes=segment_bytes, sync=False) for _ in range(chains)]
    for journal in journals:
        journal.open()
    for index, each in enumerate(records):
        await journals[index % chains].append(each)
    for journal in journals:
        await journal.close()


def everything(reader: JournalReader, wanted: Query, *, limit: int = 10, **more: Any) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    marker = None
    while True:
        page = reader.query(wanted, limit=limit, marker=marker, **more)
        assert len(page.items) <= limit
        found += page.items
        marker = page.next
        if marker is None:
            return found


QUERIES = [
    Query(),
    Query(resources=("key/3",)),
    Query(resources=("key/3", "key/4"), principals=("bob",)),
    Query(principals=('mal"lory\\',)),
    Query(principals=("Zoë\u2028",), operations=("Sign", "Decrypt")),
    Query(decision="denied"),
    Query(error="Disabled", decision="failed"),
    Query(request_id="r-41"),
    Query(since=BEGIN + timedelta(seconds=30), until=BEGIN + timedelta(seconds=60)),
    Query(since=BEGIN + timedelta(seconds=150)),
    Query(until=BEGIN),
    Query(resources=("key/none",)),
    Query(resources=("ey/3",)),
]


@pytest.mark.parametrize("chains", [1, 3])
@pytest.mark.parametrize("wanted", QUERIES, ids=str)
async def test_every_record_that_is_wanted_is_found_once_and_in_order(
    tmp_path: Path, wanted: Query, chains: int
) -> None:
    records = [record(number) for number in range(200)]
    await write(tmp_path, records, chains=chains)
    expected = [each for each in records if wanted.matches(each)]
    reader = JournalReader(tmp_path, block=512)
    for limit in (1, 10, 1000):
        assert [each.record for each in everything(reader, wanted, limit=limit)] == expected[::-1]
        found = everything(reader, wanted, limit=limit, newest_first=False)
        assert [each.record for each in found] == expected


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 30), max_size=60),
    block=st.integers(1, 2_000),
    segment_bytes=st.integers(1, 4_000),
    limit=st.integers(1, 20),
    budget=st.integers(1, 5_000),
    newest_first=st.booleans(),
)
def test_no_size_of_blocks_segments_pages_or_budget_loses_a_record(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[int],
    block: int,
    segment_bytes: int,
    limit: int,
    budget: int,
    newest_first: bool,
) -> None:
    import asyncio

    directory = tmp_path_factory.mktemp("audit")
    records = [record(number, request_id=f"{index}") for index, number in enumerate(numbers)]
    asyncio.run(write(directory, records, segment_bytes=segment_bytes))
    reader = JournalReader(directory, block=block, budget=budget)
    for wanted in (Query(), Query(resources=("key/3",))):
        expected = [each for each in records if wanted.matches(each)]
        found = everything(reader, wanted, limit=limit, newest_first=newest_first)
        assert [each.record for each in found] == (expected[::-1] if newest_first else expected)


async def test_pages_go_on_where_they_were_while_the_journal_grows(tmp_path: Path) -> None:
    records = [record(number) for number in range(60)]
    await write(tmp_path, records[:40])
    reader = JournalReader(tmp_path, block=300)
    first = reader.query(Query(), limit=15)
    await write(tmp_path, records[40:])
    rest = reader.query(Query(), limit=1000, marker=first.next)
    assert [each.record for each in (*first.items, *rest.items)] == records[:40][::-1]
    newest = reader.query(Query(), limit=1)
    assert newest.items[0].record == records[-1]


async def test_an_unfinished_line_and_a_damaged_one_are_passed_over(tmp_path: Path) -> None:
    records = [record(number) for number in range(9)]
    await write(tmp_path, records, segment_bytes=10**6)
    (path,) = (tmp_path / "chain-0").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5][:-30] + b"\n"
    path.write_bytes(b"".join(lines) + b'{"seq":99,"pre')
    reader = JournalReader(tmp_path, block=100)
    left = [each for index, each in enumerate(records) if index != 4]
    assert [each.record for each in everything(reader, Query(), newest_first=False)] == left
    assert [each.record for each in everything(reader, Query())] == left[::-1]


async def test_a_page_reads_no_more_than_its_budget(tmp_path: Path) -> None:
    await write(tmp_path, [record(number) for number in range(300)], segment_bytes=10**6)
    reader = JournalReader(tmp_path, block=1_000, budget=5_000)
    page = reader.query(Query(resources=("key/none",)), limit=10)
    assert page.items == ()
    assert page.next is not None, "there may be more"
    assert everything(reader, Query(resources=("key/none",))) == []


async def test_full_segments_without_what_is_wanted_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(tmp_path, [record(number, resource=f"key/{number // 10}") for number in range(200)])
    segments = sorted((tmp_path / "chain-0").glob("*.jsonl"))
    assert len(segments) > 10
    wanted = Query(resources=("key/2",), principals=NAMES)
    found = everything(JournalReader(tmp_path), wanted)
    read: list[str] = []
    reader = JournalReader(tmp_path)
    real = reader._read

    def counting(chain: str, segment: int, start: int, end: int) -> bytes:
        if end - start > 1:
            read.append(f"{chain}/{segment}")
        return real(chain, segment, start, end)

    monkeypatch.setattr(reader, "_read", counting)
    assert everything(reader, wanted) == found
    assert len(found) == 10
    assert len(read) < 5, "the newest segment and those that hold the key"


async def test_a_summary_is_made_anew_when_it_is_damaged_missing_or_of_another_segment(tmp_path: Path) -> None:
    await write(tmp_path, [record(number) for number in range(100)])
    wanted = Query(resources=("key/3",))
    expected = everything(JournalReader(tmp_path), wanted)
    kept = sorted((tmp_path / "chain-0").glob("*.summary"))
    assert kept
    good = kept[0].read_bytes()
    for damage in (b"", b"\xc1", good[:-5], msgspec.msgpack.encode([0, 1, BEGIN, BEGIN, b"", b""])):
        kept[0].write_bytes(damage)
        assert everything(JournalReader(tmp_path), wanted) == expected
        assert kept[0].read_bytes() == good
    for each in kept:
        each.unlink()
    assert everything(JournalReader(tmp_path), wanted) == expected
    assert all(each.exists() for each in kept)


async def test_a_segment_with_too_many_names_is_always_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "MAX_NAMES", 2)
    await write(tmp_path, [record(number) for number in range(100)])
    (first, *_) = sorted((tmp_path / "chain-0").glob("*.jsonl"))
    summary = summary_of(first)
    assert (summary.resources, summary.may_hold(resources=("key/none",))) == (None, True)
    expected = [record(number) for number in range(100) if number % 7 == 3]
    found = everything(JournalReader(tmp_path), Query(resources=("key/3",)), newest_first=False)
    assert [each.record for each in found] == expected


async def test_a_marker_that_no_page_gave_is_refused(tmp_path: Path) -> None:
    await write(tmp_path, [record(number) for number in range(40)])
    reader = JournalReader(tmp_path)
    page = reader.query(Query(), limit=3)
    assert page.next is not None

    def forged(newest_first: bool = True, **chains: Any) -> str:
        names = {name.replace("_", "-"): at for name, at in chains.items()}
        return base64.urlsafe_b64encode(
            msgspec.msgpack.encode({"newest_first": newest_first, "chains": names})
        ).decode()

    for marker in (
        "",
        "x",
        "é",
        page.next[:-4],
        forged(chain_0=(1, 5)),
        forged(chain_0=(1, 10**9)),
        forged(chain_0=(10**9, 0)),
        forged(chain_0=(0, 0)),
        forged(chain_0=(-1, 0)),
        forged(chain_7=(1, 0)),
        base64.urlsafe_b64encode(msgspec.msgpack.encode({"newest_first": True, "chains": {"../x": (1, 0)}})).decode(),
    ):
        with pytest.raises(InvalidMarker):
            reader.query(Query(), limit=3, marker=marker)
    with pytest.raises(InvalidMarker):
        reader.query(Query(), limit=3, marker=page.next, newest_first=False)


async def test_the_latest_record_is_found_however_far_back(tmp_path: Path) -> None:
    records = [record(number, resource="old" if number < 3 else "new") for number in range(200)]
    await write(tmp_path, records)
    reader = JournalReader(tmp_path, block=200, budget=500)
    assert reader.latest(Query(resources=("old",), decision="allowed")) == records[1]
    assert reader.latest(Query(resources=("never",))) is None


def test_a_journal_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    page = JournalReader(tmp_path / "none").query(Query(), limit=1)
    assert (page.items, page.next) == ((), None)
