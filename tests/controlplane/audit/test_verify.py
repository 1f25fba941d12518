"""Whatever is done to the files of a journal is found, and the first bad record is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.audit.records import Head
from controlplane.audit.verifying import verify
from tests.controlplane.audit.journals import filled, gather, opened, record, segments, short_record


class TestVerify:
    @pytest.fixture
    async def journal(self, directory: Path) -> Path:
        """Three segments: header and two records, twice, then header and one."""
        await filled(directory, 5, make=short_record, segment_bytes=600)
        assert [len(path.read_bytes().splitlines()) for path in segments(directory)] == [3, 3, 2]
        return directory

    async def test_every_single_byte_edit_is_found_and_named(self, journal: Path) -> None:
        for number, path in enumerate(segments(journal)):
            good = path.read_bytes()
            line = 1
            for position, byte in enumerate(good):
                for changed in {byte ^ 1, 0x0A} - {byte}:
                    path.write_bytes(good[:position] + bytes([changed]) + good[position + 1 :])
                    (bad,) = verify(journal).bad
                    # an edited line end is seen where the two lines are read as one
                    assert (bad.file, bad.line) == (str(path), line), (number, position, changed)
                line += byte == 0x0A
            path.write_bytes(good)
        assert verify(journal).ok

    async def test_every_inserted_or_removed_byte_is_found(self, journal: Path) -> None:
        path = segments(journal)[1]
        good = path.read_bytes()
        for position in range(len(good)):
            for piece in (b"", good[position : position + 1] + b" "):
                path.write_bytes(good[:position] + piece + good[position + 1 :])
                assert not verify(journal).ok

    async def test_every_removed_record_is_found_unless_it_is_the_last(self, journal: Path) -> None:
        head = verify(journal).heads["chain-0"]
        for path in segments(journal):
            good = path.read_bytes().splitlines(keepends=True)
            for index in range(len(good)):
                path.write_bytes(b"".join(good[:index] + good[index + 1 :]))
                last = path == segments(journal)[-1] and index == len(good) - 1
                assert verify(journal).ok == last
                assert not verify(journal, anchors={"chain-0": head}).ok
            path.write_bytes(b"".join(good))

    async def test_every_two_records_that_change_places_are_found(self, journal: Path) -> None:
        for path in segments(journal):
            good = path.read_bytes().splitlines(keepends=True)
            for one in range(len(good)):
                for two in range(one + 1, len(good)):
                    turned = list(good)
                    turned[one], turned[two] = turned[two], turned[one]
                    path.write_bytes(b"".join(turned))
                    (bad,) = verify(journal).bad
                    assert bad.line == one + 1
                    assert "reordered" in bad.why
            path.write_bytes(b"".join(good))

    async def test_every_repeated_record_is_found(self, journal: Path) -> None:
        for path in segments(journal):
            good = path.read_bytes().splitlines(keepends=True)
            for index, line in enumerate(good):
                path.write_bytes(b"".join([*good[: index + 1], line, *good[index + 1 :]]))
                (bad,) = verify(journal).bad
                assert (bad.line, "inserted" in bad.why) == (index + 2, True)
            path.write_bytes(b"".join(good))

    async def test_every_truncation_is_found_unless_it_takes_whole_records_from_the_end(self, journal: Path) -> None:
        head = verify(journal).heads["chain-0"]
        for path in segments(journal):
            good = path.read_bytes()
            last = path == segments(journal)[-1]
            for size in range(len(good)):
                path.write_bytes(good[:size])
                whole = size > 0 and good[size - 1] == 0x0A
                assert verify(journal).ok == (last and whole)
                assert not verify(journal, anchors={"chain-0": head}).ok
            path.write_bytes(good)

    async def test_a_missing_or_exchanged_segment_is_found(self, journal: Path) -> None:
        first, second, third = segments(journal)
        contents = [path.read_bytes() for path in (first, second, third)]
        for path, content in zip((first, second), contents, strict=False):
            path.unlink()
            (bad,) = verify(journal).bad
            assert path.name in bad.why
            path.write_bytes(content)
        second.write_bytes(contents[2])
        third.write_bytes(contents[1])
        (bad,) = verify(journal).bad
        assert (bad.file, bad.line) == (str(second), 1)

    async def test_the_first_bad_record_of_each_chain_is_named(self, directory: Path) -> None:
        journals = [opened(directory), opened(directory)]
        for journal in journals:
            await gather(journal, 5)
            await journal.close()
        for chain, edited in (("chain-0", b"0003"), ("chain-1", b"0001")):
            (path,) = segments(directory, chain)
            path.write_bytes(path.read_bytes().replace(edited, b"9999"))
        result = verify(directory)
        assert [(Path(bad.file).parent.name, bad.line) for bad in result.bad] == [("chain-0", 5), ("chain-1", 3)]
        assert {name: head.seq for name, head in result.heads.items()} == {"chain-0": 3, "chain-1": 1}
        assert result.records == 6

    async def test_a_removed_or_renamed_chain_is_found(self, directory: Path) -> None:
        journals = [opened(directory), opened(directory)]
        for journal in journals:
            await journal.append(record())
            await journal.close()
        (directory / "chain-0").rename(directory / "aside")
        assert str(verify(directory).bad[0]) == f"{directory / 'chain-0'}: the chain has no segments"
        (directory / "chain-1").rename(directory / "chain-0")
        assert "not the header of segment 1 of chain-0" in verify(directory).bad[0].why
        assert len(verify(directory, anchors={"chain-1": journals[1].head}).bad) == 2

    async def test_a_chain_that_was_recomputed_is_found_by_an_anchor(self, directory: Path) -> None:
        await filled(directory, 3)
        anchors = verify(directory).heads
        segments(directory)[0].unlink()
        journal = opened(directory)
        for number in range(5):
            await journal.append(record(number, principal="arn:aws:iam::000000000000:user/mallory"))
        await journal.close()
        assert verify(directory).ok
        (bad,) = verify(directory, anchors=anchors).bad
        assert (bad.line, bad.why) == (4, "not the record that was anchored: recomputed")

    async def test_an_anchor_of_a_chain_that_went_on_holds(self, directory: Path) -> None:
        await filled(directory, 3)
        anchors = verify(directory).heads
        await filled(directory, 3)
        assert verify(directory, anchors=anchors).ok
        assert anchors == {"chain-0": Head(3, anchors["chain-0"].hash)}

    def test_no_journal_is_not_a_good_journal(self, directory: Path) -> None:
        assert str(verify(directory).bad[0]) == f"{directory}: there is no audit journal here"
        directory.mkdir()
        assert not verify(directory).ok

    async def test_what_is_not_a_journals_file_is_left_alone(self, journal: Path) -> None:
        (journal / "chain-old").mkdir()
        (journal / "chain-0" / "README").write_text("hello")
        assert verify(journal).ok
