"""What a disk image format is: a row of `FORMATS`, and the bounded view of a file that it reads.

A format is pure: bytes in, a `Header` or a `BadHeader` out. It never opens anything: every name in
a header is data. Numbers in a header are claims; each is checked against `file.size` and the limits
of its format before it is used, so that a hostile header costs a few reads and a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from storekeeper.observation import Header

HEAD_BYTES = 4096
READ_LIMIT_BYTES = 1 << 20


class ImageFile(Protocol):
    """A file as a format sees it. Reading never fails past the end: it returns what is there."""

    @property
    def size(self) -> int:
        """Bytes in the file (st_size, or the device's size)."""

    @property
    def head(self) -> bytes:
        """The first HEAD_BYTES of the file, or all of a shorter one."""

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes at `offset`. All reads of one inspection together are bounded.

        Raises:
            BadHeader: code `too-much`, when more than READ_LIMIT_BYTES were asked for in all.
            HostError: the kernel could not read.
        """


class Format(NamedTuple):
    """One row of FORMATS.

    `magic`: (offset, bytes) pairs, any of which at that offset of the head makes it this format;
    offset -512 stands for the last sector of the file. `inspect` is called only then.
    """

    name: str
    magic: tuple[tuple[int, bytes], ...]
    inspect: Callable[[ImageFile], Header]
