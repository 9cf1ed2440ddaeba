"""The zygote: has everything imported that a worker needs, and forks one on request.

So a worker is there in a millisecond and has few pages of its own. It never looks at anything itself,
and so never hangs. `python -m storekeeper.host.zygote DESCRIPTOR`, of a SOCK_SEQPACKET
socket: each request carries a worker's end of its socket pair, each answer the
worker's pid and pidfd.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
from collections.abc import Mapping

from storekeeper.host import worker
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Source


def serve(requests: socket.socket, sources: Mapping[str, Source]) -> None:
    """Forks workers until the agent is gone, and forgets each as it ends."""
    gc.collect()
    gc.freeze()
    pids: dict[int, int] = {}  # by pidfd, since a pid may be another's once its process was forgotten
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in pids:
                poll.unregister(descriptor)
                os.waitpid(pids.pop(descriptor), 0)
                os.close(descriptor)
                continue
            connection = _received(requests)
            if connection is None:
                return
            pid = os.fork()
            if not pid:
                requests.close()
                for pidfd in pids:
                    os.close(pidfd)
                worker.main(connection, sources)
            connection.close()
            pidfd = os.pidfd_open(pid)
            pids[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            socket.send_fds(requests, [str(pid).encode()], [pidfd])


def _received(requests: socket.socket) -> socket.socket | None:
    """The worker's end of a socket pair that a request brings; None when the agent is gone."""
    message, descriptors, _, _ = socket.recv_fds(requests, 1, 1)
    return socket.socket(fileno=descriptors[0]) if message and descriptors else None


def main(sources: Mapping[str, Source] = SOURCES) -> None:
    """Serves the socket whose descriptor is the last argument."""
    serve(socket.socket(fileno=int(sys.argv[-1])), sources)


if __name__ == "__main__":
    main()
