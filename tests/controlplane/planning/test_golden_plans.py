"""Plans of a real planner and a real database, as text and as JSON, against golden files that are read in review.

``make golden`` writes them anew (``tests/golden.py``). Together they show every action, every reason and every warning
that a plan can have. Ids that are drawn are numbered in order of appearance.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from controlplane.domain.ownership import KMS
from controlplane.report import plan_footer, plan_lines
from controlplane.schema.keys import DeletionSpec, KeySpec, KeyUsage, Management, Origin, PolicySource, RotationSpec
from controlplane.schema.meta import Kind
from controlplane.schema.plans import Action, Plan, PlanReason, PlanWarning
from controlplane.schema.xksproxies import XksExposure
from controlplane.store import keys, last_uses
from controlplane.store.last_uses import LastUse
from tests.controlplane.planning.samples import Planning, formerly, key, person, proxy, store
from tests.golden import RULES, compare

OTHER = "platform"
PROTECTED = DeletionSpec(protect=True)
LOCKED = PolicySource(
    document='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": '
    '"arn:aws:iam::000000000000:user/nobody"}, "Action": "kms:*", "Resource": "*"}]}'
)
HSM = {"module": "lib.so", "pin": "1234-old", "servers": [{"host": "h", "password": "1234-old"}]}


async def first(at: Planning) -> Plan:
    """Everything is new. Secrets are masked, also deep in a list."""
    return await at.plan(
        store("hsm-a", type="somebodys", options=HSM),
        key("payments", aliases=("payments",), tags={"team": "payments"}, rotation=RotationSpec(enabled=True)),
        key(
            "sign",
            key_spec=KeySpec.ECC_NIST_P256,
            key_usage=KeyUsage.SIGN_VERIFY,
            deletion=DeletionSpec(window_days=7, protect=True),
        ),
        person("ci", description="of the pipeline"),
        proxy("bank", keys={"ext-1": XksExposure(key="payments")}),
    )


async def changes(at: Planning) -> Plan:
    """Update, rename, adopt, forget, delete: what is there changes in every way that it can."""
    await at.declare(
        store("hsm-a", type="somebodys", options=HSM),
        store("hsm-old"),
        key("payments", description="x", tags={"team": "a", "gone": "1"}, aliases=("one", "two")),
        key("old-name", description="x"),
        key("old", deletion=DeletionSpec(window_days=7)),
        key("kept", management=Management.KEEP_ON_DELETE),
        person("old-ci"),
        person("leaves"),
        proxy("old-bank"),
    )
    await at.put(key("found", description="by hand"))
    return await at.plan(
        store("hsm-a", type="somebodys", options={**HSM, "pin": "1234-new", "module": "other.so"}),
        key("payments", description="y", tags={"team": "b"}, aliases=("two", "three")),
        formerly("old-name", key("new-name", description="x")),
        key("found", management=Management.ADOPT, tags={"team": "a"}),
        formerly("old-ci", person("ci")),
        formerly("old-bank", proxy("bank")),
    )


async def warnings(at: Planning) -> Plan:
    """What a person should look at before applying."""
    documents = (store("hsm-a"), key("used"), key("off"), key("locked"), key("in-hsm", key_store="hsm-a"), person("ci"))
    await at.declare(*documents)
    when = at.clock.now() - timedelta(hours=3)
    for name in ("used", "off"):
        use = LastUse(at.get(name).metadata.uid, "Decrypt", when.timestamp(), "r")
        await at.write(lambda tx, use=use: last_uses.put(tx, [use]))  # type: ignore[misc]
    return await at.plan(
        store("hsm-a", connected=False),
        key("off", enabled=False),
        key("locked", policy=LOCKED),
        key("in-hsm", key_store="hsm-a"),
        formerly("ci", person("pipeline")),
    )


async def refusals(at: Planning) -> Plan:
    """Everything that cannot become what is declared, and what would be right."""
    await at.declare(key("theirs"), key("named", aliases=("taken",)), spec_set=OTHER)
    await at.declare(
        store("hsm-a"),
        key("in-hsm", key_store="hsm-a"),
        key("shape"),
        key("protected", deletion=PROTECTED),
        key("lifted", deletion=PROTECTED, description="x"),
        key("going"),
        key("shared"),
        person("admin", administrator=True),
    )
    await at.declare(key("theirs"), key("named", aliases=("taken",)), key("shared", tags={"cost": "7"}), spec_set=OTHER)
    await at.give_token("admin")
    uid, now = at.get("going").metadata.uid, at.clock.now()
    await at.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="user/alice", now=now))
    await at.put(key("by-hand"))
    return await at.plan(
        key("in-hsm", key_store="hsm-a"),
        key("shape", key_spec=KeySpec.RSA_2048, key_usage=KeyUsage.SIGN_VERIFY, origin=Origin.EXTERNAL),
        key("lifted", description="y"),
        key("going"),
        key("theirs"),
        key("by-hand"),
        key("alias", aliases=("taken",)),
        key("nothing", management=Management.ADOPT),
    )


async def creating(at: Planning) -> Plan:
    """A key that is being made does not leave before it is made; its store has it still."""
    await at.write(lambda tx: None)
    plan = await at.plan(store("hsm-a"), key("new", key_store="hsm-a"))
    await at.apply_only(plan)
    return await at.plan()


async def conflict(at: Planning) -> Plan:
    """Others state what this set states: a spec set, and somebody over the KMS API."""
    await _stated_by_others(at)
    return await at.plan(key("k", description="mine", tags={"team": "mine"}))


async def taken(at: Planning) -> Plan:
    """The same with ``--take-ownership``."""
    await _stated_by_others(at)
    return await at.plan(key("k", description="mine", tags={"team": "mine"}), take_ownership=True)


async def _stated_by_others(at: Planning) -> None:
    await at.declare(key("k", description="theirs"), spec_set=OTHER)
    await at.change("k", manager=KMS, by="user/alice", tags={"team": "hers"})


async def released(at: Planning) -> Plan:
    """The set states less of what it shares, and of its own: with ``--target``, so all else is left out."""
    await at.declare(key("k", description="theirs"), spec_set=OTHER)
    await at.declare(key("k", tags={"cost": "7"}), key("mine", description="x"), key("left-out"))
    return await at.plan(key("mine", enabled=True), targets=("Key/k", "Key/mine"))


async def drifted(at: Planning) -> Plan:
    """What was changed past the set is put right, and who changed it is said."""
    await at.declare(key("k", description="declared", enabled=True), key("mine", origin=Origin.EXTERNAL))
    await at.change("k", manager=KMS, by="user/alice", description="by hand", tags={"hers": "1"})
    return await at.plan(key("k", description="declared"), key("mine", origin=Origin.EXTERNAL))


async def stated(at: Planning) -> Plan:
    """Nothing changes but who states what."""
    await at.declare(key("k", description="x"))
    return await at.plan(key("k", description="x", tags={}), key("k2", description=""), spec_set=OTHER)


SCENARIOS: dict[str, Callable[[Planning], Awaitable[Plan]]] = {
    each.__name__: each
    for each in (
        first,
        changes,
        warnings,
        refusals,
        creating,
        conflict,
        taken,
        released,
        drifted,
        stated,
    )
}
_DRAWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def numbered(text: str) -> str:
    """Drawn ids as numbers in order of appearance."""
    seen: dict[str, str] = {}
    return _DRAWN.sub(lambda found: seen.setdefault(found[0], f"00000000-0000-0000-0000-{len(seen) + 1:012}"), text)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_plan_reads_as_its_golden_files(planning: Planning, name: str) -> None:
    plan = await SCENARIOS[name](planning)
    footer = () if plan.empty or plan.counts.blocked else (plan_footer(plan),)
    shown = "".join(f"{line.text}\n" for line in (*plan_lines(plan), *footer))
    as_json = msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"
    for told in (shown, as_json):
        assert "1234" not in told, "a secret is masked"
    compare(RULES / "plans" / f"{name}.txt", numbered(shown))
    compare(RULES / "plans" / f"{name}.json", numbered(as_json))


def test_the_golden_plans_show_every_action_reason_and_warning() -> None:
    plans = [
        msgspec.json.decode((RULES / "plans" / f"{name}.json").read_bytes(), type=Plan, strict=True)
        for name in SCENARIOS
    ]
    changed = [change for plan in plans for change in plan.changes]
    # A store that does not exist is a mistake in the documents (InvalidSpec), not a blocked change.
    assert {change.reason for change in changed} == set(PlanReason) - {PlanReason.STORE_NOT_FOUND}
    assert {change.action for change in changed} == set(Action)
    assert {each.warning for change in changed for each in change.warnings} == set(PlanWarning)
    assert {change.kind for change in changed} == set(Kind)
