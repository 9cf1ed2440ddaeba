"""Two servers of the same bytes, nginx from a static file and ours, and wrk that asks them in turn."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SECONDS = 4
START_TIMEOUT_S = 5
CONNECTIONS = 16
SERVER_CORE, CLIENT_CORE = "0", "1"

_NGINX = """daemon off; worker_processes 1; pid {build}/nginx.pid; error_log {build}/nginx.log;
events {{ worker_connections 256; }}
http {{ access_log off; sendfile on; tcp_nopush on; gzip_static on; etag on; keepalive_requests 100000000;
  default_type application/json; client_body_temp_path {build}/b; proxy_temp_path {build}/p;
  fastcgi_temp_path {build}/f; uwsgi_temp_path {build}/u; scgi_temp_path {build}/s;
  server {{ listen 127.0.0.1:{port}; root {build}/static; }} }}
"""
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Load(NamedTuple):
    """What wrk saw: requests a second, and the latency under which 99 % lay, in ms."""

    requests_per_s: float
    p99_ms: float


def load(url: str, *headers: str) -> Load:
    """Asks one URL over CONNECTIONS kept-alive connections for SECONDS."""
    arguments = [word for header in headers for word in ("-H", header)]
    done = subprocess.run(
        ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency",
         *arguments, url],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    if "Non-2xx or 3xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{url}: {done.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    if rate is None or p99 is None:
        raise RuntimeError(f"wrk printed what cannot be read: {done.stdout}")
    return Load(float(rate[1]), float(p99[1]) * _UNITS[p99[2]])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def nginx(build: Path, port: int) -> Iterator[str]:
    """nginx on one core with `build/static` as its root; yields its URL."""
    configuration = build / "nginx.conf"
    configuration.write_text(_NGINX.format(build=build, port=port), encoding="ascii")
    server = subprocess.Popen(["taskset", "-c", SERVER_CORE, "nginx", "-c", str(configuration)])
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
