"""Extents: where a file's bytes lie on its device, by the FIEMAP ioctl.

Source: linux/fiemap.h and Documentation/filesystems/fiemap.rst. Never with FIEMAP_FLAG_SYNC, which
would write a guest's dirty pages to disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from storekeeper import errors
from storekeeper.host.below import Root
from storekeeper.host.failures import failure
from storekeeper.naming import escape
from storekeeper.sources.contract import ExtentRow

_FIEMAP = 0xC020660B  # _IOWR('f', 11, struct fiemap)
_HEAD = struct.Struct("=QQIIII")  # start, length; flags, mapped, room, reserved
_EXTENT = struct.Struct("=QQQ16xI12x")  # logical, physical, length; flags
_ROOM = 256
_LAST = 0x1
_END = (1 << 64) - 1
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL}


def extents(root: str, path: bytes, limit: int) -> list[ExtentRow]:
    """See `Host.extents`: at most `limit` rows, in the order of their offsets in the file.

    Raises:
        Absent: the file is gone, or its filesystem does not tell extents.
    """
    try:
        with Root(root) as top:
            descriptor = top.open_file(path)
            try:
                return _extents(descriptor, limit)
            finally:
                os.close(descriptor)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            raise errors.Absent(escape(path), "its filesystem does not tell extents (FIEMAP)") from error
        raise failure(path, error) from error


def _extents(descriptor: int, limit: int) -> list[ExtentRow]:
    rows: list[ExtentRow] = []
    start = 0
    buffer = bytearray(_HEAD.size + _ROOM * _EXTENT.size)
    while len(rows) < limit:
        room = min(_ROOM, limit - len(rows))
        _HEAD.pack_into(buffer, 0, start, _END - start, 0, 0, room, 0)
        fcntl.ioctl(descriptor, _FIEMAP, buffer)
        mapped = min(_HEAD.unpack_from(buffer)[3], room)
        filled = memoryview(buffer)[_HEAD.size : _HEAD.size + mapped * _EXTENT.size]
        rows += [ExtentRow(*fields) for fields in _EXTENT.iter_unpack(filled)]
        if not mapped or rows[-1].flags & _LAST:
            break
        following = rows[-1].logical + rows[-1].length
        if following <= start:  # a filesystem that does not go on
            break
        start = following
    return rows
