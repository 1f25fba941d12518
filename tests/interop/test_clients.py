"""Programs of others, as their users run them: the AWS CLI, the AWS Encryption SDK, Ansible and the JavaScript SDK.

``make test`` installs them beside the virtual environment. Run without it, these tests are skipped and say so.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ACCESS_KEY_ID, ACCOUNT, REGION, ROOT, SECRET, Server, document

PROGRAMS = ROOT / ".venv" / "clients"
HERE = Path(__file__).parent / "clients"
SECONDS = 170

pytestmark = [
    pytest.mark.skipif(not PROGRAMS.exists(), reason="NOT TESTED: no clients in .venv/clients; run: make test"),
    pytest.mark.timeout(240),
]


@pytest.fixture
def environment(shared_server: Server, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
    return {
        **kept,
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_KMS": shared_server.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "PYTHONWARNINGS": "ignore",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
        "ANSIBLE_NOCOLOR": "1",
    }


def run(
    program: str, *arguments: str, environment: dict[str, str], ok: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if ok:
        assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


# ---- AWS CLI ---------------------------------------------------------------------------------------------------------


def aws(environment: dict[str, str], *arguments: str) -> Any:
    done = run(str(PROGRAMS / "bin" / "aws"), "kms", *arguments, "--output", "json", environment=environment)
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_the_aws_cli_knows_who_it_is_and_takes_a_role(environment: dict[str, str], shared_server: Server) -> None:
    def sts(*arguments: str, **more: str) -> Any:
        at = {**environment, "AWS_ENDPOINT_URL_STS": shared_server.url, **more}
        done = run(str(PROGRAMS / "bin" / "aws"), "sts", *arguments, "--output", "json", environment=at)
        return json.loads(done.stdout)

    assert sts("get-caller-identity")["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    name = f"r-{uuid.uuid4()}"
    statement = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    trust = {"document": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}
    shared_server.ok("PUT", f"/v1/principals/{name}", document("Principal", name, type="role", trustPolicy=trust))
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    taken = sts("assume-role", "--role-arn", arn, "--role-session-name", "cli")
    key = taken["Credentials"]
    who = sts(
        "get-caller-identity",
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
        AWS_SESSION_TOKEN=key["SessionToken"],
    )
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/cli"


def test_the_aws_cli_makes_uses_and_schedules_a_key(environment: dict[str, str], tmp_path: Path) -> None:
    alias = f"alias/cli-{uuid.uuid4()}"
    key = aws(environment, "create-key", "--description", "cli", "--tags", "TagKey=a,TagValue=b")["KeyMetadata"]
    aws(environment, "create-alias", "--alias-name", alias, "--target-key-id", key["KeyId"])
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(bytes(range(256)))
    answer = aws(
        environment,
        *("encrypt", "--key-id", alias, "--plaintext", f"fileb://{plain}", "--encryption-context", "purpose=test"),
    )
    sealed.write_bytes(base64.b64decode(answer["CiphertextBlob"]))
    answer = aws(
        environment, "decrypt", "--ciphertext-blob", f"fileb://{sealed}", "--encryption-context", "purpose=test"
    )
    assert base64.b64decode(answer["Plaintext"]) == bytes(range(256))
    assert answer["KeyId"] == key["Arn"]
    listed = aws(environment, "list-aliases", "--key-id", key["KeyId"])["Aliases"]
    assert [each["AliasName"] for each in listed] == [alias]
    gone = aws(environment, "schedule-key-deletion", "--key-id", key["KeyId"], "--pending-window-in-days", "7")
    assert gone["KeyState"] == "PendingDeletion"


def test_the_aws_cli_shows_a_refusal_with_aws_words(environment: dict[str, str]) -> None:
    done = run(
        str(PROGRAMS / "bin" / "aws"),
        "kms",
        "describe-key",
        "--key-id",
        "alias/none",
        environment=environment,
        ok=False,
    )
    assert done.returncode != 0
    assert "NotFoundException" in done.stderr
    assert "alias/none is not found." in done.stderr


# ---- AWS Encryption SDK ----------------------------------------------------------------------------------------------


def test_the_encryption_sdk_reads_with_either_of_two_keys_what_it_wrote_under_both(
    shared_server: Server, environment: dict[str, str]
) -> None:
    kms = shared_server.kms()
    arns = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
    python = str(PROGRAMS / "bin" / "python")
    done = run(python, str(HERE / "encryption_sdk.py"), shared_server.url, *arns, environment=environment)
    told = json.loads(done.stdout)
    assert told.pop("damaged") not in ("accepted", None)
    assert told == {"keys": 2, "first": True, "second": True}


# ---- Ansible ---------------------------------------------------------------------------------------------------------


def test_ansible_manages_the_life_of_a_key(shared_server: Server, environment: dict[str, str]) -> None:
    playbook = str(PROGRAMS / "bin" / "ansible-playbook")
    done = run(
        *(playbook, "-i", "localhost,", "-e", f"endpoint={shared_server.url}", str(HERE / "kms_key.yaml")),
        environment=environment,
    )
    assert "failed=0" in done.stdout


# ---- AWS SDK for JavaScript ------------------------------------------------------------------------------------------


def test_the_javascript_sdk_encrypts_signs_and_pages(shared_server: Server, environment: dict[str, str]) -> None:
    done = run("node", str(HERE / "sdk.mjs"), shared_server.url, str(PROGRAMS), environment=environment)
    assert json.loads(done.stdout) == {
        "creationDateIsDate": True,
        "plaintext": "grüße",
        "refusal": ["InvalidCiphertextException", 400, True],
        "dataKeyBytes": 32,
        "valid": True,
        "validForNode": True,
        "listsBoth": True,
    }
