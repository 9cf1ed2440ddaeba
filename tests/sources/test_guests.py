"""Guests and pools of a host, from definitions that a real libvirt made; see captured_output/libvirt."""

from __future__ import annotations

from typing import cast

from storekeeper.errors import Denied, HostError, ToolMissing, Unreadable
from storekeeper.observation import Guest, Pool, Seen
from storekeeper.sources.contract import Domain, Host, Scope
from storekeeper.sources.guests import parse_guest, probe
from tests.sources.paper_host import PaperHost
from tests.sources.tool_output import load

NO_PYTHON = ToolMissing("libvirt", "libvirt-python is not installed: pip install 'storekeeper[libvirt]'")
SHELVED, TEMPLATES = "/etc/libvirt/storage/shelved.xml", "/run/libvirt/storage/templates.xml"


def xml(name: str) -> str:
    return load(f"libvirt/{name}").out.decode()


class LibvirtHost(PaperHost):
    """A host with these files and domains; `closed` is a directory that it may not list."""

    def __init__(
        self, files: dict[str, bytes | str | HostError], domains: list[Domain] | HostError, closed: str = ""
    ) -> None:
        super().__init__(files)
        self._domains = domains
        self._closed = closed

    def names(self, path: str) -> tuple[str, ...]:
        if path == self._closed:
            raise Denied(path, "Permission denied")
        return super().names(path)

    def domains(self) -> list[Domain]:
        if isinstance(self._domains, HostError):
            raise self._domains
        return self._domains


def seen(host: LibvirtHost, last: Seen | None = None) -> Seen:
    return probe(cast(Host, host), Scope(), last)


def corus(**changed: object) -> Domain:
    fields = {
        "name": "corus", "unique_id": "636f7275-7300-0000-0000-000000000000", "state": 3, "persistent": True,
        "live_xml": xml("corus-live"), "persistent_xml": xml("corus-persistent"),
    }  # fmt: skip
    return Domain(**(fields | changed))  # type: ignore[arg-type]


def places(guest: Guest) -> list[tuple[str, str]]:
    return [(disk.found_in, disk.path) for disk in guest.disks]


def test_a_guest_has_the_disks_of_its_persistent_and_its_live_definition() -> None:
    guest = parse_guest(corus())
    assert places(guest) == [("persistent", "/images/corus"), ("live", "/images/corus_demo_corus")]
    assert (guest.key, guest.state, guest.persistent) == ("corus", "paused", True)


def test_a_snapshot_adds_only_the_images_that_no_definition_names() -> None:
    after = corus(live_xml=xml("corus-live-after-snapshot"), snapshot_xmls=(xml("corus-snapshot"),) * 3)
    assert places(parse_guest(after)) == [
        ("persistent", "/images/corus"),
        ("live", "/images/corus_demo_corus.before"),
        ("snapshot", "/images/corus_demo_corus"),
    ]


def test_a_guest_that_shuts_down_still_runs_and_a_state_of_the_future_is_unknown() -> None:
    assert {state: parse_guest(corus(state=state)).state for state in (0, 1, 2, 3, 4, 5, 6, 7, 8)} == {
        0: "unknown", 1: "running", 2: "running", 3: "paused", 4: "running", 5: "stopped", 6: "stopped",
        7: "suspended", 8: "unknown",
    }  # fmt: skip


def test_a_guest_of_which_libvirt_could_not_tell_all_is_hidden_and_its_neighbours_are_exact() -> None:
    stuck = corus(name="stuck", live_xml="", persistent_xml="", fault="cannot acquire state change lock")
    garbled = corus(name="garbled", snapshot_xmls=("<domainsnapshot>",))
    found = seen(LibvirtHost({}, [corus(), garbled, stuck]))
    assert set(found.facts) == {"corus"}
    assert {fault.hides: fault.code for fault in found.faults} == {
        "stuck": "io-error",
        "garbled": "tool-failed",
    }


def test_without_libvirt_python_guests_are_unknown_where_some_are_defined() -> None:
    found = seen(LibvirtHost({"/etc/libvirt/qemu/corus.xml": ""}, NO_PYTHON))
    assert found.blind
    assert (found.blind.code, "pip install" in found.blind.text) == ("tool-missing", True)


def test_a_running_guest_that_is_not_defined_is_enough_to_be_blind_without_libvirt() -> None:
    assert seen(LibvirtHost({"/run/libvirt/qemu/desktop.xml": ""}, NO_PYTHON)).blind


def test_a_host_without_libvirt_has_no_guests() -> None:
    found = seen(LibvirtHost({}, NO_PYTHON))
    assert (found.facts, found.faults) == ({}, ())


def test_a_daemon_that_does_not_run_and_keeps_no_definition_has_no_guests() -> None:
    host = LibvirtHost(
        {"/etc/libvirt/qemu/networks/default.xml": ""}, Unreadable("qemu:///system", "refused")
    )
    assert seen(host).faults == ()


def test_definitions_that_may_not_be_listed_are_no_proof_that_there_are_none() -> None:
    assert seen(LibvirtHost({}, NO_PYTHON, closed="/etc/libvirt/qemu")).blind


def test_pools_are_told_though_libvirt_does_not_answer() -> None:
    files: dict[str, bytes | str | HostError] = {
        SHELVED: xml("pool-shelved"), TEMPLATES: xml("pool-templates"),
        "/etc/libvirt/qemu/corus.xml": "", "/etc/libvirt/storage/autostart/shelved.xml": xml("pool-shelved"),
    }  # fmt: skip
    found = seen(LibvirtHost(files, Unreadable("qemu:///system", "refused")))
    assert set(found.facts) == {"pool:shelved", "pool:templates"}
    assert found.blind


def test_the_state_of_an_active_pool_goes_before_its_definition() -> None:
    older = xml("pool-templates").replace("/images/pool", "/images/old")
    files: dict[str, bytes | str | HostError] = {
        "/etc/libvirt/storage/templates.xml": older, TEMPLATES: xml("pool-templates"),
    }  # fmt: skip
    pool = seen(LibvirtHost(files, [])).facts["pool:templates"]
    assert isinstance(pool, Pool)
    assert pool.target == "/images/pool"


def test_a_pools_file_that_cannot_be_read_hides_that_pool_alone() -> None:
    files: dict[str, bytes | str | HostError] = {
        SHELVED: Unreadable(SHELVED, "Input/output error"), TEMPLATES: xml("pool-templates"),
    }  # fmt: skip
    found = seen(LibvirtHost(files, []))
    assert set(found.facts) == {"pool:templates"}
    assert [fault.hides for fault in found.faults] == ["pool:shelved"]


def test_pools_of_a_directory_that_cannot_be_listed_stay_as_last_seen() -> None:
    files: dict[str, bytes | str | HostError] = {
        SHELVED: xml("pool-shelved"),
        TEMPLATES: xml("pool-templates"),
    }
    before = seen(LibvirtHost(files, []))
    after = seen(LibvirtHost({}, [], closed="/etc/libvirt/storage"), before)
    assert set(after.facts) == {"pool:shelved", "pool:templates"}
    assert [fault.code for fault in after.faults] == ["denied"]
