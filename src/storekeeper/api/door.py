"""Where every request comes in: what is refused outright, and the shortest path to a document.

A bare ASGI application around the Litestar one. It answers `GET /imagestorages/{id}` of a storage that
exists by itself, in one dictionary look-up: twice as many a second as through Litestar's routing. Whatever
is unusual about a request goes on to the routes.
"""

from __future__ import annotations

import re
from typing import cast
from urllib.parse import unquote_to_bytes

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from storekeeper.api.answers import NO_SNIFFING, document, failure, send_answer
from storekeeper.api.contract import HEAD, Manager
from storekeeper.errors import NoSuchRoute, NotAllowed, Refused, StorekeeperError, UsageError

DOCUMENTS = "/imagestorages/"

log = structlog.get_logger()

# A web page that a browser was tricked into sending here (DNS rebinding) names its own host.
_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?\Z", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def door(manager: Manager, routes: ASGIApp) -> ASGIApp:
    """The ASGI application: `routes` with the door before it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await _not_http(routes, scope, receive, send)
            return
        host = accept_encoding = if_none_match = None
        hosts = 0
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
                hosts += 1
            elif name == b"accept-encoding":
                accept_encoding = value if accept_encoding is None else accept_encoding + b"," + value
            elif name == b"if-none-match":
                if_none_match = value if if_none_match is None else if_none_match + b"," + value
        answer = None
        try:
            _check_host(host, hosts, scope["http_version"])
            path = scope["path"]
            if path.startswith(DOCUMENTS) and scope["method"] == "GET" and not scope["query_string"]:
                published = manager.published(path[len(DOCUMENTS) :]) if manager.ready else None
                if published is not None:
                    answer = document(published, accept_encoding, if_none_match)
            if answer is None:
                _check_request(scope)
        except StorekeeperError as error:
            answer = failure(error)
        except Exception:
            log.exception("A request failed")
            answer = failure(our_fault())
        if answer is None:
            await _through(routes, scope, receive, send)
        else:
            await send_answer(send, answer, head=scope["method"] == "HEAD")

    return app


def _check_host(host: bytes | None, count: int, http_version: str) -> None:
    if count > 1 or (host is None and http_version != "1.0"):
        raise UsageError("A request needs one Host header.")
    if host is not None and not _LOOPBACK.match(host):
        raise Refused(
            "Until it has access control this manager answers only to localhost, 127.0.0.1 or [::1]."
        )


def _check_request(scope: HTTPScope) -> None:
    """Refuses methods that no route has, and paths that are not percent-encoded text."""
    if scope["method"] not in {"GET", "HEAD"}:
        raise NotAllowed("This API is read-only: GET or HEAD.")
    raw_path = scope["raw_path"]
    if _BAD_ESCAPE.search(raw_path):
        raise UsageError("The path has a % that two hexadecimal digits do not follow; write % as %25.")
    path = unquote_to_bytes(raw_path)
    try:
        path.decode()
    except UnicodeDecodeError as error:
        # Escaped ids never hold such bytes (`storekeeper.naming`).
        raise UsageError(
            "The path is not UTF-8. Such bytes stand as %XX in ids; write that as %25XX."
        ) from error
    if b"\0" in path:
        raise UsageError("The path holds a NUL, which no name can.")
    if b"//" in raw_path:
        raise NoSuchRoute("No such route: the path has an empty part.")


async def _through(routes: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """On to the routes, which know GET only; what they cannot answer themselves is answered here."""
    head = scope["method"] == "HEAD"
    started = False

    async def passed(message: Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            started = True
            message["headers"] = [*message["headers"], NO_SNIFFING]
        elif message["type"] == "http.response.body" and head:
            message["body"] = b""
        await send(message)

    # A copy: the server still needs to know which method it was.
    inner = cast(Scope, {**scope, "method": "GET", HEAD: head})
    try:
        await routes(inner, receive, passed)
    except Exception:
        log.exception("A request failed")
        if started:
            raise
        await send_answer(send, failure(our_fault()), head=head)


def our_fault() -> StorekeeperError:
    """What a client is told of an error that is none of its own."""
    return StorekeeperError("This is a fault of the manager, not of the request; its log has the details.")


async def _not_http(routes: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == ScopeType.WEBSOCKET:
        await send({"type": "websocket.close", "code": 1003, "reason": "There are no web sockets here."})
    else:
        await routes(scope, receive, send)
