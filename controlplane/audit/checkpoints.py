"""Signed checkpoints: what the head of a chain was at a moment, by a key that whoever edits the files lacks.

Who calls it: ``access.checkpointing`` makes them, ``verifying`` checks them. Guarantees: a checkpoint names the one
before it, so one that was taken out is missed; a statement is signed as the bytes that stand in the file.

A line of ``chain-N/checkpoints.jsonl`` is ``{"statement":{...},"signature":"BASE64"}``. What is signed is the label
``keystead/audit-checkpoint/v1``, a zero octet, and the statement's bytes. The hash of a chain's record covers all that
came before it, so one signature vouches for everything up to its record. What a checkpoint cannot show is that there
was a later one: keep one elsewhere from time to time (``keystead audit checkpoint``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from controlplane.audit.chain import sync_directory
from controlplane.audit.records import BadRecord, Head
from controlplane.errors import InvalidInput

FILE: Final = "checkpoints.jsonl"
LABEL: Final = b"keystead/audit-checkpoint/v1\x00"
FIRST: Final = "0" * 64
_TAIL: Final = 65_536

PublicKey = ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey


class Statement(msgspec.Struct, frozen=True, rename="camel"):
    """What is signed: the head of a chain, the chains beside it, the key (SPKI in DER), the checkpoint before."""

    time: datetime
    chain: str
    head: Head
    chains: tuple[str, ...]
    previous: str
    public_key: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """One signed statement, as it stands in the file and as ``keystead audit checkpoint`` saves it."""

    statement: msgspec.Raw
    signature: bytes

    @property
    def said(self) -> Statement:
        """The statement. Raises ``msgspec.DecodeError`` if it is none."""
        return _statement(self.statement)

    @property
    def digest(self) -> str:
        """What the next checkpoint names as the one before it."""
        return hashlib.sha256(bytes(self.statement) + self.signature).hexdigest()


class Checkpoints(msgspec.Struct, frozen=True, rename="camel"):
    """The last checkpoint of each chain, and the public key (PEM) that they verify with."""

    public_key: str
    checkpoints: tuple[Checkpoint, ...]


# Made here and not when they are first used: see `chain`.
_statement = msgspec.json.Decoder(Statement).decode
_checkpoint = msgspec.json.Decoder(Checkpoint).decode


def to_sign(statement: bytes) -> bytes:
    """The bytes that are signed for a statement's bytes."""
    return LABEL + statement


def append(chain: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint durably, over what a crash left of an unfinished one. Blocks; raises ``OSError``."""
    line = msgspec.json.encode(checkpoint) + b"\n"
    descriptor = os.open(chain / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        whole = _whole(file)
        file.truncate(whole)
        file.seek(whole)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    if whole == 0:
        sync_directory(chain)


def _whole(file: BinaryIO) -> int:
    """The size without an unfinished last line."""
    reach = file.seek(0, os.SEEK_END)
    while reach:
        start = max(0, reach - _TAIL)
        file.seek(start)
        cut = file.read(reach - start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        reach = start
    return 0


def read(chain: Path) -> Iterator[tuple[int, Checkpoint | None]]:
    """Line numbers from 1, and what stands there: None for a line that is no checkpoint. A torn last line is none at
    all: nobody was told of it."""
    try:
        file = (chain / FILE).open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield number, _decoded(line)


def latest(chain: Path) -> Checkpoint | None:
    """The last checkpoint of a chain; None if there is none, or if it does not decode."""
    try:
        with (chain / FILE).open("rb") as file:
            whole = _whole(file)
            reach, tail = whole, b""
            while reach and tail.count(b"\n") < 2:  # until the last line is whole: it begins inside what was read
                reach = max(0, reach - _TAIL)
                file.seek(reach)
                tail = file.read(whole - reach)
    except FileNotFoundError:
        return None
    return _decoded(tail.splitlines(keepends=True)[-1]) if tail else None


def _decoded(line: bytes) -> Checkpoint | None:
    try:
        checkpoint = _checkpoint(line)
        _ = checkpoint.said
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Checkpoint(checkpoint.statement.copy(), checkpoint.signature)  # Raw points into the line, which goes


def pem(public_key: bytes) -> str:
    """A public key (SPKI in DER) as OpenSSL and people read it."""
    key = load_der_public_key(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def load_public_key(content: bytes) -> bytes:
    """A public key in PEM or DER as SPKI in DER. Raises :class:`InvalidInput` if it is none that signs checkpoints."""
    try:
        key = load_pem_public_key(content) if content.lstrip().startswith(b"-----") else load_der_public_key(content)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, PublicKey):
        raise InvalidInput("this is no public key of Ed25519 or ML-DSA in PEM or DER")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signed_by(checkpoint: Checkpoint, public_key: bytes) -> bool:
    """Whether the key (SPKI in DER) signed it."""
    key = load_der_public_key(public_key)
    if not isinstance(key, PublicKey):
        return False
    try:
        key.verify(checkpoint.signature, to_sign(bytes(checkpoint.statement)))
    except InvalidSignature:
        return False
    return True


class Checked(msgspec.Struct):
    """What the checkpoints of a chain vouch for, and the first one that is wrong."""

    anchors: dict[int, str]
    count: int = 0
    last: Statement | None = None
    public_key: bytes | None = None
    bad: BadRecord | None = None


def check(
    chain: Path, public_key: bytes | None, saved: Sequence[Checkpoint] = (), *, demanded: bool = False
) -> Checked:
    """Check the checkpoints of a chain. Without ``public_key`` the first one's key is believed, for want of a better.

    ``demanded``: there has to be one. ``saved`` are checkpoints that were kept elsewhere: each must be of that key,
    too, and anchors its chain.
    """
    checked = Checked({}, public_key=public_key)
    previous = FIRST
    path = str(chain / FILE)
    for number, checkpoint in read(chain):
        why = "this is not a checkpoint: edited"
        if checkpoint is not None:
            said = checkpoint.said
            if checked.public_key is None:
                checked.public_key = said.public_key
            why = _why(checkpoint, said, chain.name, previous, checked)
        if why or checkpoint is None:
            checked.bad = BadRecord(path, number, why)
            return checked
        said = checkpoint.said
        checked.anchors[said.head.seq] = said.head.hash
        checked.count, checked.last, previous = number, said, checkpoint.digest
    if demanded and checked.last is None:
        checked.bad = BadRecord(path, 0, "no checkpoint is here: they were removed")
        return checked
    for kept in saved:
        said = kept.said
        if said.chain != chain.name:
            continue
        if checked.public_key is not None and not signed_by(kept, checked.public_key):
            checked.bad = BadRecord(path, 0, "a checkpoint that was kept elsewhere is not of the key of this journal")
            return checked
        if checked.anchors.setdefault(said.head.seq, said.head.hash) != said.head.hash:
            checked.bad = BadRecord(path, 0, "a checkpoint that was kept elsewhere differs: the chain was recomputed")
            return checked
    return checked


def _why(checkpoint: Checkpoint, said: Statement, chain: str, previous: str, checked: Checked) -> str:
    """What is wrong with a checkpoint, or the empty string."""
    if said.public_key != checked.public_key:
        return (
            "this checkpoint names another key than it should: the journal went on under a database that did not have "
            "its key, such as one restored from before the key was made, or somebody signed it anew"
        )
    if not signed_by(checkpoint, said.public_key):
        return "the signature of this checkpoint does not verify: edited, or made with another key"
    if said.chain != chain:
        return f"this checkpoint is of {said.chain}"
    if said.previous != previous:
        return "this checkpoint does not follow the one before it: one was removed or reordered"
    return ""
