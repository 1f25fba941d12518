"""What every resource does alike: make, read, change, remove, import; with drift, and without overwriting a stranger.

Who calls it: Terraform, through the framework, a call for each step. Guarantees: an object that changed since it was
planned is not written over; what Keystead refuses is told in Keystead's words and changes nothing; a resource that is
declared and not yet made stays in the state, because Keystead goes on with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec
from tf.iface import (
    CreateContext,
    DeleteContext,
    ImportContext,
    PlanContext,
    ReadContext,
    Resource,
    State,
    UpdateContext,
)
from tf.schema import Attribute, Schema
from tf.utils import Diagnostics

from controlplane.client import Client
from controlplane.errors import AlreadyExists, Conflict, KeysteadError, NotFound, PreconditionFailed
from controlplane.schema.conditions import ConditionStatus, ConditionType, find_condition
from controlplane.schema.documents import decode_document
from controlplane.schema.meta import AnyObject, Kind
from keystead_terraform.fields import FLAG, TEXT, Field, document

T = TypeVar("T")
Ask = Callable[[Callable[[Client], Awaitable[T]]], T]

WAIT_SECONDS = 60.0
"""How long a resource waits until the reconciler has brought it to what is declared."""
PAUSE_SECONDS = 0.2
ATTEMPTS = 20


class Declared(Resource):
    """One object of Keystead. A subclass says which kind and which fields."""

    kind: ClassVar[Kind]
    fields: ClassVar[Sequence[Field]]
    computed: ClassVar[Sequence[tuple[str, str]]] = ()
    """Attributes that Keystead alone decides and that stay: name and description."""

    def __init__(self, provider: Any) -> None:
        self._ask = provider.ask

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            version=0,
            attributes=[
                Attribute("id", TEXT.type, description="The uid of the object in Keystead.", computed=True),
                Attribute("name", TEXT.type, description="Its name. It cannot change in place.", required=True),
                *(field.attribute() for field in cls.fields),
                *(Attribute(name, TEXT.type, description=text, computed=True) for name, text in cls.computed),
                Attribute(
                    "keep_on_destroy",
                    FLAG.type,
                    description="Destroying the resource only takes it out of Terraform's state; the object stays.",
                    optional=True,
                ),
            ],
        )

    # ---- what Terraform calls --------------------------------------------------------------------------------------

    def plan(self, ctx: PlanContext, current: State | None, planned: State) -> State | None:
        """Refuse what Terraform would replace: a key that is replaced leaves what it encrypted unreadable."""
        fixed = {"name", *(field.name for field in self.fields if field.immutable)}
        for name in sorted(ctx.changed_fields & fixed):
            ctx.diagnostics.add_error(
                f"{name} of {self.kind} {(current or planned).get('name')} cannot change in place",
                "Nothing is replaced in Keystead. Declare a second one under another name, and let this one go when "
                "nothing needs it any more.",
                path=[name],
            )
        return planned

    def create(self, ctx: CreateContext, planned: State) -> State | None:
        name = planned["name"]

        async def work(client: Client) -> State:
            try:
                # Not looked for first: another run of Terraform may make it between a look and this.
                made = await client.put(self._document(planned), new=True)
            except PreconditionFailed:
                raise AlreadyExists(
                    f"{self.kind} {name} is there already; import it: terraform import ADDRESS {name}"
                ) from None
            return self._state(await self._settled(client, made, ctx.diagnostics), planned)

        return self._tell(ctx.diagnostics, f"{self.kind} {name} was not made", work)

    def read(self, ctx: ReadContext, current: State) -> State | None:
        async def work(client: Client) -> State | None:
            try:
                found = await client.get(self.kind, current["name"])
            except NotFound:
                return None
            # Another one of its name is not this one.
            return self._state(found, current) if found.metadata.uid == current["id"] else None

        found = self._tell(ctx.diagnostics, f"{self.kind} {current['name']} could not be read", work)
        return current if found is None and ctx.diagnostics.has_errors() else found

    def update(self, ctx: UpdateContext, current: State, planned: State) -> State | None:
        name = current["name"]

        async def work(client: Client) -> State:
            live = await client.get(self.kind, name)
            if live.metadata.uid != current["id"] or self._state(live, current) != current:
                raise Conflict(f"{self.kind} {name} was changed since this was planned; plan again")
            live = await self._recover(client, live)
            wanted = self._document(planned)
            changed = await self._as_seen(client, live, lambda version: client.put(wanted, version=version))
            return self._state(await self._settled(client, changed, ctx.diagnostics), planned)

        return self._tell(ctx.diagnostics, f"{self.kind} {name} was not changed", work) or current

    def delete(self, ctx: DeleteContext, current: State) -> State | None:
        name = current["name"]
        if current.get("keep_on_destroy"):
            return None

        async def work(client: Client) -> bool:
            try:
                live = await client.get(self.kind, name)
                if live.metadata.uid == current["id"] and live.metadata.deletion is None:
                    await self._as_seen(client, live, lambda version: client.remove(self.kind, name, version=version))
            except NotFound:
                pass
            return True

        done = self._tell(ctx.diagnostics, f"{self.kind} {name} was not removed", work)
        return None if done else current

    def import_(self, ctx: ImportContext, id: str) -> State | None:
        async def work(client: Client) -> State:
            return self._state(await client.get(self.kind, id), {})

        return self._tell(ctx.diagnostics, f"{self.kind} {id} was not imported", work)

    # ---- what a kind may add ---------------------------------------------------------------------------------------

    async def _recover(self, client: Client, live: AnyObject) -> AnyObject:
        """Bring back an object that somebody is about to remove, before it is changed."""
        return live

    def _more(self, found: AnyObject) -> State:
        """Attributes that are not fields of the spec."""
        return {}

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _document(self, state: State) -> Any:
        return decode_document(document(self.kind.value, state, self.fields))

    def _state(self, found: AnyObject, beside: State) -> State:
        spec = msgspec.to_builtins(found.spec)
        return {
            "id": found.metadata.uid,
            "name": found.metadata.name,
            **{field.name: field.shown(spec, beside) for field in self.fields},
            **self._more(found),
            "keep_on_destroy": beside.get("keep_on_destroy"),
        }

    async def _as_seen(self, client: Client, seen: AnyObject, act: Callable[[int], Awaitable[AnyObject]]) -> AnyObject:
        """Do it to the object as it was seen. The reconciler may write its status meanwhile; nobody else anything."""
        live = seen
        for _ in range(ATTEMPTS):
            try:
                return await act(live.metadata.resource_version)
            except PreconditionFailed:
                live = await client.get(self.kind, seen.metadata.name)
                if (live.metadata.uid, live.metadata.generation) != (seen.metadata.uid, seen.metadata.generation):
                    break
        raise Conflict(f"{self.kind} {seen.metadata.name} was changed meanwhile; plan again")

    async def _settled(self, client: Client, written: AnyObject, diagnostics: Diagnostics) -> AnyObject:
        """Wait until the reconciler is done. If it takes too long that is a warning: Keystead goes on with it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = await client.get(self.kind, written.metadata.name)
            synced = find_condition(found.status.conditions, ConditionType.SYNCED)
            seen = synced is not None and synced.observed_generation >= written.metadata.generation
            if synced is not None and seen and synced.status is ConditionStatus.TRUE:
                return found
            if time.monotonic() > deadline:
                diagnostics.add_warning(
                    f"{self.kind} {written.metadata.name} is declared and not yet as declared",
                    synced.message if synced is not None and seen else "Keystead has not looked at it yet.",
                )
                return found
            await asyncio.sleep(PAUSE_SECONDS)

    def _tell(self, diagnostics: Diagnostics, summary: str, work: Callable[[Client], Awaitable[T]]) -> T | None:
        """What ``work`` answers; None, with the reason told, if Keystead refuses."""
        try:
            answer: T = self._ask(work)
        except KeysteadError as error:
            problems = getattr(error, "problems", ())
            told = [f"{problem.path}: {problem.message}" for problem in problems] if len(problems) > 1 else []
            diagnostics.add_error(summary, "\n".join([error.message, *told]))
            return None
        except ValueError as error:
            diagnostics.add_error(summary, f"An attribute that takes JSON has none: {error}")
            return None
        return answer
