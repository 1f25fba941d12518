"""What a key store's plugin is given: the declared options, with what the server's settings add to them.

Who calls it: the reconciler in each process, before it opens a key store or compares its options. Guarantee: options of
the standard store come from the settings only; of a cluster that is named, from the settings with what the declaration
says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controlplane.errors import KeyStoreFailure, KeyStoreUnavailable
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import KeyStore
from controlplane.settings import Settings, with_absolute_files

CLUSTER: Final = "cluster"
"""The option of an HSM cluster that names it; the plugin never sees it."""
ACTIVE: Final = "active"
TRUST_ANCHOR: Final = "trustAnchor"
_OURS: Final = frozenset({ACTIVE, TRUST_ANCHOR})
"""What the settings say of a cluster beside its plugin's options."""


def options_of(store: KeyStore, settings: Settings) -> dict[str, Any]:
    """The options for the plugin. Raises :class:`KeyStoreFailure` for a cluster that the settings do not have.

    Files that a declaration names are relative to the data directory.
    """
    if store.metadata.name == STANDARD:
        return settings.standard
    options = with_absolute_files(store.spec.plugin_options(), settings.directory)
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
