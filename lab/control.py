"""Runs in a guest: commands from outside, over a virtio-serial port, each in a thread of its own.

A line in: `{"id": 1, "command": "…", "timeout_s": 10}`. A line out: `{"id": 1, "status": 0, "output": "…"}`;
`status` is null when the command did not end in time: nothing waits for a child that cannot be killed.
The first line out is `{"id": 0, "status": 0, "output": "ready"}`.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import subprocess
import tempfile
import threading
from typing import Any

NAME = "lab.control"


def _port() -> str:
    for place in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(place, encoding="ascii") as file:
            if file.read().strip() == NAME:
                return f"/dev/{place.split('/')[-2]}"
    raise SystemExit(f"no virtio-serial port {NAME}")


def _run(command: str, timeout_s: float) -> tuple[int | None, str]:
    # A file, not a pipe: a daemon that the command leaves keeps it open, and nobody waits for that.
    with tempfile.TemporaryFile(dir="/run") as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        status: int | None
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        output.seek(0)
        return status, output.read().decode(errors="replace")


def main() -> None:
    """Reads commands until the port is gone."""
    answering = threading.Lock()
    with open(_port(), "r+b", buffering=0) as port:
        descriptor = port.fileno()

        def tell(id_: int, status: int | None, output: str) -> None:
            line = json.dumps({"id": id_, "status": status, "output": output}).encode() + b"\n"
            with answering:
                while line:
                    line = line[os.write(descriptor, line) :]

        def answer(asked: dict[str, Any]) -> None:
            tell(asked["id"], *_run(asked["command"], asked["timeout_s"]))

        tell(0, 0, "ready")
        rest = b""
        while piece := os.read(descriptor, 65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
