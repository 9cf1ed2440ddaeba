"""libvirt's events wake the look at the guests, and a daemon that was restarted is followed again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import IO

import pytest

from tests.real.libvirt_daemon import LibvirtMachine

pytestmark = pytest.mark.needs("root", "libvirt", "qemu-system")

WATCH = """
from storekeeper.host import events
from storekeeper.host.wire import Watch
from storekeeper.sources.contract import Scope

events.watch(Watch(source="guests", scope=Scope()), lambda told: print(type(told).__name__, flush=True))
"""


@contextmanager
def watching(machine: LibvirtMachine) -> Iterator[SimpleQueue[str]]:
    """What a watch in the machine tells, as it comes. The machine ends with it."""
    watch = subprocess.Popen(
        machine.entering([sys.executable, "-I", "-c", WATCH]), stdout=subprocess.PIPE, text=True
    )
    told: SimpleQueue[str] = SimpleQueue()

    def read(lines: IO[str]) -> None:
        for line in lines:
            told.put(line.strip())

    assert watch.stdout is not None
    reading = Thread(target=read, args=(watch.stdout,), daemon=True)
    reading.start()
    try:
        yield told
    finally:
        machine.close()  # nsenter's child has to end too
        watch.wait()
        reading.join()
        watch.stdout.close()


def drain(told: SimpleQueue[str]) -> None:
    while not told.empty():
        told.get()


def test_a_guest_that_is_defined_hints_at_guests_also_after_libvirtd_was_restarted() -> None:
    define = """
    printf '%s' "<domain type='qemu'><name>{0}</name><memory>32768</memory>
    <os><type arch='x86_64' machine='pc'>hvm</type></os></domain>" > /tmp/{0}.xml
    virsh define /tmp/{0}.xml; rm /tmp/{0}.xml
    """
    with LibvirtMachine() as machine, watching(machine) as told:
        assert told.get(timeout=30) == "Hint"  # connected
        drain(told)
        machine.shell(define.format("storekeeper-first"))
        assert told.get(timeout=10) == "Hint"
        drain(told)
        machine.shell("kill $(cat /run/libvirtd.pid /run/libvirt/libvirtd.pid 2>/dev/null)")
        assert told.get(timeout=10) == "Hint"  # lost
        machine.shell("while ! libvirtd -d; do sleep 0.1; done")
        while told.get(timeout=60) != "Hint":  # connected again
            pass
        drain(told)
        machine.shell(define.format("storekeeper-second"))
        assert told.get(timeout=10) == "Hint"
