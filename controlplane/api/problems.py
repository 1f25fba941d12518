"""The one map from errors to RFC 9457 problem details, for the reconciliation API."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import (
    HTTP_400_BAD_REQUEST,
    HTTP_401_UNAUTHORIZED,
    HTTP_403_FORBIDDEN,
    HTTP_404_NOT_FOUND,
    HTTP_409_CONFLICT,
    HTTP_412_PRECONDITION_FAILED,
    HTTP_422_UNPROCESSABLE_ENTITY,
    HTTP_429_TOO_MANY_REQUESTS,
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_502_BAD_GATEWAY,
    HTTP_503_SERVICE_UNAVAILABLE,
    HTTP_504_GATEWAY_TIMEOUT,
)

from controlplane import errors

log = structlog.get_logger("keystead.api")

PROBLEM_JSON: Final = "application/problem+json"
UNAUDITED: Final = "unaudited"
"""Under this name in a request's state: the error that it is answered with, if the audit journal does not have it."""

_STATUS: Final[tuple[tuple[type[errors.KeysteadError], int], ...]] = (
    (errors.InvalidSpec, HTTP_422_UNPROCESSABLE_ENTITY),
    (errors.InvalidInput, HTTP_400_BAD_REQUEST),
    (errors.Unsupported, HTTP_400_BAD_REQUEST),
    (errors.Unauthenticated, HTTP_401_UNAUTHORIZED),
    (errors.AccessDenied, HTTP_403_FORBIDDEN),
    (errors.NotFound, HTTP_404_NOT_FOUND),
    (errors.AlreadyExists, HTTP_409_CONFLICT),
    (errors.PreconditionFailed, HTTP_412_PRECONDITION_FAILED),
    (errors.Conflict, HTTP_409_CONFLICT),
    (errors.Blocked, HTTP_409_CONFLICT),
    (errors.InvalidState, HTTP_409_CONFLICT),
    (errors.LimitExceeded, HTTP_429_TOO_MANY_REQUESTS),
    (errors.KeyStoreUnavailable, HTTP_503_SERVICE_UNAVAILABLE),
    (errors.KeyStoreFailure, HTTP_502_BAD_GATEWAY),
    (errors.DeadlineExceeded, HTTP_504_GATEWAY_TIMEOUT),
    (errors.StoreUnavailable, HTTP_503_SERVICE_UNAVAILABLE),
    (errors.KeysteadError, HTTP_500_INTERNAL_SERVER_ERROR),
)
"""First match wins: a class stands before its base."""


class ProblemDetails(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """RFC 9457, with our stable ``code`` and, for documents, every problem with its place."""

    type: str = msgspec.field(default_factory=lambda: "about:blank")
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    problems: list[errors.Problem] | None = None


def to_problem(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemDetails]:
    """Exception handler of the whole API."""
    request_id = request.scope.setdefault("state", {}).setdefault("request_id", str(uuid.uuid4()))
    if not getattr(error, "audited", False):
        request.scope["state"][UNAUDITED] = error
    headers: dict[str, str] = {"cache-control": "no-store"}
    problems = None
    if isinstance(error, errors.KeysteadError):
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        code, detail = error.code, error.message
        if isinstance(error, errors.InvalidSpec):
            problems, detail = error.problems, f"{len(error.problems)} problem(s) in the documents"
        if isinstance(error, errors.Unauthenticated):
            headers["www-authenticate"] = "Bearer"
        if isinstance(error, errors.Fatal):
            log.error("a request met a fatal error", request_id=request_id, error=detail)
            detail = "the server cannot do this now; its log has the reason under this request id"
    elif isinstance(error, HTTPException):
        status, code = error.status_code, "Http"
        detail = error.detail if status < HTTP_500_INTERNAL_SERVER_ERROR else "the server failed"
        extra = getattr(error, "extra", None)
        if status == HTTP_400_BAD_REQUEST and isinstance(extra, list):
            code = "InvalidInput"
            detail = "; ".join(
                f"{each.get('key', 'body')}: {each.get('message', '')}" for each in extra if isinstance(each, dict)
            )
    else:
        log.error("a request failed unexpectedly", request_id=request_id, exc_info=error)
        status, code, detail = (
            HTTP_500_INTERNAL_SERVER_ERROR,
            "InternalError",
            "the server failed; its log has the reason",
        )
    body = ProblemDetails(
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        code=code,
        request_id=request_id,
        problems=problems,
    )
    return Response(body, status_code=status, media_type=PROBLEM_JSON, headers=headers)


TITLES: Final = {
    HTTP_400_BAD_REQUEST: "The request is not valid",
    HTTP_401_UNAUTHORIZED: "Who are you?",
    HTTP_403_FORBIDDEN: "Not allowed",
    HTTP_404_NOT_FOUND: "Not found",
    HTTP_409_CONFLICT: "Conflict with what is there",
    HTTP_412_PRECONDITION_FAILED: "Not the version that was named",
    HTTP_422_UNPROCESSABLE_ENTITY: "A document is not valid",
    HTTP_429_TOO_MANY_REQUESTS: "A limit is reached",
    HTTP_500_INTERNAL_SERVER_ERROR: "The server failed",
    HTTP_502_BAD_GATEWAY: "The key store failed",
    HTTP_503_SERVICE_UNAVAILABLE: "Not available now",
    HTTP_504_GATEWAY_TIMEOUT: "Not ready in time",
}
