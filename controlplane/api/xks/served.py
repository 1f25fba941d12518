"""One XKS proxy as declared, ready to take requests: credentials, rules, quota, and where its keys are.

Who calls it: ``door``, for every request, with the proxy's present generation. Guarantee: a change of the document
counts with the next request; the content of a secret's file is read again with every pass of the reconciler.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

from controlplane.access.caller import Caller, CallerType, Identity
from controlplane.access.sigv4 import Credential, Verified, Verifier
from controlplane.clock import Clock
from controlplane.domain.names import principal_arn
from controlplane.domain.xks import Rules
from controlplane.errors import InvalidInput, LimitExceeded, NotFound
from controlplane.schema.meta import Key, Kind, XksProxy
from controlplane.schema.principals import PrincipalType
from controlplane.schema.xksproxies import XksCredential, XksQuota, XksUsage
from controlplane.store import objects
from controlplane.store.catalog import Catalog, KeyRecord
from controlplane.store.database import Database
from plugins.sdk import KeyStoreError, SecretBytes

SERVICE: Final = "kms-xks-proxy"
PERMISSIONS: Final = (
    '{"Version":"2012-10-17","Statement":[{"Sid":"XksProxy","Effect":"Allow","Action":'
    '["kms:Encrypt","kms:Decrypt","kms:DescribeKey","keystead:XksHealth"],"Resource":"*"}]}'
)
"""Identity policy of every proxy. It reaches only what the proxy exposes, and the key's policy may deny it."""

_SECRET: Final = re.compile(rb"[A-Za-z0-9/+=]{43,64}")


def read_secret(credential: XksCredential, base: Path) -> SecretBytes:
    """The secret of a credential; a relative ``fromFile`` is below ``base``.

    Raises :class:`InvalidInput` if it is not one; the message does not show it.
    """
    what, source = f"secret of access key {credential.access_key_id}", credential.secret
    if source.from_file is not None:
        source = msgspec.structs.replace(source, from_file=str(base / source.from_file))
    try:
        secret = source.read(what)
    except KeyStoreError as error:
        raise InvalidInput(error.message) from None
    if _SECRET.fullmatch(secret.expose()) is None:
        raise InvalidInput(f"{what}: it must have 43 to 64 characters of A-Z, a-z, 0-9, /, + and =")
    return secret


class Site(msgspec.Struct, frozen=True):
    """Where proxies are served: by how many processes, and the data directory, which relative file names are below."""

    directory: Path
    processes: int = 1


class Served:
    """The proxy behind one path prefix."""

    def __init__(
        self, database: Database, catalog: Catalog, clock: Clock, account: str, site: Site, proxy: XksProxy
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._account = account
        self._site = site
        self._verifier = Verifier(clock, self._credential, services=frozenset({SERVICE}))
        self._credentials: dict[str, Credential] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._quota: Quota | None = None
        self.proxy = proxy
        self.problems: list[str] = []
        """Secrets that could not be read; the others work."""
        self.take(proxy)

    def take(self, proxy: XksProxy) -> None:
        """Be what this generation of the document says."""
        spec = proxy.spec
        if self._quota is None or spec.quota != self.proxy.spec.quota:
            self._quota = None if spec.quota is None else _quota(spec.quota, self._site.processes)
        self.proxy = proxy
        self.name = proxy.metadata.name
        self.principal = principal_arn(self._account, PrincipalType.ROLE, f"xks-proxy/{self.name}")
        self._identity = Identity(
            arn=self.principal,
            account=self._account,
            type=CallerType.ROLE,
            name=f"xks-proxy/{self.name}",
            user_id=proxy.metadata.uid,
            policies=(PERMISSIONS,),
        )
        self.rules = Rules(spec.rules)
        self._places.clear()
        self.read_secrets()

    def read_secrets(self) -> None:
        """Read the secrets anew. One that cannot be read stops working, and is told in ``problems``."""
        credentials: dict[str, Credential] = {}
        self.problems = []
        for declared in self.proxy.spec.credentials:
            try:
                secret = read_secret(declared, self._site.directory)
            except InvalidInput as error:
                self.problems.append(error.message)
                continue
            held = self._credentials.get(declared.access_key_id)
            if held is None or held.secret != secret or held.principal != self.principal:
                held = Credential(declared.access_key_id, secret, self.principal)
            credentials[declared.access_key_id] = held
        self._credentials = credentials

    def authenticate(
        self, method: str, raw_path: bytes, query_string: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Verified:
        """Who signed. Raises :class:`controlplane.errors.Unauthenticated`."""
        return self._verifier.verify(method, raw_path, query_string, headers, body)

    def count(self, now: float) -> None:
        """One request more. Raises :class:`LimitExceeded` beyond the quota; ``now`` is monotonic, in seconds."""
        if self._quota is not None and not self._quota.take(now):
            raise LimitExceeded("The path prefix is over its quota of requests per second.")

    def key(self, external_key_id: str) -> tuple[KeyRecord, tuple[XksUsage, ...]]:
        """The key behind an external key id, and what it is exposed for. Raises :class:`NotFound`."""
        exposed = self.proxy.spec.keys.get(external_key_id)
        if exposed is None:
            raise NotFound(f"XksProxy {self.name} exposes no external key {external_key_id}")
        place = self._places.get(exposed.key)
        record = self._catalog.key(*place) if place is not None else None
        if record is None:  # not looked up yet, or another key has the name by now
            found = self._database.read(lambda tx: objects.get_named(tx, Kind.KEY, exposed.key))
            key = cast("Key | None", found)
            if key is None or key.spec.region is None:
                raise NotFound(f"XksProxy {self.name} exposes key {exposed.key}, which is gone")
            place = self._places[exposed.key] = (key.spec.region, key.status.key_id)
            record = self._catalog.key(*place)
            if record is None:
                raise NotFound(f"XksProxy {self.name} exposes key {exposed.key}, which is gone")
        return record, exposed.usages

    def caller(self, request_id: str, source: str) -> Caller:
        """The proxy as the one who asks. Its Region is that of the key that is asked for."""
        return Caller(self._identity, "", request_id, source, secure=True)

    def key_stores(self) -> list[str]:
        """Names of the key stores that its keys live in, sorted."""
        stores = set()
        for external_key_id in self.proxy.spec.keys:
            try:
                stores.add(self.key(external_key_id)[0].key.spec.key_store)
            except NotFound:
                continue
        return sorted(stores)

    def _credential(self, access_key_id: str) -> Credential | None:
        return self._credentials.get(access_key_id)


def _quota(declared: XksQuota, processes: int) -> Quota:
    """This process's part: together they let through what is declared, wherever connections end up."""
    burst = declared.burst or declared.requests_per_second
    return Quota(declared.requests_per_second / processes, max(burst / processes, 1.0))


class Quota:
    """A token bucket."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more request is within the quota."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


Finder = Callable[[str], Served | None]
