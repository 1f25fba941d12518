"""What a plan is compared with: live objects and what managers state of them, each read once.

Who calls it: the modules of ``planning``. Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import msgspec

from controlplane.domain.ownership import Claim, set_manager
from controlplane.schema.keys import DesiredKey
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.store import claims, externalkeys, objects
from controlplane.store.database import Tx

_encode = msgspec.json.Encoder().encode


class Surroundings(msgspec.Struct, frozen=True):
    """What a plan is made against, besides the database."""

    server_id: str
    account: str
    default_region: str
    regions: Sequence[str]
    now: datetime
    plan_id: str


class Options(msgspec.Struct, frozen=True):
    """How a plan is wanted. ``prune``: what the set owns and no longer declares leaves. ``replace``: a document is the
    whole truth about its object, as in a put, and nobody's claims are asked."""

    prune: bool = True
    replace: bool = False
    take_ownership: bool = False
    targets: tuple[str, ...] = ()


class Live:
    """The store as one plan sees it."""

    def __init__(self, tx: Tx, spec_set: str, options: Options) -> None:
        self.tx = tx
        self.spec_set = spec_set
        self.manager = set_manager(spec_set)
        self._known: dict[tuple[Kind, str], AnyObject | None] = {}
        self._settled: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.claimed: dict[tuple[str, str], str] = {}
        """Uid of every object of which the set states something, by kind and name."""
        if not options.replace:
            for uid, kind, name, generation, leaves in claims.of_manager(tx, self.manager):
                self.claimed[kind, name] = uid
                if generation:
                    self._settled[kind, name] = (uid, leaves)

    def find(self, kind: Kind, name: str) -> AnyObject | None:
        if (kind, name) not in self._known:
            self._known[kind, name] = objects.get_named(self.tx, kind, name)
        return self._known[kind, name]

    def settled(self, kind: Kind, name: str, stated: dict[str, Any]) -> bool:
        """Whether the object is as the set stated it and the set states the same now. Costs no look at the object."""
        kept = self._settled.get((kind.value, name))
        return kept is not None and kept[1] == _encode(stated)

    def claims_on(self, present: AnyObject) -> tuple[Claim | None, list[Claim]]:
        """What the set itself states of an object, and what others do."""
        kept = [each.claim for each in claims.of(self.tx, present.metadata.uid)]
        own = next((claim for claim in kept if claim.manager == self.manager), None)
        return own, [claim for claim in kept if claim.manager != self.manager]

    def stands_for(self, spec: DesiredKey, present: AnyObject | None) -> str | None:
        """The name of the other key that the external key of ``spec`` stands for, if there is one."""
        uid = externalkeys.holder(self.tx, spec.key_store, spec.xks_key_id or "")
        if uid is None or (present is not None and uid == present.metadata.uid):
            return None
        return objects.require(self.tx, uid).metadata.name

    def replica_elsewhere(self, spec: DesiredKey, region: str, name: str) -> bool:
        """Whether the primary key of ``spec`` has a replica in this Region under another name."""
        primary = cast("Key | None", self.find(Kind.KEY, spec.replica_of or ""))
        held = objects.get_key(self.tx, region, primary.status.key_id) if primary is not None else None
        return held is not None and held.metadata.name != name
