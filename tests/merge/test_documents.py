"""Numbers, order and time: what the rest of the document keeps to."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from storekeeper.document import GlusterVolumeInfo, ImageDetail
from storekeeper.merge.details import image_detail
from storekeeper.merge.truth import HostView
from storekeeper.observation import UNKNOWN, Fault, Parent
from storekeeper.sources import SOURCES
from tests.merge.builders import (
    MIB,
    NOW,
    declared,
    document,
    external,
    gluster,
    gluster_volume,
    host,
    image,
    images,
    look,
    merged,
    ocfs2,
    sharing,
    spaced,
    status,
)

V = external()


def test_spaces_are_rounded_up_to_kib_as_df_does() -> None:
    view = host(spaced(V, total_bytes=1025, available_bytes=1), images(V))
    row = document(merged(declared(V), view)).external_volumes[0]
    assert (row.total_space, row.free_space) == (2, 1)


@pytest.mark.parametrize(
    ("size", "mb"), [(0, 0), (1, 1), (MIB, 1), (MIB + 1, 2), (1 << 60, 1 << 40), (UNKNOWN, 0)]
)
def test_a_virtual_size_is_rounded_up_to_mib_and_0_when_unknown(size: int, mb: int) -> None:
    seen = image("a")
    seen = replace(seen, header=replace(seen.header, virtual_bytes=size))
    volume = document(merged(declared(V), host(spaced(V), images(V, seen)))).external_volumes[0]
    assert volume.images[0].size_mb == mb


def test_both_spaces_are_of_the_first_host_that_sees_the_volume() -> None:
    small = spaced(V, total_bytes=5 * MIB, available_bytes=3 * MIB)
    views = [host(name="h1", reported_at=0.0), host(small, name="h2"), host(spaced(V), name="h3")]
    row = document(merged(declared(V, hosts=("h1", "h2", "h3")), *views)).external_volumes[0]
    assert (row.total_space, row.free_space) == (5 * 1024, 3 * 1024)


def test_what_was_never_seen_is_zero_or_empty_in_a_volume_that_is_not_ok() -> None:
    found = document(merged(declared(V, ocfs2("o"), gluster("g"))))
    row: GlusterVolumeInfo = found.gluster_volumes[0]
    assert (row.bricks, row.type, row.configuration, row.transport, row.total_space, row.images) == (
        [],
        "",
        "",
        "",
        0,
        [],
    )
    assert (found.volumes[0].status, found.external_volumes[0].status, row.status) == ("unknown",) * 3


def test_volumes_keep_their_declared_order_and_images_are_sorted_by_id() -> None:
    volumes = external("z"), external("a")
    view = host(
        *(spaced(each) for each in volumes),
        images(volumes[0], image("b"), image("a/z"), image("a"), image("B")),
    )
    found = document(merged(declared(*volumes), view)).external_volumes
    assert [row.volume_id for row in found] == ["z", "a"]
    assert [row.image_id for row in found[0].images] == ["B", "a", "a/z", "b"]


def test_the_document_changes_only_when_the_truth_does() -> None:
    view = host(spaced(V), images(V, image("a")))
    first = merged(declared(V), view)
    later = merged(declared(V), view, memory=first.memory, now=NOW + 5, previous=first)
    assert later.storages["s"].document is first.storages["s"].document
    assert later.memory is first.memory


def test_a_truth_holds_until_the_first_of_its_answers_is_too_old() -> None:
    view = host(spaced(V), images(V))
    truth = merged(declared(V), view)
    assert truth.valid_until == NOW + 3 * SOURCES["space"].every_s
    before = merged(declared(V), view, now=math.nextafter(truth.valid_until, 0.0))
    assert (status(before)[0], status(merged(declared(V), view, now=truth.valid_until))[0]) == (
        "ok",
        "unknown",
    )


def test_a_hosts_silence_is_due_when_its_answers_are_younger() -> None:
    view = host(spaced(V, at=NOW + 50), images(V, at=NOW + 50))
    assert merged(declared(V), view).valid_until == NOW + 60


def test_an_answer_that_took_long_lasts_longer_since_the_next_is_later() -> None:
    slow = spaced(V)
    slow = replace(slow, seen=replace(slow.seen, took_s=2.0))
    listed = images(V, at=NOW + 50)
    assert merged(declared(V), host(slow, listed), now=NOW).valid_until == NOW + 60
    assert status(merged(declared(V), host(slow, listed), now=NOW + 59))[0] == "ok"


def test_nothing_seen_never_changes_by_time() -> None:
    assert merged(declared(V)).valid_until == math.inf


def details(view: HostView) -> list[ImageDetail]:
    volume = merged(declared(V), view).storages["s"].volumes["v"]
    return [image_detail(volume, volume.images[image_id]) for image_id in sorted(volume.images)]


def test_details_tell_all_that_is_known_of_an_image() -> None:
    parent = Parent(names=("base",), format="raw")
    clone = image(
        "c", "qcow2", 4, parent=parent, modified_ns=int(NOW) * 10**9, faults=(Fault("io-error", "EIO"),)
    )
    view = host(spaced(V), images(V, clone, image("base", "raw")), sharing(V, ("c", "base", 4096)))
    base, row = details(view)
    assert (base.image_id, base.kind, base.parent_by) == ("base", "image", "")
    assert (row.kind, row.parent_image_id, row.parent_volume_id, row.parent_format, row.parent_by) == (
        "clone", "base", "v", "raw", "header")  # fmt: skip
    assert (row.virtual_bytes, row.thin, row.shared_bytes, row.exclusive_bytes) == (4 * MIB, True, 4096, 0)
    assert (row.modified_at, row.seen_at) == ("2027-01-15T08:00:00+00:00", "2027-01-15T08:00:00+00:00")
    assert [fault.code for fault in row.faults] == ["io-error"]


def test_a_preallocated_image_is_not_thin() -> None:
    view = host(spaced(V), images(V, image("a", preallocated=True), image("b", allocated_bytes=10 * MIB)))
    assert [row.thin for row in details(view)] == [False, False]


def test_gluster_rows_speak_as_gluster_does() -> None:
    volume = gluster()
    view = host(spaced(volume), images(volume), look("gluster", "", gluster_volume("uuuuuu")))
    row = document(merged(declared(volume), view)).gluster_volumes[0]
    assert (row.type, row.configuration, row.transport, row.bricks[:2], row.gvolume_name) == (
        "Disperse", "1 x (4 + 2)", "tcp", ["g0:/brick", "g1:/brick"], "gv")  # fmt: skip
