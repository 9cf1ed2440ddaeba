"""The OpenAPI description, made once when the application starts, and nothing loaded from other hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_type_hints

from litestar import Request, Router
from litestar.enums import MediaType
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import License, Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.response import Response
from msgspec import Struct

from storekeeper import __version__
from storekeeper.api.answers import encode
from storekeeper.api.listing import LIMIT_MAX
from storekeeper.document import ErrorMessage
from storekeeper.errors import NoSuchRoute

NO_SUCH_ROUTE = "No such route. GET /schema/openapi.json describes those that there are."

AnyRequest = Request[Any, Any, Any]


class Prepared(OpenAPIRenderPlugin):
    """The description as bytes, encoded once: that takes longer than a request may hold the event loop."""

    def __init__(self) -> None:
        super().__init__(path=("/openapi.json", "/"), media_type=MediaType.JSON)
        self._bytes = b""

    def prepare(self, description: dict[str, Any]) -> None:
        """Encodes the description."""
        self._bytes = encode(description)

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """The description's bytes."""
        return self._bytes


async def _other_pages_are_no_routes(found: Response[Any]) -> Response[Any]:
    """Litestar answers an unknown page below /schema in HTML; here it is an error like all others."""
    if found.status_code == 404:
        raise NoSuchRoute(NO_SUCH_ROUTE)
    return found


def config(prepared: Prepared) -> OpenAPIConfig:
    """Where and how the description is served."""
    return OpenAPIConfig(
        title="Storekeeper",
        version=__version__,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        use_handler_docstrings=True,
        render_plugins=[prepared],
        openapi_router=Router(
            "/schema", route_handlers=[], include_in_schema=False, after_request=_other_pages_are_no_routes
        ),
    )


def error_of(description: str) -> ResponseSpec:
    """An answer that is an ErrorMessage, and when it comes."""
    return ResponseSpec(ErrorMessage, description=description, generate_examples=False)


def list_of(row: type[Struct]) -> type[Operation]:
    """The operation that lists such rows: its query parameters are those of `listing`."""
    number = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=LIMIT_MAX, default=LIMIT_MAX)
    text = Schema(type=OpenAPIType.STRING)
    own = {
        "limit": (number, "At most so many rows."),
        "after": (text, "What the Link header of the page before gave."),
        "sort": (text, "A field, or -FIELD for descending."),
        "fields": (text, "Only these fields, joined by commas."),
    }
    texts = Schema(type=OpenAPIType.ARRAY, items=text)
    one_of = "Only rows with one of these; of a list: that hold one."
    filters = dict.fromkeys(get_type_hints(row), (texts, one_of))
    parameters = [
        Parameter(name=name, param_in="query", schema=schema, description=description)
        for name, (schema, description) in {**own, **filters}.items()
    ]

    @dataclass
    class ListOperation(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or ()), *parameters]

    return ListOperation
