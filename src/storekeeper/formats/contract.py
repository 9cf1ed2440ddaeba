"""What a disk image format is: a row of `FORMATS`, and the bounded view of a file that it reads.

A format is pure: bytes in, a `Header` or a `BadHeader` out. It never opens anything: every name in
a header is data. Numbers in a header are claims; each is checked against `file.size` and the limits
of its format before it is used, so that a hostile header costs a few reads and a fault.

Fault codes of headers, all there are:

- `truncated`: the file ends before something that its header needs.
- `bad-header`: a field holds what its format does not permit.
- `size-lies`: the virtual size is beyond what the format, or the header's own tables, can hold.
- `unknown-feature`: a version or a feature without which the file must not be understood.
- `corrupt`: the format's own mark, set by the program that found the image damaged.
- `too-much`: the header asks for more reading than any honest one does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from storekeeper.errors import BadHeader
from storekeeper.naming import escape
from storekeeper.observation import Fault, Header

HEAD_BYTES = 4096
READ_LIMIT_BYTES = 1 << 20
READ_COSTS_BYTES = 512  # at least: so that a header cannot ask for a million reads of one byte
SECTOR_BYTES = 512
_NO_UUID = bytes(16)


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


class BoundedFile:
    """The base of every ImageFile: keeps reads inside the file, and within READ_LIMIT_BYTES in all.

    What lies in `head` is answered from it. A subclass says how to read in `_pread`, which is called
    with ranges inside the file only; it may return less, when the file has shrunk meanwhile.
    """

    __slots__ = ("head", "left_bytes", "size")

    def __init__(self, size: int, head: bytes) -> None:
        self.size = size
        self.head = head
        self.left_bytes = READ_LIMIT_BYTES

    def read(self, offset: int, length: int) -> bytes:
        """As `ImageFile.read`; a range outside the file is cut to what lies inside."""
        end = min(offset + length, self.size)
        if offset < 0 or end <= offset:
            return b""
        if end <= len(self.head):
            return self.head[offset:end]
        self.left_bytes -= max(end - offset, READ_COSTS_BYTES)
        if self.left_bytes < 0:
            text = f"The header makes one read more than {READ_LIMIT_BYTES >> 20} MiB."
            raise BadHeader(text, code="too-much")
        return self._pread(offset, end - offset)

    def _pread(self, offset: int, length: int) -> bytes:
        raise NotImplementedError


def exactly(file: ImageFile, offset: int, length: int, what: str) -> bytes:
    """`length` bytes at `offset`; `what` names them in the message.

    Raises:
        BadHeader: code `truncated`, when the file ends before.
    """
    end = offset + length
    if offset >= 0 and end <= len(file.head):
        return file.head[offset:end]
    found = file.read(offset, length)
    if len(found) < length:
        raise BadHeader(f"The file ends at byte {file.size}, within its {what}.", code="truncated")
    return found


def whole_sectors(size_bytes: int) -> int:
    """Rounded up to sectors of 512 bytes, as QEMU shows to a guest what is not whole."""
    return -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES


def fault_of(bad: BadHeader) -> Fault:
    """What was raised, as what is reported."""
    return Fault(code=bad.fault_code, text=str(bad))


def uuid_text(raw: bytes) -> str:
    """A UUID of 16 bytes, in the order in which it is written; `""` for none, which is all zeros."""
    if raw == _NO_UUID:
        return ""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def guid_text(raw: bytes) -> str:
    """A UUID as Microsoft stores it: its first three numbers in little-endian order."""
    return uuid_text(raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:])


def text(raw: bytes) -> str:
    """A name from a header: up to its first NUL, printable (`naming.escape`)."""
    return escape(raw.split(b"\0", 1)[0] if b"\0" in raw else raw)
