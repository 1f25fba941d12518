"""What a caller may do with an object now, and why not: the same authoriser and state gate as when it is done.

Who calls it: ``browse``, for ``GET /v1/{kind}/{name}/actions`` and what goes with a key. Nothing is audited or done.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.actions import OPERATIONS
from controlplane.api.reconciliation.probes import PROBE
from controlplane.api.services import Services
from controlplane.errors import KeysteadError
from controlplane.schema.browse import Verdict
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import AnyObject, KeyStore
from controlplane.store.catalog import KeyRecord
from controlplane.usage import perform

PAUSING = ("pause", "resume")
CONNECTING = ("connect", "disconnect")


def verdict(action: str, refusal: KeysteadError | None) -> Verdict:
    return Verdict(action=action, allowed=refusal is None, why="" if refusal is None else refusal.message)


def of_key(services: Services, caller: Caller, at: KeyRecord) -> Iterator[Verdict]:
    """Its policies first, then its state."""
    for action, operation in OPERATIONS.items():
        yield verdict(action, services.usage.would_refuse(perform.Request(caller, operation), at))
    emptying = perform.Request(caller, "DeleteImportedKeyMaterial")
    yield verdict("delete-material", services.usage.would_refuse(emptying, at))
    yield from _changing(services, caller, at.key, ("edit", *PAUSING))


def of_object(services: Services, caller: Caller, item: AnyObject) -> Iterator[Verdict]:
    """Of a key store, a principal or an XKS proxy."""
    if isinstance(item, KeyStore):
        probing = perform.Request(caller, "ProbeKeyStore", action=PROBE)
        yield verdict("probe", services.usage.would_refuse(probing, None, f"{item.kind}/{item.metadata.name}"))
    if not isinstance(item, KeyStore):
        yield from _changing(services, caller, item, ("reconcile",))
        if hasattr(item.spec, "management"):
            yield from _changing(services, caller, item, PAUSING)
        else:
            why = f"a {item.kind} cannot be paused; set enabled: false"
            yield from (Verdict(action=each, allowed=False, why=why) for each in PAUSING)
    elif item.metadata.name == STANDARD:
        yield from _changing(services, caller, item, ("reconcile",))
        why = "the key store standard belongs to the server, which always connects and manages it"
        yield from (Verdict(action=each, allowed=False, why=why) for each in (*PAUSING, *CONNECTING))
    else:
        yield from _changing(services, caller, item, ("reconcile", *PAUSING, *CONNECTING))


def _changing(services: Services, caller: Caller, item: AnyObject, actions: tuple[str, ...]) -> Iterator[Verdict]:
    asked = perform.Request(caller, f"Put{item.kind}", action="keystead:Apply")
    refusal = services.usage.would_refuse(asked, None, f"{item.kind}/{item.metadata.name}")
    yield from (verdict(each, refusal) for each in actions)
