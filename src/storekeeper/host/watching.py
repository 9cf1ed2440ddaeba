"""Watching a volume's directories for what this host's own programs change in them, by inotify(7).

Events are hints. What is lost (an overflow, too few watches, a watch that ended) is said, and the next
walk sees it. Neither truncate(2), fallocate(2) nor a running guest's writes send an event here: IN_MODIFY
is not asked for, since busy guests turn it into a flood.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress

from storekeeper.host import libc
from storekeeper.host.below import Root
from storekeeper.host.failures import failure
from storekeeper.host.wire import Hint, Unwatched, Watch
from storekeeper.naming import escape
from storekeeper.sources.contract import DEPTH_LIMIT, SKIPPED_DIRECTORIES

# linux/inotify.h
ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO = 0x4, 0x8, 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
UNMOUNT, Q_OVERFLOW, IGNORED, ISDIR = 0x2000, 0x4000, 0x8000, 0x40000000
ONLYDIR, DONT_FOLLOW, EXCL_UNLINK = 0x1000000, 0x2000000, 0x4000000

MASK = (
    ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
    | ONLYDIR | DONT_FOLLOW | EXCL_UNLINK
)  # fmt: skip
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name
_READ_BYTES = 1 << 16
_GATHERING_S = 0.002  # after a first event, told at once, what follows comes together

Send = Callable[[Hint | Unwatched], None]


class DirectoryWatch:
    """The watches of one volume. `run` sends until the root itself cannot be watched any more."""

    def __init__(self, watch: Watch, send: Send) -> None:
        self._source = watch.source
        self._scope = watch.scope.key
        self._root = watch.scope.root
        self._send = send
        self._paths: dict[int, bytes] = {}
        self._complained = False
        self._descriptor = -1

    def run(self) -> None:
        """Watches, and turns all events of one read into one hint."""
        try:
            self._descriptor = libc.inotify()
        except OSError as error:
            self._unwatched(_too_few("instances") if error.errno == errno.EMFILE else str(error))
            return
        try:
            self._add(b"")
            while self._paths:
                self._tell(os.read(self._descriptor, _READ_BYTES))
                time.sleep(_GATHERING_S)
        except OSError as error:
            self._unwatched(str(failure(self._root, error)))
        else:
            self._unwatched(f"{escape(self._root)}: it was unmounted, moved or removed")
        finally:
            os.close(self._descriptor)

    def _unwatched(self, text: str) -> None:
        self._send(Unwatched(source=self._source, scope=self._scope, text=text))

    def _hint(self, paths: set[bytes]) -> None:
        told = tuple(sorted(escape(path) for path in paths))
        self._send(Hint(source=self._source, scope=self._scope, paths=told))

    def _tell(self, events: bytes) -> None:
        """Sends one hint for some events; without paths when something was lost or concerns the root."""
        paths: set[bytes] = set()
        whole = False
        at = 0
        while at < len(events):
            watch, mask, _, length = _EVENT.unpack_from(events, at)
            name = events[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            path = self._handle(watch, mask, name)
            if path:
                paths.add(path)
            whole = whole or path == b""
        if whole or paths:
            self._hint(set() if whole else paths)

    def _handle(self, watch: int, mask: int, name: bytes) -> bytes | None:
        """The path that an event concerns: `b""` for the whole volume, None for nothing new."""
        if mask & Q_OVERFLOW:
            self._add(b"")  # directories may have come meanwhile
            return b""
        if mask & IGNORED:
            self._paths.pop(watch, None)
            return None
        above = self._paths.get(watch)
        if above is None:
            return None
        if mask & (DELETE_SELF | MOVE_SELF | UNMOUNT):
            if not above:
                self._forget(b"")
                return b""
            return above
        if not name:
            return above
        path = above + b"/" + name if above else name
        if mask & ISDIR:
            if name in SKIPPED_DIRECTORIES:
                return None
            if mask & MOVED_FROM:
                self._forget(path)
            if mask & (CREATE | MOVED_TO):
                self._add(path)
        return path

    def _forget(self, path: bytes) -> None:
        """Ends the watches of a directory that was moved away, and of all below it."""
        for watch, watched in list(self._paths.items()):
            if not path or watched == path or watched.startswith(path + b"/"):
                del self._paths[watch]
                libc.remove_watch(self._descriptor, watch)

    def _add(self, path: bytes) -> None:
        """Watches a directory and all below it. Each is watched before it is read, so none is missed.

        Raises:
            OSError: the root cannot be watched.
        """
        try:
            with Root(self._root) as top:
                waiting = [path]
                while waiting:
                    directory = waiting.pop()
                    with suppress(FileNotFoundError, NotADirectoryError):
                        waiting += self._add_one(top, directory)
        except OSError as error:
            if error.errno == errno.ENOSPC and not self._complained:
                self._complained = True
                self._unwatched(f"{escape(self._root)}: {_too_few('watches')}")
            elif not self._paths:
                raise

    def _add_one(self, top: Root, path: bytes) -> list[bytes]:
        """Watches one directory; the paths of those in it."""
        try:
            directory = top.open_directory(path)
        except OSError as error:
            if path and error.errno in {errno.EXDEV, errno.ELOOP, errno.EACCES}:
                return []
            raise
        try:
            # "/." since the entry of /proc/self/fd is a symbolic link, which the mask refuses
            watch = libc.add_watch(self._descriptor, b"/proc/self/fd/%d/." % directory, MASK)
            self._paths[watch] = path
            if path and path.count(b"/") + 1 >= DEPTH_LIMIT:
                return []
            with os.scandir(directory) as entries:
                return [
                    path + b"/" + name if path else name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                    and (name := os.fsencode(entry.name)) not in SKIPPED_DIRECTORIES
                ]
        finally:
            os.close(directory)


def _too_few(what: str) -> str:
    path = f"/proc/sys/fs/inotify/max_user_{what}"
    with suppress(OSError):
        with open(path, encoding="ascii") as file:
            limit = int(file.read())
        return (
            f"too few inotify {what} ({limit}, {path}): sysctl fs.inotify.max_user_{what}={limit * 4}; "
            "until then changes are seen by the next walk only"
        )
    return f"too few inotify {what}; raise {path}"
