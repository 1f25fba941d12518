"""Plans and objects that the tests of the report, the client and the command line share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason
from controlplane.schema.keys import (
    DesiredKey,
    KeySpec,
    KeyStatus,
    KeyUsage,
    MaterialState,
    MaterialStatus,
    Origin,
    PolicySource,
)
from controlplane.schema.keystores import ConnectionState, DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import DeletionRequest, Key, KeyStore, Kind, Metadata, Principal, XksProxy
from controlplane.schema.plans import Action, Counts, FieldPlan, Plan, PlannedChange, PlanReason
from controlplane.schema.principals import DesiredPrincipal, PrincipalStatus
from controlplane.schema.xksproxies import (
    DesiredXksProxy,
    XksCredential,
    XksExposure,
    XksHealth,
    XksKeyManager,
    XksListen,
    XksProxyStatus,
    XksTls,
)
from plugins.sdk import SecretSource

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
POLICY = '{\n  "Version": "2012-10-17",\n  "Statement": [\n    {"Effect": "Allow", "Action": "kms:*"}\n  ]\n}\n'


def plan(*changes: PlannedChange, unchanged: int = 0, plan_id: str = "8c21") -> Plan:
    def count(action: Action) -> int:
        return sum(change.action is action for change in changes)

    return Plan(
        format_version="1.0",
        id=plan_id,
        server_id="server-1",
        spec_set="quickstart",
        created_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        changes=changes,
        counts=Counts(
            create=count(Action.CREATE),
            update=count(Action.UPDATE),
            adopt=count(Action.ADOPT),
            forget=count(Action.FORGET),
            schedule_deletion=count(Action.SCHEDULE_DELETION),
            delete=count(Action.DELETE),
            blocked=count(Action.BLOCKED),
            unchanged=unchanged,
        ),
    )


def change(
    action: Action, name: str, reason: PlanReason = PlanReason.DECLARED, kind: Kind = Kind.KEY, **more: Any
) -> PlannedChange:
    return PlannedChange(action=action, kind=kind, name=name, reason=reason, **more)


def create(name: str = "payments", kind: Kind = Kind.KEY, **more: Any) -> PlannedChange:
    fields = (FieldPlan(path="keySpec", after="SYMMETRIC_DEFAULT"), FieldPlan(path="keyId", known=False))
    return change(Action.CREATE, name, kind=kind, **{"fields": fields, **more})


def blocked(name: str, reason: PlanReason, message: str = "", **more: Any) -> PlannedChange:
    return change(Action.BLOCKED, name, reason, message=message, **more)


def condition(
    of: ConditionType, status: ConditionStatus, reason: Reason, message: str = "", generation: int = 2
) -> Condition:
    return Condition(
        type=of,
        status=status,
        reason=reason,
        last_transition=NOW - timedelta(minutes=5),
        message=message,
        observed_generation=generation,
    )


SYNCED = condition(ConditionType.SYNCED, ConditionStatus.TRUE, Reason.UP_TO_DATE)
READY = condition(ConditionType.READY, ConditionStatus.TRUE, Reason.ENABLED)


def metadata(name: str, **more: Any) -> Metadata:
    values = {
        "uid": f"uid-{name}",
        "generation": 2,
        "resource_version": 40,
        "created_at": NOW - timedelta(days=3),
        "spec_set": "quickstart",
        **more,
    }
    return Metadata(name=name, **values)


def key(
    name: str = "payments",
    *,
    conditions: tuple[Condition, ...] = (SYNCED, READY),
    deletion: DeletionRequest | None = None,
    **spec: Any,
) -> Key:
    return Key(
        metadata=metadata(name, deletion=deletion),
        spec=DesiredKey(
            **{
                "region": "eu-central-1",
                "key_usage": KeyUsage.ENCRYPT_DECRYPT,
                "origin": Origin.AWS_KMS,
                "aliases": (name,),
                "tags": {"team": "payments"},
                "policy": PolicySource(document=POLICY),
                **spec,
            }
        ),
        status=KeyStatus(
            key_id=f"id-{name}",
            arn=f"arn:aws:kms:eu-central-1:000000000000:key/id-{name}",
            created_at=NOW - timedelta(days=3),
            observed_generation=2,
            materials=(
                MaterialStatus(
                    material_id="f840475a",
                    name=f"keystead:{name}:f840475a",
                    state=MaterialState.CURRENT,
                    created_at=NOW - timedelta(days=3),
                ),
            ),
            conditions=conditions,
        ),
    )


def deletion(days: int = 30, asked: timedelta = timedelta(days=24)) -> DeletionRequest:
    at = NOW - asked
    return DeletionRequest(requested_at=at, due_at=at + timedelta(days=days), window_days=days, requested_by="user/ana")


def key_store(name: str = "hsm-a", **more: Any) -> KeyStore:
    status = {"connection": ConnectionState.CONNECTED, "conditions": (SYNCED,), **more}
    return KeyStore(
        metadata=metadata(name),
        spec=DesiredKeyStore(type="pkcs11", pkcs11={"module": "libsofthsm2.so", "pin": "1234-secret"}),
        status=KeyStoreStatus(
            created_at=NOW - timedelta(days=3),
            observed_generation=2,
            key_specs={KeySpec.SYMMETRIC_DEFAULT: (KeyUsage.ENCRYPT_DECRYPT,)},
            **status,
        ),
    )


def principal(name: str = "ci") -> Principal:
    return Principal(
        metadata=metadata(name),
        spec=DesiredPrincipal(policies={"use": PolicySource(document='{"Statement": []}')}),
        status=PrincipalStatus(
            arn=f"arn:aws:iam::000000000000:user/{name}",
            created_at=NOW - timedelta(days=3),
            observed_generation=2,
            conditions=(SYNCED,),
        ),
    )


def xks_proxy(name: str = "bank") -> XksProxy:
    return XksProxy(
        metadata=metadata(name),
        spec=DesiredXksProxy(
            listen=XksListen(host="0.0.0.0", port=8443),
            tls=XksTls(certificate="tls/proxy.crt", key="tls/proxy.key"),
            path_prefix="/bank",
            credentials=(XksCredential(access_key_id="A" * 20, secret=SecretSource(from_file="secrets/one")),),
            keys={"payments.v1": XksExposure(key="payments")},
        ),
        status=XksProxyStatus(
            created_at=NOW - timedelta(days=3),
            observed_generation=2,
            address="0.0.0.0:8443",
            certificate_expires_at=NOW + timedelta(days=90),
            key_managers=(
                XksKeyManager(id="hsm-a", model="pkcs11", health=XksHealth.DEGRADED, detail="it took 400 ms"),
            ),
            conditions=(SYNCED, condition(ConditionType.READY, ConditionStatus.TRUE, Reason.AVAILABLE)),
        ),
    )
