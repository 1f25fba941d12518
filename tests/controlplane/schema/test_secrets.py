"""Options of key stores that may hold a secret are masked in plans, drift and descriptions; a token's label is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest

from controlplane import report
from controlplane.domain.diff import FieldChange
from controlplane.planning.shown import shown_field
from controlplane.schema.keystores import DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import KeyStore, Kind, Metadata
from controlplane.schema.secrets import holds_secret, names_secret
from plugins.sdk import Options, SecretSource
from plugins.sdk.options import NOT_SECRET, is_no_secret

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Some(Options, frozen=True):
    api_token: str
    token: Annotated[str, NOT_SECRET]
    label_token: Annotated[str, msgspec.Meta(min_length=1), NOT_SECRET] | None = None
    pin: SecretSource | None = None


def test_an_option_says_itself_that_it_is_no_secret() -> None:
    told = {field.encode_name: is_no_secret(field) for field in msgspec.structs.fields(Some)}
    assert told == {"apiToken": False, "token": True, "labelToken": True, "pin": False}


@pytest.mark.parametrize("path", ["pkcs11.token", "pkcs11.serial", "pkcs11.module", "xks.uriEndpoint", "type"])
def test_what_names_a_token_or_a_proxy_is_shown(path: str) -> None:
    assert not names_secret(path)
    field = shown_field(FieldChange(path, "before", "after"), Kind.KEY_STORE)
    assert (field.before, field.after, field.sensitive) == ("before", "after", False)


@pytest.mark.parametrize(
    "path",
    [
        "pkcs11.pin",
        "pkcs11.pin.fromFile",
        "xks.credential.secret.fromStore",
        "options.token",
        "options.userPin",
        "memory.token",
    ],
)
def test_pins_and_credentials_are_masked_and_whatever_a_stranger_calls_a_token(path: str) -> None:
    field = shown_field(FieldChange(path, "1234", "4711"), Kind.KEY_STORE)
    assert (field.before, field.after, field.sensitive) == ("(sensitive)", "(sensitive)", True)


def test_members_of_a_cluster_are_shown_unless_one_has_a_pin_of_its_own() -> None:
    assert not holds_secret("pkcs11.members", [{"token": "a"}, {"token": "b"}])
    assert holds_secret("pkcs11.members", [{"token": "a"}, {"token": "b", "pin": {"fromFile": "f"}}])
    assert holds_secret("options.members", [{"token": "a"}])


@pytest.mark.parametrize(
    ("kind", "options", "seen", "hidden"),
    [
        ("pkcs11", {"token": "label-x", "pin": {"fromEnv": "PIN-1234"}}, "label-x", "PIN-1234"),
        ("pkcs11", {"members": [{"token": "m"}], "userPin": "1234"}, "members", "1234"),
        ("other", {"servers": [{"host": "h", "password": "1234"}], "url": "seen"}, "seen", "1234"),
        ("other", {"deep": {"apiToken": "1234"}, "url": "seen"}, "seen", "1234"),
    ],
)
def test_a_description_masks_what_a_plan_masks(kind: str, options: dict[str, Any], seen: str, hidden: str) -> None:
    field = {"pkcs11": options} if kind == "pkcs11" else {"options": options}
    spec = DesiredKeyStore(type=kind, **field)  # type: ignore[arg-type]
    meta = Metadata(name="s", uid="u", created_at=NOW, generation=1, resource_version=1)
    store = KeyStore(metadata=meta, spec=spec, status=KeyStoreStatus(created_at=NOW))
    for lines in (report.describe_lines(store, NOW), report.yaml_lines(store)):
        text = "\n".join(line.text for line in lines)
        assert seen in text
        assert hidden not in text
