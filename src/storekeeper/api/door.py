"""Where every request comes in: who asks, what is refused outright, and the shortest path to a document.

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

from storekeeper.api.access import PRINCIPAL
from storekeeper.api.answers import NO_SNIFFING, Answer, document, failure, send_answer
from storekeeper.api.contract import HEAD, Manager
from storekeeper.credentials import NOBODY, Principal
from storekeeper.errors import NoSuchRoute, NotAuthenticated, Refused, StorekeeperError, UsageError

DOCUMENTS = "/imagestorages/"
AGENTS = "/agents/"
SAFE = frozenset({"GET", "HEAD"})
# Litestar would answer OPTIONS by itself; of this it says that no route has it.
NO_METHOD = "TRACE"

log = structlog.get_logger()

# A web page that a browser was tricked into sending here (DNS rebinding) names its own host.
_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?\Z", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_BEARER = re.compile(rb"bearer +([\x21-\x7e]+) *\Z", re.IGNORECASE)


# What the door looks at; what comes in several lines is joined by commas (RFC 9110, 5.3).
_LOOKED_AT = frozenset(
    {b"host", b"accept-encoding", b"if-none-match", b"authorization", b"origin", b"sec-fetch-site"}
)
Heads = dict[bytes, bytes]


def door(manager: Manager, routes: ASGIApp, *, on_loopback: bool = True) -> ASGIApp:
    """The ASGI application: `routes` with the door before it. `on_loopback`: nobody else reaches it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await _not_http(routes, scope, receive, send)
            return
        heads = _heads(scope)
        principal = NOBODY
        answer = None
        try:
            _check_host(heads, scope["http_version"], on_loopback=on_loopback)
            if scope["method"] not in SAFE:
                _check_origin(heads)
            if b"authorization" in heads:
                principal = await manager.access.authenticate(_token(heads[b"authorization"]))
            _check_principal(principal, scope, on_loopback=on_loopback)
            answer = _document(manager, scope, heads)
            if answer is None:
                _check_path(scope)
        except StorekeeperError as error:
            answer = failure(error)
        except Exception:
            log.exception("A request failed")
            answer = failure(our_fault())
        if answer is None:
            await _through(routes, scope, principal, receive, send)
        else:
            await send_answer(send, answer, head=scope["method"] == "HEAD")

    return app


def _heads(scope: HTTPScope) -> Heads:
    heads: Heads = {}
    for name, value in scope["headers"]:
        if name in _LOOKED_AT:
            heads[name] = heads[name] + b"," + value if name in heads else value
    return heads


def _document(manager: Manager, scope: HTTPScope, heads: Heads) -> Answer | None:
    """The document that is asked for; None when it is not that, or unusual."""
    path = scope["path"]
    if not path.startswith(DOCUMENTS) or scope["method"] != "GET" or scope["query_string"]:
        return None
    published = manager.published(path[len(DOCUMENTS) :]) if manager.ready else None
    if published is None:
        return None
    return document(published, heads.get(b"accept-encoding"), heads.get(b"if-none-match"))


# --- who asks -----------------------------------------------------------------------------------


def _check_host(heads: Heads, http_version: str, *, on_loopback: bool) -> None:
    host = heads.get(b"host")
    if host is None:
        if http_version != "1.0":
            raise UsageError("A request needs a Host header.")
    elif b"," in host:
        raise UsageError("A request needs one Host header.")
    elif on_loopback and not _LOOPBACK.match(host):
        raise Refused("On loopback this manager answers only to localhost, 127.0.0.1 or [::1].")


def _check_origin(heads: Heads) -> None:
    """Refuses what a page of another site makes a browser send."""
    foreign = heads.get(b"sec-fetch-site", b"none") not in {b"same-origin", b"none"}
    if b"origin" in heads:
        _, _, authority = heads[b"origin"].partition(b"://")
        foreign = foreign or not authority or authority.lower() != heads.get(b"host", b"").lower()
    if foreign:
        raise Refused("Another site's page sent this; only this manager's own pages may change something.")


def _token(authorization: bytes) -> str:
    found = _BEARER.match(authorization)
    if found is None:
        raise NotAuthenticated("The Authorization header is none; write one: 'Authorization: Bearer TOKEN'.")
    return found[1].decode("ascii")


def _check_principal(principal: Principal, scope: HTTPScope, *, on_loopback: bool) -> None:
    """Whether one like this may ask such a thing at all. The routes know the rest."""
    safe = scope["method"] in SAFE
    credential = principal.credential
    if credential is None:
        if not (on_loopback and safe):
            raise NotAuthenticated("This needs a token: send it as 'Authorization: Bearer TOKEN'.")
    elif principal.kind == "person":
        if not safe and credential.role != "administrator":
            raise Refused("This needs a person's token with the role administrator.")
    elif not scope["path"].startswith(AGENTS):
        raise Refused("A host's credential is for its agent only; people have tokens of their own.")


def _check_path(scope: HTTPScope) -> None:
    """Refuses paths that are not percent-encoded text."""
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


async def _through(
    routes: ASGIApp, scope: HTTPScope, principal: Principal, receive: Receive, send: Send
) -> None:
    """On to the routes, which know no HEAD; what they cannot answer themselves is answered here."""
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
    method = {"HEAD": "GET", "OPTIONS": NO_METHOD}.get(scope["method"], scope["method"])
    inner = cast(Scope, {**scope, "method": method, HEAD: head, PRINCIPAL: principal})
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
