"""What machine this host is: processors, memory, kernel, hypervisor.

proc(5) for cpuinfo and meminfo; the kernel's release as uname tells it.
"""

from __future__ import annotations

import re
import time

from storekeeper.errors import HostError, ToolMissing
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, Fault, Machine, Seen
from storekeeper.sources.contract import Host, Scope, fault_of

CPUINFO = "/proc/cpuinfo"
MEMINFO = "/proc/meminfo"
KERNEL = "/proc/sys/kernel/osrelease"
# Some 1.5 KiB a processor.
CPUINFO_BYTES = 16 << 20
# Debian's and Red Hat's name for it.
QEMUS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
_DEADLINE_S = 5.0
_VERSION = re.compile(rb"version (\d+(?:\.\d+)*)")
_MEMORY = re.compile(rb"^MemTotal:\s+(\d+) kB$", re.MULTILINE)


def probe(host: Host, scope: Scope, last: Seen | None) -> Seen:  # noqa: ARG001
    """One fact, `machine`."""
    started = time.monotonic()
    try:
        cpu_type, cores = processors(host.read(CPUINFO, CPUINFO_BYTES))
        ram_bytes = memory_bytes(host.read(MEMINFO))
        kernel = escape(host.read(KERNEL).strip())
    except HostError as error:
        faults: tuple[Fault, ...] = (fault_of(error, "*"),)
        took_s = time.monotonic() - started
        return Seen(source="machine", scope=scope.key, facts={}, faults=faults, took_s=took_s)
    hypervisor, faults = _hypervisor(host)
    machine = Machine(
        key="machine", cpu_type=cpu_type, physical_cores=cores, physical_ram_bytes=ram_bytes,
        hypervisor=hypervisor, kernel=kernel,
    )  # fmt: skip
    return Seen(
        source="machine", scope=scope.key, facts={machine.key: machine}, faults=faults,
        took_s=time.monotonic() - started,
    )  # fmt: skip


def processors(cpuinfo: bytes) -> tuple[str, int]:
    """The first processor's model, `""` where there is none, and how many cores there are.

    Threads of one core have the same `physical id` and `core id`; where these are not told (ARM, some
    virtual machines) each processor counts as a core.
    """
    model, count = "", 0
    cores: set[tuple[bytes, bytes]] = set()
    for block in cpuinfo.split(b"\n\n"):
        rows = (line.partition(b":") for line in block.splitlines())
        told = {name.strip(): value.strip() for name, _, value in rows}
        if b"processor" not in told:
            continue
        count += 1
        model = model or escape(told.get(b"model name", b""))
        if b"core id" in told:
            cores.add((told.get(b"physical id", b""), told[b"core id"]))
    return model, len(cores) or count or UNKNOWN


def memory_bytes(meminfo: bytes) -> int:
    """What the kernel may use of the memory that there is, UNKNOWN where it does not say."""
    found = _MEMORY.search(meminfo)
    return int(found[1]) * 1024 if found and len(found[1]) < 16 else UNKNOWN


def version_of(printed: bytes) -> str:
    """`qemu` and its version, as `--version` prints that in its first line."""
    found = _VERSION.search(printed.split(b"\n", 1)[0])
    return f"qemu {found[1].decode()}" if found else "qemu"


def _hypervisor(host: Host) -> tuple[str, tuple[Fault, ...]]:
    """`""` where there is none."""
    for program in QEMUS:
        try:
            printed = host.run([program, "--version"], _DEADLINE_S)
        except ToolMissing:
            continue
        except HostError as error:
            return "", (fault_of(error),)
        if printed.status == 0:
            return version_of(printed.out), ()
    return "", ()
