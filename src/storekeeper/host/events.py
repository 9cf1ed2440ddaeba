"""What wakes a source: which kernel or libvirt events concern it, and the threads that wait for them."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Any

from storekeeper import errors
from storekeeper.host import libvirt
from storekeeper.host.watching import DirectoryWatch, Send
from storekeeper.host.wire import Hint, Unwatched, Watch

MOUNTINFO = "/proc/self/mountinfo"
_BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)


def watch(asked: Watch, send: Send) -> None:
    """Sends hints for `asked` until nothing more can come. For a thread of its own."""
    if asked.scope.root:
        DirectoryWatch(asked, send).run()
    elif waiter := _WAITERS.get(asked.source):
        waiter(asked, send)
    else:
        text = f"no event tells of {asked.source}; it is looked at from time to time"
        send(Unwatched(source=asked.source, scope=asked.scope.key, text=text))


def watch_mounts(asked: Watch, send: Send) -> None:
    """A hint for each change of the mounts: poll(2) on mountinfo tells of them (proc_pid_mountinfo(5))."""
    with open(MOUNTINFO, "rb") as mountinfo:
        poll = select.poll()
        poll.register(mountinfo, select.POLLPRI | select.POLLERR)
        while True:
            poll.poll()
            send(Hint(source=asked.source, scope=asked.scope.key))


def watch_guests(asked: Watch, send: Send, uri: str = libvirt.URI) -> None:
    """A hint for each event of a domain, and for each connection made or lost."""
    try:
        library = libvirt.library()
    except errors.ToolMissing as error:
        send(Unwatched(source=asked.source, scope=asked.scope.key, text=str(error)))
        return
    library.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, args=(library,), name="libvirt events", daemon=True).start()
    tries = 0
    while True:
        try:
            connection = libvirt.connect(uri)
        except errors.HostError as error:
            if not tries:
                send(Unwatched(source=asked.source, scope=asked.scope.key, text=str(error)))
        else:
            tries = 0
            _follow(library, connection, lambda: send(Hint(source=asked.source, scope=asked.scope.key)))
        time.sleep(_BACK_OFF_S[min(tries, len(_BACK_OFF_S) - 1)])
        tries += 1


def _follow(library: Any, connection: Any, happened: Callable[[], None]) -> None:
    """Calls `happened` for each event until the connection is lost."""
    lost = threading.Event()
    try:
        connection.registerCloseCallback(lambda *_: lost.set(), None)
        connection.setKeepAlive(5, 3)
        for event in (
            library.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            library.VIR_DOMAIN_EVENT_ID_DISK_CHANGE,
            library.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
            library.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
            library.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
        ):
            connection.domainEventRegisterAny(None, event, lambda *_: happened(), None)
        happened()  # what came before the connection stood
        lost.wait()
        happened()
        connection.close()
    except library.libvirtError:  # lost while it was set up: the caller tries again
        happened()


def _run_events(library: Any) -> None:
    while True:
        library.virEventRunDefaultImpl()


_WAITERS: dict[str, Callable[[Watch, Send], None]] = {"mounts": watch_mounts, "guests": watch_guests}
