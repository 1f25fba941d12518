"""``examples/production`` holds together: documents validate and plan, each pipeline may apply its own and no more,
settings load, the backup is made and comes back, alerts ask for metrics that there are.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from controlplane.cli.main import keystead
from controlplane.settings import load_settings
from controlplane.specfiles import load_or_raise
from tests import warm
from tests.harness import ROOT, Server, new_server

__all__ = ["new_server"]

PRODUCTION = ROOT / "examples/production"
SETS = sorted(path.name for path in (PRODUCTION / "specs").iterdir())
SETTINGS = load_settings(PRODUCTION / "server/keystead.toml")


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYSTEAD_")}
    return subprocess.run(
        [str(each) for each in arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def documents(spec_set: str) -> list[Any]:
    loaded = load_or_raise([PRODUCTION / "specs" / spec_set], stdin=sys.stdin.buffer)
    return [msgspec.to_builtins(each.document) for each in loaded.located]


@pytest.mark.parametrize("spec_set", SETS)
def test_every_spec_set_validates(spec_set: str) -> None:
    done = command(sys.executable, "-m", "controlplane", "validate", PRODUCTION / "specs" / spec_set)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_of_the_layout_is_one_that_these_tests_know() -> None:
    known = {".md", ".yaml", ".json", ".toml", ".service", ".timer", ".sh", ".yml"}
    assert {path.suffix for path in PRODUCTION.rglob("*") if path.is_file()} == known


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    clusters = {name: dict(options) for name, options in SETTINGS.clusters.items()}
    return new_server(account=SETTINGS.account, regions=list(SETTINGS.regions), clusters=clusters).start()


def test_the_sets_are_planned_in_order_and_each_pipeline_applies_its_own_and_no_more(
    server: Server, tmp_path: Path
) -> None:
    plan = server.plan("platform", documents("platform"))
    assert plan["counts"]["create"] == len(documents("platform"))
    assert not any(change.get("warnings") for change in plan["changes"])
    server.ok("POST", f"/v1/plans/{plan['id']}/apply")
    assert server.plan("platform", documents("platform"))["changes"] == []
    for team, other in (("payments", "web"), ("web", "payments")):
        token = server.ok("POST", f"/v1/principals/{team}-pipeline/tokens")["token"]
        own, foreign = (
            server.ok("POST", "/v1/plans", {"specSet": name, "documents": documents(name)}, token=token)
            for name in (team, other)
        )
        assert own["counts"]["create"] == len(documents(team))
        assert server.rest("POST", f"/v1/plans/{foreign['id']}/apply", token=token).status == 403
        assert server.rest("POST", f"/v1/plans/{own['id']}/apply", token=token).status == 200
    told = server.plan("platform", [])
    assert {"blocked"} == {change["action"] for change in told["changes"] if change["kind"] == "Key"}, "protected"

    token = server.ok("POST", "/v1/principals/backup/tokens")["token"]
    assert server.rest("GET", "/v1/keys", token=token).status == 403
    made = tmp_path / "backups"
    made.mkdir()
    keystead_ = warm.command(tmp_path)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for _ in range(3):
        done = command(
            PRODUCTION / "backup/backup.sh", made, 2, PATH=path, KEYSTEAD_URL=server.url, KEYSTEAD_TOKEN=token
        )
        assert done.returncode == 0, done.stderr
    kept = sorted(made.iterdir())
    assert len(kept) == 2
    assert kept[0].stat().st_mode & 0o077 == 0
    done = command(keystead_, "restore", kept[-1], tmp_path / "restored", PATH=path)
    assert done.returncode == 0, done.stderr


def test_units_run_commands_and_files_that_there_are() -> None:
    for unit in (PRODUCTION / "systemd").iterdir():
        parsed = configparser.RawConfigParser(strict=False)
        parsed.optionxform = str  # type: ignore[assignment, method-assign]
        parsed.read_string(unit.read_text())
        if unit.suffix == ".timer":
            assert (unit.with_suffix(".service")).exists()
            continue
        program, *arguments = shlex.split(parsed["Service"]["ExecStart"])
        if Path(program).name == "keystead":
            assert arguments[0] in keystead.commands
            assert arguments[1:] == ["--config", "/etc/keystead/keystead.toml"]
        else:
            assert (PRODUCTION / "backup" / Path(program).name).stat().st_mode & 0o111
    service = configparser.RawConfigParser(strict=False)
    service.read(PRODUCTION / "systemd/keystead.service")
    assert set(service["Service"]["ReadWritePaths"].split()) == {SETTINGS.data_dir, *SETTINGS.copies}


def test_alerts_ask_for_metrics_that_there_are(server: Server) -> None:
    told = server.http("GET", "/metrics").body.decode()
    there = set(re.findall(r"^# TYPE (\S+)", told, re.MULTILINE))
    rules = yaml.safe_load((PRODUCTION / "monitoring/alerts.yml").read_text())
    asked = set(re.findall(r"keystead_\w+", " ".join(each["expr"] for each in rules["groups"][0]["rules"])))
    assert asked
    assert asked <= there, asked - there
    scraped = yaml.safe_load((PRODUCTION / "monitoring/prometheus.yml").read_text())
    assert scraped["rule_files"] == ["alerts.yml"]
