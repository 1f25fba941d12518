"""Who is it? SigV4 for the AWS doors, bearer tokens for the reconciliation API; both end in a :class:`Caller`.

Guarantees: a credential that was disabled or whose principal was removed stops working with the next request, in every
process; secrets are opened once and kept only while their row is unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from controlplane.access.caller import Caller, CallerType, Identity
from controlplane.access.sealing import Purpose, Sealer
from controlplane.access.sessions import Session, Sessions, is_temporary
from controlplane.access.sigv4 import Credential, Verifier
from controlplane.clock import Clock
from controlplane.domain.names import principal_arn, session_arn
from controlplane.domain.policy import ADMINISTRATOR_POLICY
from controlplane.errors import StoreDamaged, Unauthenticated
from controlplane.schema.meta import Principal
from controlplane.schema.principals import PrincipalType
from controlplane.settings import DevCredentials
from controlplane.store import credentials
from controlplane.store.catalog import Bounded, Catalog
from controlplane.store.database import Database
from plugins.sdk import SecretBytes

STS: Final = "sts"
"""The service of credential scopes whose operations have no Region."""
ADMIN_PRINCIPAL: Final = "admin"
"""Name of the principal that ``init`` and ``dev`` make."""


class _Opened(msgspec.Struct):
    """A credential that is ready for the verifier; ``row`` is what it was made of, None for a session's."""

    credential: Credential
    row: credentials.AccessKey | None = None
    session: Session | None = None
    data_version: int = -1


class Authenticator:
    """Turns credentials of a request into a caller."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        sealer: Sealer,
        clock: Clock,
        *,
        account: str,
        regions: Sequence[str],
        dev: DevCredentials | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._catalog = catalog
        self._sealer = sealer
        self.sessions = Sessions(sealer)
        self._account = account
        self._regions = frozenset(regions)
        self._home_region = regions[0]
        self._dev = dev
        self._opened: Bounded[str, _Opened] = Bounded(4096)
        self._identities: Bounded[tuple[str, int, str], Identity] = Bounded(4096)
        self._verifier = Verifier(clock, self._lookup)
        if dev is not None:
            self._dev_credential = Credential(
                dev.access_key_id, SecretBytes(dev.secret_access_key.encode()), ADMIN_PRINCIPAL
            )

    async def signed(
        self,
        method: str,
        raw_path: bytes,
        query_string: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        service: str,
        request_id: str,
        source: str,
        secure: bool = False,
    ) -> Caller:
        """The caller of a SigV4-signed request; its Region is that of the credential scope.

        ``service`` is the one whose operation is asked for: a signature made for another one does not open it.
        """
        access_key_id, token, user_agent = _announced(headers)
        if access_key_id:
            await self._prepare(access_key_id, token)
        verified = self._verifier.verify(method, raw_path, query_string, headers, body)
        if verified.service != service:
            raise Unauthenticated(
                f"Credential should be scoped to correct service: '{service}'.", kind="InvalidSignature"
            )
        region = verified.region
        if service == STS and region not in self._regions:
            region = self._home_region  # its global endpoint is signed for us-east-1, wherever a client works
        if region not in self._regions:
            raise Unauthenticated(
                f"Credential should be scoped to a valid region; this server has {', '.join(sorted(self._regions))}.",
                kind="InvalidSignature",
            )
        identity = self._identity_of(verified.credential)
        return Caller(identity, region, request_id, source, secure, user_agent)

    def bearer(
        self,
        authorization: str | None,
        *,
        request_id: str,
        source: str,
        secure: bool = False,
        user_agent: str = "",
    ) -> Caller:
        """The caller of a request with ``Authorization: Bearer TOKEN``."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("send the header Authorization: Bearer TOKEN")
        self._catalog.refresh()
        if self._dev is not None and hmac.compare_digest(token.encode(), self._dev.token.encode()):
            principal = self._catalog.principal_named(ADMIN_PRINCIPAL)
        else:
            found = self._database.read(lambda tx: credentials.find_token(tx, token))
            if found is None:
                raise Unauthenticated("the bearer token is not known", kind="UnrecognizedClient")
            if found.expires_at is not None and self._clock.time() >= found.expires_at:
                raise Unauthenticated("the bearer token has expired", kind="ExpiredToken")
            principal = self._catalog.principal(found.uid)
        return Caller(self._identity(principal), self._home_region, request_id, source, secure, user_agent)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _identity_of(self, credential: Credential) -> Identity:
        """Whose a verified credential is now."""
        if self._dev is not None and credential is self._dev_credential:
            return self._identity(self._catalog.principal_named(ADMIN_PRINCIPAL))
        opened = self._opened.get(credential.access_key_id)
        session = opened.session if opened is not None else None
        return self._identity(self._catalog.principal(credential.principal), session, credential.access_key_id)

    def _identity(
        self, principal: Principal | None, session: Session | None = None, access_key_id: str = ""
    ) -> Identity:
        """A principal that exists now, or the session of it that an access key stands for."""
        if principal is None or principal.metadata.deletion is not None:
            raise Unauthenticated("The security token included in the request is invalid.", kind="UnrecognizedClient")
        at = (principal.metadata.uid, principal.metadata.generation, access_key_id if session is not None else "")
        known = self._identities.get(at)
        if known is None:
            known = identity_of(principal, self._account)
            if session is not None:
                known = session_of(known, session)
            self._identities.put(at, known)
        return known

    async def _prepare(self, access_key_id: str, token: bytes) -> None:
        """Have the credential of an access key ready for the verifier, which does no I/O."""
        self._catalog.refresh()
        if self._dev is not None and access_key_id == self._dev.access_key_id:
            return
        opened = self._opened.get(access_key_id)
        if is_temporary(access_key_id):
            await self._prepare_session(access_key_id, token, opened)
            return
        version = self._catalog.data_version
        if opened is not None and opened.data_version == version:
            return
        row = self._database.read(lambda tx: credentials.find_access_key(tx, access_key_id))
        if row is None:
            self._opened.drop(access_key_id)
        elif opened is not None and opened.row == row:
            opened.data_version = version
        else:
            secret = await self._sealer.unseal(Purpose.ACCESS_KEY, access_key_id, row.sealed_secret)
            if secret is None:
                raise StoreDamaged(f"the secret of access key {access_key_id} does not open; restore it from a backup")
            credential = Credential(access_key_id, secret, row.uid, active=row.active)
            self._opened.put(access_key_id, _Opened(credential, row, data_version=version))

    async def _prepare_session(self, access_key_id: str, token: bytes, opened: _Opened | None) -> None:
        """The same of a session, whose token says all. A token that is none leaves what is known of the access key."""
        if opened is not None and opened.credential.session_token == SecretBytes(token):
            return
        session = await self.sessions.open(access_key_id, token)
        if session is not None:
            credential = Credential(
                access_key_id,
                SecretBytes(session.secret),
                session.uid,
                session_token=SecretBytes(token),
                expires_at=session.expires_at,
            )
            self._opened.put(access_key_id, _Opened(credential, session=session))

    def _lookup(self, access_key_id: str) -> Credential | None:
        if self._dev is not None and access_key_id == self._dev.access_key_id:
            return self._dev_credential
        opened = self._opened.get(access_key_id)
        return opened.credential if opened is not None else None


