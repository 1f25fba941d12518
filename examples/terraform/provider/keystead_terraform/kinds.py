"""The resources: ``keystead_key_store``, ``keystead_key`` and ``keystead_principal``.

Their fields are those of Keystead's documents; what a value may be is checked by Keystead, which says what would be
right.
"""

from __future__ import annotations

from typing import cast

from tf.iface import PlanContext, ReadContext, State
from tf.schema import Attribute, Schema

from controlplane.client import Client
from controlplane.schema.meta import AnyObject, Key, Kind
from keystead_terraform.fields import FLAG, JSON, NUMBER, POLICIES, TAGS, TEXT, TEXTS, Field
from keystead_terraform.resource import Declared


class KeyStoreResource(Declared):
    """A key store: HSMs, an external key manager, or what a plugin adds."""

    kind = Kind.KEY_STORE
    fields = (
        Field(
            name="type",
            path=("type",),
            form=TEXT,
            description="The plugin: `pkcs11`, `xks`, or another one that the server has.",
            required=True,
            immutable=True,
        ),
        Field(
            name="connected",
            path=("connected",),
            form=FLAG,
            description="Whether it is to be connected; Keystead keeps it so. Default: true.",
            default=True,
        ),
        Field(
            name="pkcs11",
            path=("pkcs11",),
            form=JSON,
            description="Options of an HSM store, as JSON. A PIN is named by the file or variable that holds it.",
            sensitive=True,
        ),
        Field(
            name="xks",
            path=("xks",),
            form=JSON,
            description="Options of an external key store, as JSON.",
            sensitive=True,
        ),
        Field(
            name="memory",
            path=("memory",),
            form=JSON,
            description="Options of a store in memory, for trials, as JSON.",
            sensitive=True,
        ),
        Field(
            name="options",
            path=("options",),
            form=JSON,
            description="Options of a store of any other type, as JSON.",
            sensitive=True,
        ),
    )

    @classmethod
    def get_name(cls) -> str:
        return "key_store"


