"""Settings of a server, checked once at start: from ``keystead.toml``, or from the few arguments of ``keystead dev``.

Guarantee: what comes out is complete and absolute (paths are resolved against the settings file); a mistake is told
with the file and the name of the setting.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from controlplane.errors import StartupRefused

DEFAULT_PORT: Final = 8470
DEV_ACCOUNT: Final = "000000000000"
DEV_REGION: Final = "us-east-1"
DEV_SECRET: Final = "test"  # noqa: S105 - well-known on purpose: ``keystead dev`` listens on loopback only

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Account = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{12}$")]
ClusterId = Annotated[str, msgspec.Meta(pattern=r"^cluster-[2-7a-zA-Z]{11,16}$")]
"""An AWS CloudHSM cluster id (KMS service model: CloudHsmClusterIdType)."""
XksConnectionName = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9.-]{1,120}$")]
RegionName = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")]


class _Section(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class Tls(_Section, frozen=True):
    """Certificate chain and private key in PEM."""

    certificate: str
    key: str


class CustomKeyStores(_Section, frozen=True):
    """How the KMS API's custom key stores behave."""

    auto_connect: bool = False
    """Connect a custom key store when it is made. In AWS somebody has to call ConnectCustomKeyStore; the Terraform
    provider never does, so that its keys cannot be made."""


class Pkcs11Rules(_Section, frozen=True):
    """What declared key stores may have loaded into the server's worker processes. Who writes spec files need not be
    who runs the server; clusters of the settings and the root key's token are the administrator's and free of this."""

    modules: tuple[str, ...] | None = None
    """PKCS#11 modules, by file name or absolute path. Absent: those where Debian and vendors put them."""
    environment: tuple[str, ...] = ("SOFTHSM2_CONF",)
    """Variables that a declaration may set for its module. Many a module loads further code that a variable names."""


class XksConnection(_Section, frozen=True):
    """How an external key store proxy is reached: what the KMS API has no words for.

    Under the host name of a proxy with a public endpoint, or under the name of a VPC endpoint service. Files are PEM;
    ``address`` and ``port`` are where the proxy really is, ``authority`` is who issued its certificate.
    """

    address: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    authority: str | None = None
    client: Tls | None = None
    """The certificate that is shown to a proxy that asks for one."""
    private_dns_name: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9.-]{1,120}$")] | None = None
    """Of a VPC endpoint service: the host name that key stores have to name as their endpoint."""
    owner: Account | None = None
    """Of a VPC endpoint service: the account whose it is. Absent, this server's."""


class DevCredentials(msgspec.Struct, frozen=True):
    """Well-known credentials of ``keystead dev``; they exist on loopback only and are stored nowhere."""

    access_key_id: str
    secret_access_key: str
    token: str

    def __repr__(self) -> str:
        return f"DevCredentials({self.access_key_id})"


class Settings(_Section, frozen=True):
    """Everything a server is told at start."""

    data_dir: str
    account: Account
    regions: Annotated[tuple[RegionName, ...], msgspec.Meta(min_length=1)]
    host: str = "127.0.0.1"
    port: Port = DEFAULT_PORT
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Server processes that share the port. Each takes a core; the database and the audit journal are shared."""
    cached_keys: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """Keys that each process keeps ready in memory, about 5 KB for each that is used; others are read when used."""
    tls: Tls | None = None
    standard: dict[str, Any] = {}
    """Options of the key store ``standard``, the root key provider among them."""
    clusters: dict[ClusterId, dict[str, Any]] = {}
    """HSM clusters that key stores can name: options of ``pkcs11``, and ``trustAnchor`` (a PEM file) and ``active``."""
    pkcs11: Pkcs11Rules = Pkcs11Rules()
    """What declared key stores of that type may load."""
    custom_key_stores: CustomKeyStores = CustomKeyStores()
    xks_connections: dict[XksConnectionName, XksConnection] = {}
    """How proxies are reached, by host name or by the name of a VPC endpoint service."""
    nitro_root: str | None = None
    """PEM file of the root certificates under which attestation documents of enclaves are believed."""
    copies: tuple[str, ...] = ()
    """Directories, besides the database, in which key tokens and the standard store's own records are kept."""
    look_hours: Annotated[int, msgspec.Meta(ge=1, le=8760)] = 24
    """How often all copies are compared and made good."""
    log_level: str = "info"
    dev: DevCredentials | None = None

    @property
    def directory(self) -> Path:
        return Path(self.data_dir)

    @property
    def region(self) -> str:
        """The Region of keys that name none."""
        return self.regions[0]


