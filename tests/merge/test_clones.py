"""Parents by headers: names are text, compared with every path under which a volume is known."""

from __future__ import annotations

import pytest

from storekeeper.merge.clones import LOOP
from storekeeper.observation import Fault, Parent, Pool
from tests.merge.builders import (
    declared,
    disk_of,
    document,
    extents,
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
    parents,
    spaced,
    truths,
)

V = external()


def of_clone(name: str | Parent, *others: str, kind: str = "qcow2", key: str = "c") -> str | None:
    """The parent of a clone whose header names it so, among these other images."""
    return parents(V, images(V, image(key, kind, parent=name), *(image(other) for other in others))).get(key)


def test_an_image_with_a_parent_is_listed_as_clone_and_its_parent_as_image() -> None:
    view = host(
        spaced(V), images(V, image("base"), image("clone", parent="base"), image("deep", parent="clone"))
    )
    volume = document(merged(declared(V), view)).external_volumes[0]
    assert [each.image_id for each in volume.images] == ["base"]
    assert [(each.clone_id, each.image_id) for each in volume.clones] == [
        ("clone", "base"),
        ("deep", "clone"),
    ]


@pytest.mark.parametrize(
    "name",
    ["base", "./base", "x/../base", "/v/base", "/v//x/../base", "file:base", "file:/v/base", "file:///v/base",
     'json:{"driver":"qcow2","file":{"driver":"file","filename":"/v/base"}}',
     'json:{"driver": "qcow2", "file.driver": "file", "file.filename": "/v/base"}',
     'json:{"file.filename": "base"}',
     'json:{"filename": "/v/base"}'],
)  # fmt: skip
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    assert of_clone(name, "base") == "base"


def test_a_relative_name_begins_in_the_directory_of_its_image() -> None:
    assert of_clone("base", "a/base", "base", key="a/c") == "a/base"
    assert of_clone("../base", "a/base", "base", key="a/c") == "base"


@pytest.mark.parametrize(
    "name",
    ["/etc/shadow", "../../etc/shadow", "nbd://host/x", "https://host/base", "rbd:pool/base", "json:{",
     'json:{"driver":"nbd","host":"h"}', 'json:{"file":{"driver":["file"],"filename":"/v/base"}}', "json:[]",
     'json:{"driver":"nbd","filename":"/v/base"}', "json:" + '{"file":' * 5000 + "1" + "}" * 5000, "gone"],
)  # fmt: skip
def test_a_parent_outside_or_gone_is_named_as_the_header_names_it_and_the_clone_stays_one(name: str) -> None:
    assert of_clone(name, "base") == f":{name}"
    (clone,) = truths(V, images(V, image("c", parent=name))).values()
    assert [fault.code for fault in clone.faults] == ["parent-not-found"]


def test_a_name_in_json_is_compared_as_names_on_disk_are_written() -> None:
    assert of_clone('json:{"filename":"/v/50%25"}', "50%25") == "50%25"


def test_a_parent_in_another_volume_is_found_and_named_by_its_own_id() -> None:
    other = external("w")
    view = host(
        spaced(V), spaced(other), images(V, image("t/base")), images(other, image("c", parent="/v/t/base"))
    )
    truth = merged(declared(V, other), view).storages["s"]
    assert truth.volumes["w"].images["c"].parent == ("v", "t/base")
    assert document(merged(declared(V, other), view)).external_volumes[1].clones[0].image_id == "t/base"


def test_a_relative_name_may_lead_into_another_volume() -> None:
    other = external("w")
    view = host(
        spaced(V), spaced(other), images(V, image("base")), images(other, image("c", parent="../v/base"))
    )
    assert merged(declared(V, other), view).storages["s"].volumes["w"].images["c"].parent == ("v", "base")


def test_every_path_under_which_a_volume_is_known_is_compared() -> None:
    volume = external(place="/v", aliases=("/alias",), source="nas:/x")
    seen = spaced(
        volume, mount=mount("/v", "nfs4", "nas:/x", device_number="0:50"), other_paths=("/resolved",)
    )
    bound = mount("/bound", "nfs4", "nas:/x", device_number="0:50", root="/sub", key="9")
    pool = Pool(key="pool:p", name="p", kind="netfs", target="/pool", source="nas:/x")
    named = [image(place, parent=f"{place}/sub/base") for place in ("/alias", "/resolved", "/pool", "/v")]
    named.append(image("/bound", parent="/bound/base"))
    found = parents(
        volume, seen, look("mounts", "", bound), guests(pool), images(volume, image("sub/base"), *named)
    )
    assert set(found.values()) == {"sub/base"}
    assert len(found) == 5


def test_a_gluster_url_names_an_image_of_the_gluster_volume() -> None:
    volume = gluster()
    found = parents(
        volume, images(volume, image("a/base"), image("c", parent="gluster+tcp://h:24007/gv/a/base?x=y"))
    )
    assert found == {"c": "a/base"}


@pytest.mark.parametrize("kind", ["vhd", "vhdx", "vmdk"])
@pytest.mark.parametrize(
    "name", [".\\base", "base", "C:\\VMs\\base", "\\\\server\\share\\base", "..\\a\\base"]
)
def test_a_path_of_windows_is_found_by_its_relative_form_or_its_last_part(kind: str, name: str) -> None:
    assert of_clone(name, "a/base", kind=kind, key="a/c") == "a/base"


def test_a_disk_called_as_its_parent_on_another_drive_is_not_its_own_parent() -> None:
    assert of_clone("D:\\templates\\c", kind="vhdx") == ":D:\\templates\\c"


