"""An ImageFile over bytes, for tests: counts what is read of it."""

from __future__ import annotations

from collections.abc import Mapping

from storekeeper.formats.contract import HEAD_BYTES, BoundedFile


class MemoryFile(BoundedFile):
    """A file of these bytes, or of these pieces by their offsets, with zeros elsewhere up to `size`.

    `reads` holds each (offset, length) that went past the head.
    """

    __slots__ = ("pieces", "reads")

    def __init__(self, content: bytes | Mapping[int, bytes], size: int | None = None) -> None:
        self.pieces = {0: content} if isinstance(content, bytes) else dict(content)
        self.reads: list[tuple[int, int]] = []
        self.size = (
            max((at + len(piece) for at, piece in self.pieces.items()), default=0) if size is None else size
        )
        super().__init__(self.size, self.bytes_at(0, min(HEAD_BYTES, self.size)))

    @property
    def total_read(self) -> int:
        return sum(length for _, length in self.reads)

    def bytes_at(self, offset: int, length: int) -> bytes:
        found = bytearray(length)
        for at, piece in self.pieces.items():
            first, last = max(at, offset), min(at + len(piece), offset + length)
            if first < last:
                found[first - offset : last - offset] = piece[first - at : last - at]
        return bytes(found)

    def _pread(self, offset: int, length: int) -> bytes:
        assert 0 <= offset < offset + length <= self.size, "a read outside of the file"
        self.reads.append((offset, length))
        return self.bytes_at(offset, length)
