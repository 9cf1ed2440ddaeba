"""The zygote: has everything imported that a worker needs, and forks one on request.

So a worker is there in a millisecond and has few pages of its own. It never looks at anything itself,
and so never hangs. `python -m storekeeper.host.zygote DESCRIPTOR`, of a SOCK_SEQPACKET
socket: each request carries a worker's end of its socket pair, each answer the
worker's pid and pidfd.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

from storekeeper.host import worker
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Source


def serve(requests: socket.socket, sources: Mapping[str, Source]) -> None:
    """Forks workers until the agent is gone."""
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1, 1)
        if not message or not descriptors:
            return
        _reap()
        connection = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if not pid:
            requests.close()
            worker.main(connection, sources)
        connection.close()
        pidfd = os.pidfd_open(pid)
        socket.send_fds(requests, [str(pid).encode()], [pidfd])
        os.close(pidfd)


def _reap() -> None:
    """Forgets workers that ended. Not by signal: until its pidfd is open, a pid must stay a worker's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main(sources: Mapping[str, Source] = SOURCES) -> None:
    """Serves the socket whose descriptor is the last argument."""
    serve(socket.socket(fileno=int(sys.argv[-1])), sources)


if __name__ == "__main__":
    main()
