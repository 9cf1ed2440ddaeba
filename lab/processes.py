"""Child processes that end with the lab, however that ends."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The kernel ends a child with the *thread* that started it: this one lives as long as the lab.
_STARTER = ThreadPoolExecutor(1, "starter")


def start(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a program that prints into `log`.

    In a process group of its own: Ctrl-C ends the lab, which ends its children in order. Not even a killed
    lab leaves one behind.
    """
    with log.open("wb") as out:
        bound = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        started = _STARTER.submit(subprocess.Popen, bound, stdout=out, stderr=out, process_group=0)
        return started.result()
