"""Each row of the table of statuses, in the table's order, and its message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from storekeeper.declaration import Volume
from storekeeper.merge.status import TABLE
from storekeeper.merge.truth import HostView, Look, Memory, Remembered
from storekeeper.observation import BrickHeal, Fault, GlusterHeal, GlusterVolume
from tests.merge.builders import (
    MIB,
    NOW,
    NOW_SHOWN,
    TIMED_OUT,
    declared,
    disk,
    disks,
    document,
    external,
    gluster,
    gluster_volume,
    host,
    image,
    images,
    look,
    merged,
    mount,
    ocfs2,
    replicated,
    space,
    spaced,
    status,
)

V = external(mounted=True)
G = gluster()
SAN = ocfs2()
MINUTE_AGO = "2027-01-15 07:59 UTC"
EIO = Fault("io-error", "Input/output error.")


def two(one: HostView, other: HostView, volume: Volume = V, **more: Any) -> tuple[str, str]:
    return status(merged(declared(volume, hosts=("h1", "h2")), one, other, **more))


def alone(volume: Volume, *looks: Look) -> tuple[str, str]:
    return status(merged(declared(volume), host(images(volume), *looks)))


def well(name: str = "h1", volume: Volume = V) -> HostView:
    """A host that sees the volume as it should be."""
    return host(images(volume), spaced(volume, is_mount_point=True), name=name)


def badly(name: str = "h2", volume: Volume = V, **more: Any) -> HostView:
    values = {"is_mount_point": True, **more}
    return host(images(volume), spaced(volume, **values), name=name)


def on(*facts: GlusterVolume | GlusterHeal, heal_at: float = NOW) -> Iterable[Look]:
    """A Gluster volume's looks on a host that has it mounted."""
    yield spaced(G)
    yield look("gluster", "", *(fact for fact in facts if isinstance(fact, GlusterVolume)))
    heals = [fact for fact in facts if isinstance(fact, GlusterHeal)]
    yield look("gluster_heals", "", *heals, at=heal_at)


def heal(entries: int = 0, split: int = 0, files: tuple[str, ...] = ()) -> GlusterHeal:
    brick = BrickHeal(host="g0", path="/brick", entries=entries, split_brain_entries=split)
    return GlusterHeal(key="gv", bricks=(brick,), split_brain_files=files)


def test_a_volume_that_all_hosts_see_well_is_ok_without_a_message() -> None:
    assert two(well(), well("h2")) == ("ok", "")
    assert alone(SAN, spaced(SAN), disks(disk())) == ("ok", "")
    assert alone(G, *on(gluster_volume())) == ("ok", "")


# --- unknown ------------------------------------------------------------------------------------


def test_no_report_of_any_host_within_the_time_allowed_is_unknown() -> None:
    assert status(merged(declared(V))) == ("unknown", "No report from h1 yet.")
    assert status(merged(declared(V), well(), now=NOW + 60)) == (
        "unknown",
        f"No report from h1 since {NOW_SHOWN}.",
    )


def test_what_was_last_seen_of_a_silent_volume_stays() -> None:
    view = host(images(V, image("a")), spaced(V, is_mount_point=True))
    row = document(merged(declared(V), view, now=NOW + 1000)).external_volumes[0]
    assert (row.status, row.total_space, [each.image_id for each in row.images]) == (
        "unknown",
        1000 * 1024,
        ["a"],
    )


def test_a_mount_that_hangs_on_its_only_host_is_unknown() -> None:
    hung = spaced(V, is_mount_point=True, faults=[TIMED_OUT], good_at=NOW - 60)
    assert alone(V, hung) == ("unknown", f"/v does not answer on h1 since {MINUTE_AGO}.")


def test_a_probe_that_fails_for_another_reason_tells_nothing() -> None:
    blind = spaced(V, faults=[Fault("denied", "Permission denied.", hides="*")])
    assert alone(V, blind) == ("unknown", "Nothing can be told of it on h1 (Permission denied).")


def test_an_answer_older_than_three_intervals_is_unknown() -> None:
    view = host(images(V), spaced(V, is_mount_point=True), reported_at=NOW + 50)
    assert status(merged(declared(V), view, now=NOW + 50)) == (
        "unknown",
        f"Not looked at on h1 since {NOW_SHOWN}.",
    )


def test_a_place_not_looked_at_yet_is_unknown() -> None:
    assert alone(V) == ("unknown", "Not looked at on h1 yet.")


