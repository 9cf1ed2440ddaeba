"""What a test needs of the machine, and what becomes of it where that is missing.

A test says `@pytest.mark.needs("root", "qemu-img")`. Where a need is not met it is skipped, with the
reason listed at the end of the run; in CI (`CI=true`) such a skip is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is. CI tries the same examples each time, so that a
# failure there is one of the change; elsewhere each run tries others.
_BUSY = [HealthCheck.too_slow]
settings.register_profile("here", deadline=None, suppress_health_check=_BUSY)
settings.register_profile(
    "ci", deadline=None, suppress_health_check=_BUSY, derandomize=True, max_examples=100, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _program(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name, path=PATH) else f"{name} is not installed"


def _filesystem(name: str) -> Callable[[], str]:
    def check() -> str:
        if not shutil.which(f"mkfs.{name}", path=PATH):
            return f"mkfs.{name} is not installed"
        known = Path("/proc/filesystems").read_text(encoding="ascii").split()
        modules = Path(f"/lib/modules/{os.uname().release}").exists()
        return "" if name in known or modules else f"this kernel has no {name}"

    return check


NEEDS: dict[str, Callable[[], str]] = {
    "root": lambda: "" if os.geteuid() == 0 else "not root",
    "loop": lambda: "" if Path("/dev/loop-control").exists() else "this kernel has no loop devices",
    "fuse": lambda: "" if Path("/dev/fuse").exists() else "this kernel has no FUSE",
    "netns": lambda: "" if Path("/proc/self/ns/net").exists() else "this kernel has no network namespaces",
    "xfs": _filesystem("xfs"),
    "btrfs": _filesystem("btrfs"),
    "ext4": _filesystem("ext4"),
    "qemu-img": _program("qemu-img"),
    "qemu-system": _program("qemu-system-x86_64"),
    "gluster": _program("glusterd"),
    "libvirt": _program("libvirtd"),
    "ocfs2": _program("mkfs.ocfs2"),
    "multipath": _program("multipath"),
    "cc": _program("cc"),
    "scsi_id": lambda: "" if Path("/lib/udev/scsi_id").exists() else "udev's scsi_id is not installed",
    "bindfs": _program("bindfs"),
    "nginx": _program("nginx"),
    "postgresql": lambda: (
        ""
        if next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
        else "PostgreSQL's server is not installed"
    ),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips, or fails in CI, a test whose needs this machine does not meet."""
    for mark in item.iter_markers("needs"):
        for word in mark.args:
            missing = NEEDS[word]()
            if not missing:
                continue
            if os.environ.get("CI") == "true":
                pytest.fail(f"needs {word}: {missing}", pytrace=False)
            pytest.skip(f"needs {word}: {missing}")
