"""Multi-Region keys in spec files: what a replica takes from its primary key, and what it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.errors import InvalidSpec
from controlplane.schema.keys import KeySpec, KeyUsage, RotationSpec
from controlplane.schema.plans import Action, PlanReason
from tests.controlplane.planning.samples import Planning, key, only

ELSEWHERE = "eu-west-1"


def replica(name: str = "copy", **fields: Any) -> Any:
    return key(name, **{"replica_of": "main", "region": ELSEWHERE, **fields})


def primary(**fields: Any) -> Any:
    return key("main", **{"multi_region": True, **fields})


async def test_a_replica_takes_what_it_shares_from_the_primary_beside_it(planning: Planning) -> None:
    await planning.declare(primary(key_spec=KeySpec.RSA_2048, key_usage=KeyUsage.SIGN_VERIFY), replica())
    main, copy = planning.key("main"), planning.key("copy")
    assert (copy.spec.key_spec, copy.spec.key_usage, copy.spec.multi_region) == (
        KeySpec.RSA_2048,
        KeyUsage.SIGN_VERIFY,
        True,
    )
    assert copy.status.key_id == main.status.key_id
    assert ELSEWHERE in copy.status.arn
    assert copy.status.primary_region == main.spec.region


async def test_a_replica_is_made_behind_its_primary_whatever_their_names(planning: Planning) -> None:
    documents = (replica("aa"), primary())
    await planning.declare(*documents)
    assert (await planning.plan(*documents)).empty


async def test_a_replica_of_a_live_primary_needs_no_document_of_it(planning: Planning) -> None:
    await planning.declare(primary())
    plan = await planning.plan(primary(), replica())
    assert only(plan).action is Action.CREATE


@pytest.mark.parametrize(
    ("main", "copy", "told"),
    [
        ({"multi_region": False}, {}, "spec.replicaOf: main is no multi-Region key"),
        ({"region": ELSEWHERE}, {}, f"spec.region: its primary key is in {ELSEWHERE} already"),
        ({}, {"rotation": RotationSpec(enabled=True)}, "spec.rotation.enabled: a replica rotates with its primary key"),
        ({}, {"key_spec": KeySpec.RSA_2048}, "spec.keySpec: a replica has the key spec of its primary key"),
        ({}, {"key_usage": KeyUsage.SIGN_VERIFY}, "spec.keyUsage: a replica has that of its primary key"),
        ({}, {"replica_of": "none"}, "spec.replicaOf: there is no key none; declare it in this set"),
        ({}, {"region": "ap-south-1"}, "spec.region: this server has no Region ap-south-1"),
    ],
)
async def test_what_cannot_be_a_replica_is_told_with_its_field(
    planning: Planning, main: dict[str, Any], copy: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidSpec) as refused:
        await planning.plan(primary(**main), replica(**copy))
    assert any(told in str(problem) for problem in refused.value.problems), refused.value.message


async def test_a_region_has_one_replica_of_a_key(planning: Planning) -> None:
    with pytest.raises(InvalidSpec, match=f"main has another replica in {ELSEWHERE} already"):
        await planning.plan(primary(), replica("one"), replica("two"))
    await planning.declare(primary(), replica("one"))
    with pytest.raises(InvalidSpec, match=f"main has another replica in {ELSEWHERE} already"):
        await planning.plan(primary(), replica("two"))


async def test_a_replica_of_a_replica_names_the_primary_instead(planning: Planning) -> None:
    await planning.declare(primary(), replica())
    with pytest.raises(InvalidSpec, match="copy is a replica itself: name main"):
        await planning.plan(primary(), replica(), key("third", replica_of="copy", region=ELSEWHERE))


async def test_a_key_does_not_become_a_replica_later(planning: Planning) -> None:
    await planning.declare(primary(), key("copy", region=ELSEWHERE, multi_region=True))
    change = only(await planning.plan(primary(), replica()))
    assert (change.action, change.reason) == (Action.BLOCKED, PlanReason.IMMUTABLE_FIELD)
    assert "keystead make-primary" in change.message