def test_a_volume_whose_images_were_never_listed_is_unknown() -> None:
    view = host(spaced(V, is_mount_point=True))
    assert status(merged(declared(V), view)) == ("unknown", "Its images have not been listed yet.")
    view = host(spaced(V, is_mount_point=True), images(V, faults=[TIMED_OUT]))
    assert status(merged(declared(V), view)) == (
        "unknown",
        "Its images were never listed (no answer within 5 s).",
    )


# --- broken and degraded ------------------------------------------------------------------------

SEEN_BADLY: dict[str, tuple[dict[str, Any], str]] = {
    "not-mounted": ({"is_mount_point": False}, "It is not mounted at /v on {}"),
    "absent": ({"exists": False}, "/v does not exist on {}"),
    "io-error": ({"read_fault": EIO}, "It cannot be read on {} (Input/output error)"),
    "read-only": ({"read_only": True}, "It is read-only on {}"),
}


@pytest.mark.parametrize("code", SEEN_BADLY)
def test_what_no_host_can_use_is_broken_and_what_some_host_cannot_is_degraded(code: str) -> None:
    seen, text = SEEN_BADLY[code]
    assert alone(V, *badly("h1", **seen).looks.values()) == (
        "broken",
        f"{text.format('h1')} since {NOW_SHOWN}.",
    )
    assert two(well(), badly(**seen)) == ("degraded", f"{text.format('h2')} since {NOW_SHOWN}.")
    assert two(badly("h1", **seen), badly(**seen))[0] == "broken"


def test_a_read_only_mount_or_superblock_is_read_only_whatever_statvfs_says() -> None:
    read_only: list[dict[str, Any]] = [{"options": ("ro",)}, {"super_options": ("ro",)}]
    for options in read_only:
        assert two(well(), badly(mount=mount("/v", **options)))[1].startswith("It is read-only on h2")


def test_another_filesystem_than_that_of_the_first_look_is_broken_or_degraded() -> None:
    memory = Memory(volumes={"s/v": Remembered(filesystem_id="uuid-1")})
    said = f"Another filesystem is at /v on h2, uuid-2 instead of uuid-1, since {NOW_SHOWN}."
    assert two(well(), badly(filesystem_id="uuid-2"), memory=memory) == ("degraded", said)
    assert (
        two(badly("h1", filesystem_id="uuid-2"), badly(filesystem_id="uuid-2"), memory=memory)[0] == "broken"
    )


def test_without_a_first_look_the_filesystem_of_most_hosts_is_the_volume() -> None:
    views = [well("h1"), badly("h2", filesystem_id="uuid-2"), badly("h3", filesystem_id="uuid-2")]
    truth = merged(declared(V, hosts=("h1", "h2", "h3")), *views)
    assert status(truth)[1].startswith("Another filesystem is at /v on h1, uuid-1 instead of uuid-2")


def test_a_filesystem_whose_identity_cannot_be_told_is_not_another_one() -> None:
    assert two(well(), badly(filesystem_id="")) == ("ok", "")


def test_a_kind_of_filesystem_that_has_no_identity_is_another_one() -> None:
    tmpfs = mount("/v", "tmpfs", "tmpfs")
    said = f"Another filesystem is at /v on h2, tmpfs instead of uuid-1, since {NOW_SHOWN}."
    assert two(well(), badly(filesystem_id="", mount=tmpfs)) == ("degraded", said)
    assert two(well(), badly(filesystem_id="", mount=mount("/v", "autofs", "systemd-1"))) == ("ok", "")


@pytest.mark.parametrize("source", ["/dev/mapper/data", "UUID=uuid-1", "LABEL=data"])
def test_what_is_mounted_from_no_device_is_not_the_declared_one(source: str) -> None:
    volume = external(source=source)
    seen = spaced(volume, filesystem_id="", mount=mount("/v", "tmpfs", "tmpfs"))
    said = f"Instead of {source}, tmpfs is mounted at /v on h1 since {NOW_SHOWN}."
    assert alone(volume, seen) == ("broken", said)
    assert alone(volume, spaced(volume, mount=mount("/v", source="/dev/dm-3"))) == ("ok", "")


