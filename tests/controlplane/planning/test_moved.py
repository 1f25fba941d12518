"""A principal or an XKS proxy that gets another name stays the same one; what has the name in it is told."""

from __future__ import annotations

import pytest

from controlplane.errors import AlreadyExists, Unsupported
from controlplane.planning import management
from controlplane.schema.meta import Kind, Principal
from controlplane.schema.plans import Action, PlanReason, PlanWarning
from controlplane.schema.principals import PrincipalType
from controlplane.store import credentials
from tests.controlplane.planning.samples import Planning, formerly, only, paths, person, proxy, store, told


async def test_a_principal_that_moved_keeps_its_uid_and_its_credentials_and_has_another_arn(planning: Planning) -> None:
    await planning.declare(person("old", type=PrincipalType.ROLE, description="x"))
    await planning.give_token("old")
    before = planning.get("old", Kind.PRINCIPAL)
    document = formerly("old", person("new", type=PrincipalType.ROLE, description="y"))
    plan = await planning.declare(document)
    change = only(plan)
    assert (change.action, change.reason) == (Action.UPDATE, PlanReason.MOVED)
    assert paths(change) == {"metadata.name": ("old", "new"), "description": ("x", "y")}
    assert [each.warning for each in change.warnings] == [PlanWarning.ARN_CHANGES]
    after = planning.get("new", Kind.PRINCIPAL)
    assert isinstance(after, Principal)
    assert after.metadata.uid == before.metadata.uid
    assert after.status.arn == "arn:aws:iam::000000000000:role/new"
    assert after.metadata.generation > before.metadata.generation, "whoever watches intent hears of it"
    assert planning.database.read(lambda tx: credentials.can_come_in(tx, after.metadata.uid))
    assert planning.find("old", Kind.PRINCIPAL) is None
    assert (await planning.plan(document)).empty
    assert (await planning.plan(person("new", type=PrincipalType.ROLE, description="y"))).empty


async def test_the_last_administrator_may_be_renamed(planning: Planning) -> None:
    await planning.declare(person("old", administrator=True))
    await planning.give_token("old")
    await planning.declare(formerly("old", person("new", administrator=True)))
    assert told(await planning.plan()) == {"new": (Action.BLOCKED, "LastAdministrator")}


async def test_a_proxy_that_moved_keeps_its_uid(planning: Planning) -> None:
    await planning.declare(proxy("old"))
    uid = planning.get("old", Kind.XKS_PROXY).metadata.uid
    change = only(await planning.declare(formerly("old", proxy("new"))))
    (warned,) = change.warnings
    assert "role/xks-proxy/old" in warned.message
    found = planning.get("new", Kind.XKS_PROXY)
    assert (found.metadata.uid, found.metadata.generation) == (uid, 2)
    assert (await planning.plan(proxy("new"))).empty


async def test_a_name_that_was_taken_since_the_plan_makes_it_stale_and_nothing_is_renamed(planning: Planning) -> None:
    await planning.declare(person("old"))
    plan = await planning.plan(formerly("old", person("new")))
    await planning.declare(person("new"), spec_set="other")
    before = planning.everything()
    with pytest.raises(Exception, match="Principal new already exists since this plan; plan again"):
        await planning.apply(plan)
    assert planning.everything() == before


async def test_an_object_is_adopted_under_another_name_and_a_key_store_is_not(planning: Planning) -> None:
    await planning.put(person("p"))
    await planning.put(store("hsm-a"))
    now = planning.clock.now()
    uid = planning.get("p", Kind.PRINCIPAL).metadata.uid
    adopted = await planning.write(lambda tx: management.adopt(tx, uid, "team", "q", by="me", now=now))
    assert (adopted.metadata.name, adopted.metadata.spec_set, adopted.metadata.uid) == ("q", "team", uid)
    await planning.put(person("p"))
    other = planning.get("p", Kind.PRINCIPAL).metadata.uid
    with pytest.raises(AlreadyExists):
        await planning.write(lambda tx: management.adopt(tx, other, "team", "q", by="me", now=now))
    hsm = planning.get("hsm-a", Kind.KEY_STORE).metadata.uid
    with pytest.raises(Unsupported, match="customKeyStore"):
        await planning.write(lambda tx: management.adopt(tx, hsm, "team", "hsm-b", by="me", now=now))
    assert planning.get("hsm-a", Kind.KEY_STORE).metadata.spec_set is None
