"""A server with fixed answers, at a fixed time, over a real socket: what the golden screens show.

Only the golden screens use it, because their text must not depend on ids and moments; the journeys have a real server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from aiohttp import web

from controlplane.audit.records import AuditEntry, AuditPage, AuditRecord, Decision, Head, VerifyResult
from controlplane.client.api import COLLECTIONS
from controlplane.clock import ManualClock
from controlplane.schema.browse import (
    Access,
    Attention,
    AttentionReason,
    KeyAbout,
    KeyRow,
    KeyRows,
    LastUse,
    ObjectRows,
    Summary,
    UseRates,
    Verdict,
)
from controlplane.schema.conditions import ConditionStatus, ConditionType, Reason, synced_word
from controlplane.schema.events import Event, EventPage, EventReason
from controlplane.schema.grants import Grant, GrantOperation
from controlplane.schema.imports import ImportReport, Step, StepName, StepState
from controlplane.schema.keys import (
    ImportedMaterial,
    ImportState,
    KeySpec,
    KeyState,
    KeyUsage,
    Origin,
    RefusedUse,
)
from controlplane.schema.keystores import ConnectionState, LatencyStatus
from controlplane.schema.meta import AnyObject, Key, KeyStore, Kind, Principal
from controlplane.schema.plans import Action, Applied, FieldPlan, ObjectPage, PlanReason, Progress, ServerInfo
from controlplane.schema.probes import ProbeCheck, ProbeOutcome, ProbeReport, ProbeStep
from plugins.sdk import HealthLevel
from tests.controlplane.fakeapi import Answer, FakeApi, answer, problem
from tests.controlplane.fakeapi import serving as serving_fake
from tests.controlplane.samples import (
    NOW,
    READY,
    SYNCED,
    change,
    condition,
    create,
    deletion,
    key,
    key_store,
    plan,
    principal,
)

UNREACHABLE = condition(
    ConditionType.SYNCED,
    ConditionStatus.FALSE,
    Reason.STORE_UNREACHABLE,
    "hsm-b did not answer within 5 s",
)
UNREADY = condition(ConditionType.READY, ConditionStatus.FALSE, Reason.UNAVAILABLE)
GOING = condition(ConditionType.READY, ConditionStatus.FALSE, Reason.PENDING_DELETION)

KEYS = (
    key("card-pins", key_store="hsm-b", conditions=(UNREACHABLE, UNREADY), aliases=("cards/pins",)),
    key(
        "lab-rsa",
        key_spec=KeySpec.RSA_2048,
        deletion=deletion(7, timedelta(days=6, hours=23, minutes=35)),
        aliases=(),
        conditions=(SYNCED, GOING),
    ),
    key(
        "payments-data",
        aliases=("payments/data", "payments/cards"),
        tags={"team": "payments", "data-class": "confidential"},
        description="Encrypts the data keys of the payments database",
    ),
    key("payments-old", deletion=deletion(), aliases=("payments/old",), conditions=(SYNCED, GOING)),
    key(
        "release-signing",
        key_spec=KeySpec.RSA_3072,
        key_usage=KeyUsage.SIGN_VERIFY,
        aliases=("platform/release-signing",),
        tags={"team": "platform"},
    ),
    key(
        "session-cookies",
        key_spec=KeySpec.HMAC_256,
        key_usage=KeyUsage.GENERATE_VERIFY_MAC,
        enabled=False,
        aliases=("web/session-cookies",),
        tags={"team": "web"},
    ),
)


def imported_key(name: str, imported: ImportedMaterial | None = None) -> Key:
    """A key of imported material, waiting for it or having it."""
    plain = key(name, origin=Origin.EXTERNAL)
    materials = tuple(msgspec.structs.replace(each, imported=imported) for each in plain.status.materials)
    status = msgspec.structs.replace(plain.status, materials=materials if imported is not None else ())
    return msgspec.structs.replace(plain, status=status)


def doing_well(store: KeyStore) -> KeyStore:
    """With what its server tells of itself: quick, and a certificate that ends soon."""
    status = msgspec.structs.replace(
        store.status,
        health=HealthLevel.ACTIVE,
        latency=LatencyStatus(p50=5, p99=20, limit=250),
        certificate_days=12,
        certificate_expires_at=NOW + timedelta(days=12, hours=5),
    )
    return msgspec.structs.replace(store, status=status)


REFUSED = (
    RefusedUse(principal="role/billing", operation="Decrypt", count=12, last_at=NOW - timedelta(minutes=2)),
    RefusedUse(principal="user/report", operation="GenerateDataKey", count=2, last_at=NOW - timedelta(hours=5)),
)
STORES = (
    doing_well(
        key_store(
            "hsm-a", conditions=(condition(ConditionType.CONNECTED, ConditionStatus.TRUE, Reason.CONNECTED), SYNCED)
        )
    ),
    key_store(
        "hsm-b",
        connection=ConnectionState.FAILED,
        conditions=(
            condition(ConditionType.CONNECTED, ConditionStatus.FALSE, Reason.STORE_UNREACHABLE, "connection refused"),
            condition(ConditionType.SYNCED, ConditionStatus.FALSE, Reason.STORE_UNREACHABLE, "connection refused"),
        ),
    ),
)
EXPIRING = ImportedMaterial(
    state=ImportState.IMPORTED, imported_at=NOW - timedelta(days=1), valid_to=NOW + timedelta(hours=6)
)
IMPORTED = (
    imported_key("customer-data"),
    imported_key("partner-root", EXPIRING),
)
IMPORTS = {
    "customer-data": ImportReport(
        key_name="customer-data",
        key_state=KeyState.PENDING_IMPORT,
        steps=(
            Step(step=StepName.PARAMETERS_ISSUED, state=StepState.DONE, at=NOW - timedelta(minutes=9)),
            Step(step=StepName.WRAPPED, state=StepState.WAITING),
            Step(step=StepName.UPLOADED, state=StepState.AHEAD),
            Step(step=StepName.IMPORTED, state=StepState.AHEAD),
        ),
        materials=(),
        past=(),
    ),
    "partner-root": ImportReport(
        key_name="partner-root",
        key_state=KeyState.ENABLED,
        steps=(
            Step(step=StepName.IMPORTED, state=StepState.DONE, at=NOW - timedelta(days=1)),
            Step(step=StepName.EXPIRED, state=StepState.AHEAD, at=NOW + timedelta(hours=6)),
        ),
        materials=IMPORTED[1].status.materials,
        past=(),
    ),
}
PROBED = ProbeReport(
    key_store="hsm-a",
    at=NOW,
    passed=False,
    steps=(
        ProbeStep(ProbeCheck.HEALTH, ProbeOutcome.PASSED, "3 of 3 members", milliseconds=4),
        ProbeStep(ProbeCheck.RANDOM, ProbeOutcome.PASSED, milliseconds=2),
        *(
            ProbeStep(each, ProbeOutcome.PASSED, key_spec=KeySpec.SYMMETRIC_DEFAULT, milliseconds=12)
            for each in (ProbeCheck.ABSENT, ProbeCheck.CREATE, ProbeCheck.USE)
        ),
        ProbeStep(
            ProbeCheck.REFUSE, ProbeOutcome.FAILED, "what was changed is taken for right", KeySpec.SYMMETRIC_DEFAULT
        ),
        ProbeStep(ProbeCheck.DESTROY, ProbeOutcome.PASSED, key_spec=KeySpec.SYMMETRIC_DEFAULT, milliseconds=8),
    ),
)
PLAN = plan(
    create("payments-eu"),
    change(
        Action.UPDATE,
        "release-signing",
        PlanReason.SPEC_CHANGED,
        uid="uid-release-signing",
        fields=(FieldPlan(path="enabled", before=True, after=False),),
        unchanged_fields=6,
    ),
    change(Action.SCHEDULE_DELETION, "payments-old", PlanReason.REMOVED_FROM_SET, window_days=30),
    unchanged=3,
)


def entry(seq: int, seconds: float, principal: str, operation: str, decision: Decision, **more: Any) -> AuditEntry:
    record = AuditRecord(
        time=NOW - timedelta(seconds=seconds),
        request_id=f"request-{seq}",
        principal=f"arn:aws:iam::000000000000:{principal}",
        source="10.0.0.7",
        operation=operation,
        decision=decision,
        latency_us=4_200,
        **{"resource": "arn:aws:kms:eu-central-1:000000000000:key/id-payments-data", **more},
    )
    return AuditEntry("chain-0", seq, record)


AUDIT = (
    entry(88_120, 1.0, "role/web", "Encrypt", "allowed", action="kms:Encrypt"),
    entry(88_119, 1.5, "user/ana", "SearchKeys", "allowed", action="keystead:Read", resource="*"),
    entry(88_118, 9.0, "role/billing", "Decrypt", "failed", error="InvalidState", reason="it is pending deletion."),
    entry(88_117, 30, "user/report", "Decrypt", "denied", error="AccessDenied", reason="no statement allows it"),
)
STATES = {
    "customer-data": KeyState.PENDING_IMPORT,
    "card-pins": KeyState.UNAVAILABLE,
    "lab-rsa": KeyState.PENDING_DELETION,
    "payments-old": KeyState.PENDING_DELETION,
    "session-cookies": KeyState.DISABLED,
}


def row(item: Key) -> KeyRow:
    meta, spec = item.metadata, item.spec
    refused = REFUSED if meta.name == "payments-old" else ()
    assert spec.region is not None
    assert spec.origin is not None
    return KeyRow(
        name=meta.name,
        uid=meta.uid,
        key_id=item.status.key_id,
        region=spec.region,
        state=STATES.get(meta.name, KeyState.ENABLED),
        condition=synced_word(item.status.conditions, meta.generation),
        condition_message="",
        key_spec=spec.key_spec,
        key_store=spec.key_store,
        origin=spec.origin,
        created_at=meta.created_at,
        version=meta.resource_version,
        aliases=spec.aliases,
        tags=spec.tags,
        spec_set=meta.spec_set,
        deletion=meta.deletion,
        expires_at=min((m.imported.valid_to for m in item.status.materials if m.imported), default=None),  # type: ignore
        refused=sum(use.count for use in refused),
        refused_last_at=max((use.last_at for use in refused), default=None),
    )


class Canned:
    """The answers, to be changed by a test before the app asks. ``clock`` is that of the app and of the server."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.clock = ManualClock(NOW.timestamp())
        self.keys: tuple[Key, ...] = KEYS
        self.imported: tuple[Key, ...] = IMPORTED
        self.stores: tuple[KeyStore, ...] = STORES
        self.principals: tuple[Principal, ...] = (principal("ci"), principal("web"))
        self.bare = False
        """Nobody has done anything here: the summary counts nothing."""
        self.files = Path()
        self.denied: dict[str, str] = {}
        self.under_way = 0
        """Requests of the app that are not answered yet."""
        self.silent = 0
        """Those of them that will not be."""
        self._install()

    @property
    def url(self) -> str:
        return self.api.url

    def fail(self, path: str, method: str = "GET") -> None:
        """Have one path answer a problem."""
        self.api.answers[method, path] = problem(500, "Fatal", "the server cannot do this now")

    def empty(self) -> None:
        """A server on which nobody has done anything."""
        self.keys = self.imported = self.stores = ()
        self.bare = True
        self.principals = ()
        self.api.answers["GET", "/v1/audit"] = answer(AuditPage((), None))
        self.api.answers["POST", "/v1/plans"] = answer(plan(unchanged=3))
        gone = problem(404, "NotFound", "there is no key payments-data")
        self.api.answers["GET", "/v1/keys/payments-data"] = gone

    def silence(self, path: str, method: str = "GET") -> None:
        """Have one path answer never, as a slow server does."""

        async def wait(request: web.Request) -> web.StreamResponse:
            self.silent += 1
            await until_it_leaves(request)
            self.silent -= 1
            raise web.HTTPServiceUnavailable

        self.api.answers[method, path] = wait

    def _install(self) -> None:
        answers = self.api.answers
        info = ServerInfo(
            server_id="server-1",
            version="0.1.0",
            account="000000000000",
            region="eu-central-1",
            regions=("eu-central-1",),
            key_store_types=("standard",),
            time=NOW,
        )
        may = tuple(Verdict(action=f"keystead:{each}", allowed=True) for each in ("Read", "Plan", "Apply"))
        answers["GET", "/v1/server"] = answer(info)
        answers["GET", "/v1/access"] = answer(
            Access(principal="arn:aws:iam::000000000000:user/ana", account="000000000000", may=may)
        )
        answers["GET", "/v1/changes"] = self._changes
        answers["GET", "/v1/search/keys"] = self._search
        answers["GET", "/v1/summary"] = self._summary
        answers["GET", "/v1/keystores"] = self._stores
        answers["GET", "/v1/search/keystores"] = partial(self._objects, Kind.KEY_STORE)
        answers["GET", "/v1/search/principals"] = partial(self._objects, Kind.PRINCIPAL)
        answers["GET", "/v1/events"] = self._events
        answers["GET", "/v1/audit"] = self._audit
        whole = VerifyResult(88_121, {"chain-0": Head(88_120, "9c4e" * 16)}, ())
        answers["GET", "/v1/audit/verification"] = answer(whole)
        answers["POST", "/v1/plans"] = answer(PLAN)
        answers["POST", "/v1/plans/8c21/apply"] = answer(Applied(plan_id="8c21", spec_set="quickstart", objects=()))
        answers["POST", "/v1/keystores/hsm-a/probe"] = answer(PROBED)
        progress = Progress(spec_set="quickstart", total=6, pending=0, problems=())
        answers["GET", "/v1/spec-sets/quickstart/progress"] = answer(progress)
        kinds = ((Kind.KEY, (*self.keys, *IMPORTED)), (Kind.KEY_STORE, self.stores), (Kind.PRINCIPAL, self.principals))
        for kind, items in kinds:
            for item in items:
                self.object(kind, item)

    def object(self, kind: Kind, item: AnyObject) -> None:
        name = item.metadata.name
        path = f"/v1/{COLLECTIONS[kind]}/{name}"
        self.api.answers["GET", path] = answer(item)
        self.api.answers["GET", f"{path}/actions"] = answer(())
        if isinstance(item, Key):
            self.api.answers["GET", f"{path}/about"] = partial(self._about, item)
            if item.spec.origin is Origin.EXTERNAL:
                self.api.answers["GET", f"{path}/import"] = answer(IMPORTS[name])

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": changes\n\n")
        await until_it_leaves(request)
        return response

    async def _search(self, request: web.Request) -> web.StreamResponse:
        query = parse_qs(urlsplit(request.raw_path).query)
        words = query.get("filter", [""])[0].split()
        rows = [row(each) for each in self.keys]
        if words and words[0].startswith("state:pendingdeletion"):
            rows = sorted((each for each in rows if each.deletion is not None), key=lambda each: each.deletion.due_at)  # type: ignore
            words = words[1:]
        elif words and words[0] == "origin:external":
            rows, words = [row(each) for each in self.imported], words[2:]
        rows = [each for each in rows if all(word in each.name for word in words)]
        total = len(self.keys) + len(self.imported)
        page = KeyRows(items=tuple(rows), offset=0, matching=len(rows), total=total, version=40)
        return web.json_response(body=msgspec.json.encode(page))

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        states = dict.fromkeys(KeyState, 0) | {
            KeyState.ENABLED: 12_102,
            KeyState.DISABLED: 211,
            KeyState.PENDING_IMPORT: 23,
            KeyState.PENDING_DELETION: 9,
            KeyState.UNAVAILABLE: 86,
        }
        attention = (
            Attention(
                reason=AttentionReason.USED_WHILE_PENDING_DELETION,
                kind=Kind.KEY,
                name="payments-old",
                message="its use was refused 14 times since its deletion was scheduled",
                at=NOW - timedelta(minutes=2),
            ),
            Attention(
                reason=AttentionReason.OUTCOME_UNKNOWN,
                kind=Kind.KEY,
                name="release-signing",
                message="CreateOutcomeUnknown: hsm-a did not answer create within 30 seconds",
                at=NOW - timedelta(minutes=7),
            ),
            Attention(
                reason=AttentionReason.STORE_NOT_CONNECTED,
                kind=Kind.KEY_STORE,
                name="hsm-b",
                message="StoreUnreachable: connection refused",
                at=NOW - timedelta(minutes=5),
            ),
            Attention(
                reason=AttentionReason.NOT_AS_DECLARED,
                kind=Kind.KEY,
                name="card-pins",
                message="StoreUnreachable: hsm-b did not answer within 5 s",
                at=NOW - timedelta(minutes=5),
            ),
        )
        allowed = tuple(100 + 37 * (step % 7) + 11 * (step % 13) for step in range(60))
        refused = tuple(3 if step % 11 == 0 else 0 for step in range(60))
        if self.bare:
            states, attention, allowed, refused = dict.fromkeys(KeyState, 0), (), (), ()  # type: ignore[assignment]
        summary = Summary(
            version=40,
            time=NOW,
            keys=sum(states.values()),
            states=states,
            stores={} if self.bare else {"hsm-a": 12_300, "hsm-b": 131},
            attention=attention,
            attention_total=len(attention),
            attention_counts={each.reason: 1 for each in attention},
            rates=UseRates(seconds=10, allowed=allowed, refused=refused),
        )
        return web.json_response(body=msgspec.json.encode(summary))

    async def _objects(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        items: tuple[AnyObject, ...] = self.stores if kind is Kind.KEY_STORE else self.principals
        keys = {"hsm-a": 12_300, "hsm-b": 131} if kind is Kind.KEY_STORE else {}
        count = len(items)
        rows = ObjectRows(items=items, offset=0, matching=count, total=count, version=40, keys=keys)
        return web.json_response(body=msgspec.json.encode(rows))

    async def _stores(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(body=msgspec.json.encode(ObjectPage(items=self.stores, next=None)))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        uid = parse_qs(urlsplit(request.raw_path).query).get("uid", [""])[0]
        items: tuple[Event, ...] = ()
        if uid == "uid-payments-old":
            about: dict[str, Any] = {"kind": Kind.KEY, "uid": uid, "name": "payments-old"}
            items = (
                Event(
                    version=30,
                    reason=EventReason.DELETION_SCHEDULED,
                    message="asked for by user/ana, window 30 days",
                    first_at=NOW - timedelta(days=24),
                    last_at=NOW - timedelta(days=24),
                    **about,
                ),
                Event(
                    version=39,
                    reason=EventReason.USE_REFUSED,
                    count=12,
                    message="role/billing was refused Decrypt: the key is pending deletion",
                    first_at=NOW - timedelta(days=1),
                    last_at=NOW - timedelta(minutes=2),
                    **about,
                ),
            )
        return web.json_response(body=msgspec.json.encode(EventPage(items=items, version=40)))

    async def _about(self, item: Key, request: web.Request) -> web.StreamResponse:
        denied, name = self.denied, item.metadata.name
        names = ("enable", "disable", "schedule-deletion", "cancel-deletion", "rotate", "reconcile")
        grant = Grant(
            grant_id="g1",
            key_arn=item.status.arn,
            created_at=NOW,
            issuing_account="arn:aws:iam::000000000000:root",
            operations=(GrantOperation.DECRYPT, GrantOperation.DESCRIBEKEY),
            grantee_principal="arn:aws:iam::000000000000:role/billing",
        )
        about = KeyAbout(
            state=STATES.get(name, KeyState.ENABLED),
            actions=tuple(Verdict(action=each, allowed=each not in denied, why=denied.get(each, "")) for each in names),
            refused=REFUSED if name == "payments-old" else (),
            grants=(grant,) if name == "payments-data" else (),
            grants_more=False,
            related=(),
            last_use=LastUse(operation="Encrypt", at=NOW - timedelta(minutes=1)) if name == "payments-data" else None,
        )
        return web.json_response(body=msgspec.json.encode(about))

    async def _audit(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(body=msgspec.json.encode(AuditPage(AUDIT, None)))


async def until_it_leaves(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def serving() -> Iterator[Canned]:
    with serving_fake() as api:
        yield Canned(api)


__all__ = ["READY", "Answer", "Canned", "serving"]
