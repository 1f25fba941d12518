"""What a plan says beside its changes: keys that wait for material, and keys in use that would be deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import msgspec
import pytest

from controlplane.errors import InvalidSpec
from controlplane.planning import apply
from controlplane.report import plan_lines
from controlplane.schema.keys import (
    ExpirySpec,
    ImportedMaterial,
    ImportState,
    KeyState,
    MaterialEnd,
    MaterialState,
    MaterialStatus,
    Origin,
    RotationSpec,
)
from controlplane.schema.meta import Key
from controlplane.schema.plans import Action, Plan, PlanWarning
from controlplane.store import last_uses
from controlplane.store.last_uses import LastUse
from tests.controlplane.planning.samples import ACCOUNT, Planning, key


def text(plan: Plan) -> str:
    return "\n".join(line.text for line in plan_lines(plan))


async def imported(planning: Planning, *, gone: bool = False, name: str = "mine") -> None:
    """What an import, or its end, leaves in the status of a key."""
    found, now = cast(Key, planning.get(name)), planning.clock.now()
    state = ImportState.PENDING_IMPORT if gone else ImportState.IMPORTED
    what = ImportedMaterial(state=state, imported_at=now)
    if gone:
        what = msgspec.structs.replace(what, ended_at=now, end=MaterialEnd.EXPIRED)
    made = MaterialStatus(material_id="m", name="m", state=MaterialState.CURRENT, created_at=now, imported=what)
    await planning.replace(found, status=msgspec.structs.replace(found.status, materials=(made,)))


async def test_a_key_without_its_material_waits_and_that_is_no_change(planning: Planning) -> None:
    mine = key("mine", origin=Origin.EXTERNAL)
    first = await planning.plan(mine)
    assert first.waiting == ()
    assert [change.action for change in first.changes] == [Action.CREATE]
    now = planning.clock.now()
    await planning.write(lambda tx: apply.apply_stored(tx, first.id, account=ACCOUNT, by="me", now=now))
    second = await planning.plan(mine)
    assert second.empty
    (waiting,) = second.waiting
    assert (waiting.name, waiting.state) == ("mine", KeyState.PENDING_IMPORT)
    assert waiting.message.startswith("waiting for material")
    assert "No changes." in text(second)
    assert "keystead import-material mine parameters" in text(second)
    await imported(planning)
    assert (await planning.plan(mine)).waiting == ()
    await imported(planning, gone=True)
    (again,) = (await planning.plan(mine)).waiting
    assert "expired" in again.message


async def test_a_change_of_the_declared_expiry_is_made_in_place(planning: Planning) -> None:
    await planning.declare(key("mine", origin=Origin.EXTERNAL))
    plan = await planning.plan(key("mine", origin=Origin.EXTERNAL, expiry=ExpirySpec(valid_days=90)))
    (change,) = plan.changes
    assert change.action is Action.UPDATE
    assert [field.path for field in change.fields] == ["expiry.validDays"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"expiry": ExpirySpec(valid_days=9)}, "not EXTERNAL"),
        ({"origin": Origin.EXTERNAL, "expiry": "both"}, "not both"),
        ({"origin": Origin.EXTERNAL, "rotation": "on"}, "AWS_KMS"),
    ],
)
async def test_what_does_not_go_with_imported_material_is_told(
    planning: Planning, fields: dict[str, object], words: str
) -> None:
    if fields.get("expiry") == "both":
        fields = {**fields, "expiry": ExpirySpec(valid_days=9, valid_to=planning.clock.now())}
    if fields.get("rotation") == "on":
        fields = {**fields, "rotation": RotationSpec(enabled=True)}
    with pytest.raises(InvalidSpec, match=words):
        await planning.plan(key("mine", **fields))


async def test_a_key_in_use_that_would_be_deleted_carries_a_warning(planning: Planning) -> None:
    await planning.declare(key("used"), key("idle"), key("old"))
    now = planning.clock.now()
    for name, age in (("used", timedelta(hours=3)), ("old", timedelta(hours=24))):
        use = LastUse(planning.get(name).metadata.uid, "Decrypt", (now - age).timestamp(), "r")
        await planning.write(lambda tx, use=use: last_uses.put(tx, [use]))  # type: ignore[misc]
    plan = await planning.plan()
    warned = {change.name: [each.warning for each in change.warnings] for change in plan.changes}
    assert warned == {"used": [PlanWarning.USED_RECENTLY], "idle": [], "old": []}
    assert text(plan).count("# warning: it was used in the last 24 hours: Decrypt at") == 1
    assert {change.action for change in plan.changes} == {Action.SCHEDULE_DELETION}
