"""Key identifiers: four forms, one reading, and nothing that only looks like one."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain import names
from controlplane.domain.names import KeyReference
from controlplane.errors import InvalidArn

REGION, ACCOUNT = "eu-central-1", "123456789012"
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"


def read(text: str) -> KeyReference:
    return names.parse_key_reference(text, REGION, ACCOUNT)


def test_a_key_is_named_by_id_arn_alias_or_alias_arn() -> None:
    assert read(KEY_ID) == KeyReference(REGION, ACCOUNT, key_id=KEY_ID)
    assert read("alias/a/b") == KeyReference(REGION, ACCOUNT, alias="a/b")
    arn = names.key_arn("us-east-1", ACCOUNT, KEY_ID)
    assert read(arn) == KeyReference("us-east-1", ACCOUNT, key_id=KEY_ID, full=True)
    arn = names.alias_arn("us-east-1", "000000000000", "a/b")
    assert read(arn) == KeyReference("us-east-1", "000000000000", alias="a/b", full=True)


@pytest.mark.parametrize(
    "text",
    [
        "arn:",
        "arn:aws:kms",
        "arn:aws:iam::123456789012:user/alice",
        "arn:aws:kms:eu-central-1:123456789012:key/",
        "arn:aws:kms:eu-central-1:123456789012:grant/x",
        "arn:aws:kms:eu-central-1:1234567890123:key/x",
        f"arn:aws:kms:eu-central-1:123456789012:key/{KEY_ID}\n",
        f"arn:aws:kms:eu-central-1:123456789012:key/{KEY_ID}\nx",
        f"arn:aws:kms:EU:123456789012:key/{KEY_ID}",
    ],
)
def test_what_begins_like_an_arn_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidArn):
        read(text)


@given(st.text())
def test_any_other_text_is_a_reference_or_an_invalid_arn_and_never_a_crash(text: str) -> None:
    try:
        found = read(text)
    except InvalidArn:
        assert text.startswith("arn:")
    else:
        assert (found.key_id is None) != (found.alias is None)


@pytest.mark.parametrize("multi_region", [False, True])
def test_a_new_key_id_has_the_form_of_its_kind(multi_region: bool) -> None:
    key_id = names.new_key_id(str(uuid.uuid4()), multi_region=multi_region)
    assert names.is_key_id(key_id)
    assert key_id.startswith("mrk-") is multi_region


@pytest.mark.parametrize("text", ["", "mrk-", KEY_ID.upper(), KEY_ID + "\n", KEY_ID[:-1], "mrk-" + "g" * 32, "alias/x"])
def test_other_text_has_not_the_form_of_a_key_id(text: str) -> None:
    assert not names.is_key_id(text)


def test_a_material_name_names_its_key_and_material() -> None:
    assert names.material_name("u", "m") == "keystead:u:m"
