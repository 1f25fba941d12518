"""Desired against live: a change is shown exactly if there is one, field by field."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.diff import IMMUTABLE, field_changes, flatten
from controlplane.schema.keys import DeletionSpec, DesiredKey, KeySpec, PolicySource, RotationSpec
from controlplane.schema.keystores import DesiredKeyStore
from controlplane.schema.meta import SPEC_TYPES, Kind
from controlplane.schema.principals import DesiredPrincipal

keys = st.builds(
    DesiredKey,
    key_store=st.sampled_from(["standard", "hsm-a"]),
    region=st.sampled_from([None, "us-east-1"]),
    key_spec=st.sampled_from([KeySpec.SYMMETRIC_DEFAULT, KeySpec.RSA_2048]),
    description=st.sampled_from(["", "one", "two"]),
    enabled=st.booleans(),
    aliases=st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3).map(tuple),
    tags=st.dictionaries(st.sampled_from(["team", "a.b", "a", ""]), st.sampled_from(["", "x", "y"])),
    policy=st.sampled_from([None, PolicySource(), PolicySource(document="{}"), PolicySource(document="{ }")]),
    rotation=st.builds(RotationSpec, enabled=st.booleans(), period_days=st.sampled_from([365, 90])),
    deletion=st.builds(DeletionSpec, window_days=st.sampled_from([30, 7]), protect=st.booleans()),
)
options = st.dictionaries(
    st.sampled_from(["a", "b", "pin"]),
    st.recursive(
        st.one_of(st.none(), st.sampled_from(["", "x"]), st.integers(2, 3)),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["c", "d"]), inner)),
        max_leaves=4,
    ),
)
stores = st.builds(DesiredKeyStore, type=st.just("memory"), connected=st.booleans(), memory=st.none() | options)


@given(live=keys, desired=keys)
def test_there_are_changes_exactly_if_the_specs_differ(live: DesiredKey, desired: DesiredKey) -> None:
    changes, same = field_changes(Kind.KEY, live, desired)
    assert bool(changes) is (live != desired)
    assert [change.path for change in changes] == sorted(change.path for change in changes)
    before, after = flatten(live), flatten(desired)
    assert same == sum(path in after and after[path] == value for path, value in before.items())


@given(live=stores, desired=stores)
def test_there_are_changes_exactly_if_key_stores_differ(live: DesiredKeyStore, desired: DesiredKeyStore) -> None:
    changes, _ = field_changes(Kind.KEY_STORE, live, desired)
    assert bool(changes) is (live != desired)


@given(live=keys, desired=keys)
def test_the_changes_carry_one_spec_over_into_the_other(live: DesiredKey, desired: DesiredKey) -> None:
    carried: dict[str, Any] = flatten(live)
    for change in field_changes(Kind.KEY, live, desired)[0]:
        assert change.before == carried.pop(change.path, None)
        if change.path in flatten(desired):
            carried[change.path] = change.after
    assert carried == flatten(desired)


@given(desired=keys)
def test_a_new_object_shows_every_field_and_none_is_immutable(desired: DesiredKey) -> None:
    changes, same = field_changes(Kind.KEY, None, desired)
    assert {change.path: change.after for change in changes} == flatten(desired)
    assert same == 0
    assert all(change.immutable is None for change in changes)


def test_a_default_that_is_spelled_out_is_no_change() -> None:
    spelled = json.dumps(
        {
            "keyStore": "standard",
            "keySpec": "SYMMETRIC_DEFAULT",
            "enabled": True,
            "description": "new",
            "aliases": [],
            "tags": {},
            "rotation": {"enabled": False, "periodDays": 365},
            "deletion": {"windowDays": 30, "protect": False},
            "management": "full",
        }
    )
    desired = msgspec.json.decode(spelled, type=DesiredKey)
    changes, _ = field_changes(Kind.KEY, DesiredKey(), desired)
    assert [change.path for change in changes] == ["description"]


def test_null_and_absent_are_two_things_in_options() -> None:
    without, with_null = DesiredKeyStore(type="memory", memory={}), DesiredKeyStore(type="memory", memory={"a": None})
    assert [change.path for change in field_changes(Kind.KEY_STORE, without, with_null)[0]] == ["memory", "memory.a"]


def test_a_policy_that_differs_in_one_blank_differs() -> None:
    live, desired = (DesiredKey(policy=PolicySource(document=text)) for text in ("{}", "{ }"))
    changes, _ = field_changes(Kind.KEY, live, desired)
    assert [(change.path, change.before, change.after) for change in changes] == [("policy.document", "{}", "{ }")]


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in IMMUTABLE.items() for path in paths])
def test_immutable_fields_are_fields_of_their_kind(kind: Kind, path: str) -> None:
    assert path in {field.encode_name for field in msgspec.structs.fields(SPEC_TYPES[kind])}


def test_an_immutable_change_says_why() -> None:
    changes, _ = field_changes(Kind.KEY, DesiredKey(), DesiredKey(key_store="hsm-a", enabled=False))
    assert {change.path: bool(change.immutable) for change in changes} == {"enabled": False, "keyStore": True}
    changes, _ = field_changes(Kind.PRINCIPAL, DesiredPrincipal(), DesiredPrincipal(description="x"))
    assert [change.immutable for change in changes] == [None]
