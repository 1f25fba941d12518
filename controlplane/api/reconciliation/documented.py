"""What the OpenAPI document says beside what the handlers' signatures say: bodies that handlers read themselves, how
to authenticate, and that every refusal is a problem (RFC 9457).

Who uses it: the controllers, and ``api.app`` for the whole document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
    SecurityScheme,
)

from controlplane.api.problems import PROBLEM_JSON, TITLES, ProblemDetails
from controlplane.schema.base import API_VERSION, NAME_PATTERN
from controlplane.schema.meta import Kind

SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}]
COMPONENTS: Final = Components(
    security_schemes={
        "bearer": SecurityScheme(
            type="http", scheme="bearer", description="A bearer token of a principal, as `keystead init` shows it."
        )
    }
)
REFUSALS: Final[Mapping[int, ResponseSpec]] = {
    status: ResponseSpec(ProblemDetails, generate_examples=False, description=title, media_type=PROBLEM_JSON)
    for status, title in TITLES.items()
}
"""``responses`` of every handler."""

DOCUMENT: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="A document, as `keystead schema` describes it.",
    required=["apiVersion", "kind", "metadata", "spec"],
    properties={
        "apiVersion": Schema(type=OpenAPIType.STRING, const=API_VERSION),
        "kind": Schema(type=OpenAPIType.STRING, enum=[kind.value for kind in Kind]),
        "metadata": Schema(
            type=OpenAPIType.OBJECT,
            required=["name"],
            properties={"name": Schema(type=OpenAPIType.STRING, pattern=NAME_PATTERN)},
        ),
        "spec": Schema(type=OpenAPIType.OBJECT),
    },
)


@dataclass  # or its parent's __init__ would not know of __post_init__
class Documented(Operation):
    """Base of the operations whose body is read by the handler; ``body`` is its schema."""

    body: ClassVar[Schema]
    body_required: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            content={"application/json": OpenAPIMediaType(schema=self.body)}, required=self.body_required
        )


def body_of(properties: Mapping[str, Any], *required: str) -> Schema:
    """The schema of a body that is one JSON object without other members."""
    return Schema(
        type=OpenAPIType.OBJECT,
        properties=dict(properties),
        required=list(required) or None,
        additional_properties=False,
    )
