"""What changes in a document, as it changes: server-sent events.

The stream is a bare ASGI answer. It holds a place in the manager's feed and no copy of anything, and ends
when the client leaves or does not read, when its credential holds no more, the storage is gone or the server
stops.

Format: HTML Living Standard, 9.2 Server-sent events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from litestar import Controller, Request, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from storekeeper.api.access import principal_of
from storekeeper.api.answers import encode
from storekeeper.api.contract import ABORT, HEAD, Manager
from storekeeper.api.listing import parameters
from storekeeper.api.routes import FAILURES
from storekeeper.document_changes import DocumentChange
from storekeeper.errors import NoSuchObject, NotKnown, UsageError
from storekeeper.manager.events import Feed, event

# After this a client comes back by itself when the stream was lost.
RETRY_MS = 2000
# A comment this often keeps proxies from closing a quiet stream, and shows the client that it lives. As often
# it is asked whether the client may still follow.
COMMENT_EVERY_S = 15.0
# A client that takes nothing for so long is cut off.
SLOWEST_S = 30.0
# Then a stream ends and the client comes back, to whichever manager has time for it.
LONGEST_S = 3600.0
# What is given to the connection at once, and so at most waits there for a slow client.
PIECE_BYTES = 64 << 10

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_BEGIN = f"retry: {RETRY_MS}\n\n".encode()
_COMMENT = b":\n\n"
_GONE = b"event: gone\ndata: {}\n\n"

_STREAM = ResponseSpec(
    DocumentChange,
    description="Events: `change` with this as data, `reset` with the ETag to begin from, `gone`",
    media_type="text/event-stream",
    generate_examples=False,
)


class Events(Controller):
    """What changes in a document, as it changes."""

    path = "/imagestorages"
    tags = ("Image storages",)

    @get("/{image_storage_id:str}/events", responses={**FAILURES, 200: _STREAM})
    async def follow_image_storage(
        self, request: Request[None, None, State], image_storage_id: FromPath[str]
    ) -> ASGIResponse:
        """What changes in the document of an image storage, as server-sent events.

        Goes on after the document whose ETag is given as `Last-Event-ID`, or as the parameter `after`.
        """
        manager: Manager = request.app.state.manager
        after = _after(request)
        if not manager.ready:
            raise NotKnown("The manager has just started and is still looking; ask again in a few seconds.")
        feed = manager.events.feed(image_storage_id)
        if feed is None:
            raise NoSuchObject("image storage", image_storage_id, manager.storages())
        principal = principal_of(request)
        return _Stream(feed, after, lambda: manager.access.admits(principal))


def _after(request: Request[None, None, State]) -> str:
    """The ETag after which to go on, `""` for none. As a document was answered with it, or as its hex."""
    given = parameters(request.scope["query_string"])
    if {name for name, _ in given} - {"after"} or len(given) > 1:
        raise UsageError("This route takes one parameter: after=ETAG.")
    after = request.headers.get("last-event-id") or (given[0][1] if given else "")
    return after.removeprefix("W/").strip('"').removesuffix("-gzip").removesuffix("-zstd")


class _Stream(ASGIResponse):
    """One client that follows one feed."""

    def __init__(self, feed: Feed, after: str, admitted: Callable[[], bool]) -> None:
        super().__init__(media_type="text/event-stream")
        self._feed = feed
        self._after = after
        self._admitted = admitted
        self._wake = asyncio.Event()
        self._over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extra = cast("dict[str, object]", scope)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        self._feed.wake(self._wake)
        watching = asyncio.create_task(self._until_left(receive))
        try:
            if not extra.get(HEAD):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LONGEST_S):
                        await self._follow(send)
            await _send(send, b"", more=False)
        except _TooSlow:
            abort = cast("Callable[[], None] | None", extra.get(ABORT))
            if abort is not None:
                abort()
                # The connection learns of it in its next turn.
                await asyncio.sleep(0)
        finally:
            self._feed.leave(self._wake)
            watching.cancel()

    async def _until_left(self, receive: Receive) -> None:
        """Whatever comes after the request is its end: the client left, or the server stops."""
        while cast("dict[str, object]", await receive()).get("more_body"):
            continue
        await receive()
        self._over = True
        self._wake.set()

    async def _follow(self, send: Send) -> None:
        place = self._feed.place_of(self._after) if self._after else None
        pending = _BEGIN
        while self._admitted():
            self._wake.clear()
            news = self._feed.since(place) if place is not None else None
            if news is None:
                place = self._feed.end
                pending += _reset(self._feed.etag)
            else:
                place = news.place
                pending += b"".join(change.event for change in news.changes)
            behind = place < self._feed.end
            gone = self._feed.gone and not behind
            if gone:
                pending += _GONE
            for begin in range(0, len(pending), PIECE_BYTES):
                if begin:
                    await self._turn()
                await _send(send, pending[begin : begin + PIECE_BYTES])
            if gone or self._over:
                return
            pending = b""
            if behind:
                await self._turn()
            else:
                pending = await self._quiet()

    async def _turn(self) -> None:
        """Waits until those have sent who came before."""
        self._wake.clear()
        self._feed.turns.ask([self._wake])
        await self._wake.wait()

    async def _quiet(self) -> bytes:
        """Waits for news; the comment to send when there was none for long."""
        try:
            async with asyncio.timeout(COMMENT_EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            return _COMMENT
        return b""


class _TooSlow(Exception):
    """The client does not read."""


async def _send(send: Send, piece: bytes, *, more: bool = True) -> None:
    """A piece, which the client must take in time."""
    try:
        async with asyncio.timeout(SLOWEST_S):
            await send({"type": "http.response.body", "body": piece, "more_body": more})
    except TimeoutError as error:
        raise _TooSlow from error


def _reset(etag: str) -> bytes:
    return event("reset", etag, encode({"etag": etag}))
