"""How a host is."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from storekeeper.declaration import Host
from storekeeper.merge.hosts import HostReport, Known, host_info, host_state, hosts_of
from storekeeper.merge.truth import HostView
from storekeeper.observation import UNKNOWN, Machine
from tests.merge.builders import NOW, declared, external, host, look, views_of

DECLARED = declared(external(), hosts=("h1", "h2"))
LONG_AGO = NOW - 1000


def known(*views: HostView, report: HostReport | None = None, **more: Any) -> Known:
    values = {"declaration": DECLARED, "started_at": LONG_AGO, "now": NOW, **more}
    reports = {report.host_id: report} if report is not None else {}
    return Known(views=views_of(*views), reports=reports, **values)


def test_hosts_are_those_that_are_declared_and_those_that_a_storage_links() -> None:
    declaration = replace(DECLARED, hosts={"a": Host(host_id="a"), "h2": Host(host_id="h2")})
    assert hosts_of(declaration) == {"a": [], "h1": ["s"], "h2": ["s"]}


@pytest.mark.parametrize(
    ("reported", "started", "state", "text"),
    [
        (NOW, LONG_AGO, "running", ""),
        (NOW - 59, LONG_AGO, "running", ""),
        (NOW - 60, LONG_AGO, "unavailable", "No report from h1 since 2027-01-15 07:59 UTC."),
        (0.0, LONG_AGO, "unknown", "No report from h1 yet."),
        # The manager has just started: what was heard before says nothing of now.
        (NOW - 10, NOW - 5, "unknown", "No report from h1 since 2027-01-15 07:59 UTC."),
        (LONG_AGO - 10, NOW - 59, "unknown", "No report from h1 since 2027-01-15 07:43 UTC."),
        (LONG_AGO - 10, NOW - 60, "unavailable", "No report from h1 since 2027-01-15 07:43 UTC."),
    ],
)
def test_a_host_is_what_its_silence_says(reported: float, started: float, state: str, text: str) -> None:
    assert host_state("h1", known(host(reported_at=reported), started_at=started)) == (state, text)


def test_an_agent_of_another_protocol_is_incompatible_whatever_else() -> None:
    said = HostReport(host_id="h1", incompatible=True, error_msg="Install version 2.")
    assert host_state("h1", known(host(), report=said)) == ("incompatible", "Install version 2.")
    assert host_state("h1", known(report=said))[0] == "incompatible"


def test_a_machine_that_claims_a_running_hosts_id_is_told_of_and_so_is_one_that_claims_a_silent_ones() -> (
    None
):
    said = HostReport(host_id="h1", error_msg="Another machine claims to be h1.")
    assert host_state("h1", known(host(), report=said)) == ("running", "Another machine claims to be h1.")
    assert host_state("h1", known(report=said)) == (
        "unknown", "No report from h1 yet. Another machine claims to be h1.",
    )  # fmt: skip


def test_what_a_host_and_its_agent_said_of_themselves_is_shown() -> None:
    said = HostReport(host_id="h1", version="0.3.0", address="192.0.2.7")
    declaration = replace(DECLARED, hosts={"h1": Host(host_id="h1", description="rack 2")})
    info = host_info("h1", known(host(), report=said, declaration=declaration), ["s"])
    assert (info.agent_version, info.host_address, info.description) == ("0.3.0", "192.0.2.7", "rack 2")
    assert (info.image_storages, info.last_report) == (["s"], "2027-01-15T08:00:00+00:00")


def test_the_machine_is_shown_with_numbers_as_text_and_ram_in_mb() -> None:
    machine = Machine(
        key="machine", cpu_type="AMD EPYC 7302", physical_cores=16, physical_ram_bytes=(64 << 30) + 1,
        hypervisor="qemu 9.2", kernel="6.12",
    )  # fmt: skip
    info = host_info("h1", known(host(look("machine", "", machine))), [])
    assert (info.cpu_type, info.hypervisor) == ("AMD EPYC 7302", "qemu 9.2")
    assert (info.physical_cores, info.physical_ram) == ("16", "65536")
    unknown = replace(machine, physical_cores=UNKNOWN, physical_ram_bytes=UNKNOWN)
    info = host_info("h1", known(host(look("machine", "", unknown))), [])
    assert (info.physical_cores, info.physical_ram) == ("", "")


def test_what_was_never_told_is_empty() -> None:
    info = host_info("h1", known(), [])
    assert (info.hypervisor, info.cpu_type, info.physical_cores, info.physical_ram) == ("", "", "", "")
    assert (info.last_report, info.agent_version, info.current_state) == ("", "", "unknown")
