"""Signed checkpoints: a chain that was cut, made anew or signed by somebody else is found; archives keep it so."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.audit import checkpoints
from controlplane.audit.archiving import archive
from controlplane.audit.chain import ARCHIVED
from controlplane.audit.checkpoints import Checkpoint, Statement
from controlplane.audit.journal import AuditJournal
from controlplane.audit.reading import JournalReader, Query
from controlplane.audit.records import Head
from controlplane.audit.verifying import verify
from controlplane.errors import AlreadyExists, InvalidInput, StoreDamaged
from tests.controlplane.audit.journals import filled, opened, record, segments


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


class Signer:
    """Signs as the server does, with a key of its own."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def make(self, chain: Path, head: Head, *, chains: tuple[str, ...] = ("chain-0",)) -> Checkpoint:
        before = checkpoints.latest(chain)
        statement = msgspec.json.encode(
            Statement(
                time=datetime(2026, 1, 1, tzinfo=UTC),
                chain=chain.name,
                head=head,
                chains=chains,
                previous=before.digest if before is not None else checkpoints.FIRST,
                public_key=self.public_key,
            )
        )
        return Checkpoint(msgspec.Raw(statement), self._key.sign(checkpoints.to_sign(statement)))

    def sign(self, journal: AuditJournal, **more: tuple[str, ...]) -> Checkpoint:
        made = self.make(journal.directory, journal.head, **more)
        checkpoints.append(journal.directory, made)
        return made


@pytest.fixture
def signer() -> Signer:
    return Signer()


async def signed(
    directory: Path, signer: Signer, counts: tuple[int, ...], *, segment_bytes: int = 2**26
) -> list[Checkpoint]:
    """Records with a checkpoint after each count of them, and at the end of each full segment."""
    journal = opened(directory, segment_bytes=segment_bytes)
    made = []
    for count in counts:
        for number in range(count):
            await journal.append(record(number))
            for end in journal.ends():
                if end.seq > (made[-1].said.head.seq if made else -1):
                    made.append(signer.make(journal.directory, end))
                    checkpoints.append(journal.directory, made[-1])
        made.append(signer.sign(journal))
    await journal.close()
    return made


def cut(directory: Path, lines: int) -> None:
    """Take whole lines from the end of the last segment."""
    path = segments(directory)[-1]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))


async def test_what_is_signed_verifies_with_its_key_and_with_none_given(directory: Path, signer: Signer) -> None:
    await signed(directory, signer, (3, 4))
    for key in (None, signer.public_key):
        result = verify(directory, public_key=key)
        assert (result.bad, result.checkpoints, result.signed) == ((), 2, {"chain-0": 7})


async def test_records_cut_off_the_end_are_found(directory: Path, signer: Signer) -> None:
    await signed(directory, signer, (3, 4))
    cut(directory, 1)
    (bad,) = verify(directory).bad
    assert str(bad).endswith("segment-00000001.jsonl: the chain ends at record 6; it had 7")


async def test_the_end_cut_off_with_its_checkpoint_is_found_by_one_that_was_kept_elsewhere(
    directory: Path, signer: Signer
) -> None:
    *_, last = await signed(directory, signer, (3, 4))
    cut(directory, 4)
    file = directory / "chain-0" / checkpoints.FILE
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    assert verify(directory, public_key=signer.public_key).ok
    (bad,) = verify(directory, public_key=signer.public_key, saved=[last]).bad
    assert "ends at record 3; it had 7" in bad.why


async def test_a_chain_that_was_made_anew_is_found_at_the_first_record_that_differs(
    directory: Path, tmp_path: Path, signer: Signer
) -> None:
    await signed(directory, signer, (3, 4))
    await filled(tmp_path / "forged", 7, make=lambda number: record(number, principal="arn:aws:iam::1:user/mallory"))
    shutil.copy(segments(tmp_path / "forged")[0], segments(directory)[0])
    (bad,) = verify(directory).bad
    assert (bad.line, bad.why) == (4, "not the record that was anchored: recomputed")


