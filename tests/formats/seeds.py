"""Real headers that tools made, as `capture_headers` kept them: what `identify` reads of each file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from storekeeper.formats import identify
from storekeeper.observation import Header
from tests.formats.memory_file import MemoryFile

HEADERS = Path(__file__).parent / "headers"


class Seed(msgspec.Struct, frozen=True):
    """A file as far as it matters: its size, and the pieces of it that are read. Zeros elsewhere."""

    format: str
    size: int
    pieces: dict[int, bytes]

    def file(self, size: int | None = None) -> MemoryFile:
        """The file; cut or grown to `size`."""
        return MemoryFile(self.pieces, self.size if size is None else size)

    def patched(self, *patches: tuple[int, bytes], size: int | None = None) -> MemoryFile:
        """The file with other bytes at some offsets."""
        pieces = overwritten(self.pieces, patches)
        return MemoryFile(pieces, self.size if size is None else size)


def overwritten(pieces: dict[int, bytes], patches: tuple[tuple[int, bytes], ...]) -> dict[int, bytes]:
    """The pieces overwritten by the patches; a patch outside of every piece is one of its own."""
    changed = {at: bytearray(piece) for at, piece in pieces.items()}
    for offset, content in patches:
        home = next((at for at, piece in changed.items() if at <= offset <= at + len(piece)), None)
        if home is None:
            changed[offset] = bytearray(content)
        else:
            changed[home][offset - home : offset - home + len(content)] = content
    return {at: bytes(piece) for at, piece in changed.items()}


@cache
def seeds() -> dict[str, Seed]:
    """All of them by name."""
    return {
        path.stem: msgspec.msgpack.decode(path.read_bytes(), type=Seed)
        for path in sorted(HEADERS.glob("*.bin"))
    }


def seen(file: MemoryFile) -> Header:
    """What `identify` says of a file that it must know."""
    header = identify(file)
    assert header is not None
    return header


def codes(header: Header) -> list[str]:
    """The codes of a header's faults."""
    return [fault.code for fault in header.faults]
