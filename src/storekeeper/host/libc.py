"""The calls of Linux that Python 3.11 does not have: statx(2) and inotify(7)."""

from __future__ import annotations

import ctypes
import os
import struct
from stat import S_ISREG
from typing import NamedTuple

_LIBC = ctypes.CDLL(None, use_errno=True)
_statx = _LIBC.statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
_inotify_init1 = _LIBC.inotify_init1
_inotify_init1.argtypes = [ctypes.c_int]
_inotify_add_watch = _LIBC.inotify_add_watch
_inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
_inotify_rm_watch = _LIBC.inotify_rm_watch
_inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]

_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
STATX_BTIME = 0x800
_STATX_WANTED = 0x7FF | STATX_BTIME | 0x1000  # the basic ones, birth time, mount id

# struct statx of linux/stat.h, as far as stx_mnt_id
_STATX = struct.Struct(
    "=I12xI8xH2xQQQ8x"  # mask; links; mode; inode, size, blocks
    "16xqI4xqI4xqI4x"  # (access time); birth, change, modification: seconds, nanoseconds
    "8xIIQ"  # (rdev); device major and minor; mount id
)
_STATX_BYTES = 256


class Status(NamedTuple):
    """What statx(2) says of one file, as the kernel lays it out: seconds and nanoseconds of each time."""

    mask: int
    links: int
    mode: int
    inode: int
    size: int
    blocks: int
    born_s: int
    born_below_s_ns: int
    changed_s: int
    changed_below_s_ns: int
    modified_s: int
    modified_below_s_ns: int
    device_major: int
    device_minor: int
    mount_id: int

    @property
    def mount(self) -> tuple[int, int, int]:
        """The device and the mount's id: equal within one mount of one filesystem or btrfs subvolume."""
        return self[12:]

    @property
    def regular(self) -> bool:
        """Whether this is a regular file."""
        return S_ISREG(self.mode)


class Statx:
    """A statx(2) with a buffer of its own, for one thread."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_STATX_BYTES)
        self._address = ctypes.addressof(self._buffer)

    def of(self, descriptor: int, name: bytes = b"") -> Status:
        """The status of an open file, or of `name` in an open directory; symbolic links not followed.

        Raises:
            OSError: as the kernel says.
        """
        return Status._make(self.fields(descriptor, name))

    def fields(self, descriptor: int, name: bytes = b"") -> tuple[int, ...]:
        """The fields of `of`'s Status as a plain tuple, which costs a third of it."""
        flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT if name else _AT_EMPTY_PATH
        if _statx(descriptor, name, flags, _STATX_WANTED, self._address):
            _fail()
        return _STATX.unpack_from(self._buffer)


def inotify() -> int:
    """A new inotify descriptor; reading it blocks."""
    descriptor: int = _inotify_init1(os.O_CLOEXEC)
    return descriptor if descriptor >= 0 else _fail()


def add_watch(descriptor: int, path: bytes, mask: int) -> int:
    """Watches `path`; the watch's number."""
    watch: int = _inotify_add_watch(descriptor, path, mask)
    return watch if watch >= 0 else _fail()


def remove_watch(descriptor: int, watch: int) -> None:
    """Ends a watch. One that the kernel ended already is no error."""
    _inotify_rm_watch(descriptor, watch)


def _fail() -> int:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