def test_an_ocfs2_volume_must_lie_on_its_primary_disk() -> None:
    elsewhere = disks(disk(device_numbers=("8:32",)))
    assert alone(SAN, spaced(SAN), elsewhere)[0] == "broken"
    assert alone(SAN, spaced(SAN), elsewhere)[1].startswith(
        "What is mounted at /v on h1 does not lie on its disk 35000 since"
    )


def test_a_disk_gone_from_all_hosts_is_broken_and_from_some_degraded() -> None:
    gone = host(images(SAN), spaced(SAN), disks(), name="h2")
    with_disk = host(images(SAN), spaced(SAN), disks(disk()))
    assert alone(SAN, spaced(SAN), disks()) == ("broken", f"Its disk 35000 is not on h1 since {NOW_SHOWN}.")
    assert two(with_disk, gone, SAN) == ("degraded", f"Its disk 35000 is not on h2 since {NOW_SHOWN}.")


def test_a_mount_that_hangs_because_its_disk_is_gone_is_broken_not_unknown() -> None:
    hung = spaced(SAN, faults=[TIMED_OUT], good_at=NOW - 60)
    assert alone(SAN, hung, disks()) == ("broken", f"Its disk 35000 is not on h1 since {MINUTE_AGO}.")
    unheard = look("disks", "", at=NOW - 3600)
    assert alone(SAN, hung, unheard)[0] == "unknown"


def test_disks_that_could_not_be_listed_say_nothing_about_a_volume() -> None:
    assert alone(SAN, spaced(SAN), look("disks", "", faults=[TIMED_OUT])) == ("ok", "")


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (host(name="h2", reported_at=NOW - 61), "No report from h2 since 2027-01-15 07:58 UTC."),
        (host(name="h2"), "Not looked at on h2 yet."),
        (host(spaced(V, at=NOW - 100), name="h2"), "Not looked at on h2 since 2027-01-15 07:58 UTC."),
        (host(spaced(V, faults=[TIMED_OUT]), name="h2"), "/v does not answer on h2."),
        (
            host(spaced(V, faults=[Fault("denied", "No.", hides="*")]), name="h2"),
            "Nothing can be told of it on h2 (No).",
        ),
    ],
)
def test_a_host_of_which_nothing_is_known_makes_it_degraded_while_others_see_it_well(
    other: HostView, text: str
) -> None:
    assert two(well(), other) == ("degraded", text)


def test_all_hosts_in_trouble_are_named_the_worst_trouble_first() -> None:
    views = [host(name="h1", reported_at=NOW - 61), badly("h2", read_only=True), well("h3")]
    truth = merged(declared(V, hosts=("h1", "h2", "h3")), *views)
    assert status(truth) == (
        "degraded",
        f"It is read-only on h2 since {NOW_SHOWN}; no report from h1 since 2027-01-15 07:58 UTC.",
    )


def test_a_trouble_keeps_the_time_at_which_it_began() -> None:
    first = merged(declared(V), badly("h1", read_only=True))
    later = host(
        images(V), spaced(V, at=NOW + 600, is_mount_point=True, read_only=True), reported_at=NOW + 600
    )
    again = merged(declared(V), later, memory=first.memory, now=NOW + 600)
    assert status(again) == status(first)
    healed = host(images(V), spaced(V, at=NOW + 600, is_mount_point=True), reported_at=NOW + 600)
    assert merged(declared(V), healed, memory=again.memory, now=NOW + 600).memory.of("s/v").since == {}


# --- what must be a mount -----------------------------------------------------------------------


def test_an_external_volume_may_be_a_plain_directory() -> None:
    volume = external()
    assert alone(volume, spaced(volume)) == ("ok", "")


@pytest.mark.parametrize(
    "volume",
    [external(mounted=True), external(source="nas:/x"), ocfs2(), gluster()],
    ids=lambda v: v.kind + v.source,
)
def test_a_volume_that_is_declared_to_be_mounted_must_be(volume: Volume) -> None:
    assert alone(volume, spaced(volume, is_mount_point=False))[1].startswith("It is not mounted at /v on h1")


def test_a_place_that_fstab_mounts_or_that_was_a_mount_at_the_first_look_must_be_one() -> None:
    volume = external()
    assert alone(volume, spaced(volume, must_be_mount=True))[0] == "broken"
    first = merged(declared(volume), host(images(volume), spaced(volume, is_mount_point=True)))
    plain = host(images(volume), spaced(volume))
    assert status(merged(declared(volume), plain, memory=first.memory))[0] == "broken"
    assert status(merged(declared(external(mounted=False)), plain, memory=first.memory))[0] == "ok"


