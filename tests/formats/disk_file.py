"""An ImageFile over a file on disk, for tests with images that a tool made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storekeeper.formats.contract import HEAD_BYTES, BoundedFile


class DiskFile(BoundedFile):
    """An open file; see `opened`."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        super().__init__(os.fstat(descriptor).st_size, os.pread(descriptor, HEAD_BYTES, 0))

    def _pread(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, offset)


@contextmanager
def opened(path: Path) -> Iterator[DiskFile]:
    """The file at `path`, closed afterwards."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield DiskFile(descriptor)
    finally:
        os.close(descriptor)
