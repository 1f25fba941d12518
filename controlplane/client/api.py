"""Everything that the reconciliation API offers, one method for each thing. Called by ``cli`` and ``tui``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode

import aiohttp
import msgspec

from controlplane.audit.checkpoints import Checkpoints
from controlplane.audit.records import AuditEntry, AuditPage, Decision, VerifyResult
from controlplane.client.addresses import is_reference, segment
from controlplane.client.connection import CONNECT_SECONDS, Connection, UnexpectedAnswer
from controlplane.errors import PreconditionFailed
from controlplane.schema.browse import Access, KeyAbout, KeyRows, KeySort, ObjectRows, ObjectSort, Summary, Verdict
from controlplane.schema.copies import CopiesReport
from controlplane.schema.credentials import (
    AccessKeyChange,
    AccessKeyInfo,
    IssuedAccessKey,
    IssuedToken,
    TokenInfo,
    TokenRequest,
)
from controlplane.schema.documents import Document, declare
from controlplane.schema.drift import DriftReport
from controlplane.schema.events import EventPage
from controlplane.schema.imports import (
    Import,
    ImportedNow,
    ImportParameters,
    ImportReport,
    WrappingAlgorithm,
    WrappingSpec,
)
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.schema.plans import Applied, ExportPage, ObjectPage, Plan, Progress, ServerInfo, SpecSets
from controlplane.schema.probes import ProbeReport
from controlplane.schema.xksproxies import XksConfiguration

COLLECTIONS: Final[Mapping[Kind, str]] = {
    Kind.KEY: "keys",
    Kind.KEY_STORE: "keystores",
    Kind.PRINCIPAL: "principals",
    Kind.XKS_PROXY: "xksproxies",
}
PAGE_SIZE: Final = 500
MAX_EVENT: Final = 1024 * 1024
EDIT_TRIES: Final = 5
"""How often an edit is made again because only the status changed: the server notes what it sees all the time."""
BACKUP_CHUNK: Final = 256 * 1024
BACKUP_SECONDS: Final = 600.0
"""How long a server may take to make a backup before it sends the first piece."""

_SILENCE_SECONDS: Final = 45.0
"""The change feed sends a heartbeat every 15 s; three missing ones are a dead connection."""


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of the change feed. ``version`` is what ``changes(since=...)`` takes to go on after it."""

    version: int
    kind: Kind
    uid: str
    name: str
    generation: int
    removed: bool = False


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records of the audit journal are wanted: all that is given must hold, of several operations one."""

    key: str | None = None
    """A name, key id, ``alias/NAME`` or ARN; of a key that is gone its ARN."""
    principal: str | None = None
    operations: tuple[str, ...] = ()
    decision: Decision | None = None
    error: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def query(self) -> list[tuple[str, str]]:
        """As the API takes it."""
        pairs = [
            ("key", self.key),
            ("principal", self.principal),
            *(("operation", each) for each in self.operations),
            ("decision", self.decision),
            ("error", self.error),
            ("requestId", self.request_id),
            ("since", self.since.isoformat() if self.since else None),
            ("until", self.until.isoformat() if self.until else None),
        ]
        return [(name, value) for name, value in pairs if value is not None]


EVERYTHING: Final = AuditFilter()


class Client(Connection):
    """The reconciliation API of one server. Use as an async context manager."""

    # ---- plans -----------------------------------------------------------------------------------------------------

    async def plan(
        self,
        spec_set: str,
        documents: Sequence[Document | Mapping[str, Any]],
        *,
        take_ownership: bool = False,
        targets: Sequence[str] = (),
    ) -> Plan:
        """What an apply of these documents would do. Raises :class:`InvalidSpec` with every problem in them.

        ``take_ownership`` takes fields that another manager states; ``targets`` (``Key/NAME``) leaves out all else.
        """
        asked: dict[str, Any] = {"specSet": spec_set, "documents": documents}
        if take_ownership:
            asked["takeOwnership"] = True
        if targets:
            asked["targets"] = targets
        body = msgspec.json.encode(asked)
        return await self._ask("POST", "/v1/plans", Plan, body)

    async def get_plan(self, plan_id: str) -> Plan:
        return await self._ask("GET", f"/v1/plans/{segment(plan_id)}", Plan)

    async def apply(self, plan_id: str) -> Applied:
        """Write the desired state of a plan. After :class:`StalePlan` or :class:`Blocked` nothing was written."""
        return await self._ask("POST", f"/v1/plans/{segment(plan_id)}/apply", Applied, b"{}")

    async def progress(self, spec_set: str) -> Progress:
        """How far the reconciler is with a spec set."""
        return await self._ask("GET", f"/v1/spec-sets/{segment(spec_set)}/progress", Progress)

    async def drift(self, spec_set: str | None = None) -> DriftReport:
        """What is not as spec sets state it. Changes nothing."""
        query = urlencode({"specSet": spec_set}) if spec_set is not None else ""
        return await self._ask("GET", f"/v1/drift?{query}", DriftReport)

    # ---- objects ---------------------------------------------------------------------------------------------------

    async def page(
        self, kind: Kind, *, limit: int = PAGE_SIZE, after: str | None = None, spec_set: str | None = None
    ) -> ObjectPage:
        """One page of objects by name, after the name ``after``."""
        wanted = {"limit": str(limit), "after": after, "specSet": spec_set}
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        return await self._ask("GET", f"/v1/{COLLECTIONS[kind]}?{query}", ObjectPage)

    async def objects(
        self, kind: Kind, *, spec_set: str | None = None, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[AnyObject]:
        """Every object of a kind, page by page."""
        after: str | None = None
        while True:
            page = await self.page(kind, limit=page_size, after=after, spec_set=spec_set)
            for item in page.items:
                yield item
            if page.next is None:
                return
            if after is not None and page.next <= after:  # or a broken server would keep us here for ever
                raise UnexpectedAnswer(f"{self.url} sent a page of {COLLECTIONS[kind]} that does not move on")
            after = page.next

    async def spec_sets(self) -> SpecSets:
        """The names of all spec sets."""
        return await self._ask("GET", "/v1/spec-sets", SpecSets)

    async def documents(self, kind: Kind, spec_set: str | None) -> AsyncIterator[dict[str, Any]]:
        """Live objects of a kind as documents, of a spec set or of those that no set owns, page by page."""
        after = ""
        while True:
            query = {"kind": kind.value, "after": after, **({"specSet": spec_set} if spec_set is not None else {})}
            page = await self._ask("GET", f"/v1/documents?{urlencode(query)}", ExportPage)
            for document in page.documents:
                yield document
            if page.next is None:
                return
            if page.next <= after:
                raise UnexpectedAnswer(f"{self.url} sent a page of documents that does not move on")
            after = page.next

    async def get(self, kind: Kind, name: str) -> AnyObject:
        """One object. A key may be given as name, key id, ``alias/NAME`` or ARN."""
        if kind is Kind.KEY and is_reference(name):
            found = await self._ask("GET", f"/v1/keys?{urlencode({'ref': name})}", ObjectPage)
            if len(found.items) != 1:
                raise UnexpectedAnswer(f"{self.url} answered {len(found.items)} keys for {name}")
            return found.items[0]
        return await self._object("GET", f"/v1/{COLLECTIONS[kind]}/{segment(name)}")

    async def _object(
        self, method: str, path: str, body: bytes | None = None, *, version: int | None = None, new: bool = False
    ) -> AnyObject:
        """An answer that is an object of some kind; it says of which."""
        # A union is what msgspec decodes into, and no ``type`` to mypy.
        return await self._ask(method, path, AnyObject, body, version=version, new=new)  # type: ignore[arg-type]

    async def put(self, document: Document, *, version: int | None = None, new: bool = False) -> AnyObject:
        """Declare one object. With ``version`` (the resource version that was read) it fails with
        :class:`PreconditionFailed` if the object changed meanwhile, with ``new`` if it is there already."""
        path = f"/v1/{COLLECTIONS[document.kind]}/{segment(document.name)}"
        body = msgspec.json.encode(document)
        return await self._object("PUT", path, body, version=version, new=new)

    async def remove(self, kind: Kind, name: str, *, version: int | None = None) -> AnyObject:
        """Schedule a key's deletion with its declared window, or remove another object. ``version`` as of ``put``."""
        path = f"/v1/{COLLECTIONS[kind]}/{segment(name)}"
        return await self._object("DELETE", path, version=version)

    async def edit(self, kind: Kind, name: str, changes: Mapping[str, Any]) -> AnyObject:
        """Change fields of an object's spec. It reads, changes and writes what was read: if its spec changed in
        between, that is :class:`PreconditionFailed` and nothing is overwritten. A new status does not matter."""
        present = await self.get(kind, name)
        for _ in range(EDIT_TRIES):
            spec = msgspec.structs.replace(present.spec, **changes)
            try:
                return await self.put(declare(present.metadata.name, spec), version=present.metadata.resource_version)
            except PreconditionFailed:
                generation, present = present.metadata.generation, await self.get(kind, name)
                if present.metadata.generation != generation:
                    raise
        raise PreconditionFailed(f"{kind} {name} is changing all the time; try again")

    async def search_keys(
        self,
        filter: str = "",
        *,
        sort: KeySort = KeySort.NAME,
        descending: bool = False,
        offset: int = 0,
        limit: int = 200,
    ) -> KeyRows:
        """A window of the keys that match a filter (``schema.filters`` is its grammar), sorted by the server."""
        wanted = _window(filter, sort, offset, limit, descending=descending)
        return await self._ask("GET", f"/v1/search/keys?{wanted}", KeyRows)

    async def search_objects(
        self,
        kind: Kind,
        filter: str = "",
        *,
        sort: ObjectSort = ObjectSort.NAME,
        descending: bool = False,
        offset: int = 0,
        limit: int = 200,
    ) -> ObjectRows:
        """The same of key stores, principals or XKS proxies."""
        wanted = _window(filter, sort, offset, limit, descending=descending)
        return await self._ask("GET", f"/v1/search/{COLLECTIONS[kind]}?{wanted}", ObjectRows)

    async def summary(self) -> Summary:
        """Counts by state and key store, what needs a person, and how much keys are used."""
        return await self._ask("GET", "/v1/summary", Summary)

    async def access(self) -> Access:
        """Who the caller is, and what it may do on the account."""
        return await self._ask("GET", "/v1/access", Access)

    async def key_about(self, name: str) -> KeyAbout:
        """What goes with a key: actions, refused uses, grants, the keys that share its key id, its last use."""
        return await self._ask("GET", f"/v1/keys/{segment(await self._plain_name(name))}/about", KeyAbout)

    async def actions(self, kind: Kind, name: str) -> list[Verdict]:
        """What the caller may do with an object now, and why not."""
        plain = await self._plain_name(name) if kind is Kind.KEY else name
        return await self._ask("GET", f"/v1/{COLLECTIONS[kind]}/{segment(plain)}/actions", list[Verdict])

    async def refused_uses(self, name: str) -> list[RefusedUse]:
        """Who tried to use a key that is pending deletion."""
        path = f"/v1/keys/{segment(await self._plain_name(name))}/refused-uses"
        return await self._ask("GET", path, list[RefusedUse])

    async def events(self, *, uid: str | None = None, since: int | None = None, limit: int = 200) -> EventPage:
        """What happened, oldest first: of one object or of all, after version ``since`` or the newest.

        ``EventPage.version`` is the ``since`` that goes on from there. The uid may be that of an object that is gone.
        """
        wanted = {"uid": uid, "since": since, "limit": limit}
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        return await self._ask("GET", f"/v1/events?{query}", EventPage)

    # ---- actions on a key ------------------------------------------------------------------------------------------

    async def enable(self, name: str) -> Key:
        return await self._act(name, "enable")

    async def disable(self, name: str) -> Key:
        return await self._act(name, "disable")

    async def schedule_deletion(self, name: str, window_days: int | None = None) -> Key:
        """``window_days`` is 7 to 30; without it the key's own window holds."""
        return await self._act(name, "schedule-deletion", {} if window_days is None else {"windowDays": window_days})

    async def cancel_deletion(self, name: str) -> Key:
        return await self._act(name, "cancel-deletion")

    async def rotate(self, name: str) -> Key:
        """Ask for new key material now; the reconciler makes it."""
        return await self._act(name, "rotate")

    async def make_primary(self, name: str) -> Key:
        """Make a replica key the primary key of its multi-Region key."""
        return await self._act(name, "make-primary")

    async def reconcile(self, name: str, kind: Kind = Kind.KEY) -> AnyObject:
        """Have the reconciler look at a key, or at another object, now."""
        if kind is Kind.KEY:
            return await self._act(name, "reconcile")
        path = f"/v1/{COLLECTIONS[kind]}/{segment(name)}/actions/reconcile"
        return await self._object("POST", path, b"{}")

    async def _act(self, name: str, action: str, body: Mapping[str, object] | None = None) -> Key:
        path = f"/v1/keys/{segment(await self._plain_name(name))}/actions/{action}"
        return await self._ask("POST", path, Key, msgspec.json.encode(body or {}))

    async def _plain_name(self, name: str) -> str:
        return (await self.get(Kind.KEY, name)).metadata.name if is_reference(name) else name

    async def probe(self, key_store: str, external_key: str | None = None) -> ProbeReport:
        """Try a key store with material of the probe's own; ``external_key`` may be used in a store of such keys."""
        body = msgspec.json.encode({} if external_key is None else {"externalKey": external_key})
        return await self._ask("POST", f"/v1/keystores/{segment(key_store)}/probe", ProbeReport, body)

    # ---- XKS proxies -----------------------------------------------------------------------------------------------

    async def xks_configuration(self, name: str, access_key_id: str | None = None) -> XksConfiguration:
        """What a KMS is configured with to use an XKS proxy. It holds the secret."""
        query = f"?{urlencode({'accessKeyId': access_key_id})}" if access_key_id else ""
        return await self._ask("GET", f"/v1/xksproxies/{segment(name)}/configuration{query}", XksConfiguration)

    # ---- credentials -----------------------------------------------------------------------------------------------

    async def create_access_key(self, principal: str) -> IssuedAccessKey:
        """A new access key of a principal, with its secret: the only time it is told."""
        return await self._ask("POST", f"{_of_principal(principal)}/access-keys", IssuedAccessKey, b"")

    async def access_keys(self, principal: str) -> list[AccessKeyInfo]:
        return await self._ask("GET", f"{_of_principal(principal)}/access-keys", list[AccessKeyInfo])

    async def switch_access_key(self, principal: str, access_key_id: str, *, active: bool) -> AccessKeyInfo:
        """Let an access key sign, or not."""
        path = f"{_of_principal(principal)}/access-keys/{segment(access_key_id)}"
        return await self._ask("PUT", path, AccessKeyInfo, msgspec.json.encode(AccessKeyChange(active=active)))

    async def delete_access_key(self, principal: str, access_key_id: str) -> AccessKeyInfo:
        """Take an access key away for ever."""
        path = f"{_of_principal(principal)}/access-keys/{segment(access_key_id)}"
        return await self._ask("DELETE", path, AccessKeyInfo)

    async def create_token(
        self, principal: str, description: str = "", *, expires_in_days: int | None = None
    ) -> IssuedToken:
        """A new bearer token of a principal: the only time it is told."""
        asked = TokenRequest(description=description, expires_in_days=expires_in_days)
        return await self._ask("POST", f"{_of_principal(principal)}/tokens", IssuedToken, msgspec.json.encode(asked))

    async def tokens(self, principal: str) -> list[TokenInfo]:
        return await self._ask("GET", f"{_of_principal(principal)}/tokens", list[TokenInfo])

    async def revoke_token(self, principal: str, token_id: str) -> TokenInfo:
        """Take a bearer token away for ever."""
        return await self._ask("DELETE", f"{_of_principal(principal)}/tokens/{segment(token_id)}", TokenInfo)

    # ---- importing material ----------------------------------------------------------------------------------------

    async def import_parameters(
        self, name: str, spec: WrappingSpec | None = None, algorithm: WrappingAlgorithm | None = None
    ) -> ImportParameters:
        """What somebody needs to wrap material for a key, valid for 24 hours."""
        wanted = {"wrappingKeySpec": spec, "wrappingAlgorithm": algorithm}
        body = msgspec.json.encode({field: value for field, value in wanted.items() if value is not None})
        return await self._ask("POST", f"{await self._import_path(name)}/parameters", ImportParameters, body)

    async def import_material(self, name: str, upload: Import) -> ImportedNow:
        """Upload wrapped material. After a refusal the key is as it was."""
        return await self._ask("POST", await self._import_path(name), ImportedNow, msgspec.json.encode(upload))

    async def import_report(self, name: str) -> ImportReport:
        """How far the import of a key is."""
        return await self._ask("GET", await self._import_path(name), ImportReport)

    async def delete_material(self, name: str, material_id: str | None = None) -> Key:
        """Delete imported material at once; without an id the one that encrypts now."""
        query = f"?{urlencode({'material': material_id})}" if material_id is not None else ""
        return await self._ask("DELETE", await self._import_path(name) + query, Key)

    async def _import_path(self, name: str) -> str:
        return f"/v1/keys/{segment(await self._plain_name(name))}/import"

    # ---- who manages what ------------------------------------------------------------------------------------------

    async def adopt(self, kind: Kind, name: str, spec_set: str, *, renamed: str | None = None) -> AnyObject:
        """Give an object that no spec set owns to one, under another name if one is given."""
        return await self._manage(kind, name, "adopt", {"specSet": spec_set, **({"name": renamed} if renamed else {})})

    async def adopt_material(
        self, key_store: str, theirs: str, name: str, *, spec_set: str | None = None, key_spec: str | None = None
    ) -> Key:
        """Make a key of what a key store calls ``theirs``."""
        asked = {"object": theirs, "name": name, "specSet": spec_set, "keySpec": key_spec}
        body = msgspec.json.encode({name: value for name, value in asked.items() if value is not None})
        return await self._ask("POST", f"/v1/keystores/{segment(key_store)}/material", Key, body)

    async def forget(self, kind: Kind, name: str) -> AnyObject:
        """Have every spec set let go of an object, which stays as it is."""
        return await self._manage(kind, name, "forget")

    async def pause(self, kind: Kind, name: str) -> AnyObject:
        return await self._manage(kind, name, "pause")

    async def resume(self, kind: Kind, name: str) -> AnyObject:
        return await self._manage(kind, name, "resume")

    async def protect(self, name: str) -> AnyObject:
        """Keep a key from deletion until an apply of its own lifts that."""
        return await self._manage(Kind.KEY, name, "protect")

    async def resolve(self, name: str, finding: Literal["adopt", "abandon"]) -> AnyObject:
        """Say what became of a call for a key that its key store cannot be asked about."""
        return await self._manage(Kind.KEY, name, "resolve", {"finding": finding})

    async def _manage(self, kind: Kind, name: str, verb: str, body: Mapping[str, object] | None = None) -> AnyObject:
        plain = await self._plain_name(name) if kind is Kind.KEY else name
        path = f"/v1/{COLLECTIONS[kind]}/{segment(plain)}/manage/{verb}"
        return await self._object("POST", path, msgspec.json.encode(body or {}))

    # ---- the audit journal -----------------------------------------------------------------------------------------

    async def audit_page(
        self,
        wanted: AuditFilter = EVERYTHING,
        *,
        limit: int = 100,
        marker: str | None = None,
        oldest_first: bool = False,
    ) -> AuditPage:
        """A page of records, newest first. One that is not full, even an empty one, may have a ``next``."""
        pairs = [*wanted.query(), ("limit", str(limit)), ("oldestFirst", "true" if oldest_first else "false")]
        if marker is not None:
            pairs.append(("marker", marker))
        return await self._ask("GET", f"/v1/audit?{urlencode(pairs)}", AuditPage)

    async def audit_checkpoints(self) -> Checkpoints:
        """Where the journal stands, signed."""
        return await self._ask("GET", "/v1/audit/checkpoints", Checkpoints)

    async def audit(
        self,
        wanted: AuditFilter = EVERYTHING,
        *,
        oldest_first: bool = False,
    ) -> AsyncIterator[AuditEntry]:
        """Every record, page by page."""
        marker: str | None = None
        while True:
            page = await self.audit_page(wanted, limit=1000, marker=marker, oldest_first=oldest_first)
            for item in page.items:
                yield item
            if page.next is None:
                return
            if page.next == marker:
                raise UnexpectedAnswer(f"{self.url} sent a page of the audit journal that does not move on")
            marker = page.next

    async def verify_audit(self) -> VerifyResult:
        """What the server finds when it checks the files of its journal. It vouches for itself here."""
        return await self._ask("GET", "/v1/audit/verification", VerifyResult)

    # ---- the server's own records ----------------------------------------------------------------------------------

    async def verify_copies(self) -> CopiesReport:
        """Compare the database and every directory of copies."""
        return await self._ask("POST", "/v1/copies/verify", CopiesReport, b"")

    async def repair_copies(self) -> CopiesReport:
        """The same, and make good what is missing or damaged."""
        return await self._ask("POST", "/v1/copies/repair", CopiesReport, b"")

    async def backup(self) -> AsyncIterator[bytes]:
        """A backup as one tar file, piece by piece."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=BACKUP_SECONDS)
        try:
            async with self._request("GET", "/v1/backup", accept="application/x-tar", timeout=timeout) as response:
                if response.status != 200:
                    self._raise_problem(response, await self._read(response))
                async for chunk in response.content.iter_chunked(BACKUP_CHUNK):
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from None

    # ---- the server ------------------------------------------------------------------------------------------------

    async def server(self) -> ServerInfo:
        return await self._ask("GET", "/v1/server", ServerInfo)

    async def healthy(self) -> bool:
        """Whether something at the URL says that it is well. Never raises for a server that is not there (yet)."""
        try:
            async with self._request("GET", "/healthz") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def changes(self, since: int | None = None) -> AsyncIterator[Change]:
        """Changes after version ``since`` (absent: from now on), as they happen.

        Ends when the server ends it; reconnecting, from the last version seen, is the caller's. Raises
        :class:`Unreachable` when the connection breaks or stays silent for 45 s.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
        path = "/v1/changes" if since is None else f"/v1/changes?since={since}"
        try:
            async with self._request("GET", path, accept="text/event-stream", timeout=timeout) as response:
                if response.status != 200:
                    self._raise_problem(response, await self._read(response))
                events = _Events()
                async for chunk in response.content.iter_any():
                    for name, data in events.feed(chunk):
                        if name == "change":
                            yield self._decoded(data, Change)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from None


class _Events:
    """Server-sent events from chunks of bytes (WHATWG HTML, 9.2.6), as far as the feed uses them."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._name = "message"
        self._data: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bytes]]:
        """The events that this chunk completes: name and data."""
        self._rest += chunk
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            text = line.removesuffix(b"\r")
            if not text:
                if self._data:
                    yield self._name, b"\n".join(self._data)
                self._name, self._data, self._held = "message", [], 0
                continue
            field, _, value = text.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                self._name = value.decode("utf-8", "replace")
            elif field == b"data":
                self._data.append(value)
                self._held += len(value)
        if len(self._rest) + self._held > MAX_EVENT:
            raise UnexpectedAnswer(f"the change feed sent an event of more than {MAX_EVENT:,} bytes")


def _window(filter: str, sort: KeySort | ObjectSort, offset: int, limit: int, *, descending: bool) -> str:
    """The query of a search."""
    wanted = {
        "filter": filter,
        "sort": sort.value,
        "descending": "true" if descending else "false",
        "offset": str(offset),
        "limit": str(limit),
    }
    return urlencode(wanted)


def _of_principal(name: str) -> str:
    return f"/v1/{COLLECTIONS[Kind.PRINCIPAL]}/{segment(name)}"
