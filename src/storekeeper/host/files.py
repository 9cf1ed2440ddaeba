"""Files and places: procfs, sysfs, configuration, block devices; what stands at a path, and its space."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from stat import S_ISDIR, S_ISREG
from typing import Literal

from storekeeper import errors
from storekeeper.host.failures import failing_for, failure
from storekeeper.naming import escape
from storekeeper.sources.contract import FilesystemSpace

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE_BYTES = 1 << 16  # /proc/sys has as much memory as it is asked for, or fails
_SECTOR_BYTES = 4096  # what O_DIRECT needs on every disk
_ENTRIES_TRIED = 64
_FILES_TRIED = 3
# what a filesystem answers that cannot read; anything else (no right, no O_DIRECT, no data) proves nothing
_DEAD = {
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EUCLEAN, errno.EREMOTEIO, errno.ESHUTDOWN,
    errno.ETIMEDOUT, errno.ENODEV,
}  # fmt: skip


def read(path: str, limit_bytes: int = 1 << 20) -> bytes:
    """See `Host.read`. Only regular files; one that holds more than `limit_bytes` is Unreadable."""
    with failing_for(path):
        descriptor = os.open(path, _FLAGS)
        try:
            if not S_ISREG(os.fstat(descriptor).st_mode):
                raise errors.Unreadable(escape(path), "no regular file")
            pieces = []
            left = limit_bytes
            while piece := os.read(descriptor, min(left + 1, _PIECE_BYTES)):
                left -= len(piece)
                if left < 0:
                    raise errors.Unreadable(escape(path), f"holds more than {limit_bytes} bytes")
                pieces.append(piece)
        finally:
            os.close(descriptor)
    return b"".join(pieces)


def names(path: str) -> tuple[str, ...]:
    """See `Host.names`. Names as `os.fsdecode` gives them."""
    with failing_for(path):
        return tuple(sorted(os.listdir(path)))


def target(path: str) -> str:
    """See `Host.target`."""
    with failing_for(path):
        return os.readlink(path)


def resolve(path: str) -> str:
    """See `Host.resolve`. Absent when nothing stands there."""
    with failing_for(path):
        return os.path.realpath(path, strict=True)


def kind(path: str) -> Literal["absent", "directory", "other"]:
    """See `Host.kind`."""
    try:
        with failing_for(path):
            return "directory" if S_ISDIR(os.stat(path).st_mode) else "other"
    except errors.Absent:
        return "absent"


def space(path: str) -> FilesystemSpace:
    """See `Host.space`."""
    with failing_for(path):
        told = os.statvfs(path)
        device = os.stat(path).st_dev
    return FilesystemSpace(
        block_bytes=told.f_frsize, blocks=told.f_blocks, available_blocks=told.f_bavail,
        read_only=bool(told.f_flag & os.ST_RDONLY), device_number=f"{os.major(device)}:{os.minor(device)}",
    )  # fmt: skip


def block(device: str, offset: int, length: int, *, direct: bool = False) -> bytes:
    """See `Host.block`. Fewer bytes than `length` where the device ends before."""
    with failing_for(device):
        descriptor = os.open(device, _FLAGS | (os.O_DIRECT if direct else 0))
        try:
            return (
                _read_direct(descriptor, offset, length) if direct else os.pread(descriptor, length, offset)
            )
        finally:
            os.close(descriptor)


def _read_direct(descriptor: int, offset: int, length: int) -> bytes:
    start = offset // _SECTOR_BYTES * _SECTOR_BYTES
    padded = -(-(offset + length - start) // _SECTOR_BYTES) * _SECTOR_BYTES
    with mmap.mmap(-1, max(padded, _SECTOR_BYTES)) as buffer:  # O_DIRECT wants aligned memory
        got = os.preadv(descriptor, [buffer], start)
        return buffer[offset - start : min(got, offset - start + length)]


def read_uncached(path: str) -> None:
    """See `Host.read_uncached`. Reads a file of the directory, and the start of its block device.

    A filesystem that shut down fails to read a file from a sound device; space that a file was only
    promised (fallocate) is read as zeros from a dead one. Up to three files, since one may lie on a bad
    sector. Where nothing can be read so (an empty directory of an NFS server), nothing is claimed.
    """
    was_read = False
    failed: OSError | None = None
    with failing_for(path):
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in _files_with_data(top):
                try:
                    _read_first_data(top, name)
                except OSError as error:
                    if error.errno in _DEAD:
                        failed = error
                else:
                    was_read = True
                    break
            device = os.fstat(top).st_dev
        finally:
            os.close(top)
    if failed and not was_read:
        raise failure(path, failed) from failed
    node = _device_node(device)
    if not node:
        return
    try:
        block(node, 0, 2 * _SECTOR_BYTES, direct=True)
    except (errors.Absent, errors.Denied):  # says something of /dev and of our rights
        if not was_read:
            raise


def _files_with_data(top: int) -> Iterator[str]:
    found = 0
    with os.scandir(top) as entries:
        for _, entry in zip(range(_ENTRIES_TRIED), entries, strict=False):
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_blocks:
                yield entry.name
                found += 1
                if found == _FILES_TRIED:
                    return


def _read_first_data(top: int, name: str) -> None:
    """Reads what a file has on disk, holes left aside."""
    descriptor = os.open(name, _FLAGS | os.O_NOFOLLOW | os.O_DIRECT, dir_fd=top)
    try:
        _read_direct(descriptor, os.lseek(descriptor, 0, os.SEEK_DATA), _SECTOR_BYTES)
    finally:
        os.close(descriptor)


def _device_node(number: int) -> str:
    """The device node of a filesystem's st_dev, or `""` where that is no block device."""
    try:
        told = read(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent")
    except errors.HostError:
        return ""
    fields = dict(line.partition("=")[::2] for line in os.fsdecode(told).splitlines())
    return f"/dev/{fields['DEVNAME']}" if "DEVNAME" in fields else ""