def test_a_place_that_other_hosts_mount_must_be_mounted_on_all() -> None:
    volume = external()
    mounted = host(images(volume), spaced(volume, is_mount_point=True))
    assert two(mounted, host(images(volume), spaced(volume), name="h2"), volume)[0] == "degraded"


@pytest.mark.parametrize("source", ["nas:/export", "nas:/export/"])
def test_another_source_than_the_declared_one_is_another_filesystem(source: str) -> None:
    volume = external(source="nas:/export")
    assert alone(volume, spaced(volume, mount=mount("/v", "nfs4", source))) == ("ok", "")
    assert alone(volume, spaced(volume, mount=mount("/v", "nfs4", "nas:/other")))[1].startswith(
        "Instead of nas:/export, nas:/other is mounted at /v on h1"
    )


@pytest.mark.parametrize("source", ["UUID=uuid-1", "/dev/disk/by-uuid/uuid-1", "LABEL=images"])
def test_a_source_named_by_uuid_is_compared_with_the_superblock(source: str) -> None:
    volume = external(source=source)
    assert alone(volume, spaced(volume, mount=mount("/v"))) == ("ok", "")
    other = alone(volume, spaced(volume, mount=mount("/v"), filesystem_id="uuid-2"))
    assert other[0] == ("ok" if source.startswith("LABEL") else "broken")


def test_beneath_a_missing_mount_images_and_space_stay_as_last_seen() -> None:
    good = host(images(V, image("a")), spaced(V, is_mount_point=True))
    first = merged(declared(V), good)
    gone = host(images(V, image("a")), spaced(V, total_bytes=5 * MIB, available_bytes=MIB))
    row = document(merged(declared(V), gone, memory=first.memory)).external_volumes[0]
    assert (row.status, row.total_space, row.free_space) == ("broken", 1000 * 1024, 400 * 1024)
    assert [each.image_id for each in row.images] == ["a"]


def test_a_gluster_volume_may_be_mounted_elsewhere() -> None:
    elsewhere = space(G, path="/mnt/gv", mount=mount("/mnt/gv", "fuse.glusterfs", "a,b:gv"))
    looks = [look("space", G.key, elsewhere), look("gluster", "", gluster_volume())]
    assert alone(G, *looks) == ("ok", "")


def test_a_gluster_volume_deleted_and_made_anew_is_another_filesystem() -> None:
    looks = [spaced(G, filesystem_id="gluster:gv"), look("gluster", "", gluster_volume())]
    first = merged(declared(G), host(images(G), *looks))
    assert first.memory.of("s/v").filesystem_id == "gluster-1"
    looks[1] = look("gluster", "", gluster_volume(unique_id="gluster-2"))
    assert status(merged(declared(G), host(images(G), *looks), memory=first.memory))[0] == "broken"


# --- gluster ------------------------------------------------------------------------------------


def test_a_stopped_gluster_volume_is_broken_even_where_its_mount_hangs() -> None:
    hung = spaced(G, faults=[TIMED_OUT])
    stopped = look("gluster", "", gluster_volume("??????", started=False))
    assert alone(G, hung, stopped) == ("broken", f"The Gluster volume gv is stopped since {NOW_SHOWN}.")


def test_bricks_offline_are_degraded_within_and_broken_beyond_what_is_tolerated() -> None:
    assert alone(G, *on(gluster_volume("uuuudd"))) == (
        "degraded",
        f"2 of 6 bricks are offline since {NOW_SHOWN}: g4:/brick, g5:/brick.",
    )
    assert alone(G, *on(gluster_volume("uuuddd"))) == (
        "broken",
        f"More bricks are offline than the volume can do without since {NOW_SHOWN}: "
        "g3:/brick, g4:/brick, g5:/brick.",
    )
    assert alone(G, *on(replicated("uuuudd")))[1].startswith(
        "More bricks are offline than 1 of its subvolumes"
    )


def test_files_in_split_brain_are_degraded_and_named() -> None:
    assert alone(G, *on(gluster_volume(), heal(3, 1, ("/a.img",)))) == (
        "degraded",
        f"Its bricks hold different contents (split brain) since {NOW_SHOWN}: /a.img.",
    )
    assert alone(G, *on(gluster_volume(), heal(3, 2)))[1].endswith(": 2 entries.")


