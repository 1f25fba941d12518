"""The composition root: builds a server from settings, and the only module that sees store, key stores, reconciler and
API together.

Who calls it: ``keystead dev``, ``init`` and ``serve``; tests. Guarantees: it listens only after the root key has opened
the standard key store and the database passed its check; on SIGTERM it stops accepting, lets running requests and
passes finish, and closes in the reverse order of opening.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvicorn

from controlplane.access.authentication import ADMIN_PRINCIPAL, Authenticator
from controlplane.access.checkpointing import checkpointing
from controlplane.access.credentials import Credentials
from controlplane.access.grant_tokens import GrantTokens
from controlplane.access.key_store_secrets import KeyStoreSecrets
from controlplane.access.sealing import Sealer
from controlplane.api.app import Doors
from controlplane.api.services import Services
from controlplane.api.xks.listeners import Listeners
from controlplane.api.xks.served import Site
from controlplane.audit.journal import AuditJournal
from controlplane.audit.reading import JournalReader
from controlplane.backups import AUDIT_DIRECTORY, DATABASE_FILE
from controlplane.clock import Clock
from controlplane.domain.names import principal_arn
from controlplane.errors import KeysteadError, StartupRefused
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connections
from controlplane.keystores.declared import options_of
from controlplane.listening import configure_logging, listen
from controlplane.reconcile.runtime import Runtime
from controlplane.reconcile.upkeep import Upkeep
from controlplane.schema.credentials import TokenRequest
from controlplane.schema.keystores import STANDARD, ConnectionState, DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import Kind
from controlplane.schema.principals import DesiredPrincipal, PrincipalStatus, PrincipalType
from controlplane.settings import Settings
from controlplane.store import facts, objects
from controlplane.store.backup import remove_leftovers
from controlplane.store.catalog import Catalog, KeyRecord
from controlplane.store.changes import ChangeSignal
from controlplane.store.copies import Copy
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.material import StoredPluginState
from controlplane.store.safekeeping import Safekeeping
from controlplane.usage.attestations import Attestations
from controlplane.usage.imports import Imports
from controlplane.usage.last_uses import USES_TRACKED_SINCE
from controlplane.usage.perform import Usage
from plugins.sdk import PluginState

GRACE_SECONDS: Final = 5
GC_OBJECTS: Final = 20_000

log = structlog.get_logger("keystead.server")


class Issued(msgspec.Struct, frozen=True):
    """Credentials of a new server's administrator. They are shown once and stored sealed or as a digest."""

    access_key_id: str
    secret_access_key: str
    token: str

    def __repr__(self) -> str:
        return f"Issued({self.access_key_id})"


# ---- running ---------------------------------------------------------------------------------------------------------


