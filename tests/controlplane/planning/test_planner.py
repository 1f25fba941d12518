"""What a plan says: everything that an apply will do, nothing else, and for every obstacle what to do instead."""

from __future__ import annotations

import msgspec
import pytest

from controlplane.errors import Blocked, InvalidSpec
from controlplane.planning import apply
from controlplane.schema.keys import DeletionSpec, KeySpec, KeyUsage, Origin, PolicySource
from controlplane.schema.keystores import STANDARD, DesiredKeyStore
from controlplane.schema.meta import DeletionRequest, KeyStore, Kind
from controlplane.schema.plans import Action, Counts, PlanReason
from controlplane.schema.principals import PrincipalType
from controlplane.store import keys
from tests.controlplane.planning.samples import ACCOUNT, Planning, key, only, paths, person, store, told

POLICY = PolicySource(
    document='{"Statement": [{"Effect": "Allow",\n "Principal": "*", "Action": "kms:*", "Resource": "*"}]}'
)


async def test_a_new_object_is_created_and_shows_what_it_will_be(planning: Planning) -> None:
    plan = await planning.plan(key("k", description="x", aliases=("a",)), store(), person())
    assert told(plan) == dict.fromkeys(("k", "hsm-a", "p"), (Action.CREATE, "Declared"))
    assert plan.counts == Counts(create=3)
    created = next(change for change in plan.changes if change.name == "k")
    assert paths(created) == {
        "aliases": (None, ("a",)),
        "description": (None, "x"),
        "keyUsage": (None, "ENCRYPT_DECRYPT"),
        "origin": (None, "AWS_KMS"),
        "region": (None, "us-east-1"),
    }
    assert [field.path for field in created.fields if not field.known] == ["keyId"]
    assert (created.uid, created.generation) == (None, 0)


async def test_planning_changes_nothing(planning: Planning) -> None:
    await planning.declare(key())
    before = planning.everything()
    await planning.plan(key("k", description="x"), key("l"))
    assert planning.everything() == before


async def test_what_is_as_declared_is_not_in_the_plan(planning: Planning) -> None:
    documents = (key("k", aliases=("a",), tags={"t": ""}, policy=POLICY), store(), person())
    await planning.declare(*documents)
    plan = await planning.plan(*documents)
    assert plan.empty
    assert plan.counts == Counts(unchanged=3)


async def test_a_change_shows_its_fields_and_the_generation_it_was_compared_with(planning: Planning) -> None:
    await planning.declare(key("k", tags={"a": "1", "b": "2"}))
    change = only(await planning.plan(key("k", tags={"a": "1", "b": "3"}, enabled=False)))
    assert (change.action, change.reason) == (Action.UPDATE, PlanReason.SPEC_CHANGED)
    assert paths(change) == {"enabled": (None, False), "tags.b": ("2", "3")}
    assert change.generation == 1
    assert change.uid == planning.key().metadata.uid
    assert change.unchanged_fields == 4


async def test_to_spell_out_a_default_is_no_change_and_no_move_of_the_key(planning: Planning) -> None:
    await planning.declare(key("k"))
    spelled = msgspec.json.decode(
        b'{"apiVersion":"keystead/v1","kind":"Key","metadata":{"name":"k"},"spec":{"keyStore":"standard",'
        b'"keySpec":"SYMMETRIC_DEFAULT","keyUsage":"ENCRYPT_DECRYPT","origin":"AWS_KMS","description":"new",'
        b'"deletion":{"windowDays":30},"rotation":{"periodDays":365}}}',
        type=type(key()),
    )
    change = only(await planning.plan(spelled))
    assert change.action is Action.UPDATE
    assert paths(change) == {"description": (None, "new")}


# ---- removal ---------------------------------------------------------------------------------------------------------


async def test_what_left_the_set_leaves_each_in_its_way(planning: Planning) -> None:
    await planning.declare(key("k", deletion=DeletionSpec(window_days=9)), store(), person())
    plan = await planning.plan()
    assert told(plan) == {
        "k": (Action.SCHEDULE_DELETION, "RemovedFromSet"),
        "hsm-a": (Action.DELETE, "RemovedFromSet"),
        "p": (Action.DELETE, "RemovedFromSet"),
    }
    assert next(change for change in plan.changes if change.name == "k").window_days == 9
    assert plan.counts == Counts(schedule_deletion=1, delete=2)


async def test_other_sets_and_what_belongs_to_none_are_left_alone(planning: Planning) -> None:
    await planning.declare(key("theirs"), person("they"), spec_set="other")
    await planning.put(key("nobodys"))
    assert (await planning.plan()).empty


