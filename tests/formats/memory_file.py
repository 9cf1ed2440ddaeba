"""An ImageFile over bytes, for tests: counts what is read of it."""

from __future__ import annotations

from storekeeper.formats.contract import HEAD_BYTES, BoundedFile


class MemoryFile(BoundedFile):
    """A file of these bytes, followed by zeros up to `size` (a sparse file), if that is larger.

    `reads` holds each (offset, length) that went past the head.
    """

    __slots__ = ("content", "reads")

    def __init__(self, content: bytes, size: int | None = None) -> None:
        self.content = content
        self.reads: list[tuple[int, int]] = []
        size = len(content) if size is None else size
        head = content[: min(HEAD_BYTES, size)]
        super().__init__(size, head.ljust(min(HEAD_BYTES, size), b"\0"))

    @property
    def total_read(self) -> int:
        return sum(length for _, length in self.reads)

    def _pread(self, offset: int, length: int) -> bytes:
        assert 0 <= offset < offset + length <= self.size, "a read outside of the file"
        self.reads.append((offset, length))
        return self.content[offset : offset + length].ljust(length, b"\0")
