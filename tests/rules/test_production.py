"""``examples/production`` holds together: documents validate and plan, each pipeline may apply its own and no more,
settings load, the backup is made and comes back, alerts ask for metrics that there are.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import trustme
import yaml

from controlplane.cli.main import keystead
from controlplane.settings import load_settings
from controlplane.specfiles import load_or_raise
from tests import warm
from tests.harness import ROOT, Server, new_server
from tests.rules.test_readme import snippets

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


def test_the_server_is_made_as_the_readme_says(tmp_path: Path) -> None:
    """Its commands and these settings, in directories of the test's own and on a free port."""
    places = {"/etc/keystead": "etc", "/var/lib/keystead": "var", "/srv/keystead-a": "a", "/srv/keystead-b": "b"}

    def here(text: str) -> str:
        for there, name in places.items():
            text = text.replace(there, str(tmp_path / name))
        return text.replace("port = 8470", "port = 0").replace("workers = 4", "workers = 1")

    for name in (*places.values(), "etc/secrets", "etc/tls"):
        (tmp_path / name).mkdir(mode=0o700)
    path = f"{warm.command(tmp_path).parent}:{os.environ['PATH']}"
    (steps,) = [text for mark, _, text in snippets("examples/production/README.md") if mark == "server"]
    made = subprocess.run(
        ["sh", "-euc", here(steps)],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    token = made.stdout.partition("KEYSTEAD_TOKEN=")[2].split()[0]
    settings = tmp_path / "etc/keystead.toml"
    settings.write_text(here(settings.read_text()))
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "etc/tls/server.key"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "etc/tls/server.crt"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    serve = (sys.executable, "-m", "controlplane", "serve", "--config", settings, "--json")
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, cwd=ROOT) as served:
        try:
            assert served.stdout is not None
            line = served.stdout.readline()
            assert line, "it did not start"
            url = f"https://localhost:{urlsplit(json.loads(line)['url']).port}"
            trust = {"KEYSTEAD_URL": url, "KEYSTEAD_TOKEN": token, "SSL_CERT_FILE": str(tmp_path / "ca.pem")}
            done = command(sys.executable, "-m", "controlplane", "get", "keystores", **trust)
            assert done.returncode == 0, done.stderr
            assert "CONNECTED" in done.stdout
            assert any((tmp_path / "a").iterdir()), "the copies are filled"
        finally:
            served.terminate()


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
