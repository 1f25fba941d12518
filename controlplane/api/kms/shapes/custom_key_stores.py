"""Shapes of custom key stores, as in the KMS service model. Used by its handlers."""

from __future__ import annotations

from controlplane.api.kms.shapes.base import (
    AccountIdType,
    CloudHsmClusterIdType,
    CustomKeyStoreIdType,
    CustomKeyStoreNameType,
    KeyStorePasswordType,
    LimitType,
    MarkerType,
    Shape,
    TrustAnchorCertificateType,
    XksProxyAuthenticationAccessKeyIdType,
    XksProxyAuthenticationRawSecretAccessKeyType,
    XksProxyUriEndpointType,
    XksProxyUriPathType,
    XksProxyVpcEndpointServiceNameType,
)
from controlplane.api.kms.shapes.enums import (
    ConnectionErrorCodeType,
    ConnectionStateType,
    CustomKeyStoreType,
    XksProxyConnectivityType,
)


class XksProxyAuthenticationCredentialType(Shape, kw_only=True):
    access_key_id: XksProxyAuthenticationAccessKeyIdType
    raw_secret_access_key: XksProxyAuthenticationRawSecretAccessKeyType


class CreateCustomKeyStoreRequest(Shape, kw_only=True):
    custom_key_store_name: CustomKeyStoreNameType
    cloud_hsm_cluster_id: CloudHsmClusterIdType | None = None
    trust_anchor_certificate: TrustAnchorCertificateType | None = None
    key_store_password: KeyStorePasswordType | None = None
    custom_key_store_type: CustomKeyStoreType | None = None
    xks_proxy_uri_endpoint: XksProxyUriEndpointType | None = None
    xks_proxy_uri_path: XksProxyUriPathType | None = None
    xks_proxy_vpc_endpoint_service_name: XksProxyVpcEndpointServiceNameType | None = None
    xks_proxy_vpc_endpoint_service_owner: AccountIdType | None = None
    xks_proxy_authentication_credential: XksProxyAuthenticationCredentialType | None = None
    xks_proxy_connectivity: XksProxyConnectivityType | None = None


class CreateCustomKeyStoreResponse(Shape, kw_only=True):
    custom_key_store_id: CustomKeyStoreIdType


class UpdateCustomKeyStoreRequest(Shape, kw_only=True):
    custom_key_store_id: CustomKeyStoreIdType
    new_custom_key_store_name: CustomKeyStoreNameType | None = None
    key_store_password: KeyStorePasswordType | None = None
    cloud_hsm_cluster_id: CloudHsmClusterIdType | None = None
    xks_proxy_uri_endpoint: XksProxyUriEndpointType | None = None
    xks_proxy_uri_path: XksProxyUriPathType | None = None
    xks_proxy_vpc_endpoint_service_name: XksProxyVpcEndpointServiceNameType | None = None
    xks_proxy_vpc_endpoint_service_owner: AccountIdType | None = None
    xks_proxy_authentication_credential: XksProxyAuthenticationCredentialType | None = None
    xks_proxy_connectivity: XksProxyConnectivityType | None = None


class UpdateCustomKeyStoreResponse(Shape, kw_only=True):
    pass


class DeleteCustomKeyStoreRequest(Shape, kw_only=True):
    custom_key_store_id: CustomKeyStoreIdType


class DeleteCustomKeyStoreResponse(Shape, kw_only=True):
    pass


class DescribeCustomKeyStoresRequest(Shape, kw_only=True):
    custom_key_store_id: CustomKeyStoreIdType | None = None
    custom_key_store_name: CustomKeyStoreNameType | None = None
    limit: LimitType | None = None
    marker: MarkerType | None = None


class XksProxyConfigurationType(Shape, kw_only=True):
    connectivity: XksProxyConnectivityType
    access_key_id: XksProxyAuthenticationAccessKeyIdType
    uri_endpoint: XksProxyUriEndpointType
    uri_path: XksProxyUriPathType
    vpc_endpoint_service_name: XksProxyVpcEndpointServiceNameType | None = None
    vpc_endpoint_service_owner: AccountIdType | None = None


class CustomKeyStoresListEntry(Shape, kw_only=True):
    custom_key_store_id: CustomKeyStoreIdType
    custom_key_store_name: CustomKeyStoreNameType
    cloud_hsm_cluster_id: CloudHsmClusterIdType | None = None
    trust_anchor_certificate: TrustAnchorCertificateType | None = None
    connection_state: ConnectionStateType
    connection_error_code: ConnectionErrorCodeType | None = None
    creation_date: float
    custom_key_store_type: CustomKeyStoreType
    xks_proxy_configuration: XksProxyConfigurationType | None = None


class DescribeCustomKeyStoresResponse(Shape, kw_only=True):
    custom_key_stores: list[CustomKeyStoresListEntry]
    next_marker: MarkerType | None = None
    truncated: bool


class ConnectCustomKeyStoreRequest(Shape, kw_only=True):
    custom_key_store_id: CustomKeyStoreIdType


class ConnectCustomKeyStoreResponse(Shape, kw_only=True):
    pass


class DisconnectCustomKeyStoreRequest(Shape, kw_only=True):
    custom_key_store_id: CustomKeyStoreIdType


class DisconnectCustomKeyStoreResponse(Shape, kw_only=True):
    pass
