"""What machine a host is: from captured text, and from whatever else is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.errors import Denied, TimedOut
from storekeeper.observation import UNKNOWN, Machine, Seen
from storekeeper.sources import machine
from storekeeper.sources.contract import Output, Scope
from tests.sources.paper_host import PaperHost

# Captured, shortened to the fields that say where a processor is: one socket, two cores.
CPUINFO = b"""\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
physical id\t: 0
siblings\t: 2
core id\t\t: 0
cpu cores\t: 2
power management:

processor\t: 1
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
physical id\t: 0
siblings\t: 2
core id\t\t: 1
cpu cores\t: 2
power management:

"""
MEMINFO = b"MemTotal:       24684096 kB\nMemFree:        23787920 kB\n"
QEMU = b"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022\n"
FILES = {machine.CPUINFO: CPUINFO, machine.MEMINFO: MEMINFO, machine.KERNEL: b"6.1.0-28-amd64\n"}
VERSION = ("qemu-system-x86_64", "--version")


def probed(host: PaperHost) -> Seen:
    return machine.probe(host, Scope(), None)


def test_the_machine_is_one_fact() -> None:
    host = PaperHost(FILES, programs={VERSION: Output(0, QEMU, b"")})
    seen = probed(host)
    assert seen.faults == ()
    assert seen.facts == {
        "machine": Machine(
            key="machine", cpu_type="AMD EPYC", physical_cores=2, physical_ram_bytes=24684096 * 1024,
            hypervisor="qemu 7.2.22", kernel="6.1.0-28-amd64",
        )
    }  # fmt: skip


def test_threads_of_one_core_count_once() -> None:
    assert machine.processors(CPUINFO + CPUINFO.replace(b"core id\t\t: 1", b"core id\t\t: 0")) == (
        "AMD EPYC",
        2,
    )


def test_processors_that_do_not_tell_their_cores_count_each() -> None:
    arm = b"processor\t: 0\nBogoMIPS\t: 50.00\n\nprocessor\t: 1\nBogoMIPS\t: 50.00\n\nHardware\t: x\n"
    assert machine.processors(arm) == ("", 2)


def test_a_host_without_qemu_has_no_hypervisor_and_no_fault() -> None:
    seen = probed(PaperHost(FILES))
    fact = seen.facts["machine"]
    assert isinstance(fact, Machine)
    assert (fact.hypervisor, seen.faults) == ("", ())


def test_red_hats_qemu_is_found_too() -> None:
    told = Output(0, b"QEMU emulator version 9.0.0 (qemu-kvm-9.0.0-10.el9)\n", b"")
    fact = probed(PaperHost(FILES, programs={("/usr/libexec/qemu-kvm", "--version"): told})).facts["machine"]
    assert isinstance(fact, Machine)
    assert fact.hypervisor == "qemu 9.0.0"


def test_a_qemu_that_does_not_answer_hides_nothing_else() -> None:
    seen = probed(PaperHost(FILES, programs={VERSION: TimedOut("qemu-system-x86_64", "no answer")}))
    assert [(fault.code, fault.hides) for fault in seen.faults] == [("timed-out", "")]
    assert "machine" in seen.facts


@pytest.mark.parametrize("path", FILES)
def test_what_cannot_be_read_hides_the_machine(path: str) -> None:
    seen = probed(PaperHost({**FILES, path: Denied(path, "no")}))
    assert seen.blind is not None
    assert seen.facts == {}


@given(st.binary(), st.binary(), st.binary())
def test_no_text_is_a_crash(cpuinfo: bytes, meminfo: bytes, printed: bytes) -> None:
    model, cores = machine.processors(b"processor\t: 0\n" + cpuinfo)
    assert model.isprintable()
    assert cores > 0 or cores == UNKNOWN
    assert machine.memory_bytes(b"MemTotal: " + meminfo) >= UNKNOWN
    assert machine.version_of(printed).startswith("qemu")


def test_what_is_not_told_is_unknown() -> None:
    assert machine.processors(b"") == ("", UNKNOWN)
    assert machine.memory_bytes(b"MemTotal:  99999999999999999999 kB\n") == UNKNOWN
