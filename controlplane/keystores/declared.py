"""What a key store's plugin is given: the declared options, with what the server's settings add to them.

Who calls it: the reconciler in each process, before it opens a key store or compares its options. Guarantee: options of
the standard store come from the settings only; of a cluster or an XKS connection, from the settings with what the
declaration says otherwise. What a declaration may not have loaded is refused before any process is started for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.errors import KeyStoreFailure, KeyStoreUnavailable
from controlplane.keystores import modules
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import KeyStore
from controlplane.settings import Settings, XksConnection, with_absolute_files

PKCS11: Final = "pkcs11"
CLUSTER: Final = "cluster"
"""The option of an HSM cluster that names it; the plugin never sees it."""
ACTIVE: Final = "active"
TRUST_ANCHOR: Final = "trustAnchor"
_OURS: Final = frozenset({ACTIVE, TRUST_ANCHOR})
"""What the settings say of a cluster beside its plugin's options."""

XKS: Final = "xks"
CONNECTION: Final = "connection"
"""The option of an external key store that names its VPC endpoint service; the plugin never sees it."""
SERVICE_NOT_FOUND: Final = "XksServiceNotFound"
SERVICE_UNSUITABLE: Final = "XksServiceUnsuitable"


def options_of(store: KeyStore, settings: Settings) -> dict[str, Any]:
    """The options for the plugin. Raises :class:`KeyStoreFailure` for what is named and the settings do not have
    or allow.

    Files that a declaration names are relative to the data directory.
    """
    if store.metadata.name == STANDARD:
        return settings.standard
    options = with_absolute_files(store.spec.plugin_options(), settings.directory)
    if store.spec.type == XKS:
        return {**connection_options(options, settings), **options_without(options, CONNECTION)}
    if store.spec.type == PKCS11:
        modules.check(options, settings.pkcs11)
    cluster_id = options.pop(CLUSTER, None)
    return options if cluster_id is None else {**cluster_options(str(cluster_id), settings), **options}


def cluster_id_of(store: KeyStore) -> str | None:
    """The cluster that a key store names."""
    cluster_id = store.spec.plugin_options().get(CLUSTER)
    return None if cluster_id is None else str(cluster_id)


def cluster_options(cluster_id: str, settings: Settings) -> dict[str, Any]:
    """Options of a cluster of the settings. Raises :class:`KeyStoreFailure` if there is none, or it is not active."""
    cluster = find_cluster(cluster_id, settings)
    if cluster is None:
        known = ", ".join(sorted(settings.clusters)) or "none"
        raise KeyStoreFailure(
            f"the settings of this server have no cluster {cluster_id}; they have: {known}",
            reason="Misconfigured",
            detail="ClusterNotFound",
            custom=True,
        )
    if not cluster.get(ACTIVE, True):
        raise KeyStoreUnavailable(
            f"cluster {cluster_id} is not active: the settings of this server say so",
            reason="Unavailable",
            detail="ClusterNotActive",
            custom=True,
        )
    return {name: value for name, value in cluster.items() if name not in _OURS}


def find_cluster(cluster_id: str, settings: Settings) -> Mapping[str, Any] | None:
    """What the settings say of a cluster."""
    return settings.clusters.get(cluster_id)


# ---- external key stores ---------------------------------------------------------------------------------------------


def connection_options(options: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What the settings say of how the proxy of an external key store is reached: by its service, or by its host."""
    service, host = options.get(CONNECTION), host_of(options)
    if service is None:
        found = settings.xks_connections.get(host)
        return {} if found is None else _reached(found)
    found = settings.xks_connections.get(service)
    if found is None:
        known = ", ".join(sorted(settings.xks_connections)) or "none"
        raise KeyStoreFailure(
            f"the settings of this server have no XKS connection {service}; they have: {known}",
            reason="Misconfigured",
            detail=SERVICE_NOT_FOUND,
            custom=True,
        )
    if found.private_dns_name is not None and found.private_dns_name.lower() != host:
        raise KeyStoreFailure(
            f"the private DNS name of {service} is {found.private_dns_name}, and the endpoint names {host}",
            reason="Misconfigured",
            detail=SERVICE_UNSUITABLE,
            custom=True,
        )
    return _reached(found)


def host_of(options: Mapping[str, Any]) -> str:
    """The host name of a proxy, in lower case."""
    return str(options.get("uriEndpoint", "")).removeprefix("https://").lower()


def options_without(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in options.items() if each != name}


def _reached(connection: XksConnection) -> dict[str, Any]:
    said: dict[str, Any] = {
        "address": connection.address,
        "port": connection.port,
        "authority": connection.authority,
        "client": None if connection.client is None else msgspec.to_builtins(connection.client),
    }
    return {name: value for name, value in said.items() if value is not None}
