"""Where each host is to look."""

from __future__ import annotations

from typing import Any

import pytest

from storekeeper.declaration import Declaration, Volume
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView, Memory, Remembered, Truth
from storekeeper.observation import Fault
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Scope
from tests.merge.builders import (
    NOW,
    TIMED_OUT,
    declared,
    disk_of,
    external,
    gluster,
    guest,
    guests,
    host,
    image,
    images,
    look,
    merged,
    mount,
    space,
    spaced,
    views_of,
)

V = external()


def asked(
    declaration: Declaration, *views: HostView, truth: Truth | None = None, host_id: str = "h1"
) -> dict[tuple[str, str], Scope]:
    return {(name, scope.key): scope for name, scope in scopes(declaration, views_of(*views), truth)[host_id]}


def walked(volume: Volume, **seen: Any) -> bool:
    """Whether the volume's images are to be looked at after its place was seen so."""
    return ("images", volume.key) in asked(declared(volume), host(spaced(volume, **seen)))


def test_what_is_of_the_host_is_asked_once_and_its_volumes_place_each_even_before_any_report() -> None:
    found = scopes(declared(V, external("w")), {})["h1"]
    of_host = sorted(source.name for source in SOURCES.values() if source.of == "host")
    assert sorted(name for name, scope in found if not scope.key) == of_host
    assert [(name, scope.key, scope.root) for name, scope in found if scope.key] == [
        ("space", "s/v", "/v"), ("space", "s/w", "/w")]  # fmt: skip


def test_only_linked_hosts_look_at_a_volume() -> None:
    both = scopes(declared(V, hosts=("h1", "h2")), {})
    assert both.keys() == {"h1", "h2"}
    elsewhere = declared(V, hosts=("h2",))
    found = scopes(elsewhere.__class__(host_id="h1", image_storages=elsewhere.image_storages), {})
    assert all(not scope.key for _, scope in found["h1"])


def test_images_are_looked_at_once_the_volume_is_there() -> None:
    assert not asked(declared(V), host()).keys() & {("images", "s/v")}
    assert walked(V)


@pytest.mark.parametrize("seen", [{"exists": False}, {"must_be_mount": True}, {"path": "/former"}])
def test_beneath_a_missing_mount_nothing_is_walked(seen: dict[str, Any]) -> None:
    assert not walked(V, **seen)


def test_another_filesystem_than_the_remembered_one_is_not_walked() -> None:
    view = host(spaced(V, filesystem_id="uuid-2"))
    memory = Memory(volumes={"s/v": Remembered(filesystem_id="uuid-1")})
    truth = Truth(storages={}, memory=memory, valid_until=NOW)
    assert ("images", "s/v") in asked(declared(V), view)
    assert ("images", "s/v") not in asked(declared(V), view, truth=truth)


def test_a_volume_that_hung_once_is_not_forgotten_and_read_anew() -> None:
    assert ("images", "s/v") in asked(declared(V), host(spaced(V, faults=[TIMED_OUT])))
    assert walked(V, read_fault=Fault("io-error", "EIO"), read_only=True)


def test_a_volume_that_must_be_a_mount_says_so_in_its_scope() -> None:
    assert not asked(declared(V), host())["space", "s/v"].must_be_mount
    assert asked(declared(external(mounted=True)), host())["space", "s/v"].must_be_mount
    elsewhere = host(spaced(V, is_mount_point=True), name="h2")
    assert asked(declared(V, hosts=("h1", "h2")), elsewhere)["space", "s/v"].must_be_mount


def test_a_gluster_volume_mounted_elsewhere_is_looked_at_there() -> None:
    volume = gluster()
    other = mount("/mnt/a b%25", "fuse.glusterfs", "h1:/gv")
    there = space(volume, path=other.mount_point, mount=other)
    found = asked(declared(volume), host(look("mounts", "", other), look("space", volume.key, there)))
    assert {key: scope.root for key, scope in found.items() if scope.key} == {
        ("space", "s/v"): "/mnt/a b%", ("images", "s/v"): "/mnt/a b%"}  # fmt: skip
    at_both = look("mounts", "", other, mount("/v", "fuse.glusterfs", "h1:/gv"))
    assert asked(declared(volume), host(at_both))["space", "s/v"].root == "/v"
    below = look("mounts", "", mount("/mnt", "fuse.glusterfs", "h1:/gv/sub"))
    assert asked(declared(volume), host(below))["space", "s/v"].root == "/v"


def test_what_guests_of_any_host_use_is_told_with_its_declared_format() -> None:
    one = host(spaced(V), guests(guest("g", disk_of("/v/a/x y", kind="raw"), "/elsewhere/z")))
    two = host(guests(guest("h", disk_of("/v/b", kind="vpc"))), name="h2")
    declaration = declared(V, hosts=("h1", "h2"))
    wanted = {"a/x y": "raw", "b": "vhd"}
    assert asked(declaration, one, two)["images", "s/v"].used == wanted
    truth = merged(declaration, one, two)
    assert asked(declaration, one, two, truth=truth)["images", "s/v"].used == wanted


def test_extents_are_asked_only_of_filesystems_that_share_them() -> None:
    xfs, nfs = (host(spaced(V, mount=mount("/", kind))) for kind in ("xfs", "nfs4"))
    assert ("extents", "s/v") not in asked(declared(V), nfs)
    assert (("extents", "s/v") in asked(declared(V), xfs)) == ("extents" in SOURCES)


def test_one_host_a_cluster_asks_it_the_first_that_can() -> None:
    declaration = declared(gluster(), hosts=("h1", "h2"))

    def asking(*views: HostView) -> list[str]:
        found = scopes(declaration, views_of(*views))
        return [host_id for host_id in found if dict(found[host_id])["gluster"].ask_cluster]

    no_tools = look("gluster", "", faults=[Fault("tool-missing", "no gluster", hides="*")])
    assert asking() == ["h1"]
    assert asking(host(), host(name="h2")) == ["h1"]
    assert asking(host(no_tools), host(name="h2")) == ["h2"]
    assert asking(host(reported_at=NOW - 61), host(name="h2")) == ["h2"]


def test_a_walk_is_not_told_anew_while_nothing_changed() -> None:
    view = host(spaced(V), images(V, image("a")), guests(guest("g", "/v/a")))
    truth = merged(declared(V), view)
    again = merged(declared(V), view, memory=truth.memory, previous=truth)
    first, second = (asked(declared(V), view, truth=each)["images", "s/v"] for each in (truth, again))
    assert first == second
    assert first.used is second.used