@pytest.mark.parametrize("what", ["edited", "removed", "swapped", "garbage", "of another chain"])
async def test_a_checkpoint_that_was_touched_is_named_by_its_line(directory: Path, signer: Signer, what: str) -> None:
    await signed(directory, signer, (2, 2, 2))
    file = directory / "chain-0" / checkpoints.FILE
    one, two, three = file.read_bytes().splitlines(keepends=True)
    changed, line = {
        "edited": ([one, two.replace(b"2026", b"2027"), three], 2),
        "removed": ([one, three], 2),
        "swapped": ([two, one, three], 1),
        "garbage": ([one, b"{}\n", three], 2),
        "of another chain": ([one.replace(b'"chain":"chain-0"', b'"chain":"chain-1"'), two, three], 1),
    }[what]
    file.write_bytes(b"".join(changed))
    (bad,) = verify(directory).bad
    assert (bad.file, bad.line) == (str(file), line)


async def test_checkpoints_of_another_key_are_refused(directory: Path, signer: Signer) -> None:
    await signed(directory, signer, (2,))
    (bad,) = verify(directory, public_key=Signer().public_key).bad
    assert "names another key than it should" in bad.why
    journal = opened(directory)
    await journal.append(record())
    Signer().sign(journal)  # a stranger goes on
    await journal.close()
    (bad,) = verify(directory).bad
    assert bad.line == 2
    assert "restored from before the key was made" in bad.why


async def test_checkpoints_that_were_all_removed_are_missed_by_whoever_has_the_key(
    directory: Path, signer: Signer
) -> None:
    await signed(directory, signer, (2,))
    (directory / "chain-0" / checkpoints.FILE).unlink()
    result = verify(directory)
    assert (result.ok, result.checkpoints) == (True, 0)
    assert not verify(directory, public_key=signer.public_key).ok


async def test_a_chain_that_was_taken_away_is_missed(directory: Path, signer: Signer) -> None:
    first, second = opened(directory), opened(directory)
    await second.append(record())
    signer.sign(first, chains=("chain-0", "chain-1"))
    await first.close()
    await second.close()
    shutil.rmtree(directory / "chain-1")
    assert ["chain-1" in bad.file for bad in verify(directory).bad] == [True]


async def test_a_checkpoint_that_a_crash_left_unfinished_is_written_over(directory: Path, signer: Signer) -> None:
    await signed(directory, signer, (2,))
    file = directory / "chain-0" / checkpoints.FILE
    with file.open("ab") as torn:
        torn.write(b'{"statement":{"time"')
    assert verify(directory).ok
    journal = opened(directory)
    await journal.append(record())
    signer.sign(journal)
    await journal.close()
    result = verify(directory)
    assert (result.bad, result.checkpoints) == ((), 2)


async def test_the_latest_checkpoint_is_found_among_many(directory: Path, signer: Signer) -> None:
    made = await signed(directory, signer, (1,) * 300)
    assert (directory / "chain-0" / checkpoints.FILE).stat().st_size > 100_000
    assert checkpoints.latest(directory / "chain-0") == made[-1]
    assert checkpoints.latest(directory / "chain-1") is None


