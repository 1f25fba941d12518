"""XKS proxies are planned and applied like everything else, and expose only keys that they can."""

from __future__ import annotations

import pytest

from controlplane.errors import InvalidSpec
from controlplane.schema.keys import KeySpec
from controlplane.schema.meta import Kind, XksProxy
from controlplane.schema.plans import Action
from controlplane.schema.xksproxies import XksExposure, XksRule
from controlplane.store import objects
from tests.controlplane.planning.samples import Planning, key, only, paths, proxy, told


def held(planning: Planning) -> XksProxy | None:
    found = planning.database.read(lambda tx: objects.get_named(tx, Kind.XKS_PROXY, "bank"))
    assert found is None or isinstance(found, XksProxy)
    return found


async def test_a_proxy_is_created_changed_and_removed(planning: Planning) -> None:
    documents = (key("payments"), proxy(keys={"id-1": XksExposure(key="payments")}))
    assert told(await planning.plan(*documents))["bank"] == (Action.CREATE, "Declared")
    await planning.declare(*documents)
    assert (await planning.plan(*documents)).empty
    changed = proxy(keys={"id-1": XksExposure(key="payments")}, enabled=False, rules=(XksRule(name="r"),))
    change = only(await planning.plan(key("payments"), changed))
    assert set(paths(change)) == {"enabled", "rules"}
    await planning.declare(key("payments"), changed)
    present = held(planning)
    assert present is not None
    assert (present.spec.enabled, present.metadata.generation) == (False, 2)
    await planning.declare(key("payments"))
    assert held(planning) is None


async def test_a_proxy_exposes_keys_that_are_there_or_declared_with_it(planning: Planning) -> None:
    await planning.declare(key("live"))
    await planning.plan(
        key("live"), key("new"), proxy(keys={"a": XksExposure(key="live"), "b": XksExposure(key="new")})
    )
    for name, why in (
        ("none", "there is no key none; declare it in this set, or write the name of one"),
        ("hmac", "key hmac is HMAC_256; an XKS proxy exposes SYMMETRIC_DEFAULT keys only"),
    ):
        documents = (
            key("live"),
            key("hmac", key_spec=KeySpec.HMAC_256),
            proxy(keys={"a": XksExposure(key="live"), "b.1": XksExposure(key=name)}),
        )
        with pytest.raises(InvalidSpec) as caught:
            await planning.plan(*documents)
        assert [(problem.path, problem.message) for problem in caught.value.problems] == [('spec.keys["b.1"].key', why)]
