"""A whole Storekeeper of 20,000 images: from a change to the new document, idling, memory, serving."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.processes import cpu_s, tree
from bench.table import Figure, percentile
from bench.web import CLIENT_CORE, CONNECTIONS, SERVER_CORE, Load, load, nginx

CHANGES = 400
IDLE_S = 60
START_TIMEOUT_S = 60
_TOML = """[manager]
listen = "127.0.0.1:{port}"
database = "sqlite://{build}/bench-{port}.db"
[host]
id = "bench"
[image_storages.bench]
hosts = ["bench"]
[image_storages.bench.external_volumes.images]
mount_point = "{root}"
mounted = false
"""


class Server(NamedTuple):
    """A running `storekeeper serve`."""

    process: subprocess.Popen[bytes]
    port: int

    def document(self) -> bytes:
        """The document of the storage, uncompressed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/imagestorages/bench")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return body if answer.status == 200 else b""


@contextmanager
def serving(root: Path, build: Path, port: int) -> Iterator[Server]:
    """A server of the images below `root`, once its document is complete."""
    declaration = build / f"bench-{port}.toml"
    declaration.write_text(_TOML.format(port=port, build=build, root=root), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("storekeeper")), "serve", "--config", str(declaration)]
    server = Server(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                if b'"ok"' in server.document():
                    break
            except OSError:
                pass
            time.sleep(0.1)
        else:
            raise RuntimeError(f"no complete document within {START_TIMEOUT_S} s; see {declaration}")
        yield server
    finally:
        server.process.terminate()
        server.process.wait()


def change_to_document(root: Path, server: Server) -> Figure:
    """How long until a renamed image stands in the document, asked again and again over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    template = next(root.rglob("*.qcow2"))
    took_ms = []
    etag = ""

    def changed() -> bool:
        nonlocal etag
        connection.request("GET", "/imagestorages/bench", headers={"If-None-Match": etag})
        answer = connection.getresponse()
        body = answer.read()
        etag = answer.headers["etag"]
        return wanted in body

    for number in range(CHANGES):
        name = f"new-{number:04d}.qcow2"
        wanted = name.encode()
        shutil.copyfile(template, root / ".new.tmp")
        start = time.perf_counter()
        (root / ".new.tmp").rename(root / name)
        while not changed():
            time.sleep(0.002)
        took_ms.append((time.perf_counter() - start) * 1e3)
    median = percentile(took_ms, 0.5)
    slow = percentile(took_ms, 0.99)
    return Figure(
        "from a change to the document, median and p99",
        f"{median:.0f} ms, {slow:.0f} ms",
        "",
        None,
        "100 ms",
    )


def idle(server: Server) -> Figure:
    """CPU seconds that an hour of nothing changing costs, from IDLE_S of it."""
    before = cpu_s(tree(server.process.pid))
    time.sleep(IDLE_S)
    used = cpu_s(tree(server.process.pid)) - before
    share = used / IDLE_S
    return Figure(
        "an hour of nothing changing", f"{used * 3600 / IDLE_S:.0f} CPU s", "", None, f"{share:.1%} of a core"
    )


def memory(server: Server) -> list[Figure]:
    """Proportional set sizes: the agent's processes, and the manager that carries the agent."""
    pss = {}
    for pid in tree(server.process.pid):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        pss[pid] = int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    whole = sum(pss.values())
    workers = whole - pss[server.process.pid]
    return [
        Figure("memory of the workers together", f"{workers / 1024:.0f} MiB", "", None, "agent 48 MiB"),
        Figure("memory of manager, agent and workers", f"{whole / 1024:.0f} MiB", "", None, ""),
    ]


def against_nginx(name: str, server: Server, build: Path, port: int) -> list[Figure]:
    """Requests a second against nginx with the same bytes as a static file; each on the same one core."""
    static = build / "static"
    shutil.rmtree(static, ignore_errors=True)
    static.mkdir()
    document = server.document()
    (static / "document").write_bytes(document)
    subprocess.run(["gzip", "-6", "--keep", str(static / "document")], check=True)
    ours_url = f"http://127.0.0.1:{server.port}/imagestorages/bench"
    etag = _etag(ours_url)
    os.sched_setaffinity(server.process.pid, {int(SERVER_CORE)})
    figures = []
    with nginx(build, port) as url:
        their_etag = _etag(f"{url}/document")
        for what, headers, theirs in (
            ("identity", (), ()),
            ("gzip", ("Accept-Encoding: gzip",), ("Accept-Encoding: gzip",)),
            ("304", (f"If-None-Match: {etag}",), (f"If-None-Match: {their_etag}",)),
        ):
            ours: Load = load(ours_url, *headers)
            peer: Load = load(f"{url}/document", *theirs)
            aim = "0.4, p99 3 ms" if len(document) < 100_000 else "1"
            figures.append(
                Figure(
                    f"{name}, {what}: requests a second / nginx ({len(document) >> 10} KiB)",
                    f"{ours.requests_per_s:.0f}/s, p99 {ours.p99_ms:.1f} ms",
                    f"{peer.requests_per_s:.0f}/s, p99 {peer.p99_ms:.1f} ms",
                    ours.requests_per_s / peer.requests_per_s,
                    aim if what != "304" else "",
                )
            )
    return figures


def _etag(url: str) -> str:
    match = re.match(r"http://([\d.]+):(\d+)(/.*)", url)
    if match is None:
        raise ValueError(url)
    connection = http.client.HTTPConnection(match[1], int(match[2]), timeout=10)
    connection.request("GET", match[3])
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.headers["etag"] or ""


def machine() -> str:
    """What was measured on, in a line."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, kernel {os.uname().release}; "
        f"servers on core {SERVER_CORE}, wrk on core {CLIENT_CORE} with {CONNECTIONS} connections"
    )