def test_a_public_key_is_read_in_pem_and_der_and_no_other_key_is(signer: Signer) -> None:
    assert checkpoints.load_public_key(signer.public_key) == signer.public_key
    assert checkpoints.load_public_key(checkpoints.pem(signer.public_key).encode()) == signer.public_key
    for content in (b"", b"x", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(InvalidInput, match="no public key of Ed25519"):
            checkpoints.load_public_key(content)


class TestArchiving:
    async def test_what_is_archived_is_gone_here_and_both_verify(
        self, directory: Path, tmp_path: Path, signer: Signer
    ) -> None:
        await signed(directory, signer, (30,), segment_bytes=2000)
        before = len(segments(directory))
        whole = verify(directory)
        moved = archive(directory, tmp_path / "archive", keep=2)
        assert (moved.segments, moved.waiting) == (before - 3, 0)
        assert len(segments(directory)) == 3
        result = verify(directory, public_key=signer.public_key)
        assert result.ok
        assert result.archived == {"chain-0": whole.records - result.records}
        together = verify(directory, archives=[tmp_path / "archive"])
        assert (together.ok, together.records, together.archived) == (True, whole.records, {})
        assert archive(directory, tmp_path / "archive", keep=2).segments == 0

    async def test_the_chain_goes_on_and_is_read_from_where_it_begins(
        self, directory: Path, tmp_path: Path, signer: Signer
    ) -> None:
        await signed(directory, signer, (30,), segment_bytes=2000)
        archive(directory, tmp_path / "archive", keep=0)
        journal = opened(directory, segment_bytes=2000)
        for number in range(30, 60):
            await journal.append(record(number))
        await journal.close()
        assert verify(directory).ok
        found = {entry.record.request_id for entry in JournalReader(directory).query(Query(), limit=1000).items}
        assert record(59).request_id in found
        assert record(0).request_id not in found
        oldest = JournalReader(directory).query(Query(), limit=1000, newest_first=False).items
        assert {entry.record.request_id for entry in oldest} == found

    async def test_a_segment_without_a_checkpoint_stays(self, directory: Path, tmp_path: Path, signer: Signer) -> None:
        await filled(directory, 20, segment_bytes=1500)
        moved = archive(directory, tmp_path / "archive", keep=0)
        assert (moved.segments, moved.waiting) == (0, len(segments(directory)) - 1)
        assert not (tmp_path / "archive").exists()

    async def test_a_beginning_that_was_thrown_away_is_found(
        self, directory: Path, tmp_path: Path, signer: Signer
    ) -> None:
        await signed(directory, signer, (30,), segment_bytes=2000)
        first, second, *_ = segments(directory)
        header = msgspec.json.decode(second.read_bytes().splitlines()[0])
        first.unlink()
        assert "is missing" in verify(directory).bad[0].why
        said = {"segment": 1, "seq": header["seq"], "hash": header["prev"]}
        (directory / "chain-0" / ARCHIVED).write_bytes(msgspec.json.encode(said))
        assert verify(directory).ok  # as if it had been archived: a checkpoint vouches for the place
        (directory / "chain-0" / ARCHIVED).write_bytes(msgspec.json.encode({**said, "hash": "0" * 64}))
        assert "no checkpoint vouches" in verify(directory).bad[0].why

    async def test_an_archive_with_another_file_of_that_name_is_not_written_over(
        self, directory: Path, tmp_path: Path, signer: Signer
    ) -> None:
        await signed(directory, signer, (30,), segment_bytes=2000)
        there = tmp_path / "archive" / "chain-0" / "segment-00000001.jsonl"
        there.parent.mkdir(parents=True)
        there.write_text("somebody's")
        with pytest.raises(AlreadyExists, match="another file"):
            archive(directory, tmp_path / "archive")
        assert there.read_text() == "somebody's"
        assert verify(directory).ok

    async def test_a_run_that_was_killed_between_the_steps_is_finished_by_the_next(
        self, directory: Path, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await signed(directory, signer, (30,), segment_bytes=2000)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", lambda *_, **__: None)  # it died before it removed anything
            moved = archive(directory, tmp_path / "archive")
        assert moved.segments > 2
        assert verify(directory).ok
        archive(directory, tmp_path / "archive")
        assert len(segments(directory)) == 2
        assert verify(directory, archives=[tmp_path / "archive"]).ok

    async def test_a_damaged_checkpoint_stops_it(self, directory: Path, tmp_path: Path, signer: Signer) -> None:
        await signed(directory, signer, (30,), segment_bytes=2000)
        file = directory / "chain-0" / checkpoints.FILE
        file.write_bytes(file.read_bytes().replace(b"2026", b"2027"))
        with pytest.raises(StoreDamaged, match="does not verify"):
            archive(directory, tmp_path / "archive")
