"""What is exported of a set plans empty, also of what the set only observes."""

from __future__ import annotations

import msgspec

from controlplane.planning import exporting
from controlplane.schema.documents import decode_documents
from controlplane.schema.keys import Management
from controlplane.schema.meta import Kind
from tests.controlplane.planning.samples import SET, Planning, key, only, paths


async def test_what_is_observed_is_exported_as_it_is_stated_and_not_as_it_is(planning: Planning) -> None:
    await planning.put(key("k", description="as it is"))
    await planning.declare(
        key("k", description="as wished", enabled=False, management=Management.OBSERVE), key("mine", description="x")
    )
    await planning.change("mine", description="changed")
    made, _ = planning.database.read(lambda tx: exporting.page(tx, Kind.KEY, SET, after="", limit=10))
    assert [each["spec"] for each in made] == [
        {"description": "as wished", "enabled": False, "management": "observe"},
        {"description": "changed"},
    ]
    plan = await planning.plan(*decode_documents(msgspec.json.encode(made)))
    assert (only(plan).name, paths(only(plan))) == ("mine", {}), "who states what changes, and nothing of k"
