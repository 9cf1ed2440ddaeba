"""FORMATS: one file a disk image format. `identify` finds the one a file is of.

Pure: bytes in, facts or a fault out. A new format is a module with its `FORMAT` and a row here; the
contract tests pick it up.
"""

from __future__ import annotations

from storekeeper.errors import BadHeader
from storekeeper.formats import luks, parallels, qcow, qcow2, qed, vdi, vhd, vhdx, vmdk
from storekeeper.formats.contract import SECTOR_BYTES, Format, ImageFile, fault_of
from storekeeper.observation import Header

# The first row whose magic matches is the format.
FORMATS: tuple[Format, ...] = (
    qcow.FORMAT,
    qcow2.FORMAT,
    qed.FORMAT,
    parallels.FORMAT,
    luks.FORMAT,
    vmdk.FORMAT,
    vdi.FORMAT,
    vhd.FORMAT,
    vhdx.FORMAT,
)

_IN_LAST_SECTOR = -SECTOR_BYTES
_KEY_BYTES = 4


def _by_start(formats: tuple[Format, ...]) -> dict[bytes, tuple[tuple[bytes, Format], ...]]:
    """Magics at offset 0 by their first bytes: one look into this answers for nearly every image."""
    table: dict[bytes, tuple[tuple[bytes, Format], ...]] = {}
    for row in formats:
        for offset, magic in row.magic:
            if offset == 0:
                table[magic[:_KEY_BYTES]] = (*table.get(magic[:_KEY_BYTES], ()), (magic, row))
    return table


_BY_START = _by_start(FORMATS)
_INSIDE_HEAD = tuple((offset, magic, row) for row in FORMATS for offset, magic in row.magic if offset > 0)
_AT_END = tuple((magic, row) for row in FORMATS for offset, magic in row.magic if offset == _IN_LAST_SECTOR)


def identify(file: ImageFile) -> Header | None:
    """What the image file says of itself; None when it has no known header.

    A header that cannot be believed at all is one of its format's name, UNKNOWN size and the fault.

    Raises:
        HostError: the kernel could not read.
    """
    row = _format_of(file)
    if row is None:
        return None
    try:
        return row.inspect(file)
    except BadHeader as bad:
        return Header(format=row.name, faults=(fault_of(bad),))


def _format_of(file: ImageFile) -> Format | None:
    return by_head(file.head) or _by_footer(file)


def by_head(head: bytes) -> Format | None:
    """The format of a file that begins so."""
    for magic, row in _BY_START.get(head[:_KEY_BYTES], ()):
        if head.startswith(magic):
            return row
    for offset, magic, row in _INSIDE_HEAD:
        if head.startswith(magic, offset):
            return row
    return None


def _by_footer(file: ImageFile) -> Format | None:
    """The format whose footer the file ends with. Costs a read, so only whole sectors are looked at.

    Virtual PC before 2004 wrote footers of 511 bytes: such a file lacks one byte to whole sectors.
    """
    missing = -file.size % SECTOR_BYTES
    if missing > 1:
        return None
    return by_footer(file.read(file.size + missing - SECTOR_BYTES, SECTOR_BYTES))


def by_footer(footer: bytes) -> Format | None:
    """The format of a file that ends with this sector."""
    for magic, row in _AT_END:
        if footer.startswith(magic):
            return row
    return None
