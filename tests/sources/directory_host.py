"""A host whose volume is a plain directory of this machine, on a filesystem of any type we say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from storekeeper.errors import HostError
from storekeeper.host.real import RealHost
from storekeeper.sources.contract import Directory, ExtentRow, FileRow, OpenImage


class DirectoryHost(RealHost):
    """Asks this machine, save for mountinfo. `opened`: the paths that were opened, in order.

    `unreadable`: files and directories (bytes, below the root) that answer with an error instead.
    `extent_rows`: what FIEMAP says of each file; of others, nothing is mapped.
    """

    def __init__(self, filesystem_type: str = "ext4", *, mounted_at: str = "/") -> None:
        self.filesystem_type = filesystem_type
        self.mounted_at = mounted_at
        self.opened: list[bytes] = []
        self.threads: list[int] = []
        self.unreadable: dict[bytes, HostError] = {}
        self.extent_rows: dict[bytes, list[ExtentRow]] = {}
        self.asked: list[bytes] = []
        self.while_walking: Callable[[], None] = lambda: None

    def read(self, path: str, limit_bytes: int = 1 << 20) -> bytes:
        if path != "/proc/self/mountinfo":
            return super().read(path, limit_bytes)
        lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw"] if self.mounted_at != "/" else []
        lines.append(f"20 1 8:2 / {self.mounted_at} rw - {self.filesystem_type} /dev/sdb rw")
        return "\n".join(lines).encode()

    def walk(
        self, root: str, *, skip: frozenset[bytes], depth_limit: int, threads: int = 1, below: bytes = b"",
        names_only: bool = False,
    ) -> Iterator[Directory]:  # fmt: skip
        for directory in super().walk(
            root, skip=skip, depth_limit=depth_limit, threads=threads, below=below, names_only=names_only
        ):
            error = self.unreadable.get(directory.path)
            if error is not None:
                yield Directory(path=directory.path, files=[], fault=error.code, fault_text=str(error))
            elif not any(directory.path.startswith(path + b"/") for path in self.unreadable):
                yield directory
        self.while_walking()

    def look(self, root: str, paths: Sequence[bytes]) -> Iterator[FileRow | None]:
        for path, row in zip(paths, super().look(root, paths), strict=True):
            if path.rpartition(b"/")[0] in self.unreadable:
                raise self.unreadable[path.rpartition(b"/")[0]]
            yield row

    def open_images(
        self, root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
        *, failed: Callable[[bytes, Exception], None], threads: int = 1,
    ) -> None:  # fmt: skip
        self.opened += paths
        self.threads.append(threads)
        for path in self.unreadable.keys() & set(paths):
            failed(path, self.unreadable[path])
        readable = [path for path in paths if path not in self.unreadable]
        super().open_images(root, readable, inspect, failed=failed, threads=threads)

    def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
        self.asked.append(path)
        if path in self.unreadable:
            raise self.unreadable[path]
        return self.extent_rows.get(path, [])[:limit]
