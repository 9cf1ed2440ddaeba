"""`make run`: the server on this machine's own Image Storage, or on a demo where it has none."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from demo.guests import demo_guests, libvirt_daemon
from demo.storage import demo_storage

COMMAND = Path(sys.executable).with_name("storekeeper")
DECLARATION = Path("/etc/storekeeper/storekeeper.toml")
PORT = 8017
_TOML = """[manager]
listen = "127.0.0.1:{port}"
database = "sqlite://{database}"

[image_storages.demo]
hosts = ["{host}"]

[image_storages.demo.external_volumes.storage]
mount_point = "{root}"
"""


def free_port() -> int:
    """The usual port, or another one when something listens there."""
    for port in (PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise SystemExit("No free port on the loopback address.")


def serve(arguments: list[str], url: str, storage: str, missing: list[str]) -> int:
    """The server in the foreground, after a line that shows how to ask it."""
    for line in missing:
        print(f"note: {line}", file=sys.stderr)
    print(
        f"\n  curl {url}/imagestorages/{storage}\n"
        f"  {COMMAND} show {storage} --manager {url}\n\nCtrl-C stops it.\n",
        file=sys.stderr,
        flush=True,
    )
    # In a process group of its own, so that Ctrl-C reaches it once, through us.
    server = subprocess.Popen([str(COMMAND), "serve", *arguments], process_group=0)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def has_storage() -> bool:
    """Whether this machine is declared, or already holds images, Gluster or OCFS2 volumes."""
    if DECLARATION.exists():
        return True
    scan = subprocess.run([str(COMMAND), "scan", "local"], capture_output=True, text=True, check=False)
    if scan.returncode != 0:
        return False
    document = json.loads(scan.stdout)
    held = document["volumes"] + document["gluster_volumes"]
    return bool(held) or any(volume["images"] for volume in document["external_volumes"])


def main() -> int:
    """Serves what is there, or makes something to serve."""
    missing: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if has_storage():
        with libvirt_daemon(missing):
            return serve([], f"http://127.0.0.1:{PORT}", "local", missing)
    directory = Path("build/demo").resolve()
    port = free_port()
    print("This machine holds no images: making a small storage to look at ...", file=sys.stderr, flush=True)
    with demo_storage(directory, missing) as root, demo_guests(root, missing):
        declaration = directory / "storekeeper.toml"
        database = directory / "storekeeper.db"
        host = os.uname().nodename
        declaration.write_text(_TOML.format(port=port, database=database, host=host, root=root))
        return serve(["--config", str(declaration)], f"http://127.0.0.1:{port}", "demo", missing)


if __name__ == "__main__":
    raise SystemExit(main())
