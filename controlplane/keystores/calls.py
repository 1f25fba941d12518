"""The only caller of plugin methods: deadline, circuit breaker, outcome, redaction.

Who calls it: ``usage`` (crypto), ``reconcile`` (material, connections). Guarantees: a call ends by its deadline; what a
plugin raises becomes the control plane's errors in one place; an exception that is not of the SDK is logged by its type
only, because its text may hold anything, and counts as "may have happened" where the call changes the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

import structlog

from controlplane import errors, metrics
from controlplane.keystores.connections import Connection, Connections
from controlplane.keystores.deadline import within
from controlplane.schema.keystores import STANDARD
from plugins.sdk import (
    Algorithm,
    Capabilities,
    CredentialsRefused,
    ExternalKey,
    GcmCiphertext,
    Health,
    Imported,
    ImportTarget,
    IncorrectMaterial,
    InvalidCiphertext,
    InvalidRequest,
    InvalidSignature,
    KeyPair,
    KeySpec,
    KeyStoreError,
    KeyStorePlugin,
    Material,
    MaterialDamaged,
    MaterialNotFound,
    MaterialRef,
    MessageType,
    Misconfigured,
    OutcomeUnknown,
    ProxyFault,
    SecretBytes,
    Unavailable,
    Unsupported,
    WrappingAlgorithm,
    WrappingKey,
    WrappingSpec,
)

T = TypeVar("T")
_FAULTS: Final = frozenset(ProxyFault)

log = structlog.get_logger("keystead.keystores")

USE_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 30.0
OPEN_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 5.0
MIGRATE_SECONDS: Final = 600.0


class Inner:
    """The standard key store as a plugin that wraps it sees it: its methods, its errors, nothing in between.

    Deadline and breaker are those of the call that is under way on the store outside.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @property
    def _plugin(self) -> KeyStorePlugin:
        connection = self._connections.find(STANDARD)
        if connection is None:
            raise Unavailable("the standard key store is not open")
        return connection.plugin

    async def observe(self, ref: MaterialRef) -> Material | None:
        return await self._plugin.observe(ref)

    async def create(self, ref: MaterialRef) -> Material:
        return await self._plugin.create(ref)

    async def destroy(self, ref: MaterialRef) -> None:
        await self._plugin.destroy(ref)

    def forget(self, ref: MaterialRef) -> None:
        self._plugin.forget(ref)

    async def encrypt(self, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        return await self._plugin.encrypt(ref, algorithm, plaintext, aad)

    async def decrypt(self, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        return await self._plugin.decrypt(ref, algorithm, ciphertext, aad)

    async def random(self, length: int) -> bytes:
        return await self._plugin.random(length)


class Calls:
    """Plugin methods with the host's manners."""

    def __init__(
        self, connections: Connections, *, use_seconds: float = USE_SECONDS, change_seconds: float = CHANGE_SECONDS
    ) -> None:
        self.connections = connections
        connections.inner = Inner(connections)
        self._use_seconds = use_seconds
        self._change_seconds = change_seconds

    # ---- the store itself ------------------------------------------------------------------------------------------

    async def provision(self, connection: Connection) -> None:
        await self._run(connection, "provision", connection.plugin.provision(), OPEN_SECONDS, changes=True)

    async def migrate(self, connection: Connection) -> list[str]:
        """Carry a store over that is not open. It takes as long as it takes: a person waits for it."""
        call = connection.plugin.migrate()
        return await self._run(connection, "migrate", call, MIGRATE_SECONDS, changes=True)

    async def open(self, connection: Connection) -> Capabilities:
        """Open a prepared connection; on any failure it is closed again."""
        try:
            connection.capabilities = await self._run(connection, "open", connection.plugin.open(), OPEN_SECONDS)
        except (errors.KeysteadError, asyncio.CancelledError) as error:
            if isinstance(error, errors.KeysteadError):
                self.connections.did_not_open(connection.name, error.message)
            await self.close(connection)
            raise
        return connection.capabilities

    async def try_out(self, connection: Connection) -> None:
        """Open a prepared connection to see that it can be, and close it again. Nobody else hears of it."""
        try:
            await self._run(connection, "open", connection.plugin.open(), OPEN_SECONDS)
        finally:
            await self.close(connection)

    async def close(self, connection: Connection) -> None:
        """Close, and never raise: a store that cannot be closed is left behind."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.plugin.close()
        except Exception as error:
            log.warning("closing a key store failed", store=connection.name, error=type(error).__name__)

    async def probe(self, connection: Connection) -> Health:
        return await self._run(connection, "probe", connection.plugin.probe(), self._use_seconds)

    async def maintain(self, connection: Connection) -> list[str]:
        return await self._run(connection, "maintain", connection.plugin.maintain(), self._change_seconds)

    # ---- material --------------------------------------------------------------------------------------------------

    async def observe(self, store: str, ref: MaterialRef) -> Material | None:
        connection = self._admitted(store)
        return await self._run(connection, "observe", connection.plugin.observe(ref), self._use_seconds)

    async def create(self, store: str, ref: MaterialRef) -> Material:
        connection = self._admitted(store)
        return await self._run(connection, "create", connection.plugin.create(ref), self._change_seconds, changes=True)

    async def replicate(self, store: str, source: MaterialRef, target: MaterialRef) -> Material:
        connection = self._admitted(store)
        call = connection.plugin.replicate(source, target)
        return await self._run(connection, "replicate", call, self._change_seconds, changes=True)

    async def destroy(self, store: str, ref: MaterialRef) -> None:
        connection = self._admitted(store)
        await self._run(connection, "destroy", connection.plugin.destroy(ref), self._change_seconds, changes=True)

    async def wrapping_key(
        self, store: str, target: ImportTarget, spec: WrappingSpec, algorithm: WrappingAlgorithm
    ) -> WrappingKey:
        connection = self._importing(store, target)
        call = connection.plugin.wrapping_key(target, spec, algorithm)
        return await self._run(connection, "wrapping_key", call, self._change_seconds)

    async def import_material(
        self,
        store: str,
        target: ImportTarget,
        spec: WrappingSpec,
        algorithm: WrappingAlgorithm,
        sealed: bytes,
        encrypted: bytes,
    ) -> Imported:
        """Custody is ``token``, so an import whose answer is lost left nothing anywhere."""
        connection = self._importing(store, target)
        call = connection.plugin.import_material(target, spec, algorithm, sealed, encrypted)
        return await self._run(connection, "import_material", call, self._change_seconds)

    async def adopt(self, store: str, name: str, ref: MaterialRef) -> Material:
        """Take over material that the store names ``name``."""
        connection = self._admitted(store)
        call = connection.plugin.adopt(name, ref)
        return await self._run(connection, "adopt", call, self._change_seconds, changes=True)

    async def list_material(self, store: str) -> list[str]:
        """Names of all material in the store, ours and others'."""
        connection = self._admitted(store)
        return await self._run(connection, "list_material", connection.plugin.list_material(), self._change_seconds)

    def forget(self, store: str, ref: MaterialRef) -> None:
        connection = self.connections.find(store)
        if connection is None:
            return
        try:
            connection.plugin.forget(ref)
        except Exception as error:
            log.warning("a key store plugin could not forget", store=store, error=type(error).__name__)

    # ---- use -------------------------------------------------------------------------------------------------------

    def check_offered(self, store: str, algorithm: Algorithm) -> None:
        """Raise :class:`errors.Unsupported` for an algorithm of the KMS API that the open store says it lacks."""
        capabilities = self.connections.get(store).capabilities
        if capabilities is not None and algorithm in capabilities.absent_algorithms:
            raise errors.Unsupported(
                f"key store {store} does not offer {algorithm}: its cryptographic library lacks it"
            )

    def check_data_key_pair(self, store: str, key_spec: KeySpec) -> None:
        """Raise :class:`errors.Unsupported` for a data key pair that the open store does not generate."""
        capabilities = self.connections.get(store).capabilities
        if capabilities is not None and key_spec not in capabilities.data_key_pairs:
            raise errors.Unsupported(f"key store {store} does not generate data key pairs of {key_spec}")

    async def encrypt(self, store: str, ref: MaterialRef, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(
            connection, "encrypt", connection.plugin.encrypt(ref, algorithm, plaintext, aad), self._use_seconds
        )

    async def decrypt(self, store: str, ref: MaterialRef, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(
            connection, "decrypt", connection.plugin.decrypt(ref, algorithm, ciphertext, aad), self._use_seconds
        )

    async def encrypt_gcm(
        self, store: str, ref: MaterialRef, plaintext: bytes, aad: bytes, *, seconds: float = USE_SECONDS
    ) -> GcmCiphertext:
        connection = self._found(store) or await self._arrived(store, seconds)
        return await self._run(connection, "encrypt_gcm", connection.plugin.encrypt_gcm(ref, plaintext, aad), seconds)

    async def decrypt_gcm(
        self, store: str, ref: MaterialRef, sealed: GcmCiphertext, aad: bytes, *, seconds: float = USE_SECONDS
    ) -> bytes:
        connection = self._found(store) or await self._arrived(store, seconds)
        return await self._run(connection, "decrypt_gcm", connection.plugin.decrypt_gcm(ref, sealed, aad), seconds)

    async def sign(
        self, store: str, ref: MaterialRef, algorithm: Algorithm, message_type: MessageType, message: bytes
    ) -> bytes:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(
            connection, "sign", connection.plugin.sign(ref, algorithm, message_type, message), self._use_seconds
        )

    async def verify(
        self,
        store: str,
        ref: MaterialRef,
        algorithm: Algorithm,
        message_type: MessageType,
        message: bytes,
        signature: bytes,
    ) -> None:
        connection = self._found(store) or await self._arrived(store)
        call = connection.plugin.verify(ref, algorithm, message_type, message, signature)
        await self._run(connection, "verify", call, self._use_seconds)

    async def generate_mac(self, store: str, ref: MaterialRef, algorithm: Algorithm, message: bytes) -> bytes:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(
            connection, "generate_mac", connection.plugin.generate_mac(ref, algorithm, message), self._use_seconds
        )

    async def verify_mac(self, store: str, ref: MaterialRef, algorithm: Algorithm, message: bytes, mac: bytes) -> None:
        connection = self._found(store) or await self._arrived(store)
        await self._run(
            connection, "verify_mac", connection.plugin.verify_mac(ref, algorithm, message, mac), self._use_seconds
        )

    async def agree(self, store: str, ref: MaterialRef, peer_public_key: bytes) -> SecretBytes:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(connection, "agree", connection.plugin.agree(ref, peer_public_key), self._use_seconds)

    async def encapsulate(self, store: str, ref: MaterialRef) -> tuple[bytes, SecretBytes]:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(connection, "encapsulate", connection.plugin.encapsulate(ref), self._use_seconds)

    async def decapsulate(self, store: str, ref: MaterialRef, ciphertext: bytes) -> SecretBytes:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(
            connection, "decapsulate", connection.plugin.decapsulate(ref, ciphertext), self._use_seconds
        )

    async def random(self, store: str, length: int) -> bytes:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(connection, "random", connection.plugin.random(length), self._use_seconds)

    async def generate_key_pair(self, store: str, key_spec: KeySpec) -> KeyPair:
        connection = self._found(store) or await self._arrived(store)
        return await self._run(
            connection, "generate_key_pair", connection.plugin.generate_key_pair(key_spec), self._change_seconds
        )

    def _importing(self, store: str, target: ImportTarget) -> Connection:
        capabilities = self.connections.get(store).capabilities
        if capabilities is None or target.key_spec not in capabilities.imports:
            raise errors.Unsupported(f"key store {store} does not import material of {target.key_spec} keys")
        return self._admitted(store)

    async def find_external(self, store: str, external_id: str) -> ExternalKey:
        """What the manager of external keys says of one."""
        connection = self._admitted(store)
        call = connection.plugin.find_external(external_id)
        return await self._run(connection, "find_external", call, self._use_seconds)

    # ---- the manners -----------------------------------------------------------------------------------------------

    def _found(self, store: str) -> Connection | None:
        """The open connection for a use, or None if there is none yet."""
        connection = self.connections.find(store)
        if connection is not None:
            connection.breaker.admit(store)
        return connection

    async def _arrived(self, store: str, seconds: float | None = None) -> Connection:
        """The same once it is open: this process may be just about to open what another one connected."""
        connection = await self.connections.arrival(store, self._use_seconds if seconds is None else seconds)
        connection.breaker.admit(store)
        return connection

    def _admitted(self, store: str) -> Connection:
        connection = self.connections.get(store)
        connection.breaker.admit(store)
        return connection

    async def _run(
        self, connection: Connection, what: str, call: Awaitable[T], seconds: float, *, changes: bool = False
    ) -> T:
        store = connection.name
        custom = store != STANDARD
        try:
            result = await within(call, seconds)
        except KeyStoreError as error:
            cause = _cause(error)
            if cause:
                metrics.KEY_STORE_FAULTS.labels(store, cause).inc()
            if isinstance(error, Unavailable | OutcomeUnknown):
                connection.breaker.failed(cause)
            else:
                connection.breaker.succeeded()
            translated = _translated(error, store)
            translated.cause = cause
            raise translated from None
        except TimeoutError:
            connection.breaker.failed()
            message = f"key store {store} did not answer {what} within {seconds:g} seconds"
            if changes:
                raise errors.KeyStoreOutcomeUnknown(message, reason="Deadline", custom=custom) from None
            raise errors.KeyStoreUnavailable(message, reason="Deadline", custom=custom) from None
        except asyncio.CancelledError:
            connection.breaker.abandoned()
            raise
        except Exception as error:
            connection.breaker.failed()
            kind = type(error).__name__
            # Its type only: the text and the traceback of an unclassified exception may hold anything.
            log.error(  # noqa: TRY400
                "a key store plugin failed in a way its contract does not allow", store=store, call=what, error=kind
            )
            message = f"key store {store} failed in {what} with an unclassified {kind}"
            if changes:
                raise errors.KeyStoreOutcomeUnknown(message, reason="Unclassified", custom=custom) from None
            raise errors.KeyStoreFailure(message, reason="Unclassified", custom=custom) from None
        connection.breaker.succeeded()
        return result


def _cause(error: KeyStoreError) -> str:
    """The plugin's reason, if doors have words for it."""
    return error.reason if error.reason in _FAULTS else ""


def _translated(error: KeyStoreError, store: str) -> errors.KeysteadError:
    """The one map from the SDK's errors to the control plane's."""
    message = f"key store {store}: {error.message}"
    custom = store != STANDARD
    match error:
        case InvalidCiphertext():
            return errors.InvalidCiphertext("")
        case IncorrectMaterial():
            return errors.IncorrectKeyMaterial(error.message)
        case InvalidSignature():
            return errors.InvalidSignature("")
        case InvalidRequest():
            return errors.InvalidInput(error.message)
        case Unsupported():
            return errors.Unsupported(message)
        case Unavailable():
            return errors.KeyStoreUnavailable(message, reason=error.reason, custom=custom)
        case OutcomeUnknown():
            return errors.KeyStoreOutcomeUnknown(message, reason=error.reason, custom=custom)
        case MaterialNotFound() | MaterialDamaged() | CredentialsRefused() | Misconfigured():
            # The class decides what the reconciler does, so its name is the reason; the plugin's own is for people.
            kinds = (MaterialNotFound, MaterialDamaged, CredentialsRefused, Misconfigured)
            kind = next(kind for kind in kinds if isinstance(error, kind))
            detail = f" ({error.reason})" if error.reason != kind.default_reason else ""
            return errors.KeyStoreFailure(
                message + detail, reason=kind.default_reason, detail=error.reason, custom=custom
            )
    return errors.KeyStoreFailure(message, reason=error.reason, custom=custom)
