"""Real filesystems on loop devices, one of each kind a session (of each worker), gone at its end.

A test makes a directory of its own in one: `directory` gives it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SIZE_BYTES = 512 << 20  # mkfs.xfs wants 300 MiB; it is sparse


@contextmanager
def loop_mount(base: Path, kind: str, *mkfs_options: str, mount_options: str = "loop") -> Iterator[Path]:
    """A new filesystem of this kind in a sparse file, mounted; unmounted however the block ends."""
    device, place = base / f"{kind}.device", base / kind
    with device.open("wb") as file:
        file.truncate(_SIZE_BYTES)
    place.mkdir()
    subprocess.run([f"mkfs.{kind}", "-q", *mkfs_options, device], check=True, capture_output=True)
    subprocess.run(["mount", "-o", mount_options, device, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        device.unlink()


@pytest.fixture(scope="session")
def xfs_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An XFS with reflinks."""
    with loop_mount(tmp_path_factory.mktemp("xfs"), "xfs", "-m", "reflink=1") as place:
        yield place


@pytest.fixture(scope="session")
def btrfs_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs with its defaults."""
    with loop_mount(tmp_path_factory.mktemp("btrfs"), "btrfs") as place:
        yield place


@pytest.fixture(scope="session")
def ext4_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ext4 with its defaults: it can share no extents."""
    with loop_mount(tmp_path_factory.mktemp("ext4"), "ext4") as place:
        yield place
