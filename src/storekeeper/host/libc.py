"""What Python 3.11 does not have of Linux and its C library: statx(2), inotify(7), malloc_trim(3)."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

from storekeeper.observation import UNKNOWN

_LIBC = ctypes.CDLL(None, use_errno=True)
_statx = _LIBC.statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
_inotify_init1 = _LIBC.inotify_init1
_inotify_init1.argtypes = [ctypes.c_int]
_inotify_add_watch = _LIBC.inotify_add_watch
_inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
_inotify_rm_watch = _LIBC.inotify_rm_watch
_inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]
_malloc_trim = _LIBC.malloc_trim
_malloc_trim.argtypes = [ctypes.c_size_t]

_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_STATX_BTIME = 0x800
_STATX_WANTED = 0x7FF | _STATX_BTIME | 0x1000  # the basic ones, birth time, mount id

# struct statx of linux/stat.h, as far as stx_mnt_id
_STATX = struct.Struct(
    "=I76xqI4x"  # mask; birth: seconds, nanoseconds
    "32x8xIIQ"  # (change and modification time, rdev); device major and minor; mount id
)
_STATX_BYTES = 256
_SECOND_NS = 1_000_000_000


class Status(NamedTuple):
    """What only statx(2) says of a file.

    `born_ns`: its birth time, UNKNOWN where the filesystem keeps none. `mount`: the device and the mount's
    id, equal within one mount of one filesystem or btrfs subvolume.
    """

    born_ns: int
    mount: tuple[int, int, int]


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
        flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT if name else _AT_EMPTY_PATH
        if _statx(descriptor, name, flags, _STATX_WANTED, self._address):
            _fail()
        mask, born_s, born_ns, major, minor, mount_id = _STATX.unpack_from(self._buffer)
        return Status(
            born_ns=born_s * _SECOND_NS + born_ns if mask & _STATX_BTIME else UNKNOWN,
            mount=(major, minor, mount_id),
        )


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


def give_back_memory() -> None:
    """Returns freed memory to the system (malloc_trim(3)), which the C library else keeps for later."""
    _malloc_trim(0)


def _fail() -> int:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
