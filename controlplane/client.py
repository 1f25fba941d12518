"""The typed HTTP client of the reconciliation API, shared by the command line and the terminal UI.

Who calls it: ``cli`` and ``tui``; nothing else in a face does HTTP. One :class:`Client` is one pooled session.

Guarantees: whatever happens, a method answers its type or raises a :class:`KeysteadError`. A problem that the server
answers is raised as the class of ``controlplane.errors`` with its code; what went wrong on the way is a
:class:`ClientError` that says what would be right. The token goes to the given host only: no redirect is followed, no
proxy or netrc is taken from the environment, and plain HTTP beyond this machine is refused. The token is in no message
and no ``repr``. An answer beyond ``max_body`` bytes is refused before it is held in memory.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec
from yarl import URL

from controlplane.errors import InvalidInput, InvalidSpec, KeysteadError, Problem, Unauthenticated
from controlplane.schema.browse import Access, KeyRows, KeySort, Summary, Verdict
from controlplane.schema.credentials import (
    AccessKeyChange,
    AccessKeyInfo,
    IssuedAccessKey,
    IssuedToken,
    TokenInfo,
    TokenRequest,
)
from controlplane.schema.documents import Document
from controlplane.schema.events import EventPage
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.schema.plans import Applied, ObjectPage, Plan, Progress, ServerInfo
from controlplane.settings import DEFAULT_PORT

DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}"
COLLECTIONS: Final[Mapping[Kind, str]] = {
    Kind.KEY: "keys",
    Kind.KEY_STORE: "keystores",
    Kind.PRINCIPAL: "principals",
    Kind.XKS_PROXY: "xksproxies",
}
PAGE_SIZE: Final = 500
MAX_BODY: Final = 256 * 1024 * 1024
"""A plan over 100,000 objects takes about 100 MB."""
MAX_EVENT: Final = 1024 * 1024

_CONNECT_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 45.0
"""The change feed sends a heartbeat every 15 s; three missing ones are a dead connection."""

_T = TypeVar("_T")


class ClientError(KeysteadError):
    """The request did not get an answer of the reconciliation API."""

    code = "ClientError"


class Unreachable(ClientError):
    """No answer, or the connection broke: a request that writes may or may not have been carried out."""

    code = "Unreachable"


class UnexpectedAnswer(ClientError):
    """Something answered that does not speak this API, or not as this client knows it."""

    code = "UnexpectedAnswer"


class ServerFailure(ClientError):
    """The server answered with an error of its own, or with a code that this client does not know."""

    code = "ServerFailure"


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of the change feed. ``version`` is what ``changes(since=...)`` takes to go on after it."""

    version: int
    kind: Kind
    uid: str
    name: str
    generation: int
    removed: bool = False


class _ProblemDetails(msgspec.Struct, rename="camel"):
    """RFC 9457 with our members. Unknown members are ignored, as the RFC asks."""

    title: str = ""
    detail: str = ""
    code: str = ""
    problems: list[Problem] = []
    request_id: str | None = None


