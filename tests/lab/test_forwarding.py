"""One address before several managers."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from lab.forwarding import Forwarder


@contextmanager
def server_that_says(name: bytes) -> Iterator[int]:
    """The port of a server that says its name and then what it is told."""

    class Said(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(name)
            self.request.sendall(self.request.recv(100))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Said) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def said(port: int, told: bytes = b"") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        heard = connection.recv(1)
        connection.sendall(told)
        return heard + (connection.recv(100) if told else b"")


def test_connections_take_turns() -> None:
    with server_that_says(b"a") as a, server_that_says(b"b") as b, closing(Forwarder(lambda: [a, b])) as it:
        assert [said(it.port) for _ in range(4)] == [b"a", b"b", b"a", b"b"]
        assert said(it.port, b"echo") == b"aecho"


def test_a_target_that_takes_none_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with server_that_says(b"b") as b, closing(Forwarder(lambda: [port, b])) as it:
        assert [said(it.port) for _ in range(3)] == [b"b"] * 3


def test_without_a_target_a_connection_ends_at_once() -> None:
    with closing(Forwarder(list)) as it:
        assert said(it.port) == b""
