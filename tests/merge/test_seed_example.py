"""The API page's own example, made from observations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from storekeeper.declaration import Volume
from storekeeper.observation import Brick, Use
from storekeeper.rows import plain
from tests.merge.builders import (
    declared,
    disk,
    disk_of,
    disks,
    document,
    gluster_volume,
    guest,
    guests,
    host,
    image,
    images,
    look,
    merged,
    mount,
    space,
)

EXAMPLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("seed_example.json").read_text(encoding="utf-8")
)

SSD = Volume(volume_id="samsung_ssd", image_storage_id="internal", kind="ocfs2",
             mount_point="/storekeeper/samsung_ssd", primary_disk_id="3500253887013e77e")  # fmt: skip
HOME = Volume(
    volume_id="home_flexvdi", image_storage_id="internal", kind="external", mount_point="/home/flexvdi"
)
GLUSTER = Volume(volume_id="test_vol1", image_storage_id="internal", kind="gluster",
                 mount_point="/storekeeper/test_vol1", gvolume_name="test_vol1")  # fmt: skip
BRICKS = [
    f"{node}:/data/brick{number}" for node in ("flexdev01", "flexdev02", "flexnuc2") for number in (1, 2)
]


def place(volume: Volume, total_kib: int, free_kib: int) -> Any:
    return look(
        "space",
        volume.key,
        space(volume, total_bytes=total_kib * 1024 - 512, available_bytes=free_kib * 1024 - 1),
    )


def test_the_document_is_the_example_of_the_api_page_field_by_field() -> None:
    sizes = {"windows7_020216": 20480, "windows7_public": 40960, "windowsXP_public": 20480,
             "voidlinux_slp": 15360, "opensuse421_public": 20480, "voidlinux_slp_home": 61440}  # fmt: skip
    ssd = list(sizes.items())
    home = [("webportal_devel", 20480), ("corus", 20480), ("test", 1024)]
    owned = [
        guest(name, f"{SSD.mount_point}/{name}")
        for name, _ in ssd
        if name not in {"voidlinux_slp", "voidlinux_slp_home"}
    ]
    owned.append(
        guest("voidlinux_slp", *(f"{SSD.mount_point}/{name}" for name, _ in ssd if "voidlinux" in name))
    )
    owned += [guest(name, f"/home/flexvdi/{name}") for name in ("webportal_devel", "test")]
    desktop = (
        disk_of("/home/flexvdi/corus_demo_corus", "live"),
        disk_of("/home/flexvdi/corus", "persistent"),
    )
    owned.append(guest("corus", *desktop, state="running"))
    bricks = tuple(
        Brick(host=name.partition(":")[0], path=name.partition(":")[2], online=True) for name in BRICKS
    )
    view = host(
        place(SSD, 250057728, 67063808),
        place(HOME, 876659228, 514361156),
        place(GLUSTER, 376173056, 376105728),
        images(SSD, *(image(name, size_mb=size) for name, size in ssd)),
        images(
            HOME,
            *(image(name, size_mb=size) for name, size in home),
            image("corus_demo_corus", parent="corus"),
        ),
        images(GLUSTER),
        guests(*owned),
        disks(
            disk(disk_id="3500253887013e77e"),
            disk("sda", "35000c500a1", uses=(Use("mounted", "mounted at /"),)),
        ),
        look("gluster", "", msgspec.structs.replace(gluster_volume(name="test_vol1"), bricks=bricks)),
        look("mounts", "", mount("/storekeeper/test_vol1", "fuse.glusterfs", "flexdev01:/test_vol1")),
        name="flexdev01",
    )
    found = document(
        merged(declared(SSD, HOME, GLUSTER, hosts=("flexdev01",), storage="internal"), view), "internal"
    )
    assert in_order_of_ids(msgspec.to_builtins(found, enc_hook=plain)) == in_order_of_ids(EXAMPLE)


def in_order_of_ids(document: dict[str, Any]) -> dict[str, Any]:
    """The page lists images in no order; ours are sorted by id."""
    for kind in ("volumes", "external_volumes", "gluster_volumes"):
        for volume in document[kind]:
            volume["images"].sort(key=lambda row: row["image_id"])
            volume["clones"].sort(key=lambda row: row["clone_id"])
    return document
