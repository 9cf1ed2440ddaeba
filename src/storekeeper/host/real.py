"""The real host: every question of a source, asked of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from storekeeper.host import commands, devices, extents, files, libvirt, volumes
from storekeeper.sources.contract import (
    Directory,
    Domain,
    ExtentRow,
    FileRow,
    FilesystemSpace,
    OpenImage,
    Output,
)


class RealHost:
    """This machine. Holds nothing; every method may be called from any thread."""

    @property
    def name(self) -> str:
        """See `Host.name`."""
        return os.uname().nodename

    def read(self, path: str, limit_bytes: int = 1 << 20) -> bytes:
        """See `Host.read`."""
        return files.read(path, limit_bytes)

    def names(self, path: str) -> tuple[str, ...]:
        """See `Host.names`."""
        return files.names(path)

    def target(self, path: str) -> str:
        """See `Host.target`."""
        return files.target(path)

    def resolve(self, path: str) -> str:
        """See `Host.resolve`."""
        return files.resolve(path)

    def run(self, argv: Sequence[str], deadline_s: float) -> Output:
        """See `Host.run`."""
        return commands.run(argv, deadline_s)

    def block(self, device: str, offset: int, length: int, *, direct: bool = False) -> bytes:
        """See `Host.block`."""
        return devices.block(device, offset, length, direct=direct)

    def space(self, path: str) -> FilesystemSpace:
        """See `Host.space`."""
        return files.space(path)

    def kind(self, path: str) -> Literal["absent", "directory", "other"]:
        """See `Host.kind`."""
        return files.kind(path)

    def read_uncached(self, path: str) -> None:
        """See `Host.read_uncached`."""
        files.read_uncached(path)

    def walk(
        self, root: str, *, skip: frozenset[bytes], depth_limit: int, threads: int = 1, below: bytes = b"",
        names_only: bool = False,
    ) -> Iterator[Directory]:  # fmt: skip
        """See `Host.walk`."""
        return volumes.walk(
            root, skip=skip, depth_limit=depth_limit, threads=threads, below=below, names_only=names_only
        )

    def look(self, root: str, paths: Sequence[bytes]) -> Iterator[FileRow | None]:
        """See `Host.look`."""
        return volumes.look(root, paths)

    def open_images(
        self, root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
        *, failed: Callable[[bytes, Exception], None], threads: int = 1,
    ) -> None:  # fmt: skip
        """See `Host.open_images`."""
        volumes.open_images(root, paths, inspect, failed=failed, threads=threads)

    def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
        """See `Host.extents`."""
        return extents.extents(root, path, limit)

    def domains(self) -> list[Domain]:
        """See `Host.domains`."""
        return libvirt.domains()