async def test_a_key_whose_state_forbids_its_deletion_is_not_removed(planning: Planning) -> None:
    kept = await planning.plan(key("new"))
    now = planning.clock.now()
    await planning.write(lambda tx: apply.apply_stored(tx, kept.id, account=ACCOUNT, by="me", now=now))
    removal = only(await planning.plan())
    assert (removal.action, removal.reason) == (Action.BLOCKED, PlanReason.KEY_STATE)
    assert "is creating" in removal.message
    await planning.make_material()
    assert only(await planning.plan()).action is Action.SCHEDULE_DELETION


async def test_what_waits_for_its_deletion_is_not_removed_again(planning: Planning) -> None:
    await planning.declare(key("k"), store())
    await planning.declare()
    assert (await planning.plan()).empty


async def test_a_set_of_more_than_one_page_is_pruned_whole(planning: Planning) -> None:
    await planning.declare(*(key(f"k{number:04}") for number in range(501)))
    plan = await planning.plan(key("k0500"))
    assert plan.counts == Counts(schedule_deletion=500, unchanged=1)


# ---- obstacles -------------------------------------------------------------------------------------------------------


async def test_a_protected_key_does_not_leave_with_its_document(planning: Planning) -> None:
    await planning.declare(key("k", deletion=DeletionSpec(protect=True)))
    change = only(await planning.plan())
    assert (change.action, change.reason) == (Action.BLOCKED, PlanReason.PROTECTED)
    assert "lift the protection first" in change.message


async def test_protection_is_lifted_by_an_apply_of_its_own(planning: Planning) -> None:
    protected = DeletionSpec(protect=True)
    await planning.declare(key("k", deletion=protected))
    assert only(await planning.plan(key("k", description="x", deletion=protected))).action is Action.UPDATE
    change = only(await planning.plan(key("k", description="x")))
    assert (change.action, change.reason) == (Action.BLOCKED, PlanReason.PROTECTION_LIFTED_APART)
    plan = await planning.plan(key("k"))
    assert paths(only(plan)) == {"deletion.protect": (True, None)} or paths(only(plan)) == {"deletion": ({}, None)}
    await planning.apply(plan)
    assert told(await planning.plan()) == {"k": (Action.SCHEDULE_DELETION, "RemovedFromSet")}


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (
            {"key_spec": KeySpec.RSA_2048, "key_usage": KeyUsage.SIGN_VERIFY},
            {"key_spec": KeySpec.RSA_3072, "key_usage": KeyUsage.SIGN_VERIFY},
            "keySpec",
        ),
        (
            {"key_spec": KeySpec.RSA_2048, "key_usage": KeyUsage.SIGN_VERIFY},
            {"key_spec": KeySpec.RSA_2048, "key_usage": KeyUsage.ENCRYPT_DECRYPT},
            "keyUsage",
        ),
        ({"origin": Origin.AWS_KMS}, {"origin": Origin.EXTERNAL}, "origin"),
        ({}, {"region": "eu-west-1"}, "region"),
        ({}, {"multi_region": True}, "multiRegion"),
        ({}, {"key_store": "hsm-b", "origin": Origin.AWS_CLOUDHSM}, "keyStore"),
    ],
)
async def test_what_cannot_change_in_place_is_blocked_and_nothing_is_replaced(
    planning: Planning, before: dict[str, object], after: dict[str, object], path: str
) -> None:
    await planning.declare(key("k", **before), store("hsm-b"))
    change = only(await planning.plan(key("k", **after), store("hsm-b")))
    assert (change.action, change.reason) == (Action.BLOCKED, PlanReason.IMMUTABLE_FIELD)
    assert path in change.message
    assert "declare a second key" in change.message
    assert next(field for field in change.fields if field.path == path).immutable


async def test_types_of_stores_and_principals_do_not_change_in_place(planning: Planning) -> None:
    await planning.declare(store("s"), person("p"))
    plan = await planning.plan(store("s", type="pkcs11"), person("p", type=PrincipalType.ROLE))
    assert told(plan) == dict.fromkeys(("s", "p"), (Action.BLOCKED, "ImmutableField"))


async def test_an_object_of_another_set_or_of_none_is_not_taken_over(planning: Planning) -> None:
    await planning.declare(key("theirs"), spec_set="other")
    await planning.put(key("nobodys"))
    plan = await planning.plan(key("theirs"), key("nobodys"))
    assert told(plan) == dict.fromkeys(("theirs", "nobodys"), (Action.BLOCKED, "OwnedElsewhere"))
    messages = {change.name: change.message for change in plan.changes}
    assert "spec set other" in messages["theirs"]
    assert "no spec set" in messages["nobodys"]


