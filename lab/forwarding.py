"""One address before several managers: each connection goes to the next of them that takes it."""

from __future__ import annotations

import itertools
import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

_PIECE_BYTES = 1 << 16
_LOOPBACK = "127.0.0.1"


class Forwarder(socketserver.ThreadingTCPServer):
    """Forwards connections from a port of its own. Begins at once; `close` it."""

    daemon_threads = True

    def __init__(self, targets: Callable[[], Sequence[int]]) -> None:
        """`targets`: the ports to forward to, as they are now."""
        super().__init__((_LOOPBACK, 0), _Forwarding)
        self._targets = targets
        self._turns = itertools.count()
        threading.Thread(target=self.serve_forever, name="forwarder", daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Takes no more connections. Those that there are end with their managers."""
        self.shutdown()
        self.server_close()

    def connected(self) -> socket.socket | None:
        """A connection to the target whose turn it is, or to the next one that takes it."""
        ports = self._targets()
        turn = next(self._turns)
        for place in range(len(ports)):
            with suppress(OSError):
                return socket.create_connection((_LOOPBACK, ports[(turn + place) % len(ports)]), timeout=5)
        return None


class _Forwarding(socketserver.BaseRequestHandler):
    server: Forwarder
    request: socket.socket

    def handle(self) -> None:
        target = self.server.connected()
        if target is None:
            return
        with target:
            target.settimeout(None)
            back = threading.Thread(target=_pump, args=(target, self.request), daemon=True)
            back.start()
            _pump(self.request, target)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copies until either end is gone, and says so to the other."""
    with suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            sink.sendall(piece)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
