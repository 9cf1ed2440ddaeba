"""Volumes: walking all their directories, looking at some files, opening many images."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from stat import S_ISREG
from typing import TypeVar

from storekeeper.formats.contract import HEAD_BYTES, READ_LIMIT_BYTES, BoundedFile
from storekeeper.host.below import FILE_FLAGS, Root
from storekeeper.host.failures import failing_for, failure
from storekeeper.host.libc import Statx
from storekeeper.naming import escape
from storekeeper.sources.contract import Directory, FileRow, OpenImage

_CHUNK = 256  # entries that one thread looks at in one go

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV}
_TYPE, _REGULAR = 0o170000, 0o100000  # of st_mode

_T = TypeVar("_T")
_R = TypeVar("_R")


# --- walking ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Listing:
    """A directory while it is read. `entries`: its files that are still to be looked at; `unseen`: the
    names of those that are not.
    """

    path: bytes
    descriptor: int
    rows: list[FileRow] = field(default_factory=list)
    entries: list[os.DirEntry[str]] = field(default_factory=list)
    unseen: list[bytes] = field(default_factory=list)
    directories: list[bytes] = field(default_factory=list)
    skipped: int = 0
    fault: OSError | None = None

    def failed(self, error: OSError) -> None:
        """Remembers an error, unless it says that something is gone, which is none."""
        if error.errno not in _GONE:
            self.fault = error


def walk(
    root: str, *, skip: frozenset[bytes], depth_limit: int, threads: int = 1, below: bytes = b"",
    names_only: bool = False,
) -> Iterator[Directory]:  # fmt: skip
    """See `Host.walk`. `skip` names directories; those more than `depth_limit` below the root are faults.

    With one thread the directories are read one after the other; with more, as many at a time, which
    pays where each call is a round trip.

    Raises:
        HostError: the root itself cannot be opened.
    """
    with ExitStack() as stack:
        with failing_for(root):
            top = stack.enter_context(Root(root))
        pool = stack.enter_context(ThreadPoolExecutor(threads)) if threads > 1 else None
        waiting = [below]
        while waiting:
            batch = [waiting.pop() for _ in range(min(len(waiting), threads))]
            for directory, inner in _look_at(top, batch, skip, pool, names_only):
                yield directory
                if _depth(directory.path) < depth_limit:
                    waiting += reversed(inner)
                else:
                    yield from (_too_deep(path, depth_limit) for path in inner)


def _depth(path: bytes) -> int:
    return path.count(b"/") + 1 if path else 0


def _too_deep(path: bytes, depth_limit: int) -> Directory:
    text = f"{escape(path)} lies more than {depth_limit} directories deep and is not looked at"
    return Directory(path=path, files=[], fault="too-deep", fault_text=text)


def _look_at(
    top: Root, paths: list[bytes], skip: frozenset[bytes], pool: ThreadPoolExecutor | None, names_only: bool
) -> list[tuple[Directory, list[bytes]]]:
    """These directories, each with the paths of the directories in it; the vanished ones left out."""
    looked: list[tuple[Directory, list[bytes]]] = []
    at_once = pool is None

    def read(path: bytes) -> _Listing | Directory | None:
        return _list(top, path, skip, names_only=names_only, at_once=at_once)

    for listing in _each(pool, read, paths):
        if isinstance(listing, Directory):
            looked.append((listing, []))
        elif listing:
            _look_at_entries(listing, pool)
            os.close(listing.descriptor)
            looked.append((_directory(listing), listing.directories))
    return looked


def _each(pool: ThreadPoolExecutor | None, function: Callable[[_T], _R], of: Iterable[_T]) -> list[_R]:
    return list(map(function, of) if pool is None else pool.map(function, of))


def _list(
    top: Root, path: bytes, skip: frozenset[bytes], *, names_only: bool, at_once: bool
) -> _Listing | Directory | None:
    """Reads a directory, and looks `at_once` at its files. None when it is gone, or no directory now."""
    try:
        listing = _Listing(path, top.open_directory(path))
    except OSError as error:
        return None if error.errno in _GONE else _directory(_Listing(path, -1, fault=error))
    rows, descriptor = listing.rows, listing.descriptor
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    if entry.is_file(follow_symlinks=False):
                        if names_only:
                            listing.unseen.append(entry.name.encode("utf-8", "surrogateescape"))
                        elif at_once:
                            name = entry.name.encode("utf-8", "surrogateescape")
                            rows.append(_row(name, entry.stat(follow_symlinks=False)))
                        else:
                            listing.entries.append(entry)
                    elif not entry.is_dir(follow_symlinks=False):
                        listing.skipped += 1
                    elif (name := os.fsencode(entry.name)) not in skip:
                        _list_directory(listing, name, top)
                except OSError as error:
                    listing.failed(error)
    except OSError as error:
        listing.failed(error)
    return listing


def _list_directory(listing: _Listing, name: bytes, top: Root) -> None:
    if Statx().of(listing.descriptor, name).mount == top.mount:
        listing.directories.append(listing.path + b"/" + name if listing.path else name)
    else:
        listing.skipped += 1


def _row(name: bytes, status: os.stat_result) -> FileRow:
    return FileRow(
        name, status.st_ino, status.st_size, status.st_blocks, status.st_mtime_ns, status.st_ctime_ns,
        status.st_nlink,
    )  # fmt: skip


def _look_at_entries(listing: _Listing, pool: ThreadPoolExecutor | None) -> None:
    entries = listing.entries
    for rows, fault in _each(
        pool, _rows, [entries[at : at + _CHUNK] for at in range(0, len(entries), _CHUNK)]
    ):
        listing.rows += rows
        listing.fault = listing.fault or fault


def _rows(entries: list[os.DirEntry[str]]) -> tuple[list[FileRow], OSError | None]:
    rows = []
    fault = None
    for entry in entries:
        try:
            rows.append(_row(os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
        except OSError as error:
            if error.errno not in _GONE:
                fault = error
    return rows, fault


def _directory(listing: _Listing) -> Directory:
    code = text = ""
    if listing.fault is not None:
        fault = failure(listing.path or b".", listing.fault)
        code, text = fault.code, str(fault)
    return Directory(
        path=listing.path, files=listing.rows, fault=code, fault_text=text, skipped=listing.skipped,
        unseen=tuple(listing.unseen),
    )  # fmt: skip


# --- looking at some files ------------------------------------------------------------------------


def look(root: str, paths: Sequence[bytes]) -> Iterator[FileRow | None]:
    """See `Host.look`. Quickest when paths of one directory stand together.

    Raises:
        HostError: the kernel failed in another way than by "not there".
    """
    with failing_for(root):
        top = Root(root)
    with top:
        for path in paths:
            above, _, name = path.rpartition(b"/")
            try:
                status = os.stat(name, dir_fd=top.directory(above), follow_symlinks=False)
            except OSError as error:
                if error.errno not in _GONE:
                    raise failure(path, error) from error
                yield None
                continue
            yield _row(name, status) if S_ISREG(status.st_mode) else None


# --- opening images -------------------------------------------------------------------------------


class _Image(BoundedFile):
    """An `OpenImage`. One a thread, turned to one file after the other: keep nothing of it."""

    __slots__ = ("_statx", "descriptor", "path", "row")

    row: FileRow
    path: bytes
    descriptor: int

    def __init__(self, statx: Statx) -> None:
        super().__init__(0, b"")
        self._statx = statx

    @property
    def born_ns(self) -> int:
        """See `OpenImage.born_ns`."""
        with failing_for(self.path):
            return self._statx.of(self.descriptor).born_ns

    def _pread(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self.descriptor, length, offset)
        except OSError as error:
            raise failure(self.path, error) from error


def open_images(
    root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
    *, failed: Callable[[bytes, Exception], None], threads: int = 1,
) -> None:  # fmt: skip
    """See `Host.open_images`. Quickest when paths of one directory stand together.

    With more threads than one, `inspect` and `failed` are called from several at a time. `failed` is
    told a `HostError` for a file that cannot be opened, and whatever else `inspect` raised.

    Raises:
        HostError: the root itself cannot be opened.
    """
    if threads <= 1 or len(paths) <= 1:
        _open_each(root, paths, inspect, failed)
        return
    size = max(1, min(_CHUNK, len(paths) // threads))
    chunks = [paths[at : at + size] for at in range(0, len(paths), size)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda chunk: _open_each(root, chunk, inspect, failed), chunks))


def _open_each(
    root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
    failed: Callable[[bytes, Exception], None],
) -> None:  # fmt: skip
    """Opens file after file. Of all loops here the one that counts: 20,000 rounds a scan, no layers."""
    with failing_for(root):
        top = Root(root)
    image = _Image(top.statx)
    device = top.device
    with top:
        for path in paths:
            try:
                above, _, name = path.rpartition(b"/")
                descriptor = os.open(name, FILE_FLAGS, dir_fd=top.directory(above))
                try:
                    status = os.fstat(descriptor)
                    if status.st_mode & _TYPE != _REGULAR or status.st_dev != device:
                        top.refuse(descriptor, status)
                    image.row = _row(name, status)
                    image.size = status.st_size
                    image.head = os.pread(descriptor, HEAD_BYTES, 0)
                    image.path = path
                    image.descriptor = descriptor
                    image.left_bytes = READ_LIMIT_BYTES
                    inspect(path, image)
                finally:
                    os.close(descriptor)
            except OSError as error:
                failed(path, failure(path, error))
            except Exception as error:  # noqa: BLE001  one bad file must not cost its neighbours
                failed(path, error)