async def test_a_key_that_waits_for_its_deletion_is_not_declared_back_silently(planning: Planning) -> None:
    await planning.declare(key("k"), store())
    await planning.declare()
    plan = await planning.plan(key("k"), store())
    assert told(plan) == dict.fromkeys(("k", "hsm-a"), (Action.BLOCKED, "PendingDeletion"))
    messages = {change.name: change.message for change in plan.changes}
    assert "keystead cancel-deletion k" in messages["k"]
    assert "cancel-deletion" not in messages["hsm-a"], "a key store cannot be brought back that way"


async def test_a_store_with_keys_stays(planning: Planning) -> None:
    inside = key("k", key_store="hsm-a")
    await planning.declare(store(), inside)
    plan = await planning.plan()
    assert told(plan)["hsm-a"] == (Action.BLOCKED, "KeysInStore")
    assert told(plan)["k"] == (Action.SCHEDULE_DELETION, "RemovedFromSet")
    assert told(await planning.plan(inside)) == {"hsm-a": (Action.BLOCKED, "KeysInStore")}


async def test_a_store_does_not_leave_in_the_plan_that_makes_its_first_key(planning: Planning) -> None:
    await planning.declare(store())
    plan = await planning.plan(key("k", key_store="hsm-a"))
    assert told(plan) == {"k": (Action.CREATE, "Declared"), "hsm-a": (Action.BLOCKED, "KeysInStore")}


async def test_an_alias_of_a_key_outside_is_not_taken(planning: Planning) -> None:
    await planning.put(key("outside", aliases=("a",)))
    await planning.declare(key("theirs", aliases=("b",)), spec_set="other")
    await planning.declare(key("k"))
    plan = await planning.plan(key("k", aliases=("a",)), key("l", aliases=("b",)), key("m", aliases=("c",)))
    assert told(plan) == {
        "k": (Action.BLOCKED, "AliasTaken"),
        "l": (Action.BLOCKED, "AliasTaken"),
        "m": (Action.CREATE, "Declared"),
    }
    assert planning.key("outside").status.arn in next(c for c in plan.changes if c.name == "k").message
    assert not (await planning.plan(key("k", aliases=("a",), region="us-east-1"))).empty


async def test_an_alias_of_a_key_that_leaves_is_not_taken_while_it_can_come_back(planning: Planning) -> None:
    await planning.declare(key("old", aliases=("a",)))
    plan = await planning.plan(key("new", aliases=("a",)))
    assert told(plan) == {
        "new": (Action.BLOCKED, "AliasTaken"),
        "old": (Action.SCHEDULE_DELETION, "RemovedFromSet"),
    }


async def test_an_alias_moves_within_a_set(planning: Planning) -> None:
    await planning.declare(key("old", aliases=("a",)))
    plan = await planning.plan(key("old"), key("new", aliases=("a",)))
    assert told(plan) == {"new": (Action.CREATE, "Declared"), "old": (Action.UPDATE, "SpecChanged")}


async def test_the_last_administrator_who_can_come_in_stays(planning: Planning) -> None:
    people = [person("a", administrator=True), person("b", administrator=True), person("c")]
    await planning.declare(*people)
    assert told(await planning.plan()) == dict.fromkeys("abc", (Action.DELETE, "RemovedFromSet")), "nobody can"
    await planning.give_token("a")
    await planning.give_token("c")
    blocked = (Action.BLOCKED, "LastAdministrator")
    removed, update = (Action.DELETE, "RemovedFromSet"), (Action.UPDATE, "SpecChanged")
    assert told(await planning.plan(*people[1:])) == {"a": blocked}
    assert told(await planning.plan(person("a"), *people[1:])) == {"a": blocked}
    assert told(await planning.plan(person("a", description="d", administrator=True), *people[1:])) == {"a": update}
    promoted = person("c", administrator=True)
    assert told(await planning.plan(people[1], promoted)) == {"a": removed, "c": update}, "another one comes in"
    with pytest.raises(Blocked, match="the last administrator"):
        await planning.declare(*people[1:])
    await planning.declare(people[1], promoted)
    assert told(await planning.plan(people[1])) == {"c": blocked}


# ---- documents that cannot be planned --------------------------------------------------------------------------------


async def refusals(planning: Planning, *documents: object) -> list[tuple[int | None, str | None]]:
    before = planning.everything()
    with pytest.raises(InvalidSpec) as caught:
        await planning.plan(*documents)  # type: ignore[arg-type]
    assert planning.everything() == before
    return [(problem.document, problem.path) for problem in caught.value.problems]


