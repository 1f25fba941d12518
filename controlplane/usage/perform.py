"""Every request on keys, top to bottom: resolve, authorise, gate, work, audit, answer.

Who calls it: every handler of every door, with the work as a function; authentication has refreshed the catalog, so the
request sees every write that was answered before it came. Guarantees: no operation skips authorisation or
the state gate; the answer leaves only after its audit record is durable, and the request fails if that cannot be
written; refusals are audited with their reason, requests that a stopping server cuts off too; a use refused because of
pending deletion is counted on its key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, perf_counter
from typing import Final, Literal, TypeVar

from controlplane import metrics
from controlplane.access.authorise import Authoriser, Request
from controlplane.access.caller import Caller
from controlplane.access.grant_tokens import GrantTokens
from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.clock import Clock
from controlplane.domain import lifecycle
from controlplane.domain.names import KeyReference, alias_arn, is_key_id, key_arn, parse_key_reference
from controlplane.domain.policy import Decision
from controlplane.errors import AccessDenied, InvalidState, KeysteadError, NotFound
from controlplane.schema.events import EventReason
from controlplane.schema.keys import KeyState
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key, Principal
from controlplane.store import events, people
from controlplane.store.catalog import Catalog, KeyRecord
from controlplane.store.database import Database, Tx
from controlplane.usage.last_uses import LastUses
from controlplane.usage.rates import Rates
from controlplane.usage.strangers import Strangers
from plugins.sdk import CallInfo, reset_call_info, set_call_info

__all__ = ["Request", "Usage"]

T = TypeVar("T")

_ENDINGS: Final = frozenset({"DisableKey", "ScheduleKeyDeletion"})
"""Operations whose permission may depend on how long the key has not been used."""


class Usage:
    """What handlers of all doors perform their work with."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        audit: AuditJournal,
        clock: Clock,
        grant_tokens: GrantTokens,
        *,
        account: str,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._audit = audit
        self._clock = clock
        self._account = account
        self.rates = Rates(monotonic)
        self._authoriser = Authoriser(catalog.grants, clock)
        self._grant_tokens = grant_tokens
        self.last_uses = LastUses(database, clock)
        self.strangers = Strangers(audit, clock)

    # ---- the sentence ----------------------------------------------------------------------------------------------

    async def on_key(
        self, request: Request, key: str | Callable[[], KeyRecord], work: Callable[[KeyRecord], Awaitable[T]]
    ) -> T:
        """Perform ``work`` on one key: a KeyId in any of its four forms, or a function that finds the key otherwise."""
        started = perf_counter()
        record: KeyRecord | None = None
        try:
            if isinstance(key, str):
                request.key_id = key
                record = self.resolve(request.caller, key)
            else:
                record = key()
            if request.grant_tokens:
                await self._check_tokens(request)
            reason = self._authorise(request, record)
            self._gate(request.operation, record)
            answer = await _caused_by(request, work(record))
        except (Exception, asyncio.CancelledError) as error:
            await self._refused(request, record, key if isinstance(key, str) else "", error, started)
            raise
        seq = await self._allowed(request, record.arn, started, reason)
        if request.operation in lifecycle.USES:
            self._used(request, record, seq)
        return answer

    async def on_two_keys(
        self,
        source: Request,
        source_key: str | Callable[[], KeyRecord],
        destination: Request,
        destination_key: str,
        work: Callable[[KeyRecord, KeyRecord], Awaitable[T]],
    ) -> T:
        """Perform ``work`` that reads with one key and writes with another, the same one perhaps: ReEncrypt.

        Both are authorised, each by the action of its request (they share their grant tokens), and pass the gate
        before anything is read; each has its audit record. The condition key that compares them is added here,
        because here both are known.
        """
        started = perf_counter()
        first: KeyRecord | None = None
        second: KeyRecord | None = None
        try:
            source.key_id = source_key if isinstance(source_key, str) else ""
            destination.key_id = destination_key
            first = self.resolve(source.caller, source_key) if isinstance(source_key, str) else source_key()
            second = self.resolve(destination.caller, destination_key)
            same = {"kms:ReEncryptOnSameKey": "true" if first.arn == second.arn else "false"}
            if source.grant_tokens:
                await self._check_tokens(source)
            reasons = []
            for request, record in ((source, first), (destination, second)):
                request.conditions = {**(request.conditions or {}), **same}
                reasons.append(self._authorise(request, record))
                self._gate(request.operation, record)
            answer = await _caused_by(source, work(first, second))
        except (Exception, asyncio.CancelledError) as error:
            await self._refused(source, first, source_key if isinstance(source_key, str) else "", error, started)
            await self._refused(destination, second, destination_key, error, started)
            raise
        for request, record, reason in zip((source, destination), (first, second), reasons, strict=True):
            self._used(request, record, await self._allowed(request, record.arn, started, reason))
        return answer

    async def on_account(self, request: Request, work: Callable[[], Awaitable[T]], resource: str = "*") -> T:
        """Perform ``work`` that acts on no existing key (CreateKey, ListKeys, plans, lists)."""
        started = perf_counter()
        try:
            reason = self._authorise(request, None, resource)
            answer = await _caused_by(request, work())
        except (Exception, asyncio.CancelledError) as error:
            await self._refused(request, None, resource, error, started)
            raise
        await self._allowed(request, resource, started, reason)
        return answer

    async def on_objects(
        self, request: Request, names: Sequence[str], work: Callable[[], Awaitable[T]], resource: str
    ) -> T:
        """Perform ``work`` that changes several declared objects (``Key/payments``). Each has to be allowed; without
        any, ``resource`` has to be, which stands for them all in the audit record."""
        started = perf_counter()
        try:
            # Beside the event loop: a plan can have 100,000 objects, and policies are evaluated anywhere.
            reason = await asyncio.to_thread(self._authorise_all, request, names or (resource,))
            answer = await work()
        except (Exception, asyncio.CancelledError) as error:
            await self._refused(request, None, resource, error, started)
            raise
        await self._allowed(request, resource, started, reason)
        return answer

    async def on_role(self, request: Request, role: Principal, work: Callable[[], Awaitable[T]]) -> T:
        """Perform ``work`` that a role's trust policy decides about (AssumeRole)."""
        started, arn = perf_counter(), role.status.arn
        try:
            reason = self._verdict(request, self._authoriser.decide_role(request, role), arn)
            answer = await work()
        except (Exception, asyncio.CancelledError) as error:
            await self._refused(request, None, arn, error, started)
            raise
        await self._allowed(request, arn, started, reason)
        return answer

    def require_on_role(self, request: Request, role: Principal) -> None:
        """A further permission on the same role. Raises :class:`AccessDenied`."""
        self._verdict(request, self._authoriser.decide_role(request, role), role.status.arn)

    async def turned_away(self, request: Request, error: Exception) -> None:
        """Audit a request that ended before it came to any of the above: no such operation, or a body that does not
        decode. What is audited already is not again."""
        if not (isinstance(error, KeysteadError) and error.audited):
            await self._refused(request, None, "", error, perf_counter())

    # ---- its words -------------------------------------------------------------------------------------------------

    def resolve(self, caller: Caller, key_id: str) -> KeyRecord:
        """The key that a KeyId names. Raises :class:`NotFound`, or :class:`InvalidArn` for what is no ARN of KMS."""
        reference = parse_key_reference(key_id, caller.region, self._account)
        if reference.full and reference.region != caller.region:
            raise NotFound(f"Invalid arn {reference.region}")
        record = None
        if reference.account == self._account:
            record = self._find(reference)
        if record is None:
            raise NotFound(self._missing(reference))
        return record

    def require(self, request: Request, record: KeyRecord | None = None, resource: str = "*") -> None:
        """A further permission that an operation needs, beside that on its key. Raises :class:`AccessDenied`."""
        self._authorise(request, record, resource)

    def locks_out(self, request: Request, key: Key | None, document: str) -> bool:
        """Whether the caller could not change a key's policy again once it is ``document``."""
        return self._authoriser.locks_out(request, key, document)

    def state(self, record: KeyRecord) -> KeyState:
        """The key's state now."""
        return self.state_of(record.key)

    def state_of(self, key: Key) -> KeyState:
        """The state of a key that a handler has just written."""
        store = self._catalog.key_store(key.spec.key_store)
        return lifecycle.key_state(key, store.status.connection if store else ConnectionState.DISCONNECTED)

    def would_refuse(self, request: Request, record: KeyRecord | None, resource: str = "*") -> KeysteadError | None:
        """Why this request would be refused now, before any work; None if it would not be. Nothing is audited."""
        try:
            self._authorise(request, record, resource)
            if record is not None:
                self._gate(request.operation, record)
        except KeysteadError as error:
            return error
        return None

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _find(self, reference: KeyReference) -> KeyRecord | None:
        if reference.alias is not None:
            return self._catalog.alias(reference.region, reference.alias)
        assert reference.key_id is not None
        return self._catalog.key(reference.region, reference.key_id)

    def _missing(self, reference: KeyReference) -> str:
        if reference.alias is not None:
            return f"Alias {alias_arn(reference.region, reference.account, reference.alias)} is not found."
        assert reference.key_id is not None
        if not reference.full and not is_key_id(reference.key_id):
            return f"Invalid keyId '{reference.key_id}'"
        return f"Key '{key_arn(reference.region, reference.account, reference.key_id)}' does not exist"

    async def _check_tokens(self, request: Request) -> None:
        for token in request.grant_tokens:
            await self._grant_tokens.check(token)

    def _authorise(self, request: Request, record: KeyRecord | None, resource: str = "*") -> str:
        """Why the request is allowed. Raises :class:`AccessDenied`."""
        if record is not None and request.operation in _ENDINGS:
            idle = {"kms:TrailingDaysWithoutKeyUsage": str(self.last_uses.idle_days(record.key))}
            request.conditions = {**(request.conditions or {}), **idle}
        decision = self._authoriser.decide(request, record.key if record else None, resource)
        return self._verdict(request, decision, record.arn if record else resource)

    def _authorise_all(self, request: Request, resources: Sequence[str]) -> str:
        reason = ""
        for resource in resources:
            reason = self._authorise(request, None, resource)
        return reason

    @staticmethod
    def _verdict(request: Request, decision: Decision, on: str) -> str:
        if not decision.allowed:
            raise AccessDenied(
                f"User: {request.caller.principal} is not authorized to perform: {request.permission} "
                f"on resource: {on}{decision.because.format(request.permission)}",
                reason=decision.reason,
            )
        return decision.reason

    def _gate(self, operation: str, record: KeyRecord) -> None:
        lifecycle.gate(operation, self.state(record), record.arn)

    async def _allowed(self, request: Request, resource: str, started: float, reason: str) -> int:
        """Audit a request that succeeded; the number of its record."""
        return await self._audit.append(self._record(request, resource, "allowed", started, reason=reason))

    def _used(self, request: Request, record: KeyRecord, seq: int) -> None:
        """Note a cryptographic operation that succeeded."""
        self.rates.count(allowed=True)
        self.last_uses.note(
            record.key.metadata.uid, request.operation, request.caller.request_id, self._audit.chain, seq
        )

    async def _refused(
        self, request: Request, record: KeyRecord | None, resource: str, error: BaseException, started: float
    ) -> None:
        """Audit a request that was not answered with success, and count it if the key is about to go."""
        arn = record.arn if record else resource
        denied = isinstance(error, AccessDenied)
        reason = error.reason if isinstance(error, AccessDenied) else _reason(error)
        entry = self._record(request, arn, "denied" if denied else "failed", started, error, reason)
        await self._audit.append(entry)
        if isinstance(error, KeysteadError):
            error.audited = True
        if request.operation in lifecycle.USES:
            self.rates.count(allowed=False)
        if record is None or not isinstance(error, InvalidState) or request.operation not in lifecycle.USES:
            return
        if self.state(record) in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION):
            key, principal, operation, now = record.key, request.caller.principal, request.operation, self._clock.now()

            def count(tx: Tx) -> None:
                people.count_refused_use(tx, uid=key.metadata.uid, principal=principal, operation=operation, now=now)
                message = f"{principal} was refused {operation}: the key is pending deletion"
                events.record(tx, key, EventReason.USE_REFUSED, message, now)

            await self._database.write(count)
            metrics.PENDING_DELETION_USES.labels(key.status.key_id, operation).inc()

    def _record(
        self,
        request: Request,
        resource: str,
        decision: Literal["allowed", "denied", "failed"],
        started: float,
        error: BaseException | None = None,
        reason: str = "",
    ) -> AuditRecord:
        return AuditRecord(
            time=self._clock.now(),
            request_id=request.caller.request_id,
            principal=request.caller.principal,
            source=request.caller.source,
            operation=request.operation,
            action=request.action or f"kms:{request.operation}",
            region=request.caller.region,
            resource=resource,
            decision=decision,
            reason=reason,
            encryption_context=dict(request.context) if request.context else None,
            latency_us=int((perf_counter() - started) * 1e6),
            error=None if error is None else _code(error),
            details=dict(request.details) if request.details else None,
        )


async def _caused_by(request: Request, work: Awaitable[T]) -> T:
    """Do the work; a key store that asks hears whose request it is."""
    caller = request.caller
    token = set_call_info(CallInfo(request.operation, caller.principal, caller.request_id))
    try:
        return await work
    finally:
        reset_call_info(token)


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, KeysteadError) else type(error).__name__


def _code(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "Cancelled"
    return error.code if isinstance(error, KeysteadError) else "InternalError"
