"""Listening: uvicorn, in the clear on loopback, with TLS elsewhere, and bounds on what a client may hold."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

import structlog
import uvicorn
from litestar.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from storekeeper.api.answers import NO_SNIFFING, failure
from storekeeper.api.contract import ABORT
from storekeeper.errors import DeclarationError, NotKnown, Refused, StorekeeperError, TooLarge, UsageError

# Room for the longest image id (PATH_MAX bytes, each percent-encoded twice) and honest headers.
HEAD_LIMIT_BYTES = 32 << 10
SHUTDOWN_S = 5
PORT_MAX = 65535
# Longer than agents are idle between two reports.
IDLE_S = 75
# Two for each of a thousand agents, and some for people and their streams.
CONNECTIONS_MAX = 8192
FILES_BESIDE = 512

log = structlog.get_logger()


def listening(listen: str) -> socket.socket:
    """A socket bound to `ADDRESS:PORT`; port 0 for any free one.

    Raises:
        DeclarationError: it is no address and port.
        Refused: the address is taken, or none of this host's.
    """
    address, _, port = listen.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    try:
        number = int(port) if address == "localhost" or ip_address(address) else -1
    except ValueError:
        number = -1
    if not 0 <= number <= PORT_MAX:
        raise DeclarationError("manager.listen", f"{listen!r} is not ADDRESS:PORT; write 127.0.0.1:8017")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        bound = socket.create_server((address, number), family=family, backlog=2048)
    except OSError as error:
        raise Refused(f"Cannot listen on {listen}: {os.strerror(error.errno or 0)}.") from error
    # Inherited by connections: head and body leave in two writes, and the second must not wait for an ACK.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ip_address(bound.getsockname()[0]).is_loopback


async def answer(
    app: ASGIApp, bound: socket.socket, started: Callable[[str], None], tls: ssl.SSLContext | None = None
) -> None:
    """Answers requests until SIGTERM, or SIGINT, which ends in a KeyboardInterrupt.

    Answers under way may end, in SHUTDOWN_S. `started` is called with the URL once requests are accepted.
    """
    _allow_files()
    # uvicorn raises the signal once more when it has ended; this one was heeded by then.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    started(_url(bound, "https" if tls else "http"))
    await Server(app, tls).serve(sockets=[bound])


def _allow_files() -> None:
    """As many open files as all connections take, or as many as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + FILES_BESIDE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _url(bound: socket.socket, scheme: str) -> str:
    address, port = bound.getsockname()[:2]
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server, with a limit on the time that a TLS handshake takes."""

    HANDSHAKE_S = 10.0

    def __init__(
        self, app: ASGIApp, tls: ssl.SSLContext | None, connection: type[HttpToolsProtocol] | None = None
    ) -> None:
        config = uvicorn.Config(
            app, http=connection or Connection, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )  # fmt: skip
        super().__init__(config)
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens on the sockets. uvicorn's own leaves a handshake a whole minute."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._connection, sock=bound, ssl=self._tls, backlog=self.config.backlog,
                ssl_handshake_timeout=self.HANDSHAKE_S if self._tls else None,
            )
            for bound in sockets or []
        ]  # fmt: skip
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = cast(Any, self.config.http_protocol_class)(
            config=self.config, server_state=self.server_state, app_state={}
        )
        return made


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with a limit on a request's head and on the time that it takes, on how many
    connections there are, and our shape for what is no HTTP.

    A client that owes the rest of a request which nobody works on gets `HEAD_S` for it.
    """

    HEAD_S = 10.0
    LET_GO_EVERY_S = 0.1
    CONNECTIONS_MAX = CONNECTIONS_MAX

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_message = False
        self._head_bytes = 0
        self._unended_bytes = 0
        self._owed: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connects."""
        super().connection_made(transport)
        if len(self.connections) > self.CONNECTIONS_MAX:
            self._refuse(NotKnown("The manager has as many connections as it can take; try again later."))
            return
        self._owe()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is owed any more."""
        self._paid()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came; refuses a head that goes on and on without ending a header."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._unended_bytes = self._unended_bytes + len(data) if self._in_head else 0
        if self._unended_bytes > HEAD_LIMIT_BYTES:
            self._refuse(_too_large())

    def on_message_begin(self) -> None:
        """A request begins, and with it its head."""
        self._in_head = self._in_message = True
        self._head_bytes = 0
        self._owe()
        super().on_message_begin()
        cast(dict[str, object], self.scope)[ABORT] = self.transport.abort

    def on_message_complete(self) -> None:
        """The whole request has come."""
        self._in_message = False
        self._paid()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It was answered, perhaps before its body had come."""
        super().on_response_complete()
        if self._in_message and not self.transport.is_closing():
            self._owe()

    def shutdown(self) -> None:
        """The server stops. What waits for more of its request, as streams do, hears that there is none."""
        super().shutdown()
        self._let_go()

    def _let_go(self) -> None:
        # Again and again: who has not received the whole request yet takes the first for that.
        if self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing():
            self.cycle.message_event.set()
            self.loop.call_later(self.LET_GO_EVERY_S, self._let_go)

    def _owe(self) -> None:
        self._paid()
        self._owed = self.loop.call_later(self.HEAD_S, self._overdue)

    def _paid(self) -> None:
        if self._owed is not None:
            self._owed.cancel()
            self._owed = None

    def _overdue(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # A former request is still worked on, and this one perhaps not read meanwhile.
            self._owe()
        else:
            self.transport.abort()

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header."""
        self._count(name + value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._in_head = False
        self._paid()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuses what is no HTTP, or had too much of a head, in our shape."""
        long = self._head_bytes > HEAD_LIMIT_BYTES
        self._refuse(_too_large() if long else UsageError("This is no HTTP request that can be read."))

    def _count(self, piece: bytes) -> None:
        self._head_bytes += len(piece)
        if self._head_bytes > HEAD_LIMIT_BYTES:
            raise _too_large()

    def _refuse(self, error: StorekeeperError) -> None:
        status, headers, body = failure(error)
        lines = [name + b": " + value for name, value in [*headers, NO_SNIFFING, (b"connection", b"close")]]
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"\r\n".join([*lines, b"", b""]) + body)
            self.transport.close()


def _too_large() -> TooLarge:
    return TooLarge(f"The head of a request may have {HEAD_LIMIT_BYTES >> 10} KiB, not more.")
