"""Looking over many keys, for people who operate: a list that is filtered, sorted and cut to a window here, counts and
what needs a person, and what the caller may do.

``GET /v1/search/keys``, ``/v1/search/{kind}``, ``/v1/summary``, ``/v1/access``, ``/v1/keys/{name}/about``,
``/v1/{kind}/{name}/actions``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, cast

from litestar import Controller, Request, get
from litestar.params import Parameter

from controlplane.access.caller import Caller
from controlplane.api.reconciliation import verdicts
from controlplane.api.reconciliation.documented import REFUSALS
from controlplane.api.reconciliation.lookup import find, record
from controlplane.api.reconciliation.objects import PLURALS
from controlplane.api.services import Services
from controlplane.domain import lists
from controlplane.domain.imports import EXPIRES_SOON
from controlplane.domain.lifecycle import key_state
from controlplane.errors import NotFound
from controlplane.schema.browse import (
    Access,
    Attention,
    AttentionReason,
    KeyAbout,
    KeyRow,
    KeyRows,
    KeySort,
    LastUse,
    ObjectRows,
    ObjectSort,
    Related,
    Summary,
    Verdict,
)
from controlplane.schema.conditions import ConditionStatus, ConditionType, Reason, find_condition, synced_word
from controlplane.schema.filters import MAX_LENGTH, parse_filter, parse_object_filter
from controlplane.schema.grants import Grant
from controlplane.schema.keys import KeyState, Management, RefusedUse
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key, KeyStore, Kind
from controlplane.store import grants, keyindex, objects, people
from controlplane.store.database import Tx
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]

ATTENTION: Final = 50
GRANTS: Final = 50
ACCOUNT_ACTIONS: Final = ("keystead:Read", "keystead:Plan", "keystead:Apply", "keystead:ReadAudit")
"""What is allowed on the account or not at all, in the words of policies."""


class BrowseController(Controller):
    """Lists for people."""

    path = "/"
    tags = ("browse",)

    @get("/search/keys", operation_id="SearchKeys", responses=REFUSALS)
    async def search(
        self,
        request: ApiRequest,
        services: Services,
        filter: Annotated[
            str, Parameter(max_length=MAX_LENGTH, description="Terms that all have to hold, such as `pay !old @hsm-a`.")
        ] = "",
        sort: KeySort = KeySort.NAME,
        descending: bool = False,
        offset: Annotated[int, Parameter(ge=0, le=10_000_000)] = 0,
        limit: Annotated[int, Parameter(ge=1, le=1000)] = 200,
    ) -> KeyRows:
        """A window of the keys that match a filter."""

        async def work() -> KeyRows:
            terms = parse_filter(filter)

            def read(tx: Tx) -> KeyRows:
                version, stores = objects.current_version(tx), _stores(tx)
                found = keyindex.find(
                    tx,
                    terms,
                    connected=_connected(stores),
                    sort=sort,
                    descending=descending,
                    offset=offset,
                    limit=limit,
                )
                keys = [key for uid in found.uids if isinstance(key := objects.get(tx, uid), Key)]
                return KeyRows(
                    items=tuple(_rows(tx, keys, stores)),
                    offset=offset,
                    matching=found.matching,
                    total=found.total,
                    version=version,
                )

            return await services.database.scan(read)

        return await services.usage.on_account(_reading(request, "SearchKeys"), work)

    @get("/search/{plural:str}", operation_id="SearchObjects", responses=REFUSALS)
    async def search_objects(
        self,
        request: ApiRequest,
        services: Services,
        plural: str,
        filter: Annotated[
            str,
            Parameter(max_length=MAX_LENGTH, description="Terms that all have to hold, such as `!old -l type=xks`."),
        ] = "",
        sort: ObjectSort = ObjectSort.NAME,
        descending: bool = False,
        offset: Annotated[int, Parameter(ge=0, le=10_000_000)] = 0,
        limit: Annotated[int, Parameter(ge=1, le=1000)] = 200,
    ) -> ObjectRows:
        """A window of the key stores, principals or XKS proxies that match a filter."""
        kind = PLURALS.get(plural)

        async def work() -> ObjectRows:
            if kind is None:
                raise NotFound(f"there is no kind {plural}; there are {', '.join(PLURALS)}")
            terms = parse_object_filter(filter)

            def read(tx: Tx) -> ObjectRows:
                found = objects.everything(tx, kind)
                keys = _keys_by_store(tx) if kind is Kind.KEY_STORE else {}
                fitting = lists.ordered(
                    (item for item in found if lists.matches(item, terms)), sort, descending=descending, keys=keys
                )
                items = tuple(fitting[offset : offset + limit])
                return ObjectRows(
                    items=items,
                    offset=offset,
                    matching=len(fitting),
                    total=len(found),
                    version=objects.current_version(tx),
                    keys={item.metadata.name: keys.get(item.metadata.name, 0) for item in items if keys},
                )

            return await services.database.scan(read)

        return await services.usage.on_account(_reading(request, f"Search{kind or 'Object'}s"), work)

    @get("/summary", operation_id="GetSummary", responses=REFUSALS)
    async def summary(self, request: ApiRequest, services: Services) -> Summary:
        """Counts by state and key store, what needs a person, and how much keys are used."""

        async def work() -> Summary:
            def read(tx: Tx) -> Summary:
                stores = _stores(tx)
                counted = keyindex.counts(tx, connected=_connected(stores))
                states, by_store = dict.fromkeys(KeyState, 0), dict.fromkeys((s.metadata.name for s in stores), 0)
                for each in counted:
                    states[each.state] += each.count
                    by_store[each.key_store] = by_store.get(each.key_store, 0) + each.count
                first, reasons = _attention(tx, stores, services.clock.now())
                return Summary(
                    version=objects.current_version(tx),
                    time=services.clock.now(),
                    keys=sum(states.values()),
                    states=states,
                    stores=by_store,
                    attention=tuple(first),
                    attention_total=sum(reasons.values()),
                    attention_counts=reasons,
                    rates=services.usage.rates.shown(),
                )

            return await services.database.scan(read)

        return await services.usage.on_account(_reading(request, "GetSummary"), work)

    @get("/access", operation_id="GetAccess", responses=REFUSALS)
    async def access(self, request: ApiRequest, services: Services) -> Access:
        """Who the caller is, and what it may do on the account."""

        async def work() -> Access:
            may = (
                verdicts.verdict(
                    action, services.usage.would_refuse(perform.Request(request.user, action, action=action), None)
                )
                for action in ACCOUNT_ACTIONS
            )
            return Access(principal=request.user.principal, account=request.user.account, may=tuple(may))

        return await services.usage.on_account(_reading(request, "GetAccess"), work)

    @get("/{plural:str}/{name:str}/about", operation_id="GetKeyAbout", responses=REFUSALS)
    async def about(self, request: ApiRequest, services: Services, plural: str, name: str) -> KeyAbout:
        """What goes with a key and is not part of it."""

        async def work() -> KeyAbout:
            if plural != "keys":
                raise NotFound("only keys have more about them")
            at = record(services, cast(Key, find(services, Kind.KEY, name)))
            use = services.usage.last_uses.get(at.key.metadata.uid)

            def read(tx: Tx) -> tuple[list[RefusedUse], list[Grant], list[Related]]:
                uid = at.key.metadata.uid
                listed = grants.page_of_key(tx, uid, after=0, limit=GRANTS + 1)
                return people.refused_uses(tx, uid), [each.grant for each in listed], _related(tx, services, at.key)

            refused, granted, related = services.database.read(read)
            return KeyAbout(
                state=services.usage.state(at),
                actions=tuple(verdicts.of_key(services, request.user, at)),
                refused=tuple(refused),
                grants=tuple(granted[:GRANTS]),
                grants_more=len(granted) > GRANTS,
                related=tuple(related),
                last_use=None if use is None else LastUse(operation=use.operation, at=objects.moment(use.at)),
            )

        return await services.usage.on_account(_reading(request, "GetKeyAbout"), work, f"Key/{name}")

    @get("/{plural:str}/{name:str}/actions", operation_id="ListActions", responses=REFUSALS)
    async def actions(self, request: ApiRequest, services: Services, plural: str, name: str) -> list[Verdict]:
        """What the caller may do with an object now, and why not: its policies, then its state."""
        kind = PLURALS.get(plural)

        async def work() -> list[Verdict]:
            if kind is None:
                raise NotFound(f"there is no kind {plural}; there are {', '.join(PLURALS)}")
            found = find(services, kind, name)
            if isinstance(found, Key):
                return list(verdicts.of_key(services, request.user, record(services, found)))
            return list(verdicts.of_object(services, request.user, found))

        return await services.usage.on_account(_reading(request, "ListActions"), work, f"{kind}/{name}")


# ---- rows ------------------------------------------------------------------------------------------------------------


def _rows(tx: Tx, keys: Sequence[Key], stores: Iterable[KeyStore]) -> Iterator[KeyRow]:
    refused = keyindex.refused(tx, [key.metadata.uid for key in keys if key.metadata.deletion is not None])
    connections = {store.metadata.name: store.status.connection for store in stores}
    for key in keys:
        meta, spec = key.metadata, key.spec
        synced = find_condition(key.status.conditions, ConditionType.SYNCED)
        count, last = refused.get(meta.uid, (0, None))
        assert spec.region is not None
        assert spec.origin is not None
        yield KeyRow(
            name=meta.name,
            uid=meta.uid,
            key_id=key.status.key_id,
            region=spec.region,
            state=key_state(key, connections.get(spec.key_store, ConnectionState.DISCONNECTED)),
            condition=synced_word(key.status.conditions, meta.generation),
            condition_message=synced.message if synced is not None else "",
            key_spec=spec.key_spec,
            key_store=spec.key_store,
            origin=spec.origin,
            created_at=meta.created_at,
            version=meta.resource_version,
            aliases=spec.aliases,
            tags=spec.tags,
            spec_set=meta.spec_set,
            protected=spec.deletion.protect,
            paused=spec.management is Management.PAUSED,
            deletion=meta.deletion,
            expires_at=keyindex.expires_at(key),
            refused=count,
            refused_last_at=None if last is None else objects.moment(last),
        )


def _stores(tx: Tx) -> list[KeyStore]:
    return [store for store in objects.page(tx, Kind.KEY_STORE, limit=1000) if isinstance(store, KeyStore)]


def _keys_by_store(tx: Tx) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in keyindex.counts(tx, connected=()):
        found[each.key_store] = found.get(each.key_store, 0) + each.count
    return found


def _connected(stores: Iterable[KeyStore]) -> list[str]:
    return [store.metadata.name for store in stores if store.status.connection is ConnectionState.CONNECTED]


# ---- what needs a person ---------------------------------------------------------------------------------------------


def _attention(tx: Tx, stores: Iterable[KeyStore], now: datetime) -> tuple[list[Attention], dict[AttentionReason, int]]:
    """What has a deadline first: uses of keys that are about to go, material that expires. Then stores, then keys."""
    used, used_total = keyindex.used_while_pending(tx, ATTENTION)
    expiring, expiring_total = keyindex.expiring(tx, now + EXPIRES_SOON, ATTENTION)
    unknown, unknown_total = keyindex.of_unknown_outcome(tx, ATTENTION)
    troubled, troubled_total = keyindex.troubled(tx, ATTENTION)
    about_stores = [each for store in stores if (each := _about_store(store)) is not None]
    found = [
        *(_about_use(key, count, last) for uid, count, last in used if isinstance(key := objects.get(tx, uid), Key)),
        *(_about_expiry(key) for uid in expiring if isinstance(key := objects.get(tx, uid), Key)),
        *(_about_key(key) for uid in unknown if isinstance(key := objects.get(tx, uid), Key)),
        *sorted(about_stores, key=lambda each: each.reason),
        *(_about_key(key) for uid in troubled if isinstance(key := objects.get(tx, uid), Key)),
    ]
    counts = Counter(each.reason for each in about_stores)
    counts[AttentionReason.USED_WHILE_PENDING_DELETION] = used_total
    counts[AttentionReason.MATERIAL_EXPIRES_SOON] = expiring_total
    counts[AttentionReason.OUTCOME_UNKNOWN] = unknown_total
    counts[AttentionReason.NOT_AS_DECLARED] = troubled_total
    return found[:ATTENTION], dict(+counts)


def _about_use(key: Key, count: int, last: float) -> Attention:
    times = "once" if count == 1 else f"{count:,} times"
    return Attention(
        reason=AttentionReason.USED_WHILE_PENDING_DELETION,
        kind=Kind.KEY,
        name=key.metadata.name,
        message=f"its use was refused {times} since its deletion was scheduled",
        at=objects.moment(last),
    )


def _about_expiry(key: Key) -> Attention:
    return Attention(
        reason=AttentionReason.MATERIAL_EXPIRES_SOON,
        kind=Kind.KEY,
        name=key.metadata.name,
        message="its imported material expires; import it again, or it cannot be used",
        at=keyindex.expires_at(key),
    )


def _about_store(store: KeyStore) -> Attention | None:
    if not store.spec.connected:
        return None
    connected = store.status.connection is ConnectionState.CONNECTED
    ready = find_condition(store.status.conditions, ConditionType.READY)
    if connected and (ready is None or ready.status is ConditionStatus.TRUE):
        return None
    return Attention(
        reason=AttentionReason.STORE_UNHEALTHY if connected else AttentionReason.STORE_NOT_CONNECTED,
        kind=Kind.KEY_STORE,
        name=store.metadata.name,
        message=f"{ready.reason}: {ready.message}" if ready is not None else "it was not connected yet",
        at=ready.last_transition if ready is not None else None,
    )


def _about_key(key: Key) -> Attention:
    synced = find_condition(key.status.conditions, ConditionType.SYNCED)
    assert synced is not None, "the index says that it is not as declared for a reason"
    unknown = synced.reason is Reason.CREATE_OUTCOME_UNKNOWN
    return Attention(
        reason=AttentionReason.OUTCOME_UNKNOWN if unknown else AttentionReason.NOT_AS_DECLARED,
        kind=Kind.KEY,
        name=key.metadata.name,
        message=f"{synced.reason}: {synced.message}" if synced.message else synced.reason,
        at=synced.last_transition,
    )


def _related(tx: Tx, services: Services, key: Key) -> list[Related]:
    """The other keys of a multi-Region key, by Region."""
    found = objects.related_keys(tx, key.status.key_id) if key.spec.multi_region else []
    return [
        Related(
            name=each.metadata.name,
            region=each.spec.region or "",
            primary=each.spec.region == each.status.primary_region,
            state=services.usage.state_of(each),
        )
        for each in found
        if each.metadata.uid != key.metadata.uid
    ]


def _reading(request: ApiRequest, operation: str) -> perform.Request:
    return perform.Request(request.user, operation, action="keystead:Read")
