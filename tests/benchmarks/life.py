"""The life of key material: import of each kind, a look at all copies of many tokens, the sweep over many due times.

Imports go through the KMS door of a server process with one client, one after the other, so a figure is the whole way
of one import. The copies and the due times are measured in this process, on the real store.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from controlplane import server
from controlplane.cli.wrapping import wrap
from controlplane.clock import Clock, ManualClock
from controlplane.domain.capabilities import complete
from controlplane.reconcile.duetimes import DueTimes
from controlplane.schema.imports import WrappingAlgorithm, WrappingSpec
from controlplane.schema.keys import DesiredKey, RotationSpec
from controlplane.schema.keystores import STANDARD
from controlplane.settings import dev_settings
from controlplane.store import keys
from controlplane.store.copies import Copy
from controlplane.store.database import Database, Tx
from controlplane.store.safekeeping import Safekeeping
from tests.benchmarks import figures, machine, seed, servers
from tests.benchmarks.figures import Figure

HYBRID = WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256
DIRECTORIES = 3
TOGETHER = 1_000
SWEEP_AIM_MILLISECONDS = 50.0


def run(*, quick: bool) -> list[Figure]:
    return [
        *_imports(5 if quick else 20),
        *_copies(1_000 if quick else 10_000),
        *_sweep(5_000 if quick else 100_000),
    ]


# ---- import ----------------------------------------------------------------------------------------------------------


def _imports(rounds: int) -> list[Figure]:
    said = []
    with servers.directory() as work, servers.keystead(work / "data", core=machine.server_core()) as ours:
        kms = ours.kms()
        for size in WrappingSpec:
            took = []
            for _ in range(rounds):
                key = _new_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
                start = time.perf_counter()
                kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=HYBRID.value, WrappingKeySpec=size.value)
                took.append((time.perf_counter() - start) * 1e3)
            said.append(figures.median(f"GetParametersForImport, {size.value}", took, "ms"))
        for spec, usage, material in _materials():
            took = [_import(kms, spec, usage, material) for _ in range(rounds)]
            said.append(figures.median(f"ImportKeyMaterial, {spec}", took, "ms"))
    return said


def _materials() -> list[tuple[str, str, bytes]]:
    def pkcs8(private: Any) -> bytes:
        coding = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
        return bytes(private.private_bytes(*coding, serialization.NoEncryption()))

    return [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", bytes(range(32))),
        ("HMAC_512", "GENERATE_VERIFY_MAC", bytes(range(64))),
        ("RSA_2048", "SIGN_VERIFY", pkcs8(rsa.generate_private_key(65_537, 2048))),
        ("RSA_4096", "SIGN_VERIFY", pkcs8(rsa.generate_private_key(65_537, 4096))),
        ("ECC_NIST_P256", "SIGN_VERIFY", pkcs8(ec.generate_private_key(ec.SECP256R1()))),
        ("ECC_NIST_P521", "SIGN_VERIFY", pkcs8(ec.generate_private_key(ec.SECP521R1()))),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", pkcs8(ed25519.Ed25519PrivateKey.generate())),
        ("ML_DSA_65", "SIGN_VERIFY", pkcs8(mldsa.MLDSA65PrivateKey.generate())),
    ]


def _new_key(kms: Any, spec: str, usage: str) -> str:
    return str(kms.create_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"])


def _import(kms: Any, spec: str, usage: str, material: bytes) -> float:
    """Milliseconds of one upload; making the key, the parameters and the wrapping are not in it."""
    key = _new_key(kms, spec, usage)
    given = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=HYBRID.value, WrappingKeySpec="RSA_2048")
    wrapped = wrap(given["PublicKey"], HYBRID, material)
    start = time.perf_counter()
    kms.import_key_material(
        KeyId=key,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=wrapped,
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    return (time.perf_counter() - start) * 1e3


# ---- copies ----------------------------------------------------------------------------------------------------------


def _copies(tokens: int) -> list[Figure]:
    with servers.directory() as work:
        seed.key_ids(work / "data", tokens)
        return asyncio.run(_looks(work, tokens))


async def _looks(work: Path, tokens: int) -> list[Figure]:
    database = Database(work / "data" / server.DATABASE_FILE)
    database.open()
    places = [Copy(work / f"copy-{number}") for number in range(DIRECTORIES)]
    safekeeping = Safekeeping(places, Clock())
    safekeeping.open("benchmark")
    database.protect(safekeeping)

    async def look(*, repair: bool) -> float:
        start = time.perf_counter()
        report = await safekeeping.look(database, repair=repair)
        took = time.perf_counter() - start
        if report.tokens < tokens or not (report.sound or repair):
            raise RuntimeError(f"a look at {report.tokens} tokens left the copies as they were: {report}")
        return took

    try:
        told = f"{tokens:,} tokens in the database and {DIRECTORIES} directories"
        start = time.perf_counter()
        await database.write(lambda _: None)  # what was made without the directories is written to them now
        filled = Figure(f"{told}: filled", time.perf_counter() - start, "s")
        await safekeeping.look(database, repair=True)  # and what was made before that
        looked = figures.median(f"{told}: looked at", [await look(repair=False) for _ in range(3)], "s")
        shutil.rmtree(places[0].directory / "tokens")
        lost = Figure(f"{told}: one directory made good", await look(repair=True), "s")
        await look(repair=False)
        return [filled, looked, lost]
    finally:
        database.close()
        safekeeping.close()


# ---- due times -------------------------------------------------------------------------------------------------------


def _sweep(number: int) -> list[Figure]:
    with servers.directory() as work:
        return asyncio.run(_sweeps(work, number))


async def _sweeps(work: Path, number: int) -> list[Figure]:
    settings, clock = dev_settings(0, work), ManualClock()
    database = Database(work / server.DATABASE_FILE)
    database.open()
    try:
        for _ in range(number // TOGETHER):
            await database.write(lambda tx: _declare(tx, settings.account, clock))
        first = DueTimes(database, clock)
        start = [_timed(DueTimes(database, clock)) for _ in range(5)]
        _timed(first)
        later = []
        for _ in range(20):
            clock.advance(1)
            later.append(_timed(first))
        nothing = figures.median(f"sweep over {number:,} due times, none due", [took for took, _ in later], "ms")
        figures.under(nothing, SWEEP_AIM_MILLISECONDS, f"{SWEEP_AIM_MILLISECONDS:g} ms")
        begun = Figure("  the first after a start", statistics.median(took for took, _ in start), "ms")
        if any(found for _, found in (*start, *later)):
            raise RuntimeError("something was due before its time")
        clock.advance(91 * 86_400)
        took, found = _timed(first)
        if found != number:
            raise RuntimeError(f"{found} of {number} keys fell due")
        return [nothing, begun, Figure("  all of them due at once", took, "ms")]
    finally:
        database.close()


def _declare(tx: Tx, account: str, clock: Clock) -> None:
    desired, misfits = complete(
        DesiredKey(rotation=RotationSpec(enabled=True, period_days=90)), STANDARD, default_region="us-east-1"
    )
    assert not misfits
    for _ in range(TOGETHER):
        keys.create(tx, desired=desired, account=account, now=clock.now())


def _timed(due: DueTimes) -> tuple[float, int]:
    """Milliseconds of one look, and how many keys it found."""
    start = time.perf_counter()
    found = sum(len(uids) for uids in due.fallen_due())
    return (time.perf_counter() - start) * 1e3, found
