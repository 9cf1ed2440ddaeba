"""The floor of a scan: a C program that does the same calls of the kernel and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def drop_caches() -> None:
    """Empties the page, dentry and inode caches, so that what follows runs cold."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


class Floor:
    """`floor.c`, compiled into `build`."""

    def __init__(self, build: Path) -> None:
        self._program = build / "floor"
        source = Path(__file__).with_name("floor.c")
        subprocess.run(["cc", "-O2", "-o", str(self._program), str(source)], check=True)

    def seconds(self, mode: str, root: Path) -> float:
        """What `floor scan ROOT` or `floor walk ROOT` measured itself to take."""
        done = subprocess.run([self._program, mode, root], check=True, capture_output=True, text=True)
        return float(done.stdout.split()[0])
