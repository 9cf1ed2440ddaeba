"""Images of several files: one image under its descriptor's name, and no name in a header is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.observation import Image, Seen
from storekeeper.sources import joining
from tests.sources.test_images import Volume

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=11111111
parentCID=ffffffff
createType="monolithicFlat"

# Extent description
{extents}

# The Disk Data Base
ddb.adapterType = "ide"
"""


def descriptor(volume: Volume, name: str, *extents: str, sectors: int = 2048) -> Path:
    lines = "\n".join(f'RW {sectors} FLAT "{extent}" 0' for extent in extents)
    return volume.write(name, DESCRIPTOR.format(extents=lines).encode())


def codes(image: Image) -> list[str]:
    return [fault.code for fault in image.faults]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    root = tmp_path / "volume"
    root.mkdir()
    return Volume(root)


def test_a_descriptor_and_its_extents_are_one_image_that_takes_what_all_take(volume: Volume) -> None:
    paths = [
        descriptor(volume, "team/win.vmdk", "win-f001.vmdk", "win-f002.vmdk"),
        volume.write("team/win-f001.vmdk", b"x" * 100_000, 1 << 20),
        volume.write("team/win-f002.vmdk", b"x" * 200_000, 1 << 20),
    ]
    found = volume.look()
    assert set(found) == {"team/win.vmdk"}
    assert found["team/win.vmdk"].allocated_bytes == sum(path.stat().st_blocks * 512 for path in paths)
    assert found["team/win.vmdk"].header.virtual_bytes == 2 << 20
    assert found["team/win.vmdk"].faults == ()
    assert volume.look()["team/win.vmdk"] is found["team/win.vmdk"]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_extents_with_any_content_and_name_are_no_images_of_their_own(volume: Volume, kind: str) -> None:
    volume.host.filesystem_type = kind
    descriptor(volume, "a.vmdk", "a.raw", "b.img", "c")
    volume.seed("a.raw", "qcow2-v3")
    volume.write("b.img", b"", 1 << 20)
    volume.write("c", b"", 1 << 20)
    assert set(volume.look()) == {"a.vmdk"}
    assert set(volume.look()) == {"a.vmdk"}


def test_a_data_file_is_no_image_of_its_own(volume: Volume) -> None:
    path = volume.seed("disk.qcow2", "qcow2-data-file")
    found = volume.look()["disk.qcow2"]
    name = found.header.data_file.rpartition("/")[2]
    assert codes(found) == ["outside-volume" if found.header.data_file.startswith("/") else "missing-file"]
    data = volume.write(name, b"x" * 100_000, 1 << 20)
    found = volume.look()["disk.qcow2"]
    assert set(volume.look()) == {"disk.qcow2"}
    assert found.allocated_bytes == (path.stat().st_blocks + data.stat().st_blocks) * 512
    assert codes(found) == []


def test_a_missing_extent_is_a_fault_until_it_comes(volume: Volume) -> None:
    descriptor(volume, "a.vmdk", "a-flat.vmdk")
    assert codes(volume.look()["a.vmdk"]) == ["missing-file"]
    volume.write("a-flat.vmdk", b"x" * 100_000, 1 << 20)
    found = volume.look("a-flat.vmdk")
    assert codes(found["a.vmdk"]) == []
    assert found["a.vmdk"].allocated_bytes > 100_000
    (volume.root / "a-flat.vmdk").unlink()
    assert codes(volume.look("a-flat.vmdk")["a.vmdk"]) == ["missing-file"]


def test_an_extent_that_grows_makes_its_image_grow(volume: Volume) -> None:
    descriptor(volume, "a.vmdk", "a-flat.vmdk")
    volume.write("a-flat.vmdk", b"", 1 << 20)
    before = volume.look()["a.vmdk"].allocated_bytes
    volume.write("a-flat.vmdk", b"x" * 100_000, 1 << 20)
    assert volume.look("a-flat.vmdk")["a.vmdk"].allocated_bytes > before


def test_without_their_descriptor_files_are_what_they_are_by_themselves(volume: Volume) -> None:
    path = descriptor(volume, "a.vmdk", "a.raw", "plain")
    volume.write("a.raw", b"", 1 << 20)
    volume.write("plain", b"", 1 << 20)
    volume.look()
    path.unlink()
    assert set(volume.look("a.vmdk")) == {"a.raw"}
    assert set(volume.look()) == {"a.raw"}


def test_a_descriptor_that_changes_claims_other_files(volume: Volume) -> None:
    descriptor(volume, "a.vmdk", "one.raw")
    volume.write("one.raw", b"", 1 << 20)
    volume.write("two.raw", b"", 1 << 20)
    assert set(volume.look()) == {"a.vmdk", "two.raw"}
    descriptor(volume, "a.vmdk", "two.raw")
    assert set(volume.look("a.vmdk")) == {"a.vmdk", "one.raw"}


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../../../../../etc/passwd", "nbd://example.com/x", "json:{}", ".."]
)
def test_a_name_that_leads_out_of_the_volume_is_a_fault_and_not_opened(volume: Volume, name: str) -> None:
    descriptor(volume, "a.vmdk", name)
    assert codes(volume.look()["a.vmdk"]) == ["outside-volume"]
    assert volume.host.opened == [b"a.vmdk"]


def test_a_link_that_leads_out_of_the_volume_is_no_extent(volume: Volume) -> None:
    descriptor(volume, "a.vmdk", "link.vmdk", "etc/passwd")
    (volume.root / "link.vmdk").symlink_to("/etc/passwd")
    (volume.root / "etc").symlink_to("/etc")
    assert codes(volume.look()["a.vmdk"]) == ["missing-file", "missing-file"]


def test_a_header_in_a_raw_disk_cannot_make_anothers_image_vanish(volume: Volume) -> None:
    descriptor(volume, "hostile", "victim.qcow2")
    volume.seed("victim.qcow2", "qcow2-v3")
    volume.used = {"victim.qcow2": "qcow2"}
    assert set(volume.look()) == {"hostile", "victim.qcow2"}
    volume.used = {"hostile": "raw"}
    assert set(volume.look()) == {"hostile", "victim.qcow2"}


def test_two_that_claim_each_other_and_one_that_claims_itself_stay(volume: Volume) -> None:
    descriptor(volume, "a.vmdk", "b.vmdk")
    descriptor(volume, "b.vmdk", "a.vmdk")
    descriptor(volume, "c.vmdk", "c.vmdk")
    assert set(volume.look()) == {"a.vmdk", "b.vmdk", "c.vmdk"}


def test_whoever_claims_is_not_suppressed_by_a_claim() -> None:
    assert joining.suppressed({"a": ("b", "c"), "b": ("a",)}, {}) == {"c"}


def test_after_a_restart_several_files_are_one_image_again(volume: Volume) -> None:
    descriptor(volume, "a.vmdk", "a-flat.vmdk")
    volume.write("a-flat.vmdk", b"x" * 100_000, 1 << 20)
    first = volume.look()
    assert volume.last is not None
    volume.last = Seen(source="images", scope="s/v", facts=dict(volume.last.facts))
    assert volume.look()["a.vmdk"] is first["a.vmdk"]


@given(name=st.text(), image=st.sampled_from(["a", "team/a"]))
def test_a_name_never_stands_for_anything_but_a_path_below_the_root(name: str, image: str) -> None:
    key = joining.key_of(name, image, ["/srv/volume"])
    if key is not None:
        assert not key.startswith("/")
        assert not {"", ".", ".."} & set(key.split("/"))
