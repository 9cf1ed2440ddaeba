"""A thousand clients that follow one document, and what a request takes meanwhile."""

from __future__ import annotations

import http.client
import selectors
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from bench.running import Server
from bench.table import Figure, percentile

FOLLOWERS = 1000
CHANGES = 50
EVERY_S = 0.2
_REQUEST = b"GET /imagestorages/bench/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def beside_followers(root: Path, server: Server) -> Figure:
    """What `GET /imagestorages` takes while images come, with followers who are told of each, and without."""
    alone = _requests(root, server, "alone")
    with _followers(server.port):
        beside = _requests(root, server, "beside")
    return Figure(
        f"a request while {FOLLOWERS} follow / without, median and p99",
        f"{percentile(beside, 0.5):.1f} ms, {percentile(beside, 0.99):.1f} ms",
        f"{percentile(alone, 0.5):.1f} ms, {percentile(alone, 0.99):.1f} ms",
        percentile(beside, 0.99) / percentile(alone, 0.99),
        "",
    )


def _requests(root: Path, server: Server, name: str) -> list[float]:
    """What each of many requests took, in ms, while an image came now and then."""
    template = next(root.rglob("*.qcow2"))
    over = threading.Event()

    def change() -> None:
        for number in range(CHANGES):
            shutil.copyfile(template, root / ".following.tmp")
            (root / ".following.tmp").rename(root / f"{name}-{number:04d}.qcow2")
            time.sleep(EVERY_S)
        over.set()

    changing = threading.Thread(target=change)
    changing.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    took_ms = []
    while not over.is_set():
        start = time.perf_counter()
        connection.request("GET", "/imagestorages")
        connection.getresponse().read()
        took_ms.append((time.perf_counter() - start) * 1e3)
        time.sleep(0.001)
    connection.close()
    changing.join()
    return took_ms


@contextmanager
def _followers(port: int) -> Iterator[None]:
    """FOLLOWERS clients, in a process of their own."""
    spawning = get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_follow, args=(port, theirs))
    process.start()
    try:
        ours.recv()
        yield
    finally:
        process.kill()
        process.join()


def _follow(port: int, connected: Connection) -> None:
    """Reads whatever comes, for ever; says so once every client was answered."""
    with selectors.DefaultSelector() as selector:
        for _ in range(FOLLOWERS):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(_REQUEST)
            client.recv(1)
            selector.register(client, selectors.EVENT_READ, client)
        connected.send(None)
        while True:
            for key, _ in selector.select():
                key.data.recv(1 << 16)
