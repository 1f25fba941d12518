"""The audit journal: durable before it answers, closed when it cannot write, and every change to it found."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.audit.verifying import verify
from controlplane.errors import AuditUnavailable, StoreDamaged
from tests.controlplane.audit.journals import Disk, filled, gather, opened, record, records, segments


class TestAppending:
    async def test_sequence_numbers_count_from_one_after_the_header(self, directory: Path) -> None:
        journal = opened(directory)
        assert [await journal.append(record(number)) for number in range(3)] == [1, 2, 3]
        assert journal.head.seq == 3
        await journal.close()
        assert verify(directory).heads == {"chain-0": journal.head}

    async def test_a_line_says_what_happened_and_can_be_checked_by_hand(self, directory: Path) -> None:
        await filled(directory, 1)
        header, line = segments(directory)[0].read_bytes().splitlines()
        member = b'"hash":"%b",' % msgspec.json.decode(line)["hash"].encode()
        assert hashlib.sha256(line.replace(member, b"")).hexdigest() == msgspec.json.decode(line)["hash"]
        assert msgspec.json.decode(line)["prev"] == msgspec.json.decode(header)["hash"]
        assert msgspec.convert(msgspec.json.decode(line)["record"], AuditRecord) == record()
        assert msgspec.json.decode(line)["record"]["encryptionContext"] == {"tenant": "ä\n\u2028"}

    async def test_append_returns_only_after_its_sync(self, directory: Path, disk: Disk) -> None:
        journal = opened(directory)
        for number in range(5):
            disk.calls.clear()
            await journal.append(record(number))
            assert disk.calls == ["write", "fdatasync"]
        disk.delay = 0.1
        append = asyncio.ensure_future(journal.append(record()))
        await asyncio.sleep(0.05)
        assert not append.done()
        assert journal.head.seq == 5
        assert await append == 6
        await journal.close()

    async def test_many_at_once_share_few_syncs(self, directory: Path, disk: Disk) -> None:
        journal = opened(directory)
        disk.delay = 0.005
        disk.calls.clear()
        assert sorted(await gather(journal, 200)) == list(range(1, 201))  # type: ignore[type-var]
        assert disk.calls.count("fdatasync") <= 4
        await journal.close()
        assert verify(directory).ok
        assert [item["requestId"][-3:] for item in records(directory)[1:]] == [f"{n:03}" for n in range(200)]

    async def test_the_event_loop_is_never_blocked_by_the_disk(self, directory: Path, disk: Disk) -> None:
        journal = opened(directory)
        disk.threads.clear()
        disk.delay = 0.5
        append = asyncio.ensure_future(journal.append(record()))
        longest, last = 0.0, time.monotonic()
        while not append.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert longest < 0.4
        assert threading.get_ident() not in disk.threads
        await journal.close()

    async def test_a_cancelled_append_takes_nobody_with_it_and_is_recorded(self, directory: Path, disk: Disk) -> None:
        journal = opened(directory)
        disk.delay = 0.05
        appends = [asyncio.ensure_future(journal.append(record(number))) for number in range(6)]
        await asyncio.sleep(0.01)
        for append in appends[::2]:
            append.cancel()
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError, int] * 3
        await journal.close()
        assert verify(directory).records == 7

    async def test_a_record_that_cannot_be_encoded_fails_alone(self, directory: Path) -> None:
        journal = opened(directory)
        for details in ({"x": object()}, {"x": "\ud800"}, {1.5j: 1}):
            with pytest.raises(AuditUnavailable, match="cannot be encoded"):
                await journal.append(record(details=details))
        assert await journal.append(record()) == 1
        await journal.close()
        assert verify(directory).ok

    async def test_close_waits_for_what_was_taken_in_and_refuses_more(self, directory: Path, disk: Disk) -> None:
        journal = opened(directory)
        disk.delay = 0.02
        appends = [asyncio.ensure_future(journal.append(record(number))) for number in range(10)]
        await asyncio.sleep(0)
        await asyncio.gather(journal.close(), journal.close())
        assert await asyncio.gather(*appends) == list(range(1, 11))
        with pytest.raises(AuditUnavailable, match="closed"):
            await journal.append(record())
        await journal.close()
        assert verify(directory).records == 11

    async def test_a_journal_that_is_not_open_refuses(self, directory: Path) -> None:
        with pytest.raises(AuditUnavailable, match="not open"):
            await AuditJournal(directory).append(record())

    async def test_opening_twice_is_a_mistake(self, directory: Path) -> None:
        journal = opened(directory)
        with pytest.raises(RuntimeError):
            journal.open()
        await journal.close()

    async def test_nobody_else_may_read_the_journal(self, directory: Path) -> None:
        before = os.umask(0)
        try:
            await filled(directory, 3, segment_bytes=1)
        finally:
            os.umask(before)
        for path in (directory, directory / "chain-0"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        for path in (directory / "chain-0").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_another_event_loop_may_take_over_an_idle_journal(self, directory: Path) -> None:
        journal = opened(directory)
        assert [asyncio.run(journal.append(record())) for _ in range(2)] == [1, 2]
        asyncio.run(journal.close())


class TestContinuing:
    async def test_the_chain_continues_over_reopening(self, directory: Path) -> None:
        await filled(directory, 3)
        journal = opened(directory)
        assert await journal.append(record()) == 4
        await journal.close()
        result = verify(directory)
        assert (result.ok, result.records, len(segments(directory))) == (True, 5, 1)

    async def test_the_chain_continues_over_segments_and_reopening(self, directory: Path) -> None:
        for _ in range(3):
            await filled(directory, 10, segment_bytes=1500)
        assert len(segments(directory)) > 5
        assert all(path.stat().st_size < 2500 for path in segments(directory))
        result = verify(directory)
        assert (result.ok, result.records) == (True, 30 + len(segments(directory)))
        headers = [msgspec.json.decode(path.read_bytes().splitlines()[0]) for path in segments(directory)]
        assert [header["record"]["segment"] for header in headers] == list(range(1, len(headers) + 1))
        assert all(header["record"]["previous"] == header["prev"] for header in headers)

    async def test_a_segment_fills_by_batches_under_load(self, directory: Path) -> None:
        journal = opened(directory, segment_bytes=2000)
        for _ in range(5):
            await gather(journal, 20)
        await journal.close()
        assert verify(directory).ok
        assert len(segments(directory)) > 1

    @pytest.mark.parametrize("kept", [1, 60, -1])
    async def test_a_torn_last_line_is_cut_off_and_noted(self, directory: Path, kept: int) -> None:
        await filled(directory, 3)
        path = segments(directory)[0]
        lines = path.read_bytes().splitlines(keepends=True)
        torn = lines[-1][:kept]
        path.write_bytes(b"".join(lines[:-1]) + torn)
        result = verify(directory)
        assert [str(bad) for bad in result.bad] == [f"{path}:4: the file ends in the middle of a record"]
        assert result.records == 3
        journal = opened(directory)
        assert await journal.append(record()) == 4
        await journal.close()
        assert verify(directory).ok
        note = {"note": "tailCut", "length": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
        assert records(directory)[3] == note

    @pytest.mark.parametrize("left", [0, 40])
    async def test_a_torn_header_is_written_again(self, directory: Path, left: int) -> None:
        await filled(directory, 3, segment_bytes=1)
        last = segments(directory)[-1]
        last.write_bytes(last.read_bytes()[:left])
        assert not verify(directory).ok
        journal = opened(directory)
        await journal.append(record())
        await journal.close()
        assert verify(directory).ok

    async def test_zeros_that_a_power_cut_left_at_the_end_are_a_torn_line(self, directory: Path) -> None:
        await filled(directory, 3)
        with segments(directory)[0].open("ab") as file:
            file.write(bytes(4096))
        journal = opened(directory)
        await journal.append(record())
        await journal.close()
        assert verify(directory).ok

    async def test_any_other_damage_refuses_to_open_and_names_file_and_line(self, directory: Path) -> None:
        await filled(directory, 5)
        path = segments(directory)[0]
        path.write_bytes(path.read_bytes().replace(b"000000000002", b"000000000009"))
        journal = AuditJournal(directory)
        with pytest.raises(StoreDamaged, match=rf"{path}:4: the content does not match its hash"):
            journal.open()
        with pytest.raises(AuditUnavailable):
            await journal.append(record())
        assert not held(directory / "chain-0")

    @pytest.mark.parametrize("damage", ["missing", "edited", "cut"])
    async def test_a_damaged_earlier_segment_refuses_to_open(self, directory: Path, damage: str) -> None:
        await filled(directory, 4, segment_bytes=1)
        victim = segments(directory)[-2]
        if damage == "missing":
            victim.unlink()
        elif damage == "edited":
            victim.write_bytes(victim.read_bytes().replace(b"Encrypt", b"Decrypt"))
        else:
            victim.write_bytes(victim.read_bytes()[:-1])
        with pytest.raises(StoreDamaged, match=victim.name):
            opened(directory)

    async def test_a_last_segment_that_belongs_elsewhere_refuses_to_open(self, directory: Path) -> None:
        await filled(directory, 4, segment_bytes=1)
        first, *_, last = segments(directory)
        last.write_bytes(first.read_bytes())
        with pytest.raises(StoreDamaged, match=rf"{last}:1"):
            opened(directory)

    def test_a_directory_that_cannot_be_used_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(AuditUnavailable, match="cannot be opened"):
            opened(tmp_path / "file" / "audit")


def held(chain: Path) -> bool:
    with (chain / "lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


class TestFailingClosed:
    async def fail(self, journal: AuditJournal, count: int = 20) -> None:
        """All of a batch, all that was collecting behind it, and all later ones fail."""
        results = await gather(journal, count)
        assert all(isinstance(result, AuditUnavailable) for result in results), results
        with pytest.raises(AuditUnavailable):
            await journal.append(record())

    @pytest.mark.parametrize("room", [0, 1, 100, 3000])
    async def test_a_full_disk_fails_all_and_leaves_no_part_of_them(
        self, directory: Path, disk: Disk, room: int
    ) -> None:
        journal = opened(directory)
        await journal.append(record())
        before = segments(directory)[0].read_bytes()
        disk.write_limit = room
        disk.delay = 0.01
        results = await gather(journal, 20)
        assert isinstance(results[-1], AuditUnavailable)
        assert "No space left" in str(results[-1])
        kept = sum(isinstance(result, int) for result in results)
        disk.write_limit = None
        with pytest.raises(AuditUnavailable):
            await journal.append(record())
        assert segments(directory)[0].read_bytes().startswith(before)
        assert verify(directory).records == 2 + kept

        journal.open()
        assert await journal.append(record()) == 2 + kept
        await journal.close()
        assert verify(directory).ok

    async def test_short_writes_are_completed(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        journal = opened(directory)
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:100]))
        await gather(journal, 20)
        await journal.close()
        assert verify(directory).records == 21

    async def test_a_failed_sync_fails_all_and_takes_the_records_back(self, directory: Path, disk: Disk) -> None:
        journal = opened(directory)
        await journal.append(record())
        before = segments(directory)[0].read_bytes()
        disk.failing["fdatasync"] = errno.EIO
        await self.fail(journal)
        assert segments(directory)[0].read_bytes() == before
        disk.failing.clear()
        await self.still_failed(journal)
        journal.open()
        assert await journal.append(record()) == 2
        await journal.close()
        assert verify(directory).ok

    async def still_failed(self, journal: AuditJournal) -> None:
        with pytest.raises(AuditUnavailable, match="Input/output error"):
            await journal.append(record())

    async def test_a_segment_that_cannot_be_begun_fails_all_and_reopens(self, directory: Path, disk: Disk) -> None:
        for failing in ("write", "fsync", "fdatasync"):
            journal = opened(directory, segment_bytes=1)
            await journal.append(record())
            disk.failing[failing] = errno.EIO
            results = await gather(journal, 5)
            assert all(isinstance(result, AuditUnavailable) for result in results)
            disk.failing.clear()
            await journal.close()
            again = opened(directory, segment_bytes=1)
            await again.append(record())
            await again.close()
            assert verify(directory).ok

    @pytest.mark.parametrize("then", ["ftruncate", "fsync"])
    async def test_a_failure_that_cannot_be_taken_back_is_for_good(
        self, directory: Path, disk: Disk, then: str
    ) -> None:
        journal = opened(directory)
        disk.failing = {"fdatasync": errno.EIO, then: errno.EIO}
        await self.fail(journal)
        disk.failing.clear()
        with pytest.raises(AuditUnavailable, match="check the disk"):
            journal.open()
        await journal.close()

    async def test_closing_during_a_failure_ends(self, directory: Path, disk: Disk) -> None:
        journal = opened(directory)
        disk.delay = 0.02
        disk.failing["fdatasync"] = errno.EIO
        appends = [asyncio.ensure_future(journal.append(record())) for _ in range(5)]
        await asyncio.sleep(0)
        await journal.close()
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert all(isinstance(result, AuditUnavailable) for result in results)


class TestSharing:
    async def test_journals_that_share_a_directory_get_chains_of_their_own(self, directory: Path) -> None:
        journals = [opened(directory) for _ in range(3)]
        assert [journal.chain for journal in journals] == ["chain-0", "chain-1", "chain-2"]
        assert [await journal.append(record()) for journal in journals] == [1, 1, 1]
        await journals[1].close()
        again = opened(directory)
        assert again.chain == "chain-1"
        assert await again.append(record()) == 2
        for journal in (journals[0], again, journals[2]):
            await journal.close()
        result = verify(directory)
        assert (result.ok, result.records, set(result.heads)) == (True, 7, {"chain-0", "chain-1", "chain-2"})

    def test_another_process_gets_another_chain_and_a_killed_one_gives_it_back(self, directory: Path) -> None:
        program = (
            "import sys, time; from pathlib import Path; from controlplane.audit.journal import AuditJournal\n"
            "journal = AuditJournal(Path(sys.argv[1])); journal.open()\n"
            "print(journal.chain, flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"chain-0\n"
            mine = opened(directory)
            assert mine.chain == "chain-1"
            other.kill()
        third = opened(directory)
        assert third.chain == "chain-0"
        asyncio.run(mine.close())
        asyncio.run(third.close())
        assert verify(directory).ok

    async def test_verify_runs_beside_a_writer(self, directory: Path) -> None:
        journal = opened(directory, segment_bytes=5000)
        writing = asyncio.ensure_future(gather(journal, 500))
        while not writing.done():
            assert (await asyncio.to_thread(verify, directory)).ok
        with segments(directory)[-1].open("ab") as file:  # as it looks in the middle of a write
            file.write(b'{"seq":')
        assert verify(directory).ok
        await journal.close()
        assert not verify(directory).ok