async def test_every_problem_of_every_document_is_told_at_once(planning: Planning) -> None:
    found = await refusals(
        planning,
        key("one", key_spec=KeySpec.RSA_2048),
        key("two", key_store="absent"),
        key("three", region="ap-south-1"),
        key("four", policy=PolicySource(document="{}")),
        key("five", key_store="hsm-a", key_spec=KeySpec.HMAC_256, multi_region=True),
        key("six", aliases=("a",)),
        key("seven", aliases=("a",)),
        key("six"),
        store(),
        person("p", policies={"x": PolicySource(document='{"Statement": []}')}),
        key("eight", policy=PolicySource(from_file="policy.json")),
    )
    assert set(found) == {
        (1, "spec.keyUsage"),
        (2, "spec.keyStore"),
        (3, "spec.region"),
        (4, "spec.policy"),
        (5, "spec.keySpec"),
        (5, "spec.multiRegion"),
        (7, "spec.aliases[0]"),
        (8, "metadata.name"),
        (10, "spec.policies.x"),
        (11, "spec.policy.fromFile"),
    }


@pytest.mark.parametrize(
    "regions", [(None, "us-east-1"), ("us-east-1", None), ("us-east-1", "us-east-1"), (None, None)]
)
async def test_one_alias_for_two_keys_is_found_also_where_one_leaves_the_region_out(
    planning: Planning, regions: tuple[str | None, str | None]
) -> None:
    documents = [key(name, aliases=("a",), region=region) for name, region in zip("kl", regions, strict=True)]
    assert await refusals(planning, *documents) == [(2, "spec.aliases[0]")]


async def test_one_alias_in_two_regions_is_two(planning: Planning) -> None:
    await planning.declare(key("k", aliases=("a",)), key("l", aliases=("a",), region="eu-west-1"))


async def test_what_the_store_was_seen_to_offer_counts(planning: Planning) -> None:
    standard = planning.get(STANDARD, Kind.KEY_STORE)
    assert isinstance(standard, KeyStore)
    offered = {KeySpec.RSA_2048: (KeyUsage.SIGN_VERIFY,)}
    await planning.replace(standard, status=msgspec.structs.replace(standard.status, key_specs=offered))
    rsa = key("rsa", key_spec=KeySpec.RSA_2048, key_usage=KeyUsage.ENCRYPT_DECRYPT)
    assert await refusals(planning, key("k"), rsa) == [(1, "spec.keySpec"), (2, "spec.keyUsage")]


async def test_no_key_is_made_in_a_store_that_is_being_removed(planning: Planning) -> None:
    await planning.declare(store())
    now = planning.clock.now()
    request = DeletionRequest(requested_at=now, due_at=now, window_days=0, requested_by="me")
    await planning.replace(planning.get("hsm-a", Kind.KEY_STORE), deletion=request)
    assert await refusals(planning, key("k", key_store="hsm-a")) == [(1, "spec.keyStore")]


# ---- secrets ---------------------------------------------------------------------------------------------------------


async def test_secrets_are_masked_and_that_they_differ_is_shown(planning: Planning) -> None:
    options = {
        "module": "lib.so",
        "pin": "1234-old",
        "userPin": "1234-old",
        "auth": {"clientSecret": "1234-old", "user": "u"},
        "servers": [{"host": "h", "password": "1234-old"}],
        "apiToken": None,
    }
    plan = await planning.plan(store("s", type="somebodys", memory=None, options=options))
    assert "1234" not in msgspec.json.encode(plan).decode()
    shown = {field.path: (field.after, field.sensitive) for field in only(plan).fields}
    assert shown["options.module"] == ("lib.so", False)
    assert shown["options.auth.user"] == ("u", False)
    assert shown["options.pin"] == shown["options.userPin"] == ("(sensitive)", True)
    assert shown["options.auth.clientSecret"] == shown["options.servers"] == ("(sensitive)", True)
    await planning.apply(plan)
    changed = await planning.plan(
        store("s", type="somebodys", options={**options, "pin": "1234-new", "module": "other.so"})
    )
    assert "1234" not in msgspec.json.encode(changed).decode()
    assert paths(only(changed)) == {
        "options.module": ("lib.so", "other.so"),
        "options.pin": ("(sensitive)", "(sensitive)"),
    }
    spec = planning.get("s", Kind.KEY_STORE).spec
    assert isinstance(spec, DesiredKeyStore)
    assert spec.options == options, "what is stored is not masked"


async def test_a_tag_that_is_named_like_a_secret_is_none(planning: Planning) -> None:
    change = only(await planning.plan(key("k", tags={"token": "blue"})))
    assert paths(change)["tags.token"] == (None, "blue")


async def test_a_plan_puts_right_what_the_set_states_and_other_doors_changed(planning: Planning) -> None:
    await planning.declare(key("k", description="declared"))
    await planning.change("k", description="by hand", enabled=False)
    change = only(await planning.plan(key("k", description="declared")))
    assert paths(change) == {"description": ("by hand", "declared")}, "what nobody states is left as it is"
    uid, now = planning.key().metadata.uid, planning.clock.now()
    await planning.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="me", now=now))
    assert only(await planning.plan(key("k", description="declared"))).reason is PlanReason.PENDING_DELETION