def load_settings(path: Path) -> Settings:
    """Read ``keystead.toml``. Raises :class:`StartupRefused` with the file and what is wrong in it."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StartupRefused(
            f"settings file {path} cannot be read: {error.strerror}; make one with: keystead init"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartupRefused(f"settings file {path} is not valid TOML: {error}") from None
    if "dev" in raw:
        raise StartupRefused(f"settings file {path}: unknown setting dev")
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise StartupRefused(f"settings file {path}: {error}") from None
    return _resolved(settings, path.resolve().parent)


def dev_settings(port: int, data_dir: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of ``keystead dev``: one account and Region, loopback, known credentials."""
    return Settings(
        data_dir=str(data_dir.resolve()),
        account=DEV_ACCOUNT,
        regions=(DEV_REGION,),
        port=port,
        standard={"rootKey": {"provider": "file", "path": str(data_dir.resolve() / "root.key")}},
        log_level="warning",
        dev=DevCredentials(
            environ.get("KEYSTEAD_DEV_ACCESS_KEY_ID", "test"),
            environ.get("KEYSTEAD_DEV_SECRET_ACCESS_KEY", DEV_SECRET),
            environ.get("KEYSTEAD_DEV_TOKEN", "test"),
        ),
    )


def _resolved(settings: Settings, base: Path) -> Settings:
    def absolute(text: str) -> str:
        return str((base / text).resolve())

    standard = with_absolute_files(settings.standard, base)
    clusters = {name: with_absolute_files(options, base) for name, options in settings.clusters.items()}
    tls = settings.tls
    if tls is not None:
        tls = Tls(absolute(tls.certificate), absolute(tls.key))
    nitro_root = None if settings.nitro_root is None else absolute(settings.nitro_root)
    return msgspec.structs.replace(
        settings,
        data_dir=absolute(settings.data_dir),
        copies=tuple(absolute(copy) for copy in settings.copies),
        standard=standard,
        clusters=clusters,
        tls=tls,
        nitro_root=nitro_root,
        xks_connections={name: _with_files(each, absolute) for name, each in settings.xks_connections.items()},
    )


def _with_files(connection: XksConnection, absolute: Callable[[str], str]) -> XksConnection:
    authority, client = connection.authority, connection.client
    return msgspec.structs.replace(
        connection,
        authority=None if authority is None else absolute(authority),
        client=None if client is None else Tls(absolute(client.certificate), absolute(client.key)),
    )


def with_absolute_files(options: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Options of a key store with every file that they name relative to ``base`` made absolute.

    Files are what ``fromFile``, ``path``, ``trustAnchor``, ``authority`` and ``certificate`` name, and ``key`` beside a
    ``certificate``. A module is not one: a bare name is searched for.
    """
    files = _FILES | {"key"} if "certificate" in options else _FILES

    def absolute(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return with_absolute_files(value, base)
        if isinstance(value, list | tuple):
            return [absolute("", each) for each in value]
        return str((base / value).resolve()) if name in files and isinstance(value, str) else value

    return {name: absolute(name, value) for name, value in options.items()}


_FILES: Final = frozenset({"fromFile", "path", "trustAnchor", "authority", "certificate"})