def identity_of(principal: Principal, account: str) -> Identity:
    """What policies know of a declared principal."""
    spec, name = principal.spec, principal.metadata.name
    declared = tuple(policy.document for policy in spec.policies.values() if policy.document is not None)
    return Identity(
        arn=principal_arn(account, spec.type, name),
        account=account,
        type=CallerType.USER if spec.type is PrincipalType.USER else CallerType.ROLE,
        name=name,
        user_id=unique_id(principal),
        policies=(ADMINISTRATOR_POLICY, *declared) if spec.administrator else declared,
        tags=spec.tags,
    )


def session_of(principal: Identity, session: Session) -> Identity:
    """The same of a session: of a role under a name, or of a user as itself."""
    if principal.type is CallerType.USER:
        return msgspec.structs.replace(principal, issued_at=session.issued_at)
    return msgspec.structs.replace(
        principal,
        arn=session_arn(principal.account, principal.name, session.name),
        user_id=f"{principal.user_id}:{session.name}",
        tags={**principal.tags, **session.tags},
        role_arn=principal.arn,
        session_policy=session.policy,
        issued_at=session.issued_at,
        source_identity=session.source_identity,
    )


def unique_id(principal: Principal) -> str:
    """The principal's id in AWS's form: it differs from that of an earlier one of the same name.

    Prefixes: IAM User Guide, "IAM identifiers".
    """
    prefix = "AIDA" if principal.spec.type is PrincipalType.USER else "AROA"
    digest = hashlib.sha256(principal.metadata.uid.encode()).digest()
    return prefix + base64.b32encode(digest).decode()[:17]


def _announced(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, bytes, str]:
    """Access key id (what follows ``Credential=`` up to the first slash; the verifier judges the header as a whole),
    session token and user agent, each empty if there is none."""
    access_key_id, token, user_agent = "", b"", ""
    for name, value in headers:
        if name == b"authorization":
            _, _, rest = value.partition(b"Credential=")
            access_key_id = rest.split(b"/", 1)[0].decode("latin-1")
        elif name == b"user-agent":
            user_agent = value.decode("latin-1")
        elif name == b"x-amz-security-token":
            token = value
    return access_key_id, token, user_agent
