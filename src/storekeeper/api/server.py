"""Listening: uvicorn on a loopback address, nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

import structlog
import uvicorn
from litestar.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from storekeeper.api.answers import NO_SNIFFING, failure
from storekeeper.api.contract import ABORT
from storekeeper.errors import DeclarationError, Refused, StorekeeperError, TooLarge, UsageError

# Room for the longest image id (PATH_MAX bytes, each percent-encoded twice) and honest headers.
HEAD_LIMIT_BYTES = 32 << 10
SHUTDOWN_S = 5
PORT_MAX = 65535

log = structlog.get_logger()


def listening(listen: str) -> socket.socket:
    """A socket bound to `ADDRESS:PORT`; port 0 for any free one.

    Raises:
        DeclarationError: it is no address and port.
        Refused: the address is not a loopback one, or is taken.
    """
    address, _, port = listen.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    try:
        loopback = address == "localhost" or ip_address(address).is_loopback
        number = int(port)
    except ValueError:
        loopback, number = False, -1
    if not 0 <= number <= PORT_MAX:
        raise DeclarationError("manager.listen", f"{listen!r} is not ADDRESS:PORT; write 127.0.0.1:8017")
    if not loopback:
        raise Refused(
            f"Will not listen on {address}: there is no access control yet, so only on loopback. "
            'Write manager.listen = "127.0.0.1:8017" and reach it through ssh -L.'
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        bound = socket.create_server((address, number), family=family, backlog=2048)
    except OSError as error:
        raise Refused(f"Cannot listen on {listen}: {os.strerror(error.errno or 0)}.") from error
    # Inherited by connections: head and body leave in two writes, and the second must not wait for an ACK.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


async def answer(app: ASGIApp, bound: socket.socket, started: Callable[[str], None]) -> None:
    """Answers requests until SIGTERM, or SIGINT, which ends in a KeyboardInterrupt.

    Answers under way may end, in SHUTDOWN_S. `started` is called with the URL once requests are accepted.
    """
    config = uvicorn.Config(
        app, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=SHUTDOWN_S,
    )  # fmt: skip
    # uvicorn raises the signal once more when it has ended; this one was heeded by then.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    started(_url(bound))
    await uvicorn.Server(config).serve(sockets=[bound])


def _url(bound: socket.socket) -> str:
    address, port = bound.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with a limit on a request's head, and our shape for what is no HTTP."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_bytes = 0
        self._unended_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parses what came; refuses a head that goes on and on without ending a header."""
        super().data_received(data)
        self._unended_bytes = self._unended_bytes + len(data) if self._in_head else 0
        if self._unended_bytes > HEAD_LIMIT_BYTES:
            self._refuse(_too_large())

    def on_message_begin(self) -> None:
        """A request begins, and with it its head."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()
        cast(dict[str, object], self.scope)[ABORT] = self.transport.abort

    def shutdown(self) -> None:
        """The server stops. What waits for more of its request, as streams do, hears that there is none."""
        super().shutdown()
        if self.cycle is not None:
            self.cycle.message_event.set()

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
