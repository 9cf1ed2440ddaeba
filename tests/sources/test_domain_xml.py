"""Disks and pools from XML that a real libvirt made; see captured_output/libvirt."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.errors import ToolFailed
from storekeeper.observation import GuestDisk
from storekeeper.sources.domain_xml import parse_domain, parse_pool, parse_snapshot
from tests.sources.tool_output import load, names


def xml(name: str) -> str:
    return load(f"libvirt/{name}").out.decode()


def by_target(name: str) -> dict[str, GuestDisk]:
    return {disk.target: disk for disk in parse_domain(xml(name), "persistent", name)}


def test_every_type_of_source_is_told_in_its_own_terms() -> None:
    told = {
        target: (disk.kind, disk.path or disk.volume or disk.name)
        for target, disk in by_target("all-kinds").items()
    }
    assert told == {
        "vda": ("file", "/images/a.raw"),
        "vdb": ("file", "/images/secret.luks"),
        "vdc": ("volume", "b.raw"),
        "vdd": ("network", "test_vol1/team/c.raw"),
        "vde": ("network", "export"),
        "vdf": ("dir", "/srv/files"),
        "vdg": ("nvme", ""),
        "sda": ("block", "/dev/disk/by-id/wwn-0x5"),
    }


def test_a_network_disk_has_its_protocol_and_hosts() -> None:
    disks = by_target("all-kinds")
    assert (disks["vdd"].protocol, disks["vdd"].hosts) == ("gluster", ("flexdev01", "flexdev02"))
    assert (disks["vde"].protocol, disks["vde"].hosts) == ("nbd", ("/run/nbd.sock",))


def test_format_encryption_and_sharing_are_as_declared() -> None:
    disks = by_target("all-kinds")
    assert (disks["vda"].format, disks["vda"].shareable, disks["vda"].encryption) == ("raw", True, "")
    assert (disks["vdb"].encryption, disks["vdb"].shareable) == ("luks", False)
    assert (disks["vdc"].pool, disks["vdc"].volume) == ("templates", "b.raw")
    assert disks["vdf"].read_only


def test_an_encryption_declared_beside_the_source_counts_as_well() -> None:
    inside = xml("all-kinds")
    start, end = inside.index("<encryption"), inside.index("</encryption>") + len("</encryption>")
    moved = inside[:start] + inside[end:].replace("</source>", "</source>" + inside[start:end], 1)
    disks = {disk.target: disk for disk in parse_domain(moved, "persistent", "moved")}
    assert disks["vdb"].encryption == "luks"


def test_a_cd_rom_and_a_floppy_are_no_disks() -> None:
    assert not by_target("all-kinds").keys() & {"sdb", "sdc", "fda"}


def test_a_live_definition_lists_the_chain_beneath() -> None:
    (disk,) = parse_domain(xml("corus-live"), "live", "corus")
    assert (disk.path, disk.below, disk.found_in) == ("/images/corus_demo_corus", ("/images/corus",), "live")


def test_the_target_of_a_block_copy_is_a_disk_of_its_own() -> None:
    disks = parse_domain(xml("corus-live-mirrored"), "live", "corus")
    assert [(disk.found_in, disk.path, disk.format, disk.target) for disk in disks] == [
        ("live", "/images/corus_demo_corus", "qcow2", "vda"),
        ("mirror", "/images/moved", "qcow2", "vda"),
    ]


def test_the_target_of_an_active_commit_is_none() -> None:
    committing = xml("corus-live-mirrored").replace("job='copy'", "job='active-commit'")
    assert [disk.found_in for disk in parse_domain(committing, "live", "corus")] == ["live"]


def test_a_snapshot_names_the_images_it_was_taken_of_as_the_guest_ran_and_as_it_was_defined() -> None:
    disks = parse_snapshot(xml("corus-snapshot"), "corus")
    assert [(disk.path, disk.found_in) for disk in disks] == [
        ("/images/corus_demo_corus", "snapshot"),
        ("/images/corus", "snapshot"),
    ]


def test_pools_of_both_files_of_libvirt_are_read() -> None:
    active = parse_pool(load("libvirt/pool-templates").out, "templates")
    assert (active.key, active.kind, active.target) == ("pool:templates", "dir", "/images/pool")
    defined = parse_pool(load("libvirt/pool-shelved").out, "shelved")
    assert (defined.kind, defined.source, defined.target) == ("netfs", "nas:/export", "/mnt/shelved")


def test_paths_are_made_printable() -> None:
    hostile = xml("corus-persistent").replace("/images/corus", "/images/\u202ecorus%&#10;")
    (disk,) = parse_domain(hostile, "persistent", "corus")
    assert disk.path == "/images/%E2%80%AEcorus%25%0A"


def test_a_chain_of_any_depth_is_read_without_recursion() -> None:
    link = "<backingStore type='file'><source file='/images/x'/>"
    deep = xml("corus-persistent").replace("<target", link * 5000 + "</backingStore>" * 5000 + "<target")
    (disk,) = parse_domain(deep, "persistent", "corus")
    assert len(disk.below) == 5000


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "<domainsnapshot/>",
        "<!DOCTYPE domain [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>",
        "<!DOCTYPE domain><domain/>",
        "<domain>\udcff</domain>",
        "<domain><devices>",
    ],
)
def test_what_is_no_definition_of_a_domain_is_refused(hostile: str) -> None:
    with pytest.raises(ToolFailed):
        parse_domain(hostile, "persistent", "guest")


def test_a_file_that_is_no_pool_is_refused() -> None:
    for hostile in (b"<poolstate/>", b"<pool type='dir'/>", b"<network><name>x</name></network>", b"\0"):
        with pytest.raises(ToolFailed):
            parse_pool(hostile, "x.xml")


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(names("libvirt")), st.data())
def test_changed_text_gives_printable_disks_or_a_refusal(name: str, data: st.DataObject) -> None:
    text = load(name).out.decode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.text(max_size=6) | st.sampled_from(["<disk>", "</source>", "<backingStore>", "'", "&"])
        )
        text = text[:at] + piece + text[at + data.draw(st.integers(0, 30)) :]
    disks: list[GuestDisk] = []
    with suppress(ToolFailed):
        disks += parse_domain(text, "live", name)
    with suppress(ToolFailed):
        disks += parse_snapshot(text, name)
    assert all(
        value.isprintable() for disk in disks for value in (disk.path, disk.kind, disk.name, *disk.below)
    )
    try:
        pool = parse_pool(text.encode("utf-8", "surrogatepass"), name)
    except ToolFailed:
        return
    assert pool.name
    assert pool.target.isprintable()