def test_a_backslash_in_other_formats_is_a_character_as_any() -> None:
    assert of_clone("a\\b", "a\\b") == "a\\b"


def test_names_are_tried_in_the_order_of_trust() -> None:
    parent = Parent(names=(".\\gone", "C:\\x\\second", "C:\\x\\third"))
    assert of_clone(parent, "second", "third", kind="vhdx") == "second"


def test_where_no_name_is_found_the_unique_id_decides() -> None:
    base = image("renamed", "vdi", unique_id="u1")
    assert parents(V, images(V, base, image("c", "vdi", parent=Parent(unique_id="u1")))) == {"c": "renamed"}
    named = Parent(names=("C:\\old",), unique_id="u1")
    assert parents(V, images(V, base, image("c", "vhdx", parent=named))) == {"c": "renamed"}
    assert parents(V, images(V, image("c", "vdi", parent=Parent(unique_id="u2")))) == {"c": ":u2"}


def test_of_several_images_with_the_wanted_id_the_nearest_is_meant() -> None:
    found = [image("a/far", "vdi", unique_id="u"), image("b/near", "vdi", unique_id="u")]
    assert parents(V, images(V, *found, image("b/c", "vdi", parent=Parent(unique_id="u")))) == {
        "b/c": "b/near"
    }


def test_a_loop_of_parents_is_a_fault_of_all_its_members_and_of_no_other() -> None:
    chain = [image("a", parent="b"), image("b", parent="c"), image("c", parent="a"), image("d", parent="a")]
    found = truths(V, images(V, *chain))
    assert {key for key, each in found.items() if LOOP in each.faults} == {"a", "b", "c"}
    assert parents(V, images(V, image("self", parent="self"))) == {"self": "self"}
    assert truths(V, images(V, image("self", parent="self")))["self"].faults == (LOOP,)


def test_a_raw_disk_of_a_guest_has_no_parent_whatever_the_guest_wrote_into_it() -> None:
    written = image("disk", parent="/v/other", size_mb=10, file_bytes=3 << 20)
    found = truths(V, images(V, written, image("other")), guests(guest("g", disk_of("/v/disk", kind="raw"))))
    assert (found["disk"].parent, found["disk"].format, found["disk"].size_bytes) == (None, "raw", 3 << 20)


def test_luks_that_libvirt_opens_itself_keeps_the_size_of_its_payload() -> None:
    disk = disk_of("/v/disk", kind="raw", encryption="luks")
    found = truths(V, images(V, image("disk", "luks", 8, file_bytes=10 << 20)), guests(guest("g", disk)))
    assert (found["disk"].format, found["disk"].size_bytes) == ("luks", 8 << 20)


def test_a_guest_that_declares_another_format_than_the_content_is_a_fault_without_a_size() -> None:
    found = truths(V, images(V, image("disk", "vmdk")), guests(guest("g", disk_of("/v/disk", kind="qcow2"))))
    text = "Guest g uses it as qcow2, but its content is vmdk."
    assert (found["disk"].format, found["disk"].faults) == ("qcow2", (Fault("format-mismatch", text),))
    view = host(
        spaced(V), images(V, image("disk", "vmdk")), guests(guest("g", disk_of("/v/disk", kind="qcow2")))
    )
    assert document(merged(declared(V), view)).external_volumes[0].images[0].size_mb == 0


def test_libvirt_calls_vhd_vpc() -> None:
    found = truths(V, images(V, image("disk", "vhd")), guests(guest("g", disk_of("/v/disk", kind="vpc"))))
    assert found["disk"].faults == ()


# --- what counts as an image --------------------------------------------------------------------


def test_extents_and_data_files_are_no_images_of_their_own() -> None:
    vmdk = image("d/disk.vmdk", "vmdk", extents=extents("disk-flat.vmdk", "disk-s001.vmdk"))
    parts = [image("d/disk-flat.vmdk", "raw"), image("d/disk-s001.vmdk", "vmdk")]
    qcow2 = image("q", data_file="/v/q.raw")
    assert set(truths(V, images(V, vmdk, *parts, qcow2, image("q.raw", "raw")))) == {"d/disk.vmdk", "q"}


def test_a_data_file_on_another_volume_is_no_image_either() -> None:
    other = external("w")
    view = host(
        spaced(V),
        spaced(other),
        images(V, image("q", data_file="/w/q.raw")),
        images(other, image("q.raw", "raw")),
    )
    assert merged(declared(V, other), view).storages["s"].volumes["w"].images == {}


def test_a_guests_own_disk_cannot_be_claimed_away_by_a_header() -> None:
    hostile = image("x", data_file="corus")
    assert "corus" not in truths(V, images(V, image("corus"), hostile))
    assert "corus" in truths(V, images(V, image("corus"), hostile), guests(guest("g", "/v/corus")))


def test_two_images_that_claim_each_other_both_stay() -> None:
    assert set(truths(V, images(V, image("a", data_file="b"), image("b", data_file="a")))) == {"a", "b"}


def test_a_temporary_name_counts_only_while_a_guest_uses_it() -> None:
    part = image("a.part", temporary=True)
    assert set(truths(V, images(V, part))) == set()
    assert set(truths(V, images(V, part), guests(guest("g", "/v/a.part")))) == {"a.part"}


def test_what_only_a_guest_made_an_image_counts_while_the_guest_uses_it() -> None:
    used = image("disk", "raw", evidence="used")
    assert set(truths(V, images(V, used))) == set()
    assert set(truths(V, images(V, used), guests(guest("g", "/v/disk")))) == {"disk"}