class Client:
    """Everything that the reconciliation API offers. Use as an async context manager."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        insecure: bool = False,
        timeout: float = 120.0,
        max_body: int = MAX_BODY,
    ) -> None:
        """``insecure`` allows plain HTTP to another machine; ``timeout`` is in seconds for one request.

        Raises :class:`InvalidInput` for a URL or token that must not be used.
        """
        self.url = _checked_url(url, insecure)
        self._token = _checked_token(token)
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        self._max_body = max_body
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_environment(cls, url: str | None = None, *, environ: Mapping[str, str] = os.environ) -> Self:
        """From ``KEYSTEAD_URL`` (unless ``url`` is given), ``KEYSTEAD_TOKEN`` and ``KEYSTEAD_INSECURE``."""
        return cls(
            url or environ.get("KEYSTEAD_URL") or DEFAULT_URL,
            environ.get("KEYSTEAD_TOKEN"),
            insecure=environ.get("KEYSTEAD_INSECURE") == "1",
        )

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,  # a small compressed body must not unfold past the bound
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ---- plans -----------------------------------------------------------------------------------------------------

    async def plan(self, spec_set: str, documents: Sequence[Document]) -> Plan:
        """What an apply of these documents would do. Raises :class:`InvalidSpec` with every problem in them."""
        body = msgspec.json.encode({"specSet": spec_set, "documents": documents})
        return await self._ask("POST", "/v1/plans", Plan, body)

    async def get_plan(self, plan_id: str) -> Plan:
        return await self._ask("GET", f"/v1/plans/{_segment(plan_id)}", Plan)

    async def apply(self, plan_id: str) -> Applied:
        """Write the desired state of a plan. After :class:`StalePlan` or :class:`Blocked` nothing was written."""
        return await self._ask("POST", f"/v1/plans/{_segment(plan_id)}/apply", Applied, b"{}")

    async def progress(self, spec_set: str) -> Progress:
        """How far the reconciler is with a spec set."""
        return await self._ask("GET", f"/v1/spec-sets/{_segment(spec_set)}/progress", Progress)

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

    async def get(self, kind: Kind, name: str) -> AnyObject:
        """One object. A key may be given as name, key id, ``alias/NAME`` or ARN."""
        if kind is Kind.KEY and _is_reference(name):
            found = await self._ask("GET", f"/v1/keys?{urlencode({'ref': name})}", ObjectPage)
            if len(found.items) != 1:
                raise UnexpectedAnswer(f"{self.url} answered {len(found.items)} keys for {name}")
            return found.items[0]
        return await self._ask("GET", f"/v1/{COLLECTIONS[kind]}/{_segment(name)}", AnyObject)  # type: ignore[arg-type]

    async def put(self, document: Document, *, version: int | None = None) -> AnyObject:
        """Declare one object. With ``version`` (the resource version that was read) it fails with
        :class:`PreconditionFailed` if the object changed meanwhile."""
        path = f"/v1/{COLLECTIONS[document.kind]}/{_segment(document.name)}"
        return await self._ask("PUT", path, AnyObject, msgspec.json.encode(document), version=version)  # type: ignore[arg-type]

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
        wanted = {
            "filter": filter,
            "sort": sort.value,
            "descending": "true" if descending else "false",
            "offset": str(offset),
            "limit": str(limit),
        }
        return await self._ask("GET", f"/v1/search/keys?{urlencode(wanted)}", KeyRows)

    async def summary(self) -> Summary:
        """Counts by state and key store, what needs a person, and how much keys are used."""
        return await self._ask("GET", "/v1/summary", Summary)

    async def access(self) -> Access:
        """Who the caller is, and what it may do on the account."""
        return await self._ask("GET", "/v1/access", Access)

    async def key_actions(self, name: str) -> list[Verdict]:
        """What the caller may do with a key now, and why not."""
        return await self._ask("GET", f"/v1/keys/{_segment(await self._plain_name(name))}/actions", list[Verdict])

    async def refused_uses(self, name: str) -> list[RefusedUse]:
        """Who tried to use a key that is pending deletion."""
        path = f"/v1/keys/{_segment(await self._plain_name(name))}/refused-uses"
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

    async def reconcile(self, name: str) -> Key:
        """Have the reconciler look at the key now."""
        return await self._act(name, "reconcile")

    async def _act(self, name: str, action: str, body: Mapping[str, object] | None = None) -> Key:
        path = f"/v1/keys/{_segment(await self._plain_name(name))}/actions/{action}"
        return await self._ask("POST", path, Key, msgspec.json.encode(body or {}))

    async def _plain_name(self, name: str) -> str:
        return (await self.get(Kind.KEY, name)).metadata.name if _is_reference(name) else name

    # ---- credentials -----------------------------------------------------------------------------------------------

    async def create_access_key(self, principal: str) -> IssuedAccessKey:
        """A new access key of a principal, with its secret: the only time it is told."""
        return await self._ask("POST", f"{_of_principal(principal)}/access-keys", IssuedAccessKey, b"")

    async def access_keys(self, principal: str) -> list[AccessKeyInfo]:
        return await self._ask("GET", f"{_of_principal(principal)}/access-keys", list[AccessKeyInfo])

    async def switch_access_key(self, principal: str, access_key_id: str, *, active: bool) -> AccessKeyInfo:
        """Let an access key sign, or not."""
        path = f"{_of_principal(principal)}/access-keys/{_segment(access_key_id)}"
        return await self._ask("PUT", path, AccessKeyInfo, msgspec.json.encode(AccessKeyChange(active=active)))

    async def delete_access_key(self, principal: str, access_key_id: str) -> AccessKeyInfo:
        """Take an access key away for ever."""
        path = f"{_of_principal(principal)}/access-keys/{_segment(access_key_id)}"
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
        return await self._ask("DELETE", f"{_of_principal(principal)}/tokens/{_segment(token_id)}", TokenInfo)

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
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
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

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _ask(
        self, method: str, path: str, answer: type[_T], body: bytes | None = None, *, version: int | None = None
    ) -> _T:
        try:
            async with self._request(method, path, body=body, version=version) as response:
                content = await self._read(response)
                if not 200 <= response.status < 300:
                    self._raise_problem(response, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from None
        return self._decoded(content, answer)

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        accept: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
        version: int | None = None,
    ) -> aiohttp.client._RequestContextManager:
        assert self._session is not None, "use the client as an async context manager"
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        return self._session.request(
            method,
            URL(self.url + path, encoded=True),  # what is escaped stays escaped
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=timeout or self._timeout,
        )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > self._max_body:
                response.close()
                raise UnexpectedAnswer(
                    f"{self.url} answered more than {self._max_body:,} bytes; is this the Keystead server?"
                )
        return bytes(content)

    def _decoded(self, content: bytes, answer: type[_T]) -> _T:
        try:
            return msgspec.json.decode(content, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            why = str(error) if isinstance(error, msgspec.ValidationError) else "it is not valid JSON"
            raise UnexpectedAnswer(
                f"{self.url} answered something that this client does not understand ({why}); is it a Keystead server "
                "of the same version?"
            ) from None

    def _raise_problem(self, response: aiohttp.ClientResponse, content: bytes) -> None:
        """Raise what the server said. Always raises."""
        status = response.status
        if 300 <= status < 400:
            raise UnexpectedAnswer(
                f"{self.url} redirects to another address, which would get the token; set KEYSTEAD_URL to the "
                "server's own address"
            )
        details = _ProblemDetails()
        if response.content_type == "application/problem+json":
            try:
                details = msgspec.json.decode(content, type=_ProblemDetails)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                details = _ProblemDetails(detail="its problem details cannot be read")
        message = details.detail or details.title
        if status == 401 or details.code == Unauthenticated.code:
            raise Unauthenticated(self._token_advice(message))
        if details.code == InvalidSpec.code:
            raise InvalidSpec(details.problems or [Problem(message or "the documents are refused")])
        reference = f" (request id {details.request_id})" if details.request_id and status >= 500 else ""
        if known := _ERRORS.get(details.code):
            raise known((message or f"the server answered {details.code}") + reference)
        said = f": {message}" if message else ""
        code = f" {details.code}" if details.code not in ("", "Http") else ""
        advice = "" if details.code else "; is this the Keystead server?"
        raise ServerFailure(f"{self.url} answered HTTP {status}{code}{said}{reference}{advice}")

    def _token_advice(self, message: str) -> str:
        dev = "; a server started with `keystead dev` takes: export KEYSTEAD_TOKEN=test" if _loopback(self.url) else ""
        said = f" ({message})" if message else ""
        if self._token:
            return f"{self.url} refuses the token in KEYSTEAD_TOKEN{said}; set it to a token of this server{dev}"
        return f"{self.url} asks for a token{said}; set KEYSTEAD_TOKEN{dev}"

    def _unreachable(self, error: Exception) -> KeysteadError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return Unreachable(
                f"the certificate of {self.url} is not trusted: {error.certificate_error}; set SSL_CERT_FILE to the "
                "certificate of the authority that signed it"
            )
        if isinstance(error, aiohttp.ClientSSLError):
            why = "it does not speak TLS as this machine does"
        elif isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno or 0  # a name that does not resolve has a negative one and words of its own
            why = os.strerror(number) if number > 0 else error.strerror or "it cannot be connected to"
        elif isinstance(error, TimeoutError):
            why = "it did not answer in time"
        else:
            why = "the connection broke"
        return Unreachable(
            f"cannot reach Keystead at {self.url}: {why}; is it running? set KEYSTEAD_URL or start one with "
            "`keystead dev`"
        )


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


def _checked_url(url: str, insecure: bool) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(f"{_quoted(url)} is not a URL; write one such as {DEFAULT_URL}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput(
            f"{_quoted(url)} is not an http or https URL; write one such as {DEFAULT_URL} (KEYSTEAD_URL or --url)"
        )
    if "@" in parts.netloc:
        raise InvalidInput("the URL holds credentials; write it without them and set KEYSTEAD_TOKEN")
    if parts.query or parts.fragment or not url.strip().isprintable() or " " in url.strip():
        raise InvalidInput(f"{_quoted(url)} is not the address of a server; write one such as {DEFAULT_URL}")
    plain = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    if parts.scheme == "http" and not insecure and not _loopback(plain):
        raise InvalidInput(
            f"{plain} would carry the token over the network in clear; use https, or set KEYSTEAD_INSECURE=1 if "
            "the network is private"
        )
    return plain


def _quoted(url: str) -> str:
    """A wrong URL as it may be shown: what stands before an ``@`` may be a password."""
    return repr(url.rpartition("@")[2] if "@" in url else url)


def _checked_token(token: str | None) -> str | None:
    token = (token or "").strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise InvalidInput("KEYSTEAD_TOKEN holds characters that no token has; was it copied whole, and nothing else?")
    return token or None


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_reference(name: str) -> bool:
    """Whether this is ``alias/NAME`` or an ARN, which no path segment carries through every server and proxy."""
    return "/" in name or ":" in name


def _of_principal(name: str) -> str:
    return f"/v1/{COLLECTIONS[Kind.PRINCIPAL]}/{_segment(name)}"


def _segment(name: str) -> str:
    """A name as one segment of a path. ``.`` and ``..`` would be taken for steps in it and ask for something else."""
    if name in ("", ".", ".."):
        raise InvalidInput(f"{name!r} is not a name")
    return quote(name, safe="")


def _error_classes(base: type[KeysteadError] = KeysteadError) -> Iterator[tuple[str, type[KeysteadError]]]:
    for each in base.__subclasses__():
        if each.__module__ == KeysteadError.__module__:
            yield each.code, each
            yield from _error_classes(each)


_ERRORS: Final = dict(_error_classes())