def test_entries_to_heal_count_when_two_looks_running_saw_them() -> None:
    first = merged(declared(G), host(images(G), *on(gluster_volume(), heal(3))))
    assert status(first) == ("ok", "")
    same_look = merged(declared(G), host(images(G), *on(gluster_volume(), heal(3))), memory=first.memory)
    assert status(same_look) == ("ok", "")
    view = host(images(G), *on(gluster_volume(), heal(2), heal_at=NOW + 1))
    assert status(merged(declared(G), view, memory=first.memory, now=NOW + 1)) == (
        "degraded",
        f"2 entries wait to be healed since {NOW_SHOWN}, on g0:/brick.",
    )


def test_entries_healed_between_two_looks_are_forgotten() -> None:
    first = merged(declared(G), host(images(G), *on(gluster_volume(), heal(3))))
    healed = merged(declared(G), host(images(G), *on(gluster_volume(), heal(0), heal_at=NOW + 1)),
                    memory=first.memory)  # fmt: skip
    again = host(images(G), *on(gluster_volume(), heal(3), heal_at=NOW + 2))
    assert status(merged(declared(G), again, memory=healed.memory)) == ("ok", "")


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ([look("gluster", "", faults=[Fault("tool-failed", "glusterd does not run.", hides="*")])],
         "h1: glusterd does not run"),
        ([look("gluster", "", gluster_volume("??????", faults=(Fault("busy", "locked"),)))], "h1: locked"),
        ([look("gluster", "")], "h1 knows no Gluster volume gv"),
        ([look("gluster", "", gluster_volume(), at=NOW - 50)], "h1 has not been heard of"),
        ([], "no host has asked it yet"),
    ],
)  # fmt: skip
def test_gluster_tools_that_fail_everywhere_are_degraded(tools: list[Look], why: str) -> None:
    state, text = alone(G, spaced(G), *tools)
    assert state == "degraded"
    assert text.startswith("Gluster cannot be asked about its bricks")
    assert text.endswith(f"({why}).")


def test_a_look_that_met_the_clusters_lock_and_still_knows_its_bricks_is_enough() -> None:
    assert alone(G, *on(gluster_volume(faults=(Fault("busy", "locked"),)))) == ("ok", "")


def test_when_gluster_tools_fail_what_was_last_seen_stays() -> None:
    fault = Fault("tool-failed", "glusterd does not run.", hides="*")
    failed = look("gluster", "", gluster_volume(), faults=[fault], good_at=NOW - 60)
    row = document(merged(declared(G), host(images(G), spaced(G), failed))).gluster_volumes[0]
    assert (row.configuration, len(row.bricks)) == ("1 x (4 + 2)", 6)


def test_another_host_that_can_tell_is_enough() -> None:
    fault = Fault("tool-missing", "gluster is not installed.", hides="*")
    client = host(images(G), spaced(G), look("gluster", "", faults=[fault]))
    server = host(images(G), spaced(G), look("gluster", "", gluster_volume()), name="h2")
    assert two(client, server, G) == ("ok", "")


# --- images -------------------------------------------------------------------------------------


def test_images_that_can_be_listed_no_more_are_degraded() -> None:
    view = host(spaced(V, is_mount_point=True), images(V, image("a"), faults=[TIMED_OUT], good_at=NOW - 60))
    assert status(merged(declared(V), view)) == (
        "degraded",
        f"Its images could not be listed since {MINUTE_AGO} (no answer within 5 s); they are as last seen.",
    )


def test_a_directory_that_could_not_be_read_is_degraded_and_named() -> None:
    fault = Fault("denied", "Permission denied", hides="team/")
    view = host(spaced(V, is_mount_point=True), images(V, faults=[fault]))
    assert status(merged(declared(V), view)) == (
        "degraded",
        "A part of it could not be read, and is as last seen: team.",
    )


def test_a_fault_that_hides_nothing_leaves_the_volume_ok() -> None:
    assert alone(V, spaced(V, is_mount_point=True), images(V, faults=[Fault("depth", "too deep")])) == (
        "ok",
        "",
    )


# --- the table ----------------------------------------------------------------------------------


def test_no_two_rows_of_the_table_are_the_same_and_broken_goes_before_degraded() -> None:
    assert len({(row.status, row.code) for row in TABLE}) == len(TABLE)
    order = [row.status for row in TABLE]
    assert order.index("degraded") > max(place for place, each in enumerate(order) if each == "broken")
