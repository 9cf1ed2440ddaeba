"""Opening what lies below a root, and nothing else.

Every component is opened by itself, relative to the descriptor of the one above, and a symbolic link
is refused; so no name in a volume, and no change made meanwhile, leads out of it. What lies in another
mount or btrfs subvolume than the root is refused too.
"""

from __future__ import annotations

import errno
import os
from stat import S_ISREG
from types import TracebackType

from storekeeper.host.libc import Statx

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
DIRECTORY_FLAGS = FILE_FLAGS | os.O_DIRECTORY
_NO_WAY_DOWN = {b"", b".", b".."}  # as a file's name these are refused as directories


class Root:
    """The open root of a volume, and the directory below it that was asked for last.

    For one thread, save `open_directory`. Raises `OSError` throughout: a symbolic link is ELOOP or
    ENOTDIR, another mount EXDEV.
    """

    def __init__(self, path: str | bytes) -> None:
        self.statx = Statx()
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.mount = self.statx.of(self.descriptor).mount
        self.device = os.fstat(self.descriptor).st_dev
        self._directory = b""
        self._directory_descriptor = self.descriptor

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget_directory()
        os.close(self.descriptor)

    def directory(self, path: bytes) -> int:
        """The descriptor of the directory `path`, open until another one is asked for."""
        if path != self._directory:
            self._forget_directory()
            if path:
                self._directory_descriptor = self.open_directory(path)
                self._directory = path
        return self._directory_descriptor

    def _forget_directory(self) -> None:
        if self._directory_descriptor != self.descriptor:
            os.close(self._directory_descriptor)
        self._directory, self._directory_descriptor = b"", self.descriptor

    def open_directory(self, path: bytes) -> int:
        """A new descriptor of the directory `path`, which is the caller's to close."""
        if not path:
            return os.dup(self.descriptor)
        above = self.descriptor
        for name in path.split(b"/"):
            try:
                if name in _NO_WAY_DOWN:
                    raise OSError(errno.EINVAL, "not a path below the volume")
                below = os.open(name, DIRECTORY_FLAGS, dir_fd=above)
            finally:
                if above != self.descriptor:
                    os.close(above)
            above = below
        if Statx().of(above).mount != self.mount:
            os.close(above)
            raise _other_mount()
        return above

    def open_file(self, path: bytes) -> int:
        """A descriptor of the regular file `path`, the caller's to close."""
        above, _, name = path.rpartition(b"/")
        descriptor = os.open(name, FILE_FLAGS, dir_fd=self.directory(above))
        try:
            self.refuse(descriptor, os.fstat(descriptor))
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def refuse(self, descriptor: int, status: os.stat_result) -> None:
        """Raises `OSError` unless this is a regular file of the volume, opened in a directory of it.

        A file over which another one of the same filesystem was mounted is taken for that: seeing it costs
        a call for each file, and only root can mount.
        """
        if not S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        # On an overlay a file has the device of its layer. A btrfs subvolume begins with a directory.
        if status.st_dev != self.device and self.statx.of(descriptor).mount[-1] != self.mount[-1]:
            raise _other_mount()


def _other_mount() -> OSError:
    return OSError(errno.EXDEV, "in another filesystem than the volume")
