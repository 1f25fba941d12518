"""External key stores as a plugin: the contract in, our own material inside, the external key outside.

Called by the host. Guarantees: those of :mod:`plugins.sdk.contract`. Custody is ``token``: each KMS key has material of
its own in the server's standard store (``context.inner``), and what that encrypts is encrypted again by the external
key, so neither of them alone reads anything. The external key is the owner's: it is never made, changed or destroyed
here.

The proxy is given a hash of the associated data, 32 octets: the encryption context may be longer than the 8,192 octets
that every proxy has to take, and is nobody's business outside.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

from plugins.sdk import (
    Algorithm,
    Capabilities,
    Custody,
    ExternalKey,
    Health,
    HealthLevel,
    InnerStore,
    InvalidCiphertext,
    InvalidRequest,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    Material,
    MaterialNotFound,
    MaterialRef,
    Member,
    Misconfigured,
    Options,
    PluginContext,
    ProxyFault,
    Unavailable,
    Unsupported,
    call_info,
)
from plugins.sdk.signing import XksSigner
from plugins.xks import tokens, wire
from plugins.xks.client import ProxyClient
from plugins.xks.options import XksOptions

_LABEL: Final = b"keystead/xks/v1\x00"
_NOBODY: Final = "keystead.internal"
"""The principal of what no request caused."""
_WORDS: Final = 100
"""Characters that are kept of a name that the proxy gives to something."""
_USAGES: Final = frozenset({"ENCRYPT", "DECRYPT"})


CAPABILITIES: Final = Capabilities(
    custody=Custody.TOKEN,
    key_specs={KeySpec.SYMMETRIC_DEFAULT: frozenset({KeyUsage.ENCRYPT_DECRYPT})},
    external_keys=True,
)
"""What every store of this type can do."""


class XksKeyStore(KeyStorePlugin):
    """Keys whose outer half is behind an XKS proxy."""

    options_type = XksOptions
    overlaps = True

    def __init__(self, options: Options, context: PluginContext) -> None:
        super().__init__(options, context)
        assert isinstance(options, XksOptions)
        self._settings = options
        self._client: ProxyClient | None = None

    def __repr__(self) -> str:
        return f"<XksKeyStore {self.context.store_name!r}>"

    # ---- the store itself ------------------------------------------------------------------------------------------

    async def open(self) -> Capabilities:
        """Ask the proxy how it is: that proves endpoint, path and credential."""
        if self.context.inner is None:
            raise Misconfigured("an external key store needs the standard key store of its server")
        secret = await self._settings.credential.secret.reveal("credential.secret", self.context)
        signer = XksSigner(self._settings.credential.access_key_id, secret, self._settings.authority_of_url)
        client = ProxyClient(self._settings, signer, self.context.now)
        try:
            status = await client.get_health_status(self._metadata("ConnectCustomKeyStore"))
            if _level(status) is HealthLevel.UNAVAILABLE:
                raise wire.failure(ProxyFault.MANAGERS_UNAVAILABLE)
        except BaseException:
            await client.close()
            raise
        self._client = client
        return CAPABILITIES

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def probe(self) -> Health:
        client = self._proxy
        status = await client.get_health_status(self._metadata("KmsHealthCheck", probe=True))
        level = _level(status)
        bad = [f"{_words(member.id)} is {member.health_status}" for member in status.ekm_fleet_details if _ails(member)]
        told = ", ".join(bad) or f"{len(status.ekm_fleet_details)} active"
        return Health(
            healthy=level is not HealthLevel.UNAVAILABLE,
            detail=f"{_words(status.xks_proxy_model)}: {told}",
            members=tuple(
                Member(_words(member.id), not _ails(member), f"it is {member.health_status}" if _ails(member) else "")
                for member in status.ekm_fleet_details
            ),
            level=level,
            certificate_expires_at=client.certificate_expires_at,
            latency=client.latency(),
        )

    # ---- material: its life ----------------------------------------------------------------------------------------

    async def observe(self, ref: MaterialRef) -> Material | None:
        if ref.token is None:
            return None
        external_id, inner = tokens.inner_ref(ref)
        if await self._inner.observe(inner) is None:
            return None
        return Material(token=ref.token, external_id=external_id)

    async def create(self, ref: MaterialRef) -> Material:
        """Material of our own for the external key, if that is fit for it."""
        if ref.key_spec is not KeySpec.SYMMETRIC_DEFAULT:
            raise Unsupported(f"an external key store does not offer {ref.key_spec}")
        if ref.token is not None:
            external_id, inner = tokens.inner_ref(ref)
            await self._inner.observe(inner)
            return Material(token=ref.token, external_id=external_id)
        if ref.external_id is None:
            raise InvalidRequest("a key in an external key store needs the id of an external key (xksKeyId)")
        key = await self._key_metadata(ref.external_id, _region(ref.key_arn), _account_root(ref.key_arn))
        if not (key.key_spec == "AES_256" and set(key.key_usage) >= _USAGES and key.key_status == "ENABLED"):
            raise wire.failure(ProxyFault.UNFIT_KEY)
        made = await self._inner.create(tokens.bound(ref, ref.external_id))
        if made.token is None:
            raise Misconfigured("the standard key store of this server hands out no tokens")
        return Material(token=tokens.make_token(ref.external_id, made.token), external_id=ref.external_id)

    async def destroy(self, ref: MaterialRef) -> None:
        """Our own material only. Without it nothing that the external key decrypts can be read."""
        await self._inner.destroy(ref)

    def forget(self, ref: MaterialRef) -> None:
        self._inner.forget(ref)

    # ---- material: its use -----------------------------------------------------------------------------------------

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        external_id, inner = self._usable(ref, algorithm)
        content = await self._inner.encrypt(inner, algorithm, plaintext, aad)
        answer = await self._proxy.encrypt(
            external_id, self._metadata("Encrypt", ref), _region(ref.key_arn), content, _digest(aad)
        )
        return tokens.pack(
            tokens.Sealed(
                metadata=answer.ciphertext_metadata or b"",
                iv=answer.initialization_vector,
                tag=answer.authentication_tag,
                ciphertext=answer.ciphertext,
            )
        )

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        external_id, inner = self._usable(ref, algorithm)
        sealed = tokens.unpack(ciphertext)
        content = await self._proxy.decrypt(
            external_id,
            _region(ref.key_arn),
            wire.DecryptRequest(
                request_metadata=self._metadata("Decrypt", ref),
                ciphertext=sealed.ciphertext,
                initialization_vector=sealed.iv,
                authentication_tag=sealed.tag,
                additional_authenticated_data=_digest(aad),
                ciphertext_metadata=sealed.metadata or None,
            ),
        )
        try:
            return await self._inner.decrypt(inner, algorithm, content, aad)
        except InvalidCiphertext:
            raise wire.failure(ProxyFault.WRONG_PLAINTEXT) from None

    # ---- external keys ---------------------------------------------------------------------------------------------

    async def find_external(self, external_id: str) -> ExternalKey:
        key = await self._key_metadata(external_id, self._settings.region, _NOBODY)
        return ExternalKey(key.key_spec, frozenset(key.key_usage), key.key_status == "ENABLED")

    # ---- randomness ------------------------------------------------------------------------------------------------

    async def random(self, length: int) -> bytes:
        return await self._inner.random(length)

    # ---- within ----------------------------------------------------------------------------------------------------

    @property
    def _proxy(self) -> ProxyClient:
        if self._client is None:
            raise Unavailable(f"key store {self.context.store_name!r} is not open")
        return self._client

    @property
    def _inner(self) -> InnerStore:
        if self._client is None or self.context.inner is None:
            raise Unavailable(f"key store {self.context.store_name!r} is not open")
        return self.context.inner

    def _usable(self, ref: MaterialRef, algorithm: Algorithm) -> tuple[str, MaterialRef]:
        if algorithm is not Algorithm.SYMMETRIC_DEFAULT:
            raise InvalidRequest(f"a key of an external key store does not offer {algorithm}")
        if ref.token is None:
            raise MaterialNotFound(f"the key store has no material {ref.material_id} of {ref.key_arn}")
        return tokens.inner_ref(ref)

    async def _key_metadata(self, external_id: str, region: str, principal: str) -> wire.KeyMetadata:
        metadata = self._metadata("CreateKey", principal=principal)
        return await self._proxy.get_key_metadata(external_id, metadata, region)

    def _metadata(
        self, operation: str, ref: MaterialRef | None = None, *, principal: str | None = None, probe: bool = False
    ) -> wire.RequestMetadata:
        """Who asked for what. Where nobody did (a probe, a declared key), the account itself is the principal."""
        info = None if probe else call_info()
        arn = ref.key_arn if ref is not None else None
        if info is None:
            if arn is not None:
                principal = _account_root(arn)
            return wire.RequestMetadata(operation, str(uuid.uuid4()), principal, arn)
        return wire.RequestMetadata(
            kms_operation=info.operation,
            kms_request_id=info.request_id,
            aws_principal_arn=info.principal,
            kms_key_arn=arn,
            kms_via_service=info.via_service,
            aws_source_vpc=info.source_vpc,
            aws_source_vpce=info.source_vpce,
        )


def _words(text: str) -> str:
    """What a proxy calls something, for people: short and printable, whatever it says."""
    return "".join(character if character.isprintable() else "?" for character in text[:_WORDS])


def _ails(member: wire.FleetMember) -> bool:
    return member.health_status != HealthLevel.ACTIVE


def _level(status: wire.HealthStatus) -> HealthLevel:
    """Of the managers together: some have to serve, and all of them well for it to be well."""
    if not any(map(_ails, status.ekm_fleet_details)):
        return HealthLevel.ACTIVE
    if all(member.health_status == HealthLevel.UNAVAILABLE for member in status.ekm_fleet_details):
        return HealthLevel.UNAVAILABLE
    return HealthLevel.DEGRADED


def _digest(aad: bytes) -> bytes:
    return hashlib.sha256(_LABEL + aad).digest()


def _region(arn: str) -> str:
    return arn.split(":", 5)[3]


def _account_root(arn: str) -> str:
    return f"arn:aws:iam::{arn.split(':', 5)[4]}:root"
