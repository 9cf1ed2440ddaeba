"""What processes use, by /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def tree(pid: int) -> list[int]:
    """A process and all below it; of what ended, nothing below it."""
    found = [pid]
    for each in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that the processes have used so far; of one that ended, none."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def memory_mib(pid: int) -> tuple[int, int]:
    """The resident set of a process in MiB: now, and the largest that it was."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    now, most = (re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE) for name in ("VmRSS", "VmHWM"))
    return (int(now[1]) >> 10 if now else 0), (int(most[1]) >> 10 if most else 0)
