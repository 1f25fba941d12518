"""One pooled HTTP session, and what is made of every kind of answer. The base of the client.

Called by ``api``. Guarantees: those that the package promises for every method, about answers, errors and the token.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from controlplane.client.addresses import DEFAULT_URL, checked_token, checked_url, loopback
from controlplane.client.credentials import find_credentials
from controlplane.errors import InvalidSpec, KeysteadError, Problem, Unauthenticated

MAX_BODY: Final = 256 * 1024 * 1024
"""A plan over 100,000 objects takes about 100 MB."""

CONNECT_SECONDS: Final = 10.0

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


class _ProblemDetails(msgspec.Struct, rename="camel"):
    """RFC 9457 with our members. Unknown members are ignored, as the RFC asks."""

    title: str = ""
    detail: str = ""
    code: str = ""
    problems: list[Problem] = []
    request_id: str | None = None


class Connection:
    """One server and one session with it. Use as an async context manager."""

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
        self.url = checked_url(url, insecure)
        self._token = checked_token(token)
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
        self._max_body = max_body
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_environment(cls, url: str | None = None, *, environ: Mapping[str, str] = os.environ) -> Self:
        """From ``KEYSTEAD_URL`` (unless ``url`` is given), ``KEYSTEAD_TOKEN`` and ``KEYSTEAD_INSECURE``; where there is
        no token in the environment, from the credentials file."""
        found = find_credentials(url, environ)
        return cls(found.url, found.token, insecure=environ.get("KEYSTEAD_INSECURE") == "1")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

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

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[_T],
        body: bytes | None = None,
        *,
        version: int | None = None,
        new: bool = False,
    ) -> _T:
        try:
            async with self._request(method, path, body=body, version=version, new=new) as response:
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
        new: bool = False,
    ) -> aiohttp.client._RequestContextManager:
        assert self._session is not None, "use the client as an async context manager"
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        if new:
            headers["If-None-Match"] = "*"
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
        dev = "; a server started with `keystead dev` takes: export KEYSTEAD_TOKEN=test" if loopback(self.url) else ""
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


def _error_classes(base: type[KeysteadError] = KeysteadError) -> Iterator[tuple[str, type[KeysteadError]]]:
    for each in base.__subclasses__():
        if each.__module__ == KeysteadError.__module__:
            yield each.code, each
            yield from _error_classes(each)


_ERRORS: Final = dict(_error_classes())
