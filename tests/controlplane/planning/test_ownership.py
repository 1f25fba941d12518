"""Who states what: sets share objects by fields, take them from each other, adopt, forget, rename, and only look."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controlplane.domain import capabilities
from controlplane.domain.ownership import API, KMS
from controlplane.errors import Blocked, InvalidInput, InvalidSpec, StalePlan
from controlplane.schema.documents import Document, received
from controlplane.schema.keys import DeletionSpec, DesiredKey, Management, PolicySource, RotationSpec
from controlplane.schema.meta import Key, Kind
from controlplane.schema.plans import Action, Counts, PlanReason, PlanWarning
from controlplane.store import claims, keys, last_uses, objects
from tests.controlplane.planning.samples import SET, Planning, formerly, key, only, paths, person, proxy, store, told

OTHER = "platform"


def of_key(planning: Planning, name: str = "k") -> dict[str, dict[str, Any]]:
    """What each manager states of a key."""
    uid = planning.key(name).metadata.uid
    return {each.claim.manager: each.claim.leaves for each in planning.database.read(lambda tx: claims.of(tx, uid))}


def moved(name: str, former: str, **fields: Any) -> Document:
    return formerly(former, key(name, **fields))


async def by_hand(planning: Planning, manager: str = KMS, name: str = "k", **fields: Any) -> None:
    """A change through a door, by alice."""
    uid, now = planning.key(name).metadata.uid, planning.clock.now()
    await planning.write(lambda tx: keys.change(tx, uid, now, manager=manager, by="user/alice", **fields))


# ---- what is stated --------------------------------------------------------------------------------------------------


async def test_what_nobody_states_is_left_as_it_is(planning: Planning) -> None:
    await planning.declare(key("k", tags={"team": "a"}))
    await by_hand(planning, tags={"team": "a", "cost": "7"}, enabled=False, description="by hand", aliases=("extra",))
    assert (await planning.plan(key("k", tags={"team": "a"}))).empty
    await planning.declare(key("k", tags={"team": "b"}, aliases=("mine",)))
    spec = planning.key().spec
    assert (spec.tags, spec.enabled, spec.description) == ({"team": "b", "cost": "7"}, False, "by hand")
    assert spec.aliases == ("extra", "mine")


async def test_what_is_no_longer_stated_goes_back_to_its_default(planning: Planning) -> None:
    full = {"description": "x", "tags": {"a": "1", "b": "2"}, "aliases": ("one", "two"), "enabled": False,
            "rotation": RotationSpec(enabled=True, period_days=90)}  # fmt: skip
    await planning.declare(key("k", **full))
    await planning.declare(key("k", tags={"a": "1"}, aliases=("two",)))
    spec = planning.key().spec
    assert (spec.description, spec.tags, spec.aliases, spec.enabled) == ("", {"a": "1"}, ("two",), True)
    assert spec.rotation == RotationSpec()
    assert of_key(planning) == {f"set:{SET}": {"tags.a": "1", "aliases.two": True}}


async def test_a_default_that_is_spelled_out_is_stated(planning: Planning) -> None:
    """``enabled: true`` in a file says more than nothing: the set puts it right, and another may not change it."""
    document = key("k")

    async def plan(written: dict[str, Any], spec_set: str = SET) -> Any:
        def work(tx: Any) -> Any:
            from controlplane.planning import apply
            from controlplane.planning.planner import make_plan

            draft = make_plan(tx, received([document], [written]), spec_set, planning.around())
            apply.keep(tx, draft)
            return draft.plan

        return await planning.write(work)

    await planning.apply(await plan({}))
    stated = await plan({"enabled": True, "rotation": {"enabled": False}})
    assert (only(stated).reason, only(stated).fields) == (PlanReason.OWNERSHIP_CHANGED, ())
    await planning.apply(stated)
    assert of_key(planning) == {f"set:{SET}": {"enabled": True, "rotation.enabled": False}}
    assert (await plan({"enabled": True, "rotation": {"enabled": False}})).empty
    await by_hand(planning, enabled=False)
    change = only(await plan({"enabled": True, "rotation": {"enabled": False}}))
    assert (change.action, paths(change)) == (Action.UPDATE, {"enabled": (False, None)})
    assert change.message == "enabled was changed through the KMS API by user/alice"


async def test_the_order_of_aliases_is_no_difference(planning: Planning) -> None:
    await planning.declare(key("k", aliases=("a", "b")))
    assert (await planning.plan(key("k", aliases=("b", "a")))).empty


# ---- two sets on one object ------------------------------------------------------------------------------------------


async def test_two_sets_share_an_object_on_different_fields(planning: Planning) -> None:
    await planning.declare(key("k", description="mine"))
    plan = await planning.declare(key("k", tags={"cost": "7"}), spec_set=OTHER)
    assert told(plan) == {"k": (Action.UPDATE, "SpecChanged")}
    assert planning.key().metadata.spec_set == SET, "the owner stays"
    for documents, spec_set in (([key("k", description="mine")], SET), ([key("k", tags={"cost": "7"})], OTHER)):
        assert (await planning.plan(*documents, spec_set=spec_set)).empty
    await planning.declare(key("k", description="new"))
    await planning.declare(key("k", tags={"cost": "8"}), spec_set=OTHER)
    spec = planning.key().spec
    assert (spec.description, spec.tags) == ("new", {"cost": "8"})
    assert of_key(planning) == {f"set:{SET}": {"description": "new"}, f"set:{OTHER}": {"tags.cost": "8"}}


async def test_the_same_value_may_be_stated_twice(planning: Planning) -> None:
    await planning.declare(key("k", tags={"team": "a"}))
    plan = await planning.declare(key("k", tags={"team": "a", "cost": "1"}), spec_set=OTHER)
    assert not plan.counts.blocked
    await planning.declare(key("k"))  # lets go of it; the other one still states it
    assert planning.key().spec.tags == {"team": "a", "cost": "1"}


async def test_a_field_that_another_set_states_is_taken_only_on_purpose(planning: Planning) -> None:
    await planning.declare(key("k", description="mine", tags={"team": "a"}))
    theirs = key("k", description="theirs")
    plan = await planning.plan(theirs, spec_set=OTHER)
    change = only(plan)
    assert (change.action, change.reason) == (Action.BLOCKED, PlanReason.FIELD_OWNED)
    assert "description is stated by spec set payments" in change.message
    assert "--take-ownership" in change.message
    before = planning.everything()
    with pytest.raises(Blocked):
        await planning.apply(plan)
    assert planning.everything() == before

    plan = await planning.declare(theirs, spec_set=OTHER, take_ownership=True)
    assert only(plan).message == "description is taken from spec set payments"
    assert of_key(planning) == {f"set:{SET}": {"tags.team": "a"}, f"set:{OTHER}": {"description": "theirs"}}
    back = only(await planning.plan(key("k", description="mine", tags={"team": "a"})))
    assert (back.action, back.reason) == (Action.BLOCKED, PlanReason.FIELD_OWNED)
    assert (await planning.plan(key("k", tags={"team": "a"}))).empty


async def test_a_field_that_two_sets_state_alike_is_kept_by_the_one_when_the_other_changes_it(
    planning: Planning,
) -> None:
    await planning.declare(key("k", description="both"))
    plan = await planning.declare(key("k", description="both"), spec_set=OTHER)
    assert told(plan) == {"k": (Action.UPDATE, "OwnershipChanged")}
    assert of_key(planning) == {f"set:{each}": {"description": "both"} for each in (SET, OTHER)}
    assert told(await planning.plan(key("k", description="mine"))) == {"k": (Action.BLOCKED, "FieldOwned")}
    assert (await planning.declare(key("k"))).counts.update == 1, "it lets go of it, and the other keeps it"
    assert planning.key().spec.description == "both"


async def test_a_set_that_states_no_field_does_not_share(planning: Planning) -> None:
    await planning.declare(key("k"))
    assert told(await planning.plan(key("k"), spec_set=OTHER)) == {"k": (Action.BLOCKED, "OwnedElsewhere")}


async def test_a_shared_object_is_let_go_of_and_not_deleted_by_the_set_that_does_not_own_it(planning: Planning) -> None:
    await planning.declare(key("k", description="mine"))
    await planning.declare(key("k", tags={"cost": "7"}, aliases=("theirs",)), spec_set=OTHER)
    blocked = only(await planning.plan())
    assert (blocked.action, blocked.reason) == (Action.BLOCKED, PlanReason.SHARED)
    assert OTHER in blocked.message
    plan = await planning.declare(spec_set=OTHER)
    assert told(plan) == {"k": (Action.UPDATE, "Released")}
    assert paths(only(plan)) == {"tags.cost": ("7", None), "aliases": (("theirs",), None)}
    spec = planning.key().spec
    assert (spec.description, spec.tags, spec.aliases) == ("mine", {}, ())
    assert of_key(planning) == {f"set:{SET}": {"description": "mine"}}
    assert told(await planning.plan()) == {"k": (Action.SCHEDULE_DELETION, "RemovedFromSet")}


async def test_an_administrator_is_let_go_of_unless_that_ends_the_last_one(planning: Planning) -> None:
    await planning.declare(person("p", description="mine"))
    await planning.declare(person("p", tags={"cost": "7"}), spec_set=OTHER)
    assert told(await planning.declare(spec_set=OTHER)) == {"p": (Action.UPDATE, "Released")}
    await planning.declare(person("p", administrator=True), spec_set=OTHER)
    await planning.give_token("p")
    assert told(await planning.plan(spec_set=OTHER)) == {"p": (Action.BLOCKED, "LastAdministrator")}
    await planning.declare(person("p", administrator=True, tags={"cost": "7"}), spec_set=OTHER)
    await planning.declare(person("p", description="mine", administrator=True))
    assert told(await planning.plan(spec_set=OTHER)) == {"p": (Action.UPDATE, "Released")}


async def test_what_was_changed_through_an_api_belongs_to_it_until_it_is_taken(planning: Planning) -> None:
    await planning.declare(key("k"))
    await by_hand(planning, tags={"cost": "7"})
    assert of_key(planning)[KMS] == {"tags.cost": "7"}
    change = only(await planning.plan(key("k", tags={"cost": "8"})))
    assert (change.action, change.reason) == (Action.BLOCKED, PlanReason.FIELD_OWNED)
    assert "the KMS API (user/alice)" in change.message
    assert not (await planning.plan(key("k", tags={"cost": "7"}))).counts.blocked, "the same value is no conflict"
    await planning.declare(key("k", tags={"cost": "8"}), take_ownership=True)
    assert of_key(planning) == {f"set:{SET}": {"tags.cost": "8"}}


async def test_a_put_changes_fields_as_the_api(planning: Planning) -> None:
    await planning.declare(key("k", description="mine", tags={"a": "1"}))
    await planning.put(key("k", description="theirs", tags={"b": "2"}), SET)
    assert planning.key().spec.tags == {"b": "2"}, "a put is the whole truth"
    assert of_key(planning)[API] == {"description": "theirs", "tags.a": None, "tags.b": "2"}
    change = only(await planning.plan(key("k", description="mine", tags={"a": "1"})))
    assert paths(change) == {"description": ("theirs", "mine"), "tags.a": (None, "1")}
    assert "through the reconciliation API by me" in change.message


async def test_objects_from_before_there_were_claims_are_stated_whole_by_their_set(planning: Planning) -> None:
    await planning.declare(key("k", description="x", tags={"a": "1"}))
    await planning.write(lambda tx: tx.execute("DELETE FROM claims"))
    assert (await planning.plan(key("k", description="x", tags={"a": "1"}))).empty
    change = only(await planning.plan(key("k", tags={"a": "1"})))
    assert paths(change) == {"description": ("x", None)}
    await planning.declare(key("k", tags={"a": "1"}))
    assert of_key(planning) == {f"set:{SET}": {"tags.a": "1"}}


# ---- management ------------------------------------------------------------------------------------------------------


async def test_an_object_made_through_an_api_is_adopted_only_on_purpose(planning: Planning) -> None:
    await planning.put(key("k", description="by hand", tags={"a": "1"}))
    blocked = only(await planning.plan(key("k", tags={"a": "2"})))
    assert (blocked.action, blocked.reason) == (Action.BLOCKED, PlanReason.OWNED_ELSEWHERE)
    assert "management: adopt" in blocked.message
    document = key("k", tags={"a": "2"}, management=Management.ADOPT)
    plan = await planning.declare(document)
    assert (only(plan).action, only(plan).reason, plan.counts) == (Action.ADOPT, PlanReason.ADOPTED, Counts(adopt=1))
    found = planning.key()
    assert (found.metadata.spec_set, found.spec.description, found.spec.tags) == (SET, "by hand", {"a": "2"})
    assert (await planning.plan(document)).empty
    assert told(await planning.plan()) == {"k": (Action.SCHEDULE_DELETION, "RemovedFromSet")}


async def test_what_is_adopted_by_one_set_is_not_adopted_by_another(planning: Planning) -> None:
    await planning.put(key("k"))
    document = key("k", tags={"a": "1"}, management=Management.ADOPT)
    mine, theirs = await planning.plan(document), await planning.plan(document, spec_set=OTHER)
    await planning.apply(mine)
    with pytest.raises(StalePlan, match="was changed"):
        await planning.apply(theirs)
    again = only(await planning.plan(document, spec_set=OTHER))
    assert (again.action, again.reason) == (Action.BLOCKED, PlanReason.OWNED_ELSEWHERE)
    assert f"belongs to spec set {SET}" in again.message


@pytest.mark.parametrize("management", [Management.ADOPT, Management.OBSERVE])
async def test_there_is_nothing_to_adopt_where_nothing_is(planning: Planning, management: Management) -> None:
    change = only(await planning.plan(key("k", management=management)))
    assert (change.action, change.reason) == (Action.BLOCKED, PlanReason.NOTHING_TO_ADOPT)


async def test_what_is_only_observed_is_never_written_and_never_deleted(planning: Planning) -> None:
    await planning.put(key("k", description="by hand"))
    document = key("k", description="declared", enabled=False, management=Management.OBSERVE)
    plan = await planning.declare(document)
    assert (only(plan).action, paths(only(plan))) == (Action.ADOPT, {"management": (None, "observe")})
    assert (planning.key().spec.description, planning.key().spec.enabled) == ("by hand", True)
    assert (await planning.plan(document)).empty
    uid = planning.key().metadata.uid
    assert planning.database.read(lambda tx: claims.unsure(tx, uid)), "whoever looks for drift looks here"
    plan = await planning.declare()
    assert told(plan) == {"k": (Action.FORGET, "RemovedFromSet")}
    found = planning.key()
    assert (found.metadata.spec_set, found.metadata.deletion, of_key(planning)) == (None, None, {})


@pytest.mark.parametrize("make", [key, person, store, proxy])
async def test_what_is_kept_on_delete_is_forgotten(planning: Planning, make: Any) -> None:
    document = make("k", management=Management.KEEP_ON_DELETE)
    await planning.declare(document)
    plan = await planning.declare()
    assert (only(plan).action, plan.counts) == (Action.FORGET, Counts(forget=1))
    found = planning.get("k", document.kind)
    assert (found.metadata.spec_set, found.metadata.deletion) == (None, None)
    assert (await planning.plan()).empty


# ---- moved -----------------------------------------------------------------------------------------------------------


async def test_a_key_that_moved_keeps_its_uid_and_its_material(planning: Planning) -> None:
    await planning.declare(key("old", description="x", aliases=("a",)))
    before = planning.key("old")
    document = moved("new", "old", description="y", aliases=("a",))
    plan = await planning.declare(document)
    assert (only(plan).action, only(plan).reason) == (Action.UPDATE, PlanReason.MOVED)
    assert paths(only(plan)) == {"metadata.name": ("old", "new"), "description": ("x", "y")}
    after = planning.key("new")
    assert (after.metadata.uid, after.status) == (before.metadata.uid, before.status)
    assert planning.find("old") is None
    assert (await planning.plan(document)).empty
    assert (await planning.plan(key("new", description="y", aliases=("a",)))).empty


async def test_what_names_a_key_follows_it(planning: Planning) -> None:
    await planning.declare(key("old", multi_region=True), key("r", replica_of="old", region="eu-west-1"))
    await planning.declare(moved("new", "old", multi_region=True), key("r", replica_of="new", region="eu-west-1"))
    assert planning.key("r").spec.replica_of == "new"


async def test_a_key_cannot_move_onto_another_or_out_of_another_set(planning: Planning) -> None:
    await planning.declare(key("old"), spec_set=OTHER)
    blocked = only(await planning.plan(moved("new", "old", description="x")))
    assert (blocked.action, blocked.reason) == (Action.BLOCKED, PlanReason.OWNED_ELSEWHERE)
    await planning.declare(key("mine"))
    with pytest.raises(InvalidSpec, match="is declared, too"):
        await planning.plan(moved("new", "mine"), key("mine"))
    with pytest.raises(InvalidSpec, match="Key `mine` becomes `new` already"):
        await planning.plan(moved("new", "mine"), moved("newer", "mine"))
    with pytest.raises(InvalidSpec, match="cannot be renamed"):
        await planning.plan(store(), formerly("hsm-a", store("hsm-b")))
    # The new name was taken long ago: the document is about that key, and the old one leaves.
    await planning.declare(key("mine"), key("taken"))
    plan = await planning.plan(moved("taken", "mine"))
    assert told(plan) == {"mine": (Action.SCHEDULE_DELETION, "RemovedFromSet")}


async def test_a_key_of_the_kms_api_is_adopted_under_a_name_of_its_own(planning: Planning) -> None:
    spec, now = capabilities.complete(DesiredKey(region="us-east-1"), "standard")[0], planning.clock.now()
    made = await planning.write(lambda tx: keys.create(tx, desired=spec, account="000000000000", now=now))
    plan = await planning.declare(moved("payments", made.metadata.name, management=Management.ADOPT))
    assert only(plan).action is Action.ADOPT
    found = planning.key("payments")
    assert (found.metadata.uid, found.metadata.spec_set) == (made.metadata.uid, SET)


# ---- targets ---------------------------------------------------------------------------------------------------------


async def test_a_target_leaves_out_all_else_but_what_it_needs(planning: Planning) -> None:
    await planning.declare(key("gone"), key("gone-too"))
    documents = [store(), key("a", key_store="hsm-a"), key("b")]
    plan = await planning.plan(*documents, targets=("Key/a", "Key/gone"))
    assert told(plan) == {
        "hsm-a": (Action.CREATE, "Declared"),
        "a": (Action.CREATE, "Declared"),
        "gone": (Action.SCHEDULE_DELETION, "RemovedFromSet"),
    }
    assert plan.targets == ("Key/a", "Key/gone")
    await planning.apply(plan)
    assert planning.find("b") is None
    for wrong in ("Key/nowhere", "a", "Kay/a"):
        with pytest.raises(InvalidInput, match="Key/NAME"):
            await planning.plan(*documents, targets=(wrong,))


# ---- warnings --------------------------------------------------------------------------------------------------------


def policy_for(*principals: str) -> PolicySource:
    statement = {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": "kms:*", "Resource": "*"}
    return PolicySource(document=msgspec.json.encode({"Statement": [statement]}).decode())


def warnings(plan: Any) -> dict[str, list[PlanWarning]]:
    return {change.name: [each.warning for each in change.warnings] for change in plan.changes if change.warnings}


async def test_a_policy_that_leaves_nobody_to_change_it_is_warned_of(planning: Planning) -> None:
    user = "arn:aws:iam::000000000000:user/p"
    locked = key("k", policy=policy_for(user))
    assert warnings(await planning.plan(locked)) == {"k": [PlanWarning.POLICY_LOCKOUT]}
    assert warnings(await planning.plan(locked, person("p"))) == {}, "whom the policy names is declared beside it"
    await planning.declare(person("p"), spec_set=OTHER)
    assert warnings(await planning.plan(locked)) == {}
    root = key("k", policy=policy_for("arn:aws:iam::000000000000:root"))
    assert warnings(await planning.plan(root)) == {"k": [PlanWarning.POLICY_LOCKOUT]}, "nobody has identity policies"
    admin = person("boss", administrator=True)
    assert warnings(await planning.plan(root, admin)) == {}


async def test_disabling_a_key_that_is_in_use_is_warned_of(planning: Planning) -> None:
    await planning.declare(key("k"))
    uid, now = planning.key().metadata.uid, planning.clock.time()
    await planning.write(
        lambda tx: last_uses.put(tx, [last_uses.LastUse(uid=uid, operation="Encrypt", at=now, request_id="r")])
    )
    assert warnings(await planning.plan(key("k", enabled=False))) == {"k": [PlanWarning.USED_RECENTLY]}
    planning.clock.advance(90_000)
    assert warnings(await planning.plan(key("k", enabled=False))) == {}


async def test_disconnecting_a_store_with_live_keys_is_warned_of(planning: Planning) -> None:
    await planning.declare(store(), store("empty"), key("k", key_store="hsm-a"))
    plan = await planning.plan(store(connected=False), store("empty", connected=False), key("k", key_store="hsm-a"))
    assert warnings(plan) == {"hsm-a": [PlanWarning.STORE_DISCONNECTED]}


async def test_protection_holds_against_taking_and_moving(planning: Planning) -> None:
    protected = DeletionSpec(protect=True)
    await planning.declare(key("old", deletion=protected))
    together = only(await planning.plan(moved("new", "old", description="x")))
    assert together.reason is PlanReason.PROTECTION_LIFTED_APART
    assert isinstance(planning.key("old"), Key)
    assert planning.database.read(lambda tx: objects.count(tx, Kind.KEY)) == 1
