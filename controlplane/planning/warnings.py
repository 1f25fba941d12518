"""What a person should look at before applying, by name; and the one thing that is refused: nobody left to administer.

Who calls it: ``planner`` and ``pruning``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from controlplane.domain import policy
from controlplane.domain.names import principal_arn
from controlplane.domain.policy import ADMINISTRATOR_POLICY
from controlplane.errors import InvalidPolicy
from controlplane.planning.completing import Wish
from controlplane.planning.live import Live, Surroundings
from controlplane.schema.keys import DesiredKey
from controlplane.schema.keystores import DesiredKeyStore
from controlplane.schema.meta import Key, Kind, Principal
from controlplane.schema.plans import Action, PlannedChange, PlanReason, PlanWarning, Warned
from controlplane.schema.principals import DesiredPrincipal, PrincipalType
from controlplane.schema.xksproxies import DesiredXksProxy
from controlplane.store import credentials, last_uses, objects
from controlplane.store.database import Tx

RECENTLY: Final = timedelta(hours=24)
"""A key that was used within this time and would be deleted or disabled carries a warning."""
MANY: Final = 500
"""Policies that are looked at for a lock-out; whoever replaces thousands at once gets the warning for these."""


def used_recently(tx: Tx, uid: str, now: float) -> Iterator[Warned]:
    """A warning for a key that somebody still uses."""
    last = last_uses.get(tx, uid)
    if last is None or now - last.at >= RECENTLY.total_seconds():
        return
    at = datetime.fromtimestamp(last.at, UTC).isoformat(timespec="seconds")
    yield Warned(
        warning=PlanWarning.USED_RECENTLY, message=f"it was used in the last 24 hours: {last.operation} at {at}"
    )


def warned(
    live: Live, wishes: Sequence[Wish], changes: Sequence[PlannedChange], around: Surroundings
) -> list[PlannedChange]:
    """The changes with their warnings."""
    by_name = {(wish.kind, wish.name): wish for wish in wishes}
    lock_outs = _LockOuts(live, wishes, around)
    found = []
    for change in changes:
        wish = by_name.get((change.kind, change.name))
        if change.action in (Action.CREATE, Action.UPDATE, Action.ADOPT) and wish is not None:
            warnings = (*change.warnings, *_of_wish(live, wish, lock_outs, around))
            found.append(msgspec.structs.replace(change, warnings=warnings) if warnings else change)
        else:
            found.append(change)
    return found


def _of_wish(live: Live, wish: Wish, lock_outs: _LockOuts, around: Surroundings) -> Iterator[Warned]:
    present, spec = wish.present, wish.spec
    if wish.moved_from is not None and isinstance(spec, DesiredPrincipal | DesiredXksProxy):
        former, arn = (_arn(around.account, spec, name) for name in (wish.moved_from, wish.name))
        yield Warned(
            warning=PlanWarning.ARN_CHANGES,
            message=f"its ARN becomes {arn}; policies and grants that name {former} do not mean it any more",
        )
    if isinstance(spec, DesiredKey):
        before = present.spec if isinstance(present, Key) else None
        if spec.policy is not None and spec.policy.document and (before is None or before.policy != spec.policy):
            yield from lock_outs.warning(spec.policy.document)
        if before is not None and before.enabled and not spec.enabled and present is not None:
            yield from used_recently(live.tx, present.metadata.uid, around.now.timestamp())
    elif isinstance(spec, DesiredKeyStore) and present is not None:
        before_store = present.spec
        if isinstance(before_store, DesiredKeyStore) and before_store.connected and not spec.connected:
            keys = objects.count(live.tx, Kind.KEY, key_store=present.metadata.name)
            if keys:
                yield Warned(
                    warning=PlanWarning.STORE_DISCONNECTED,
                    message=f"{keys:,} {'key lives' if keys == 1 else 'keys live'} in it; "
                    "nobody can use what is in it while it is disconnected",
                )


def _arn(account: str, spec: DesiredPrincipal | DesiredXksProxy, name: str) -> str:
    if isinstance(spec, DesiredPrincipal):
        return principal_arn(account, spec.type, name)
    return principal_arn(account, PrincipalType.ROLE, f"xks-proxy/{name}")


class _LockOuts:
    """Which policies leave no declared principal that could change them again. Principals are read when first asked."""

    def __init__(self, live: Live, wishes: Sequence[Wish], around: Surroundings) -> None:
        self._live = live
        self._wishes = wishes
        self._around = around
        self._people: list[tuple[str, tuple[str, ...]]] | None = None
        self._known: dict[str, bool] = {}

    def warning(self, document: str) -> Iterator[Warned]:
        if document not in self._known and len(self._known) < MANY:
            self._known[document] = self._locks_out(document)
        if self._known.get(document):
            yield Warned(
                warning=PlanWarning.POLICY_LOCKOUT,
                message="under its policy no principal of this server could change the policy over the KMS API; "
                "only an apply could",
            )

    def _locks_out(self, document: str) -> bool:
        if self._people is None:
            self._people = list(self._read())
        account = self._around.account
        try:
            return all(
                policy.locks_out(document, principal=arn, account=account, identity_policies=policies)
                for arn, policies in self._people
            )
        except InvalidPolicy:  # told already, with its place
            return False

    def _read(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """ARN and identity policies of everybody, as they will be."""
        wanted = {wish.name: wish.spec for wish in self._wishes if isinstance(wish.spec, DesiredPrincipal)}
        renamed = {wish.moved_from for wish in self._wishes if wish.kind is Kind.PRINCIPAL}
        after = ""
        while batch := objects.page(self._live.tx, Kind.PRINCIPAL, after=after):
            after = batch[-1].metadata.name
            for present in batch:
                if isinstance(present, Principal) and present.metadata.name not in renamed:
                    wanted.setdefault(present.metadata.name, present.spec)
        for name, spec in wanted.items():
            texts = tuple(source.document for source in spec.policies.values() if source.document)
            if spec.administrator:
                texts = (*texts, ADMINISTRATOR_POLICY)
            yield principal_arn(self._around.account, spec.type, name), texts


def keeping_an_administrator(tx: Tx, changes: list[PlannedChange], wishes: Sequence[Wish]) -> list[PlannedChange]:
    """Block what would leave nobody who can come in and may change things."""
    present = credentials.administrators(tx)
    wanted: Mapping[str, DesiredPrincipal] = {
        wish.name: wish.spec for wish in wishes if isinstance(wish.spec, DesiredPrincipal)
    }

    def administers(change: PlannedChange) -> bool:
        if change.reason is PlanReason.RELEASED:  # nothing is declared of it: only the fields that are let go of change
            return change.uid in present and all(field.path != "administrator" for field in change.fields)
        return change.action in (Action.UPDATE, Action.ADOPT) and wanted[change.name].administrator

    going = (Action.UPDATE, Action.ADOPT, Action.DELETE)
    of_people = [change for change in changes if change.kind is Kind.PRINCIPAL and change.action in going]
    lost = {change.uid for change in of_people if change.uid in present and not administers(change)}
    gained = any(administers(change) and credentials.can_come_in(tx, change.uid or "") for change in of_people)
    if not lost or gained or present.keys() - lost:
        return changes
    message = "it is the last administrator with a credential that lasts; declare another one and give it one first"
    return [
        msgspec.structs.replace(change, action=Action.BLOCKED, reason=PlanReason.LAST_ADMINISTRATOR, message=message)
        if change in of_people and change.uid in lost
        else change
        for change in changes
    ]