def run(
    settings: Settings,
    *,
    ready: Callable[[int], None] | None = None,
    listener: socket.socket | None = None,
    parent: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until ``parent`` ends. ``ready`` is told the port.

    Raises :class:`StartupRefused` before listening. ``listener`` is a listening socket to serve on, if not one's own.
    """
    import uvloop

    configure_logging(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, ready=ready, listener=listener, parent=parent))


async def serve(
    settings: Settings,
    *,
    clock: Clock | None = None,
    ready: Callable[[int], None] | None = None,
    listener: socket.socket | None = None,
    parent: socket.socket | None = None,
) -> None:
    """The same on a running event loop."""
    listener = listener or listen(settings)
    try:
        async with running(settings, clock=clock) as services:
            config = uvicorn.Config(
                Doors(services),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # a client must not choose the source address of its audit records
                timeout_graceful_shutdown=GRACE_SECONDS,
                ssl_certfile=settings.tls.certificate if settings.tls else None,
                ssl_keyfile=settings.tls.key if settings.tls else None,
            )
            server = uvicorn.Server(config)
            loop = asyncio.get_running_loop()

            def stop() -> None:
                services.stopping.set()
                server.should_exit = True

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            if parent is not None:
                loop.add_reader(parent, stop)  # it never writes once this process serves: readable means gone
            config.load()
            try:
                await _serve_quietly(server, listener, ready)
            finally:
                if parent is not None:
                    loop.remove_reader(parent)
    finally:
        listener.close()


@contextlib.asynccontextmanager
async def running(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Services]:
    """Everything but the listener: opened in order, closed in reverse."""
    clock = clock or Clock()
    attestations = Attestations.under(settings.nitro_root, clock)
    async with contextlib.AsyncExitStack() as stack:
        database = Database(settings.directory / DATABASE_FILE)
        if not database.path.exists():
            raise StartupRefused(
                f"there is no Keystead in {settings.directory} ({DATABASE_FILE} is missing); make one: keystead init"
            )
        safekeeping = Safekeeping([Copy(Path(directory)) for directory in settings.copies], clock)
        stack.callback(safekeeping.close)
        database.open()
        stack.callback(database.close)
        remove_leftovers(settings.directory)
        _check_account(database, settings)
        server_id = await database.write(lambda tx: facts.put_once(tx, "server-id", str(uuid.uuid4())))
        safekeeping.open(server_id)
        database.protect(safekeeping)

        audit = AuditJournal(settings.directory / AUDIT_DIRECTORY)
        audit.open()
        stack.push_async_callback(audit.close)

        connections = Connections(state_of(database), clock)
        calls = Calls(connections)
        stack.push_async_callback(_close_all, calls)
        await _open_standard(database, calls, settings, clock)
        sealer = Sealer(database, calls)
        key_store_secrets = KeyStoreSecrets(database, sealer)
        connections.secret_of = key_store_secrets.reveal
        await sealer.open()
        checkpointer = await stack.enter_async_context(checkpointing(database, calls, audit, clock))
        if settings.dev is not None:
            await _ensure_administrator(database, settings, clock)

        changes = ChangeSignal(database)
        changes.start()
        stack.push_async_callback(changes.stop)
        catalog = Catalog(database, lambda record: _forget(calls, record), limit=settings.cached_keys)
        fresh = asyncio.create_task(_keep_fresh(catalog, changes), name="catalog")
        stack.push_async_callback(_cancelled, fresh)
        grant_tokens = GrantTokens(sealer, clock)
        usage = Usage(database, catalog, audit, clock, grant_tokens, account=settings.account)
        usage.last_uses.start()
        stack.push_async_callback(usage.last_uses.stop)
        site = Site(settings.directory, settings.workers)
        listeners = Listeners(database, catalog, calls, usage, clock, settings.account, site)
        stack.push_async_callback(listeners.close)
        upkeep = Upkeep(database, safekeeping, clock, look_hours=settings.look_hours)
        runtime = Runtime(
            database, calls, clock, audit, changes, lambda store: options_of(store, settings), listeners, upkeep.run
        )
        await runtime.start()
        stack.push_async_callback(runtime.stop)
        now = clock.now().isoformat()
        await database.write(lambda tx: facts.put_once(tx, USES_TRACKED_SINCE, now))
        yield Services(
            settings=settings,
            server_id=server_id,
            clock=clock,
            database=database,
            catalog=catalog,
            calls=calls,
            signal=changes,
            authenticator=Authenticator(
                database, catalog, sealer, clock, account=settings.account, regions=settings.regions, dev=settings.dev
            ),
            usage=usage,
            attestations=attestations,
            imports=Imports(database, calls, clock),
            checkpointer=checkpointer,
            trail=JournalReader(settings.directory / AUDIT_DIRECTORY),
            safekeeping=safekeeping,
            grant_tokens=grant_tokens,
            credentials=Credentials(database, sealer),
            key_store_secrets=key_store_secrets,
            look_at=runtime.look_at,
            stopping=asyncio.Event(),
        )


# ---- a new server ----------------------------------------------------------------------------------------------------


async def provision(settings: Settings, *, clock: Clock | None = None) -> Issued:
    """Make a new server in an empty data directory: root key, database, administrator. Shows the credentials once.

    Raises :class:`StartupRefused` if the directory already holds one; then nothing was changed.
    """
    clock = clock or Clock()
    path = settings.directory / DATABASE_FILE
    if path.exists():
        raise StartupRefused(f"{settings.directory} already holds a Keystead; nothing was changed")
    settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Built under another name and renamed at the end: a half-made server is never mistaken for a whole one.
    draft = path.with_name(path.name + ".new")
    for leftover in settings.directory.glob(draft.name + "*"):
        leftover.unlink()
    database = Database(draft)
    database.open()
    calls = Calls(Connections(state_of(database), clock))
    try:
        connection = calls.connections.prepare(STANDARD, STANDARD, settings.standard)
        await calls.provision(connection)
        await _open_standard(database, calls, settings, clock)
        sealer = Sealer(database, calls)
        await sealer.open()
        await _ensure_administrator(database, settings, clock)
        now = clock.now()
        await database.write(lambda tx: facts.put_once(tx, "account", settings.account))
        issuing = Credentials(database, sealer)
        access_key = await issuing.issue_access_key(ADMIN_PRINCIPAL, now)
        token = await issuing.issue_token(ADMIN_PRINCIPAL, TokenRequest(description="made with this server"), now)
        issued = Issued(access_key.access_key_id, access_key.secret_access_key, token.token)
    except KeysteadError as error:
        raise StartupRefused(error.message) from None
    finally:
        await _close_all(calls)
        database.close()
    draft.rename(path)
    return issued


async def migrate_root_key(settings: Settings, *, clock: Clock | None = None) -> list[str]:
    """Move the standard store to the root key that the settings name, from the one they name as the previous one.

    Raises :class:`StartupRefused` while a server runs, or with what keeps it from either key.
    """
    clock = clock or Clock()
    path = settings.directory / DATABASE_FILE
    if not path.exists():
        raise StartupRefused(f"there is no Keystead in {settings.directory}")
    database = Database(path)
    database.open()
    lease = Lease(database)
    calls = Calls(Connections(state_of(database), clock))
    try:
        if not await lease.take(clock.now()):
            raise StartupRefused("a server is running on this data: stop it first, it holds the keys that are moved")
        connection = calls.connections.prepare(STANDARD, STANDARD, settings.standard)
        try:
            done = await calls.migrate(connection)
            await calls.open(connection)  # the proof that the new root key opens everything
        finally:
            await calls.close(connection)
    except StartupRefused:
        raise
    except KeysteadError as error:
        raise StartupRefused(error.message) from None
    finally:
        lease.release()
        database.close()
    return done


def state_of(database: Database) -> Callable[[str], PluginState]:
    """Where the plugin of a key store keeps its small durable blobs."""
    return lambda store: StoredPluginState(database, store)


# ---- inside ----------------------------------------------------------------------------------------------------------


async def _open_standard(database: Database, calls: Calls, settings: Settings, clock: Clock) -> None:
    """Open the store without which nothing works, before anything listens, and declare it if it is new."""
    connection = calls.connections.prepare(STANDARD, STANDARD, settings.standard)
    try:
        capabilities = await calls.open(connection)
    except KeysteadError as error:
        raise StartupRefused(f"the standard key store does not open: {error.message}") from None
    calls.connections.install(connection)
    now = clock.now()
    if database.read(lambda tx: objects.get_named(tx, Kind.KEY_STORE, STANDARD)) is None:
        specs = {spec: tuple(sorted(usages)) for spec, usages in sorted(capabilities.key_specs.items())}
        status = KeyStoreStatus(created_at=now, connection=ConnectionState.CONNECTED, key_specs=specs)
        await database.write(
            lambda tx: objects.insert(
                tx,
                now=now,
                kind=Kind.KEY_STORE,
                uid=str(uuid.uuid4()),
                name=STANDARD,
                spec=DesiredKeyStore(type=STANDARD),
                status=status,
            )
        )


async def _ensure_administrator(database: Database, settings: Settings, clock: Clock) -> None:
    now = clock.now()
    if database.read(lambda tx: objects.get_named(tx, Kind.PRINCIPAL, ADMIN_PRINCIPAL)) is not None:
        return
    arn = principal_arn(settings.account, PrincipalType.USER, ADMIN_PRINCIPAL)
    await database.write(
        lambda tx: objects.insert(
            tx,
            now=now,
            kind=Kind.PRINCIPAL,
            uid=str(uuid.uuid4()),
            name=ADMIN_PRINCIPAL,
            spec=DesiredPrincipal(description="Administrator made with this server", administrator=True),
            status=PrincipalStatus(arn=arn, created_at=now),
        )
    )


def _check_account(database: Database, settings: Settings) -> None:
    held = database.read(lambda tx: facts.get(tx, "account"))
    if held is not None and held != settings.account:
        raise StartupRefused(
            f"this data directory belongs to account {held}, the settings say {settings.account}; "
            "ARNs of existing keys would change, so the server does not start"
        )


def _forget(calls: Calls, record: KeyRecord) -> None:
    """A key changed, perhaps in another process: its material is opened anew if it is used again."""
    for ref in record.refs.values():
        calls.forget(record.key.spec.key_store, ref)


async def _keep_fresh(catalog: Catalog, changes: ChangeSignal) -> None:
    """Hear of changes unasked: material that another process destroyed must not stay in the memory of this one."""
    seen = 0
    while True:
        try:
            seen = await changes.wait(seen, 60.0)
            catalog.refresh()
        except KeysteadError as error:
            log.warning("the catalog cannot be refreshed", error=error.message)
            await asyncio.sleep(1.0)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _close_all(calls: Calls) -> None:
    for name in calls.connections.names():
        connection = calls.connections.take(name)
        if connection is not None:
            await calls.close(connection)


def settle_memory() -> None:
    """Tell the garbage collector that what is loaded now stays, and to look less often.

    A request makes some hundred objects and hardly a cycle. With the default of 700 the collector runs every few
    requests and walks the modules and the catalog again and again: 6 % of an Encrypt.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 20, 20)


async def _serve_quietly(server: uvicorn.Server, listener: socket.socket, ready: Callable[[int], None] | None) -> None:
    """Serve on our listener, with our signal handlers instead of uvicorn's."""
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    if server.should_exit:
        return
    settle_memory()
    if ready is not None:
        ready(listener.getsockname()[1])
    await server.main_loop()
    await server.shutdown(sockets=[listener])
    # Requests that outlived the grace period were cancelled. They write their audit records and answers before the
    # audit journal closes.
    cancelled = set(server.server_state.tasks)
    if cancelled:
        await asyncio.wait(cancelled, timeout=GRACE_SECONDS)


def data_directory(default: Path | None) -> Path:
    """Where ``keystead dev`` keeps its data."""
    return default if default is not None else Path("keystead-data")


__all__ = [
    "AUDIT_DIRECTORY",
    "DATABASE_FILE",
    "Issued",
    "configure_logging",
    "data_directory",
    "provision",
    "run",
    "running",
    "serve",
]