class KeyResource(Declared):
    """A KMS key of any origin. Key material never passes through Terraform."""

    kind = Kind.KEY
    computed = (("key_id", "Its key id."), ("arn", "Its ARN."))
    fields = (
        Field(
            name="key_store",
            path=("keyStore",),
            form=TEXT,
            description="The key store that holds it. Default: `standard`.",
            default="standard",
            immutable=True,
        ),
        Field(
            name="region",
            path=("region",),
            form=TEXT,
            description="Its Region. Default: the first of the server.",
            immutable=True,
            completed=True,
        ),
        Field(
            name="key_spec",
            path=("keySpec",),
            form=TEXT,
            description="Default: `SYMMETRIC_DEFAULT`.",
            default="SYMMETRIC_DEFAULT",
            immutable=True,
        ),
        Field(
            name="key_usage",
            path=("keyUsage",),
            form=TEXT,
            description="Default: what follows from the key spec.",
            immutable=True,
            completed=True,
        ),
        Field(
            name="origin",
            path=("origin",),
            form=TEXT,
            description="`AWS_KMS`, `EXTERNAL` (you import the material), `AWS_CLOUDHSM` or `EXTERNAL_KEY_STORE`. "
            "Default: what follows from the key store.",
            immutable=True,
            completed=True,
        ),
        Field(
            name="xks_key_id",
            path=("xksKeyId",),
            form=TEXT,
            description="The external key that it stands for, in an external key store.",
            immutable=True,
        ),
        Field(name="description", path=("description",), form=TEXT, description="For people.", default=""),
        Field(name="enabled", path=("enabled",), form=FLAG, description="Default: true.", default=True),
        Field(
            name="multi_region",
            path=("multiRegion",),
            form=FLAG,
            description="Whether it can have replicas. Default: false.",
            default=False,
            immutable=True,
        ),
        Field(
            name="replica_of",
            path=("replicaOf",),
            form=TEXT,
            description="The name of the primary key that it replicates into its Region.",
            immutable=True,
        ),
        Field(
            name="aliases",
            path=("aliases",),
            form=TEXTS,
            description="Its aliases, without `alias/`.",
            default=[],
        ),
        Field(name="tags", path=("tags",), form=TAGS, description="Its tags.", default={}),
        Field(
            name="policy",
            path=("policy", "document"),
            form=TEXT,
            description="Its key policy, kept byte for byte. Default: the account decides.",
        ),
        Field(
            name="rotation_enabled",
            path=("rotation", "enabled"),
            form=FLAG,
            description="Whether it rotates by itself. Default: false.",
            default=False,
        ),
        Field(
            name="rotation_period_days",
            path=("rotation", "periodDays"),
            form=NUMBER,
            description="Default: 365.",
            default=365,
        ),
        Field(
            name="valid_days",
            path=("expiry", "validDays"),
            form=NUMBER,
            description="How many days imported material lives from its import.",
        ),
        Field(
            name="deletion_window_days",
            path=("deletion", "windowDays"),
            form=NUMBER,
            description="How long it waits before it is destroyed. Default: 30.",
            default=30,
        ),
        Field(
            name="protect",
            path=("deletion", "protect"),
            form=FLAG,
            description="Whether nobody may delete it. Lifting this is an apply of its own. Default: false.",
            default=False,
        ),
    )

    @classmethod
    def get_name(cls) -> str:
        return "key"

    @classmethod
    def get_schema(cls) -> Schema:
        schema = super().get_schema()
        text = "Whether somebody scheduled its deletion. An apply cancels that."
        schema.attributes.append(
            Attribute("pending_deletion", FLAG.type, description=text, computed=True, default=False)
        )
        return schema

    def plan(self, ctx: PlanContext, current: State | None, planned: State) -> State | None:
        return {**(super().plan(ctx, current, planned) or planned), "pending_deletion": False}

    def read(self, ctx: ReadContext, current: State) -> State | None:
        state = super().read(ctx, current)
        if state is not None and state["pending_deletion"]:
            ctx.diagnostics.add_warning(
                f"Key {state['name']} is pending deletion",
                "An apply cancels that. Nothing is destroyed before its time.",
            )
        return state

    async def _recover(self, client: Client, live: AnyObject) -> AnyObject:
        return live if live.metadata.deletion is None else await client.cancel_deletion(live.metadata.name)

    def _more(self, found: AnyObject) -> State:
        key = cast(Key, found)
        return {
            "key_id": key.status.key_id,
            "arn": key.status.arn,
            "pending_deletion": key.metadata.deletion is not None,
        }


class PrincipalResource(Declared):
    """A user or a role. Its credentials are issued by `keystead access-key` and `keystead token`, not by Terraform."""

    kind = Kind.PRINCIPAL
    computed = (("arn", "Its ARN."),)
    fields = (
        Field(
            name="type",
            path=("type",),
            form=TEXT,
            description="`user` or `role`. Default: `user`.",
            default="user",
            immutable=True,
        ),
        Field(name="description", path=("description",), form=TEXT, description="For people.", default=""),
        Field(
            name="administrator",
            path=("administrator",),
            form=FLAG,
            description="Whether it may do everything. Default: false.",
            default=False,
        ),
        Field(
            name="policies", path=("policies",), form=POLICIES, description="Identity policies, by name.", default={}
        ),
        Field(name="tags", path=("tags",), form=TAGS, description="Its tags.", default={}),
        Field(
            name="trust_policy",
            path=("trustPolicy", "document"),
            form=TEXT,
            description="Who may assume it; of roles.",
        ),
        Field(
            name="max_session_seconds",
            path=("maxSessionSeconds",),
            form=NUMBER,
            description="How long a session of it lasts at most; of roles.",
        ),
    )

    @classmethod
    def get_name(cls) -> str:
        return "principal"

    def _more(self, found: AnyObject) -> State:
        return {"arn": getattr(found.status, "arn", None)}


RESOURCES = [KeyStoreResource, KeyResource, PrincipalResource]
