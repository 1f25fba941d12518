"""Counters of the XKS proxy, in ``/metrics``: requests by proxy, API and error name, and how long they took."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0)
"""Up to and around the 250 milliseconds after which KMS gives up."""

_REQUESTS = Counter(
    "keystead_xks_proxy_requests", "Requests to XKS proxies; error is empty for success.", ("proxy", "api", "error")
)
_SECONDS = Histogram(
    "keystead_xks_proxy_seconds", "Time from a request's last byte to its answer.", ("proxy", "api"), buckets=_BUCKETS
)


def observe(proxy: str, api: str, error: str, seconds: float) -> None:
    """One request that was answered. ``proxy`` is empty for paths that belong to none."""
    _REQUESTS.labels(proxy, api, error).inc()
    _SECONDS.labels(proxy, api).observe(seconds)
