"""Custom key stores of type AWS_CLOUDHSM: a cluster id names a PKCS#11 cluster of the server's settings.

The KeyStorePassword is the PIN of the cluster's user; it is kept sealed and handed to the plugin when it opens.
Clusters with the same trust anchor share a history, as in AWS, where they are made from one backup.

Source of the rules: the AWS KMS API reference and the exceptions of the service model; Developer Guide,
"Troubleshooting a custom key store".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.api.kms.custom_types import Changes, NewStore
from controlplane.api.kms.shapes import custom_key_stores as shapes
from controlplane.api.kms.shapes.enums import ConnectionErrorCodeType, CustomKeyStoreType
from controlplane.api.services import Services
from controlplane.errors import (
    ClusterInUse,
    ClusterNotActive,
    ClusterNotFound,
    ClusterNotRelated,
    ClusterUnsuitable,
    IncorrectTrustAnchor,
    InvalidInput,
    KeyStoreFailure,
    KeyStoreUnavailable,
)
from controlplane.keystores import declared
from controlplane.schema.keystores import TOO_FEW_MEMBERS, CustomKeyStoreSpec, DesiredKeyStore
from controlplane.schema.meta import KeyStore
from controlplane.store import keystores
from controlplane.store.database import Tx
from plugins.sdk import SecretBytes

PLUGIN: Final = "pkcs11"
PASSWORD: Final = "password"  # noqa: S105 - the name of a secret

_Code = ConnectionErrorCodeType


class CloudHsm:
    """AWS_CLOUDHSM."""

    type = CustomKeyStoreType.AWS_CLOUDHSM
    error_codes: Mapping[str, ConnectionErrorCodeType] = {
        "PinIncorrect": _Code.INVALID_CREDENTIALS,
        "CredentialsRefused": _Code.INVALID_CREDENTIALS,
        "PinLocked": _Code.USER_LOCKED_OUT,
        "UserNotFound": _Code.USER_NOT_FOUND,
        "UserLoggedIn": _Code.USER_LOGGED_IN,
        "ClusterNotFound": _Code.CLUSTER_NOT_FOUND,
        "ClusterNotActive": _Code.INSUFFICIENT_CLOUDHSM_HSMS,
        TOO_FEW_MEMBERS: _Code.INSUFFICIENT_CLOUDHSM_HSMS,
        "TokenNotFound": _Code.INSUFFICIENT_CLOUDHSM_HSMS,
        "TokenNotPresent": _Code.INSUFFICIENT_CLOUDHSM_HSMS,
        "DeviceRemoved": _Code.NETWORK_ERRORS,
        "DeviceError": _Code.NETWORK_ERRORS,
        "Deadline": _Code.NETWORK_ERRORS,
    }

    async def create(self, at: Services, request: shapes.CreateCustomKeyStoreRequest, uid: str) -> NewStore:
        cluster_id, password = request.cloud_hsm_cluster_id, request.key_store_password
        anchor = request.trust_anchor_certificate
        if cluster_id is None or password is None or anchor is None:
            raise InvalidInput(
                "CloudHsmClusterId, KeyStorePassword and TrustAnchorCertificate are required for a custom key store of "
                f"type {self.type}."
            )
        spec = DesiredKeyStore(
            type=PLUGIN,
            connected=False,
            pkcs11={declared.CLUSTER: cluster_id, "pin": {"fromStore": PASSWORD}},
            custom_key_store=CustomKeyStoreSpec(trust_anchor_certificate=anchor),
        )
        cluster = _cluster(at, cluster_id)
        _check_suitable(at, cluster_id, spec)
        given, expected = _certificate(anchor), _anchor_of(cluster)
        if given is None or (expected is not None and given != expected):
            raise IncorrectTrustAnchor(f"The trust anchor certificate is not the one of cluster {cluster_id}.")
        return NewStore(spec, {PASSWORD: await _sealed(at, uid, password)})

    async def update(self, at: Services, store: KeyStore, request: shapes.UpdateCustomKeyStoreRequest) -> Changes:
        cluster_id, password = request.cloud_hsm_cluster_id, request.key_store_password
        if cluster_id is not None:
            self._check_related(at, store, cluster_id)
            _check_suitable(at, cluster_id, _with_cluster(store.spec, cluster_id))
        sealed = {} if password is None else {PASSWORD: await _sealed(at, store.metadata.uid, password)}

        def apply(spec: DesiredKeyStore) -> DesiredKeyStore:
            if cluster_id is not None:
                spec = _with_cluster(spec, cluster_id)
            if sealed:
                spec = msgspec.structs.replace(spec, pkcs11={**(spec.pkcs11 or {}), "pin": {"fromStore": PASSWORD}})
            return spec

        return Changes(apply, sealed, needs_disconnected=cluster_id is not None or password is not None)

    def check(self, tx: Tx, at: Services, spec: DesiredKeyStore, store: KeyStore | None) -> None:
        wanted = (spec.pkcs11 or {}).get(declared.CLUSTER)
        for other in keystores.custom(tx):
            held = declared.cluster_id_of(other)
            if held is None or wanted is None or (store is not None and other.metadata.uid == store.metadata.uid):
                continue
            if held == wanted or _share_a_history(at, held, wanted):
                raise ClusterInUse(
                    f"Cluster {wanted} is associated with another custom key store already, or shares a history with "
                    "one that is."
                )

    def check_connectable(self, at: Services, store: KeyStore) -> None:
        cluster_id = declared.cluster_id_of(store)
        if cluster_id is not None and declared.find_cluster(cluster_id, at.settings) is not None:
            _cluster(at, cluster_id)

    def describe(self, at: Services, store: KeyStore) -> dict[str, Any]:  # noqa: ARG002 - other types need it
        about = store.spec.custom_key_store
        return {
            "cloud_hsm_cluster_id": declared.cluster_id_of(store),
            "trust_anchor_certificate": None if about is None else about.trust_anchor_certificate,
        }

    def _check_related(self, at: Services, store: KeyStore, cluster_id: str) -> None:
        present = declared.cluster_id_of(store)
        cluster = _cluster(at, cluster_id)
        about = store.spec.custom_key_store
        anchor = None if about is None else about.trust_anchor_certificate
        expected = _anchor_of(cluster)
        if cluster_id == present or (present is not None and _share_a_history(at, present, cluster_id)):
            return
        if anchor is None or expected is None or _certificate(anchor) != expected:
            raise ClusterNotRelated(
                f"Cluster {cluster_id} does not share a history with the cluster of this custom key store: their trust "
                "anchors differ."
            )


def _with_cluster(spec: DesiredKeyStore, cluster_id: str) -> DesiredKeyStore:
    return msgspec.structs.replace(spec, pkcs11={**(spec.pkcs11 or {}), declared.CLUSTER: cluster_id})


def _cluster(at: Services, cluster_id: str) -> Mapping[str, Any]:
    """A cluster that is there and active."""
    try:
        declared.cluster_options(cluster_id, at.settings)
    except KeyStoreUnavailable as error:
        raise ClusterNotActive(error.message) from None
    except KeyStoreFailure as error:
        raise ClusterNotFound(error.message) from None
    cluster = declared.find_cluster(cluster_id, at.settings)
    assert cluster is not None
    return cluster


def _check_suitable(at: Services, cluster_id: str, spec: DesiredKeyStore) -> None:
    """Raise if the plugin cannot make anything of the cluster's options (too few members, no module)."""
    options = {**declared.cluster_options(cluster_id, at.settings), **(spec.pkcs11 or {})}
    options.pop(declared.CLUSTER, None)
    try:
        at.calls.connections.prepare(cluster_id, PLUGIN, options)
    except KeyStoreFailure as error:
        raise ClusterUnsuitable(error.message) from None


def _anchor_of(cluster: Mapping[str, Any]) -> bytes | None:
    """The trust anchor that the settings name for a cluster. Raises if it cannot be read."""
    path = cluster.get(declared.TRUST_ANCHOR)
    if path is None:
        return None
    try:
        found = _certificate(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        found = None
    if found is None:
        raise ClusterUnsuitable(f"trustAnchor: {path} is no certificate in PEM; mend the settings of this server")
    return found


def _share_a_history(at: Services, one: str, other: str) -> bool:
    anchors = [
        None if cluster is None else _anchor_of(cluster)
        for cluster in (declared.find_cluster(one, at.settings), declared.find_cluster(other, at.settings))
    ]
    return anchors[0] is not None and anchors[0] == anchors[1]


def _certificate(text: str) -> bytes | None:
    """A certificate in DER; None if the text holds none."""
    try:
        return x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
    except ValueError:
        return None


async def _sealed(at: Services, uid: str, password: str) -> bytes:
    return await at.key_store_secrets.seal(uid, PASSWORD, SecretBytes(password.encode()))
