"""The conformance suite is held to its own promise: what is declared is tested, and a skip of it is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import msgspec
import pytest

import plugins.memory
import plugins.xks
from plugins.sdk import Capabilities, Custody, KeySpec, KeyUsage
from plugins.sdk.conformance import KeyStoreConformance
from plugins.sdk.conformance.choosing import left_out
from plugins.software import capabilities
from tests.harness import ROOT

SUBJECTS = '''
import msgspec
import pytest
import plugins.memory
from plugins.memory import MemoryKeyStore, MemoryOptions
from plugins.sdk import Capabilities
from plugins.sdk.conformance import LifecycleConformance, UsageConformance


class OnMemory(LifecycleConformance):
    @pytest.fixture(autouse=True)
    def fresh(self):
        MemoryKeyStore.reset()

    def make_plugin(self, state):
        return MemoryKeyStore(MemoryOptions(), self.context(state))


class TestHonest(UsageConformance, OnMemory):
    declares = plugins.memory.CAPABILITIES

    async def foreign_material(self):
        other = self.make_plugin(None)
        await other.open()
        await other.create(msgspec.structs.replace(self.fresh_ref(self.any_spec()), name="foreign"))
        return "foreign"


class TestMarked(OnMemory):
    declares = plugins.memory.CAPABILITIES

    @pytest.mark.skip(reason="not today")
    async def test_destroying_twice_succeeds(self, plugin):
        raise AssertionError

    @pytest.mark.xfail(reason="known")
    async def test_an_open_store_probes_healthy(self, plugin):
        raise AssertionError


class TestWithoutItsDevice(OnMemory):
    declares = plugins.memory.CAPABILITIES

    @pytest.fixture(autouse=True)
    def fresh(self):
        pytest.skip("no device here")


class TestSilent(OnMemory):
    """Declares less in its tests than the store does."""

    declares = Capabilities(plugins.memory.CAPABILITIES.custody, plugins.memory.CAPABILITIES.key_specs)


class TestLazy(OnMemory):
    """Has adoption and does not say where material of others comes from."""

    declares = plugins.memory.CAPABILITIES
'''


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What became of each test of each class: passed, failed or skipped."""
    directory = tmp_path_factory.mktemp("suite")
    (directory / "test_subjects.py").write_text(SUBJECTS)
    (directory / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")
    report = directory / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "test_subjects.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "got empty parameter set" not in done.stdout
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = "passed"
        for child in case:
            outcome = {"failure": "failed", "error": "failed", "skipped": "skipped"}.get(child.tag, outcome)
        found[(case.get("classname", "").rpartition(".")[2], case.get("name", ""))] = outcome
    return found


def of(outcomes: dict[tuple[str, str], str], name: str) -> dict[str, str]:
    return {test: outcome for (cls, test), outcome in outcomes.items() if cls == name}


def test_nothing_is_ever_reported_as_skipped(outcomes: dict[tuple[str, str], str]) -> None:
    assert len(outcomes) > 100
    assert "skipped" not in outcomes.values()


def test_a_store_that_keeps_its_word_passes(outcomes: dict[tuple[str, str], str]) -> None:
    assert set(of(outcomes, "TestHonest").values()) == {"passed"}


def test_a_skipped_test_of_a_declared_capability_fails(outcomes: dict[tuple[str, str], str]) -> None:
    marked = of(outcomes, "TestMarked")
    assert marked["test_destroying_twice_succeeds"] == "failed"
    assert marked["test_an_open_store_probes_healthy"] == "failed"
    assert marked["test_closing_twice_is_harmless"] == "passed"
    assert set(of(outcomes, "TestWithoutItsDevice").values()) == {"failed"}


def test_a_capability_that_the_tests_keep_quiet_about_fails(outcomes: dict[tuple[str, str], str]) -> None:
    assert of(outcomes, "TestSilent")["test_the_store_declares_what_its_tests_were_chosen_by"] == "failed"


def test_a_capability_that_the_tests_cannot_exercise_fails(outcomes: dict[tuple[str, str], str]) -> None:
    assert of(outcomes, "TestLazy")["test_foreign_material_is_taken_over_once_and_usable"] == "failed"


def test_each_capability_makes_tests_that_are_not_there_without_it() -> None:
    least = Capabilities(
        Custody.TOKEN, {KeySpec.SYMMETRIC_DEFAULT: frozenset({KeyUsage.ENCRYPT_DECRYPT})}, random=False
    )
    most = capabilities()
    for declared in ("replication", "data_key_pairs", "random", "imports", "gcm"):
        with_it = msgspec.structs.replace(least, **{declared: getattr(most, declared)})
        assert sum(left_out(KeyStoreConformance, with_it).values()) < sum(left_out(KeyStoreConformance, least).values())
    for store in (plugins.memory.CAPABILITIES, plugins.xks.CAPABILITIES):
        assert sum(left_out(KeyStoreConformance, store).values()) > 0


def test_what_a_class_leaves_out_comes_back_in_one_that_declares_more() -> None:
    class Less(KeyStoreConformance):
        declares = plugins.xks.CAPABILITIES

    class More(Less):
        declares = plugins.memory.CAPABILITIES

    name = "test_any_changed_part_of_gcm_is_refused"
    assert getattr(Less, name) is None
    assert getattr(More, name) is getattr(KeyStoreConformance, name)
    assert More.test_an_external_key_is_described_and_nothing_is_changed is None
