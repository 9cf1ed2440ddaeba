"""The ASGI application."""

from __future__ import annotations

from typing import Any

import structlog
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.response import Response
from litestar.types import ASGIApp

from storekeeper.api.agents import Agents
from storekeeper.api.answers import Answer, failure
from storekeeper.api.contract import Manager
from storekeeper.api.declaring import Declaring
from storekeeper.api.door import door, our_fault
from storekeeper.api.events import Events
from storekeeper.api.guests import Guests, GuestsKept
from storekeeper.api.hosts import Hosts
from storekeeper.api.joining import Joining
from storekeeper.api.openapi import NO_SUCH_ROUTE, AnyRequest, Prepared, config
from storekeeper.api.routes import ImageStorages, ManagerItself, response
from storekeeper.api.tokens import Tokens
from storekeeper.errors import BodyTooLarge, NoSuchRoute, NotAllowed, StorekeeperError, UsageError

log = structlog.get_logger()


# What people send is small; a route that takes more says so.
BODY_BYTES_MAX = 64 << 10


def create_app(manager: Manager, manager_id: str = "", *, on_loopback: bool = True) -> ASGIApp:
    """The API of one manager. `manager_id`: what it calls itself, by default nothing. `on_loopback`: nobody
    else reaches it, and reading needs no credential.
    """
    return door(manager, behind_the_door(manager, manager_id), on_loopback=on_loopback)


def behind_the_door(manager: Manager, manager_id: str = "") -> ASGIApp:
    """The routes alone; the door says who asks."""
    prepared = Prepared()
    app = Litestar(
        # One router of all, since the application itself cannot take two controllers at one path.
        route_handlers=[
            Router(
                "/",
                route_handlers=[
                    ImageStorages,
                    ManagerItself,
                    Hosts,
                    Joining,
                    Guests,
                    Declaring,
                    Events,
                    Agents,
                    Tokens,
                ],
            )
        ],
        state=State({"manager": manager, "manager_id": manager_id, "guests": GuestsKept()}),
        openapi_config=config(prepared),
        exception_handlers={StorekeeperError: _told, HTTPException: _translated, Exception: _hidden},
        logging_config=None,
        request_max_body_size=BODY_BYTES_MAX,
    )
    prepared.prepare(app.openapi_schema.to_schema())
    return app


def _told(_: AnyRequest, error: StorekeeperError) -> Response[Any]:
    if error.http_status == 500:
        return _hidden(_, error)
    return response(failure(error))


def _translated(_: AnyRequest, error: HTTPException) -> Response[Any]:
    """What Litestar itself refuses, in our shape and words; its own may repeat the request."""
    if error.status_code >= 500:
        return _hidden(_, error)
    if error.status_code == 404:
        return response(failure(NoSuchRoute(NO_SUCH_ROUTE)))
    if error.status_code == 405:
        return response(_not_allowed((error.headers or {}).get("allow", "")))
    if error.status_code == 413:
        return response(failure(BodyTooLarge("The body of this request is longer than this route takes.")))
    return response(
        failure(UsageError("This request cannot be meant; GET /schema/openapi.json describes the routes."))
    )


def _not_allowed(known: str) -> Answer:
    """Of the methods that the path has, OPTIONS is Litestar's own; GET answers HEAD too."""
    methods = [method for method in known.split(", ") if method != "OPTIONS"]
    allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
    answer = failure(NotAllowed(f"What can be done here is: {allowed}."))
    others = [header for header in answer.headers if header[0] != b"allow"]
    return answer._replace(headers=[*others, (b"allow", allowed.encode())])


def _hidden(_: AnyRequest, error: Exception) -> Response[Any]:
    log.error("A request failed", exc_info=error)
    return response(failure(our_fault()))
