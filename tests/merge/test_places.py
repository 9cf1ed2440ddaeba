"""Under which paths a volume is known, and what a path names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.declaration import Volume
from storekeeper.merge.places import Places, gluster_name, places_of
from storekeeper.merge.truth import HostView
from tests.merge.builders import declared, external, host, look, mount, spaced, views_of

V = external()


def places(*views: HostView, volume: Volume = V) -> Places:
    hosts = tuple(view.host_id for view in views) or ("h1",)
    return places_of(declared(volume, hosts=hosts).image_storages["s"], views_of(*views))


@pytest.mark.parametrize(
    ("path", "key"),
    [("/v/a", "a"), ("/v/d/a", "d/a"), ("//v///a", "a"), ("/v/./d/../a", "a"), ("/x/../v/a", "a")],
)
def test_a_path_below_the_mount_point_names_an_image(path: str, key: str) -> None:
    assert places().find(path) == ("v", key)


@pytest.mark.parametrize("path", ["/v", "/", "/va/x", "/v/../x", "", "v/a", "/v/a/../.."])
def test_a_path_elsewhere_names_none(path: str) -> None:
    assert places().find(path) is None


def test_the_innermost_place_counts() -> None:
    volumes = external("v", "/a"), external("w", "/b", aliases=("/a/b",))
    known = places_of(declared(*volumes).image_storages["s"], {})
    assert known.find("/a/b/x") == ("w", "x")
    assert known.find("/a/c/x") == ("v", "c/x")


def test_a_mount_point_with_odd_characters_is_compared_as_names_on_disk_are_written() -> None:
    assert places(volume=external(place="/50%")).find("/50%25/a") == ("v", "a")


def test_a_bind_mount_shows_the_volume_or_a_part_of_it() -> None:
    of_root = mount("/", "ext4", device_number="8:1")
    part = mount("/part", "ext4", device_number="8:1", root="/v/d")
    whole = mount("/above", "ext4", device_number="8:1", root="/")
    other = mount("/other", "ext4", device_number="8:2", root="/v")
    known = places(host(spaced(V, mount=of_root), look("mounts", "", of_root, part, whole, other)))
    assert known.find("/part/a") == ("v", "d/a")
    assert known.find("/above/v/a") == ("v", "a")
    assert known.find("/other/a") is None


def test_what_every_linked_host_knows_is_compared() -> None:
    known = places(host(spaced(V, other_paths=("/one",))), host(spaced(V, other_paths=("/two",)), name="h2"))
    assert (known.find("/one/a"), known.find("/two/a")) == (("v", "a"), ("v", "a"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("h:/gv", "gv"),
        ("h:gv", "gv"),
        ("a,b:/gv", "gv"),
        ("[::1]:/gv", "gv"),
        ("h:/gv/sub", ""),
        ("gv", "gv"),
        ("", ""),
    ],
)
def test_a_mount_of_gluster_names_its_volume(source: str, name: str) -> None:
    assert gluster_name(mount("/x", "fuse.glusterfs", source)) == name
    assert gluster_name(mount("/x", "nfs4", source)) == ""


PARTS = st.sampled_from(["a", "b", ".", "..", "", "..."])


@given(st.sampled_from(["x", "d/x", "d/e/x"]), st.lists(PARTS, min_size=1).map("/".join).filter(bool))
def test_a_relative_name_never_leaves_its_volume_unseen(key: str, name: str) -> None:
    found = places().find_from(("v", key), name)
    assert found is None or not {"..", "."}.intersection(found[1].split("/"))
